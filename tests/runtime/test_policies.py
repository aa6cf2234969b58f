"""Policies in force on actors: what waits, what passes, what dies, in exact virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    ActorRef,
    ActorSystem,
    AskFailed,
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceeded,
    Divert,
    Fixed,
    RateLimit,
    Retry,
    Timeout,
    Turn,
    TurnTimeout,
)
from actorflow.policies import Ack, Skip, Stop
from tests.runtime.actors import Crash, Does, Keeps, letter, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


class Trace:
    """What was handled, and how many seconds after the beginning."""

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.notes: list[tuple[float, Any]] = []

    def __call__(self, message: Any) -> None:
        self.notes.append((round(trio.current_time() - self.began, 6), message))


def service(trace: Trace, down: Callable[[Any], bool], seconds: float = 0.0) -> Does:
    """Notes every attempt, and fails while it is *down*."""

    async def handle(message: Any, ctx: Turn) -> Any:
        trace(message)
        if seconds:
            await trio.sleep(seconds)
        if down(message):
            raise OSError(message)
        return message

    return Does(do=handle)


async def tell_all(ref: ActorRef[Any], *messages: Any) -> None:
    for message in messages:
        await ref.tell(message)


# Circuit breaker ---------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.125])
async def test_an_open_circuit_holds_the_mail_and_lets_one_probe_through(seconds: float) -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = CircuitBreaker(2, recovery_timeout=10)
        actor = service(trace, lambda m: m in ("bad 1", "bad 2", "probe"), seconds)
        ref = await system.spawn(actor, policies=[policy])

        await tell_all(ref, "bad 1", "bad 2", "probe", "good", "better")
        await trio.sleep(25)

    opened = 2 * seconds
    assert trace.notes == [
        (0, "bad 1"),
        (seconds, "bad 2"),
        (opened + 10, "probe"),
        (opened + 10 + seconds + 10, "good"),
        (opened + 10 + seconds + 10 + seconds, "better"),
    ]
    assert [attempts for _, _, attempts in letters(system)] == [1, 1, 1]


async def test_while_a_circuit_is_open_no_attempt_is_spent() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        ref = await system.spawn(
            service(trace, lambda m: trio.current_time() < trace.began + 15),
            policies=[CircuitBreaker(1, recovery_timeout=10), Retry(3, backoff=Fixed(1))],
        )
        await ref.tell("message")
        await trio.sleep(40)

    assert [time for time, _ in trace.notes] == [0, 10, 20]
    assert system.dead_letters() == ()


async def test_an_open_circuit_rejects_if_it_is_told_to() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = CircuitBreaker(1, recovery_timeout=10, when_open="reject")
        ref = await system.spawn(service(trace, lambda m: m == "bad"), name="a", policies=[policy])
        await tell_all(ref, "bad", "rejected")
        with pytest.raises(AskFailed) as caught:
            await ref.ask("asked")
        await trio.sleep(11)
        assert await ref.ask("probe") == "probe"

    assert letters(system) == [
        ("bad", "failed", 1),
        ("rejected", "rejected", 0),
        ("asked", "rejected", 0),
    ]
    assert caught.value.reason == "rejected"
    assert isinstance(caught.value.__cause__, CircuitOpenError)
    assert str(caught.value.__cause__) == "/s/a: the circuit is open; next probe in 10 s"


async def test_an_open_circuit_diverts_if_it_is_told_to() -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:
        spare = await system.spawn(keeps, name="spare")
        trace = Trace()
        for name, to in (("by ref", spare), ("by name", "spare"), ("by path", "/s/spare")):
            policy = CircuitBreaker(1, recovery_timeout=10, when_open=Divert(to))
            ref = await system.spawn(service(trace, lambda m: m == "bad"), policies=[policy])
            await tell_all(ref, "bad", name)
            await wait_all_tasks_blocked()

    assert keeps.kept == ["by ref", "by name", "by path"]
    assert [body for body, _, _ in letters(system)] == ["bad"] * 3


async def test_an_open_circuit_does_not_hold_a_drain_up() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = CircuitBreaker(1, recovery_timeout=1000)
        ref = await system.spawn(service(trace, lambda m: m == "bad"), policies=[policy])
        await tell_all(ref, "bad", 1, 2)
        await wait_all_tasks_blocked()

        await system.drain(100)

        assert trio.current_time() - trace.began < 1
    assert letters(system) == [("bad", "failed", 1), (1, "rejected", 0), (2, "rejected", 0)]


async def test_a_cancelled_probe_frees_its_place() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = CircuitBreaker(1, recovery_timeout=10, shared="service")
        first = await system.spawn(
            service(trace, lambda m: m == "bad", seconds=1), shutdown=2, policies=[policy]
        )
        other = await system.spawn(service(trace, lambda m: False), policies=[policy])
        hung = await system.spawn(
            service(trace, lambda m: False, seconds=1000),
            shutdown=2,
            policies=[policy],
            name="hung",
        )
        await first.tell("bad")
        await trio.sleep(5)
        await hung.tell("probe")
        await trio.sleep(10)  # It hangs as the probe.
        await other.tell("waits")
        await trio.sleep(1)
        system._running().root.release(hung.cell)
        await trio.sleep(5)

    assert [message for _, message in trace.notes] == ["bad", "probe", "waits"]
    assert letters(system) == [("bad", "failed", 1), ("probe", "stopped", 0)]


async def test_a_circuit_per_key_lets_other_keys_pass_and_keeps_the_order_within_one() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = CircuitBreaker(1, recovery_timeout=10, key=lambda body: body[0])
        ref = await system.spawn(service(trace, lambda m: m == ("a", 0)), policies=[policy])
        for number in range(4):
            await ref.tell(("a", number))
            await ref.tell(("b", number))
        await trio.sleep(15)

    assert [m for _, m in trace.notes] == [
        *(("a", 0), ("b", 0), ("b", 1), ("b", 2), ("b", 3)),
        *(("a", 1), ("a", 2), ("a", 3)),
    ]


# Rate limit --------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.125])
async def test_a_rate_limit_spaces_the_turns(seconds: float) -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        actor = service(trace, lambda m: False, seconds)
        ref = await system.spawn(actor, policies=[RateLimit(2)])
        await tell_all(ref, *range(5))
        await trio.sleep(10)
        await tell_all(ref, 5)

    assert [time for time, _ in trace.notes] == [0, 0.5, 1, 1.5, 2, 10]


async def test_a_burst_may_begin_at_once() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        ref = await system.spawn(service(trace, lambda m: False), policies=[RateLimit(1, burst=3)])
        await tell_all(ref, *range(5))

    assert [time for time, _ in trace.notes] == [0, 0, 0, 1, 2]


async def test_each_attempt_takes_from_the_rate() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        ref = await system.spawn(
            service(trace, lambda m: trio.current_time() < trace.began + 1.5),
            policies=[RateLimit(1), Retry(5, backoff=Fixed(0))],
        )
        await ref.tell("message")

    assert [time for time, _ in trace.notes] == [0, 1, 2]


async def test_a_limit_that_is_shared_is_one_for_all_that_share_it() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = RateLimit(1, shared="api")
        refs = [
            await system.spawn(service(trace, lambda m: False), policies=[policy]) for _ in range(3)
        ]
        for ref in refs:
            await tell_all(ref, 1, 2)

    assert sorted(time for time, _ in trace.notes) == [0, 1, 2, 3, 4, 5]


async def test_a_limit_per_key_lets_other_keys_pass_and_keeps_the_order_within_one() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = RateLimit(1, key=lambda body: body[0])
        ref = await system.spawn(service(trace, lambda m: False), policies=[policy])
        for number in range(5):
            for key in "abc":
                await ref.tell((key, number))
            await trio.sleep(0.3)

    times = [(time, message) for time, message in trace.notes]
    for key in "abc":
        mine = [(time, number) for time, (each, number) in times if each == key]
        assert mine == [(number, number) for number in range(5)]


async def test_the_rate_holds_over_a_restart() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()

        async def crash(message: Any, ctx: Turn) -> None:
            trace(message)
            if message == 0:
                raise Crash

        ref = await system.spawn(Does(do=crash), policies=[RateLimit(1)])
        await tell_all(ref, 0, 1, 2)

    assert trace.notes == [(0, 0), (1, 1), (2, 2)]


# Bulkhead ----------------------------------------------------------------------------------


async def test_a_shared_bulkhead_bounds_the_turns_at_once() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        running: list[int] = []
        most: list[int] = []

        async def work(message: int, ctx: Turn) -> None:
            running.append(message)
            most.append(len(running))
            await trio.sleep(1)
            running.remove(message)
            trace(message)

        policy = Bulkhead(2, shared="database")
        for number in range(5):
            ref = await system.spawn(Does(do=work), policies=[policy])
            await ref.tell(number)

    assert max(most) == 2
    assert [time for time, _ in trace.notes] == [1, 1, 2, 2, 3]


async def test_a_place_in_a_bulkhead_comes_back_from_failures_crashes_timeouts_and_stops() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = Bulkhead(1, shared="database")

        async def end(message: Any, ctx: Turn) -> None:
            trace(message)
            match message:
                case "fail":
                    raise OSError
                case "crash":
                    raise Crash
                case "late fail":
                    await trio.sleep(1)
                    raise OSError
                case "late crash":
                    await trio.sleep(1)
                    raise Crash
                case "hang":
                    await trio.sleep_forever()

        messages = ["fail", "crash", "late fail", "late crash", "hang", "good"]
        for message in messages:
            ref = await system.spawn(Does(do=end), policies=[policy, Timeout(3)])
            await ref.tell(message)

    assert sorted(message for _, message in trace.notes) == sorted(messages)


# Deadline, timeout -------------------------------------------------------------------------


async def test_a_deadline_counts_the_wait_in_the_mailbox() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        actor = service(trace, lambda m: False, seconds=2)
        ref = await system.spawn(actor, name="a", policies=[Deadline(3)])
        await tell_all(ref, 1, 2, 3)

    assert trace.notes == [(0, 1), (2, 2)]
    assert letters(system) == [(3, "expired", 0)]
    assert isinstance(letter(system).error, DeadlineExceeded)
    assert str(letter(system).error) == "/s/a: the deadline of the message has passed"


async def test_a_retry_that_would_come_due_after_the_deadline_is_not_waited_for() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        ref = await system.spawn(
            service(trace, lambda m: True), policies=[Deadline(3), Retry(9, backoff=Fixed(2))]
        )
        await ref.tell("message")
        await trio.sleep(2.5)
        assert letters(system) == [("message", "expired", 2)]

    assert isinstance(letter(system).error, OSError)


async def test_a_timeout_is_of_each_attempt_and_the_wait_between_them_does_not_count() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        actor = service(trace, lambda m: False, seconds=100)
        ref = await system.spawn(actor, policies=[Timeout(2), Retry(3, backoff=Fixed(5))])
        await ref.tell("message")

    assert [time for time, _ in trace.notes] == [0, 7, 14]
    assert letters(system) == [("message", "failed", 3)]
    assert isinstance(letter(system).error, TurnTimeout)


# Retry -------------------------------------------------------------------------------------


async def test_a_retry_that_waits_holds_no_actor_and_no_place() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        ref = await system.spawn(
            service(trace, lambda m: m == "bad" and trio.current_time() < trace.began + 1),
            capacity=1,
            policies=[Retry(backoff=Fixed(5))],
        )
        await ref.tell("bad")
        await wait_all_tasks_blocked()
        for number in range(3):
            ref.tell_nowait(number)
            await wait_all_tasks_blocked()

    assert trace.notes == [(0, "bad"), (0, 0), (0, 1), (0, 2), (5, "bad")]


@pytest.mark.parametrize(
    ("position", "order"),
    [("head", ["bad", "busy", "bad", 1, 2]), ("tail", ["bad", "busy", 1, 2, "bad"])],
)
async def test_a_retry_that_is_due_stands_before_or_behind_the_others(
    position: Any, order: list[Any]
) -> None:
    async with ActorSystem("s") as system:
        seen: list[Any] = []

        async def handle(message: Any, ctx: Turn) -> None:
            seen.append(message)
            if message == "busy":
                await trio.sleep(10)
            if message == "bad" and ctx.attempt == 1:
                raise OSError

        policy = Retry(backoff=Fixed(5), position=position)
        ref = await system.spawn(Does(do=handle), policies=[policy])
        await tell_all(ref, "bad", "busy", 1, 2)

    assert seen == order


async def test_a_mailbox_holds_back_only_so_many_retries_and_then_leases_nothing_new() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        ref = await system.spawn(
            service(trace, lambda m: trio.current_time() < trace.began + 4),
            capacity=1,
            policies=[Retry(backoff=Fixed(5))],
        )
        with trio.move_on_after(1):
            for number in range(1000):
                await ref.tell(number)
        mailbox = ref.cell.mailbox
        assert (mailbox.waiting, len(mailbox.queue)) == (64, 1)

        await trio.sleep(10)
        assert len({message for _, message in trace.notes}) == 65
    assert system.dead_letters() == ()


async def test_a_retry_budget_bounds_the_retries_of_all_messages_together() -> None:
    async with ActorSystem("s") as system:
        trace = Trace()
        policy = Retry(3, backoff=Fixed(0), budget=0.1)
        ref = await system.spawn(service(trace, lambda m: True), policies=[policy])
        await tell_all(ref, *range(100))

    # 10 in hand, and a tenth for each message but the first few, which found the hand full.
    assert len(trace.notes) == 100 + 10 + 9
    assert len(letters(system)) == 100


# Deciders of one's own ---------------------------------------------------------------------


class Decides:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Any:
        return self.answer


@pytest.mark.parametrize("answer", [Ack(), Skip()])
async def test_ack_and_skip_leave_no_dead_letter_and_answer_an_ask(answer: Any) -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(service(Trace(), lambda m: True), policies=[Decides(answer)])

        assert await ref.ask("message") is None
        assert ref.cell.mailbox.acked == 1
    assert system.dead_letters() == ()


@pytest.mark.parametrize("restart", ["permanent", "transient"])
async def test_stop_ends_the_actor_for_good_and_its_mail_is_stopped(restart: str) -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(
            service(Trace(), lambda m: True), restart=restart, policies=[Decides(Stop())]
        )
        await tell_all(ref, 1, 2, 3)
        await ref.stopped()

        assert system.stats()["actors"] == 0
    assert letters(system) == [(1, "failed", 1), (2, "stopped", 0), (3, "stopped", 0)]


async def test_divert_after_a_failure_moves_the_ask_along() -> None:
    async with ActorSystem("s") as system:
        spare = await system.spawn(service(Trace(), lambda m: False))
        ref = await system.spawn(
            service(Trace(), lambda m: True), policies=[Decides(Divert(spare))]
        )

        assert await ref.ask("message") == "message"
        assert spare.cell.mailbox.acked == 1
