"""Graphs: a value goes along every edge of its stage; edges ask, change, and lead back."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import (
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Stage,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, counted, outcomes

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def echo(value: Any) -> Any:
    return value


def named(name: str, **options: Any) -> Stage[Any, Any]:
    """A stage that says it was there: ``a(7)``."""

    async def work(value: Any) -> str:
        return f"{name}({value})"

    return stage(work, name=name, **options)


def passing(name: str, **options: Any) -> Stage[Any, Any]:
    return stage(echo, name=name, **options)


def graph(*nodes: Any, name: str = "graph") -> Graph[Any, Any]:
    return Graph[Any, Any](name).add(*nodes)


async def values(flow: Any, items: Any, **options: Any) -> list[Any]:
    return sorted(each.value for each in await outcomes(flow, items, **options))


async def adds(value: list[str], ctx: Turn) -> list[str]:
    """Changes what it gets, in place, and takes its time."""
    value.append(ctx.stage)
    await trio.sleep(1)
    return value


async def listed(value: Any) -> list[Any]:
    return [value]


# Ways -------------------------------------------------------------------------------------


async def test_a_value_goes_to_every_stage_that_an_edge_leads_to_and_results_name_their_exit() -> (
    None
):
    flow = graph(named("a"), named("b"), named("c"), named("d"))
    flow.connect("a", "b").connect("a", "c").connect("b", "d")

    results = await outcomes(flow, [1])

    assert {each.stage: each.value for each in results} == {"c": "c(a(1))", "d": "d(b(a(1)))"}
    assert (await flow.run([1, 2])).counts == counted(fed=2, done=2)


async def test_a_stage_takes_what_several_stages_give() -> None:
    flow = graph(named("a"), named("b"), named("c"), named("d"))
    flow.connect("a", "b").connect("a", "c").connect("b", "d").connect("c", "d")

    assert await values(flow, [1]) == ["d(b(a(1)))", "d(c(a(1)))"]


async def test_a_stage_that_gives_to_an_edge_is_no_exit_and_several_starts_are_all_fed() -> None:
    flow = graph(named("a"), named("b"), named("c")).connect("a", "c")

    assert await values(flow, [1]) == ["b(1)", "c(a(1))"]


async def test_a_condition_says_whether_a_value_goes_and_map_what_is_made_of_it() -> None:
    flow = graph(passing("a"), named("odd"), named("even"))
    flow.connect("a", "odd", when=lambda value: value % 2)
    flow.connect("a", "even", when=lambda value: not value % 2, map=str)

    assert await values(flow, range(4)) == ["even(0)", "even(2)", "odd(1)", "odd(3)"]


async def test_an_item_whose_value_takes_no_way_is_skipped() -> None:
    flow = graph(passing("a"), named("b")).connect("a", "b", when=lambda value: value > 1)

    report = await flow.run(range(4))

    assert report.counts == counted(fed=4, done=2, skipped=2)
    assert (report.stages["a"].emitted, report.stages["b"].received) == (4, 2)


@pytest.mark.parametrize("option", ["when", "map", "dedupe"])
@pytest.mark.parametrize("error", [Boom, SystemExit])
async def test_an_edge_that_raises_fails_the_turn_and_is_tried_again(
    option: str, error: type[BaseException]
) -> None:
    calls: list[Any] = []

    def raises(value: Any) -> Any:
        calls.append(value)
        if len(calls) == 1:
            raise error
        return value if option == "map" else True

    flow = graph(passing("a", policies=[Retry(2, backoff=Fixed(1))]), passing("b"))
    if option == "dedupe":  # "a" asks too: what it gives to "b" must be known there.
        flow.connect("a", "b").connect("b", "b", feedback=True, dedupe=raises)
    else:
        asks: dict[str, Any] = {option: raises}
        flow.connect("a", "b", **asks)

    report = await flow.run([7])

    assert report.counts == counted(fed=1, done=1)
    assert (calls[:2], report.stages["a"].retried) == ([7, 7], 1)
    assert (report.stages["a"].emitted, report.stages["b"].received) == (1, 1)


async def test_an_edge_that_always_raises_ends_the_item_where_it_came_from() -> None:
    def fails(value: Any) -> bool:
        raise Boom

    flow = graph(passing("a"), passing("b")).connect("a", "b", when=fails)

    (result,) = await outcomes(flow, [1])
    assert (result.status, result.stage, type(result.error)) == ("failed", "a", Boom)


async def test_a_generator_gives_each_value_to_every_edge() -> None:
    async def split(value: str) -> AsyncIterator[str]:
        for each in value:
            yield each

    flow = graph(stage(split, name="split"), named("b"), named("c"))
    flow.connect("split", "b").connect("split", "c", when=lambda value: value != "y")

    assert await values(flow, ["xyz"]) == ["b(x)", "b(y)", "b(z)", "c(x)", "c(z)"]


async def test_emit_can_name_the_one_stage_that_is_to_get_a_value() -> None:
    async def sort(value: int, ctx: Turn) -> None:
        ctx.emit(value, to="odd" if value % 2 else "even")
        ctx.emit("both")
        ctx.skip()

    flow = graph(stage(sort), named("odd"), named("even"))
    flow.connect("sort", "odd").connect("sort", "even")

    assert await values(flow, [1, 2]) == sorted(
        ["odd(1)", "even(2)", *(2 * ["odd(both)", "even(both)"])]
    )


async def test_emit_to_a_stage_that_does_not_follow_is_an_error() -> None:
    async def sort(value: int, ctx: Turn) -> None:
        ctx.emit(value, to="c")

    flow = graph(stage(sort), named("b"), named("c")).connect("sort", "b").connect("b", "c")

    (result,) = await outcomes(flow, [1])
    assert str(result.error) == ("ctx.emit() to must be the name of a stage that follows, got 'c'")


# Nobody shares ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second", [{}, {"isolation": "share"}], ids=["both change", "the other only reads"]
)
async def test_fan_out_gives_no_two_stages_one_object(second: dict[str, Any]) -> None:
    async def reads(value: list[Any]) -> list[Any]:
        await trio.sleep(2)
        return list(value)

    other = stage(reads, name="c", **second)
    flow = graph(stage(listed, name="a"), stage(adds, name="b"), other)
    flow.connect("a", "b").connect("a", "c")

    assert await values(flow, [1]) == [[1], [1, "b"]]


async def test_what_a_map_takes_out_of_a_value_is_not_shared_with_those_that_get_the_value() -> (
    None
):
    async def order(value: Any) -> dict[str, Any]:
        return {"rows": [value]}

    async def reads(value: dict[str, Any]) -> Any:
        await trio.sleep(2)
        return value["rows"]

    flow = graph(stage(order), stage(adds, name="b"), stage(reads, name="c", isolation="share"))
    flow.connect("order", "b", map=lambda value: value["rows"]).connect("order", "c")

    assert await values(flow, [1]) == [[1], [1, "b"]]


async def test_a_map_on_one_edge_leaves_the_others_with_a_copy_each() -> None:
    flow = graph(stage(listed, name="a"), *(stage(adds, name=name) for name in "bcd"))
    flow.connect("a", "b", map=lambda value: [*value]).connect("a", "c").connect("a", "d")

    assert await values(flow, [1]) == [[1, "b"], [1, "c"], [1, "d"]]


async def test_stages_that_promise_to_change_nothing_share_one_object() -> None:
    seen: list[list[Any]] = []

    async def reads(value: list[Any]) -> None:
        seen.append(value)

    ends = [stage(reads, name=name, isolation="share") for name in "bc"]
    await graph(stage(listed, name="a"), *ends).connect("a", "b").connect("a", "c").run([1])

    assert seen[0] is seen[1]


async def test_metadata_is_each_pieces_own_however_deep() -> None:
    async def begin(value: Any, ctx: Turn) -> Any:
        ctx.metadata["tags"] = ["a"]
        return value

    async def changes(value: Any, ctx: Turn) -> Any:
        ctx.metadata["tags"].append(ctx.stage)
        return value

    async def tells(value: Any, ctx: Turn) -> Any:
        await trio.sleep(1)
        return ctx.metadata["tags"]

    flow = graph(stage(begin, name="a"), stage(changes, name="b"), stage(tells, name="c"))
    flow.connect("a", "b").connect("a", "c")

    results = {each.stage: each for each in await outcomes(flow, [1])}
    assert results["c"].value == ["a"]
    assert results["b"].metadata == {"tags": ["a", "b"]}


async def test_what_a_failed_attempt_does_to_metadata_is_gone_with_it() -> None:
    async def begin(value: Any, ctx: Turn) -> Any:
        ctx.metadata["tries"] = []
        return value

    async def fails(value: Any, ctx: Turn) -> Any:
        ctx.metadata["tries"].append(ctx.attempt)
        if ctx.attempt < 3:
            raise Boom
        return ctx.metadata["tries"]

    flow = Pipeline[Any, Any]([begin, stage(fails, policies=[Retry(3)])])

    assert await flow.map([1]) == [[3]]


async def test_a_generator_gives_each_value_its_metadata_as_it_was_then() -> None:
    async def counts(value: Any, ctx: Turn) -> AsyncIterator[int]:
        ctx.metadata["seen"] = []
        for each in range(3):
            ctx.metadata["seen"].append(each)
            yield each

    results = await outcomes(Pipeline[Any, Any]([stage(counts), passing("b")]), [1])

    assert [each.metadata["seen"] for each in results] == [[0], [0, 1], [0, 1, 2]]


# Back -------------------------------------------------------------------------------------


async def test_a_value_goes_back_as_often_as_the_edge_allows_and_its_metadata_counts() -> None:
    depths: list[int | None] = []

    async def visit(value: int, ctx: Turn) -> int:
        depths.append(ctx.metadata.get("depth"))
        return value + 1

    flow = graph(stage(visit), passing("b")).connect("visit", "b")
    flow.connect("b", "visit", feedback=True, max_depth=3)

    results = await outcomes(flow, [0])

    assert depths == [None, 1, 2, 3]
    assert [(each.value, each.metadata.get("depth", 0)) for each in results] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 3),
    ]


async def test_what_would_go_further_is_dropped_and_the_item_ends_by_what_came_out() -> None:
    flow = graph(passing("a"), passing("b"), passing("out"))
    flow.connect("a", "b").connect("b", "out", when=lambda value: value == "good")
    flow.connect("b", "a", feedback=True, max_depth=2, when=lambda value: value != "good")

    report = await flow.run(["good", "bad"])

    assert report.counts == counted(fed=2, done=1, skipped=1)
    assert report.stages["a"].received == 4


async def test_depth_is_the_graphs_to_count() -> None:
    async def spoils(value: Any, ctx: Turn) -> Any:
        ctx.metadata["depth"] = "deep"
        return value

    flow = graph(passing("a"), stage(spoils, name="b")).connect("a", "b")
    flow.connect("b", "a", feedback=True, max_depth=2)

    (result,) = await outcomes(flow, [1])
    assert str(result.error) == (
        "ctx.metadata['depth'] must be a whole number, as feedback counts there, got 'deep'"
    )


async def test_of_each_key_only_the_first_goes_back() -> None:
    seen: list[int] = []

    async def visit(value: int) -> AsyncIterator[int]:
        seen.append(value)
        yield (value + 1) % 5
        yield (value + 2) % 5

    flow = graph(stage(visit)).connect("visit", "visit", feedback=True, dedupe=lambda value: value)

    report = await flow.run([0])

    assert sorted(seen) == [0, 1, 2, 3, 4]  # What was fed is no news either.
    assert report.counts == counted(fed=1, done=1)


def circle(seen: list[Any]) -> Graph[Any, Any]:
    async def visit(value: Any) -> Any:
        seen.append(value)
        return value

    inner = graph(stage(visit), passing("b"), name="inner").connect("visit", "b")
    return inner.connect("b", "visit", feedback=True, dedupe=str)


@pytest.mark.parametrize("around", ["alone", "another start", "a stage before", "another edge"])
async def test_however_a_value_has_come_to_a_stage_its_key_is_known_there(around: str) -> None:
    seen: list[Any] = []
    flow: Any = circle(seen)
    if around == "another start":
        flow.add(named("other"))
    elif around == "another edge":
        flow.add(passing("first")).connect("first", "visit", map=lambda value: value)
    elif around == "a stage before":
        flow = Pipeline([passing("first"), Parallel([flow, named("c")])])

    assert (await flow.run([1, 2])).counts == counted(fed=2, done=2)
    assert seen == [1, 2]


async def test_only_what_goes_back_is_kept_from_going_twice() -> None:
    seen: list[Any] = []

    await Pipeline[Any, Any]([passing("first"), circle(seen)]).run([1, 1])

    assert seen == [1, 1]


async def test_a_key_that_cannot_be_made_leaves_its_place_to_the_next() -> None:
    def odd(value: int) -> int:
        if value % 2:
            raise Boom
        return value

    flow = graph(passing("a", capacity=1)).connect("a", "a", feedback=True, dedupe=odd)

    async with flow.open() as run:
        await run.pause("a")
        async with trio.open_nursery() as nursery:
            for start in range(0, 30, 10):
                nursery.start_soon(run.feed, range(start + 1, start + 11))
            await trio.sleep(1)
            await run.resume("a")
        report = await run.finish()

    assert report.counts == counted(fed=30, done=15, dead=15)


async def test_a_key_that_cannot_be_made_fails_the_item_that_is_fed() -> None:
    def fails(value: Any) -> Any:
        raise SystemExit

    flow = graph(passing("a")).connect("a", "a", feedback=True, dedupe=fails)

    (result,) = await outcomes(flow, [1])
    assert (result.status, result.stage, type(result.error)) == ("failed", "a", SystemExit)


@pytest.mark.parametrize("capacity", [0, 1])
async def test_a_circle_of_full_mailboxes_goes_round(capacity: int) -> None:
    flow = graph(*(passing(name, capacity=capacity) for name in "abc"))
    flow.connect("a", "b").connect("b", "c").connect("c", "a", feedback=True, max_depth=3)

    report = await flow.run(range(100))

    assert report.counts == counted(fed=100, done=100)
    assert [report.stages[name].received for name in "abc"] == [400, 400, 400]


async def test_ids_and_keys_for_effects_differ_for_all_that_an_item_becomes() -> None:
    keys: Counter[str] = Counter()

    async def visit(value: int, ctx: Turn) -> int:
        keys[ctx.idempotency_key("charge")] += 1
        keys[ctx.message_id + ctx.stage] += 1
        return value

    flow = graph(*(stage(visit, name=name) for name in "abc"))
    flow.connect("a", "b").connect("a", "c")
    for start in "bc":
        flow.connect(start, "a", feedback=True, max_depth=3)

    await flow.run([1, 2])

    assert (len(keys), set(keys.values())) == (180, {1})


async def test_what_a_generator_yields_and_what_it_emits_have_ids_of_their_own() -> None:
    async def gives(value: Any, ctx: Turn) -> AsyncIterator[int]:
        yield 1
        yield 2
        ctx.emit(3)

    async def tells(value: int, ctx: Turn) -> AsyncIterator[str]:
        yield f"{value} is {ctx.message_id}"

    flow = Pipeline[Any, Any]([stage(gives), stage(tells)])

    assert await values(flow, [0]) == ["1 is 0.0", "2 is 0.1", "3 is 0.2"]


@pytest.mark.parametrize("first", ["a", "b"])
async def test_a_map_may_change_what_it_gets_and_no_other_edge_sees_it(first: str) -> None:
    async def found(value: int) -> dict[str, Any]:
        return {"id": value, "secret": "s"}

    def public(row: dict[str, Any]) -> dict[str, Any]:
        del row["secret"]
        return row

    flow = graph(found, passing("a"), passing("b"))
    for each in ("ab", "ba")[first == "b"]:
        flow.connect(found, each, map=public if each == "a" else None)

    got = {each.stage: each.value for each in await outcomes(flow, [1])}

    assert got == {"a": {"id": 1}, "b": {"id": 1, "secret": "s"}}


async def test_a_stage_that_emit_names_gets_the_value_whatever_its_edge_asks() -> None:
    async def both(value: int, ctx: Turn) -> int:
        ctx.emit(f"direct {value}", to="b")
        return value

    flow = graph(both, passing("a"), passing("b"))
    flow.connect(both, "a").connect(both, "b", when=lambda value: False)

    assert sorted(map(str, [each.value for each in await outcomes(flow, [1])])) == ["1", "direct 1"]
