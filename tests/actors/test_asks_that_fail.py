"""What a durable actor has asked, or was asked, in a turn that came to nothing."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorRef,
    ActorSystem,
    AskFailed,
    CircuitBreaker,
    DeadlineExceeded,
    Fixed,
    Retry,
    Turn,
    actor,
)
from actorflow.policies import Divert
from actorflow.testing import World, crash_points, simulate


class Elsewhere:
    """A policy: what fails goes to another actor."""

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Divert:
        return Divert("second")


@actor("tests.asks.bank")
class Bank(Actor):
    coins: int = 0

    async def receive(self, amount: int, ctx: Turn) -> int:
        self.coins += amount
        return self.coins


@actor("tests.asks.first")
class First(Actor):
    """Asks, and fails."""

    bank: ActorRef[Any]

    async def receive(self, message: Any, ctx: Turn) -> None:
        await ctx.ask(self.bank, 1)
        raise OSError


@actor("tests.asks.second")
class Second(Actor):
    bank: ActorRef[Any]

    async def receive(self, message: Any, ctx: Turn) -> Any:
        return await ctx.ask(self.bank, 100)


async def diverts(world: World, *policies: Any) -> int:
    """Who dies before it knows that it has told tells again, so it may be done twice."""
    async with ActorSystem("shop", store=world.store) as system:
        bank = await system.spawn(Bank(), name="bank", durable=True)
        await system.spawn(Second(bank=bank), name="second", durable=True)
        first = await system.spawn(
            lambda: First(bank=bank), name="first", durable=True, policies=policies or [Elsewhere()]
        )
        if not world.outside.get("sent"):
            await first.tell("go")
            world.outside["sent"] = True
        await trio.sleep(5)
        assert system.dead_letters() == ()
        coins: int = await bank.ask(0)
        assert coins in (101, 202)
        return coins


def test_who_gets_what_another_actor_has_failed_with_asks_questions_of_its_own() -> None:
    """They had the ids of those of the first, which then had been other questions."""
    assert simulate(diverts).result == 101
    crash_points(diverts).check()


def test_so_does_who_gets_it_from_a_circuit_that_has_opened() -> None:
    async def opens(world: World) -> int:
        breaker = CircuitBreaker(1, when_open=Divert("second"))
        return await diverts(world, breaker, Retry(2, backoff=Fixed(0.1)))

    assert simulate(opens).result == 101


@actor("tests.asks.full")
class Full(Actor):
    async def receive(self, message: Any, ctx: Turn) -> None:
        await trio.sleep(100)


@actor("tests.asks.asked")
class Asked(Actor):
    """Answers, and for "no room" tells one that takes nothing."""

    full: ActorRef[Any]

    async def receive(self, message: Any, ctx: Turn) -> str:
        if message == "no room":
            ctx.tell(self.full, "more")
        return "an answer"


@actor("tests.asks.asking")
class Asking(Actor):
    asked: ActorRef[Any]

    async def receive(self, message: Any, ctx: Turn) -> Any:
        return await ctx.ask(self.asked, message)


def test_the_answer_of_a_turn_that_found_no_room_is_not_kept_for_another_message() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("s", store=world.store) as system:
            full = await system.spawn(
                Full(), name="full", durable=True, capacity=1, overflow="fail"
            )
            asked = await system.spawn(Asked(full=full), name="asked", durable=True)
            asking = await system.spawn(Asking(asked=asked), name="asking", durable=True)
            await full.tell("is handled")
            await trio.sleep(1)
            await full.tell("waits")
            try:
                await asking.ask("no room")
            except AskFailed:
                await asked.tell("another")
                await trio.sleep(1)
            kept = asked.cell.kept
            assert kept is not None
            assert kept.answers == {}
            await system.stop()

    simulate(main)


@actor("tests.asks.slow")
class Slow(Actor):
    async def receive(self, message: Any, ctx: Turn) -> None:
        await trio.sleep(5)


@actor("tests.asks.hasty")
class Hasty(Actor):
    """Asks with little time, and then with more."""

    slow: ActorRef[Any]

    async def receive(self, message: Any, ctx: Turn) -> None:
        await ctx.ask(self.slow, "?", timeout=1 if ctx.attempt == 1 else 30)


def test_a_question_asked_again_as_its_turn_is_ended_was_ended_by_its_deadline() -> None:
    """Not by a time that no policy has set."""

    async def main(world: World) -> None:
        async with ActorSystem("s", store=world.store) as system:
            slow = await system.spawn(Slow(), name="slow", durable=True)
            hasty = await system.spawn(
                lambda: Hasty(slow=slow),
                name="hasty",
                durable=True,
                policies=[Retry(2, backoff=Fixed(0))],
            )
            with pytest.raises(AskFailed):
                await hasty.ask("go", timeout=60)
            (letter, *_) = system.dead_letters()
            assert (letter.stage_or_actor, letter.reason) == ("/s/slow", "expired")
            assert isinstance(letter.error, DeadlineExceeded)

    simulate(main)
