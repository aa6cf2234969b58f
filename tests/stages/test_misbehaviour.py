"""Handlers that do what none should: the item pays, the worker comes back, the run goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Fixed, Pipeline, Retry, StrayCancelled, Turn, TurnTimeout, stage
from actorflow.core.events import ThreadStuck
from actorflow.runtime.kernel import Kernel
from tests.flows.flowing import Boom, counted, increment, nothing_left, outcomes, pipeline


@pytest.fixture(params=[True, False], ids=["fast", "full"], autouse=True)
def both_roads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "fast", request.param)


class Weird(BaseException):
    """Nobody expects it."""


async def stray() -> trio.Cancelled:
    """A `Cancelled` of a scope that is gone."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            return error
    raise AssertionError


CRASHES: list[tuple[Callable[[], BaseException], bool]] = [
    (lambda: SystemExit(3), True),
    (KeyboardInterrupt, True),
    (lambda: Weird("?"), True),
    (GeneratorExit, True),
    (lambda: AssertionError("not so"), True),
    (MemoryError, True),
    (lambda: BaseExceptionGroup("two", [Weird(), Boom()]), True),
    (lambda: StopAsyncIteration("end"), False),
    (lambda: ExceptionGroup("two", [Boom(), Boom()]), False),
]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
@pytest.mark.parametrize(
    ("error", "crash"), CRASHES, ids=[type(row[0]()).__name__ for row in CRASHES]
)
async def test_whatever_a_handler_raises_its_item_fails_and_the_run_goes_on(
    error: Callable[[], BaseException], crash: bool, waits: bool
) -> None:
    async def some(value: int) -> int:
        if waits:
            await trio.lowlevel.checkpoint()
        if value % 3 == 1:
            raise error()
        return value

    async with pipeline([stage(some, workers=2), increment]).open() as run:
        results = run.results()
        await run.feed(range(9))
        found = [await anext(results) for _ in range(9)]
        await wait_all_tasks_blocked()
        incarnations = sum(worker.incarnation for worker in run.workers()) - 3
        report = await run.finish()

    assert report.counts == counted(fed=9, done=6, dead=3)
    assert {type(each.error) for each in found if not each.ok} == {type(error())}
    assert report.restarts == incarnations == (3 if crash else 0)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
async def test_a_crash_is_worth_a_retry_whatever_retry_on_says(waits: bool) -> None:
    async def crash_twice(value: int, ctx: Turn) -> int:
        if waits:
            await trio.lowlevel.checkpoint()
        if ctx.attempt < 3:
            raise Weird
        return value

    again = [Retry(3, backoff=Fixed(0), retry_on=(KeyError,))]
    flow = pipeline([stage(crash_twice, workers=2, policies=again)])

    report = await flow.run(range(10))

    assert report.counts == counted(fed=10, done=10)
    assert report.restarts == 20


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
async def test_a_stray_cancellation_fails_its_item_and_nothing_more(waits: bool) -> None:
    old = await stray()

    async def some(value: int) -> int:
        if waits:
            await trio.lowlevel.checkpoint()
        if value == 1:
            raise old
        return value

    found = await outcomes(pipeline([some, increment]), range(3))

    assert [each.status for each in sorted(found, key=lambda each: each.number)] == [
        "done",
        "failed",
        "done",
    ]
    assert [type(each.error) for each in found if not each.ok] == [StrayCancelled]


async def test_a_generator_that_crashes_in_the_middle_doubles_nothing() -> None:
    async def crash(value: int, ctx: Turn) -> AsyncIterator[int]:
        for each in range(4):
            if each == ctx.attempt:
                raise Weird
            yield each

    flow = pipeline([stage(crash, policies=[Retry(9, backoff=Fixed(0))])])

    assert await flow.invoke_all(0) == [0, 1, 2, 3]


async def test_more_crashes_in_turns_than_any_budget_fail_items_and_not_the_run() -> None:
    async def crash(value: int) -> int:
        raise SystemExit

    report = await pipeline([crash]).run(range(100))

    assert report.counts == counted(fed=100, dead=100)
    assert report.restarts == 100


async def test_crash_on_decides_what_is_a_crash() -> None:
    async def fail(value: int) -> int:
        raise KeyError if value else AssertionError

    flow = pipeline([stage(fail, crash_on=(KeyError,))])

    assert (await flow.run([0, 0])).restarts == 0
    assert (await flow.run([1, 1])).restarts == 2


# Time ---------------------------------------------------------------------------------


async def test_a_hung_handler_is_a_timeout_and_frees_its_worker(autojump_clock: MockClock) -> None:
    async def hang_once(value: int) -> int:
        await trio.sleep(3600 if value == 0 else 0)
        return value

    found = await outcomes(pipeline([stage(hang_once, timeout=5)]), range(3))

    assert [each.number for each in found] == [0, 1, 2]
    assert type(found[0].error) is TurnTimeout
    assert found[0].timings["total"] == 5
    assert str(found[0].error) == "/pipeline/hang_once: did not finish within 5 s"


async def test_a_value_in_spite_of_a_timeout_counts(autojump_clock: MockClock) -> None:
    async def late(value: int) -> int:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)
        return value

    assert await pipeline([stage(late, timeout=5)]).map([1, 2]) == [1, 2]


async def test_scopes_nurseries_and_timeouts_of_a_handlers_own_work_under_ours(
    autojump_clock: MockClock,
) -> None:
    async def busy(value: int) -> str:
        with trio.move_on_after(1) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.sleep, 2)
        if value == 1:
            with trio.fail_after(1):
                await trio.sleep_forever()
        if value == 2:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
        return "done"

    found = await outcomes(pipeline([stage(busy, timeout=10, workers=3)]), range(3))

    assert {each.number: type(each.error).__name__ for each in found} == {
        0: "NoneType",
        1: "TooSlowError",
        2: "TurnTimeout",
    }


