"""Note what clients asked and what became of it, for `assert_linearizable`.

recorder = Recorder()
await recorder.ask(account, Deposit(5))          from any number of tasks

returned     it took effect, once, between its beginning and its end
failed       it had no effect
unknown      it may have had its effect at any time since, or never will
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator
from typing import Any, Literal, TypeAlias, get_args

import attrs

from actorflow import options
from actorflow.errors import AskFailed, ConfigurationError, MailboxFull, NotRunningError
from actorflow.runtime.ref import ActorRef

__all__ = ["Operation", "Outcome", "Recorder"]

Outcome: TypeAlias = Literal["returned", "failed", "unknown"]

#: Every outcome.
OUTCOMES = get_args(Outcome)


@attrs.frozen(kw_only=True)
class Operation:
    """One call of a history.

    Attributes:
        call: What was asked.
        invoked: When it began: any number, the same for no two events of a history.
        returned: When it ended; infinite if its outcome is unknown.
        outcome: ``"returned"``, ``"failed"`` or ``"unknown"``.
        answer: What it returned.
        key: What it was about; calls of different keys have nothing to do with each other.
        client: Who called.

    Raises:
        ConfigurationError: There is no such outcome, or its times contradict it or each other.
    """

    call: Any
    invoked: float
    returned: float = math.inf
    outcome: Outcome = "returned"
    answer: Any = None
    key: Hashable = None
    client: str = ""

    def __attrs_post_init__(self) -> None:
        options.choice("Operation outcome", self.outcome, OUTCOMES)
        for name, moment in (("invoked", self.invoked), ("returned", self.returned)):
            if not isinstance(moment, (int, float)) or math.isnan(moment):
                raise ConfigurationError(f"Operation {name}", moment, "a number")
        if self.returned < self.invoked:
            wanted = f"{self.invoked} or more, as it was invoked then"
            raise ConfigurationError("Operation returned", self.returned, wanted)
        if self.outcome == "unknown" and self.returned != math.inf:
            wanted = "left out with outcome='unknown', which has no end"
            raise ConfigurationError("Operation returned", self.returned, wanted)

    def __str__(self) -> str:
        who = f"{self.client}: " if self.client else ""
        what = f"-> {self.answer!r}" if self.outcome == "returned" else f"({self.outcome})"
        return f"{who}{self.call!r} {what}"


class Recorder:
    """Notes the calls of any number of clients, in the order of their events.

    Attributes:
        operations: All, in the order in which they ended; those that have not, or were cancelled,
            are unknown.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._ticks = itertools.count()

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    async def ask(
        self,
        ref: ActorRef[Any],
        message: Any,
        *,
        key: Hashable = None,
        client: str = "",
        timeout: float = 5.0,
    ) -> Any:
        """`ActorRef.ask`, noted; what it raises it raises.

        Args:
            ref: Whom to ask.
            message: What.
            key: What it is about; the actor's path by default.
            client: Who asks, for the text of a counterexample.
            timeout: Longest wait in seconds.
        """
        key = ref.path if key is None else key
        begun = Operation(
            call=message, invoked=next(self._ticks), outcome="unknown", key=key, client=client
        )
        self.operations.append(begun)  # So it is if the process dies with it.
        try:
            answer = await ref.ask(message, timeout=timeout)
        except (AskFailed, MailboxFull, NotRunningError):
            self._end(begun, "failed")  # The turn was taken back, or there never was one.
            raise
        self._end(begun, "returned", answer)
        return answer

    def _end(self, begun: Operation, outcome: Outcome, answer: Any = None) -> None:
        places = range(len(self.operations) - 1, -1, -1)
        del self.operations[next(at for at in places if self.operations[at] is begun)]
        ended = attrs.evolve(begun, returned=next(self._ticks), outcome=outcome, answer=answer)
        self.operations.append(ended)
