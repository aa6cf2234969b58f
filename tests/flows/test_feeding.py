"""Feeding a run: what is read when, who waits for whom, and what happens at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    CompilationError,
    ConfigurationError,
    MailboxFull,
    NotRunningError,
    Pipeline,
    Run,
    stage,
)
from tests.flows.flowing import Gate, counted, counts_add_up, double, increment, pipeline


def endless(read: list[int]) -> Iterator[int]:
    number = 0
    while True:
        read.append(number)
        yield number
        number += 1


async def test_feed_answers_the_numbers_of_what_it_fed() -> None:
    async with pipeline([double]).open() as run:
        assert await run.feed(["a", "b"]) == [0, 1]
        assert await run.feed([7]) == [2]
        assert await run.feed([]) == []


async def test_feed_names_items_as_it_is_told() -> None:
    async with pipeline([double]).open(ordered=True) as run:
        results = run.results()
        names = await run.feed([1, 2, 3], ids=["a", ("b", 2), None])
        found = [(await anext(results)).id for _ in range(3)]

    assert names == found == ["a", ("b", 2), None]


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "b", "c", "d"], {"a": 1}])
async def test_as_many_ids_as_items_or_nothing_is_fed(ids: Any) -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError) as caught:
            await run.feed([1, 2, 3], ids=ids)
        report = await run.finish()

    assert report.counts == counted()
    assert str(caught.value) == (
        f"feed() ids must be as many ids as items, 3, and not {len(ids)}, got {ids!r}"
    )


@pytest.mark.parametrize("items", [[1, 2, 3], (each for each in (1, 2, 3))])
async def test_where_ids_end_too_early_the_error_says_what_was_accepted(items: Any) -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError) as caught:
            await run.feed(items, ids=iter(["a", "b"]))
        report = await run.finish()

    assert report.counts == counted(fed=2, done=2)
    assert str(caught.value) == (
        "feed() ids must be as many ids as items; 2 are accepted, with those there are, "
        "got ['a', 'b']"
    )


async def test_ids_are_several() -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError, match="an iterable of ids, got 5"):
            await run.feed([1], ids=5)  # type: ignore[arg-type]


async def test_ids_may_be_endless() -> None:
    async with pipeline([double]).open() as run:
        assert await run.feed([1, 2], ids=endless([])) == [0, 1]


async def test_a_fed_item_can_begin_in_any_stage() -> None:
    async with pipeline([double, increment]).open(ordered=True) as run:
        results = run.results()
        await run.feed([10], stage="increment")
        await run.feed([10])

        assert [(await anext(results)).value for _ in range(2)] == [11, 21]
        with pytest.raises(CompilationError, match="did you mean 'double'"):
            await run.feed([1], stage="duoble")


@pytest.mark.parametrize("items", ["text", b"bytes", {"a": 1}, 5])
async def test_feed_refuses_a_single_value(items: Any) -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError, match=r"^feed\(\) items must be an iterable"):
            await run.feed(items)


async def test_feed_refuses_a_priority_that_is_no_number() -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError, match=r"^feed\(\) priority must be a whole number"):
            await run.feed([1], priority="high")  # type: ignore[arg-type]


async def test_feed_before_the_run_has_begun_or_after_its_end_is_an_error() -> None:
    run: Run[int, int] = Pipeline[int, int]([double]).open()
    with pytest.raises(NotRunningError, match="has not begun; use `async with`"):
        await run.feed([1])

    async with run:
        await run.finish()
        with pytest.raises(NotRunningError, match="has ended; open another one"):
            await run.feed([1])
        with pytest.raises(NotRunningError):
            run.results()
    with pytest.raises(NotRunningError):
        await run.feed_from([1])
    with pytest.raises(NotRunningError):
        async with run:
            raise AssertionError("a run was entered twice")


async def test_feed_takes_async_iterables_and_feed_from_every_source() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await trio.lowlevel.checkpoint()
            yield number

    async with pipeline([double]).open() as run:
        assert await run.feed(numbers()) == [0, 1, 2]
        await run.feed_from(numbers())
        report = await run.finish()

    assert report.counts == counted(fed=6, done=6)


async def test_several_tasks_may_feed_at_once() -> None:
    async with pipeline([stage(double, capacity=1)]).open(window=3) as run:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(run.feed, range(20))
        report = await run.finish()

    assert report.counts == counted(fed=200, done=200)


@pytest.mark.parametrize("capacity", [0, 1, 3])
async def test_feeders_whose_source_is_at_its_end_wake_the_others(capacity: int) -> None:
    """One that is let in and then has nothing to give must not keep the place."""

    async def lazy_end() -> AsyncIterator[int]:
        yield 1
        await trio.lowlevel.checkpoint()

    gate = Gate()
    async with pipeline([stage(gate, capacity=capacity)]).open(window=2) as run:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(run.feed, lazy_end())
            await wait_all_tasks_blocked()
            gate.open()
        report = await run.finish()

    assert report.counts == counted(fed=8, done=8)


async def test_feeders_with_nothing_to_give_do_not_use_up_the_wake_up_of_another() -> None:
    async def nothing() -> AsyncIterator[int]:
        for each in range(0):
            yield each

    gate = Gate()
    async with pipeline([gate]).open(window=1) as run, trio.open_nursery() as nursery:
        await run.feed([0])
        for source in (nothing(), nothing(), iter([1])):
            nursery.start_soon(run.feed, source)
            await wait_all_tasks_blocked()
        gate.open()

    assert run.report is not None
    assert run.report.counts == counted(fed=2, done=2)


async def test_several_feeders_together_never_exceed_window_and_capacity() -> None:
    gate = Gate()
    flow = pipeline([stage(gate, capacity=2)])
    async with flow.open(window=7) as run, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(run.feed, range(10))
        await wait_all_tasks_blocked()

        assert run.stats().counts == counted(fed=3, held=3)
        assert run.stats().stages["Gate"].pending == 2
        gate.open()


async def test_several_feeders_together_never_exceed_a_small_window() -> None:
    gate = Gate()
    flow = pipeline([stage(gate, workers=50)])
    async with flow.open(window=4) as run, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(run.feed, range(10))
        await wait_all_tasks_blocked()

        assert run.stats().counts == counted(fed=4, held=4)
        gate.open()

    assert gate.most <= 4


async def test_a_slow_source_does_not_keep_others_from_feeding() -> None:
    never = trio.Event()

    async def silent() -> AsyncIterator[int]:
        await never.wait()
        yield 1

    async with pipeline([double]).open(window=1) as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed_from, silent())
        await wait_all_tasks_blocked()
        assert await run.feed([1, 2, 3]) == [0, 1, 2]
        never.set()


# Laziness -----------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 64])
async def test_a_source_is_never_read_further_than_the_window(window: int) -> None:
    read: list[int] = []
    gate = Gate()
    flow = pipeline([stage(gate, workers=2)])

    async with flow.stream(endless(read), window=window):
        await wait_all_tasks_blocked()

        assert len(read) == window


async def test_a_source_is_read_no_further_than_results_are_taken() -> None:
    read: list[int] = []

    async with pipeline([double, increment]).stream(endless(read), window=10) as results:
        await wait_all_tasks_blocked()
        assert len(read) == 10
        for _ in range(5):
            await anext(results)
        await wait_all_tasks_blocked()

        assert 10 < len(read) <= 15


async def test_without_takers_results_do_not_hold_feeding_up() -> None:
    async with pipeline([double]).open(window=4) as run:
        await run.feed(range(100))
        report = await run.finish()

    assert report.counts == counted(fed=100, done=100)


async def test_a_mailbox_that_is_full_holds_its_source_up() -> None:
    read: list[int] = []
    gate = Gate()
    flow = pipeline([stage(gate, capacity=5)])

    async with flow.open() as run:
        run.start_feeding(endless(read))
        await wait_all_tasks_blocked()

        assert len(read) == 6  # One is worked on.
        await run.stop()


async def test_a_pull_stage_takes_an_item_only_when_a_worker_is_free() -> None:
    read: list[int] = []
    gate = Gate()
    flow = pipeline([stage(gate, capacity=0, workers=3)])

    async with flow.open() as run:
        run.start_feeding(endless(read))
        await wait_all_tasks_blocked()

        assert len(read) == 3
        await run.stop()


async def test_concurrency_bounds_the_items_inside_and_is_used_in_full(
    autojump_clock: MockClock,
) -> None:
    first, second = Gate(), Gate()
    first.open()
    flow = pipeline([stage(first, workers=50, name="one"), stage(second, workers=50, name="two")])

    async with flow.open(concurrency=20) as run:
        run.start_feeding(range(100))
        await wait_all_tasks_blocked()
        assert (run.stats().counts["held"], len(second.inside)) == (20, 20)
        second.open()
        await run.over.wait()

    assert run.report is not None
    assert run.report.counts == counted(fed=100, done=100)


async def test_as_many_items_as_workers_are_kept_inside(autojump_clock: MockClock) -> None:
    """What is let in again is not saved up while a worker has nothing to do."""

    async def long_for_some(value: int) -> int:
        await trio.sleep(1000 if value < 7 else 1)
        return value

    began = trio.current_time()
    flow = pipeline([stage(long_for_some, workers=8)])
    report = await flow.run(range(100), concurrency=8)

    assert report.counts["done"] == 100
    assert trio.current_time() - began == 1000


# Overflow -----------------------------------------------------------------------------


async def test_a_stage_that_refuses_makes_feed_raise() -> None:
    gate = Gate()
    async with pipeline([stage(gate, capacity=2, overflow="fail")], name="f").open() as run:
        await run.feed([1])
        await wait_all_tasks_blocked()
        with pytest.raises(MailboxFull) as caught:
            await run.feed([2, 3, 4, 5])

        assert caught.value.path == "/f/Gate"
        assert run.stats().counts == counted(fed=3, held=3)
        gate.open()


@pytest.mark.parametrize(("overflow", "kept"), [("drop_new", [1, 2, 3]), ("drop_old", [1, 4, 5])])
async def test_a_stage_that_drops_makes_dead_letters_with_their_ids(
    overflow: Any, kept: list[int]
) -> None:
    gate = Gate()
    async with pipeline([stage(gate, capacity=2, overflow=overflow)]).open() as run:
        results = run.results()
        await run.feed([1], ids=["1"])
        await wait_all_tasks_blocked()
        names = await run.feed([2, 3, 4, 5], ids=["2", "3", "4", "5"])
        assert names == ["2", "3", "4", "5"]
        assert counts_add_up(run)
        gate.open()
        found = [await anext(results) for _ in range(5)]
        report = await run.finish()

    assert sorted(each.value for each in found if each.ok) == kept
    assert {letter.reason for letter in report.dead} == {"overflow"}
    assert {letter.id for letter in report.dead} == {"1", "2", "3", "4", "5"} - set(map(str, kept))


# Endings ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["finish", "drain", "stop", "cancel"])
async def test_who_feeds_when_the_run_ends_is_told(ending: str) -> None:
    gate = Gate()
    told: list[str] = []

    async def feed(run: Run[Any, Any]) -> None:
        with pytest.raises(NotRunningError) as caught:
            await run.feed(range(100))
        told.append(str(caught.value))

    flow = pipeline([stage(gate, capacity=1)])
    async with flow.open(window=3, run_id="r") as run, trio.open_nursery() as nursery:
        nursery.start_soon(feed, run)
        await wait_all_tasks_blocked()
        nursery.start_soon(_end, run, ending)
        await wait_all_tasks_blocked()
        gate.open()

    assert told == ["run r ended while it was fed; it has taken 2 items"]


async def _end(run: Run[Any, Any], ending: str) -> None:
    if ending == "cancel":
        run.cancel()
    elif ending == "drain":
        await run.drain(5)
    else:
        await getattr(run, ending)()


@pytest.mark.parametrize("ending", ["finish", "drain", "stop", "cancel"])
async def test_a_source_that_says_nothing_holds_no_ending_up(ending: str) -> None:
    closed: list[bool] = []

    async def silent() -> AsyncIterator[int]:
        try:
            yield 1
            await trio.sleep_forever()
        finally:
            closed.append(True)

    async with pipeline([double]).open() as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed_from, silent())
        await wait_all_tasks_blocked()
        await _end(run, ending)

    assert closed == [True]
    assert run.report is not None
    assert run.report.counts == counted(fed=1, done=1)


@pytest.mark.parametrize("ending", ["finish", "drain"])
async def test_what_was_read_is_accepted_even_if_there_is_no_room(ending: str) -> None:
    """Nothing that was taken out of a source is lost between the source and the mailbox."""
    read: list[int] = []
    gate = Gate()

    async def slowly() -> AsyncIterator[int]:
        for number in range(100):
            await trio.lowlevel.checkpoint()
            read.append(number)
            yield number

    async with pipeline([stage(gate, capacity=1)]).open() as run, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(run.feed_from, slowly())
        await wait_all_tasks_blocked()
        nursery.start_soon(_end, run, ending)
        await wait_all_tasks_blocked()
        gate.open()

    assert run.report is not None
    assert run.report.counts == counted(fed=len(read), done=len(read))


async def test_a_cancelled_feed_says_what_it_has_fed_and_feeds_no_more() -> None:
    gate, fed = Gate(), list[Any]()

    async def feed() -> None:
        fed.extend(await run.feed(range(100)))
        await trio.lowlevel.checkpoint()
        fed.append("not reached")

    async with pipeline([stage(gate, capacity=2)]).open() as run:
        with trio.move_on_after(5) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed)
                await wait_all_tasks_blocked()
                scope.cancel()
        assert fed == [0, 1, 2]
        gate.open()
        assert await run.feed([7]) == [3]
        report = await run.finish()

    assert report.counts == counted(fed=4, done=4)


async def test_what_a_source_raises_comes_out_of_feed_and_the_run_goes_on() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk")

    async with pipeline([double]).open() as run:
        with pytest.raises(OSError, match="disk"):
            await run.feed(broken())
        assert await run.feed([3]) == [2]
        report = await run.finish()

    assert report.counts == counted(fed=3, done=3)


async def test_a_feed_that_exactly_fills_the_run_returns_at_once() -> None:
    """Its caller may be the one who is to take the results."""
    async with pipeline([double]).open(window=5) as run:
        results = run.results()
        await run.feed(range(5))

        assert [(await anext(results)).value for _ in range(5)] == [0, 2, 4, 6, 8]
