"""The systems that the laboratory is shown on, and by which it is shown to find what is wrong."""

from __future__ import annotations

from typing import Any

import trio

from actorflow import Actor, ActorSystem, Parallel, Pipeline, Retry, Turn, actor, message, stage
from actorflow.testing import World

ITEMS = [1, 2, 3]

#: What the linear flow makes of them.
PRICED = [3, 5, 7]


@stage(policies=[Retry(3)])
async def double(value: int) -> int:
    return value * 2


@stage
async def rest(value: int) -> int:
    await trio.sleep(0.1)
    return value


@stage
async def add(value: int) -> int:
    return value + 1


LINEAR = Pipeline([double, rest, add], name="linear")


async def linear(world: World) -> list[Any]:
    """Three stages; what came out is in the store."""
    report = await LINEAR.run(ITEMS, store=world.store, run_id="linear", results="store")
    assert dict(report.counts) == {"fed": 3, "done": 3, "skipped": 0, "dead": 0, "held": 0}
    return sorted(values(world, "linear"))


def values(world: World, run: str) -> list[Any]:
    """Of the results on the disk."""
    return [each.value for each in world.results(run)]


# A graph that forks and joins ---------------------------------------------------------------------


async def split(value: int) -> int:
    return value


@stage(policies=[Retry(2)])
async def left(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value * 10


async def right(value: int) -> int:
    return value + 1


async def both(parts: list[int]) -> int:
    return sum(parts)


FORKED = Pipeline([split, Parallel([left, right]), both], name="forked")


async def forked(world: World) -> None:
    """Each item is in two branches and comes out once."""
    report = await FORKED.run(ITEMS, store=world.store, run_id="forked", results="store")
    assert dict(report.counts) == {"fed": 3, "done": 3, "skipped": 0, "dead": 0, "held": 0}
    assert sorted(values(world, "forked")) == [12, 23, 34]


# Durable actors with timers -----------------------------------------------------------------------


@message(tag="tests.testing.deposit")
class Deposit:
    number: int
    amount: int


@message(tag="tests.testing.seen")
class Seen:
    pass


@actor("tests.testing.account")
class Account(Actor):
    balance: int = 0
    seen: tuple[int, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case Deposit(number, amount) if number not in self.seen:
                self.balance += amount
                self.seen = (*self.seen, number)
            case Seen():
                return [self.balance, list(self.seen)]
        return None


@actor("tests.testing.interest")
class Interest(Actor):
    paid: int = 0

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case "begin":
                if not self.paid and not ctx.timers.active("interest"):
                    ctx.timers.start("interest", 5.0, "pay")
            case "pay":
                self.paid += 1
                return None
        return self.paid


async def bank(world: World) -> None:
    """Deposits are made once, whoever is killed when; interest is paid once, when it is due."""
    async with ActorSystem("bank", store=world.store) as system:
        account = await system.spawn(Account(), name="account", durable=True)
        interest = await system.spawn(Interest(), name="interest", durable=True)
        await interest.tell("begin")
        _, seen = await account.ask(Seen())
        for number in (1, 2, 3):
            if number not in seen:
                await account.tell(Deposit(number, 10 * number))
        await trio.sleep(6.0)
        assert await account.ask(Seen()) == [60, [1, 2, 3]]
        assert await interest.ask("paid?") == 1
