"""Case 9: routes and branches within each other.

A route stands in a route, branches stand in a route and in branches, as deep as one likes. If a
branch fails, the others are cancelled and do nothing more; and what nobody waits for, nobody
waits for.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Parallel, Pipeline, Route, Send, StageError, stage
from tests.flows.flowing import Boom, counted, outcomes, pipeline

pytestmark = pytest.mark.usefixtures("autojump_clock")


def named(name: str, seconds: float = 0.0) -> Any:
    """A stage that puts its name around the value."""

    async def work(value: Any) -> str:
        await trio.sleep(seconds)
        return f"{name}({value})"

    return stage(work, name=name)


def sending(name: str, choose: Any) -> Any:
    """A stage that sends a value where *choose* says."""

    async def work(value: Any) -> Send:
        return Send(choose(value))

    return stage(work, name=name)


def sign(value: int) -> str:
    return "plus" if value >= 0 else "minus"


def parity(value: int) -> str:
    return "odd" if value % 2 else "even"


# Within each other ----------------------------------------------------------------------


async def test_a_route_stands_in_a_route_and_all_meet_behind_the_outer_one() -> None:
    inner = [sending("inner", parity), {"odd": named("odd"), "even": named("even")}]
    flow = pipeline(
        [sending("outer", sign), {"plus": inner, "minus": named("minus")}, named("end")]
    )

    assert await flow.map([1, 2, -3]) == ["end(odd(1))", "end(even(2))", "end(minus(-3))"]


async def test_branches_stand_in_a_route() -> None:
    both = Parallel([named("a"), [named("b"), named("c")]])
    flow = pipeline([sending("s", parity), {"odd": both, "even": named("d")}, named("end")])

    assert await flow.map([1, 2]) == ["end(['a(1)', 'c(b(1))'])", "end(d(2))"]


async def test_branches_stand_in_branches() -> None:
    flow = pipeline([Parallel([Parallel([named("a"), named("b")]), [named("c"), named("d")]])])

    assert await flow.map([1]) == [[["a(1)", "b(1)"], "d(c(1))"]]


async def test_routes_and_branches_stand_within_each_other_five_deep() -> None:
    def level(depth: int) -> Any:
        if depth == 0:
            return named("leaf")
        choose = sending(f"s{depth}", parity)
        side = Parallel([level(depth - 1), named(f"side{depth}")])
        return [choose, Route({"odd": side}, default=named(f"else{depth}"))]

    expected: Any = "leaf(1)"
    for depth in range(1, 6):
        expected = [expected, f"side{depth}(1)"]

    assert await pipeline([*level(5)]).map([1, 2]) == [expected, "else5(2)"]


async def test_a_flow_of_all_this_is_a_node_of_another_one() -> None:
    inner: Pipeline[int, Any] = pipeline(
        [sending("s", parity), {"odd": Parallel([named("a"), named("b")]), "even": named("c")}]
    )

    assert await pipeline([Parallel([inner, named("d")]), named("end")]).map([1, 2]) == [
        "end([['a(1)', 'b(1)'], 'd(1)'])",
        "end(['c(2)', 'd(2)'])",
    ]


async def test_a_branch_may_begin_with_a_stage_that_sends() -> None:
    branch = [sending("s", parity), {"odd": named("odd"), "even": named("even")}]

    assert await pipeline([Parallel([branch, named("b")])]).map([1]) == [["odd(1)", "b(1)"]]


# A branch that fails --------------------------------------------------------------------


class Log:
    """Two branches that fail and go on, and what they have done."""

    def __init__(self) -> None:
        self.did: list[str] = []

    async def fails(self, value: Any) -> None:
        await trio.sleep(1)
        raise Boom("this one")

    async def long(self, value: Any) -> str:
        try:
            await trio.sleep(10)
            self.did.append("side effect")
        except trio.Cancelled:
            self.did.append("cancelled")
            raise
        return "late"

    async def after(self, value: Any) -> Any:
        self.did.append("went on")
        return value


async def test_a_branch_that_fails_cancels_its_siblings() -> None:
    log = Log()
    flow = pipeline([Parallel([log.fails, [log.long, log.after]])])

    with pytest.raises(StageError) as caught:
        await flow.invoke(1)

    assert trio.current_time() == 1
    assert isinstance(caught.value.__cause__, Boom)
    await trio.sleep(100)
    assert log.did == ["cancelled"]


async def test_it_cancels_them_through_routes_and_branches_around_it() -> None:
    log = Log()
    inner = Parallel([named("a", 50), [sending("s", str), {"1": log.fails}]])
    flow = pipeline([Parallel([inner, [log.long, log.after]]), named("end")])

    report = await flow.run([1])

    assert trio.current_time() == 1
    assert log.did == ["cancelled"]
    assert report.counts == counted(fed=1, dead=1)
    assert {each.reason for each in report.dead} == {"failed", "sibling_failed"}


async def test_it_cancels_no_other_item() -> None:
    async def odd_fails(value: int) -> int:
        await trio.sleep(1)
        if value % 2:
            raise Boom
        return value

    flow = pipeline([Parallel([stage(odd_fails, workers=4), named("b", 2)])])
    found = await outcomes(flow, range(4), ordered=True)

    assert [each.value for each in found] == [[0, "b(0)"], None, [2, "b(2)"], None]


# What nobody waits for ------------------------------------------------------------------


async def test_the_item_does_not_wait_for_it_and_the_run_does() -> None:
    done: list[float] = []

    async def slow(value: int) -> None:
        await trio.sleep(60)
        done.append(trio.current_time())

    flow = pipeline([Parallel([slow], join=False), named("end")])
    async with flow.stream([1]) as results:
        assert (await anext(results)).value == "end(1)"
        assert (trio.current_time(), done) == (0, [])
        assert [each async for each in results] == []

    assert done == [60]


async def test_if_it_fails_what_has_come_out_stays_and_the_failure_is_told() -> None:
    async def fails(value: int) -> None:
        raise Boom("beside")

    sink: list[Any] = []
    flow = pipeline([Parallel([fails], join=False), named("end")])
    report = await flow.run([1], sink=sink.append)

    assert sink == ["end(1)"]
    assert (report.counts["fed"], report.counts["held"]) == (1, 0)
    assert [(each.stage_or_actor, str(each.error)) for each in report.dead] == [("fails", "beside")]


# Mistakes -------------------------------------------------------------------------------


async def test_a_route_that_is_not_there_is_named_with_those_that_are() -> None:
    flow = pipeline([sending("s", str), {"1": named("a"), "2": named("b")}])

    with pytest.raises(StageError) as caught:
        await flow.invoke(3)

    assert all(name in str(caught.value.__cause__) for name in ("'3'", "'1'", "'2'"))
