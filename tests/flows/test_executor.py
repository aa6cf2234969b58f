"""An executor calls functions: where, how many at a time, in which order, and to which end."""

from __future__ import annotations

import functools
import gc
import os
import re
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    ActorSystem,
    Bulkhead,
    Cache,
    CircuitBreaker,
    CircuitOpenError,
    ConfigurationError,
    Executor,
    Fixed,
    Future,
    FutureCancelled,
    InsideTurn,
    NotRunningError,
    RateLimit,
    Retry,
    StageError,
    StrayCancelled,
    TurnTimeout,
    WorkerDied,
    current_turn,
    stage,
)
from actorflow.core.events import MessageDied
from actorflow.flows.submitting import LETTERS_KEPT
from tests.flows.flowing import Boom, Gate, counted, double, nothing_left, pipeline
from tests.stages import handlers


async def add(left: int, right: int, *, more: int = 0) -> int:
    return left + right + more


async def fail(value: object) -> None:
    raise Boom(value)


def shout(text: str) -> str:
    return text.upper()


class Failing:
    """Fails so many times, then gives its value."""

    def __init__(self, times: int, kind: type[BaseException] = Boom) -> None:
        self.left = times
        self.calls = 0
        self.kind = kind
        self.error: BaseException | None = None

    async def __call__(self, value: Any = None) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            self.error = self.kind()
            raise self.error
        return value


# Where a function runs ----------------------------------------------------------------


async def test_submit_calls_a_coroutine_function_with_its_arguments() -> None:
    async with Executor() as executor:
        future = await executor.submit(add, 1, right=2, more=3)

        assert await future.result() == 6


async def test_a_coroutine_function_runs_in_the_loop_and_a_plain_one_in_a_thread() -> None:
    async def here() -> int:
        return threading.get_ident()

    async with Executor() as executor:
        loop = await (await executor.submit(here)).result()
        thread = await (await executor.submit(threading.get_ident)).result()

    assert (loop, thread != loop) == (threading.get_ident(), True)


async def test_partials_callable_objects_methods_classes_and_stages_are_called() -> None:
    declared = stage(double, name="declared")
    cases: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
        (functools.partial(add, 1, more=1), (2,), 4),
        (functools.partial(shout, "a"), (), "A"),
        (Failing(0), ("value",), "value"),
        ("{}-{}".format, (1, 2), "1-2"),
        (dict, ([("a", 1)],), {"a": 1}),
        (lambda: "lambda", (), "lambda"),
        (declared, (4,), 8),
    ]

    async with Executor() as executor:
        futures = [await executor.submit(fn, *args) for fn, args, _ in cases]
        values = [await each.result() for each in futures]

    assert values == [wanted for _, _, wanted in cases]


async def test_an_executor_in_the_loop_calls_plain_functions_there_and_awaits_what_they_give() -> (
    None
):
    async with Executor(runs_in="loop") as executor:
        assert await executor.map(threading.get_ident, *[[]]) == []
        assert await (await executor.submit(threading.get_ident)).result() == threading.get_ident()
        assert await (await executor.submit(lambda: double(4))).result() == 8


async def test_an_executor_in_processes_calls_plain_functions_there() -> None:
    async with Executor(2, runs_in="process") as executor:
        pid = await (await executor.submit(os.getpid)).result()
        whole = await (await executor.submit(int, "ff", base=16)).result()
        staged = await (await executor.submit(handlers.decorated, 4)).result()
        looped = await (await executor.submit(double, 4)).result()

    assert (pid != os.getpid(), whole, staged, looped) == (True, 255, 8, 8)


async def test_a_function_that_no_process_finds_is_refused_at_once() -> None:
    async with Executor(runs_in="process") as executor:
        for hidden in (lambda: None, "text".upper, Failing(0).__str__):
            with pytest.raises(ConfigurationError, match=r"^Executor.runs_in must be used"):
                await executor.submit(hidden)


