"""What a simulation is to the runtime: the ports of `actorflow.runtime.ports`, of a seed.

    a thread, a worker process       called here, in the loop, after a drawn virtual time
    the thread of a store            the same; see `store_thread`

So nothing waits for a real thread, which no seed could replay.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from actorflow.errors import WorkerDied
from actorflow.runtime.ports import Ports
from actorflow.testing.faults import WorkerProcessDies
from actorflow.testing.store_thread import StoreThread

__all__ = ["Doors"]

T = TypeVar("T")

#: Longest time that a thread, a worker process or a call of a store takes, in virtual seconds.
LONGEST = 0.01


class Doors:
    """The ports of one life.

    Args:
        life: The life.
        seed: Of its draws.
    """

    def __init__(self, life: Any, seed: str) -> None:
        self._life = life
        self._random = random.Random(seed)
        self._dying: dict[int, WorkerProcessDies] = {}
        self._processes = 0
        self.now: Callable[[], float] = life.now
        self.recording = life.recording

    def plan(self, fault: WorkerProcessDies) -> None:
        """Let the worker process of a call die, counted from the next one."""
        self._dying[self._processes + fault.call] = fault

    def begin(self, cell: Any) -> None:
        """An incarnation of *cell* begins."""
        self._life.world._chains[cell.mailbox.path] = cell.chain
        self._life.handlers.begin(cell)
        self.recording.begin(cell)
        self._life.books.begin(cell)

    def ports(self, seed: int | None) -> Ports:
        """The ports of one system; *seed* as it asks for."""
        chance = random.Random(self._random.getrandbits(64) if seed is None else seed)
        return Ports(
            now=self.now,
            wall=self.wall,
            draw=chance.random,
            ids=itertools.count(1),
            chance=None if seed is None else chance,
            simulation=self,
        )

    def wall(self) -> float:
        """Seconds since the epoch, on the clock on the wall."""
        return float(self._life.world.clock.time())

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        return self._random.randbytes(count)

    def pause(self) -> float:
        """How long something takes: nothing half of the time, which is as early as it can be."""
        drawn = self._random.random()
        return 0.0 if drawn < 0.5 else (drawn - 0.5) * 2 * LONGEST

    async def offload(self, fn: Callable[..., T], *args: Any) -> T:
        """What a thread would do."""
        await trio.sleep(self.pause())
        return fn(*args)

    async def process(self, path: str, fn: Callable[..., T], *args: Any) -> T:
        """What a worker process would do, or die in."""
        self._processes += 1
        number = self._processes
        await trio.sleep(self.pause())
        if number in self._dying:
            self._life.fire(self._dying[number])
            self._life.note(f"worker process of call {number} dies")
            raise WorkerDied(path, "killed by the laboratory")
        return fn(*args)

    def thread_of(self, store: Any) -> StoreThread:
        """What stands for the thread of a store. One that can `die` does so with the process."""
        if hasattr(store, "die"):
            self._life.stores[id(store)] = store
        return StoreThread(self._life, self.pause, store.url)

    def fed(self, run: str, items: int) -> None:
        """So many *items* that a run was fed were just acknowledged."""
        if self._is_kept(run):
            self._life.world.history._note("fed", run, items)

    def told(self, system: str, number: int) -> None:
        """Message *number* of a durable system was just acknowledged."""
        if self._is_kept(system):
            self._life.world.history._note("told", f"system:{system}", number)
            self.recording.note("told", f"/{system}", str(number))

    def answered(self, path: str, number: int) -> None:
        """The outside has just got the answer of the durable actor *path* to question *number*."""
        if self._is_kept(path.split("/", 2)[1]):
            self.recording.note("answered", path, str(number))

    def _is_kept(self, run: str) -> bool:
        """Whether what a run or system keeps is on the disk of the world, and in no other store."""
        return not self._life.dead and self._life.world._has(run)
