"""Batches: many values worked on as one, when they are full, old, or all that is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import (
    Batch,
    CircuitBreaker,
    Deadline,
    Divert,
    Fixed,
    FutureTimeout,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, counted, outcomes, pipeline
from tests.flows.test_graphs import passing, values
from tests.flows.test_parallel import died, fails

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def together(values: list[Any]) -> list[Any]:
    assert type(values) is list
    return values


def batched(size: int, seconds: float | None = None, key: Any = None, **options: Any) -> Any:
    return stage(together, batch=Batch(size, seconds, key), **options)


async def each_of(values: list[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


# When a batch goes ------------------------------------------------------------------------


async def test_full_ones_go_at_once_and_the_rest_when_the_input_has_ended() -> None:
    flow = pipeline([batched(3)])

    assert [each.value for each in await outcomes(flow, range(7))] == [[0, 1, 2], [3, 4, 5], [6]]
    report = await flow.run(range(7))
    assert (report.counts, report.stages["together"].received) == (counted(fed=7, done=7), 3)


async def test_one_that_is_not_full_goes_when_its_first_value_has_waited_long_enough() -> None:
    async with pipeline([batched(3, 10.0)]).open() as run:
        results = run.results()
        await run.feed([1])
        await trio.sleep(6)
        await run.feed([2])
        assert ((await anext(results)).value, trio.current_time()) == ([1, 2], 10)

        await trio.sleep(5)
        await run.feed([3, 4, 5])  # Full: its time is over with it.
        assert (await anext(results)).value == [3, 4, 5]
        await run.feed([6])
        assert ((await anext(results)).value, trio.current_time()) == ([6], 25)


async def test_without_a_time_it_waits_for_more_as_long_as_there_may_be_more() -> None:
    async with pipeline([batched(3)]).open() as run:
        await run.feed([1, 2])
        await trio.sleep(50_000)
        assert run.stats().counts == counted(fed=2, held=2)
        assert (await run.finish()).counts == counted(fed=2, done=2)


async def test_a_batch_has_values_of_one_key() -> None:
    flow = pipeline([batched(2, key=lambda value: value % 2)])

    assert await values(flow, [1, 2, 3, 5, 4, 7, 8]) == [[1, 3], [2, 4], [5, 7], [8]]


async def test_each_key_has_a_time_of_its_own() -> None:
    async with pipeline([batched(9, 10.0, str)]).open() as run:
        results = run.results()
        await run.feed(["a"])
        await trio.sleep(4)
        await run.feed(["b"])
        assert ((await anext(results)).value, trio.current_time()) == (["a"], 10)
        assert ((await anext(results)).value, trio.current_time()) == (["b"], 14)


@pytest.mark.parametrize("error", [Boom, SystemExit])
async def test_a_key_that_cannot_be_made_is_the_end_of_its_value_and_of_no_other(
    error: type[BaseException],
) -> None:
    def key(value: int) -> int:
        if value % 2:
            raise error
        return 0

    flow = pipeline([passing("a", workers=3), batched(1, key=key, capacity=1)])

    report = await flow.run(range(40))

    assert report.counts == counted(fed=40, done=20, dead=20)
    assert (report.dead[0].body, report.dead[0].stage_or_actor) == (1, "together")


async def test_a_key_without_a_hash_is_such_a_one() -> None:
    (result,) = await outcomes(pipeline([batched(2, key=lambda value: [value])]), [1])

    assert (result.status, type(result.error)) == ("failed", TypeError)


@pytest.mark.parametrize("options", [{"window": 4}, {"concurrency": 4}, {"window": 1}])
async def test_a_batch_that_no_more_can_come_to_goes_before_it_is_full(options: Any) -> None:
    flow = pipeline([passing("a"), batched(10)])

    report = await flow.run(range(12), **options)

    room = next(iter(options.values()))
    assert report.counts == counted(fed=12, done=12)
    assert report.stages["together"].received == 12 / room


async def test_while_something_else_can_move_it_waits_for_that() -> None:
    async def uneven(value: int) -> int:
        await trio.sleep(value)
        return value

    flow = pipeline([stage(uneven, workers=9), batched(10)])

    assert await values(flow, [50, 0, 20]) == [[0, 20, 50]]
    assert trio.current_time() == 50


async def test_a_retry_is_something_that_can_move() -> None:
    async def flaky(value: int, ctx: Turn) -> int:
        if value == 1 and ctx.attempt == 1:
            raise Boom
        return value

    policies = [Retry(2, backoff=Fixed(100))]
    flow = pipeline([stage(flaky, policies=policies), batched(10)])

    assert await values(flow, range(3)) == [[0, 2, 1]]


async def test_batches_go_in_the_order_of_the_flow_so_that_later_ones_fill() -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    flow = pipeline([stage(total, batch=Batch(2)), batched(10)])

    assert await values(flow, range(5)) == [[1, 5, 4]]


async def test_a_size_above_the_capacity_fills_all_the_same() -> None:
    assert await values(pipeline([batched(10, capacity=1)]), range(20)) == [
        [*range(10)],
        [*range(10, 20)],
    ]


# What a batch is --------------------------------------------------------------------------


async def test_its_value_is_the_result_of_its_first_item() -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    flow = pipeline([stage(total, batch=Batch(3))])

    assert await flow.map(range(4)) == [3, None, None, 3]
    assert [each.number for each in await outcomes(flow, range(4))] == [0, 3]


async def test_a_generator_gives_a_value_for_each_of_its_items_all_of_which_are_done() -> None:
    report_of = pipeline([stage(each_of, batch=Batch(3)), passing("b")])

    report = await report_of.run(range(7))

    assert report.counts == counted(fed=7, done=7)
    assert report.stages["b"].received == 7


async def test_items_of_a_batch_that_gives_nothing_are_skipped() -> None:
    async def nothing(values: list[int], ctx: Turn) -> None:
        ctx.skip()

    flow = pipeline([stage(nothing, batch=Batch(3))])

    assert (await flow.run(range(4))).counts == counted(fed=4, skipped=4)
    assert {each.status for each in await outcomes(flow, range(4))} == {"skipped"}


async def test_each_item_of_a_batch_that_is_given_up_is_a_dead_letter_of_its_own() -> None:
    async def spoils(values: list[Any]) -> None:
        values.sort(reverse=True)
        values.pop()
        raise Boom

    async with pipeline([stage(spoils, batch=Batch(3))]).open() as run:
        await run.feed(["x", "y", "z"], ids=["ix", "iy", "iz"])
        report = await run.finish()

    assert report.counts == counted(fed=3, dead=3)
    assert [(each.id, each.body) for each in report.dead] == [("ix", "x"), ("iy", "y"), ("iz", "z")]
    assert {(each.reason, each.attempts) for each in report.dead} == {("failed", 1)}


async def test_a_retry_gets_the_same_values_again_and_the_letters_have_them_too() -> None:
    seen: list[list[int]] = []

    async def spoils(values: list[int]) -> None:
        seen.append(list(values))
        values.clear()
        raise Boom

    async with pipeline([stage(spoils, batch=Batch(2), policies=[Retry(3)])]).open() as run:
        await run.feed(range(4))
        report = await run.finish()

    assert sorted(seen) == [*3 * [[0, 1]], *3 * [[2, 3]]]
    assert sorted(each.body for each in report.dead) == [0, 1, 2, 3]
    assert report.stages["spoils"].retried == 4


async def test_a_failed_result_of_each_item_has_its_own_id() -> None:
    results = await outcomes(pipeline([stage(fails, batch=Batch(2))]), ["a", "b"])

    assert [(each.number, each.status) for each in results] == [(0, "failed"), (1, "failed")]


async def test_pieces_of_an_item_in_a_batch_share_its_fate_with_the_other_items() -> None:
    async def split(value: int) -> AsyncIterator[int]:
        yield value
        yield value + 10

    async def picky(values: list[int]) -> None:
        if 1 in values:
            raise Boom

    flow = pipeline([split, stage(picky, batch=Batch(3))])

    report = await flow.run(range(3))

    # 0, 10, 1 fail together, so items 0 and 1 are dead; 11, 2, 12 are done.
    assert report.counts == counted(fed=3, done=1, dead=2)
    assert [each.body for each in report.dead] == [0, 10, 1]


async def test_a_batch_has_the_most_urgent_priority_of_its_values() -> None:
    order: list[list[int]] = []

    async def note(values: list[int]) -> None:
        order.append(values)

    async with pipeline([stage(note, batch=Batch(2))]).open() as run:
        await run.pause("note")
        for number, priority in enumerate([100, 200, 50, 300]):
            await run.feed([number], priority=priority)
        await run.resume("note")
        await run.finish()

    assert order == [[2, 3], [0, 1]]


async def test_a_batch_has_the_earliest_deadline_of_its_values() -> None:
    async def slow(values: list[int]) -> None:
        await trio.sleep(100)

    flow = pipeline([stage(slow, batch=Batch(2))], policies=[Deadline(10)])

    async with flow.open() as run:
        await run.feed([1])
        await trio.sleep(4)
        await run.feed([2])
        report = await run.finish()

    assert [(each.id, each.reason) for each in report.dead] == [(0, "expired"), (1, "expired")]
    assert report.duration == 10


async def test_a_value_whose_deadline_passes_while_it_waits_takes_no_other_with_it() -> None:
    flow = pipeline([batched(2)], policies=[Deadline(10)])

    async with flow.open() as run:
        results = run.results()
        await run.feed([1])
        await trio.sleep(20)
        await run.feed([2])
        report = await run.finish()
        found = [(each.status, each.value) async for each in results]

    assert (report.counts, died(report)) == (
        counted(fed=2, done=1, dead=1),
        [(0, "together", "expired")],
    )
    assert found == [("failed", None), ("done", [2])]


async def test_metadata_is_an_items_and_not_a_batches() -> None:
    async def note(value: int, ctx: Turn) -> int:
        ctx.metadata["value"] = value
        return value

    async def tell(values: list[int], ctx: Turn) -> dict[str, Any]:
        return dict(ctx.metadata)

    assert await values_of(pipeline([note, stage(tell, batch=Batch(2))]), [1, 2]) == [{}]


async def values_of(flow: Pipeline[Any, Any], items: Any) -> list[Any]:
    return [each.value for each in await outcomes(flow, items)]


@pytest.mark.parametrize("where", ["on the edge that leads back", "in the circle"])
async def test_a_batch_in_a_circle_knows_how_deep_its_values_have_gone(where: str) -> None:
    depths: list[Any] = []

    async def visit(value: Any, ctx: Turn) -> Any:
        depths.append(ctx.metadata.get("depth"))
        assert len(depths) < 20
        return value

    edge, options = (Batch(1), {}) if "edge" in where else (None, {"batch": Batch(1)})
    flow: Graph[Any, Any] = Graph("g").add(passing("a", **options), stage(visit))
    flow.connect("a", "visit")
    flow.connect("visit", "a", feedback=True, max_depth=3, batch=edge)

    assert (await flow.run([1])).counts == counted(fed=1, done=1)
    assert depths == [None, 1, 2, 3]


# Where batches stand ----------------------------------------------------------------------


async def test_an_edge_makes_batches_for_one_stage_while_others_get_single_values() -> None:
    flow: Graph[Any, Any] = Graph("g").add(passing("a"), stage(together), passing("single"))
    flow.connect("a", "together", batch=Batch(2), when=lambda value: value < 3)
    flow.connect("a", "single", map=str)

    results = await outcomes(flow, range(4))

    assert [each.value for each in results if each.stage == "together"] == [[0, 1], [2]]
    assert [each.value for each in results if each.stage == "single"] == [*"0123"]


async def test_two_edges_make_batches_of_their_own() -> None:
    flow: Graph[Any, Any] = Graph("g").add(passing("a"), passing("b"), stage(together))
    flow.connect("a", "together", batch=Batch(9)).connect("b", "together", batch=Batch(9))

    assert await values(flow, [1, 2]) == [[1, 2], [1, 2]]


async def test_branches_may_follow_a_batch_and_a_batch_may_follow_branches() -> None:
    flow = pipeline(
        [
            batched(2, name="first"),
            Parallel([passing("b"), stage(each_of)]),
            batched(2, name="last"),
        ]
    )

    assert await values_of(flow, range(4)) == [
        [[[0, 1], [0, 1]], [[2, 3], [2, 3]]],
    ]
    assert (await flow.run(range(4))).counts == counted(fed=4, done=4)


async def test_a_branch_behind_a_batch_that_dies_is_the_end_of_every_item_of_it() -> None:
    flow = pipeline([batched(2), Parallel([fails, passing("c")])])

    report = await flow.run(range(4))
    results = await outcomes(flow, range(4))

    assert report.counts == counted(fed=4, dead=4)
    assert sorted((each.number, each.status) for each in results) == [
        (number, "failed") for number in range(4)
    ]


async def test_what_is_diverted_to_a_stage_of_batches_waits_for_others_there() -> None:
    breaker = CircuitBreaker(1, recovery_timeout=1000, when_open=Divert("together"))
    flow = pipeline([stage(fails, policies=[breaker]), batched(2)])

    results = await outcomes(flow, range(5))

    assert [each.value for each in results if each.ok] == [[1, 2], [3, 4]]


async def test_a_batch_that_is_dropped_for_a_newer_one_is_a_letter_for_each_of_its_items() -> None:
    async def slow(values: list[int]) -> None:
        await trio.sleep(10)

    flow = pipeline([stage(slow, batch=Batch(2), capacity=1, overflow="drop_old")])

    report = await flow.run(range(8))

    assert report.counts["done"] + report.counts["dead"] == 8
    assert {each.reason for each in report.dead} == {"overflow"}
    assert len(report.dead) == report.counts["dead"] > 0


async def test_in_order_results_of_batches_come_in_the_order_of_feeding() -> None:
    async def uneven(values: list[int]) -> AsyncIterator[int]:
        await trio.sleep(50 - values[0])
        for value in values:
            yield value

    flow = pipeline([stage(uneven, batch=Batch(3), workers=4)])

    async with flow.stream(range(12), ordered=True) as results:
        assert [result.value async for result in results] == [*range(12)]


async def test_futures_of_a_batch_have_its_value_or_none() -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    async with pipeline([stage(total, batch=Batch(2))]).open() as run:
        futures = [await run.submit(number) for number in range(4)]

        assert [await each.result() for each in futures] == [1, None, 5, None]


async def test_a_future_of_an_item_lets_no_batch_go_and_seconds_do() -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    async with pipeline([stage(total, batch=Batch(2))]).open() as run:
        future = await run.submit(1)
        with pytest.raises(FutureTimeout):
            await future.result(timeout=50_000)
        await run.submit(2)
        assert await future.result() == 3

    async with pipeline([stage(total, batch=Batch(2, seconds=5))]).open() as run:
        future = await run.submit(1)
        assert (await future.result(), trio.current_time()) == (1, 50_005)


@pytest.mark.parametrize(
    ("ending", "counts"),
    [
        ("finish", counted(fed=2, done=2)),
        ("drain", counted(fed=2, done=2)),
        ("stop", counted(fed=2, held=2)),
    ],
)
async def test_every_ending_knows_what_to_do_with_a_batch_that_is_not_full(
    ending: str, counts: dict[str, int]
) -> None:
    async with pipeline([passing("a"), batched(3)]).open() as run:
        await run.feed([1, 2])
        await trio.sleep(1)
        report = await getattr(run, ending)()

    assert report.counts == counts


# One entry per input ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10])
async def test_map_has_one_entry_per_input_whatever_batches_do(count: int) -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    flow = pipeline([stage(total, batch=Batch(2))])
    many = pipeline([stage(each_of, batch=Batch(2))])

    found, listed = await flow.map(range(count)), await many.map(range(count))

    pairs = [list(range(count))[first : first + 2] for first in range(0, count, 2)]
    assert found == [value for pair in pairs for value in (sum(pair), None)][:count]
    assert listed == [value for pair in pairs for value in (pair, [])][:count]


@pytest.mark.parametrize("where", ["stage", "edge"])
async def test_a_batch_has_the_metadata_that_all_its_values_share(where: str) -> None:
    seen: list[Any] = []

    async def note(value: int, ctx: Turn) -> int:
        ctx.metadata["own"] = value
        ctx.metadata["list"] = [1]
        return value

    async def take(values: list[int], ctx: Turn) -> int:
        seen.append((values, dict(ctx.metadata)))
        return len(values)

    size = Batch(2)
    last = stage(take, batch=size if where == "stage" else None)
    flow = Graph[Any, Any]().add(note, last)
    flow.connect(note, last, batch=None if where == "stage" else size)
    async with flow.open() as run:
        results = run.results()
        await run.feed([1, 2, 3], context={"tenant": "acme"})
        await run.finish()
        found = [each.metadata async for each in results if each.ok]

    common = {"tenant": "acme", "list": [1]}
    assert seen == [([1, 2], common), ([3], {**common, "own": 3})]
    assert found == [common, {**common, "own": 3}]
