"""A future gives what its call gave, to everybody who asks; and it can be cancelled."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    CircuitBreaker,
    ConfigurationError,
    Executor,
    Fixed,
    Future,
    FutureCancelled,
    FutureTimeout,
    RateLimit,
    Retry,
)
from actorflow.core.events import AttemptFailed, MessageDied
from tests.flows.flowing import Boom, Gate, counted, double


async def fail(value: object = None) -> None:
    raise Boom(value)


async def seconds(value: float) -> float:
    await trio.sleep(value)
    return value


class Heard:
    """An observer that keeps events of some types."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds
        self.events: list[object] = []

    def on_event(self, event: object) -> None:
        if isinstance(event, self.kinds):
            self.events.append(event)


# Asking ---------------------------------------------------------------------------------


async def test_several_may_wait_for_one_result_and_ask_again_later() -> None:
    gate, found = Gate(), list[int]()

    async def ask() -> None:
        found.append(await future.result())

    async with Executor() as executor:
        future = await executor.submit(gate, 7)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            assert (found, future.done()) == ([], False)
            gate.open()
        await ask()

    assert (found, future.done(), future.failed(), future.cancelled()) == (
        [7, 7, 7, 7],
        True,
        False,
        False,
    )


async def test_each_who_asks_gets_the_functions_own_error_and_its_traceback_does_not_grow() -> None:
    async with Executor() as executor:
        future = await executor.submit(fail, "mine")
        lengths = []
        for _ in range(3):
            with pytest.raises(Boom, match="mine") as caught:
                await future.result()
            lengths.append(len(caught.traceback))

    assert len(set(lengths)) == 1
    assert future.failed()


async def test_exception_waits_and_gives_the_error_or_none() -> None:
    async with Executor() as executor:
        good, bad = await executor.submit(double, 1), await executor.submit(fail)

        assert await good.exception() is None
        assert isinstance(await bad.exception(), Boom)


async def test_a_timeout_leaves_the_work_alone(autojump_clock: MockClock) -> None:
    async with Executor() as executor:
        future = await executor.submit(seconds, 10)
        for ask in (future.result, future.exception):
            with pytest.raises(FutureTimeout) as caught:
                await ask(timeout=2)
            assert str(caught.value) == "/executor, item 0: not done within 2 s; the work goes on"
            assert isinstance(caught.value, TimeoutError)
            assert (caught.value.item_id, caught.value.seconds) == (0, 2)
        with pytest.raises(FutureTimeout):
            await future.result(timeout=0)
        assert await future.result(timeout=7) == 10
        assert await future.result(timeout=0) == 10


@pytest.mark.parametrize("wrong", [-1, "soon", float("nan")])
async def test_a_wrong_timeout_is_refused(wrong: Any) -> None:
    async with Executor() as executor:
        future = await executor.submit(double, 1)
        with pytest.raises(ConfigurationError, match=r"future.result\(\) timeout must be"):
            await future.result(timeout=wrong)


async def test_ids_are_numbers_and_attempts_count_while_it_runs_and_after() -> None:
    gate, seen = Gate(), list[int]()

    async def second_time_good() -> None:
        seen.append(second.attempts)
        if second.attempts == 1:
            await gate(0)
            raise Boom

    async with Executor(1, policies=[Retry(2, backoff=Fixed(0))]) as executor:
        first = await executor.submit(double, 1)
        second = await executor.submit(second_time_good)
        assert (first.id, second.id, second.attempts) == (0, 1, 0)
        await wait_all_tasks_blocked()
        gate.open()
        await second.result()

    assert (seen, first.attempts, second.attempts) == ([1, 2], 1, 2)


async def test_its_repr_says_how_it_is() -> None:
    gate = Gate()
    async with Executor(1) as executor:
        futures: list[Future[Any]] = [
            await executor.submit(double, 1),
            await executor.submit(fail),
            await executor.submit(gate, 2),
            await executor.submit(double, 3),
        ]
        futures[3].cancel()
        await wait_all_tasks_blocked()
        assert [repr(each) for each in futures] == [
            "<Future 0 done>",
            "<Future 1 failed: Boom>",
            "<Future 2 not done>",
            "<Future 3 cancelled>",
        ]
        await futures[1].exception()
        gate.open()


async def test_a_dropped_future_lets_go_of_its_result() -> None:
    class Result:
        pass

    async def make() -> Result:
        return Result()

    async with Executor() as executor:
        future = await executor.submit(make)
        alive = weakref.ref(await future.result())
        gc.collect()
        assert alive() is not None
        del future
        gc.collect()
        assert alive() is None


async def test_a_failed_future_that_is_asked_makes_no_circle() -> None:
    async with Executor() as executor:
        future = await executor.submit(fail)
        await future.exception()
        gone = weakref.ref(future)
        gc.disable()
        try:
            with pytest.raises(Boom):
                await future.result()
            del future
            assert gone() is None
        finally:
            gc.enable()


