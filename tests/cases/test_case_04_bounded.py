"""Case 4: everything is bounded.

However many items are fed to a slow stage, memory stays flat; and however small the window of a
stream is, its first result comes at once and nothing deadlocks, though the input has no end.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorflow import Executor, Fixed, Retry, Turn, stage
from tests.flows.flowing import Boom, counted, pipeline

KIBI = 1024

#: Runs as many items as its argument says through a stage that waits for each, and prints how
#: much larger the process has become since a tenth of them, in KiB.
SCRIPT = """
import resource, sys
import trio
from actorflow import Pipeline, stage

ITEMS = int(sys.argv[1])
marks = []

def size():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

@stage(workers=4)
async def slow(item):
    await trio.lowlevel.checkpoint()
    if item["id"] == ITEMS // 10:
        marks.append(size())
    return item

report = Pipeline([slow]).run_sync({"id": each, "text": "x" * 50} for each in range(ITEMS))
assert report.counts["done"] == ITEMS, report.counts
print(size() - marks[0])
"""


def grown(items: int) -> int:
    """KiB by which a process grows over the last nine tenths of *items*."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(items)],
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    return int(done.stdout)


def test_a_hundred_thousand_items_into_a_slow_stage_keep_memory_flat() -> None:
    assert grown(100_000) < 4 * KIBI


@pytest.mark.slow
def test_a_million_items_into_a_slow_stage_keep_memory_flat() -> None:
    assert grown(1_000_000) < 4 * KIBI


async def fails_first(value: int, ctx: Turn) -> int:
    if ctx.attempt == 1:
        raise Boom
    return value


async def passes(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value


FLOWS: dict[str, Any] = {
    "a row": lambda: [passes, stage(passes, name="again")],
    "a row that is retried": lambda: [stage(fails_first, policies=[Retry(2, backoff=Fixed(0))])],
}


@pytest.mark.parametrize("nodes", FLOWS.values(), ids=FLOWS.keys())
async def test_the_peak_does_not_depend_on_the_length_of_the_input(nodes: Any) -> None:
    async def peak(items: int) -> int:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        report = await pipeline(nodes()).run(iter(range(items)), window=64)
        assert report.counts == counted(fed=items, done=items)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        await peak(200)
        few, many = await peak(1_000), await peak(8_000)
    finally:
        tracemalloc.stop()

    assert many < few + 64 * KIBI


# Streams --------------------------------------------------------------------------------


async def slow(value: int) -> int:
    await trio.sleep(1)
    return value


@pytest.mark.parametrize("endless", [False, True], ids=["100 items", "no end"])
@pytest.mark.parametrize("capacity", [0, 1, 5])
@pytest.mark.parametrize("window", [1, 5, 1024])
async def test_a_stream_gives_its_first_result_at_once(
    window: int, capacity: int, endless: bool, autojump_clock: MockClock
) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count() if endless else range(100):
            read.append(number)
            yield number

    flow = pipeline([stage(slow, capacity=capacity), stage(slow, name="b", capacity=capacity)])
    async with flow.stream(numbers(), window=window) as results:
        assert (await anext(results)).value == 0
        assert trio.current_time() == 2
        assert len(read) <= window + 1


@pytest.mark.parametrize("capacity", [0, 1, 5])
@pytest.mark.parametrize("window", [1, 5])
async def test_a_stream_with_a_small_buffer_comes_to_its_end(
    window: int, capacity: int, autojump_clock: MockClock
) -> None:
    flow = pipeline(
        [stage(slow, capacity=capacity, workers=2), stage(slow, name="b", capacity=capacity)]
    )
    async with flow.stream(range(100), window=window) as results:
        found = [result.value async for result in results]

    assert sorted(found) == list(range(100))


async def test_an_input_that_is_slow_and_has_no_end_gives_results_as_it_goes(
    autojump_clock: MockClock,
) -> None:
    async def ticks() -> AsyncIterator[int]:
        for number in itertools.count():
            yield number
            await trio.sleep(60)

    async with pipeline([slow]).stream(ticks()) as results:
        times = [(await anext(results)).value or trio.current_time() for _ in range(3)]

    assert times == [1, 1, 2]
    assert trio.current_time() == 121


async def test_who_does_not_take_results_stops_the_reading(autojump_clock: MockClock) -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    async with pipeline([slow]).stream(numbers(), window=5) as results:
        await anext(results)
        await trio.sleep(1000)
        assert len(read) <= 6


# Calls ----------------------------------------------------------------------------------


async def test_an_executor_takes_calls_only_while_there_is_room(autojump_clock: MockClock) -> None:
    made: list[int] = []

    async with Executor(workers=2, capacity=3) as executor, trio.open_nursery() as nursery:

        async def submit_many() -> None:
            for number in range(100):
                await executor.submit(slow, number)
                made.append(number)

        nursery.start_soon(submit_many)
        await trio.sleep(0.5)
        assert len(made) == 5
        await trio.sleep(1)
        assert len(made) == 7
