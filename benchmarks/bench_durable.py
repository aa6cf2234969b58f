"""What does it cost that nothing is lost?

Question: how fast is a run whose items, states and results survive `kill -9` and power
loss, how long does a caller wait until its item is on disk, how long does it take to go
on from what the disk has, and how long does a checkpoint hold the event loop?

Load: the three no-op stages of `stages`, in a SQLite file with ``synchronous=FULL`` (an
fsync per commit), in a temporary directory.

    durable-stages     items fed by FEEDERS callers in blocks of BLOCK, each waiting until its
                       block is on disk; accept is the time of such a call
    durable-busy       the same, with handlers that keep the processor busy for 20 µs
    durable-accept     64 callers, each waiting for its own single item
    durable-restore    a new process takes over a run that holds so many messages
    durable-cut        checkpoints while so many messages are queued: the longest time that
                       the loop has not come round; the same while they wait for a retry, behind
                       others of their key, or as results behind an earlier one

Baselines: our own stages in memory, and AntFlow in memory, as none of the peers keeps
anything. Each process measures itself.

    python -m benchmarks durable
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from actorflow import Fixed, Pipeline, Retry, stage
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Change
from benchmarks.bench_memory import peak_mebibytes
from benchmarks.bench_stages import ANTFLOW, QUICK, WORKERS, Handler, Total, actorflow_stages
from benchmarks.question import Figure, Question, Side, Target, checked

__all__ = ["QUESTIONS"]

FEEDERS = 8
BLOCK = 128
CALLERS = 64
WINDOW = 4_096
ITEMS = 100_000
HELD = 1_000_000
QUEUED = 100_000
CUTS = 100

#: Seconds that a busy handler keeps the processor.
BUSY_SECONDS = 20e-6


class Counting(SqliteStore):
    """A SQLite store that counts its commits."""

    commits = 0

    def commit(self, change: Change) -> None:
        """Count, and commit."""
        self.commits += 1
        super().commit(change)


async def busy_add(value: int) -> int:
    return _busy(value + 1)


async def busy_double(value: int) -> int:
    return _busy(value * 2)


async def busy_take(value: int) -> int:
    return _busy(value - 1)


BUSY: Sequence[Handler] = (busy_add, busy_double, busy_take)


def _busy(value: int) -> int:
    until = time.perf_counter() + BUSY_SECONDS
    while time.perf_counter() < until:
        pass
    return value


def flow_of(handlers: Sequence[Handler], **options: Any) -> Pipeline[int, int]:
    return Pipeline(
        [stage(each, workers=WORKERS, policies=[Retry(3)], **options) for each in handlers],
        name="durable",
    )


def in_folder(measure: Callable[[Path], Mapping[str, float]]) -> Mapping[str, float]:
    """*measure* with a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))


