"""Case 17: a flow is used again.

Inside a loop that runs already, twice, several times at once, after a run that a failure halted
and after one that was cancelled: each run begins afresh, with results of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Graph, StageError, stage
from tests.flows.flowing import Boom, counted, double, increment, nothing_left, pipeline


async def picky(value: int) -> int:
    await trio.lowlevel.checkpoint()
    if value < 0:
        raise Boom(value)
    return value


def row() -> Any:
    return pipeline([picky, increment], on_failure="halt")


def graph() -> Any:
    made: Graph[int, int] = Graph("again", on_failure="halt")
    return made.add(stage(picky), stage(increment)).connect("picky", "increment")


FORMS = pytest.mark.parametrize("make", [row, graph], ids=["a row", "a graph"])


@FORMS
async def test_a_flow_runs_twice_inside_one_loop_and_the_second_run_has_its_own_results(
    make: Any,
) -> None:
    flow = make()
    sinks: tuple[list[int], list[int]] = ([], [])

    for sink in sinks:
        async with nothing_left():
            report = await flow.run(range(3), sink=sink.append)
        assert report.counts == counted(fed=3, done=3)

    assert [sorted(sink) for sink in sinks] == [[1, 2, 3]] * 2


@FORMS
async def test_after_a_run_that_was_halted_the_next_one_does_everything(make: Any) -> None:
    flow = make()

    with pytest.raises(StageError):
        await flow.run([1, -1, 2])
    report = await flow.run(range(500))

    assert report.counts == counted(fed=500, done=500)


@FORMS
async def test_a_run_that_is_halted_says_why_and_counts_what_it_left(make: Any) -> None:
    async with make().open() as run:
        await run.feed([-1, *range(20)])
        with pytest.raises(StageError) as caught:
            await run.finish()

    assert isinstance(caught.value.__cause__, Boom)
    assert run.report.counts["fed"] == 21
    assert run.report.counts["dead"] == 1
    assert run.report.counts["done"] + run.report.counts["held"] == 20


@FORMS
async def test_what_a_halted_run_has_transformed_is_given_out(make: Any) -> None:
    """Results that came before the failure are neither hidden nor thrown away."""
    sink: list[int] = []
    async with make().open(sink=sink.append) as run:
        futures = [await run.submit(value) for value in range(5)]
        values = [await each.result() for each in futures]
        await run.feed([-1])
        with pytest.raises(StageError):
            await run.finish()

    assert values == sorted(sink) == [1, 2, 3, 4, 5]
    assert run.report.counts == counted(fed=6, done=5, dead=1)


@FORMS
async def test_after_a_run_that_was_cancelled_the_next_one_does_everything(make: Any) -> None:
    flow = make()

    async with flow.open() as run:
        await run.feed(range(5))
        run.cancel()
    report = await flow.run(range(5))

    assert report.counts == counted(fed=5, done=5)


@FORMS
async def test_several_runs_at_once_do_not_mix(make: Any) -> None:
    flow = make()
    found: dict[int, list[int]] = {}

    async def one(first: int) -> None:
        found[first] = await flow.map(range(first, first + 50))

    async with trio.open_nursery() as nursery:
        for first in (0, 1000, 2000):
            nursery.start_soon(one, first)

    assert found == {first: list(range(first + 1, first + 51)) for first in (0, 1000, 2000)}


@FORMS
def test_each_loop_may_run_it_too(make: Any) -> None:
    flow = make()

    for _ in range(2):
        assert trio.run(flow.map, [1, 2]) == [2, 3]
        assert flow.run_sync([1, 2]).counts == counted(fed=2, done=2)
        assert trio.run(flow.invoke, 1) == 2


async def test_policies_of_one_run_are_not_those_of_the_next() -> None:
    from actorflow import CircuitBreaker

    breaker = CircuitBreaker(1, recovery_timeout=1e6, when_open="reject")
    flow = pipeline([stage(picky, policies=[breaker]), double])

    first = await flow.run([-1, 1])
    second = await flow.run([1, 2])

    assert first.counts == counted(fed=2, dead=2)
    assert second.counts == counted(fed=2, done=2)