# Cancelling -----------------------------------------------------------------------------


async def test_a_queued_call_is_taken_back_and_never_runs() -> None:
    gate, ran = Gate(), list[int]()

    async def run(value: int) -> None:
        ran.append(value)

    async with Executor(1) as executor:
        await executor.submit(gate, 0)
        futures = [await executor.submit(run, number) for number in range(4)]
        assert [futures[0].cancel(), futures[2].cancel()] == [True, True]
        assert (futures[2].done(), futures[2].cancelled(), futures[2].attempts) == (True, True, 0)
        with pytest.raises(FutureCancelled) as caught:
            await futures[2].result()
        assert str(caught.value) == "/executor, item 3: it was cancelled"
        assert isinstance(await futures[2].exception(), FutureCancelled)
        gate.open()

    assert ran == [1, 3]
    assert executor.stats().counts == counted(fed=5, done=3, skipped=2)


async def test_a_cancelled_call_makes_room_for_another() -> None:
    gate, submitted = Gate(), trio.Event()

    async def submit_one_more() -> None:
        await executor.submit(gate, 2)
        submitted.set()

    async with Executor(1, capacity=1) as executor, trio.open_nursery() as nursery:
        await executor.submit(gate, 0)
        queued = await executor.submit(gate, 1)
        nursery.start_soon(submit_one_more)
        await wait_all_tasks_blocked()
        assert not submitted.is_set()
        assert queued.cancel()
        await wait_all_tasks_blocked()
        assert submitted.is_set()
        gate.open()


async def test_a_running_call_is_cancelled_at_its_next_checkpoint() -> None:
    ended: list[str] = []

    async def run() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cleaned up")

    async with Executor(1, policies=[Retry(5, backoff=Fixed(0))]) as executor:
        future = await executor.submit(run)
        await wait_all_tasks_blocked()
        assert (future.cancel(), future.done()) == (False, False)
        assert isinstance(await future.exception(), FutureCancelled)
        assert not future.cancel()
        assert await (await executor.submit(double, 4)).result() == 8

    assert (ended, future.attempts) == (["cleaned up"], 1)
    assert executor.stats().counts == counted(fed=2, done=1, skipped=1)
    assert executor.stats().restarts == 0


async def test_a_call_may_cancel_itself() -> None:
    async def run() -> None:
        future.cancel()
        await trio.lowlevel.checkpoint()

    async with Executor(1) as executor:
        future = await executor.submit(run)
        assert isinstance(await future.exception(), FutureCancelled)


async def test_a_value_that_comes_all_the_same_counts() -> None:
    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "all the same"

    async with Executor(1) as executor:
        future = await executor.submit(stubborn)
        await wait_all_tasks_blocked()
        future.cancel()
        assert await future.result() == "all the same"


async def _raises(error: BaseException) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise error


@pytest.mark.parametrize("error", [Boom(), SystemExit(), KeyboardInterrupt()])
async def test_what_a_cancelled_call_raises_is_neither_retried_nor_a_dead_letter(
    error: BaseException,
) -> None:
    heard = Heard(MessageDied, AttemptFailed)
    policies = [Retry(5, backoff=Fixed(0))]
    async with Executor(1, policies=policies, observers=[heard]) as executor:
        future = await executor.submit(_raises, error)
        await wait_all_tasks_blocked()
        future.cancel()
        assert isinstance(await future.exception(), FutureCancelled)
        assert await (await executor.submit(double, 4)).result() == 8

    assert heard.events == []
    assert executor.stats().counts == counted(fed=2, done=1, skipped=1)


async def test_a_call_that_waits_for_a_retry_is_taken_back_at_once(
    autojump_clock: MockClock,
) -> None:
    async with Executor(1, policies=[Retry(5, backoff=Fixed(60))]) as executor:
        future = await executor.submit(fail)
        await trio.sleep(1)
        assert future.attempts == 1
        assert future.cancel()
        assert future.cancelled()

    assert (trio.current_time(), future.attempts) == (1, 1)


async def test_a_call_that_a_rate_limit_holds_back_is_taken_back_at_once(
    autojump_clock: MockClock,
) -> None:
    async with Executor(1, policies=[RateLimit(1, per=3600.0)]) as executor:
        await executor.submit(double, 1)
        future = await executor.submit(double, 2)
        await trio.sleep(1)
        assert future.cancel()

    assert trio.current_time() == 1


async def test_a_cancelled_call_says_nothing_about_the_service() -> None:
    async with Executor(1, policies=[CircuitBreaker(2, when_open="reject")]) as executor:
        for _ in range(5):
            future = await executor.submit(trio.sleep_forever)
            await wait_all_tasks_blocked()
            future.cancel()
            await future.exception()
        assert await (await executor.submit(double, 4)).result() == 8