def fed(
    items: int, feeders: int, block: int, handlers: Sequence[Handler] = QUICK
) -> Mapping[str, float]:
    """Feed *items* by *feeders* callers in blocks, each waiting for the disk."""

    def measure(folder: Path) -> Mapping[str, float]:
        store, waits, total = Counting(folder / "run.db"), list[float](), Total()
        numbers = iter(range(items))

        async def feed(run: Any) -> None:
            while part := list(itertools.islice(numbers, block)):
                began = time.perf_counter()
                await run.feed(part)
                waits.append(time.perf_counter() - began)

        async def main() -> Any:
            flow = flow_of(handlers)
            async with flow.open(store=store, sink=total, window=WINDOW) as run:
                async with trio.open_nursery() as nursery:
                    for _ in range(feeders):
                        nursery.start_soon(feed, run)
                return await run.finish()

        began = time.perf_counter()
        report = trio.run(main)
        seconds = time.perf_counter() - began
        total.check(items)
        checked("items that the report says are done", items, report.counts["done"])
        waits.sort()
        return {
            "rate": items / seconds,
            "p50": 1_000 * statistics.median(waits),
            "p99": 1_000 * waits[len(waits) * 99 // 100],
            "commits": store.commits / seconds,
        }

    return in_folder(measure)


def durable_stages(items: int) -> Mapping[str, float]:
    return fed(items, FEEDERS, BLOCK)


def durable_busy(items: int) -> Mapping[str, float]:
    return fed(items, FEEDERS, BLOCK, BUSY)


def busy_in_memory(items: int) -> Mapping[str, float]:
    return actorflow_stages(items, BUSY)


def durable_accept(items: int) -> Mapping[str, float]:
    return fed(items, CALLERS, 1)


async def never(value: int) -> int:
    await trio.sleep_forever()
    return value


def holding(items: int) -> Pipeline[int, int]:
    """A flow of one stage that takes so many items and is done with none."""
    return Pipeline([stage(never, workers=2, capacity=items)], name="holding")


def restored(items: int) -> Mapping[str, float]:
    """Go on from so many held messages; the memory is the most this process has had."""

    def measure(folder: Path) -> Mapping[str, float]:
        store = f"sqlite:///{folder}/run.db"
        _hold(store, items)

        async def main() -> float:
            began = time.perf_counter()
            async with holding(items).open(store=store, window=items) as run:
                seconds = time.perf_counter() - began
                checked("items held", items, run.stats().counts["held"])
                run.cancel()
            return seconds

        seconds = trio.run(main)
        return {"seconds": seconds, "peak": peak_mebibytes()}

    return in_folder(measure)


def _hold(store: str, items: int) -> None:
    """Leave a run behind that holds so many items, as another process would."""
    import subprocess

    code = f"from benchmarks.bench_durable import leave; leave({store!r}, {items})"
    subprocess.run([sys.executable, "-c", code], check=True)


def leave(store: str, items: int) -> None:
    """Feed so many items into a run that is done with none, and stop it."""

    async def main() -> None:
        async with holding(items).open(store=store, window=items) as run:
            await run.feed(range(items))
            await run.stop()

    trio.run(main)


async def fail(value: int) -> int:
    raise ValueError(value)


async def first_never(value: int) -> int:
    return await never(value) if value == 0 else value


def cut_with_queue(items: int) -> Mapping[str, float]:
    """Checkpoints while so many messages wait in a mailbox."""
    return cut_with(items, holding(items + CUTS))


def cut_with_retries(items: int) -> Mapping[str, float]:
    """Checkpoints while so many messages wait for their next attempt."""
    again = Retry(2, backoff=Fixed(3_600.0))
    room = items + CUTS
    waiting = stage(fail, workers=4, policies=[again], capacity=room, max_waiting=room)
    return cut_with(items, Pipeline([waiting], name="waiting"), waiting="retried")


def cut_with_keys(items: int) -> Mapping[str, float]:
    """Checkpoints while so many messages wait for another one of their key."""
    room = items + CUTS
    keyed = stage(never, workers=2, capacity=room, max_waiting=room, key=lambda value: value % 7)
    return cut_with(items, Pipeline([keyed], name="keyed"))


def cut_with_order(items: int) -> Mapping[str, float]:
    """Checkpoints while so many results wait for an earlier one."""
    flow: Pipeline[int, int] = Pipeline([stage(first_never, workers=4)], name="ordered")
    return cut_with(items, flow, waiting="received", ordered=True, sink=Total().add)


def cut_with(
    items: int, flow: Pipeline[int, int], *, waiting: str = "", **options: Any
) -> Mapping[str, float]:
    """The longest time between two rounds of the loop, over checkpoints of *flow* with so many
    items in it, of which nearly all have come as far as the figure *waiting*."""

    def measure(folder: Path) -> Mapping[str, float]:
        gaps: list[float] = []

        async def watch() -> None:
            last = time.perf_counter()
            while True:
                await trio.lowlevel.checkpoint()
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        async def main() -> None:
            store = Counting(folder / "run.db")
            room = items + CUTS
            async with flow.open(store=store, window=room, **options) as run:
                await run.feed(range(items))
                if waiting:
                    while getattr(_first(run.stats()), waiting) < items:
                        await trio.lowlevel.checkpoint()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch)
                    before = store.commits
                    for number in range(CUTS):
                        await run.feed([number])
                    checked("checkpoints taken", True, store.commits >= before + CUTS)
                    nursery.cancel_scope.cancel()
                run.cancel()

        trio.run(main)
        return {"hold": 1_000 * max(gaps)}

    return in_folder(measure)


