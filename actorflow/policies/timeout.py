"""How long one attempt may run, and how long all of them together.

    accepted ──► waits ──► attempt 1 ──► waits ──► attempt 2 ──► done
                           ├ Timeout ┤             ├ Timeout ┤
    ├───────────────────────── Deadline ───────────────────────────┤

Both are plain numbers to the runtime, which owns the clock: they have no
machine. `Chain.timeout` and `Chain.deadline` hold them.
"""

from __future__ import annotations

import attrs

from actorflow import options
from actorflow.policies.machine import Declaration

__all__ = ["Deadline", "Timeout"]


@attrs.frozen
class Timeout(Declaration):
    """End an attempt that runs longer than this; it has failed with `TurnTimeout`.

    Time spent waiting in a mailbox, for a gate or for a retry does not count.

    Args:
        seconds: Longest run of one attempt; above 0.

    Raises:
        ConfigurationError: *seconds* is out of range.
    """

    seconds: float = attrs.field()

    def __attrs_post_init__(self) -> None:
        options.seconds("Timeout.seconds", self.seconds, zero=False)
        self.check_placement()


@attrs.frozen
class Deadline(Declaration):
    """Give a message up (`expired`) when this has passed since it was accepted.

    Waiting counts. A retry that would come due later is not waited for.

    Args:
        seconds: Longest time from acceptance to the end; above 0.

    Raises:
        ConfigurationError: *seconds* is out of range.
    """

    seconds: float = attrs.field()

    def __attrs_post_init__(self) -> None:
        options.seconds("Deadline.seconds", self.seconds, zero=False)
        self.check_placement()
