"""A Probe: what it waits for, what it says when that does not come."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Actor, ActorSystem, ConfigurationError, Down, Turn, UsageError
from actorflow.testing import Mortal, Probe, World, crash_points

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Crash(BaseException):
    """Ends an incarnation, whatever its policies say."""


class Passes(Actor):
    """Sends each message on, after so many seconds."""

    to: Any
    seconds: float = 0.0

    async def receive(self, message: Any, ctx: Turn) -> None:
        ctx.tell(self.to, message, delay=self.seconds)


async def test_messages_are_taken_in_the_order_in_which_they_came() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        ref = await system.spawn(probe, name="probe")
        assert probe.ref == ref
        for message in ("one", "two", 3):
            await ref.tell(message)

        assert await probe.next() == "one"
        assert await probe.expect("two") == "two"
        assert await probe.expect(int) == 3
        probe.expect_nothing()
        assert probe.messages == ("one", "two", 3)


async def test_it_waits_as_long_as_it_may_for_a_message() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        passes = await system.spawn(Passes(to=await system.spawn(probe), seconds=4.0))
        await passes.tell("late")

        assert await probe.expect("late") == "late"
        assert trio.current_time() == 4.0


async def test_what_does_not_come_in_time_is_said_with_what_came_before() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        ref = await system.spawn(probe, name="p")

        with pytest.raises(AssertionError) as none:
            await probe.next(timeout=2)
        assert str(none.value) == "probe /s/p: expected a message within 2 s, none came"
        assert trio.current_time() == 2.0

        await ref.tell("first")
        await probe.next()
        with pytest.raises(AssertionError) as late:
            await probe.expect("second", timeout=0.5)
        assert str(late.value) == (
            "probe /s/p: expected 'second' within 0.5 s, none came; before it came 'first'"
        )


async def test_another_message_is_said_with_what_came_before() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        ref = await system.spawn(probe, name="p")
        for message in ("a", "b", 3):
            await ref.tell(message)
        await probe.expect("a")

        with pytest.raises(AssertionError) as other:
            await probe.expect("c")
        assert str(other.value) == "probe /s/p: expected 'c', got 'b'; before it came 'a'"
        with pytest.raises(AssertionError) as kind:
            await probe.expect(str)
        assert str(kind.value) == "probe /s/p: expected a str, got 3; before it came 'a', 'b'"


async def test_expect_nothing_sees_what_waits_in_the_mailbox() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        ref = await system.spawn(probe, name="p")
        ref.tell_nowait("not handled yet")
        ref.tell_nowait("nor this")

        with pytest.raises(AssertionError) as some:
            probe.expect_nothing()
        assert str(some.value) == ("probe /s/p: expected nothing, got 'not handled yet' and 1 more")


async def test_awaited_it_sees_what_was_on_its_way_and_what_comes_later() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        passes = await system.spawn(Passes(to=await system.spawn(probe, name="p"), seconds=10.0))
        await passes.tell("late")
        await probe.expect_nothing(9)

        with pytest.raises(AssertionError, match="expected nothing, got 'late'"):
            await probe.expect_nothing(2)


async def test_it_answers_asks_and_hears_of_the_ends_that_it_watches() -> None:
    async with ActorSystem("s") as system:
        mortal = await system.spawn(Mortal, name="m")
        probe = Probe(answer=str.upper, watches=[mortal])
        ref = await system.spawn(probe)
        plain = await system.spawn(Probe(answer=7))

        assert await ref.ask("loud") == "LOUD"
        assert await plain.ask("anything") == 7
        await probe.expect("loud")
        probe.answer = None  # The actor has what it began with; `Down` is no text.
        await mortal.tell("stop")
        await wait_all_tasks_blocked()

        assert system.dead_letters()[-1].body == Down(mortal, "normal", 1)


async def test_a_watched_end_is_a_message_like_any_other() -> None:
    async with ActorSystem("s") as system:
        mortal = await system.spawn(Mortal, name="m")
        probe = Probe(watches=[mortal])
        await system.spawn(probe)
        await mortal.tell("stop")

        down = await probe.expect(Down)

        assert (down.ref, down.reason) == (mortal, "normal")


async def test_a_wait_that_is_cancelled_takes_no_message() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        ref = await system.spawn(probe)
        with trio.move_on_after(1):
            await probe.next(timeout=60)

        await ref.tell("kept")

        assert await probe.next() == "kept"


async def test_one_probe_is_one_actor() -> None:
    async with ActorSystem("s") as system:
        probe = Probe()
        first = await system.spawn(probe, name="first")

        with pytest.raises(UsageError) as again:
            await system.spawn(probe, name="second")
        assert str(again.value) == (
            "/s/second: this Probe is the actor /s/first already; spawn another Probe()"
        )
        assert probe.ref == first
        await first.tell("still here")
        await probe.expect("still here")

    async with ActorSystem("s") as later:  # The first one has ended.
        third = await later.spawn(probe, name="third")
        assert probe.ref == third


async def test_a_probe_that_is_started_again_is_the_same_actor() -> None:
    def answer(message: object) -> None:
        if message == "crash":
            raise Crash

    async with ActorSystem("s") as system:
        probe = Probe(answer=answer)
        ref = await system.spawn(probe, name="p")
        await ref.tell("crash")
        await ref.tell("after it")

        await probe.expect("crash")
        await probe.expect("after it")
        assert probe.ref == ref


def test_one_probe_sees_all_lives_of_a_simulation() -> None:
    probe = Probe()

    async def main(world: World) -> None:
        async with ActorSystem("s", store=world.store) as system:
            ref = await system.spawn(probe, name=f"p{world.life}")
            await ref.tell(world.life)
            while await probe.next() != world.life:  # What the life before left unread.
                pass

    report = crash_points(main)

    assert report.points > 10
    report.check()


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UsageError, match=r"not an actor yet; await system\.spawn\(probe\) first"):
        _ = Probe().ref
    with pytest.raises(ConfigurationError, match="expect_nothing"):
        Probe().expect_nothing(-1)
