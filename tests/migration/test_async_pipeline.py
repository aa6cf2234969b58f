"""What async-pipeline documents, written for actorflow, gives what it documents.

The programs of the page run and print what it says; its table has every public name; and what
async-pipeline promises of handlers, timeouts, retries, hooks, contexts and maps holds here.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorflow import (
    CompilationError,
    ConfigurationError,
    Exponential,
    Fixed,
    Pipeline,
    Retry,
    Stage,
    StageError,
    Timeout,
    Turn,
    TurnTimeout,
    stage,
)
from actorflow.middleware import Logging, Timing
from tests.programs import Program, names_in_tables, printed, programs

PAGE = "migration/async-pipeline.md"

#: Every public name of async-pipeline 1.1.0: classes, methods, options, types, errors.
NAMES = (
    *("Pipeline", "stages", "before_stage", "after_stage", "middlewares"),
    *("Pipeline.run", "Pipeline.map", "context", "concurrency", "return_exceptions"),
    *("Stage", "name", "handler", "timeout", "retries", "retry_delay", "backoff", "Stage.run"),
    *("BackoffMode", "handler(value, context)", "before_stage(..., context)"),
    *("after_stage(..., context)", "BeforeStageHook", "AfterStageHook"),
    *("Middleware", "next", "stage_name", "LoggingMiddleware", "logger", "level"),
    *("include_value", "TimingMiddleware", "context_key", "RetryMiddleware", "delay"),
    *("TimeoutMiddleware", "OpenTelemetryMiddleware", "tracer_name", "span_prefix"),
    *("trace_attributes", "PipelineError", "StageExecutionError", "original_error"),
    *("ValueError", "TimeoutError", "ExceptionGroup"),
)

PROGRAMS = programs(PAGE)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_the_program_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    assert printed(program, tmp_path) == program.prints


def test_the_page_has_a_program_for_each_main_thing() -> None:
    assert len(PROGRAMS) == 7
    assert all(each.prints for each in PROGRAMS)


def test_the_table_has_every_name() -> None:
    assert set(NAMES) - names_in_tables(PAGE) == set()


def pipeline(nodes: list[Any], **options: Any) -> Pipeline[Any, Any]:
    return Pipeline(nodes, **options)


async def add_one(value: int) -> int:
    return value + 1


async def multiply_by_two(value: int) -> int:
    return value * 2


async def broken(value: int) -> int:
    raise RuntimeError("boom")


# A row of stages ------------------------------------------------------------------------------


async def test_each_stage_gets_what_the_one_before_it_gave() -> None:
    assert await pipeline([add_one, multiply_by_two]).invoke(10) == 22


async def test_plain_handlers_are_stages_and_run_beside_the_loop() -> None:
    def here(value: int) -> bool:
        return threading.current_thread() is threading.main_thread()

    def add(value: int) -> int:
        return value + 1

    assert await pipeline([add]).invoke(1) == 2
    assert await pipeline([here]).invoke(1) is False
    assert await pipeline([stage(here, runs_in="loop")]).invoke(1) is True


async def test_a_handler_that_fails_is_told_with_its_stage_and_its_error() -> None:
    with pytest.raises(StageError) as caught:
        await pipeline([add_one, broken]).invoke(1)
    assert caught.value.stage == "broken"
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert str(caught.value.__cause__) == "boom"


def test_a_pipeline_without_stages_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="it has no nodes; give it at least one stage"):
        pipeline([])


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(CompilationError, match="are both named 'add_one'; rename one"):
        pipeline([add_one, add_one])


async def test_a_stage_may_stand_twice_under_another_name() -> None:
    assert await pipeline([add_one, stage(add_one, name="again")]).invoke(1) == 3


async def test_a_stage_is_run_alone_by_its_name() -> None:
    flow = pipeline([add_one, stage(multiply_by_two, name="double")])

    assert await flow.run_step("double", 4) == 8


# Timeouts and retries -------------------------------------------------------------------------


@attrs.define
class Ask:
    """A handler that fails or hangs so many times, and when it was called."""

    failures: int = 0
    hangs: int = 0
    times: list[float] = attrs.Factory(list)

    async def __call__(self, value: int) -> int:
        self.times.append(trio.current_time())
        if len(self.times) <= self.hangs:
            await trio.sleep_forever()
        if len(self.times) <= self.failures:
            raise OSError(len(self.times))
        return value


async def test_a_handler_that_is_too_slow_fails_with_a_timeout_error(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(StageError) as caught:
        await pipeline([stage(Ask(hangs=1), timeout=1.0)]).invoke(1)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert trio.current_time() == 1


async def test_a_plain_handler_has_its_timeout_too_and_can_ask_for_it() -> None:
    never = threading.Event()

    def wait(value: int, ctx: Turn) -> int:
        while not ctx.cancelled():
            never.wait(0.001)
        return value

    with pytest.raises(StageError) as caught:
        await pipeline([stage(wait, timeout=0.01)]).invoke(1)
    assert isinstance(caught.value.__cause__, TurnTimeout)


@pytest.mark.parametrize(
    ("backoff", "times"),
    [
        (Fixed(0), [0, 0, 0, 0]),
        (Fixed(0.5), [0, 0.5, 1, 1.5]),
        (Exponential(0.5, jitter="none"), [0, 0.5, 1.5, 3.5]),
    ],
    ids=["none", "fixed", "exponential"],
)
async def test_three_retries_are_four_attempts_with_their_delays(
    autojump_clock: MockClock, backoff: Any, times: list[float]
) -> None:
    ask = Ask(failures=3)

    assert await pipeline([stage(ask, policies=[Retry(4, backoff=backoff)])]).invoke(7) == 7
    assert ask.times == times


async def test_without_a_retry_there_is_one_attempt() -> None:
    ask = Ask(failures=1)

    with pytest.raises(StageError):
        await pipeline([ask]).invoke(1)
    assert len(ask.times) == 1


async def test_retries_that_are_used_up_give_the_last_error() -> None:
    flow = pipeline([stage(Ask(failures=9), policies=[Retry(3, backoff=Fixed(0))])])

    with pytest.raises(StageError) as caught:
        await flow.invoke(1)
    assert (caught.value.attempts, str(caught.value.__cause__)) == (3, "3")


async def test_each_attempt_has_its_timeout_and_the_delay_comes_on_top(
    autojump_clock: MockClock,
) -> None:
    ask = Ask(hangs=9)
    policies = [Retry(4, backoff=Exponential(0.5, jitter="none"))]

    with pytest.raises(StageError) as caught:
        await pipeline([stage(ask, timeout=5.0, policies=policies)]).invoke(1)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert ask.times == [0, 5.5, 11.5, 18.5]
    assert trio.current_time() == 23.5


async def test_the_cancellation_of_the_caller_is_no_failure_and_is_not_retried() -> None:
    ask = Ask(hangs=9)
    flow = pipeline([stage(ask, policies=[Retry(4)])])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow.invoke, 1)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

    assert scope.cancelled_caught
    assert len(ask.times) == 1


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (
            lambda: stage(add_one, timeout=0),
            "stage 'add_one'.timeout must be a number of seconds, above 0, got 0",
        ),
        (lambda: Retry(0), "Retry.max_attempts must be a whole number, 1 or more, got 0"),
        (lambda: Fixed(-1), "Fixed.seconds must be a number of seconds, 0 or more, got -1"),
        (
            lambda: Retry(backoff="linear"),  # type: ignore[arg-type]
            "Retry.backoff must be a backoff such as Exponential() or Fixed(5), got 'linear'",
        ),
    ],
    ids=["timeout", "retries", "delay", "backoff"],
)
def test_an_option_that_can_never_work_is_a_value_error(declare: Any, text: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        declare()
    assert str(caught.value) == text


# Context --------------------------------------------------------------------------------------


async def remember(value: int, ctx: Turn) -> int:
    ctx.metadata["user_id"] = 123
    return value


async def recall(value: int, ctx: Turn) -> Any:
    return dict(ctx.metadata)


async def test_what_one_stage_puts_into_the_context_the_next_one_finds() -> None:
    assert await pipeline([remember, recall]).invoke(1, context={}) == {"user_id": 123}
    assert await pipeline([remember, recall]).invoke(1) == {"user_id": 123}


async def test_the_callers_context_is_copied_to_its_depth() -> None:
    async def change(value: int, ctx: Turn) -> int:
        ctx.metadata["rows"].append(value)
        return value

    given = {"rows": [0]}

    assert await pipeline([change, recall]).invoke(1, context=given) == {"rows": [0, 1]}
    assert given == {"rows": [0]}


async def test_items_of_a_map_do_not_share_their_contexts() -> None:
    async def note(value: int, ctx: Turn) -> int:
        ctx.metadata.setdefault("seen", []).append(value)
        return value

    found = await pipeline([stage(note, workers=3), recall]).map([1, 2, 3])

    assert found == [{"seen": [1]}, {"seen": [2]}, {"seen": [3]}]


async def test_handlers_of_a_map_share_what_is_given_as_deps() -> None:
    @attrs.frozen
    class Settings:
        factor: int

    async def scale(value: int, ctx: Turn) -> int:
        return value * int(ctx.deps.factor)

    assert await pipeline([scale]).map([1, 2], deps=Settings(10)) == [10, 20]


async def test_a_second_parameter_that_is_no_turn_is_not_guessed_to_be_one() -> None:
    async def scale(value: int, factor: int = 2) -> int:
        return value * factor

    assert await pipeline([scale]).invoke(4) == 8


# Hooks ----------------------------------------------------------------------------------------


@attrs.define
class Watch:
    """Hooks that note what they are told, plain or async."""

    told: list[Any] = attrs.Factory(list)

    def before_stage(self, stage: str, item_id: Any, value: Any) -> None:
        self.told.append(("Starting", stage, value))

    async def after_stage(
        self, stage: str, item_id: Any, value: Any, result: Any, error: Any
    ) -> None:
        self.told.append((stage, value, result, error))


async def test_hooks_are_told_of_each_stage_and_what_it_gave() -> None:
    watch = Watch()
    await pipeline([add_one, multiply_by_two], hooks=[watch]).invoke(1)

    assert watch.told == [
        ("Starting", "add_one", 1),
        ("add_one", 1, 2, None),
        ("Starting", "multiply_by_two", 2),
        ("multiply_by_two", 2, 4, None),
    ]


async def test_the_hook_after_a_stage_that_failed_gets_its_error_and_no_result() -> None:
    watch = Watch()
    with pytest.raises(StageError) as caught:
        await pipeline([broken], hooks=[watch]).invoke(1)

    assert watch.told == [
        ("Starting", "broken", 1),
        ("broken", 1, None, caught.value.__cause__),
    ]


async def test_hooks_that_fail_stop_nothing_and_hide_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fails:
        def before_stage(self, stage: str, item_id: Any, value: Any) -> None:
            raise ValueError("of the hook")

        after_stage = None

    assert await pipeline([add_one], hooks=[Fails()]).invoke(1) == 2
    with pytest.raises(StageError, match="boom"):
        await pipeline([broken], hooks=[Fails()]).invoke(1)
    assert caplog.messages[0] == "/pipeline/add_one/1: before_stage: ValueError('of the hook')"


# Middleware -----------------------------------------------------------------------------------


async def test_the_first_middleware_is_outermost_around_each_stage() -> None:
    order: list[str] = []

    def noting(name: str) -> Any:
        async def middleware(call: Any, value: Any, ctx: Turn) -> Any:
            order.append(f"{name} in {ctx.stage}")
            result = await call(value)
            order.append(f"{name} out")
            return result

        return middleware

    await pipeline([add_one], middleware=[noting("first"), noting("second")]).invoke(1)

    assert order == ["first in add_one", "second in add_one", "second out", "first out"]


async def test_middleware_may_change_value_and_result_and_catch_errors() -> None:
    async def tenfold(call: Any, value: int, ctx: Turn) -> Any:
        try:
            return await call(10 * value)
        except RuntimeError:
            return -1

    assert await pipeline([add_one], middleware=[tenfold]).invoke(4) == 41
    assert await pipeline([broken], middleware=[tenfold]).invoke(4) == -1


async def test_timings_are_noted_for_each_stage(autojump_clock: MockClock) -> None:
    async def slow(value: int) -> int:
        await trio.sleep(2)
        return value

    flow = pipeline([add_one, slow], middleware=[Timing()])
    async with flow.stream([1]) as results:
        (result,) = [each async for each in results]

    assert result.metadata["timings"] == {"add_one": [0], "slow": [2]}


async def test_logging_tells_of_values_where_they_are_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="actorflow.stages"):
        await pipeline([add_one], middleware=[Logging(values=True)]).invoke(1)

    assert caplog.messages == [
        "add_one: message 0, attempt 1 begins: 1",
        "add_one: message 0, attempt 1 is done: 2",
    ]


async def test_a_retry_of_the_pipeline_is_not_multiplied_with_one_of_the_stage() -> None:
    own, other = Ask(failures=9), Ask(failures=9)
    nodes = [stage(own, name="own", policies=[Retry(2, backoff=Fixed(0))])]
    for flow in (
        pipeline(nodes, policies=[Retry(3, backoff=Fixed(0))]),
        pipeline([stage(other, name="other")], policies=[Retry(3, backoff=Fixed(0))]),
    ):
        with pytest.raises(StageError):
            await flow.invoke(1)

    assert (len(own.times), len(other.times)) == (2, 3)


async def test_a_timeout_of_the_pipeline_is_for_each_stage_without_one(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(StageError) as caught:
        await pipeline([Ask(hangs=1)], policies=[Timeout(5.0)]).invoke(1)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert trio.current_time() == 5


# Many items -----------------------------------------------------------------------------------


async def test_a_map_gives_results_in_the_order_of_the_input(autojump_clock: MockClock) -> None:
    ends: list[int] = []

    async def backwards(value: int) -> int:
        await trio.sleep(3 - value)
        ends.append(value)
        return 10 * value

    found = await pipeline([stage(backwards, workers=5)]).map([1, 2, 3], concurrency=5)

    assert found == [10, 20, 30]
    assert ends == [3, 2, 1]


@pytest.mark.parametrize("bound", ["workers", "concurrency"])
async def test_no_more_items_run_at_a_time_than_are_allowed(
    autojump_clock: MockClock, bound: str
) -> None:
    inside: list[int] = []
    most: list[int] = []

    async def busy(value: int) -> int:
        inside.append(value)
        most.append(len(inside))
        await trio.sleep(1)
        inside.remove(value)
        return value

    given: dict[str, Any] = {"concurrency": 3} if bound == "concurrency" else {}
    await pipeline([stage(busy, workers=9 if given else 3)]).map(range(9), **given)

    assert max(most) == 3
    assert trio.current_time() == 3


async def even(value: int) -> int:
    if value % 2:
        raise RuntimeError(value)
    return value


async def test_a_map_does_all_items_and_raises_a_group_of_what_failed() -> None:
    with pytest.raises(ExceptionGroup, match="2 items failed") as caught:
        await pipeline([even]).map([1, 2, 3])

    first, second = caught.value.exceptions
    assert isinstance(first, StageError)
    assert isinstance(second, StageError)
    assert (first.item_id, second.item_id) == (0, 2)
    assert isinstance(first.__cause__, RuntimeError)


async def test_a_map_may_end_at_the_first_failure(autojump_clock: MockClock) -> None:
    done: list[int] = []

    async def slow(value: int) -> int:
        await trio.sleep(value)
        if value == 1:
            raise RuntimeError("boom")
        done.append(value)
        return value

    with pytest.raises(StageError, match="boom"):
        await pipeline([stage(slow, workers=3)], on_failure="halt").map([1, 2, 3])
    await trio.sleep(10)
    assert done == []


async def test_failures_may_stand_in_their_places() -> None:
    two, error, four = await pipeline([even]).map([2, 3, 4], return_exceptions=True)

    assert (two, four) == (2, 4)
    assert isinstance(error, StageError)
    assert isinstance(error.__cause__, RuntimeError)


async def test_a_concurrency_below_one_is_a_value_error() -> None:
    with pytest.raises(ConfigurationError, match="concurrency must be a whole number, 1 or more"):
        await pipeline([add_one]).map([1], concurrency=0)


async def test_an_input_without_an_end_is_read_as_results_are_taken() -> None:
    read: list[int] = []

    async def endless() -> AsyncIterator[int]:
        while True:
            read.append(len(read))
            yield len(read)

    async with pipeline([add_one]).stream(endless(), window=8) as results:
        found = [(await anext(aiter(results))).value for _ in range(3)]

    assert found == [2, 3, 4]
    assert len(read) <= 16


# Types ----------------------------------------------------------------------------------------


async def test_a_pipeline_says_what_goes_in_and_what_comes_out() -> None:
    typed: Stage[int, int] = stage(add_one)
    flow: Pipeline[int, int] = Pipeline([typed])

    assert await flow.invoke(1) == 2
