"""The verbs of a flow: what each gives, in which order, and how it says that items failed."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorflow import (
    CompilationError,
    ConfigurationError,
    Fixed,
    Pipeline,
    Retry,
    StageError,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, counted, double, increment, outcomes, pipeline


async def refuse_odd(value: int) -> int:
    if value % 2:
        raise Boom(value)
    return value


async def only_big(value: int, ctx: Turn) -> int:
    if value < 10:
        ctx.skip()
    return value


async def spread(value: int) -> AsyncIterator[int]:
    for each in range(value):
        yield each


# invoke and invoke_all ----------------------------------------------------------------


async def test_invoke_gives_the_value_of_one_item() -> None:
    assert await pipeline([double, increment]).invoke(3) == 7


async def test_invoke_raises_where_why_and_how_often_with_the_handlers_own_error() -> None:
    flow = pipeline([stage(refuse_odd, name="check", policies=[Retry(3, backoff=Fixed(0))])])

    with pytest.raises(StageError) as caught:
        await flow.invoke(7)

    error = caught.value
    assert (error.stage, error.item_id, error.attempts) == ("check", 0, 3)
    assert str(error) == "stage 'check', item 0, tried 3 times: Boom(7)"
    assert type(error.__cause__) is Boom
    assert error.__cause__.args == (7,)
    assert error.__cause__.__traceback__ is not None


async def test_invoke_with_no_value_or_several_says_what_to_use() -> None:
    with pytest.raises(StageError, match=r"gave no value \(skipped\)"):
        await pipeline([only_big]).invoke(1)
    with pytest.raises(StageError, match=r"gave 3 values; use invoke_all\(\)"):
        await pipeline([spread]).invoke(3)


async def test_invoke_all_gives_every_value_of_one_item() -> None:
    assert await pipeline([spread, double]).invoke_all(4) == [0, 2, 4, 6]
    assert await pipeline([only_big]).invoke_all(1) == []


async def test_invoke_all_raises_what_invoke_raises() -> None:
    with pytest.raises(StageError) as caught:
        await pipeline([spread, refuse_odd]).invoke_all(3)

    assert repr(caught.value.__cause__) == "Boom(1)"


async def test_an_error_whose_text_raises_is_still_reported() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    async def mute(value: int) -> int:
        raise Mute

    (result,) = await outcomes(pipeline([mute]), [1])

    assert type(result.error) is Mute


# map ----------------------------------------------------------------------------------


async def test_map_keeps_the_order_of_the_input_whatever_ends_first(
    autojump_clock: MockClock,
) -> None:
    async def slow_first(value: int) -> int:
        await trio.sleep(10 - value)
        return value

    assert await pipeline([stage(slow_first, workers=10)]).map(range(10)) == list(range(10))


async def test_map_raises_all_failures_together() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await pipeline([refuse_odd], name="evens").map(range(5))

    assert caught.value.message == "flow 'evens': 2 items failed"
    assert [each.item_id for each in caught.value.exceptions] == [1, 3]  # type: ignore[union-attr]
    assert [repr(each.__cause__) for each in caught.value.exceptions] == ["Boom(1)", "Boom(3)"]


async def test_map_can_put_failures_in_their_places() -> None:
    first, second, third = await pipeline([refuse_odd]).map([0, 1, 2], return_exceptions=True)

    assert (first, third) == (0, 2)
    assert type(second) is StageError
    assert repr(second.__cause__) == "Boom(1)"


async def test_map_has_one_entry_for_each_item() -> None:
    assert await pipeline([only_big]).map([1, 20, 3]) == [None, 20, None]
    assert await pipeline([spread]).map([2, 0, 1]) == [[0, 1], [], [0]]
    assert await pipeline([double]).map([]) == []


async def test_map_loses_no_value_of_an_item_that_gave_several() -> None:
    async def twice(value: int, ctx: Turn) -> int:
        ctx.emit(-value)
        return value

    assert await pipeline([twice]).map([1, 2]) == [[-1, 1], [-2, 2]]


async def test_map_takes_async_iterables_and_every_run_option() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    assert await pipeline([double]).map(numbers(), concurrency=1, window=2) == [0, 2, 4]


# run ----------------------------------------------------------------------------------


async def test_run_reports_counts_stages_errors_and_dead_letters(
    autojump_clock: MockClock,
) -> None:
    async def flaky(value: int, ctx: Turn) -> int:
        await trio.sleep(1)
        if value == 5 and ctx.attempt == 1:
            raise Boom("once")
        return value

    flow = pipeline(
        [stage(flaky, policies=[Retry(2, backoff=Fixed(0))]), refuse_odd, spread], name="all"
    )
    values: list[int] = []

    report = await flow.run([0, 2, 5], sink=values.append, run_id="monday")

    assert (report.run_id, values) == ("monday", [0, 1])
    assert report.counts == counted(fed=3, done=1, skipped=1, dead=1)
    assert report.duration == 4.0
    flaky_stage, check, last = (report.stages[each.name] for each in flow.plan.stages)
    assert (flaky_stage.received, flaky_stage.emitted, flaky_stage.retried) == (3, 3, 1)
    assert (flaky_stage.latency.mean, flaky_stage.latency.max) == (1.0, 1.0)
    assert (check.received, check.emitted, check.failed) == (3, 2, 1)
    assert (last.received, last.emitted, last.skipped) == (2, 2, 1)
    assert [(each.stage, each.type, each.count) for each in report.errors] == [
        ("refuse_odd", "Boom", 1)
    ]
    (letter,) = report.dead
    assert (letter.id, letter.body, letter.stage_or_actor) == (2, 5, "refuse_odd")
    assert (letter.reason, letter.attempts, repr(letter.error)) == ("failed", 1, "Boom(5)")
    assert "raise Boom(value)" in letter.traceback


async def test_a_run_of_nothing_is_a_report_of_nothing() -> None:
    report = await pipeline([double]).run([])

    assert report.counts == counted()


async def test_one_flow_runs_any_number_of_times_and_at_once() -> None:
    flow = pipeline([double, increment])
    reports = []

    async def once(count: int) -> None:
        reports.append(await flow.run(range(count)))

    async with trio.open_nursery() as nursery:
        for count in range(1, 6):
            nursery.start_soon(once, count)

    assert sorted(report.counts["done"] for report in reports) == [1, 2, 3, 4, 5]
    assert len({report.run_id for report in reports}) == 5


async def test_the_errors_of_a_report_are_the_first_hundred_kinds() -> None:
    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(150)]

    async def fail(value: int) -> int:
        raise kinds[value]

    report = await pipeline([fail]).run([*range(150), 149, 149])

    assert len(report.errors) == 101
    assert (report.errors[0].type, report.errors[0].count) == ("others", 52)


def test_run_sync_runs_outside_of_trio() -> None:
    report = pipeline([double]).run_sync(range(3))

    assert report.counts == counted(fed=3, done=3)


async def test_run_step_runs_one_stage_alone_with_its_own_and_the_flows_policies() -> None:
    async def flaky(value: int, ctx: Turn) -> int:
        if ctx.attempt < 3:
            raise Boom
        return value + ctx.attempt

    flow = pipeline([double, flaky, increment], policies=[Retry(3, backoff=Fixed(0))])

    assert await flow.run_step("flaky", 10) == 13
    with pytest.raises(CompilationError, match="no stage is named 'flake'"):
        await flow.run_step("flake", 10)


# stream -------------------------------------------------------------------------------


async def test_stream_gives_one_result_per_output_and_one_per_failed_or_skipped_item() -> None:
    flow = pipeline([spread, refuse_odd, only_big])

    found = await outcomes(flow, [0, 1, 2, 12])

    by_item = {
        number: sorted(each.status for each in found if each.number == number)
        for number in range(4)
    }
    assert by_item == {
        0: ["skipped"],
        1: ["skipped"],
        2: ["failed"],
        3: ["done", "failed"],
    }


async def test_a_result_says_who_where_what_and_how_often() -> None:
    async def third_time(value: int, ctx: Turn) -> int:
        if value == 1 or ctx.attempt < 3:
            raise Boom(ctx.attempt)
        return value

    flow = pipeline(
        [double, stage(third_time, name="third", policies=[Retry(3, backoff=Fixed(0))])]
    )

    async with flow.open() as run:
        results = run.results()
        await run.feed([5], ids=["five"])
        good = await anext(results)
        await run.feed([0.5], ids=["half"])
        bad = await anext(results)

    assert (good.id, good.value, good.ok, good.status) == ("five", 10, True, "done")
    assert (good.error, good.attempts, good.stage, good.traceback) == (None, 3, "third", "")
    assert (bad.id, bad.value, bad.ok, bad.status) == ("half", None, False, "failed")
    assert (repr(bad.error), bad.attempts, bad.stage) == ("Boom(3)", 3, "third")
    assert "raise Boom(ctx.attempt)" in bad.traceback
    assert bad.timings["total"] >= 0


async def test_the_first_result_of_a_slow_endless_source_comes_at_once(
    autojump_clock: MockClock,
) -> None:
    async def drip() -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number += 1
            await trio.sleep(3600)

    async with pipeline([double]).stream(drip()) as results:
        began = trio.current_time()
        first = await anext(results)

        assert (first.value, trio.current_time() - began) == (0, 0)


async def test_the_first_result_of_an_endless_generator_stage_comes_at_once() -> None:
    async def endless(value: int) -> AsyncIterator[int]:
        while True:
            value += 1
            yield value

    async with pipeline([endless, double]).stream([0]) as results:
        first = [await anext(results) for _ in range(3)]

    assert [result.value for result in first] == [2, 4, 6]


# Options ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": 0}, "run option window must be a whole number, 1 or more, got 0"),
        ({"concurrency": 0}, "run option concurrency must be a whole number, 1 or more, got 0"),
        ({"ordered": "yes"}, "run option ordered must be True or False, got 'yes'"),
        ({"max_dead": -1}, "run option max_dead must be a whole number, 0 or more, got -1"),
        ({"on_failure": "stop"}, "run option on_failure must be a function or 'halt', got 'stop'"),
        ({"run_id": "a/b"}, "run option run_id must be 1 to 200 printable characters"),
        ({"keep": -1}, "run option keep must be a whole number, 1 or more, got -1"),
        ({"interval": -1}, "run option interval must be a number of seconds, 0 or more, got -1"),
        ({"store_deadline": 0}, "run option store_deadline must be a number above 0, got 0"),
        ({"lease": "1"}, "run option lease must be a number above 0, got '1'"),
        ({"tune": 1}, "run option tune must be True or False, got 1"),
        ({"migrate": ["a"]}, "run option migrate must be new names of stages by their old, got"),
        ({"resume": "must"}, "run option store must be given with resume=, got None"),
        ({"results": "store"}, "run option store must be given with results=, got None"),
        ({"interval": 0}, "run option store must be given with interval=, got None"),
        ({"store_deadline": 5}, "run option store must be given with store_deadline=, got None"),
        ({"on_store_failure": "stop"}, "run option store must be given with on_store_failure=,"),
        ({"migrate": {}}, "run option store must be given with migrate=, got None"),
        ({"lease": 5}, "run option store must be given with lease=, got None"),
        ({"tune": False}, "run option store must be given with tune=, got None"),
        ({"keep": 9}, "run option store must be given with keep=, got None"),
    ],
)
async def test_a_run_option_that_cannot_work_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pipeline([double]).open(**given)

    assert str(caught.value).startswith(message)


async def test_an_unknown_run_option_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'concurrency'\?"):
        await pipeline([double]).run([1], concurency=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("items", ["text", b"bytes", {"a": 1}, 5, None])
async def test_a_single_value_is_no_source(items: Any) -> None:
    flow = pipeline([double])

    for verb in (flow.run, flow.map):
        with pytest.raises(ConfigurationError, match="wrap a single value in a list"):
            await verb(items)
    with pytest.raises(ConfigurationError, match="wrap a single value in a list"):
        async with flow.stream(items):
            raise AssertionError("the block has begun")


async def test_a_partial_flow_is_typed_by_its_stages() -> None:
    flow: Pipeline[int, int] = Pipeline.of(functools.partial(double), increment, workers=2)

    assert [each.workers for each in flow.plan.stages] == [2, 2]
