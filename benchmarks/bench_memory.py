"""Does a million items from a generator into a slow last stage stay in little memory?

Question: is the memory of a run bounded by its mailboxes and its window, and not by
its input? Also while every item fails once and waits for its retry, and while
results are put back into the order of feeding?

Load: ITEMS dicts from a generator through a first stage of four workers that do not
wait into a last stage of one worker that waits once per item, which makes the last
stage the slow one. The sink counts and adds up; for `memory-ordered` it also checks
that every item is the one after the one before.

    memory-plain        as it is
    memory-failing      every item fails once in the first stage, under
                        Retry(5, backoff=Fixed(0)); the report must say so
    memory-ordered      with ordered=True
    memory-graph        two stages between the first and the last of a graph, each with all values
    memory-joined       the same as the joined branches of a `Parallel`
    memory-batches      the last stage takes lists of a hundred
    memory-generator    the first stage gives each value twice
    memory-keyed        a thousand keys, each with an order of its own
    memory-stream       results are taken one by one, by ``stream``
    memory-executor     by ``map_iter`` of an executor
    memory-durable      with a store, every cut on disk

The figure is the most memory the process ever had, Python and all libraries included:
about 37 MiB of it is there before the first item. It is the worst round that counts.
There is no peer: those that read their input ahead hold all of it.

    python -m benchmarks memory
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import trio

from actorflow import (
    Batch,
    Executor,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Turn,
    stage,
)
from benchmarks.question import Figure, Question, Side, Target, WrongAnswer, checked

__all__ = ["QUESTIONS", "failing", "ordered", "plain"]

ITEMS = 1_000_000
WORKERS = 4


class Tally:
    """A sink that counts and adds up, and may insist on the order."""

    def __init__(self, *, ordered: bool) -> None:
        self.count = self.sum = 0
        self._ordered = ordered

    async def open(self) -> None:
        """Nothing to get ready."""

    async def write(self, values: Sequence[int]) -> None:
        """Take a block of values."""
        if self._ordered:
            for place, value in enumerate(values, start=self.count):
                if value != place:
                    raise WrongAnswer(f"value {place}: got {value}")
        self.count += len(values)
        self.sum += sum(values)

    async def aclose(self) -> None:
        """Nothing to let go of."""


def numbered(items: int) -> Iterator[dict[str, Any]]:
    """Items that are made one by one, each an object of its own."""
    for number in range(items):
        yield {"number": number, "place": "https://example.com/items"}


async def take_number(item: dict[str, Any]) -> int:
    number: int = item["number"]
    return number


async def take_number_at_last(item: dict[str, Any], ctx: Turn) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("the first attempt always fails")
    number: int = item["number"]
    return number


async def pass_on_slowly(number: int) -> int:
    await trio.lowlevel.checkpoint()
    return number


def _run(items: int, first: Any, *, in_order: bool = False, failures: int = 0) -> dict[str, float]:
    flow: Pipeline[dict[str, Any], int] = Pipeline(
        [
            stage(first, name="first", workers=WORKERS, policies=[Retry(5, backoff=Fixed(0))]),
            stage(pass_on_slowly, name="last", workers=1),
        ]
    )
    tally = Tally(ordered=in_order)
    started = time.perf_counter()
    report = flow.run_sync(numbered(items), sink=tally, ordered=in_order)
    seconds = time.perf_counter() - started
    checked("values that came out", items, tally.count)
    checked("their sum", items * (items - 1) // 2, tally.sum)
    checked("retries", failures, report.stages["first"].retried)
    return {"peak": peak_mebibytes(), "rate": items / seconds}


def peak_mebibytes() -> float:
    """The most memory this program has had so far."""
    status = Path("/proc/self/status")  # On Linux `ru_maxrss` begins with that of the parent.
    if status.exists():
        facts = dict(line.split(":", 1) for line in status.read_text("ascii").splitlines())
        return int(facts["VmHWM"].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def plain(items: int, first: Any = take_number) -> Mapping[str, float]:
    return _run(items, first)


def failing(items: int, first: Any = take_number_at_last) -> Mapping[str, float]:
    return _run(items, first, failures=items)


def ordered(items: int, first: Any = take_number) -> Mapping[str, float]:
    return _run(items, first, in_order=True)


async def add_nothing(number: int) -> int:
    return number


async def add_up(numbers: list[int]) -> int:
    await trio.lowlevel.checkpoint()
    return sum(numbers)


async def twice(item: dict[str, Any]) -> AsyncIterator[int]:
    yield item["number"]
    yield 0


def _flow(*nodes: Any) -> Pipeline[dict[str, Any], Any]:
    return Pipeline([stage(take_number, workers=WORKERS), *nodes], name="memory")


def _last(**options: Any) -> Any:
    return stage(pass_on_slowly, workers=1, **options)


def _measured(
    items: int, flow: Any, *, values: int | None = None, **options: Any
) -> Mapping[str, float]:
    """Run *items* through *flow*, which gives so many *values* of the same sum."""
    tally = Tally(ordered=False)
    started = time.perf_counter()
    flow.run_sync(numbered(items), sink=tally, **options)
    seconds = time.perf_counter() - started
    return _checked(items, tally, items if values is None else values, seconds)


def _checked(items: int, tally: Tally, values: int, seconds: float) -> Mapping[str, float]:
    checked("values that came out", values, tally.count)
    checked("their sum", items * (items - 1) // 2, tally.sum)
    return {"peak": peak_mebibytes(), "rate": items / seconds}


def graph(items: int) -> Mapping[str, float]:
    flow: Graph[dict[str, Any], int] = Graph("memory")
    flow.add(stage(take_number, workers=WORKERS), add_nothing, nothing, _last())
    flow.connect(take_number, add_nothing).connect(take_number, nothing)
    flow.connect(add_nothing, "pass_on_slowly").connect(nothing, "pass_on_slowly")
    return _measured(items, flow, values=2 * items)


async def nothing(number: int) -> int:
    return 0


def joined(items: int) -> Mapping[str, float]:
    return _measured(items, _flow(Parallel([add_nothing, nothing]), stage(add_up)))


def batches(items: int) -> Mapping[str, float]:
    flow = _flow(stage(add_up, batch=Batch(100)))
    return _measured(items, flow, values=-(-items // 100))


def generator(items: int) -> Mapping[str, float]:
    flow: Pipeline[dict[str, Any], int] = Pipeline([stage(twice, workers=WORKERS), _last()])
    return _measured(items, flow, values=2 * items)


def keyed(items: int) -> Mapping[str, float]:
    return _measured(items, _flow(_last(key=lambda number: number % 1000)))


def durable(items: int) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return _measured(items, _flow(_last()), store=f"sqlite:///{folder}/run.db")


def streamed(items: int) -> Mapping[str, float]:
    tally = Tally(ordered=False)

    async def main() -> None:
        async with _flow(_last()).stream(numbered(items)) as results:
            async for result in results:
                await tally.write([result.value])

    return _timed(items, tally, main)


def executed(items: int) -> Mapping[str, float]:
    tally = Tally(ordered=True)

    async def main() -> None:
        async with Executor(WORKERS) as executor:
            async for value in executor.map_iter(take_number, numbered(items)):
                await tally.write([value])

    return _timed(items, tally, main)


def _timed(items: int, tally: Tally, main: Any) -> Mapping[str, float]:
    started = time.perf_counter()
    trio.run(main)
    return _checked(items, tally, items, time.perf_counter() - started)


def _question(name: str, run: Any, title: str) -> Question:
    return Question(
        name=name,
        ours=Side(name="actorflow", run=run),
        figures=(
            Figure(
                key="peak",
                title=f"{title}: peak memory",
                unit="MiB",
                least=True,
                targets=(Target(must=80, reach=60),),
            ),
            Figure(key="rate", title=f"{title}: rate", unit="items/s"),
        ),
        items=ITEMS,
        quick_items=100_000,
        rounds=1,
        warm=False,
    )


QUESTIONS = (
    _question("memory-plain", plain, "1 M items, slow last stage"),
    _question("memory-failing", failing, "1 M items, each fails once"),
    _question("memory-ordered", ordered, "1 M items, in order"),
    _question("memory-graph", graph, "1 M items, a fork in a graph"),
    _question("memory-joined", joined, "1 M items, joined branches"),
    _question("memory-batches", batches, "1 M items, batches of 100"),
    _question("memory-generator", generator, "1 M items, each gives two"),
    _question("memory-keyed", keyed, "1 M items, in order of their key"),
    _question("memory-stream", streamed, "1 M items, taken from a stream"),
    _question("memory-executor", executed, "1 M items, map_iter of an executor"),
    _question("memory-durable", durable, "1 M items, durable"),
)
