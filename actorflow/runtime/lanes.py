"""What a mailbox is made of: the user lane when priorities differ, and who waits for room.

A mailbox begins with a plain `collections.deque` and changes to a `RankedQueue`
when the first message of another priority arrives; the two are used alike.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator

from trio.lowlevel import Task

from actorflow.core.envelope import Envelope

__all__ = ["RankedQueue", "Writer"]

#: Every so many leases the oldest message goes first whatever its priority, so that
#: a steady stream of urgent ones cannot starve the rest.
OLDEST_EVERY = 8


class RankedQueue:
    """Lower priority first, first come first served within one; never starves.

    Args:
        waiting: What waits already, oldest first.
    """

    __slots__ = ("_arrivals", "_count", "_leases", "_levels", "_queues")

    def __init__(self, waiting: Iterable[Envelope] = ()) -> None:
        self._queues: dict[int, deque[Envelope]] = {}
        self._levels: list[int] = []  # Priorities that have messages, in order.
        self._arrivals = self._leases = self._count = 0
        for envelope in waiting:
            self.append(envelope)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Envelope]:
        for level in self._levels:
            yield from self._queues[level]

    def __getitem__(self, index: int) -> Envelope:
        assert index == 0, index  # Only the head is ever looked at.
        return self._queues[self._next_level()][0]

    def append(self, envelope: Envelope) -> None:
        """Add behind the others of its priority."""
        envelope.rank = self._arrivals = self._arrivals + 1
        queue = self._queues.get(envelope.priority)
        if queue is None:
            queue = self._queues[envelope.priority] = deque()
            insort(self._levels, envelope.priority)
        queue.append(envelope)
        self._count += 1

    def popleft(self) -> Envelope:
        """Remove the head, which `[0]` showed."""
        level = self._next_level()
        self._leases += 1
        return self._remove(level)

    def remove(self, envelope: Envelope) -> None:
        """Remove *envelope*, which is here."""
        level = envelope.priority
        self._queues[level].remove(envelope)
        self._forget(level)

    def drop_oldest(self) -> Envelope:
        """Remove what arrived first."""
        return self._remove(self._oldest_level())

    def _remove(self, level: int) -> Envelope:
        envelope = self._queues[level].popleft()
        self._forget(level)
        return envelope

    def _forget(self, level: int) -> None:
        """One message has left *level*."""
        if not self._queues[level]:
            del self._queues[level]
            self._levels.remove(level)
        self._count -= 1

    def _next_level(self) -> int:
        if self._leases % OLDEST_EVERY == OLDEST_EVERY - 1:
            return self._oldest_level()
        return self._levels[0]

    def _oldest_level(self) -> int:
        return min(self._levels, key=lambda level: self._queues[level][0].rank)


class Writer:
    """A task that waits for room in a mailbox."""

    __slots__ = ("places", "task")

    def __init__(self, task: Task, places: int) -> None:
        self.task = task
        self.places = places
