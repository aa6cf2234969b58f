"""What is fed where: `start`, metadata, and what a run that ended early has left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorSystem,
    AskFailed,
    Batch,
    ConfigurationError,
    Context,
    Executor,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Send,
    StageError,
    Turn,
    current_turn,
    stage,
)
from actorflow.durability.memory import MemoryStore
from actorflow.flows.calling import Call, callee
from tests.flows.flowing import Boom, Gate, counted, double, increment, pipeline

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def tagged(value: Any, ctx: Turn) -> Any:
    return value, dict(ctx.metadata)


# Start ------------------------------------------------------------------------------------


async def test_a_run_starts_where_it_is_told_to() -> None:
    found: list[int] = []

    report = await pipeline([increment, double]).run([1, 2], start="double", sink=found.append)

    assert (found, report.stages["increment"].received) == ([2, 4], 0)


async def test_a_graph_starts_at_several_stages_with_their_own_arguments() -> None:
    async def left(one: int, two: int) -> int:
        return one + two

    async def right(value: str) -> int:
        return len(value)

    graph: Graph[Any, Any] = Graph("two").add(stage(left, unpack=True), right, double)
    graph.connect("left", double).connect("right", double)
    found: list[int] = []

    report = await graph.run(start={"left": [(1, 2)], "right": ["abcd"]}, sink=found.append)

    assert (sorted(found), report.counts) == ([6, 8], counted(fed=2, done=2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "source must be an iterable"),
        ({"start": {}}, "run() start must be items for one stage at least, got {}"),
        ({"start": {"double": 5}}, "run() start['double'] must be"),
        ({"source": [1], "start": {"double": [1]}}, "run() source must be None, as start= says"),
        ({"source": [1], "start": "dubble"}, "no stage is named 'dubble'"),
        ({"source": [1], "start": 5}, "run() start must be"),
    ],
)
async def test_a_start_that_cannot_be_is_refused(given: Any, message: str) -> None:
    with pytest.raises((ConfigurationError, LookupError, ValueError)) as caught:
        await pipeline([increment, double]).run(**given)

    assert message in str(caught.value)


async def test_several_starts_go_on_where_they_were() -> None:
    store, gate = MemoryStore(blocking=False), Gate()
    found: list[Any] = []
    flow = pipeline([gate, tagged], name="f")
    async with flow.open(store=store, run_id="run", sink=found.append) as run:
        await run.feed_from([1, 2], stage="tagged")
        await run.feed_from([3])
        await wait_all_tasks_blocked()
        await run.stop()
    gate.open()

    await flow.run(
        start={"tagged": [1, 2], "Gate": [3]}, store=store, run_id="run", sink=found.append
    )

    assert sorted(value for value, _ in found) == [1, 2, 3]


# Metadata ---------------------------------------------------------------------------------


async def test_map_run_and_feed_attach_facts_to_their_items() -> None:
    flow = pipeline([tagged])

    assert await flow.map([1, 2], context={"by": "me"}) == [(1, {"by": "me"}), (2, {"by": "me"})]
    async with flow.open(context={"by": "me"}) as run:
        results = run.results()
        await run.feed([1], context={"why": "test"})
        await run.feed([2])
        found = sorted([(await anext(results)).value for _ in range(2)], key=lambda each: each[0])
    assert found == [(1, {"by": "me", "why": "test"}), (2, {"by": "me"})]


async def test_each_item_has_facts_of_its_own() -> None:
    async def spoil(value: int, ctx: Turn) -> int:
        ctx.metadata["by"] = value
        return value

    found = await pipeline([spoil, tagged]).map([1, 2], context={"by": "me"})

    assert found == [(1, {"by": 1}), (2, {"by": 2})]


@pytest.mark.parametrize("context", [5, {1: 2}, ["by"]])
async def test_what_is_attached_is_a_mapping_of_texts(context: Any) -> None:
    with pytest.raises(ConfigurationError, match="context must be a mapping with texts for keys"):
        await pipeline([tagged]).run([1], context=context)
    async with pipeline([tagged]).open() as run:
        with pytest.raises(ConfigurationError, match=r"feed\(\) context must be a mapping"):
            await run.feed([1], context=context)


async def test_what_was_attached_survives_the_end_of_a_life() -> None:
    store, gate = MemoryStore(blocking=False), Gate()
    flow = pipeline([gate, tagged], name="f")
    async with flow.open(store=store, run_id="run") as run:
        await run.feed([1], context={"by": "me"})
        await run.stop()
    gate.open()

    assert await flow.map([], store=store, run_id="run") == [(1, {"by": "me"})]


# A snapshot -------------------------------------------------------------------------------


async def test_a_snapshot_is_all_of_a_run_at_one_moment() -> None:
    gate = Gate()
    async with pipeline([stage(gate, name="wait")]).open() as run:
        await run.feed(["x", "y"], ids=["a", "b"])
        await wait_all_tasks_blocked()
        seen = run.snapshot()
        gate.open()
        await run.finish()

    assert seen.counts == counted(fed=2, held=2)
    assert [(each.id, each.stage, each.status) for each in seen.items] == [
        ("a", "wait", "running"),
        ("b", "wait", "waiting"),
    ]
    assert [(each.item, each.message_id, each.state) for each in seen.workers] == [
        ("a", "0", "busy")
    ]


# What is left -----------------------------------------------------------------------------


async def test_a_run_that_halts_has_what_was_not_processed_and_it_can_be_fed_again() -> None:
    async def second_fails(value: int) -> int:
        await trio.lowlevel.checkpoint()
        if value == 1:
            raise Boom
        return value

    flow = pipeline([stage(second_fails, name="check", on_failure="halt")])
    async with flow.open() as run:
        await run.feed(range(5), ids="abcde", priority=7, context={"by": "me"})
        with pytest.raises(StageError):
            await run.finish()

    report = run.report
    assert report is not None
    assert [(each.item, each.stage, each.value) for each in report.left] == [
        ("c", "check", 2),
        ("d", "check", 3),
        ("e", "check", 4),
    ]
    assert {(each.priority, each.attempts) for each in report.left} == {(7, 0)}
    assert report.left[0].metadata == {"by": "me"}
    assert len(report.left) == report.counts["held"]

    async with flow.open() as again:
        results = again.results()
        for each in report.left:
            await again.feed([each.value], stage=each.stage, ids=[each.item])
        assert sorted([(await anext(results)).value for _ in range(3)]) == [2, 3, 4]


async def test_what_a_stopped_turn_was_given_is_left_as_it_came() -> None:
    async def spoil(value: list[int]) -> None:
        value.append(5)
        await trio.sleep_forever()

    async with pipeline([stage(spoil, policies=[Retry(2)])]).open() as run:
        await run.feed([[1], [2]])
        await wait_all_tasks_blocked()
        report = await run.stop()

    assert [(each.value, each.attempts) for each in report.left] == [([1], 0), ([2], 0)]


async def test_what_waits_for_a_batch_is_left_too() -> None:
    async def many(values: list[int]) -> int:
        return sum(values)

    async with pipeline([stage(many, batch=Batch(3))]).open() as run:
        await run.feed([1, 2])
        report = await run.stop()

    assert [each.value for each in report.left] == [1, 2]


async def test_a_batch_at_work_is_left_as_what_it_was_made_of() -> None:
    async def many(values: list[int]) -> int:
        if 3 in values:
            raise Boom
        await trio.sleep_forever()
        return sum(values)

    flow = pipeline([stage(many, batch=Batch(2), workers=2, on_failure="halt")])
    with pytest.raises(StageError) as caught:
        await flow.run([1, 2, 3, 4, 5], start="many")

    report = caught.value.report
    assert [(each.item, each.value) for each in report.left] == [(0, 1), (1, 2), (4, 5)]
    assert report.counts == counted(fed=5, dead=2, held=3)


async def test_a_run_with_a_store_leaves_nothing_but_there() -> None:
    store = MemoryStore(blocking=False)
    async with pipeline([stage(Gate(), name="wait")], name="f").open(store=store) as run:
        await run.feed([1])
        report = await run.stop()

    assert (report.counts["held"], report.left) == (1, ())


# What stands around the first stage ---------------------------------------------------------


async def test_middleware_and_hooks_of_the_first_stage_get_a_context_too() -> None:
    seen: list[type] = []

    async def watch(call: Any, value: Any, ctx: Turn) -> Any:
        seen.append(type(value))
        return await call(value.set("x", 2))

    async def first(context: Context) -> dict[str, int]:
        return {"y": context["x"] + 1}

    async def second(context: Context) -> dict[str, int]:
        return {"z": context["y"] + 1}

    flow: Pipeline[Any, Any] = Pipeline([first, second], middleware=[watch])

    assert await flow.invoke({}) == {"x": 2, "y": 3, "z": 4}
    assert seen == [Context, Context]


async def test_a_send_that_no_route_follows_is_an_error_of_the_stage() -> None:
    async def router(context: Context) -> Any:
        return Send("paid", {"x": 1})

    async def first(context: Context) -> dict[str, int]:
        return {"y": 1}

    for flow in (pipeline([router]), pipeline([Parallel([router, first])])):
        with pytest.raises(StageError) as caught:
            await flow.invoke({})
        assert "as no Route or dict of routes follows" in str(caught.value.__cause__)


# From inside ------------------------------------------------------------------------------


async def test_a_handler_feeds_any_stage_with_items_of_their_own() -> None:
    async def split(value: int, ctx: Turn) -> int:
        for each in range(value):
            ctx.feed(each * 100, stage="last")
        return value

    async def last(value: int) -> int:
        return value + 1

    flow = pipeline([split, last])
    async with flow.stream([2], ordered=True) as results:
        found = [(each.id, each.value) async for each in results]

    assert found == [(0, 3), (1, 1), (2, 101)]
    report = await flow.run([2, 0])
    assert report.counts == counted(fed=4, done=4)
    assert (report.stages["split"].emitted, report.stages["last"].received) == (2, 4)


async def test_what_a_turn_feeds_that_fails_is_not_fed() -> None:
    async def feeds(value: int, ctx: Turn) -> int:
        ctx.feed(value, stage="double")
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([stage(feeds, policies=[Retry(2, backoff=Fixed(0))]), double])

    assert (await flow.run([1])).counts == counted(fed=2, done=2)


async def test_a_crawl_ends_when_nothing_is_fed_any_more() -> None:
    links = {0: [1, 2], 1: [3], 2: [3, 4], 3: [], 4: [0]}
    seen: set[int] = set()

    async def crawl(page: int, ctx: Turn) -> int:
        for each in links[page]:
            if each not in seen:
                seen.add(each)
                ctx.feed(each, stage="crawl")
        return page

    found: list[int] = []
    report = await pipeline([crawl]).run([0], sink=found.append)

    assert sorted(found) == [0, 0, 1, 2, 3, 4]
    assert report.counts == counted(fed=6, done=6)


async def feeds_more(value: int, ctx: Turn) -> int:
    await trio.lowlevel.checkpoint()
    if 0 <= value < 40 and value % 5 == 0:
        ctx.feed(-1 - value, stage="feeds_more")
    return value * 10


@pytest.mark.parametrize("options", [{}, {"window": 8}, {"ordered": True, "window": 4}])
async def test_map_has_an_entry_per_item_of_its_input_whatever_handlers_feed(options: Any) -> None:
    found = await pipeline([feeds_more]).map(range(50), **options)

    assert found == [value * 10 for value in range(50)]


async def test_map_has_lists_and_failures_of_its_input_whatever_handlers_feed() -> None:
    async def twice(value: int, ctx: Turn) -> AsyncIterator[int]:
        if value in (1, 2):
            ctx.feed(100, stage="twice")
        if value in (3, 100):
            raise Boom
        yield value
        yield value

    found = await pipeline([twice]).map(range(5), return_exceptions=True, window=2)

    assert [each if type(each) is list else type(each) for each in found] == [
        *([each, each] for each in range(3)),
        StageError,
        [4, 4],
    ]
    with pytest.raises(ExceptionGroup, match="1 items failed"):
        await pipeline([twice]).map(range(5))


async def test_submit_has_the_value_of_its_own_item_whatever_handlers_feed() -> None:
    async with pipeline([feeds_more]).open() as run:
        futures = [await run.submit(value) for value in range(20)]

        assert [await each.result() for each in futures] == [value * 10 for value in range(20)]


async def test_an_executor_has_the_value_of_each_call_whatever_its_functions_feed() -> None:
    def feeds(value: int) -> int:
        turn = current_turn()
        if value % 3 == 0:
            turn.feed(Call(callee("test", len, "loop"), ("aaa",), {}), stage="call")
        return value

    async with Executor(workers=3, runs_in="loop") as executor:
        assert await executor.map(feeds, range(9)) == list(range(9))
        assert [each async for each in executor.map_iter(feeds, range(9))] == list(range(9))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("dubble", "no stage is named 'dubble'"),
        ("b", "ctx.feed() stage must be a stage outside the branches that are joined in 'b+c'"),
    ],
)
async def test_a_stage_that_cannot_be_fed_fails_the_turn(where: str, message: str) -> None:
    async def b(value: Any) -> Any:
        return value

    async def c(value: Any) -> Any:
        return value

    async def feeds(value: int, ctx: Turn) -> int:
        ctx.feed(value, stage=where)
        return value

    report = await pipeline([feeds, Parallel([b, c])]).run([1])

    assert message in str(report.dead[0].error)


async def test_an_actor_has_nothing_to_feed() -> None:
    class Feeder(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            ctx.feed(message, stage="first")

    async with ActorSystem("house") as system:
        feeder = await system.spawn(Feeder(), name="feeder")
        with pytest.raises(AskFailed) as caught:
            await feeder.ask(1)
    assert "ctx.feed() is for stages of a flow; use ctx.tell()" in str(caught.value.__cause__)


# One step -----------------------------------------------------------------------------------


async def test_a_step_that_chooses_a_route_gives_what_it_sends_there() -> None:
    async def route(context: Context) -> Send:
        return Send("a", {"r": 1})

    async def a(context: Context) -> Context:
        return context.set("a", 1)

    async def choose(value: int) -> Send:
        return Send("a", value + 1)

    assert await pipeline([route, {"a": a}]).run_step("route", {"k": 1}) == {"k": 1, "r": 1}
    assert await pipeline([choose, {"a": double}]).run_step("choose", 1) == 2


async def test_a_step_that_is_a_generator_gives_all_its_values() -> None:
    async def twice(value: int) -> Any:
        yield value
        yield value + 1

    assert await pipeline([twice, double]).run_step("twice", 1) == [1, 2]
