"""What does an actor cost that has nothing to do?

Question: how much memory and how much of the processor do ITEMS actors take that
are alive and wait? How much once each has handled a message? How fast are they made
and ended?

Load: ITEMS actors spawned one after the other by one caller. The memory is that of
the whole process (resident set) minus what it was with one actor, after all are
parked and the garbage is collected; then again after each has handled one message,
which is checked. In between the system is left alone for IDLE_SECONDS, and the
processor time that the process used meanwhile is its share. Last, all are ended.

Baseline: the same by hand with trio: a task per actor that reads a memory channel of
its own. It has no supervisor, no path, no restart, no policies, no dead letters.

    python -m benchmarks idle
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import trio

from actorflow import Actor, ActorRef, ActorSystem, Turn
from benchmarks.question import Figure, Question, Side, Target, checked

__all__ = ["QUESTIONS", "actorflow_actors", "trio_tasks"]

ITEMS = 100_000
IDLE_SECONDS = 2.0

#: Numbers waiting for an actor at the most.
CAPACITY = 256


class Sleeper(Actor):
    """Counts what it has been sent."""

    seen: int = 0

    async def receive(self, message: int, ctx: Turn) -> int:
        self.seen += message
        return self.seen


class Weighed:
    """What the process weighs and uses, read at the moments that count."""

    def __init__(self, items: int) -> None:
        self._items = items
        self.figures: dict[str, float] = {}
        self._before = 0.0

    async def begin(self) -> None:
        """All that is not an actor is there."""
        await _settle()
        self._before = resident_bytes()
        self._started = time.perf_counter()

    async def spawned(self) -> None:
        """All actors are there."""
        self.figures["spawned"] = self._items / (time.perf_counter() - self._started)
        await _settle()
        self.figures["parked"] = self._kilobytes_each()

    async def idle(self, seconds: float) -> None:
        """Nothing happens for *seconds*."""
        used, started = time.process_time(), time.perf_counter()
        await trio.sleep(seconds)
        elapsed = time.perf_counter() - started
        self.figures["share"] = 100 * (time.process_time() - used) / elapsed

    async def handled(self) -> None:
        """Each actor has handled a message."""
        await _settle()
        self.figures["used"] = self._kilobytes_each()

    def _kilobytes_each(self) -> float:
        return (resident_bytes() - self._before) / self._items / 1000


async def _settle() -> None:
    import trio.testing  # Not above: it loads pytest, where that is installed.

    await trio.testing.wait_all_tasks_blocked()
    gc.collect()


def resident_bytes() -> float:
    """The memory of this process now; where that cannot be read, the most it ever had."""
    try:
        with open("/proc/self/statm", encoding="ascii") as facts:
            return int(facts.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)


def actorflow_actors(
    items: int, actor: type[Actor] = Sleeper, seconds: float = IDLE_SECONDS
) -> Mapping[str, float]:
    """Our own: actors of one system."""
    weighed = Weighed(items)

    async def main() -> float:
        async with ActorSystem("bench") as system:
            first = await system.spawn(actor, name="first")
            await first.ask(1)
            await weighed.begin()
            refs: list[ActorRef[Any]] = [
                await system.spawn(actor, name=str(number)) for number in range(items)
            ]
            await weighed.spawned()
            checked("actors alive", items + 1, system.stats()["actors"])
            await weighed.idle(seconds)
            for ref in refs:
                await ref.tell(1)
            await weighed.handled()
            checked("messages handled", items, sum([await ref.ask(0) for ref in refs]))
            return time.perf_counter()

    leaving = trio.run(main)
    weighed.figures["ended"] = items / (time.perf_counter() - leaving)
    return weighed.figures


def trio_tasks(items: int, seconds: float = IDLE_SECONDS) -> Mapping[str, float]:
    """By hand: a task that reads a channel for each actor."""
    weighed = Weighed(items)
    seen = 0

    async def live(source: trio.MemoryReceiveChannel[int]) -> None:
        nonlocal seen
        async for message in source:
            seen += message

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            await weighed.begin()
            targets = []
            for _ in range(items):
                target, source = trio.open_memory_channel[int](CAPACITY)
                nursery.start_soon(live, source)
                targets.append(target)
            await weighed.spawned()
            await weighed.idle(seconds)
            for target in targets:
                await target.send(1)
            await weighed.handled()
            checked("messages handled", items, seen)
            nursery.cancel_scope.cancel()
            return time.perf_counter()

    leaving = trio.run(main)
    weighed.figures["ended"] = items / (time.perf_counter() - leaving)
    return weighed.figures


QUESTIONS = (
    Question(
        name="idle",
        ours=Side(name="actorflow", run=actorflow_actors),
        peers=(Side(name="trio tasks by hand", run=trio_tasks),),
        figures=(
            Figure(
                key="parked",
                title="100,000 idle actors: each",
                unit="kB",
                least=True,
                targets=(Target(must=6, reach=4),),
            ),
            Figure(
                key="used",
                title="100,000 idle actors: each, after a message",
                unit="kB",
                least=True,
                targets=(Target(must=8),),
            ),
            Figure(
                key="share",
                title="100,000 idle actors: processor used",
                unit="%",
                least=True,
                targets=(Target(must=0.5),),
            ),
            Figure(key="spawned", title="100,000 actors spawned by one caller", unit="actors/s"),
            Figure(key="ended", title="100,000 actors ended with the system", unit="actors/s"),
        ),
        items=ITEMS,
        quick_items=10_000,
        rounds=2,
        warm=False,
    ),
)
