"""What will come of one call or item.

    submit ──► Future ◄── result(), exception()         any number of waiters
                 │ ▲
          cancel ▼ │ add, finish, once
                  desk                                  which knows where the item is

A future is told once how its item ended, and tells whoever watches it, once each.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import trio

from actorflow import options
from actorflow.core.envelope import Envelope
from actorflow.errors import FutureCancelled, FutureTimeout
from actorflow.flows.results import ItemResult

__all__ = ["Future", "Origin", "Watcher"]

T = TypeVar("T")


class Origin(Protocol):
    """Where futures come from.

    Attributes:
        path: Path of the executor or run.
        many: Whether an item gives a list, however many values it has.
    """

    path: str
    many: bool

    def cancel(self, envelope: Envelope) -> bool | None:
        """Take a message back: true if it waited, false if it runs; `None` if it is elsewhere."""

    def refuse_inside(self, verb: str) -> None:
        """Raise `InsideTurn` in a turn of the run itself."""

    def report(self, what: str, error: BaseException) -> None:
        """Log and count what nobody has asked for."""


class Watcher(Protocol):
    """Who wants to know that a future is done."""

    def note(self, future: Future[Any]) -> None:
        """*future* is done. Told once; never waits."""


class Future(Generic[T]):
    """What will come of one call of an executor, or of one item of a run.

    It is made by `submit`. One that failed, and is dropped by everybody before its error was
    asked for, is logged.

    Attributes:
        id: The number of its item, from 0.
        path: Path of the executor or run.
        envelope: The message, while the item is held; for the runtime.
    """

    __slots__ = (
        "__weakref__",
        "_attempts",
        "_cancelling",
        "_desk",
        "_done",
        "_error",
        "_event",
        "_outputs",
        "_trace",
        "_value",
        "_watchers",
        "envelope",
        "id",
        "path",
    )

    def __init__(self, desk: Origin) -> None:
        self.id = -1
        self.path = desk.path
        self._desk: Origin | None = desk  # Until it has a value, or its error was asked for.
        self.envelope: Envelope | None = None
        self._outputs: list[Any] = []
        self._value: Any = None
        self._error: Exception | None = None
        self._trace: TracebackType | None = None
        self._attempts = 0
        self._done = self._cancelling = False
        self._event: trio.Event | None = None
        self._watchers: dict[Watcher, None] | None = None

    # Asking ---------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether it has a value, has failed or was cancelled."""
        return self._done

    def cancelled(self) -> bool:
        """Whether it was cancelled, or its run ended first."""
        return isinstance(self._error, FutureCancelled)

    def failed(self) -> bool:
        """Whether it is done and has failed; one that was cancelled has not."""
        return self._done and self._error is not None and not self.cancelled()

    @property
    def attempts(self) -> int:
        """Attempts that have begun, in the stage where the item is or has ended."""
        return self._attempts if self.envelope is None else self.envelope.attempt

    async def result(self, timeout: float | None = None) -> T:
        """Wait for the value.

        Of an item of a run: a list, if a stage of the flow is a generator or the item gave
        several; `None`, if it was skipped. One that waits for a batch to be full goes on waiting:
        ``Batch(seconds=)`` bounds that.

        Args:
            timeout: Seconds; `None` is no limit. The work goes on after it.

        Raises:
            FutureTimeout: It was not done in time.
            FutureCancelled: It was cancelled, or its run has ended before it.
            StageError: The function raised what is no `Exception`, such as `SystemExit`; that is
                the cause.
            InsideTurn: It is not done, and this is a turn of the same executor or run.
            Exception: What the function raised.
        """
        try:
            await self._wait("future.result()", timeout)
            return self.take()
        finally:
            del self  # The traceback of what it raises has this frame.

    async def exception(self, timeout: float | None = None) -> Exception | None:
        """Wait for the end; what `result` would raise then, or `None`.

        Raises:
            FutureTimeout: It was not done in time.
            InsideTurn: It is not done, and this is a turn of the same executor or run.
        """
        await self._wait("future.exception()", timeout)
        return self.look()

    async def _wait(self, verb: str, timeout: float | None) -> None:
        seconds = options.optional(options.seconds, f"{verb} timeout", timeout)
        if self._done or self._desk is None:
            await trio.lowlevel.checkpoint()
        else:
            self._desk.refuse_inside(verb)
            with trio.move_on_after(math.inf if seconds is None else seconds):
                await self.settled()
            if not self._done:
                raise FutureTimeout(self.path, self.id, seconds or 0.0)

    def cancel(self) -> bool:
        """Take the item back; `result` then raises `FutureCancelled`.

        What waits, for a worker or for a retry, is taken back at once. A function that runs is
        cancelled at its next checkpoint, a worker process is killed, a thread runs to its end; a
        value that comes all the same counts. What is done stays as it is.

        Returns:
            Whether it waited: then it does not run, and will not.
        """
        if self._desk is None or self.envelope is None:
            return False
        self._cancelling = True  # What waits is settled hereby.
        waited = self._desk.cancel(self.envelope)
        self._cancelling = waited is not None
        return bool(waited)

    # For its desk and its watchers ------------------------------------------------------

    def accepted(self, envelope: Envelope) -> None:
        """The item is about to be in the run, as *envelope*."""
        self.id, self.envelope = envelope.root, envelope

    def add(self, result: ItemResult[Any]) -> None:
        """One result of the item; more may come."""
        if result.status == "skipped":
            return
        self._attempts = result.attempts
        if result.status == "done":
            self._outputs.append(result.value)
        else:
            error = result.error
            self._error = error if isinstance(error, Exception) else result.stage_error()

    def finish(self) -> None:
        """The item has ended, and `add` was told of all its results."""
        assert self._desk is not None
        outputs, many = self._outputs, self._desk.many or len(self._outputs) > 1
        if self._error is not None:
            self._settle()
        elif self._cancelling and (many or not outputs):
            self.fail(FutureCancelled(self.path, self.id, "it was cancelled"))
        else:
            if many:
                self._value = outputs
            elif outputs:
                self._value = outputs[0]
            self._settle()

    def fail(self, error: Exception) -> None:
        """It is done, with *error*."""
        self._error = error
        self._settle()

    def _settle(self) -> None:
        self._done = True
        self._attempts = self._attempts or self.attempts
        self._outputs, self.envelope = [], None
        if self._error is None:
            self._desk = None
        else:
            self._trace = self._error.__traceback__
        if self._event is not None:
            self._event.set()
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher.note(self)

    async def settled(self) -> None:
        """Wait until it is done."""
        if self._event is None:
            self._event = trio.Event()
        await self._event.wait()

    def look(self) -> Exception | None:
        """The error of a future that is done, which hereby was asked for."""
        assert self._done
        self._desk = None
        return self._error

    def take(self) -> T:
        """`result` of a future that is done, without waiting."""
        error = self.look()
        try:
            if error is not None:
                raise error.with_traceback(self._trace)
            value: T = self._value
            return value
        finally:
            del self, error

    def watch(self, watcher: Watcher) -> None:
        """Tell *watcher* when it is done, which it is not yet."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        """Do not tell *watcher*."""
        if self._watchers is not None:
            self._watchers.pop(watcher, None)

    def refuse_inside(self, verb: str) -> None:
        """Raise `InsideTurn` where waiting for it could be waiting for oneself."""
        if self._desk is not None and not self._done:
            self._desk.refuse_inside(verb)

    def __del__(self) -> None:
        desk, error = self._desk, self._error
        if desk is not None and error is not None and self.failed():
            desk.report(f"item {self.id} failed and nobody asked for its result", error)

    def __repr__(self) -> str:
        if not self._done:
            state = "not done"
        elif self._error is None:
            state = "done"
        else:
            state = "cancelled" if self.cancelled() else f"failed: {type(self._error).__name__}"
        return f"<Future {self.id} {state}>"
