"""Calls of one function over many arguments, with their results in the order of the input.

    iterables ──► next() ──► queue ──► workers
                    ▲                     │ in any order
      room, and at most `most` ahead      ▼
                    └───────── oldest call first ──► taker

Nobody reads the input but the taker, while it waits: so it is never read further ahead
than that, and there is no task to clean up after.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import trio

from actorflow.flows.awaiting import TAKEN_PER_CHECKPOINT
from actorflow.flows.calling import Call, Callee
from actorflow.flows.futures import Future

__all__ = ["Calls", "Mapped"]

T = TypeVar("T")


class Calls(Generic[T]):
    """The calls of one `map`.

    Args:
        called: The function.
        inputs: Its arguments.
        offer: Submits a call if there is room for it.
        accept: Submits it when there is.
        most: Most calls that have begun or wait, beyond what was taken.
        batch: Calls submitted at a time, before others get their turn.
    """

    def __init__(
        self,
        called: Callee,
        inputs: Iterator[tuple[Any, ...]],
        offer: Callable[[Call], Future[Any] | None],
        accept: Callable[[Call], Awaitable[Future[Any]]],
        *,
        most: int,
        batch: int,
    ) -> None:
        self._called = called
        self._inputs = inputs
        self._offer = offer
        self._accept = accept
        self._most = most
        self._batch = batch
        self._ahead: deque[Future[T]] = deque()
        self._spare: Call | None = None  # That there was no room for.
        self._ended = False
        self._taken = 0
        self._token = trio.lowlevel.current_trio_token()

    async def next(self) -> Future[T] | None:
        """The future of the next call in order, which is done; `None` at the end.

        Raises:
            NotRunningError: The executor has ended, and there is more to call.
            Exception: What the input raised.
        """
        ahead = self._ahead
        self._fill(2)  # For the one that is taken now, and more until there is enough.
        while not (ahead and ahead[0].done()):
            if self._fill(self._batch):
                await trio.lowlevel.checkpoint()
            elif ahead:
                await ahead[0].settled()
            elif self._spare is not None:
                ahead.append(await self._accept(self._spare))
                self._spare = None
            else:
                return None
        self._taken += 1
        if not self._taken % TAKEN_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()
        return ahead.popleft()

    def _fill(self, most: int) -> int:
        """Submit up to *most* calls, as there is room; answers how many."""
        ahead, count = self._ahead, 0
        while count < most and len(ahead) < self._most and not (self._ended and not self._spare):
            call = self._spare or self._read()
            if call is None:
                break
            future = self._offer(call)
            if future is None:
                self._spare = call
                break
            self._spare = None
            ahead.append(future)
            count += 1
        return count

    def _read(self) -> Call | None:
        for args in self._inputs:
            return Call(self._called, args, {})
        self._ended = True
        return None

    def close(self) -> None:
        """Nobody takes any more: cancel what is ahead."""
        self._ended, self._spare = True, None
        while self._ahead:
            self._ahead.popleft().cancel()

    def __del__(self) -> None:
        if self._ahead:  # In whatever thread that is.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_cancel_all, tuple(self._ahead))


class Mapped(Generic[T]):
    """Results of `map_iter`, as an async iterator in the order of the input.

    Whoever drops it, or closes it, cancels the calls that are ahead.
    """

    def __init__(self, calls: Calls[T]) -> None:
        self._calls = calls

    def __aiter__(self) -> Mapped[T]:
        return self

    async def __anext__(self) -> T:
        try:
            future = await self._calls.next()
            if future is not None:
                return future.take()
        except Exception:
            self._calls.close()
            raise
        finally:
            future = None  # The traceback of what it raises has this frame.
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Take no more: calls that wait are taken back, those that run are cancelled."""
        self._calls.close()
        await trio.lowlevel.checkpoint()


def _cancel_all(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
