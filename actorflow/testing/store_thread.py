"""What stands for the thread of a store in virtual time: one call after the other.

    call ──► its turn ──► on its way ──► store.commit(...) ──► on its way back ──► answer

A call that hangs keeps the turn for ever, and whoever called waits for no longer than it
said. One that is slow is made when its time has come, whether anybody waits for it or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import trio

from actorflow.errors import StoreError, StoreUnavailable
from actorflow.testing.disk import Delayed

__all__ = ["StoreThread"]

T = TypeVar("T")


class StoreThread:
    """The thread of one store.

    Args:
        life: Of the process that it belongs to.
        pause: Draws how long a call takes.
        url: Of the store.
    """

    def __init__(self, life: Any, pause: Callable[[], float], url: str) -> None:
        self._life = life
        self._now: Callable[[], float] = life.now
        self._pause = pause
        self._url = url
        self._turn = trio.Semaphore(1)
        self._odd = False

    async def call(self, fn: Callable[..., T], args: tuple[Any, ...], seconds: float) -> T:
        """Run ``fn(*args)``; shielded, as a call that has begun is waited for.

        Raises:
            StoreUnavailable: It did not answer within *seconds*; it may still happen.
            Exception: What *fn* raised.
        """
        until = self._now() + seconds
        await self._take_turn(until, seconds)
        try:
            value = await self._do(fn, args)
        except Delayed as delayed:
            value = await self._wait(_Late(fn, args), delayed.seconds, until, seconds)
        except BaseException:
            self._turn.release()
            raise
        else:
            self._turn.release()
        return value

    async def _take_turn(self, until: float, seconds: float) -> None:
        if self._turn.value:
            self._turn.acquire_nowait()
            return
        with trio.CancelScope(shield=True, deadline=until) as scope:
            await self._turn.acquire()
        if scope.cancelled_caught:
            raise self._silent(seconds)

    async def _do(self, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
        """The call, with the time it takes on its way there or back."""
        pause, self._odd = self._pause(), not self._odd
        if pause and self._odd:
            await _rest(pause)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        if self._life.dead:
            raise StoreError(self._url, "its process is dead")
        try:
            return fn(*args)
        finally:
            if pause and not self._odd:
                await _rest(pause)

    async def _wait(self, late: _Late, delay: float, until: float, seconds: float) -> Any:
        """Wait until *until* for a call that is made after *delay*."""
        trio.lowlevel.spawn_system_task(self._go_on, late, delay, name="the thread of a store")
        with trio.CancelScope(shield=True, deadline=until):
            await late.done.wait()
        if not late.done.is_set():
            raise self._silent(seconds)
        if late.error is not None:
            raise late.error
        return late.value

    async def _go_on(self, late: _Late, delay: float) -> None:
        await trio.sleep(delay)
        if not self._life.dead:
            late.run()
        self._turn.release()

    def _silent(self, seconds: float) -> StoreUnavailable:
        return StoreUnavailable(self._url, f"no answer within {seconds:g} s")


async def _rest(seconds: float) -> None:
    """Sleep, whoever is cancelled meanwhile."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + seconds):
        await trio.sleep_forever()


class _Late:
    """A call that is made later, and what it came to."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._args = args
        self.done = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self._fn(*self._args)
        except BaseException as error:  # It belongs to the caller.
            self.error = error
        self.done.set()
