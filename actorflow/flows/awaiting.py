"""Wait for several futures, of any executors and runs.

    wait ──► _Waiting ──┐
                        ├── watches each future once, is noted once by each
    as_completed ──► _Arrivals

So waiting for n futures is n notes and one waking, however often somebody looks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import trio

from actorflow import options
from actorflow.errors import ConfigurationError, FutureTimeout
from actorflow.flows.futures import Future

__all__ = ["TAKEN_PER_CHECKPOINT", "ReturnWhen", "as_completed", "wait"]

T = TypeVar("T")

ReturnWhen: TypeAlias = Literal["all_completed", "first_completed", "first_exception"]

#: Futures handed out between two checkpoints.
TAKEN_PER_CHECKPOINT = 64


async def wait(
    futures: Iterable[Future[T]],
    *,
    return_when: ReturnWhen = "all_completed",
    timeout: float | None = None,
) -> tuple[set[Future[T]], set[Future[T]]]:
    """Wait for *futures*: those that are done, and those that are not.

    Args:
        futures: Of any executors and runs.
        return_when: ``"all_completed"``; ``"first_completed"``; ``"first_exception"``: the first
            that fails, or all. One that was cancelled has not failed.
        timeout: Seconds after which it returns anyway; `None` is no limit.

    Raises:
        ConfigurationError: An option is wrong, or one of *futures* is none.
        InsideTurn: This is a turn of the executor or run of one that is not done.
    """
    options.choice(
        "wait() return_when", return_when, ("all_completed", "first_completed", "first_exception")
    )
    seconds = options.optional(options.seconds, "wait() timeout", timeout)
    given = _futures("wait()", futures)
    waiting = _Waiting(given, return_when)
    try:
        with trio.move_on_after(math.inf if seconds is None else seconds):
            await waiting.over.wait()
    finally:
        waiting.leave()
    done = {each for each in given if each.done()}
    return done, given.keys() - done


class _Waiting:
    """One `wait`, which is woken once."""

    def __init__(self, futures: Iterable[Future[Any]], return_when: ReturnWhen) -> None:
        self.over = trio.Event()
        self._on_failure = return_when == "first_exception"
        self._open: dict[Future[Any], None] = {}
        done = [each for each in futures if each.done() or self._watch(each)]
        self._left = len(self._open)
        if return_when == "first_completed":
            self._left = 0 if done else min(1, self._left)
        if not self._left or any(map(self._failed, done)):
            self.over.set()

    def _watch(self, future: Future[Any]) -> bool:
        self._open[future] = None
        future.watch(self)
        return False

    def _failed(self, future: Future[Any]) -> bool:
        return self._on_failure and future.failed()

    def note(self, future: Future[Any]) -> None:
        del self._open[future]
        self._left -= 1
        if not self._left or self._failed(future):
            self.over.set()

    def leave(self) -> None:
        """Nobody waits any more."""
        for future in self._open:
            future.unwatch(self)


def as_completed(
    futures: Iterable[Future[T]], timeout: float | None = None
) -> AsyncIterator[Future[T]]:
    """The *futures* as they are done, those that are already first, each once.

    Args:
        futures: Of any executors and runs.
        timeout: Seconds from this call to the last; `None` is no limit.

    Raises:
        ConfigurationError: One of *futures* is none.
        FutureTimeout: From the iterator: the next one was not done in time.
        InsideTurn: This is a turn of the executor or run of one that is not done.
    """
    seconds = options.optional(options.seconds, "as_completed() timeout", timeout)
    return _Completed(_Arrivals(_futures("as_completed()", futures)), seconds)


class _Arrivals:
    """The futures of one `as_completed`: those that have come, and those that are to come."""

    def __init__(self, futures: Iterable[Future[Any]]) -> None:
        self.ready: deque[Future[Any]] = deque()
        self.open: dict[Future[Any], None] = {}
        self.arrived = trio.Event()
        for each in futures:
            if each.done():
                self.ready.append(each)
            else:
                self.open[each] = None
                each.watch(self)

    def note(self, future: Future[Any]) -> None:
        del self.open[future]
        self.ready.append(future)
        self.arrived.set()

    def leave(self) -> None:
        for future in tuple(self.open):
            future.unwatch(self)


class _Completed(Generic[T]):
    """The iterator of `as_completed`. Whoever drops it leaves nothing with the futures."""

    def __init__(self, arrivals: _Arrivals, seconds: float | None) -> None:
        self._arrivals = arrivals
        self._seconds = seconds
        self._until = math.inf if seconds is None else trio.current_time() + seconds
        self._taken = 0

    def __aiter__(self) -> _Completed[T]:
        return self

    async def __anext__(self) -> Future[T]:
        arrivals = self._arrivals
        self._taken += 1
        if not self._taken % TAKEN_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()
        while not arrivals.ready:
            if not arrivals.open:
                raise StopAsyncIteration
            arrivals.arrived = trio.Event()
            with trio.move_on_at(self._until) as scope:
                await arrivals.arrived.wait()
            if scope.cancelled_caught:
                first = next(iter(arrivals.open))
                raise FutureTimeout(first.path, first.id, self._seconds or 0.0)
        return arrivals.ready.popleft()

    def __del__(self) -> None:
        self._arrivals.leave()


def _futures(verb: str, futures: Iterable[Future[T]]) -> dict[Future[T], None]:
    """Each of *futures* once, in their order."""
    given = dict.fromkeys(futures)
    for each in given:
        if not isinstance(each, Future):
            raise ConfigurationError(f"{verb} futures", each, "futures, as submit() gives them")
        each.refuse_inside(verb)
    return given
