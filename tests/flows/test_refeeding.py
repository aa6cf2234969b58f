"""What a run had left, in another run: each message where it was, nothing twice, nothing lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Batch,
    ConfigurationError,
    Context,
    EncodeError,
    Fixed,
    Graph,
    History,
    NotRunningError,
    Parallel,
    Pipeline,
    Report,
    Retry,
    StageError,
    Steps,
    Turn,
    stage,
)
from actorflow.durability.memory import MemoryStore
from actorflow.flows.results import Held
from tests.flows.flowing import Boom, Gate, counted, counts_add_up, double, increment, pipeline

# Every flow: what came out before and behind the break is what comes out without one ------------


async def slow(value: Any) -> Any:
    await trio.sleep(1)
    return value


async def three(value: Any) -> AsyncIterator[Any]:
    for each in "abc":
        await trio.sleep(0.7)
        yield value, each


async def brief(value: Any) -> Any:
    await trio.sleep(0.3)
    return value


@stage(policies=[Retry(3, backoff=Fixed(1.5))], workers=2)
async def third_time(value: Any, ctx: Turn) -> Any:
    await trio.sleep(0.2)
    if ctx.attempt < 3:
        raise Boom
    return value, ctx.attempt


async def together(values: list[Any]) -> Any:
    await trio.sleep(1)
    return tuple(values)


async def spread(values: list[Any]) -> AsyncIterator[Any]:
    for each in values:
        await trio.sleep(0.6)
        yield each


async def joined(values: Any) -> Any:
    await trio.sleep(0.4)
    return tuple(map(repr, values))


@stage(writes=["x"])
async def writes_x(context: Context) -> dict[str, Any]:
    await trio.sleep(0.5)
    return {"x": context["id"] * 2}


@stage(writes=["y"])
async def writes_y(context: Context) -> dict[str, Any]:
    await trio.sleep(1.1)
    return {"y": context["id"] * 3}


async def whole(context: Context) -> Context:
    await trio.sleep(0.3)
    return context.set("z", context["x"] + context["y"])


async def tagged(value: Any, ctx: Turn) -> Any:
    await trio.sleep(0.5)
    return value, ctx.metadata["by"]


def again(name: str, fn: Any, **given: Any) -> Any:
    return stage(fn, name=name, **given)


def crawl() -> Graph[Any, Any]:
    links = {0: [1, 2], 1: [2, 3], 2: [4, 0], 3: [5], 4: [5, 1], 5: []}

    async def found(page: int) -> AsyncIterator[int]:
        for each in links[page % 6]:
            await trio.sleep(0.4)
            yield each

    graph: Graph[Any, Any] = Graph("crawl").add(slow, found, brief)
    graph.connect(slow, found).connect(slow, brief)
    return graph.connect(found, slow, feedback=True, dedupe=lambda page: page)


def identity(value: Any) -> Any:
    return value


SHAPES: dict[str, Callable[[], Any]] = {
    "linear": lambda: pipeline([slow, again("slow2", slow, workers=2), brief]),
    "generator": lambda: pipeline([stage(three, workers=2), again("slow2", slow, workers=3)]),
    "two generators": lambda: pipeline([three, again("more", three, workers=2)]),
    "atomic": lambda: pipeline([stage(three, atomic=True, workers=2), brief]),
    "retry": lambda: pipeline([brief, third_time, slow]),
    "metadata": lambda: pipeline([brief, stage(tagged, workers=2)]),
    "steps": lambda: pipeline(
        [stage(Steps(brief, slow, third_time.fn), workers=2, policies=[Retry(3)])]
    ),
    "key": lambda: pipeline([brief, again("k", slow, key=lambda value: value % 2, workers=3)]),
    "batch": lambda: pipeline([brief, stage(together, batch=Batch(2, seconds=9)), slow]),
    "batch that spreads": lambda: pipeline(
        [stage(spread, batch=Batch(3, seconds=9)), again("slow2", slow, workers=2)]
    ),
    "joined": lambda: pipeline([brief, Parallel([slow, [again("b", brief), third_time]]), joined]),
    "joined generators": lambda: pipeline([Parallel([three, again("b", slow)]), joined]),
    "nested": lambda: pipeline(
        [
            Parallel(
                {
                    "one": again("a", brief, workers=2),
                    "two": [Parallel([again("b", slow), again("c", three)]), again("d", brief)],
                }
            ),
            again("e", joined),
        ]
    ),
    "batch that is split": lambda: pipeline(
        [stage(spread, batch=Batch(2, seconds=5)), Parallel([three, again("b", slow)]), joined]
    ),
    "contexts": lambda: Pipeline([writes_x, writes_y, whole]),
    "unjoined": lambda: pipeline([Parallel([slow, third_time], join=False), brief]),
    "unjoined in a branch": lambda: pipeline(
        [
            Parallel([[Parallel([slow, third_time], join=False), brief], again("b", three)]),
            joined,
        ]
    ),
    "crawl": crawl,
}


def inputs(name: str) -> list[Any]:
    return [{"id": each} for each in range(4)] if name == "contexts" else list(range(5))


def told(value: Any) -> str:
    return repr(dict(value) if isinstance(value, Context) else value)


async def broken_at(name: str, moments: list[float]) -> tuple[list[str], list[Report]]:
    """What came out of a run that was stopped, and of those that went on with what it had left."""
    flow, found, reports = SHAPES[name](), list[str](), list[Report]()
    left: tuple[Held, ...] = ()
    for moment in [*moments, None]:
        async with flow.open(sink=lambda value: found.append(told(value))) as run:
            if not reports:
                await run.feed(inputs(name), context={"by": "me"})
            else:
                assert {each.item for each in left} <= set(await run.refeed(left))
                assert counts_add_up(run)
            if moment is None:
                reports.append(await run.finish())
            else:
                await trio.sleep(moment)
                reports.append(await run.stop())
            left = reports[-1].left
    return found, reports


def run_virtually(fn: Any, *args: Any) -> Any:
    return trio.run(fn, *args, clock=MockClock(autojump_threshold=0))


def check(name: str, moments: list[float]) -> None:
    undisturbed, _ = run_virtually(broken_at, name, [])

    found, reports = run_virtually(broken_at, name, moments)

    if "batch" not in name:  # Who is in a batch with whom depends on when they come.
        assert Counter(found) == Counter(undisturbed)
    else:
        assert sorted(filter(str.isalnum, "".join(found))) == sorted(
            filter(str.isalnum, "".join(undisturbed))
        )
    ends = Counter[str]()
    for report in reports:
        ends.update({key: report.counts[key] for key in ("done", "skipped", "dead")})
    assert dict(ends) == {"done": ends["done"], "skipped": 0, "dead": 0}
    assert ends["done"] == reports[0].counts["fed"]
    assert reports[-1].counts["held"] == 0
    for before, after in pairwise(reports):
        assert after.counts["fed"] == before.counts["held"]


@pytest.mark.parametrize("moment", [0.1, 0.4, 0.75, 1.2, 1.55, 1.95, 2.6, 3.3, 4.5, 6.2])
@pytest.mark.parametrize("name", SHAPES)
def test_a_run_and_the_one_that_goes_on_give_what_one_run_gives(name: str, moment: float) -> None:
    check(name, [moment])


@given(st.sampled_from(list(SHAPES)), st.lists(st.floats(0.05, 4), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
@example("nested", [0.35, 0.35, 0.35, 0.35, 0.35])
@example("batch that spreads", [0.7, 0.7, 0.7, 0.7])
def test_a_run_may_be_broken_off_any_number_of_times(name: str, moments: list[float]) -> None:
    check(name, moments)


# What comes back where ---------------------------------------------------------------------------


async def left_of(flow: Any, items: Any, **options: Any) -> tuple[Held, ...]:
    """What is left of a run that was stopped when nothing could move."""
    async with flow.open() as run:
        await run.feed(items, **options)
        await wait_all_tasks_blocked()
        report: Report = await run.stop()
    return report.left


async def test_a_generator_that_was_halted_goes_on_behind_what_it_had_sent(
    autojump_clock: MockClock,
) -> None:
    mended = False

    async def five(value: int) -> AsyncIterator[tuple[int, int]]:
        for each in range(5):
            await trio.sleep(0.1)
            yield value, each

    async def look(value: tuple[int, int]) -> tuple[int, int]:
        if value == (1, 3) and not mended:
            raise Boom
        return value

    found: list[Any] = []
    flow = pipeline([stage(five, workers=3), stage(look, on_failure="halt")])
    with pytest.raises(StageError) as caught:
        await flow.run(range(3), sink=found.append)
    report: Any = caught.value.report
    mended = True
    async with flow.open(sink=found.append) as run:
        await run.refeed(report.left)
        await run.feed([each.body for each in report.dead], stage="look")

    assert sorted(found) == [(one, other) for one in range(3) for other in range(5)]


async def test_what_is_fed_again_has_its_id_priority_metadata_and_attempts() -> None:
    history = History()

    async def tell(value: int, ctx: Turn) -> Any:
        if value < 3 and ctx.attempt == 1:
            raise Boom
        await gate(value)
        return value, ctx.attempt, dict(ctx.metadata)

    gate = Gate()
    policies = [Retry(3, backoff=Fixed(1_000))]
    flow = pipeline([stage(tell, policies=policies, workers=3)])
    left = await left_of(flow, [1, 3, 2], ids=["a", "b", "c"], priority=7, context={"by": "me"})
    gate.open()
    async with flow.open(ordered=True, observers=[history]) as run:
        results = run.results()
        assert await run.feed([4]) == [0]
        assert await run.refeed(left) == ["a", "b", "c"]
        assert {each.id for each in run.items()} >= {"a", "b", "c"}
        found = [await anext(results) for _ in range(4)]

    assert [(each.id, each.value) for each in found] == [
        (0, (4, 1, {})),
        ("a", (1, 2, {"by": "me"})),
        ("b", (3, 1, {"by": "me"})),
        ("c", (2, 2, {"by": "me"})),
    ]
    assert {each.priority for each in left} == {7}
    assert [each.what for each in history.events("a")][:2] == ["accepted", "started"]


async def test_a_value_may_be_mended_before_it_is_fed_again() -> None:
    left = await left_of(pipeline([stage(Gate(), name="wait")]), [1])
    found: list[int] = []

    async def wait(value: int) -> int:
        return value

    async with pipeline([wait]).open(sink=found.append) as run:
        await run.refeed(attrs.evolve(each, value=5) for each in left)

    assert found == [5]


async def test_what_is_fed_again_may_be_fed_once_more_elsewhere() -> None:
    async def spoil(value: list[int]) -> list[int]:
        value.append(9)
        return value

    async def both(values: list[list[int]]) -> list[list[int]]:
        values[0].append(8)
        return values

    gate = Gate()
    spoiling = stage(spoil, policies=[Retry(2)])
    flow = pipeline([Parallel([spoiling, stage(gate, name="wait", policies=[Retry(2)])]), both])
    left = await left_of(flow, [[1]])
    gate.open()
    for _ in range(2):
        found: list[Any] = []
        async with flow.open(sink=found.append) as run:
            await run.refeed(left)
        assert found == [[[1, 9, 8], [1]]]


async def test_branches_that_had_arrived_are_not_run_again() -> None:
    ran: list[str] = []
    gate = Gate()

    async def quick(value: int) -> int:
        ran.append("quick")
        return value + 1

    flow = pipeline([Parallel([quick, stage(gate, name="wait")]), joined])
    left = await left_of(flow, [1])
    gate.open()
    found: list[Any] = []
    async with flow.open(sink=found.append) as run:
        assert await run.refeed(left) == [0]
        report = await run.finish()

    assert ([each.stage for each in left], ran, found) == (["wait"], ["quick"], [("2", "1")])
    assert report.counts == counted(fed=1, done=1)


async def test_a_batch_that_was_formed_is_the_same_again() -> None:
    gate, seen = Gate(), list[list[int]]()

    async def halves(values: list[int]) -> AsyncIterator[int]:
        seen.append(list(values))
        yield values[0]
        await gate(values[0])
        yield values[1]

    flow = pipeline([stage(halves, batch=Batch(2))])
    found: list[int] = []
    async with flow.open(sink=found.append) as run:
        await run.feed([1, 2, 3])
        await wait_all_tasks_blocked()
        left = (await run.stop()).left
    gate.open()
    async with flow.open(sink=found.append) as run:
        await run.feed([7])
        await run.refeed(left)
        report = await run.finish()

    assert sorted(map(tuple, seen)) == [(1, 2), (1, 2), (7, 3)]
    assert sorted(found) == [1, 2, 3, 7]
    assert report.counts == counted(fed=4, done=4)


async def test_the_order_of_a_key_is_kept(autojump_clock: MockClock) -> None:
    order: list[int] = []

    async def keyed(value: int, ctx: Turn) -> None:
        if value == 0 and ctx.attempt == 1:
            raise Boom
        order.append(value)

    retry = Retry(2, backoff=Fixed(1_000))
    flow = pipeline([stage(keyed, key=lambda value: value % 2, policies=[retry], workers=2)])
    async with flow.open() as run:
        await run.feed(range(6))
        await wait_all_tasks_blocked()
        left = (await run.stop()).left
    async with flow.open() as run:
        await run.refeed(left)

    assert [each for each in order if each % 2 == 0] == [0, 2, 4]


async def test_an_item_of_which_a_branch_had_died_ends_as_dead() -> None:
    async def fails(value: int) -> int:
        raise Boom

    flow = pipeline([Parallel([stage(fails, on_failure="halt"), slow]), joined])

    async def fail() -> None:
        async with flow.open() as run:
            await run.pause("slow")
            await run.feed([1])

    with pytest.raises(StageError) as caught:
        await fail()
    report: Any = caught.value.report
    async with flow.open() as run:
        assert await run.refeed(report.left) == [0]
        ended = await run.finish()

    assert ended.counts == counted(fed=1, dead=1)
    assert [(each.stage_or_actor, each.reason) for each in ended.dead] == [
        ("slow", "sibling_failed")
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_a_durable_run_takes_over_and_goes_on_after_its_own_end(name: str) -> None:
    async def main() -> list[str]:
        flow, found = SHAPES[name](), list[str]()
        options: Any = {"sink": lambda value: found.append(told(value))}
        async with flow.open(**options) as run:
            await run.feed(inputs(name), context={"by": "me"})
            await trio.sleep(1.2)
            left = (await run.stop()).left
        store = MemoryStore(blocking=False)
        options |= {"store": store, "run_id": "run"}
        async with flow.open(**options) as run:
            await run.refeed(left)
            await trio.sleep(0.8)
            await run.stop()
        report = await flow.run(**options)
        assert report.counts["held"] == report.counts["dead"] == 0
        return found

    undisturbed, _ = run_virtually(broken_at, name, [])
    found = run_virtually(main)

    digits = [sorted(filter(str.isalnum, "".join(each))) for each in (found, undisturbed)]
    assert digits[0] == digits[1] if "batch" in name else Counter(found) == Counter(undisturbed)


# What cannot be fed again ------------------------------------------------------------------------


def waiting(name: str = "wait", flow: str = "one", **given: Any) -> Any:
    return pipeline([stage(Gate(), name=name, **given)], name=flow)


async def test_what_is_of_another_flow_is_refused_and_nothing_is_fed() -> None:
    left = [*await left_of(waiting(), [1]), *await left_of(waiting(flow="other"), [2])]
    async with waiting().open() as run:
        with pytest.raises(ConfigurationError, match="of the flow 'one', and not of 'other'"):
            await run.refeed(left)
        report = await run.stop()

    assert report.counts["fed"] == 0


async def test_a_stage_that_is_not_there_is_refused() -> None:
    left = await left_of(waiting("first"), [1])
    async with waiting("second").open() as run:
        with pytest.raises(ConfigurationError, match="must be a stage of the flow: 'second', got"):
            await run.refeed(left)


@pytest.mark.parametrize("held", [5, None, "text", [5], [None]])
async def test_what_is_of_no_report_is_refused(held: Any) -> None:
    async with waiting().open() as run:
        with pytest.raises(ConfigurationError, match=r"values of report\.left"):
            await run.refeed(held)
        made = Held(
            item=0, message_id="0", stage="wait", value=1, attempts=0, priority=1, metadata={}
        )
        with pytest.raises(ConfigurationError, match=r"values of report\.left"):
            await run.refeed([made])
        with pytest.raises(ConfigurationError, match=r"an iterable of values of report\.left"):
            await run.refeed(made)


async def test_nothing_is_fed_again_twice_at_once() -> None:
    left = await left_of(waiting(), [1])
    async with waiting().open() as run:
        with pytest.raises(ConfigurationError, match="each message once"):
            await run.refeed([*left, *left])
        await run.stop()


async def test_what_belongs_together_comes_back_together() -> None:
    flow = pipeline([Parallel([stage(Gate(), name="a"), stage(Gate(), name="b")]), joined])
    left = await left_of(flow, [1])
    async with flow.open() as run:
        with pytest.raises(ConfigurationError, match="all that is left of its branches, which"):
            await run.refeed(left[:1])
        await run.stop()

    flow = waiting(batch=Batch(2))
    left = await left_of(flow, [1, 2])
    async with flow.open() as run:
        with pytest.raises(ConfigurationError, match="all 2 values of its batch"):
            await run.refeed(left[1:])
        await run.stop()


async def test_a_flow_that_joins_and_batches_no_more_is_refused() -> None:
    flow = pipeline([Parallel([stage(Gate(), name="a"), increment]), joined], name="one")
    left = await left_of(flow, [1])
    async with pipeline([stage(Gate(), name="a"), joined], name="one").open() as run:
        with pytest.raises(ConfigurationError, match="a flow that joins branches at that stage"):
            await run.refeed(left)

    left = await left_of(waiting(batch=Batch(3)), [1, 2])
    async with waiting().open() as run:
        with pytest.raises(ConfigurationError, match="where values still wait for a batch"):
            await run.refeed(left)


async def test_a_flow_whose_branches_are_others_is_refused() -> None:
    def flow(*branches: Any) -> Any:
        return pipeline([Parallel([stage(Gate(), name="a"), *branches]), joined], name="one")

    left = await left_of(flow(again("b+c", slow)), [1])
    async with flow(again("b", slow), again("c", slow)).open() as run:
        with pytest.raises(ConfigurationError, match=r"with 2 branches that meet at 'a\+b\+c'"):
            await run.refeed([each for each in left if each.stage == "a"])

    left = await left_of(pipeline([stage(Gate(), name="a"), joined], name="one"), [1])
    async with flow(increment).open() as run:
        with pytest.raises(ConfigurationError, match="in the same branches as in the run that"):
            await run.refeed(left)


async def test_a_run_that_has_ended_takes_nothing_back() -> None:
    left = await left_of(waiting(), [1])
    async with pipeline([double], name="one").open() as run:
        await run.finish()
        with pytest.raises(NotRunningError, match="has ended"):
            await run.refeed(left)


async def test_a_run_that_must_keep_what_it_is_fed_refuses_what_cannot_be_kept() -> None:
    left = await left_of(waiting(), [1, object()])
    store = MemoryStore(blocking=False)
    async with waiting().open(store=store, run_id="run") as run:
        with pytest.raises(EncodeError, match="cannot write object"):
            await run.refeed(left)
        report = await run.stop()

    assert report.counts["fed"] == 0
