"""Where one answer goes: a token that works once and then is dead.

The asking task parks on it. Whatever comes first decides: the answer, a failure,
the timeout, or the asker's cancellation; anything later finds the token dead.
"""

from __future__ import annotations

from typing import Any

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from actorflow.errors import AskTimeout
from actorflow.runtime.kernel import Kernel

__all__ = ["Reply"]


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
