"""At most so many turns at once.

    ready:  in use < limit ──► Admit        otherwise ──► Wait(None): until a turn ends

What is in use is not part of a snapshot: turns that a kill ended are leased
again after the restart, and take their place again then.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs

from actorflow import options
from actorflow.policies.decision import ADMIT, Answer, Wait
from actorflow.policies.machine import BaseMachine, Declaration

__all__ = ["Bulkhead", "BulkheadMachine"]

_FULL = Wait(None)


@attrs.frozen
class Bulkhead(Declaration):
    """At most *limit* turns at once, however many workers there are.

    Most useful with `shared=`: one limit over the stages that use one database.

    Args:
        limit: Most turns at once; 1 or more.

    Raises:
        ConfigurationError: *limit* is out of range.
    """

    limit: int = attrs.field()

    def __attrs_post_init__(self) -> None:
        options.count("Bulkhead.limit", self.limit)
        self.check_placement()

    def machine(self) -> BulkheadMachine:
        return BulkheadMachine(self)


class BulkheadMachine(BaseMachine):
    """Counts the turns that have begun and not ended.

    Calm while there is room: a turn that begins and ends in one breath leaves no trace.
    """

    __slots__ = ("in_use", "limit")

    def __init__(self, policy: Bulkhead) -> None:
        super().__init__(policy, calm=True)
        self.limit = policy.limit
        self.in_use = 0

    def ready(self, now: float, key: Hashable) -> Answer:
        return ADMIT if self.in_use < self.limit else _FULL

    def take(self, now: float, key: Hashable) -> object:
        self.in_use += 1
        self.settle(self.in_use < self.limit)
        return None

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        assert self.in_use > 0, "a turn was recorded that had not been taken"
        self.in_use -= 1
        if self.in_use == self.limit - 1:  # It was full.
            self.settle(True)
            self.wake()

    def change(self, policy: Bulkhead, now: float) -> None:
        """Take the new limit; turns above a smaller one end in their own time."""
        super().change(policy, now)
        self.limit = policy.limit
        self.settle(self.in_use < self.limit)
        self.wake()