async def test_an_error_of_a_child_while_it_is_timed_out_is_the_items_failure(
    autojump_clock: MockClock,
) -> None:
    async def cleanup_fails() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Boom

    async def parent(value: int) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cleanup_fails)
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
        return value

    report = await pipeline([stage(parent, timeout=1)]).run(range(3))

    assert report.counts == counted(fed=3, dead=3)
    assert report.restarts == 0


async def test_a_nursery_that_fails_fails_its_item_as_a_group() -> None:
    async def child() -> None:
        raise Boom("inner")

    async def parent(value: int) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)
        return value

    (result,) = await outcomes(pipeline([parent]), [1])

    assert isinstance(result.error, ExceptionGroup)
    assert repr(result.error.exceptions) == "(Boom('inner'),)"


async def test_many_timeouts_in_a_row_leave_no_trace_in_the_turns_after(
    autojump_clock: MockClock,
) -> None:
    async def every_other(value: int) -> int:
        await trio.sleep(7 if value % 2 else 3)
        return value

    flow = pipeline([stage(every_other, workers=3, timeout=5)])

    report = await flow.run(range(60))

    assert report.counts == counted(fed=60, done=30, dead=30)


# Threads ------------------------------------------------------------------------------


async def test_a_stuck_thread_is_shown_keeps_its_worker_and_is_not_doubled() -> None:
    release = threading.Event()
    running: list[int] = []
    most = 0
    stuck_now = trio.Event()

    class Ear:
        def on_event(self, event: object) -> None:
            if isinstance(event, ThreadStuck):
                stuck_now.set()

    def stuck_once(value: int, ctx: Turn) -> int:
        nonlocal most
        running.append(value)
        most = max(most, running.count(value))
        if value == 0 and ctx.attempt == 1:
            release.wait(20)
        running.remove(value)
        return ctx.attempt

    again = [Retry(2, backoff=Fixed(0))]
    flow = pipeline([stage(stuck_once, workers=2, timeout=0.05, policies=again)])
    async with flow.open(observers=[Ear()]) as run:
        results = run.results()
        await run.feed(range(4))
        others = [await anext(results) for _ in range(3)]
        await stuck_now.wait()
        (stuck,) = [worker for worker in run.workers() if worker.state == "stuck"]
        release.set()
        last = await anext(results)

    assert sorted(each.number for each in others) == [1, 2, 3]
    assert stuck.item == "0"
    assert (last.number, last.value, last.attempts, most) == (0, 2, 2, 1)


async def test_what_a_thread_gives_after_its_timeout_does_not_count() -> None:
    def late(value: int) -> int:
        time.sleep(0.1)
        return value

    (result,) = await outcomes(pipeline([stage(late, timeout=0.02)]), [1])

    assert type(result.error) is TurnTimeout


async def test_a_thread_knows_that_its_turn_was_cancelled() -> None:
    saw: list[bool] = []

    def patient(value: int, ctx: Turn) -> int:
        while not ctx.cancelled():
            time.sleep(0.005)
        saw.append(True)
        return value

    await outcomes(pipeline([stage(patient, timeout=0.02)]), [1])

    assert saw == [True]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, Weird])
async def test_a_thread_that_raises_anything_costs_one_item(error: type[BaseException]) -> None:
    def some(value: int) -> int:
        if value == 1:
            raise error
        return value

    report = await pipeline([some]).run(range(3))

    assert report.counts == counted(fed=3, done=2, dead=1)


# What it does to what is around it ------------------------------------------------------


async def test_a_handler_that_puts_a_task_elsewhere_does_not_keep_its_run(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as mine:

        async def leak(value: int) -> int:
            mine.start_soon(trio.sleep, 100)
            return value

        began = trio.current_time()
        report = await pipeline([leak]).run(range(3))
        assert trio.current_time() == began

    assert report.counts == counted(fed=3, done=3)


async def test_a_handler_may_run_another_flow() -> None:
    inner = pipeline([increment])

    async def outer(value: int) -> Any:
        return await inner.invoke(value)

    assert await pipeline([stage(outer, workers=4)]).map(range(10)) == list(range(1, 11))


async def test_a_handler_that_cancels_its_inner_flow_ends_it_and_goes_on() -> None:
    async def hang(value: int) -> int:
        await trio.sleep_forever()
        return value

    inner: Pipeline[Any, Any] = pipeline([hang])

    async def outer(value: int) -> str:
        with trio.move_on_after(0.01):
            await inner.run([value])
        return "gave up"

    async with nothing_left():
        assert await pipeline([outer]).map([1]) == ["gave up"]


async def test_values_that_are_no_messages_are_passed_on_all_the_same() -> None:
    lock = threading.Lock()

    async def same(value: Any) -> Any:
        return value

    again = [Retry(2, backoff=Fixed(0))]
    odd: list[Any] = [lock, object, Weird(), float("nan"), ..., NotImplemented, type]

    found = await pipeline([same, stage(same, name="again", policies=again)]).map(odd)

    assert all(given is got for given, got in zip(odd, found, strict=True))


async def test_a_worker_that_waits_for_work_costs_nothing(autojump_clock: MockClock) -> None:
    async with pipeline([stage(increment, workers=100)]).open() as run:
        await wait_all_tasks_blocked()
        began = autojump_clock.current_time()
        await trio.sleep(1_000)

        assert autojump_clock.current_time() - began == 1_000
        assert {worker.state for worker in run.workers()} == {"idle"}
