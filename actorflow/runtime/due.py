"""The one clock of a system: a heap of moments at which something is to be done.

Retry delays, timers, ask timeouts, turn timeouts, restart backoffs and closed
gates are entries here. An entry is a call without an await. A settled entry
leaves a hole; holes are swept when they are more than half of the heap.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import trio
from trio.lowlevel import Abort, RaiseCancelT

__all__ = ["DueHeap", "Entry"]

#: ``[when, order, action, argument]``; a settled entry has `None` for its action.
Entry: TypeAlias = list[Any]

#: Below this many entries a sweep is not worth its walk.
SWEEP_FROM = 64

#: Entries done before other tasks get their turn.
BURST = 256


class DueHeap:
    """Moments in order of time; `run` waits for the next one and does it.

    Args:
        now: The clock, in seconds; the one that trio's deadlines use.
    """

    __slots__ = ("_armed", "_heap", "_holes", "_now", "_order", "_scope")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heap: list[Entry] = []
        self._holes = 0
        self._order = itertools.count()
        self._armed = -math.inf  # While nobody waits, no entry needs to wake anybody.
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._holes

    def at(self, when: float, action: Callable[[Any], None], argument: Any = None) -> Entry:
        """Call ``action(argument)`` at *when*; the entry can be taken back with `settle`."""
        entry: Entry = [when, next(self._order), action, argument]
        heapq.heappush(self._heap, entry)
        if when < self._armed and self._scope is not None:
            self._armed = when
            self._scope.deadline = when
        return entry

    def settle(self, entry: Entry) -> None:
        """Take *entry* back; done or settled before, it changes nothing."""
        if entry[2] is None:
            return
        entry[2] = entry[3] = None
        self._holes += 1
        if self._holes * 2 > len(self._heap) > SWEEP_FROM:
            self._heap = [each for each in self._heap if each[2] is not None]
            heapq.heapify(self._heap)
            self._holes = 0

    def entries(self) -> list[Entry]:
        """All that is still to be done, in no order."""
        return [entry for entry in self._heap if entry[2] is not None]

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            more = self._fire()
            if more:
                await trio.lowlevel.checkpoint()
                continue
            self._armed = self._heap[0][0] if self._heap else math.inf
            with trio.CancelScope(deadline=self._armed) as self._scope:
                await trio.lowlevel.wait_task_rescheduled(_give_way)
            self._armed = -math.inf
            self._scope = None

    def _fire(self) -> bool:
        """Do up to BURST entries that are due; answers whether more of them wait."""
        heap, now = self._heap, self._now()
        for _ in range(BURST):
            if not heap or heap[0][0] > now:
                return False
            entry = heapq.heappop(heap)
            action, argument = entry[2], entry[3]
            if action is None:
                self._holes -= 1
                continue
            entry[2] = entry[3] = None
            action(argument)
            heap = self._heap  # A sweep inside the action may have made a new one.
        return True


def _give_way(raise_cancel: RaiseCancelT) -> Abort:
    return Abort.SUCCEEDED
