"""Worker processes that are ready before a turn's time begins.

    no process free that has it ──► start one, import ──► the call, in that process
                                    └ START_SECONDS ┘     └ the turn's timeout ┘

To start a process and to import a handler there takes as long as its module likes. That is
no fault of a handler, and a timeout that counted it would kill each new process before it
had done anything. So where no free process is known to have what a call needs, one is made
ready first, by a call of its own; meanwhile the clock of the turn stands still.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from actorflow.errors import WorkerDied
from actorflow.runtime.cell import Cell
from actorflow.runtime.ports import stopwatch

__all__ = ["MAKES_READY", "START_SECONDS", "Processes"]

#: How long a process may take to start and to import what it is to call, in seconds.
START_SECONDS = 60.0

#: By a function: what imports in a process what a call of it with this first argument needs.
#: Other functions need nothing but their own module.
MAKES_READY: dict[Callable[..., Any], Callable[[Any], None]] = {}


class _Free:
    """A limiter for who has waited for room already."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


class Processes:
    """The worker processes of one system.

    Args:
        context: Of trio-parallel; a call of it takes the process that was free last.
        most: Most calls at a time.
    """

    def __init__(self, context: Any, most: int) -> None:
        self._context = context
        self._limiter = trio.CapacityLimiter(most)
        self._known: set[int] = set()
        self._ready: dict[Hashable, set[int]] = {}

    async def run(self, cell: Cell, fn: Callable[..., Any], *args: Any) -> Any:
        """``fn(*args)`` in a process, which is killed if the call is cancelled.

        Raises:
            WorkerDied: No process was ready in time.
        """
        special = MAKES_READY.get(fn)
        key: Hashable = getattr(fn, "__module__", None) if special is None else args[0]
        needed = (fn,) if special is None else (special, args[0])
        async with self._limiter:
            try:
                if not self._has_ready(key):
                    await trio.lowlevel.checkpoint()  # From the first one on a turn has a time.
                    with _clock_stopped(cell):
                        await self._make_ready(cell, key, needed)
                # Nothing comes between: it is the same process.
                return await self._call(fn, *args)
            except BaseException:  # Perhaps a process less, and nobody says which.
                self._known.clear()
                self._ready.clear()
                raise

    async def _call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await self._context.run_sync(fn, *args, kill_on_cancel=True, limiter=_Free())

    def _has_ready(self, key: Hashable) -> bool:
        """Whether a process is free, and whichever that is, it is ready."""
        there = self._context.statistics()
        living = there.idle_workers + there.running_workers
        ready = self._ready.get(key, set())
        return there.idle_workers > 0 and len(self._known) >= living and self._known <= ready

    async def _make_ready(self, cell: Cell, key: Hashable, needed: tuple[Any, ...]) -> None:
        with trio.CancelScope() as scope:
            alarm = _Alarm(cell, scope)
            try:
                process = await self._call(_ready, *needed)
            finally:
                alarm.settle()
            self._known.add(process)
            self._ready.setdefault(key, set()).add(process)
        if scope.cancelled_caught:
            detail = (
                f"it was not ready within {START_SECONDS:g} s; does its module import for long?"
            )
            raise WorkerDied(cell.path, detail)


class _Alarm:
    """Cancels *scope* after `START_SECONDS` real seconds, whatever clock trio has."""

    def __init__(self, cell: Cell, scope: trio.CancelScope) -> None:
        self._heap, self._now, self._scope = cell.kernel.heap, cell.now, scope
        self._watch = stopwatch()
        self._until = self._watch() + START_SECONDS
        self._look(None)

    def _look(self, _: Any) -> None:
        left = self._until - self._watch()
        if left <= 0:
            self._scope.cancel()
        self._entry = self._heap.at(self._now() + max(left, START_SECONDS / 100), self._look)

    def settle(self) -> None:
        self._heap.settle(self._entry)


def _ready(needed: Callable[..., Any], *given: Any) -> int:
    """In a process, which has imported what *needed* is in: its number."""
    if given:
        needed(*given)
    return os.getpid()


@contextmanager
def _clock_stopped(cell: Cell) -> Iterator[None]:
    """What is done here is not the time of the handler; the message's own deadline holds."""
    began, ends_at = cell.now(), cell.ends_at
    deadline = None if cell.lease is None else cell.lease.deadline
    latest = math.inf if deadline is None else deadline
    cell.ends_at = latest
    cell.look_at_the_time()
    try:
        yield
    finally:
        if ends_at != math.inf:
            cell.ends_at = min(ends_at + cell.now() - began, latest)
            cell.look_at_the_time()
