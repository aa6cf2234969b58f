"""Two systems in one program: each accounts for the messages to its own actors."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorSystem,
    CircuitBreaker,
    Divert,
    Fixed,
    InsideTurn,
    Pipeline,
    Retry,
    Turn,
    actor,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.runtime.actors import Does, Keeps

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.mark.parametrize("delay", [None, 3])
async def test_a_message_to_an_actor_of_another_system_is_held_there(delay: float | None) -> None:
    kept: list[Any] = []
    async with ActorSystem("there") as there:
        target = await there.spawn(Keeps(kept=kept), name="keeps")

        async def pass_on(message: Any, ctx: Turn) -> None:
            ctx.tell(target, message, delay=delay)

        async with ActorSystem("here") as here:
            ref = await here.spawn(Does(do=pass_on))
            for number in range(3):
                await ref.ask(number)
            assert here.stats()["held"] == 0
            assert there.stats()["held"] == 3 - len(kept)

    assert kept == [0, 1, 2]
    assert (here.stats()["held"], there.stats()["held"]) == (0, 0)


async def test_a_stage_may_tell_the_actor_of_a_system() -> None:
    kept: list[Any] = []
    async with ActorSystem("there") as there:
        target = await there.spawn(Keeps(kept=kept), name="keeps")

        @stage
        async def pass_on(item: int) -> int:
            await target.tell(item)
            return item

        flow: Pipeline[int, int] = Pipeline([pass_on])
        report = await flow.run(range(5))
        assert report.counts["done"] == 5

    assert kept == [0, 1, 2, 3, 4]
    assert there.stats()["held"] == 0


async def test_a_message_diverted_to_another_system_is_held_there() -> None:
    kept: list[Any] = []

    async def fail(message: Any, ctx: Turn) -> None:
        raise OSError

    async with ActorSystem("there") as there:
        target = await there.spawn(Keeps(kept=kept), name="keeps")
        async with ActorSystem("here") as here:
            breaker = CircuitBreaker(1, 60, when_open=Divert(target))
            ref = await here.spawn(Does(do=fail), policies=[breaker])
            for number in range(3):
                await ref.tell(number)

    assert kept == [1, 2]
    assert (here.stats()["held"], there.stats()["held"]) == (0, 0)


async def test_a_handler_may_have_a_system_of_its_own_but_not_steer_the_one_it_is_in() -> None:
    async def nest(message: Any, ctx: Turn) -> Any:
        async with ActorSystem("inner") as inner:
            ref = await inner.spawn(Does(do=echo))
            with pytest.raises(InsideTurn):
                await outer.spawn(Keeps)
            return await ref.ask(message)

    async def echo(message: Any, ctx: Turn) -> Any:
        return message

    async with ActorSystem("outer") as outer:
        ref = await outer.spawn(Does(do=nest))
        assert await ref.ask("x") == "x"


@actor("tests.actors.two_systems.till")
class Till(Actor):
    """Keeps what it was told, once it is let."""

    seen: tuple[int, ...] = ()
    open: bool = False

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "open":
            self.open = True
            ctx.unstash_all()
        elif message == "seen":
            return sorted(self.seen)
        elif self.open:
            self.seen = (*self.seen, message)
        else:
            ctx.stash()
        return None


async def test_messages_of_another_system_and_own_ones_are_told_apart_over_a_crash() -> None:
    disk = MemoryDisk()
    store = MemoryStore(disk=disk, blocking=False)
    async with ActorSystem("there", store=store) as there:
        till = await there.spawn(Till(), name="till", durable=True)

        async def pass_on(message: Any, ctx: Turn) -> None:
            ctx.tell(till, message + 100)

        own = await there.spawn(Does(do=pass_on))
        async with ActorSystem("here") as here:
            ref = await here.spawn(Does(do=pass_on))
            for number in range(6):
                await ref.ask(number)
                await own.ask(number + 100)
        await there.settled()
        there.cancel()
    async with ActorSystem("there", store=MemoryStore(disk=disk, blocking=False)) as there:
        till = there.ref(Till, "till")
        await till.tell("open")

        assert await till.ask("seen") == [*range(100, 106), *range(200, 206)]


@actor("tests.actors.two_systems.account")
class Account(Actor):
    balance: int = 0

    async def receive(self, message: int, ctx: Turn) -> int:
        self.balance += message
        return self.balance


@actor("tests.actors.two_systems.payer")
class Payer(Actor):
    """Asks the account of whichever system is there now, and again after a failure of its own."""

    paid: tuple[int, ...] = ()

    async def receive(self, message: int, ctx: Turn) -> tuple[int, ...]:
        if message:
            answer = await ctx.ask(THERE[-1].ref(Account, "account"), message)
            if ctx.attempt < 2:
                raise OSError
            self.paid = (*self.paid, answer)
        return self.paid


#: The lives of the system that is asked.
THERE: list[ActorSystem] = []


@pytest.mark.parametrize("clean", [True, False])
async def test_what_another_system_asks_runs_once_though_the_asked_one_restarts_in_between(
    clean: bool,
) -> None:
    disk = MemoryDisk()
    async with ActorSystem("here", store=MemoryStore(blocking=False)) as here:
        again = [Retry(3, backoff=Fixed(20))]
        payer = await here.spawn(Payer(), name="payer", durable=True, policies=again)
        async with ActorSystem("there", store=MemoryStore(disk=disk, blocking=False)) as there:
            THERE.append(there)
            await there.spawn(Account(), name="account", durable=True)
            await payer.tell(5)
            await trio.sleep(10)  # The account has answered, and the turn has failed.
            if not clean:
                await there.settled()
                there.cancel()
        async with ActorSystem("there", store=MemoryStore(disk=disk, blocking=False)) as there:
            THERE.append(there)
            await trio.sleep(20)

            assert await payer.ask(0) == (5,)
            assert await there.ref(Account, "account").ask(0) == 5