async def test_a_plain_function_that_gives_a_coroutine_to_a_thread_has_failed() -> None:
    async with Executor() as executor:
        future = await executor.submit(lambda: double(4))

        with pytest.raises(TypeError, match="gave a coroutine; write `async def`, or await it"):
            await future.result()


async def test_what_cannot_be_called_is_refused_with_what_to_write_instead() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def agenerator() -> AsyncIterator[int]:
        yield 1

    async with Executor() as executor:
        submit: Any = executor.submit
        for wrong in (None, 3, "fetch"):
            with pytest.raises(ConfigurationError, match=r"such as executor.submit\(fetch, url\)"):
                await submit(wrong)
        with pytest.raises(ConfigurationError, match=r"write double, not double\(\.\.\.\)"):
            await submit(double(1))
        for generates in (generator, agenerator):
            with pytest.raises(ConfigurationError, match="a generator makes a stage of a flow"):
                await submit(generates)


async def test_a_call_that_does_not_fit_the_function_has_failed() -> None:
    submit: Any
    async with Executor() as executor:
        submit = executor.submit
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            await (await submit(add, 1)).result()


async def test_arguments_are_passed_on_as_they_are_to_every_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Any] = []

    async def look(given: list[int]) -> None:
        seen.append(given)
        raise Boom

    given = [1]
    async with Executor(policies=[Retry(2, backoff=Fixed(0))]) as executor:
        await (await executor.submit(look, given)).exception()

    assert [each is given for each in seen] == [True, True]
    assert caplog.messages == []


# How many -----------------------------------------------------------------------------


async def test_no_more_than_workers_calls_run_at_a_time() -> None:
    gate = Gate()
    async with Executor(3) as executor:
        futures = [await executor.submit(gate, number) for number in range(10)]
        await wait_all_tasks_blocked()
        assert gate.inside == [0, 1, 2]
        gate.open()
        assert [await each.result() for each in futures] == list(range(10))

    assert gate.most == 3


async def test_a_hundred_workers_run_a_hundred_threads() -> None:
    all_there = threading.Barrier(100)
    async with Executor(100) as executor:
        await executor.map(all_there.wait, [20] * 100)


async def test_submit_waits_for_room_when_capacity_calls_wait() -> None:
    gate = Gate()
    submitted: list[int] = []

    async def submit_many() -> None:
        for number in range(10):
            await executor.submit(gate, number)
            submitted.append(number)

    async with Executor(2, capacity=3) as executor, trio.open_nursery() as nursery:
        nursery.start_soon(submit_many)
        await wait_all_tasks_blocked()
        assert submitted == [0, 1, 2, 3, 4]  # Two run and three wait.
        gate.open()

    assert executor.stats().counts == counted(fed=10, done=10)


async def test_a_queue_may_be_as_long_as_its_capacity_says() -> None:
    gate = Gate()
    async with Executor(1, capacity=3000) as executor:
        futures = [await executor.submit(gate, number) for number in range(3000)]
        assert executor.stats().counts == counted(fed=3000, held=3000)
        for each in futures:
            each.cancel()


async def test_with_capacity_0_a_call_is_handed_over_in_person() -> None:
    gate = Gate()
    submitted: list[int] = []

    async def submit_many() -> None:
        for number in range(4):
            await executor.submit(gate, number)
            submitted.append(number)

    async with Executor(2, capacity=0) as executor, trio.open_nursery() as nursery:
        nursery.start_soon(submit_many)
        await wait_all_tasks_blocked()
        assert (submitted, gate.inside) == ([0, 1], [0, 1])
        gate.open()


