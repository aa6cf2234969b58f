"""Parallel: branches side by side, joined to one value; if one dies, the others are called off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Deadline,
    Fixed,
    Graph,
    ItemResult,
    Parallel,
    Pipeline,
    Retry,
    Steps,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, outcomes, pipeline
from tests.flows.test_graphs import adds, listed, named, passing

virtual = pytest.mark.usefixtures("autojump_clock")


async def skips(value: Any, ctx: Turn) -> None:
    ctx.skip()


async def fails(value: Any) -> None:
    raise Boom(value)


async def slow(value: Any) -> Any:
    await trio.sleep(100)
    return value


async def soon(value: Any) -> None:
    """Fails when the others have begun."""
    await trio.sleep(1)
    raise Boom(value)


async def split(value: Any) -> AsyncIterator[Any]:
    for each in range(value):
        yield each


async def only(flow: Pipeline[Any, Any], item: Any) -> ItemResult[Any]:
    (result,) = await outcomes(flow, [item])
    return result


def died(report: Any) -> list[tuple[Any, str, str]]:
    """Id, stage and reason of each dead letter."""
    return [(each.id, each.stage_or_actor, each.reason) for each in report.dead]


# The joined value -------------------------------------------------------------------------


@virtual
async def test_the_item_goes_on_as_a_list_of_what_the_branches_gave_in_their_order() -> None:
    async def late(value: Any) -> str:
        await trio.sleep(5)
        return "late"

    flow = pipeline([passing("a"), Parallel([late, named("b"), [named("c"), named("d")]])])

    result = await only(flow, 1)
    assert (result.value, result.stage) == (["late", "b(1)", "d(c(1))"], "late+b+c")


@virtual
async def test_or_as_a_dict_if_they_have_names() -> None:
    flow = pipeline(
        [Parallel({"left": named("a"), "right": [named("b"), named("c")]}, name="both")]
    )

    result = await only(flow, 1)
    assert (result.value, result.stage) == ({"left": "a(1)", "right": "c(b(1))"}, "both")


@virtual
async def test_a_branch_that_skipped_gave_none() -> None:
    assert (await only(pipeline([Parallel([skips, named("b")])]), 1)).value == [None, "b(1)"]


@virtual
async def test_an_item_that_every_branch_skipped_goes_on_all_the_same() -> None:
    flow = pipeline([Parallel([skips, stage(skips, name="other")]), named("z")])

    assert (await only(flow, 1)).value == "z([None, None])"


@virtual
async def test_a_branch_with_a_generator_gave_a_list_in_the_order_of_its_yields() -> None:
    async def uneven(value: int) -> int:
        await trio.sleep(10 - value)
        return value

    flow = pipeline([Parallel([[split, stage(uneven, workers=5)], passing("b")])])

    assert await flow.map([5, 0]) == [[[[0, 1, 2, 3, 4], 5]], [[[], 0]]]


@virtual
async def test_a_branch_that_gave_several_values_gave_a_list() -> None:
    async def twice(value: Any, ctx: Turn) -> str:
        ctx.emit("first")
        return "second"

    spread: Graph[Any, Any] = Graph("spread").add(named("p"), named("q"), named("r"))
    spread.connect("p", "q").connect("p", "r")
    flow = pipeline([Parallel([twice, spread, named("c")])])

    assert (await only(flow, 1)).value == [["first", "second"], ["q(p(1))", "r(p(1))"], "c(1)"]


@virtual
async def test_parallels_nest() -> None:
    inner = Parallel({"x": named("x"), "y": Parallel([named("y"), named("z")])})
    flow = pipeline([named("a"), Parallel([named("b"), [inner, named("c")]]), named("d")])

    value = (await only(flow, 1)).value
    assert value == "d(['b(a(1))', \"c({'x': 'x(a(1))', 'y': ['y(a(1))', 'z(a(1))']})\"])"


@virtual
@pytest.mark.parametrize("isolation", ["copy", "share"])
async def test_no_branch_sees_what_another_does_to_its_value(isolation: str) -> None:
    async def reads(value: list[Any]) -> list[Any]:
        await trio.sleep(2)
        return list(value)

    other: Any = {"isolation": isolation}
    flow = pipeline([stage(listed, name="a"), Parallel([stage(adds), stage(reads, **other)])])

    assert (await only(flow, 1)).value == [[1, "adds"], [1]]


@virtual
async def test_priority_deadline_and_id_go_through_fork_and_join() -> None:
    facts: list[Any] = []

    async def tell(value: Any, ctx: Turn) -> Any:
        facts.append((ctx.stage, ctx.message_id, ctx.deadline))
        return value

    around = [stage(tell, name=name) for name in ("before", "b", "c", "after")]
    flow = pipeline([around[0], Parallel(around[1:3]), around[3]], policies=[Deadline(50)])

    async with flow.open() as run:
        await run.pause("after")
        await run.feed([1], priority=200)
        await run.feed([2], priority=5)
        await wait_all_tasks_blocked()
        await run.resume("after")
        await run.finish()

    assert sorted(facts[:6])[:2] == [("b", "0.-1", 50.0), ("b", "1.-1", 50.0)]
    assert facts[6:] == [("after", "1", 50.0), ("after", "0", 50.0)]


@virtual
async def test_metadata_of_branches_is_put_together_and_an_old_fact_never_hides_a_new_one() -> None:
    async def begin(value: Any, ctx: Turn) -> Any:
        ctx.metadata.update(old=1, changed="before", gone=True)
        return value

    async def left(value: Any, ctx: Turn) -> Any:
        ctx.metadata.update(changed="by left", left=True, both="left")
        del ctx.metadata["gone"]
        return value

    async def right(value: Any, ctx: Turn) -> Any:
        ctx.metadata.update(right=True, both="right")
        return value

    flow = pipeline([begin, Parallel([left, right])])

    assert (await only(flow, 1)).metadata == {
        "old": 1,
        "changed": "by left",
        "left": True,
        "right": True,
        "both": "right",  # Of two changes that of the later branch holds.
    }


@virtual
async def test_steps_that_were_tried_again_in_a_branch_leave_no_trace_behind_the_join() -> None:
    async def first(value: int) -> int:
        return value + 1

    async def second(value: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Boom
        return value * 10

    steps = stage(Steps(first, second), policies=[Retry(2, backoff=Fixed(1))])
    flow = pipeline([Parallel([steps, passing("b")]), passing("z")])

    result = await only(flow, 1)
    assert (result.value, result.metadata, result.attempts) == ([20, 1], {}, 1)
