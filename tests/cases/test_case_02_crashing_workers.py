"""Case 2: a worker raises what ends programs, or a cancellation that is not its own.

Whatever comes out of it, the item ends as a dead letter with that error, the worker is started
again by its supervisor, every other item is done, and the run comes to its end. None is
forgotten and nothing hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Fixed, Graph, Retry, StrayCancelled, stage
from tests.flows.flowing import counted, increment, outcomes, pipeline
from tests.stages.handlers import dies_if_negative, dies_once
from tests.stages.test_misbehaviour import stray


class Odd(BaseException):
    """Derived from nothing that a library would expect."""


#: What is no `Exception`: it ends its worker.
ENDS: list[Callable[[], BaseException]] = [
    lambda: Odd("?"),
    lambda: SystemExit(3),
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
]


def raising(error: Callable[[], BaseException], every: int) -> Any:
    async def work(value: int) -> int:
        await trio.lowlevel.checkpoint()
        if value % every == 0:
            raise error()
        return value

    return work


@pytest.mark.parametrize("error", ENDS, ids=lambda make: type(make()).__name__)
async def test_one_of_many_items_dies_the_worker_comes_back_and_the_rest_is_done(
    error: Callable[[], BaseException],
) -> None:
    flow = pipeline([stage(raising(error, 250), workers=4, name="work"), increment])

    report = await flow.run(range(1000))

    assert report.counts == counted(fed=1000, done=996, dead=4)
    assert [each.body for each in report.dead] == [0, 250, 500, 750]
    assert {type(each.error) for each in report.dead} == {type(error())}
    assert {(each.stage_or_actor, each.reason) for each in report.dead} == {("work", "failed")}
    assert report.restarts == 4


@pytest.mark.parametrize("error", ENDS, ids=lambda make: type(make()).__name__)
async def test_when_every_worker_is_hit_again_and_again_the_run_ends_all_the_same(
    error: Callable[[], BaseException],
) -> None:
    async with pipeline([stage(raising(error, 1), workers=2, name="work")]).open() as run:
        await run.feed(range(50))
        await wait_all_tasks_blocked()
        alive = [each.state for each in run.workers()]
        report = await run.finish()

    assert alive == ["idle", "idle"]
    assert report.counts == counted(fed=50, dead=50)
    assert report.restarts == 50


async def test_a_cancelled_of_a_foreign_scope_costs_its_item_and_no_other() -> None:
    """It is an ordinary failure: who raises it is not cancelled, so the worker just goes on."""
    foreign = await stray()

    async def work(value: int) -> int:
        if value % 2:
            raise foreign
        return value

    flow = pipeline([stage(work, workers=2, name="work"), increment])
    found = await outcomes(flow, range(10), ordered=True)

    assert [each.status for each in found] == ["done", "failed"] * 5
    assert {type(each.error) for each in found if not each.ok} == {StrayCancelled}


async def test_a_cancelled_that_is_raised_again_and_again_stops_no_worker() -> None:
    foreign = await stray()

    async def work(value: int) -> int:
        raise foreign

    report = await pipeline([stage(work, workers=2)]).run(range(50))

    assert report.counts == counted(fed=50, dead=50)
    assert {type(each.error) for each in report.dead} == {StrayCancelled}


@pytest.mark.parametrize("error", ENDS, ids=lambda make: type(make()).__name__)
async def test_with_a_retry_the_item_is_done_by_the_worker_that_came_back(
    error: Callable[[], BaseException],
) -> None:
    tries: list[int] = []

    async def once(value: int) -> int:
        tries.append(value)
        if tries.count(value) == 1:
            raise error()
        return value

    report = await pipeline([stage(once, policies=[Retry(2, backoff=Fixed(0))])]).run(range(5))

    assert report.counts == counted(fed=5, done=5)
    assert report.restarts == 5


@pytest.mark.parametrize("error", ENDS, ids=lambda make: type(make()).__name__)
async def test_a_node_of_a_graph_that_crashes_holds_no_other_up(
    error: Callable[[], BaseException],
) -> None:
    left, right = stage(raising(error, 2), name="left"), stage(increment, name="right")
    graph: Graph[int, int] = Graph("two").add(left, right)

    report = await graph.run(range(10))

    assert report.counts == counted(fed=10, done=5, dead=5)
    assert report.stages["right"].received == 10


async def test_a_yielded_exception_is_a_value_and_one_that_is_raised_ends_its_item() -> None:
    async def give(value: int) -> Any:
        yield Odd(value)
        if value == 1:
            raise Odd("raised")

    found = await outcomes(pipeline([give, stage(repr, name="r", runs_in="loop")]), [0, 1])

    assert sorted(str(each.value) for each in found if each.ok) == ["Odd(0)", "Odd(1)"]
    assert [repr(each.error) for each in found if not each.ok] == ["Odd('raised')"]


async def test_a_worker_process_that_dies_costs_its_item_or_one_attempt(
    tmp_path: Path,
) -> None:
    dies = stage(dies_if_negative, runs_in="process", name="dies")
    again = stage(dies_once, runs_in="process", policies=[Retry(2, backoff=Fixed(0))])

    report = await pipeline([dies]).run([1, -1, 2])
    value = await pipeline([again]).invoke(str(tmp_path / "marker"))

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert value == "marker"