async def test_a_cancelled_submit_has_submitted_nothing() -> None:
    gate = Gate()
    async with Executor(1, capacity=1) as executor:
        for number in range(2):
            await executor.submit(gate, number)
        with trio.move_on_after(0):
            await executor.submit(gate, 2)
        with trio.CancelScope() as scope:
            scope.cancel()
            await executor.submit(gate, 3)
        assert executor.stats().counts["fed"] == 2
        gate.open()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"workers": 0}, "Executor.workers must be a whole number, 1 or more, got 0"),
        ({"workers": 2.5}, "Executor.workers must be a whole number, 1 or more, got 2.5"),
        ({"capacity": -1}, "Executor.capacity must be a whole number, 0 or more, got -1"),
        ({"timeout": 0}, "Executor.timeout must be a number of seconds, above 0, got 0"),
        (
            {"runs_in": "gpu"},
            "Executor.runs_in must be one of 'loop', 'thread', 'process', got 'gpu'",
        ),
        (
            {"name": "a/b"},
            "Executor.name must be 1 to 200 printable characters without '/', got 'a/b'",
        ),
    ],
)
def test_a_wrong_option_is_refused_when_the_executor_is_made(
    given: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Executor(**given)

    assert str(caught.value) == text


@pytest.mark.parametrize("policies", [[Retry(), Retry()], "Retry", [3]])
def test_policies_that_cannot_stand_together_are_refused_when_it_is_made(policies: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^Executor"):
        Executor(policies=policies)


# The beginning and the end --------------------------------------------------------------


async def test_it_takes_calls_inside_its_block_only() -> None:
    executor = Executor(name="jobs")
    with pytest.raises(NotRunningError, match=r"^executor 'jobs' has not begun; use `async with`$"):
        await executor.submit(double, 1)
    async with executor:
        pass
    ended = r"^executor 'jobs' has ended; make another one$"
    with pytest.raises(NotRunningError, match=ended):
        await executor.submit(double, 1)
    with pytest.raises(NotRunningError, match=ended):
        await executor.map(double, [1])
    with pytest.raises(NotRunningError, match=r"^executor 'jobs' has been used; make another one$"):
        await executor.__aenter__()


async def test_leaving_the_block_waits_for_all_calls(autojump_clock: MockClock) -> None:
    done: list[int] = []

    async def slowly(number: int) -> None:
        await trio.sleep(number)
        done.append(number)

    async with nothing_left(), Executor(2) as executor:
        for number in range(6):
            await executor.submit(slowly, number)

    assert done == [0, 1, 2, 3, 4, 5]


async def test_an_error_in_the_block_cancels_what_waits_and_what_runs() -> None:
    gate = Gate()
    futures: list[Future[Any]] = []

    async def broken() -> None:
        async with Executor(1) as executor:
            futures.extend([await executor.submit(gate, number) for number in range(3)])
            await wait_all_tasks_blocked()
            raise Boom

    async with nothing_left():
        with pytest.raises(Boom):
            await broken()

    assert gate.inside == []
    for each in futures:
        assert each.cancelled()
        with pytest.raises(
            FutureCancelled, match=r"^/executor, item \d: its run has ended before it$"
        ):
            await each.result()


async def test_a_cancelled_block_ends_at_once(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with nothing_left(), Executor(1) as executor:
            for _ in range(3):
                await executor.submit(trio.sleep_forever)

    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(5)
    assert executor.stats().counts == counted(fed=3, held=3)


async def test_shutdown_waits_for_all_and_may_be_called_again() -> None:
    async with Executor(1) as executor:
        futures = [await executor.submit(double, number) for number in range(5)]
        await executor.shutdown()
        assert all(each.done() for each in futures)
        await executor.shutdown()
        await executor.shutdown(cancel=True)
        with pytest.raises(NotRunningError):
            await executor.submit(double, 1)


async def test_shutdown_with_cancel_takes_back_what_waits_and_lets_end_what_runs(
    autojump_clock: MockClock,
) -> None:
    async def second(value: int) -> int:
        await trio.sleep(1)
        return value

    async with Executor(2) as executor:
        futures = [await executor.submit(second, number) for number in range(6)]
        await trio.sleep(0.5)
        await executor.shutdown(cancel=True)

    assert trio.current_time() == pytest.approx(1)
    assert [await each.result() for each in futures[:2]] == [0, 1]
    assert [each.cancelled() for each in futures] == [False, False, True, True, True, True]
    assert executor.stats().counts == counted(fed=6, done=2, skipped=4)


async def test_shutdown_with_cancel_waits_for_no_retry(autojump_clock: MockClock) -> None:
    waits, runs = Failing(9), Failing(9)

    async def run_on() -> None:
        await trio.sleep(5)
        await runs()

    async with Executor(2, policies=[Retry(5, backoff=Fixed(60))]) as executor:
        waiting = await executor.submit(waits)
        running = await executor.submit(run_on)
        await trio.sleep(1)
        await executor.shutdown(cancel=True)

    assert trio.current_time() == pytest.approx(5)
    assert waiting.cancelled()
    assert isinstance(await running.exception(), Boom)
    assert (waits.calls, runs.calls) == (1, 1)


async def test_who_waits_for_room_at_the_end_is_told() -> None:
    gate = Gate()

    async def submit_third() -> None:
        with pytest.raises(
            NotRunningError, match=r"^executor 'executor' ended while submit\(\) waited for room$"
        ):
            await executor.submit(gate, 3)

    async with Executor(1, capacity=1) as executor, trio.open_nursery() as nursery:
        for number in range(2):
            await executor.submit(gate, number)
        nursery.start_soon(submit_third)
        await wait_all_tasks_blocked()
        nursery.start_soon(functools.partial(executor.shutdown, cancel=True))
        await wait_all_tasks_blocked()
        gate.open()

    assert executor.stats().counts == counted(fed=2, done=1, skipped=1)


async def test_who_was_promised_room_at_the_very_end_has_submitted_nothing() -> None:
    gate = Gate()

    async def submit_third() -> None:
        with pytest.raises(NotRunningError):
            await executor.submit(gate, 3)

    async with Executor(1, capacity=1) as executor, trio.open_nursery() as nursery:
        futures = [await executor.submit(gate, number) for number in range(2)]
        nursery.start_soon(submit_third)
        await wait_all_tasks_blocked()
        futures[1].cancel()
        executor.run.take_back()
        gate.open()

    assert executor.stats().counts == counted(fed=2, done=1, skipped=1)


# Policies -----------------------------------------------------------------------------


async def test_retries_of_an_executor_hold_no_worker(autojump_clock: MockClock) -> None:
    failing = Failing(2)
    async with Executor(1, policies=[Retry(3, backoff=Fixed(10))]) as executor:
        retried = await executor.submit(failing, "value")
        other = await executor.submit(double, 4)
        assert await other.result() == 8
        assert not retried.done()
        assert await retried.result() == "value"

    assert retried.attempts == 3
    assert trio.current_time() == pytest.approx(20)


async def test_when_attempts_are_over_the_functions_own_error_comes() -> None:
    failing = Failing(9)
    async with Executor(policies=[Retry(3, backoff=Fixed(0))]) as executor:
        future = await executor.submit(failing)
        with pytest.raises(Boom) as caught:
            await future.result()

    assert caught.value is failing.error
    assert (failing.calls, future.attempts) == (3, 3)


async def test_a_timeout_ends_an_attempt(autojump_clock: MockClock) -> None:
    async with Executor(1, timeout=2) as executor:
        hung = await executor.submit(trio.sleep_forever)
        after = await executor.submit(double, 4)
        with pytest.raises(TurnTimeout, match="did not finish within 2 s"):
            await hung.result()
        assert await after.result() == 8


async def test_rate_limits_hold_calls_back(autojump_clock: MockClock) -> None:
    async with Executor(5, policies=[RateLimit(10)]) as executor:
        await executor.map(double, range(11))

    assert trio.current_time() == pytest.approx(1.0)


async def test_a_key_of_a_policy_is_given_the_call() -> None:
    breaker = CircuitBreaker(1, when_open="reject", key=lambda call: (call.fn.__name__, call.args))
    async with Executor(policies=[breaker]) as executor:
        futures = [await executor.submit(fail, number) for number in (1, 2)]
        kinds = [type(await each.exception()) for each in futures]
        again = await (await executor.submit(fail, 1)).exception()
        assert await (await executor.submit(double, 1)).result() == 2

    assert kinds == [Boom, Boom]
    assert isinstance(again, CircuitOpenError)


async def test_a_cache_with_a_key_spares_calls() -> None:
    made: list[int] = []

    async def square(value: int) -> int:
        made.append(value)
        return value * value

    cache = Cache(60, key=lambda call: [call.fn.__name__, *call.args])
    async with Executor(1, policies=[cache]) as executor:
        assert await executor.map(square, [2, 3, 2, 3]) == [4, 9, 4, 9]

    assert made == [2, 3]


async def test_a_section_of_functions_is_a_semaphore() -> None:
    gate = Gate()

    async def work(value: int) -> None:
        async with current_turn().limit("database"):
            await gate(value)

    async with Executor(5, limits={"database": 2}) as executor:
        for number in range(5):
            await executor.submit(work, number)
        await wait_all_tasks_blocked()
        assert len(gate.inside) == 2
        gate.open()

    assert gate.most == 2


async def test_a_bulkhead_shared_by_two_executors_of_a_system_is_a_semaphore() -> None:
    gate, limit = Gate(), Bulkhead(2, shared="database")
    async with ActorSystem("s") as system:
        first = Executor(3, policies=[limit], system=system, name="first")
        second = Executor(3, policies=[limit], system=system, name="second")
        async with first, second:
            for number in range(3):
                await first.submit(gate, number)
                await second.submit(gate, number)
            await wait_all_tasks_blocked()
            assert len(gate.inside) == 2
            gate.open()

    assert gate.most == 2


async def test_the_end_of_its_system_ends_it() -> None:
    gate = Gate()
    async with ActorSystem("s") as system, Executor(1, system=system) as executor:
        futures = [await executor.submit(gate, number) for number in range(2)]
        await wait_all_tasks_blocked()
        await system.stop()
        with pytest.raises(FutureCancelled, match=r"^/s/executor, item 1: its run has ended"):
            await futures[1].result()
        with pytest.raises(NotRunningError):
            await executor.submit(double, 1)


# What must not end it -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
@pytest.mark.parametrize("place", ["loop", "thread"])
async def test_what_is_no_exception_comes_as_the_cause_of_a_stage_error(
    kind: type[BaseException], place: str
) -> None:
    error = kind("gone")

    async def looped() -> None:
        raise error

    def threaded() -> None:
        raise error

    async with Executor(1) as executor:
        call: Callable[[], Any] = looped if place == "loop" else threaded
        future = await executor.submit(call)
        with pytest.raises(StageError, match=f"tried once: {kind.__name__}"):
            await future.result()
        assert future.failed()
        found = await future.exception()
        assert found is not None
        assert found.__cause__ is error
        assert await (await executor.submit(double, 4)).result() == 8


async def test_a_foreign_cancelled_is_an_error_of_the_call_and_of_nothing_else() -> None:
    kept: list[BaseException] = []

    async def keep() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
                raise

    async def stray() -> None:
        raise kept[0]

    async with Executor(1) as executor:
        await (await executor.submit(keep)).result()
        future = await executor.submit(stray)
        with pytest.raises(StrayCancelled):
            await future.result()
        assert await (await executor.submit(double, 4)).result() == 8


async def test_a_worker_process_that_dies_costs_one_call() -> None:
    async with Executor(1, runs_in="process") as executor:
        future: Future[Any] = await executor.submit(os._exit, 3)
        with pytest.raises(WorkerDied):
            await future.result()
        assert await (await executor.submit(int, "3")).result() == 3


async def test_a_thousand_crashes_do_not_end_it() -> None:
    failing = Failing(1000, SystemExit)
    async with Executor(4) as executor:
        futures = [await executor.submit(failing) for _ in range(1001)]
        failed = [await each.exception() is not None for each in futures]

    assert failed == [True] * 1000 + [False]


async def test_a_circuit_breaker_that_rejects_fails_the_call() -> None:
    failing = Failing(9)
    breaker = CircuitBreaker(2, when_open="reject")
    async with Executor(1, policies=[breaker]) as executor:
        futures = [await executor.submit(failing) for _ in range(4)]
        kinds = [type(await each.exception()).__name__ for each in futures]

    assert kinds == ["Boom", "Boom", "CircuitOpenError", "CircuitOpenError"]


# Failures are not silent ----------------------------------------------------------------


class Deaths:
    """An observer that counts dead letters."""

    def __init__(self) -> None:
        self.count = 0

    def on_event(self, event: object) -> None:
        self.count += isinstance(event, MessageDied)


async def test_failures_are_counted_and_told_and_only_the_latest_letters_kept() -> None:
    deaths, count = Deaths(), LETTERS_KEPT + 50
    async with Executor(observers=[deaths]) as executor:
        await executor.map(fail, range(count), return_exceptions=True)
        assert executor.stats().counts == counted(fed=count, dead=count)
        (line,) = executor.errors()
        assert (line.stage, line.type, line.count) == ("call", "Boom", count)

    assert deaths.count == count
    report = executor.run.report
    assert report is not None
    assert [each.id for each in report.dead] == list(range(50, count))
    assert repr(report.dead[0].body) == "fail(50)"


async def test_what_failed_calls_were_given_is_let_go() -> None:
    class Given:
        pass

    given = [Given() for _ in range(LETTERS_KEPT + 50)]
    alive = [weakref.ref(each) for each in given]
    async with Executor() as executor:
        await executor.map(fail, given, return_exceptions=True)
        given.clear()
        gc.collect()
        assert sum(each() is not None for each in alive) <= LETTERS_KEPT


async def test_a_failed_call_that_nobody_asks_for_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Executor() as executor:
        await executor.submit(fail, "unseen")
        asked = await executor.submit(fail, "seen")
        await asked.exception()
        cancelled = await executor.submit(trio.sleep_forever)
        await wait_all_tasks_blocked()
        cancelled.cancel()
        del asked, cancelled
    gc.collect()

    assert caplog.messages == [
        "/executor: item 0 failed and nobody asked for its result: Boom('unseen')"
    ]


# Inside a turn --------------------------------------------------------------------------


async def test_a_handler_of_a_flow_may_use_an_executor() -> None:
    async with Executor(2) as executor:

        async def handler(value: int) -> int:
            future = await executor.submit(add, value, 1)
            return await future.result() + sum(await executor.map(double, [1, 2]))

        assert await pipeline([stage(handler, workers=3)]).map(range(5)) == [7, 8, 9, 10, 11]


async def test_a_handler_may_have_an_executor_of_its_own() -> None:
    async def handler(value: int) -> list[int]:
        async with Executor(2) as executor:
            return await executor.map(add, [value] * 3, range(3))

    assert await pipeline([handler]).map([10, 20]) == [[10, 11, 12], [20, 21, 22]]


async def test_a_call_of_an_executor_may_not_wait_for_that_executor() -> None:
    async with Executor(2) as executor:
        other = await executor.submit(double, 1)
        gate = Gate()
        running = await executor.submit(gate, 0)

        async def inside() -> None:
            verbs: list[Callable[[], Any]] = [
                lambda: executor.submit(double, 1),
                lambda: executor.map(double, [1]),
                lambda: executor.shutdown(),
                lambda: executor.wait([running]),
                lambda: running.result(),
                lambda: running.exception(timeout=1),
            ]
            for verb in verbs:
                with pytest.raises(InsideTurn):
                    await verb()
            with pytest.raises(InsideTurn):
                executor.as_completed([running])
            with pytest.raises(InsideTurn):
                executor.map_iter(double, [1])
            assert await other.result() == 2  # Which is done.
            assert current_turn().attempt == 1

        await (await executor.submit(inside)).result()
        gate.open()


# The page -------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "executor.md"
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("code", "promised"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_of_the_page_prints_what_the_page_says(
    code: str, promised: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(code, str(PAGE), "exec"), {"__name__": "__main__"})

    assert capsys.readouterr().out == promised


def test_every_program_of_the_page_is_run() -> None:
    assert len(PROGRAMS) == PAGE.read_text().count("```python") == 3