async def test_a_cancelled_probe_leaves_the_circuit_half_open(autojump_clock: MockClock) -> None:
    breaker = CircuitBreaker(1, recovery_timeout=10, when_open="reject")
    async with Executor(1, policies=[breaker]) as executor:
        await (await executor.submit(fail)).exception()
        await trio.sleep(10)
        probe = await executor.submit(trio.sleep_forever)
        await wait_all_tasks_blocked()
        probe.cancel()
        await probe.exception()
        assert await (await executor.submit(double, 4)).result() == 8


async def test_a_thread_of_a_cancelled_call_runs_to_its_end_and_its_worker_waits() -> None:
    begun, go_on, ended = trio.Event(), threading.Event(), list[int]()

    def block() -> None:
        trio.from_thread.run_sync(begun.set)
        go_on.wait(20)
        ended.append(1)

    async with Executor(1) as executor:
        future = await executor.submit(block)
        await begun.wait()
        future.cancel()
        after = await executor.submit(ended.copy)
        await wait_all_tasks_blocked()
        assert not future.done()
        go_on.set()
        assert isinstance(await future.exception(), FutureCancelled)
        assert await after.result() == [1]


async def test_a_worker_process_of_a_cancelled_call_is_killed() -> None:
    async with Executor(1, runs_in="process") as executor:
        before = await (await executor.submit(os.getpid)).result()
        hung = await executor.submit(signal.pause)
        await wait_all_tasks_blocked()
        hung.cancel()
        assert isinstance(await hung.exception(), FutureCancelled)
        assert await (await executor.submit(os.getpid)).result() != before


async def test_cancelling_all_in_any_order_leaves_nothing() -> None:
    gate = Gate()
    async with Executor(2, policies=[Retry(3, backoff=Fixed(60))], capacity=100) as executor:
        futures = [await executor.submit(gate, number) for number in range(60)]
        futures += [await executor.submit(fail) for _ in range(10)]
        await wait_all_tasks_blocked()
        for future in futures[::2] + futures[::-1]:
            future.cancel()
        await executor.wait(futures)
        assert all(each.cancelled() for each in futures)
        assert executor.stats().counts == counted(fed=70, skipped=70)
        assert len(executor.run.stages["call"].mailbox) == 0


# wait -----------------------------------------------------------------------------------


async def test_wait_for_all(autojump_clock: MockClock) -> None:
    async with Executor(9) as executor:
        futures = [await executor.submit(seconds, number) for number in (3, 1, 2)]
        assert await executor.wait(futures) == (set(futures), set())
        assert trio.current_time() == pytest.approx(3)
        assert await executor.wait(futures) == (set(futures), set())
        assert await executor.wait([]) == (set(), set())


async def test_wait_for_the_first(autojump_clock: MockClock) -> None:
    async with Executor(9) as executor:
        slow, quick = await executor.submit(seconds, 3), await executor.submit(seconds, 1)
        done, pending = await executor.wait([slow, quick], return_when="first_completed")
        assert (done, pending) == ({quick}, {slow})
        done, pending = await executor.wait([slow, quick], return_when="first_completed")
        assert (done, pending) == ({quick}, {slow})  # One was done before.
        assert await executor.wait([], return_when="first_completed") == (set(), set())


async def test_wait_for_the_first_failure(autojump_clock: MockClock) -> None:
    async def fail_after(delay: float) -> None:
        await trio.sleep(delay)
        raise Boom

    async with Executor(9) as executor:
        futures: list[Future[Any]] = [await executor.submit(seconds, each) for each in (1, 5)]
        futures.append(await executor.submit(fail_after, 2))
        cancelled = await executor.submit(trio.sleep_forever)
        await wait_all_tasks_blocked()
        cancelled.cancel()
        given = [*futures, cancelled]
        done, pending = await executor.wait(given, return_when="first_exception")
        assert (done, pending) == ({futures[0], futures[2], cancelled}, {futures[1]})
        assert trio.current_time() == pytest.approx(2)
        rest = await executor.wait(futures[:2], return_when="first_exception")
        assert rest == (set(futures[:2]), set())
        await futures[2].exception()


@pytest.mark.parametrize("return_when", ["all_completed", "first_exception", "first_completed"])
async def test_wait_returns_what_there_is_after_its_timeout(
    return_when: Any, autojump_clock: MockClock
) -> None:
    async with Executor(9) as executor:
        futures = [await executor.submit(seconds, number) for number in (8, 9)]
        found = await executor.wait(futures, return_when=return_when, timeout=5)
        assert found == (set(), set(futures))
        assert trio.current_time() == pytest.approx(5)
        found = await executor.wait(futures, return_when=return_when, timeout=0)
        assert found == (set(), set(futures))


