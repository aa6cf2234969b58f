"""ask: answers, failures, timeouts, circles; replies leave with the commit."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskFailed,
    AskTimeout,
    ConfigurationError,
    Fixed,
    MessageFailed,
    Retry,
    Turn,
)
from tests.runtime.actors import Does, Hangs, Holds, Keeps, letter, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


class Echo(Actor):
    async def receive(self, message: Any, ctx: Turn) -> Any:
        return message


async def test_an_ask_is_answered_with_what_receive_returns() -> None:
    async with ActorSystem("s") as system:
        echo = await system.spawn(Echo)

        assert await echo.ask({"any": [1, 2]}) == {"any": [1, 2]}
        assert await echo.ask(None) is None


async def test_many_asks_at_once_get_each_its_own_answer() -> None:
    answers: dict[int, int] = {}

    async def ask(number: int) -> None:
        answers[number] = await echo.ask(number)

    async with ActorSystem("s") as system:
        echo = await system.spawn(Echo, capacity=3)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)

    assert answers == {number: number for number in range(50)}


async def test_reply_answers_instead_of_the_returned_value_and_only_when_the_turn_commits() -> None:
    async def reply(message: Any, ctx: Turn) -> str:
        ctx.reply(f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise OSError
        return "returned"

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=reply), policies=[Retry(backoff=Fixed(1))])

        assert await ref.ask("?") == "attempt 2"


async def test_a_failed_ask_raises_with_the_handlers_error_as_cause() -> None:
    error = ValueError("no such account")

    async def fail(message: Any, ctx: Turn) -> None:
        raise error

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=fail), name="bank")

        with pytest.raises(AskFailed) as caught:
            await ref.ask("?")

    assert str(caught.value) == "/s/bank: the message was given up (failed)"
    assert caught.value.__cause__ is error
    assert caught.value.reason == "failed"


async def test_an_ask_that_crashes_the_actor_fails_with_the_crash_as_cause() -> None:
    async def crash(message: Any, ctx: Turn) -> None:
        raise SystemExit(3)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=crash))

        with pytest.raises(AskFailed) as caught:
            await ref.ask("?")

    assert isinstance(caught.value.__cause__, SystemExit)


async def test_fail_gives_the_message_up_without_another_attempt() -> None:
    async def give_up(message: Any, ctx: Turn) -> None:
        ctx.fail("not for me")

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=give_up), name="a", policies=[Retry(5)])

        with pytest.raises(AskFailed) as caught:
            await ref.ask("?")

    assert isinstance(caught.value.__cause__, MessageFailed)
    assert str(caught.value.__cause__) == "/s/a: not for me"
    assert letters(system) == [("?", "failed", 1)]


async def test_an_ask_without_an_answer_in_time_raises() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Hangs, name="hangs")
        began = trio.current_time()

        with pytest.raises(AskTimeout) as caught:
            await ref.ask("?", timeout=3)

        assert trio.current_time() - began == 3
    assert str(caught.value) == "/s/hangs: no answer within 3 s; raise `timeout` or look at stats()"
    assert isinstance(caught.value, TimeoutError)


async def test_the_wait_for_room_is_part_of_the_timeout_and_then_the_message_is_not_sent() -> None:
    async with ActorSystem("s") as system:
        actor = Holds(gate=trio.Event())
        ref = await system.spawn(actor, capacity=1)
        await ref.tell("leased")
        await wait_all_tasks_blocked()
        await ref.tell("waits")
        began = trio.current_time()

        with pytest.raises(AskTimeout):
            await ref.ask("never", timeout=3)

        assert trio.current_time() - began == 3
        actor.gate.set()
    assert actor.kept == ["leased", "waits"]
    assert system.dead_letters() == ()


async def test_room_that_comes_late_leaves_the_rest_of_the_timeout_for_the_answer() -> None:
    async def slow(message: Any, ctx: Turn) -> Any:
        await trio.sleep(2)
        return message

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Does(do=slow), capacity=1)
        for number in range(2):
            nursery.start_soon(ref.ask, number)
            await wait_all_tasks_blocked()
        began = trio.current_time()

        with pytest.raises(AskTimeout):
            await ref.ask("late", timeout=5)

        assert trio.current_time() - began == 5


async def test_an_ask_that_waits_too_long_in_the_mailbox_expires_unhandled() -> None:
    async with ActorSystem("s") as system:
        actor = Holds(gate=trio.Event())
        ref = await system.spawn(actor)
        await ref.tell("leased")
        with pytest.raises(AskTimeout):
            await ref.ask("late", timeout=3)

        actor.gate.set()

    assert actor.kept == ["leased"]
    assert letters(system) == [("late", "expired", 0)]


async def test_a_turn_that_outlives_its_ask_ends_at_the_deadline_as_expired() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Hangs)
        with pytest.raises(AskTimeout):
            await ref.ask("slow", timeout=3)

    assert letters(system) == [("slow", "expired", 1)]


async def test_an_answer_that_nobody_waits_for_any_more_is_a_dead_letter() -> None:
    async with ActorSystem("s") as system:

        async def answer_late(message: Any, ctx: Turn) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
            return "late answer"

        ref = await system.spawn(Does(do=answer_late), name="slow")
        with pytest.raises(AskTimeout):
            await ref.ask("?", timeout=3)

    assert letter(system).body == "late answer"
    assert letter(system).reason == "late_reply"
    assert letter(system).stage_or_actor == "/s/slow"
    assert system.stats()["held"] == 0


async def test_a_cancelled_ask_leaves_the_message_to_be_handled() -> None:
    async with ActorSystem("s") as system:
        actor = Holds(gate=trio.Event())
        ref = await system.spawn(actor)
        with trio.move_on_after(1) as scope:
            await ref.ask("?", timeout=100)
        actor.gate.set()

    assert scope.cancelled_caught
    assert actor.kept == ["?"]
    assert [each.reason for each in system.dead_letters()] == ["late_reply"]


async def test_an_ask_whose_actor_ends_raises_actor_stopped() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Hangs, name="gone")

        async def ask(message: str) -> None:
            with pytest.raises(ActorStopped) as caught:
                await ref.ask(message, timeout=100)
            assert caught.value.path == "/s/gone"

        nursery.start_soon(ask, "leased")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "waits")
        await wait_all_tasks_blocked()
        system.cancel()


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "5", None])
async def test_a_timeout_must_be_a_number_of_seconds_above_0(timeout: Any) -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Echo)

        with pytest.raises(ConfigurationError) as caught:
            await ref.ask("?", timeout=timeout)

    assert str(caught.value).startswith("ask() timeout must be a number of seconds, above 0, got")


# In a turn ---------------------------------------------------------------------------------


async def test_a_turn_may_ask_and_the_ask_leaves_before_the_turn_ends() -> None:
    async with ActorSystem("s") as system:
        echo = await system.spawn(Echo)

        async def relay(message: Any, ctx: Turn) -> Any:
            return [await ctx.ask(echo, message), await echo.ask(message + 1)]

        ref = await system.spawn(Does(do=relay))

        assert await ref.ask(1) == [1, 2]


async def test_an_ask_inherits_the_deadline_of_the_message_it_is_asked_for() -> None:
    deadlines: list[float | None] = []

    async with ActorSystem("s") as system:

        async def note(message: Any, ctx: Turn) -> None:
            deadlines.append(ctx.deadline)

        last = await system.spawn(Does(do=note))

        async def relay(message: Any, ctx: Turn) -> None:
            await ctx.ask(last, message, timeout=100)
            await ctx.ask(last, message, timeout=1)

        ref = await system.spawn(Does(do=relay))
        now = trio.current_time()
        await ref.ask("?", timeout=7)

    assert deadlines == [now + 7, now + 1]


async def circle(system: ActorSystem, size: int) -> tuple[list[ActorRef[Any]], list[AskCycle]]:
    """*size* actors of which each asks the next; the errors are kept."""
    refs: list[ActorRef[Any]] = []
    errors: list[AskCycle] = []

    async def ask_next(message: int, ctx: Turn) -> Any:
        try:
            return await ctx.ask(refs[(message + 1) % size], (message + 1) % size)
        except AskCycle as error:
            errors.append(error)
            return "broken"

    refs.extend([await system.spawn(Does(do=ask_next), name=str(n)) for n in range(size)])
    return refs, errors


@pytest.mark.parametrize(("size", "way"), [(1, "/s/0 -> /s/0"), (2, "/s/1 -> /s/0 -> /s/1")])
async def test_a_circle_of_asks_is_refused_at_once(size: int, way: str) -> None:
    async with ActorSystem("s") as system:
        refs, errors = await circle(system, size)

        assert await refs[0].ask(0) == "broken"

        (error,) = errors
        assert trio.current_time() < 1
    assert str(error) == f"{way.split()[0]}: asks go in a circle: {way}; use tell() for one of them"


async def test_a_circle_of_three_asks_is_refused_at_once() -> None:
    async with ActorSystem("s") as system:
        refs, errors = await circle(system, 3)

        assert await refs[0].ask(0) == "broken"

        assert errors[0].circle == ("/s/2", "/s/0", "/s/1", "/s/2")
        assert trio.current_time() < 1


async def test_asks_side_by_side_in_one_turn_are_no_circle() -> None:
    async with ActorSystem("s") as system:
        echo = await system.spawn(Echo)

        async def twice(message: Any, ctx: Turn) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ctx.ask, echo, 1)
                nursery.start_soon(echo.ask, 2)

        ref = await system.spawn(Does(do=twice))
        await ref.ask("?")


async def test_two_actors_may_ask_each_other_one_after_the_other() -> None:
    async with ActorSystem("s") as system:
        refs: list[ActorRef[Any]] = []

        async def ask(message: Any, ctx: Turn) -> Any:
            return await ctx.ask(refs[message], "answer") if message in (0, 1) else message

        refs.extend([await system.spawn(Does(do=ask)) for _ in range(2)])

        assert await refs[0].ask(1) == "answer"
        assert await refs[1].ask(0) == "answer"


async def test_an_ask_of_an_actor_that_waits_for_room_at_the_asker_does_not_wait_for_itself() -> (
    None
):
    async with ActorSystem("s") as system:
        keeps = Keeps()
        refs: dict[str, ActorRef[Any]] = {}
        asks = trio.Event()

        async def asker(message: Any, ctx: Turn) -> Any:
            if message == "ask":
                await asks.wait()
                return await ctx.ask(refs["sender"], "question")
            await keeps.receive(message, ctx)

        async def sender(message: Any, ctx: Turn) -> str:
            ctx.tell(refs["asker"], f"from sender for {message}")
            return "answer"

        refs["asker"] = await system.spawn(Does(do=asker), name="asker", capacity=1)
        refs["sender"] = await system.spawn(Does(do=sender), name="sender", capacity=5)
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await refs["asker"].ask("ask", timeout=100))

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await refs["asker"].tell("fills the mailbox")
            await refs["sender"].tell("first")
            await wait_all_tasks_blocked()
            began = trio.current_time()
            asks.set()

        assert trio.current_time() - began < 4.9
        assert answers == ["answer"]
    assert sorted(keeps.kept) == [
        "fills the mailbox",
        "from sender for first",
        "from sender for question",
    ]


async def test_the_asker_is_told_who_sent_the_message() -> None:
    async with ActorSystem("s") as system:

        async def who(message: Any, ctx: Turn) -> Any:
            return ctx.sender

        target = await system.spawn(Does(do=who))

        async def relay(message: Any, ctx: Turn) -> Any:
            return await ctx.ask(target, "who?")

        ref = await system.spawn(Does(do=relay))

        assert await target.ask("who?") is None
        assert await ref.ask("go") == ref
