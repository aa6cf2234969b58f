"""Routes: where an item goes when the stage before says `Send`, and as what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import (
    CompilationError,
    Context,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Route,
    Send,
    Turn,
    UnknownRoute,
    stage,
)
from tests.flows.flowing import Boom, counted, outcomes, pipeline
from tests.flows.test_graphs import named, passing, values

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def rank(value: Any) -> Send:
    """Where a number goes: to ``odd`` or ``even``, as it is."""
    return Send("odd" if value % 2 else "even")


BOTH = {"odd": named("odd"), "even": [named("even"), named("more")]}


async def test_an_item_takes_the_route_of_the_name_that_was_sent_and_all_meet_again() -> None:
    flow = pipeline([rank, Route(BOTH), named("z")])

    assert await values(flow, range(4)) == [
        "z(more(even(0)))",
        "z(more(even(2)))",
        "z(odd(1))",
        "z(odd(3))",
    ]


async def test_at_the_end_of_a_flow_each_result_names_the_end_of_its_route() -> None:
    results = await outcomes(pipeline([rank, BOTH]), range(2))

    assert {each.value: each.stage for each in results} == {
        "more(even(0))": "more",
        "odd(1)": "odd",
    }


async def test_a_patch_goes_on_instead_of_the_value() -> None:
    async def send(value: int) -> Send:
        return Send("x", patch=value * 10)

    assert await values(pipeline([send, {"x": named("x")}]), [1]) == ["x(10)"]


async def test_none_is_a_patch_too() -> None:
    async def send(value: int) -> Send:
        return Send("x", None)

    assert await values(pipeline([send, {"x": named("x")}]), [1]) == ["x(None)"]


@pytest.mark.parametrize("policies", [[], [Retry(2)]])
async def test_without_a_patch_the_value_goes_on_as_it_came_in(policies: list[Any]) -> None:
    async def send(value: list[int]) -> Send:
        if policies:  # Then a copy is kept, so that this spoils neither a retry nor the route.
            value.append(2)
        return Send("x")

    flow = pipeline([stage(send, policies=policies), {"x": passing("x")}])

    assert await values(flow, [[1]]) == [[1]]


async def test_the_default_takes_every_other_name() -> None:
    async def send(value: str) -> Send:
        return Send(value)

    flow = pipeline([send, Route({"gold": named("gold")}, default=[named("d"), named("e")])])

    assert await values(flow, ["gold", "tin", ""]) == ["e(d())", "e(d(tin))", "gold(gold)"]


async def test_a_name_that_is_no_route_fails_the_item_and_lists_those_there_are() -> None:
    async def send(value: int) -> Send:
        return Send("silver")

    (result,) = await outcomes(pipeline([send, BOTH]), [1])

    assert (result.status, result.stage) == ("failed", "send")
    assert str(result.error) == (
        "stage 'send' Send.route must be one of 'odd', 'even', got 'silver'"
    )


async def test_a_stage_before_a_route_must_say_send() -> None:
    flow = pipeline([passing("a"), {"x": named("x")}])

    (result,) = await outcomes(flow, [1])

    assert str(result.error) == (
        "what stage 'a' returns must be Send(route), as a Route follows, got 1"
    )


@pytest.mark.parametrize("route", ["y", 1, ["x"], None])
async def test_a_wrong_route_is_a_failure_that_is_not_tried_again(route: Any) -> None:
    async def send(value: int) -> Send:
        return Send(route)

    flow = pipeline([stage(send, policies=[Retry(3, backoff=Fixed(5))]), {"x": named("x")}])

    (result,) = await outcomes(flow, [1])

    assert (result.attempts, trio.current_time()) == (1, 0)
    assert isinstance(result.error, UnknownRoute)
    assert (result.error.stage, result.error.route, result.error.known) == ("send", route, ("x",))


async def test_a_generator_that_sends_to_a_wrong_route_is_not_tried_again_either() -> None:
    async def send(value: int) -> AsyncIterator[Send]:
        yield Send("x", value)
        yield Send("y", value)

    flow = pipeline([stage(send, policies=[Retry(3)]), {"x": named("x")}])

    assert [(each.status, each.attempts) for each in await outcomes(flow, [1])] == [
        ("failed", 1),
        ("done", 1),
    ]


async def test_what_is_no_send_may_be_one_at_the_next_attempt() -> None:
    async def send(value: int, ctx: Turn) -> Any:
        return Send("x") if ctx.attempt == 2 else value

    flow = pipeline([stage(send, policies=[Retry(2, backoff=Fixed(5))]), {"x": named("x")}])

    assert await values(flow, [1]) == ["x(1)"]


async def test_a_stage_may_skip_before_a_route() -> None:
    async def send(value: int, ctx: Turn) -> Any:
        return Send("x") if value else ctx.skip()

    report = await pipeline([send, {"x": named("x")}]).run(range(3))

    assert report.counts == counted(fed=3, done=2, skipped=1)


async def test_a_generator_sends_each_value_its_own_way() -> None:
    async def split(value: int) -> AsyncIterator[Send]:
        for each in range(value):
            yield Send("odd" if each % 2 else "even", each)

    flow = pipeline([split, BOTH])

    assert await values(flow, [3]) == ["more(even(0))", "more(even(2))", "odd(1)"]


async def test_values_that_are_emitted_are_sent_too() -> None:
    async def send(value: int, ctx: Turn) -> Send:
        ctx.emit(Send("odd", 1))
        return Send("even", 2)

    assert await values(pipeline([send, BOTH]), [0]) == ["more(even(2))", "odd(1)"]


async def test_routes_nest() -> None:
    inner = [rank, {"odd": named("o"), "even": named("e")}]

    async def sign(value: int) -> Send:
        return Send("plus" if value > 0 else "minus")

    flow = pipeline([sign, {"plus": inner, "minus": named("m")}, named("z")])

    assert await values(flow, [-1, 1, 2]) == ["z(e(2))", "z(m(-1))", "z(o(1))"]


async def test_a_route_stands_in_a_branch_and_branches_in_a_route() -> None:
    branch = [rank, {"odd": named("o"), "even": Parallel([named("e"), named("f")])}]
    flow = pipeline([Parallel([branch, named("c")]), named("z")])

    assert await values(flow, [1, 2]) == [
        "z(['o(1)', 'c(1)'])",
        "z([['e(2)', 'f(2)'], 'c(2)'])",
    ]


async def test_a_flow_is_a_route() -> None:
    inner: Graph[Any, Any] = Graph("inner").add(named("p"), named("q")).connect("p", "q")

    assert await values(pipeline([rank, {"odd": inner, "even": named("e")}]), [1]) == ["q(p(1))"]


async def test_what_nobody_waits_for_gets_the_patch_as_the_route_does() -> None:
    seen: list[Any] = []

    async def watch(value: Any) -> None:
        seen.append(value)

    async def send(value: int) -> Send:
        return Send("x", value + 1)

    flow = pipeline([send, Parallel([watch], join=False), {"x": named("x")}])

    assert (await values(flow, [1]), seen) == (["x(2)"], [2])


async def test_in_a_flow_of_contexts_the_patch_is_added() -> None:
    async def rank_order(order: Context) -> Send:
        return Send("gold", {"rank": 1}) if order["total"] > 10 else Send("tin")

    async def thank(order: Context) -> dict[str, Any]:
        return {"thanks": order.get("rank")}

    async def ship(order: Context) -> dict[str, Any]:
        return {"shipped": True}

    flow: Pipeline[Any, Any] = pipeline([rank_order, {"gold": thank, "tin": ship}])

    assert [dict(each) for each in await flow.map([{"total": 20}, {"total": 5}])] == [
        {"total": 20, "rank": 1, "thanks": 1},
        {"total": 5, "shipped": True},
    ]


async def test_a_route_that_fails_is_the_items_failure_and_others_go_on() -> None:
    async def fails(value: int) -> None:
        raise Boom

    report = await pipeline([rank, {"odd": fails, "even": named("e")}]).run(range(4))

    assert report.counts == counted(fed=4, done=2, dead=2)
    assert {each.stage_or_actor for each in report.dead} == {"fails"}


async def test_figures_count_what_took_each_route() -> None:
    report = await pipeline([rank, BOTH, named("z")]).run(range(5))

    assert {name: each.received for name, each in report.stages.items()} == {
        "rank": 5,
        "odd": 2,
        "even": 3,
        "more": 3,
        "z": 5,
    }
    assert report.stages["rank"].emitted == 5


def test_a_generator_of_contexts_chooses_no_route() -> None:
    async def split(context: Context) -> AsyncIterator[Send]:
        yield Send("even")

    with pytest.raises(CompilationError, match="'split', a generator of contexts: what it yields"):
        Pipeline([split, {"even": named("even")}])
