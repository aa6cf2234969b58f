"""Where one answer goes: a token that works once and then is dead.

The asking task parks on it. Whatever comes first decides: the answer, a failure,
the timeout, or the asker's cancellation; anything later finds the token dead.

Where a gate holds messages up after an unclean end, the time of an ask stands still while
that is closed: nobody dies of waiting for the runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from actorflow.core.envelope import Envelope
from actorflow.errors import AskTimeout
from actorflow.runtime.kernel import Kernel

__all__ = ["EXPECTED", "UNASKED", "PatientReply", "Reply", "excuse"]


class Reply:
    """The asker's end of one ask.

    Args:
        kernel: The system's services.
        path: Path of the actor asked; it opens the errors.
    """

    __slots__ = ("_answer", "_kernel", "_open", "_path", "_task")

    def __init__(self, kernel: Kernel, path: str) -> None:
        self._kernel = kernel
        self._path = path
        self._open = True
        self._task: Task | None = None
        self._answer: outcome.Outcome[Any] | None = None

    @property
    def open(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self._open

    def resolve(self, value: object) -> bool:
        """Answer; `False` if nobody waits any more."""
        return self._settle(outcome.Value(value))

    def fail(self, error: BaseException) -> bool:
        """Let the ask raise *error*; `False` if nobody waits any more."""
        return self._settle(outcome.Error(error))

    def _settle(self, answer: outcome.Outcome[Any]) -> bool:
        if not self._open:
            return False
        self._open = False
        if self._task is None:
            self._answer = answer
        else:
            reschedule(self._task, answer)
        return True

    async def wait(self, seconds: float) -> Any:
        """Park until the answer comes.

        Raises:
            AskTimeout: It did not come within *seconds*.
        """
        if self._answer is not None:
            await trio.lowlevel.checkpoint()
            return self._answer.unwrap()
        self._task = trio.lowlevel.current_task()
        kernel = self._kernel
        entry = kernel.heap.at(kernel.now() + seconds, self._expire, seconds)
        try:
            return await trio.lowlevel.wait_task_rescheduled(self._abandon)
        finally:
            kernel.heap.settle(entry)

    def _expire(self, seconds: float) -> None:
        self.fail(AskTimeout(self._path, seconds))

    def _abandon(self, _: RaiseCancelT) -> Abort:
        self._open = False
        return Abort.SUCCEEDED


class PatientReply(Reply):
    """A token whose time stands still while the question cannot be leased, whoever's it is.

    Args:
        kernel: The system's services.
        path: Path of the actor asked.
        question: What is asked; its deadline moves with the time.
        until: When the time is up.
        closed: Seconds so far in which it could not be leased.
    """

    __slots__ = ("_charged", "_closed", "_question", "_until")

    def __init__(
        self,
        kernel: Kernel,
        path: str,
        question: Envelope,
        until: float,
        closed: Callable[[], float],
    ) -> None:
        super().__init__(kernel, path)
        self._question = question
        self._until = until
        self._closed = closed
        self._charged = closed()

    def excuse(self) -> None:
        """Put the end off by the time in which the question could not be leased."""
        closed = self._closed()
        more, self._charged = closed - self._charged, closed
        self._until += more
        if self._question.deadline is not None:
            self._question.deadline += more

    def _expire(self, seconds: float) -> None:
        self.excuse()
        if self._kernel.now() < self._until:
            self._kernel.heap.at(self._until, self._expire, seconds)
        else:
            super()._expire(seconds)


class _Unasked:
    """In the place of the token of a question from an earlier life: nobody waits for it now."""

    open = True

    def resolve(self, value: object) -> bool:
        """The answer is kept; that is enough."""
        return True

    def fail(self, error: BaseException) -> bool:
        """Whoever asks again is told then."""
        return True


#: Its asker is here still, and will ask it again;
EXPECTED = _Unasked()

#: or that cannot be told.
UNASKED = _Unasked()


def excuse(envelope: Envelope) -> bool:
    """Whether the time in which *envelope* could not be leased puts its deadline off."""
    if type(envelope.reply) is not PatientReply:
        return False
    envelope.reply.excuse()
    return True