def _first(stats: Any) -> Any:
    return next(iter(stats.stages.values()))


# The questions ----------------------------------------------------------------------------

MEMORY = Side(name="actorflow in memory", run=actorflow_stages)
BUSY_MEMORY = Side(name="the same in memory", run=busy_in_memory)


def accept(p50: float, p99: float | None, reach: float | None) -> tuple[Figure, ...]:
    """The lines on how long a caller waits, in milliseconds."""
    last = () if p99 is None else (Target(must=p99),)
    return (
        Figure(
            key="p50",
            title="its accept, half of them within",
            unit="ms",
            least=True,
            targets=(Target(must=p50, reach=reach),),
        ),
        Figure(key="p99", title="its accept, 99 % within", unit="ms", least=True, targets=last),
        Figure(key="commits", title="its commits", unit="/s", targets=(Target(must=20),)),
    )


QUESTIONS = (
    Question(
        name="durable-stages",
        ours=Side(name="actorflow, SQLite, fsync", run=durable_stages),
        peers=(MEMORY, ANTFLOW),
        figures=(
            Figure(
                key="rate",
                title="durable: 3 no-op stages x 4 workers",
                unit="items/s",
                targets=(
                    Target(must=80_000, reach=120_000),
                    Target(over=MEMORY.name, must=0.35, reach=0.5),
                    Target(over=ANTFLOW.name, must=18),
                ),
            ),
            *accept(25, 100, 10),
        ),
        items=ITEMS,
        quick_items=40_000,
    ),
    Question(
        name="durable-busy",
        ours=Side(name="actorflow, SQLite, fsync", run=durable_busy),
        peers=(BUSY_MEMORY,),
        figures=(
            Figure(
                key="rate",
                title="durable: 3 stages, each busy for 20 µs",
                unit="items/s",
                targets=(Target(over=BUSY_MEMORY.name, must=0.35, reach=0.5),),
            ),
            *accept(100, None, 50),
        ),
        items=20_000,
        quick_items=10_000,
    ),
    Question(
        name="durable-accept",
        ours=Side(name="actorflow, SQLite, fsync", run=durable_accept),
        figures=(
            Figure(
                key="rate",
                title="durable accept, 64 callers",
                unit="items/s",
                targets=(Target(must=20_000, reach=40_000),),
            ),
            *accept(5, None, None),
        ),
        items=ITEMS // 2,
        quick_items=20_000,
    ),
    Question(
        name="durable-restore",
        ours=Side(name="actorflow, SQLite", run=restored),
        figures=(
            Figure(
                key="seconds",
                title="1,000,000 held messages: restored in",
                unit="s",
                least=True,
                targets=(Target(must=3, reach=1.5),),
            ),
            Figure(
                key="peak",
                title="1,000,000 held messages: peak memory",
                unit="MiB",
                least=True,
                targets=(Target(must=600),),
            ),
        ),
        items=HELD,
        quick_items=HELD // 5,
        rounds=3,
        warm=False,
    ),
    *(
        Question(
            name=name,
            ours=Side(name="actorflow, SQLite, fsync", run=measure),
            figures=(
                Figure(
                    key="hold",
                    title=f"a checkpoint with 100,000 {what}: loop held",
                    unit="ms",
                    least=True,
                    targets=(Target(must=5, reach=1),),
                ),
            ),
            items=QUEUED,
            quick_items=QUEUED,
            rounds=3,
            warm=False,
        )
        for name, what, measure in (
            ("durable-cut", "queued", cut_with_queue),
            ("durable-cut-retries", "waiting for a retry", cut_with_retries),
            ("durable-cut-keys", "behind others of their key", cut_with_keys),
            ("durable-cut-order", "results behind an earlier one", cut_with_order),
        )
    ),
)
