"""Taking results: in the order of feeding where that is asked for, within a window, by whoever."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Fixed, ItemResult, Retry, Turn, stage
from tests.flows.flowing import Boom, Gate, counted, double, outcomes, pipeline


async def spread(value: int) -> AsyncIterator[int]:
    for each in range(value % 4):
        yield each


def jittery(seed: int) -> Any:
    """A handler that takes 0 to 5 seconds, skips some items and fails for some."""
    chance = random.Random(seed)

    async def handler(value: int, ctx: Turn) -> int:
        await trio.sleep(chance.choice([0, 0.1, 1, 5]))
        if value % 7 == 3:
            raise Boom(value)
        if value % 5 == 2:
            ctx.skip()
        return value

    return handler


# Order --------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 8, 1024])
async def test_ordered_results_come_in_the_order_of_feeding(
    window: int, autojump_clock: MockClock
) -> None:
    flow = pipeline([stage(jittery(window), workers=9), stage(jittery(1), workers=4, name="again")])

    found = await outcomes(flow, range(100), ordered=True, window=window)

    assert [result.number for result in found] == list(range(100))


async def test_ordered_results_of_generators_stay_together(autojump_clock: MockClock) -> None:
    flow = pipeline(
        [stage(jittery(3), workers=9), spread, stage(jittery(4), workers=9, name="last")]
    )

    found = [result.number for result in await outcomes(flow, range(100), ordered=True, window=7)]

    assert found == sorted(found)
    assert set(found) == set(range(100))


async def test_results_that_come_before_their_turn_and_after_it_take_up_no_window_for_ever(
    autojump_clock: MockClock,
) -> None:
    async def around(value: int) -> AsyncIterator[int]:
        if value % 2:
            yield value  # Waits for the item before it, which is done a second later.
        await trio.sleep(1 + value % 2)
        yield value

    flow = pipeline([stage(around, workers=2)])
    began = trio.current_time()

    found = [result.value for result in await outcomes(flow, range(20), ordered=True, window=2)]

    assert found == sorted([*range(20), *range(1, 20, 2)])
    assert trio.current_time() - began == 20  # Always two at a time.


async def test_ordered_values_reach_the_sink_in_order(autojump_clock: MockClock) -> None:
    values: list[int] = []
    flow = pipeline([stage(jittery(5), workers=9)])

    report = await flow.run(range(100), sink=values.append, ordered=True, window=10)

    assert values == sorted(values)
    assert len(values) == report.counts["done"]


async def test_a_dead_letter_is_a_result_and_holds_no_other_up(autojump_clock: MockClock) -> None:
    async def first_fails_late(value: int) -> int:
        await trio.sleep(10 if value == 0 else 0)
        if value == 0:
            raise Boom
        return value

    flow = pipeline([stage(first_fails_late, workers=4)])

    found = await outcomes(flow, range(4), ordered=True)

    assert [result.status for result in found] == ["failed", "done", "done", "done"]


async def test_results_asked_for_late_come_from_then_on_and_none_is_withheld() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=9)]).open(ordered=True, window=5) as run:
        await run.feed(range(3))
        results = run.results()
        gate.open()
        await run.feed(range(3, 50)[:2])
        found = sorted([(await anext(results)).number for _ in range(5)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.feed, range(40))
            found += [(await anext(results)).number for _ in range(40)]

    assert found == list(range(45))


async def test_what_waited_for_an_unfinished_item_is_not_lost_at_a_stop() -> None:
    never = trio.Event()

    async def first_hangs(value: int) -> int:
        if value == 0:
            await never.wait()
        return value

    values: list[int] = []
    async with pipeline([stage(first_hangs, workers=2)]).open(
        ordered=True, sink=values.append
    ) as run:
        await run.feed(range(5))
        await wait_all_tasks_blocked()
        assert values == []
        report = await run.stop()

    assert report.counts == counted(fed=5, done=4, held=1)
    assert values == [1, 2, 3, 4]


# The window ---------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 10])
async def test_ordered_feeding_is_never_further_ahead_than_the_window(
    window: int, autojump_clock: MockClock
) -> None:
    """From the oldest item that is unfinished or untaken to the newest one fed."""
    flow = pipeline([stage(jittery(window), workers=5), stage(jittery(2), name="end")])
    taken, newest = -1, -1

    def numbers() -> Iterator[int]:
        nonlocal newest
        for newest in range(60):
            assert newest - taken <= window
            yield newest

    async with flow.stream(numbers(), ordered=True, window=window) as results:
        async for result in results:
            taken = result.number

    assert (newest, taken) == (59, 59)


async def test_at_most_a_window_of_items_is_inside_or_untaken() -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(200):
            read.append(number)
            yield number

    async with pipeline([stage(double, workers=3)]).stream(numbers(), window=16) as results:
        taken = 0
        async for _ in results:
            taken += 1
            await wait_all_tasks_blocked()
            assert len(read) - taken <= 16

    assert taken == 200


async def test_a_generator_that_has_filled_the_window_waits_for_the_taker() -> None:
    made: list[int] = []

    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(1000):
            made.append(value)
            yield value

    async with pipeline([flood]).stream([0], window=10) as results:
        await wait_all_tasks_blocked()
        assert len(made) == 11  # One is in hand.
        found = [result.value async for result in results]

    assert found == list(range(1000))


async def test_generators_that_wait_for_the_taker_let_the_oldest_item_through(
    autojump_clock: MockClock,
) -> None:
    """What comes too early for its turn takes no place that the oldest item needs."""

    async def pieces(value: int) -> AsyncIterator[int]:
        for _ in range(3 if value else 1):
            yield value

    async def some(value: int) -> AsyncIterator[int]:
        if value == 0:
            yield value
            yield value  # Now the window is full, and the pieces of the other item wait first.
        await trio.sleep(1 - value / 2)
        yield value

    flow = pipeline([pieces, stage(some, workers=4)])
    async with flow.stream([0, 1], ordered=True, window=2) as results:
        await trio.sleep(5)
        found = [result.value async for result in results]

    assert found == [0, 0, 0, 1, 1, 1]


async def test_a_generator_waits_for_a_slow_sink_even_while_the_run_finishes() -> None:
    made: list[int] = []
    go = trio.Event()
    values: list[int] = []

    class Slow:
        async def open(self) -> None: ...

        async def write(self, some: Sequence[int]) -> None:
            await go.wait()
            values.extend(some)

        async def aclose(self) -> None: ...

    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(1000):
            made.append(value)
            yield value

    async with pipeline([flood]).open(sink=Slow(), window=10) as run:
        await run.feed([0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.finish)
            await wait_all_tasks_blocked()
            assert len(made) <= 30
            go.set()

    assert values == list(range(1000))


async def test_finish_does_not_wait_for_results_that_nobody_takes() -> None:
    async def flood(_: int) -> AsyncIterator[int]:
        for value in range(100):
            yield value

    async with pipeline([flood]).open(window=5) as run:
        results = run.results()
        await run.feed([0])
        await wait_all_tasks_blocked()
        report = await run.finish()
        found = [result.value async for result in results]

    assert report.counts == counted(fed=1, done=1)
    assert found == list(range(100))


# Takers -------------------------------------------------------------------------------


async def test_results_before_results_are_counted_and_dropped() -> None:
    async with pipeline([double]).open() as run:
        await run.feed([1, 2])
        await wait_all_tasks_blocked()
        results = run.results()
        await run.feed([3])
        found = [(await anext(results)).value]
        await run.finish()
        found += [result.value async for result in results]

    assert found == [6]


async def test_each_taker_gets_every_result() -> None:
    async with pipeline([double]).open() as run:
        first, second = run.results(), run.results()
        await run.feed(range(5))
        await run.finish()

        assert [result.value async for result in first] == [0, 2, 4, 6, 8]
        assert [result.value async for result in second] == [0, 2, 4, 6, 8]


async def test_several_tasks_may_share_one_stream_of_results() -> None:
    found: list[ItemResult[int]] = []
    async with pipeline([double]).open() as run:
        results = run.results()

        async def take() -> None:
            found.extend([result async for result in results])

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(take)
            await wait_all_tasks_blocked()
            await run.feed(range(20))
            await run.finish()

    assert sorted(result.number for result in found) == list(range(20))


async def test_a_taker_that_closes_its_stream_holds_nothing_up() -> None:
    async with pipeline([double]).open(window=3) as run:
        results = run.results()
        await run.feed(range(2))
        await results.aclose()
        await run.feed(range(20))
        report = await run.finish()

        assert [result async for result in results] == []
    assert report.counts == counted(fed=22, done=22)


async def test_a_cancelled_wait_for_a_result_loses_none() -> None:
    async with pipeline([double]).open() as run:
        results = run.results()
        with trio.move_on_after(0):
            await anext(results)
        await run.feed([1])

        assert (await anext(results)).value == 2


async def test_a_result_of_a_retried_item_comes_once(autojump_clock: MockClock) -> None:
    async def flaky(value: int, ctx: Turn) -> int:
        if ctx.attempt < 3:
            raise Boom
        return value

    flow = pipeline([stage(flaky, workers=3, policies=[Retry(3, backoff=Fixed(1))])])

    found = await outcomes(flow, range(20))

    assert sorted(result.number for result in found) == list(range(20))
    assert {result.attempts for result in found} == {3}


async def test_a_long_stream_gives_other_tasks_their_turn() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        async with pipeline([double]).stream(range(5000)) as results:
            async for _ in results:
                pass
        nursery.cancel_scope.cancel()

    assert ticks > 50