async def test_a_wait_that_is_over_leaves_nothing_with_the_futures() -> None:
    def waits() -> int:
        gc.collect()
        return sum(type(each).__name__ == "_Waiting" for each in gc.get_objects())

    gate, before = Gate(), waits()
    async with Executor() as executor:
        futures = [await executor.submit(gate, number) for number in range(5)]
        for _ in range(20):
            await executor.wait(futures, timeout=0)
        assert waits() <= before + 1  # Trio may still know of the last one.
        gate.open()


async def test_several_waits_race_and_each_gets_its_own(autojump_clock: MockClock) -> None:
    found: list[tuple[str, int]] = []

    async def ask(how: Any) -> None:
        done, _ = await executor.wait(futures, return_when=how)
        found.append((how, len(done)))

    async with Executor(9) as executor:
        futures = [await executor.submit(seconds, number) for number in (1, 2, 3)]
        async with trio.open_nursery() as nursery:
            for how in ("all_completed", "first_completed", "first_exception"):
                nursery.start_soon(ask, how)

    assert sorted(found) == [
        ("all_completed", 3),
        ("first_completed", 1),
        ("first_exception", 3),
    ]


async def test_what_are_no_futures_or_no_way_to_wait_is_refused() -> None:
    async with Executor() as executor:
        wrong: Any = [3]
        how: Any = "any"
        with pytest.raises(ConfigurationError, match=r"wait\(\) futures must be futures"):
            await executor.wait(wrong)
        with pytest.raises(ConfigurationError, match=r"as_completed\(\) futures must be futures"):
            executor.as_completed(wrong)
        with pytest.raises(ConfigurationError, match=r"wait\(\) return_when must be one of"):
            await executor.wait([], return_when=how)


async def test_one_wait_covers_futures_of_several_executors() -> None:
    async with Executor(name="a") as first, Executor(name="b") as second:
        futures = {await first.submit(double, 1), await second.submit(double, 2)}
        assert await first.wait(futures) == (futures, set())


# as_completed ---------------------------------------------------------------------------


async def test_as_completed_gives_each_future_once_as_it_is_done(
    autojump_clock: MockClock,
) -> None:
    async with Executor(9) as executor:
        futures = [await executor.submit(seconds, number) for number in (3, 1, 2)]
        await futures[1].result()
        given = [*futures, futures[0]]
        found = [await each.result() async for each in executor.as_completed(given)]

    assert found == [1, 2, 3]


async def test_as_completed_of_nothing_ends_at_once() -> None:
    async with Executor() as executor:
        none: list[Future[Any]] = []
        assert [each async for each in executor.as_completed(none)] == []


async def test_as_completed_raises_when_its_time_is_over(autojump_clock: MockClock) -> None:
    found: list[float] = []
    async with Executor(9) as executor:
        futures = [await executor.submit(seconds, number) for number in (1, 2, 8)]
        arrivals = executor.as_completed(futures, timeout=5)
        found += [await (await anext(arrivals)).result() for _ in range(2)]
        with pytest.raises(FutureTimeout, match="item 2: not done within 5 s"):
            await anext(arrivals)
        assert trio.current_time() == pytest.approx(5)
        assert await futures[2].result() == 8

    assert found == [1, 2]


async def test_who_leaves_as_completed_early_leaves_nothing_with_the_futures() -> None:
    gate = Gate()
    async with Executor(9) as executor:
        futures = [await executor.submit(double, number) for number in range(2)]
        await executor.wait(futures)
        futures.append(await executor.submit(gate, 2))
        arrivals = executor.as_completed(futures)
        assert await anext(arrivals) is futures[0]
        del arrivals
        gone = weakref.ref(futures.pop(1))
        gc.collect()
        assert gone() is None
        gate.open()


# Not quadratic --------------------------------------------------------------------------


async def calls_made(act: Callable[[], Awaitable[object]]) -> int:
    """Python functions called, in whatever task, while *act* runs."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        await act()
    finally:
        sys.setprofile(None)
    return count


async def _wait_for(count: int, how: str) -> int:
    gate = Gate()
    async with Executor(20, capacity=2000) as executor:
        futures = [await executor.submit(gate, number) for number in range(count)]
        await wait_all_tasks_blocked()

        async def act() -> None:
            gate.open()
            if how == "wait":
                await executor.wait(futures)
            else:
                assert [each async for each in executor.as_completed(futures)]

        return await calls_made(act)


@pytest.mark.parametrize("how", ["wait", "as_completed"])
async def test_waiting_for_a_thousand_costs_twice_as_much_as_for_five_hundred(how: str) -> None:
    half, whole = await _wait_for(500, how), await _wait_for(1000, how)

    assert 1.5 < whole / half < 2.5
    assert whole < 100 * 1000
