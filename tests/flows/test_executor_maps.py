"""Executors map functions over their input: in order, lazily, bounded, and in flat memory."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    ConfigurationError,
    Executor,
    Future,
)
from actorflow.core.envelope import Envelope
from tests.flows.flowing import Boom, Gate, counted, double, nothing_left


async def add(left: int, right: int, *, more: int = 0) -> int:
    return left + right + more


async def fail(value: object) -> None:
    raise Boom(value)


def shout(text: str) -> str:
    return text.upper()


class Failing:
    """Fails so many times, then gives its value."""

    def __init__(self, times: int, kind: type[BaseException] = Boom) -> None:
        self.left = times
        self.calls = 0
        self.kind = kind
        self.error: BaseException | None = None

    async def __call__(self, value: Any = None) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            self.error = self.kind()
            raise self.error
        return value


# map and map_iter -----------------------------------------------------------------------


async def test_map_gives_results_in_the_order_of_the_input(autojump_clock: MockClock) -> None:
    async def backwards(value: int) -> int:
        await trio.sleep(20 - value)
        return value

    async with Executor(20) as executor:
        assert await executor.map(backwards, range(20)) == list(range(20))


async def test_map_takes_one_value_of_each_iterable_until_the_shortest_ends() -> None:
    async with Executor() as executor:
        assert await executor.map(add, [1, 2, 3], (10, 20)) == [11, 22]
        assert await executor.map(add, [], [1]) == []
        with pytest.raises(ConfigurationError, match="must be one iterable or more"):
            await executor.map(add)


async def test_map_makes_all_calls_and_raises_all_failures() -> None:
    made: list[int] = []

    async def odd_fails(value: int) -> int:
        made.append(value)
        if value % 2:
            raise Boom(value)
        return value

    async with Executor(1, name="jobs") as executor:
        with pytest.raises(ExceptionGroup) as caught:
            await executor.map(odd_fails, range(5))
        assert str(caught.value) == "executor 'jobs': 2 of 5 calls failed (2 sub-exceptions)"
        assert [each.args for each in caught.value.exceptions] == [(1,), (3,)]
        assert made == [0, 1, 2, 3, 4]
        values = await executor.map(odd_fails, range(4), return_exceptions=True)
        assert [type(each) for each in values] == [int, Boom, int, Boom]


async def test_a_cancelled_map_cancels_its_calls(autojump_clock: MockClock) -> None:
    gate = Gate()
    async with Executor(2) as executor:
        with trio.move_on_after(1):
            await executor.map(gate, range(10))
        await wait_all_tasks_blocked()
        assert gate.inside == []
        assert executor.stats().counts == counted(fed=10, skipped=10)


async def test_map_iter_gives_results_in_the_order_of_the_input(
    autojump_clock: MockClock,
) -> None:
    async def backwards(value: int) -> int:
        await trio.sleep(10 - value % 10)
        return value

    async with Executor(7, capacity=9) as executor:
        found = [value async for value in executor.map_iter(backwards, range(100))]

    assert found == list(range(100))


async def test_map_iter_reads_its_input_only_as_far_as_there_is_room() -> None:
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read - 1

    async with Executor(2, capacity=8) as executor:
        results = executor.map_iter(double, numbers())
        assert read == 0
        for number in range(50):
            assert await anext(results) == 2 * number
            assert read <= number + 2 + 8 + 1
        del results


async def test_one_slow_call_does_not_leave_the_other_workers_idle(
    autojump_clock: MockClock,
) -> None:
    async def first_is_slow(value: int) -> int:
        await trio.sleep(10 if value == 0 else 1)
        return value

    async with Executor(2, capacity=20) as executor:
        results = executor.map_iter(first_is_slow, range(11))
        assert await anext(results) == 0
        assert [value async for value in results] == list(range(1, 11))

    assert trio.current_time() == pytest.approx(10)


async def test_map_iter_goes_on_where_others_fill_the_queue(autojump_clock: MockClock) -> None:
    async def second(value: int) -> int:
        await trio.sleep(1)
        return value

    async def others() -> None:
        for _ in range(20):
            await executor.submit(second, -1)

    async with Executor(1, capacity=1) as executor, trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await wait_all_tasks_blocked()
        found = [value async for value in executor.map_iter(second, range(10))]

    assert found == list(range(10))


async def test_leaving_map_iter_early_cancels_the_calls_that_are_ahead() -> None:
    gate = Gate()

    async def first_is_quick(value: int) -> int:
        return value if value == 0 else await gate(value)

    async with nothing_left(), Executor(2, capacity=10) as executor:
        async for value in executor.map_iter(first_is_quick, range(1000)):
            assert value == 0
            await wait_all_tasks_blocked()
            assert gate.inside == [1, 2]
            break
        await wait_all_tasks_blocked()
        assert gate.inside == []
        counts = executor.stats().counts
        assert (counts["done"], counts["held"]) == (1, 0)
        assert counts["skipped"] <= 12


async def test_a_map_iter_that_is_closed_cancels_the_calls_that_are_ahead() -> None:
    gate = Gate()
    async with Executor(2) as executor:
        results: Any = executor.map_iter(gate, range(5))
        with trio.move_on_after(0):
            await anext(results)
        await wait_all_tasks_blocked()
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        await wait_all_tasks_blocked()

        assert gate.inside == []
        assert executor.stats().counts["held"] == 0


async def test_map_iter_raises_the_first_failure_in_order_and_cancels_the_rest() -> None:
    async def third_fails(value: int) -> int:
        if value == 2:
            raise Boom(value)
        return value if value < 2 else await trio.sleep_forever()

    async with Executor(5) as executor:
        results = executor.map_iter(third_fails, range(10))
        assert [await anext(results), await anext(results)] == [0, 1]
        with pytest.raises(Boom):
            await anext(results)
        await wait_all_tasks_blocked()
        assert executor.stats().counts == counted(fed=10, done=2, dead=1, skipped=7)


async def test_what_the_input_raises_comes_out_and_cancels_the_calls_made() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise Boom("input")

    gate = Gate()
    async with Executor(2) as executor:
        with pytest.raises(Boom, match="input"):
            await anext(executor.map_iter(gate, numbers()))
        await wait_all_tasks_blocked()
        assert executor.stats().counts == counted(fed=3, skipped=3)


# Memory ---------------------------------------------------------------------------------


def alive(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.parametrize("kept", [True, False])
async def test_dropped_futures_leave_nothing_and_kept_ones_no_message(kept: bool) -> None:
    gc.collect()
    before, others, most = alive(Envelope), alive(Future), 0
    futures: list[Future[int]] = []
    async with Executor(4, capacity=50, runs_in="loop") as executor:
        for number in range(5000):
            future = await executor.submit(double, number)
            if kept:
                futures.append(future)
            if not number % 500:
                most = max(most, alive(Envelope) - before)
        del future
        await executor.shutdown()
        gc.collect()
        assert most <= 50 + 4 + 1
        assert alive(Future) - others <= len(futures)


async def test_map_iter_keeps_only_what_is_ahead() -> None:
    gc.collect()
    before, most = alive(Future), 0
    async with Executor(4, capacity=50) as executor:
        async for value in executor.map_iter(double, range(10_000)):
            if not value % 2000:
                most = max(most, alive(Future) - before)

    assert 0 < most <= 50 + 4 + 2


def resident() -> int:
    """Bytes of memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_million_items_of_map_iter_keep_memory_flat() -> None:
    async def main() -> int:
        early = 0
        async with Executor(4) as executor:
            async for value in executor.map_iter(double, range(1_000_000)):
                if value == 200_000:
                    early = resident()
        return resident() - early

    assert trio.run(main) < 5_000_000


@pytest.mark.slow
def test_300_000_submits_keep_memory_flat() -> None:
    async def main() -> int:
        early = 0
        async with Executor(4) as executor:
            for number in range(300_000):
                await executor.submit(double, number)
                if number == 50_000:
                    early = resident()
        return resident() - early

    assert trio.run(main) < 5_000_000


@pytest.mark.parametrize("verb", ["map", "map_iter"])
async def test_what_cannot_be_read_as_it_is_is_refused_before_any_call(verb: str) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    async with Executor() as executor:
        for given, text in (
            (5, "must be an iterable, got 5"),
            (numbers(), "must be an iterable that is not async; read that with `async for`"),
        ):
            with pytest.raises(ConfigurationError) as caught:
                await getattr(executor, verb)(add, [1], given)
            assert str(caught.value).startswith(f"executor.{verb}() iterables[1] {text}")
