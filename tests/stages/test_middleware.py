"""Middleware: around every kind of handler, in every attempt."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

from actorflow import (
    Cache,
    ConfigurationError,
    Fixed,
    Parallel,
    Retry,
    StageError,
    Steps,
    Turn,
    TurnTimeout,
    stage,
)
from actorflow.middleware import Logging, Timing
from tests.flows.flowing import Boom, counted, double, increment, pipeline
from tests.stages import handlers
from tests.stages.test_calls import KINDS

AGAIN = Retry(3, backoff=Fixed(0))


async def tenfold(call: Any, value: Any, ctx: Turn) -> Any:
    return await call(value * 10)


FUNCTIONS = [row for row in KINDS if "generator" not in row[0]]


@pytest.mark.parametrize(
    ("fn", "given"), [row[1:] for row in FUNCTIONS], ids=[row[0] for row in FUNCTIONS]
)
async def test_middleware_is_around_a_handler_that_is(
    fn: Callable[..., Any], given: dict[str, Any]
) -> None:
    assert await pipeline([stage(fn, **given)], middleware=[tenfold]).invoke(4) == 41


async def test_middleware_is_around_steps_and_processes() -> None:
    flow = pipeline([Steps(increment, double)], middleware=[tenfold])
    beside = pipeline([handlers.decorated], middleware=[tenfold])

    assert await flow.invoke(1) == 22
    assert await beside.invoke(1) == 20


async def stream(value: int) -> AsyncIterator[int]:
    for each in range(value):
        yield each


def listed(value: int) -> Iterator[int]:
    yield from range(value)


@pytest.mark.parametrize("declared", [stream, stage(listed), stage(listed, runs_in="loop")])
async def test_around_a_generator_it_is_around_the_call_that_makes_the_stream(
    declared: Any,
) -> None:
    seen: list[str] = []

    async def watch(call: Any, value: Any, ctx: Turn) -> Any:
        seen.append("begins")
        values = await call(value)
        seen.append("made")
        return values

    assert await pipeline([declared], middleware=[watch]).invoke_all(3) == [0, 1, 2]
    assert seen == ["begins", "made"]


async def test_the_stream_of_a_generator_may_be_replaced() -> None:
    async def evens(call: Any, value: Any, ctx: Turn) -> Any:
        async def some() -> AsyncIterator[int]:
            async for each in await call(value):
                if each % 2 == 0:
                    yield each

        return some()

    async def none(call: Any, value: Any, ctx: Turn) -> Any:
        return ["instead"]

    assert await pipeline([stream], middleware=[evens]).invoke_all(5) == [0, 2, 4]
    assert await pipeline([stream], middleware=[none]).invoke_all(5) == ["instead"]
    assert await pipeline([handlers.up_to], middleware=[none]).invoke_all(2) == ["instead"]


async def test_the_first_is_the_outermost_and_each_is_around_every_stage() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        async def around(call: Any, value: Any, ctx: Turn) -> Any:
            order.append(f"{name}({ctx.stage}")
            result = await call(value)
            order.append(f"{name})")
            return result

        return around

    await pipeline([increment, double], middleware=[named("a"), named("b")]).invoke(1)

    assert order == ["a(increment", "b(increment", "b)", "a)", "a(double", "b(double", "b)", "a)"]


async def test_a_result_may_be_replaced_and_a_handler_left_out() -> None:
    async def negated(call: Any, value: Any, ctx: Turn) -> Any:
        return -1 if value == 0 else -await call(value)

    assert await pipeline([increment], middleware=[negated]).map([0, 1]) == [-1, -2]


async def test_each_attempt_passes_it_and_what_it_raises_is_the_handlers() -> None:
    attempts: list[int] = []

    async def fails(call: Any, value: Any, ctx: Turn) -> Any:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise Boom
        return await call(value)

    flow = pipeline([stage(increment, policies=[AGAIN])], middleware=[fails])
    assert await flow.invoke(1) == 2
    assert attempts == [1, 2, 3]

    with pytest.raises(StageError) as caught:
        await pipeline([increment], middleware=[fails]).invoke(1)
    assert type(caught.value.__cause__) is Boom


async def test_it_is_inside_the_timeout(autojump_clock: None) -> None:
    async def slow(call: Any, value: Any, ctx: Turn) -> Any:
        await trio.sleep(100)
        return await call(value)

    report = await pipeline([stage(increment, timeout=1)], middleware=[slow]).run([1])

    assert [type(each.error) for each in report.dead] == [TurnTimeout]


async def test_it_may_skip_and_does_not_hear_of_what_is_skipped_before_it() -> None:
    heard: list[int] = []

    async def odd(call: Any, value: Any, ctx: Turn) -> Any:
        heard.append(value)
        if value % 2 == 0:
            ctx.skip()
            return None
        return await call(value)

    flow = pipeline([stage(increment, skip_if=lambda value: value == 3)], middleware=[odd])
    report = await flow.run(range(5))

    assert report.counts == counted(fed=5, done=1, skipped=4)
    assert heard == [0, 1, 2, 4]


async def test_run_step_passes_it_too() -> None:
    assert await pipeline([increment, double], middleware=[tenfold]).run_step("double", 1) == 20


async def test_a_plain_function_may_be_middleware() -> None:
    def plain(call: Any, value: Any, ctx: Turn) -> Any:
        return call(value + 1)

    assert await pipeline([increment], middleware=[plain]).invoke(1) == 3


@pytest.mark.parametrize(
    ("middleware", "text"),
    [
        (tenfold, "flow 'pipeline'.middleware must be a list of async functions, got <function"),
        ([3], "flow 'pipeline'.middleware[0] must be an async function of (call, value, ctx), "),
        ([Timing], "flow 'pipeline'.middleware[0] must be an async function of (call, value, "),
    ],
)
def test_what_is_no_middleware_is_an_error(middleware: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pipeline([increment], middleware=middleware)

    assert str(caught.value).startswith(text)


# What comes with the house --------------------------------------------------------------


async def test_timing_notes_the_seconds_of_each_stage(autojump_clock: None) -> None:
    async def slow(value: int, ctx: Turn) -> int:
        await trio.sleep(value)
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([stage(slow, policies=[AGAIN]), increment], middleware=[Timing()])
    async with flow.stream([2]) as results:
        found = [each.metadata async for each in results]

    assert found == [{"timings": {"slow": [2.0], "increment": [0.0]}}]


async def test_timing_keeps_the_metadata_of_one_item_apart_from_that_of_another(
    autojump_clock: None,
) -> None:
    async def spread(value: int, ctx: Turn) -> int:
        ctx.emit(value + 1)
        return value

    async def slow(value: int) -> int:
        await trio.sleep(value)
        return value

    async with pipeline([spread, slow], middleware=[Timing("took")]).stream([1]) as results:
        found = {each.value: each.metadata["took"] async for each in results}

    assert found == {1: {"spread": [0.0], "slow": [1.0]}, 2: {"spread": [0.0], "slow": [2.0]}}


async def test_logging_logs_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    async def once(value: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Boom("no")
        return value + 1

    flow = pipeline([stage(once, policies=[AGAIN])], middleware=[Logging(values=True)])
    with caplog.at_level(logging.INFO, "actorflow.stages"):
        await flow.invoke(6)

    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("INFO", "once: message 0, attempt 1 begins: 6"),
        ("WARNING", "once: message 0, attempt 1 failed: Boom('no')"),
        ("INFO", "once: message 0, attempt 2 begins: 6"),
        ("INFO", "once: message 0, attempt 2 is done: 7"),
    ]


async def test_what_nobody_wrote_has_neither_middleware_nor_hooks_nor_cache() -> None:
    heard: list[str] = []

    class Hear:
        """Hears of ends."""

        def after_stage(self, stage: str, *facts: Any) -> None:
            heard.append(stage)

    async def watch(call: Any, value: Any, ctx: Turn) -> Any:
        heard.append(f"{ctx.stage}?")
        return await call(value)

    flow = pipeline(
        [Parallel([increment, double])], middleware=[watch], hooks=[Hear()], policies=[Cache(9)]
    )

    assert await flow.invoke(3) == [4, 6]
    assert sorted(heard) == ["double", "double?", "increment", "increment?"]
