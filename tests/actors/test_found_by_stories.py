"""What drawn stories of actors have found in the runtime: see `tests.scenarios.stories`."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    ChildSpec,
    Fixed,
    LeaseLost,
    Retry,
    Turn,
    actor,
)
from actorflow.testing import FaultPlan, World, simulate
from actorflow.testing.faults import RunTaken


@actor("tests.found.box")
class Box(Actor):
    """Stashes what comes until it is open; sends what it is told to, before and after."""

    out: ActorRef[Any] | None = None
    open: bool = False
    had: tuple[Any, ...] = ()

    async def receive(self, body: Any, ctx: Turn) -> Any:
        match body:
            case "?":
                return self.had
            case "open":
                self.open = True
                ctx.unstash_all()
                return None
            case "later":
                ctx.tell(ctx.self, "much later", delay=10.0)
                return None
        if self.out is not None:
            ctx.tell(self.out, [body, "open" if self.open else "shut"])
        if not self.open:
            ctx.stash()
        else:
            self.had = (*self.had, body)
        return None


@actor("tests.found.clock")
class Clock(Actor):
    """Ticks, if it can."""

    broken: bool = True
    ticks: int = 0

    async def receive(self, body: Any, ctx: Turn) -> Any:
        match body:
            case "start":
                ctx.timers.start("tick", 1.0, "tick")
            case "tick":
                if self.broken:
                    raise OSError
                self.ticks += 1
            case "cancel":
                ctx.timers.cancel("tick")
            case "busy":
                await trio.sleep(10.0)
            case "mend":
                self.broken = False
        return self.ticks


@actor("tests.found.ear")
class Ear(Actor):
    """Keeps what it hears; a message that says so makes it busy for a while."""

    heard: tuple[Any, ...] = ()

    async def receive(self, body: Any, ctx: Turn) -> Any:
        if body == "?":
            return self.heard
        if body == "busy":
            await trio.sleep(60.0)
            return None
        self.heard = (*self.heard, tuple(body))
        return None


def test_who_asks_for_what_is_stashed_is_told_that_a_durable_system_ends() -> None:
    async def main(world: World) -> None:
        async with (
            ActorSystem("found", store=world.store) as system,
            trio.open_nursery() as nursery,
        ):
            box = await system.spawn(Box(), name="box", durable=True)

            async def ask() -> None:
                with pytest.raises(ActorStopped):
                    await box.ask(1, timeout=1_000.0)

            nursery.start_soon(ask)
            await trio.sleep(1.0)
            await system.stop()

    simulate(main)


def test_what_is_sent_before_and_after_a_stash_is_two_messages_over_a_death() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("found", store=world.store) as system:
            ear = await system.spawn(Ear(), name="ear", durable=True)
            box = await system.spawn(Box(out=ear), name="box", durable=True)
            if world.life == 1:
                await ear.tell("busy")
                await box.tell(1)
                await box.tell("open")
                await box.ask("?")
                await system.settled()
                world.crash()
            assert await ear.ask("?", timeout=100.0) == ((1, "shut"), (1, "open"))

    simulate(main)


def test_a_message_that_overflows_is_a_letter_on_the_disk_when_tell_returns() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("found", store=world.store) as system:
            ear = await system.spawn(
                Ear(), name="ear", durable=True, capacity=1, overflow="drop_new"
            )
            if world.life == 2:
                return
            await ear.tell("busy")
            await ear.tell([1])
            await ear.tell([2])
            assert [each.reason for each in system.dead_letters()] == ["overflow"]
            world.crash()

    simulate(main)  # What tell has acknowledged is a law of its own.


def test_a_delayed_message_is_accepted_once_over_a_death() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("found", store=world.store) as system:
            box = await system.spawn(Box(open=True), name="box", durable=True)
            if world.life == 1:
                await box.tell("later")
                await system.settled()
                world.crash()
            await trio.sleep(30.0)
            assert await box.ask("?") == ("much later",)

    simulate(main)  # Which looks at the books after each step.


@pytest.mark.parametrize("position", ["head", "tail"])
@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_a_tick_that_waits_for_a_retry_is_taken_back(position: Any, delay: float) -> None:
    async def main() -> None:
        async with ActorSystem("found") as system:
            again = Retry(9, backoff=Fixed(delay), position=position)
            clock = await system.spawn(Clock(), policies=[again])
            await clock.tell("start")
            await clock.tell("busy")  # Meanwhile the tick comes, ahead of all that is told.
            await clock.tell("cancel")
            await clock.tell("mend")
            await trio.sleep(100.0)
            assert await clock.ask("?") == 0

    simulate(main)


def test_a_tick_that_waits_is_taken_back_over_a_death() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("found", store=world.store) as system:
            clock = await system.spawn(
                Clock(),
                name="clock",
                durable=True,
                policies=[Retry(5, backoff=Fixed(20.0))],
            )
            if world.life == 1:
                await clock.tell("start")
                await trio.sleep(15.0)
                world.crash()
            await clock.tell("cancel")
            await clock.tell("mend")
            await trio.sleep(100.0)
            assert await clock.ask("?") == 0

    simulate(main)


class Asker(Actor):
    """Asks itself, which is refused, and tells another one."""

    ear: ActorRef[Any]

    async def receive(self, body: Any, ctx: Turn) -> None:
        ctx.tell(self.ear, ["first"])
        with contextlib.suppress(AskCycle):
            await ctx.ask(ctx.self, "?")
        ctx.tell(self.ear, ["second"])


def test_what_is_sent_has_its_id_whether_an_ask_before_it_is_refused_or_not() -> None:
    """Else it could have that of a question of an earlier attempt, which still waits."""

    async def main() -> None:
        async with ActorSystem("found") as system:
            ear = await system.spawn(Ear(), name="ear")
            asker = await system.spawn(lambda: Asker(ear=ear), name="asker")
            await asker.ask("now")
            await ear.ask("?")

    moves = simulate(main).moves
    heard = [each.message for each in moves if each.path == "/found/ear" and each.sent]
    assert heard == ["1.0", "1.2"]


@pytest.mark.parametrize("commit", range(1, 6))
def test_the_block_says_why_the_system_has_ended_of_tasks_too(commit: int) -> None:
    async def main(world: World) -> None:
        async with ActorSystem("found", store=world.store) as system:
            ears = [
                await system.spawn(Ear(), name=f"ear{number}", durable=True) for number in range(3)
            ]
            async with trio.open_nursery() as nursery:
                for ear in ears:
                    nursery.start_soon(ear.ask, [1])
            async with trio.open_nursery() as nursery:
                for ear in ears:
                    nursery.start_soon(ear.ask, [2])

    with pytest.raises(LeaseLost):
        simulate(main, faults=FaultPlan(RunTaken(commit)))


def test_a_spec_names_the_durable_actor_that_was_brought_back() -> None:
    spec = ChildSpec("ear", Ear, durable=True)

    async def main(world: World) -> None:
        async with ActorSystem("found", store=world.store) as system:
            ear = await system.spawn(spec)
            if world.life == 1:
                await ear.tell([1])
                await ear.ask("?")
                world.crash()
            assert await ear.ask("?") == ((1,),)

    simulate(main)
