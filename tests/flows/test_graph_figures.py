"""What stages are said to have given, and how they wait for those that follow, in any graph."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import Batch, Deadline, Parallel, Pipeline, stage
from tests.flows.flowing import counted
from tests.flows.test_graphs import graph, named, passing

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_a_slow_stage_among_several_holds_back_the_one_before_all() -> None:
    given = 0

    async def gives(value: Any) -> AsyncIterator[int]:
        nonlocal given
        for given in range(1, 100):
            yield given

    async def slow(value: int) -> None:
        await trio.sleep(10)

    flow = graph(stage(gives), stage(slow, capacity=2), passing("fast", capacity=2))
    flow.connect("gives", "slow").connect("gives", "fast")

    async with flow.open() as run:
        await run.feed([1])
        await trio.sleep(25)
        assert (given, run.stats().stages["slow"].pending) == (6, 2)
        run.cancel()


async def test_emitted_counts_what_the_stage_itself_gave() -> None:
    flow = graph(named("a"), named("b"), named("c"), named("d"))
    flow.connect("a", "b").connect("a", "c").connect("b", "d").connect("c", "d")

    async with flow.open() as run:
        await run.feed(range(5))
        await run.feed(range(2), stage="d")
        report = await run.finish()

    figures = {name: (each.received, each.emitted) for name, each in report.stages.items()}
    assert figures == {"a": (5, 5), "b": (5, 5), "c": (5, 5), "d": (12, 12)}


async def test_items_that_are_fed_to_a_later_stage_are_not_what_the_one_before_gave() -> None:
    flow = Pipeline[Any, Any]([named("a"), named("b")])

    async with flow.open() as run:
        await run.feed(range(3))
        await run.feed([3], stage="b")
        await run.submit(4, stage="b")
        report = await run.finish()

    assert (report.stages["a"].emitted, report.stages["b"].received) == (3, 5)


async def test_what_found_no_room_was_not_given() -> None:
    async def slow(value: Any) -> Any:
        await trio.sleep(1)
        return value

    full = stage(slow, name="b", capacity=1, overflow="fail")
    flow = graph(passing("a"), full, passing("c")).connect("a", "b").connect("a", "c")

    report = await flow.run(range(5))

    assert report.counts["done"] + report.counts["dead"] == 5
    assert report.stages["a"].failed == report.counts["dead"] > 0
    assert report.stages["a"].emitted == report.stages["c"].received == report.counts["done"]


async def test_a_turn_that_is_stopped_between_choosing_and_committing_has_given_nothing() -> None:
    chosen: list[Any] = []

    def chooses(value: Any) -> bool:
        chosen.append(value)
        return True

    async def slow(value: Any) -> None:
        await trio.sleep_forever()

    flow = graph(passing("a"), stage(slow, name="b", capacity=1), passing("c"))
    flow.connect("a", "b", when=chooses).connect("a", "c")

    async with flow.open() as run:
        await run.feed(range(5))
        await trio.sleep(5)
        report = await run.stop()

    assert chosen == [0, 1, 2]  # The third waits for room.
    assert report.counts == counted(fed=5, held=5)
    assert (report.stages["a"].emitted, report.stages["c"].received) == (2, 2)


async def test_figures_of_branches_batches_and_routes() -> None:
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    flow = Pipeline[Any, Any](
        [
            passing("a"),
            Parallel([passing("b"), passing("c")]),
            stage(total_of, name="d"),
            stage(total, batch=Batch(2)),
        ]
    )

    report = await flow.run(range(4))

    figures = {name: (each.received, each.emitted) for name, each in report.stages.items()}
    assert figures == {
        "a": (4, 4),
        "b": (4, 4),
        "c": (4, 4),
        "b+c": (4, 4),
        "d": (4, 4),
        "total": (2, 2),
    }


async def total_of(values: list[int]) -> int:
    return sum(values)


async def test_a_generator_that_waits_for_room_past_the_deadline_of_its_item_ends_there() -> None:
    given = 0

    async def gives(value: Any) -> AsyncIterator[int]:
        nonlocal given
        for given in range(1, 1000):
            yield given

    async def slow(value: int) -> None:
        await trio.sleep(100)

    flow = Pipeline[Any, Any]([stage(gives), stage(slow, capacity=1)], policies=[Deadline(10)])

    report = await flow.run([1])

    assert (given, report.duration) == (3, 10)
    assert {each.reason for each in report.dead} == {"expired"}


async def test_the_time_that_a_generator_waits_for_room_does_not_put_off_a_deadline() -> None:
    async def gives(value: Any) -> AsyncIterator[int]:
        await trio.sleep(1)
        for each in range(3):
            yield each
        await trio.sleep(100)

    async def slow(value: int) -> None:
        await trio.sleep(6)

    flow = Pipeline[Any, Any]([stage(gives), stage(slow, capacity=1)], policies=[Deadline(10)])

    assert (await flow.run([1])).duration == 10
