"""The systems of actors that scenarios are about, and what has to be true of them in the end.

Each is a client that does its work over any number of deaths: what it was told is in
`World.outside`, and it sends again what nobody has acknowledged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import attrs
import trio

from actorflow import (
    Actor,
    ActorRef,
    ActorSystem,
    AskFailed,
    AskTimeout,
    ChildSpec,
    Pipeline,
    Supervisor,
    Timeout,
    Turn,
    actor,
    message,
    stage,
)
from actorflow.testing import World
from actorflow.testing.flow_handlers import AGAIN

__all__ = ["SYSTEMS", "Main", "System"]

Main: TypeAlias = "Callable[[World], Awaitable[Any]]"

#: How often a client asks again, and the seconds it waits for an answer.
TRIES = 20
PATIENCE = 10.0

#: It waits twice as long each time, up to so many seconds as a power of two: more than a day.
DAY = 17

NUMBERS = range(1, 5)

#: Of all handlers: a turn that does not end is tried again.
PATIENT = [AGAIN, Timeout(60.0)]


@attrs.frozen
class System:
    """A system.

    Attributes:
        main: What is simulated.
        paths: Of handlers that faults may be planned for.
    """

    main: Main
    paths: tuple[str, ...]


@message(tag="tests.scenarios.pay")
class Pay:
    """Pay in or out; the number says which payment it is."""

    number: int
    amount: int


@message(tag="tests.scenarios.transfer")
class Transfer:
    """From one account to the other."""

    number: int
    amount: int


async def sure(ref: ActorRef[Any], question: Any) -> Any:
    """Ask until there is an answer, for a question that changes nothing."""
    for _ in range(TRIES):
        try:
            return await ref.ask(question, timeout=PATIENCE)
        except (AskTimeout, AskFailed):
            await trio.sleep(PATIENCE)
    raise AssertionError(f"liveness: {ref.path} gave no answer in {TRIES} tries")


async def until(ref: ActorRef[Any], question: Any, wanted: Any) -> None:
    """Ask until the answer is the one that must come."""
    answer: Any = None
    for wait in range(TRIES):
        answer = await sure(ref, question)
        if answer == wanted:
            return
        await trio.sleep(2.0 ** min(wait, DAY))
    raise AssertionError(f"{ref.path} says {answer!r} to {question!r}, and not {wanted!r}")


async def sent(world: World, ref: ActorRef[Any], number: int, body: Any) -> None:
    """Tell what was not acknowledged in an earlier life, or before the disk has lost something."""
    lost, done = world.outside.get("sent", (0, []))
    if lost != world.lost:
        done = []
    world.outside["sent"] = world.lost, done
    if number not in done:
        await ref.tell(body)
        world.history.acknowledge(number)
        done.append(number)


# Payments, each of which counts once --------------------------------------------------------------


@actor("tests.scenarios.account")
class Account(Actor):
    """Adds up payments; knows those it has had."""

    balance: int = 0
    had: tuple[int, ...] = ()

    async def receive(self, body: Any, ctx: Turn) -> Any:
        """Pay, or answer."""
        match body:
            case Pay(number, amount) if number not in self.had:
                before = self.balance
                await trio.lowlevel.checkpoint()
                self.balance = before + amount
                self.had = (*self.had, number)
        return [self.balance, sorted(self.had)]


async def bank(world: World) -> None:
    """What was acknowledged is paid in, once."""
    async with ActorSystem("bank", store=world.store) as system:
        account = await system.spawn(Account(), name="account", durable=True, policies=PATIENT)
        for number in NUMBERS:
            await sent(world, account, number, Pay(number, 10**number))
        await until(account, "?", [11110, list(NUMBERS)])
    for number in NUMBERS:
        world.history.complete(number)


# Asks between durable actors ----------------------------------------------------------------------


@actor("tests.scenarios.purse")
class Purse(Actor):
    """Counts what it is asked to; that each ask counts once is the runtime's business."""

    coins: int = 0

    async def receive(self, body: Any, ctx: Turn) -> Any:
        """Add, or answer."""
        if isinstance(body, int):
            await trio.lowlevel.checkpoint()
            self.coins += body
        return self.coins


@actor("tests.scenarios.teller")
class Teller(Actor):
    """Moves coins by asking two purses."""

    left: ActorRef[Any]
    right: ActorRef[Any]
    had: tuple[int, ...] = ()

    async def receive(self, body: Any, ctx: Turn) -> Any:
        """Move, or answer which were moved."""
        if isinstance(body, Transfer) and body.number not in self.had:
            await ctx.ask(self.left, -body.amount, timeout=100.0)
            await ctx.ask(self.right, body.amount, timeout=100.0)
            self.had = (*self.had, body.number)
        return sorted(self.had)


async def transfers(world: World) -> None:
    """No coin is lost or made."""
    async with ActorSystem("mint", store=world.store) as system:
        purses = [
            await system.spawn(Purse(), name=name, durable=True, policies=PATIENT)
            for name in ("left", "right")
        ]
        moves = Teller(left=purses[0], right=purses[1])
        # A retry comes before another copy of the same transfer, which it has not noted yet.
        first = [attrs.evolve(AGAIN, position="head"), Timeout(60.0)]
        teller = await system.spawn(moves, name="teller", durable=True, policies=first)
        for number in NUMBERS[:3]:
            await sent(world, teller, number, Transfer(number, 10**number))
        await until(teller, "?", [1, 2, 3])
        await until(purses[0], "?", -1110)
        await until(purses[1], "?", 1110)
    for number in NUMBERS[:3]:
        world.history.complete(number)


# Timers -------------------------------------------------------------------------------------------


@actor("tests.scenarios.clock")
class Clock(Actor):
    """Rings once, a while after it was begun, and stashes what comes too early."""

    begun: bool = False
    rings: int = 0
    late: int = 0

    async def receive(self, body: Any, ctx: Turn) -> Any:
        """Begin, ring, or answer."""
        match body:
            case "begin" if not self.begun:
                self.begun = True
                ctx.timers.start("ring", 5.0, "ring")
            case "ring":
                self.rings += 1
                ctx.unstash_all()
            case int() if not self.rings:
                ctx.stash()
            case int():
                self.late |= 1 << body
        return [self.rings, self.late]


async def ticking(world: World) -> None:
    """A timer fires once, and what was stashed comes after it."""
    async with ActorSystem("tick", store=world.store) as system:
        clock = await system.spawn(Clock(), name="clock", durable=True, policies=PATIENT)
        await sent(world, clock, 0, "begin")
        for number in NUMBERS:
            await sent(world, clock, number, number)
        await until(clock, "?", [1, 0b11110])
    for number in (0, *NUMBERS):
        world.history.complete(number)


# Supervised workers without a store ---------------------------------------------------------------


class Adder(Actor):
    """Adds to what it is asked."""

    more: int

    async def receive(self, body: int, ctx: Turn) -> int:
        """One number."""
        await trio.lowlevel.checkpoint()
        return body + self.more


async def pool(world: World) -> None:
    """Every ask is answered, whoever crashes."""
    async with ActorSystem("pool") as system:
        specs = [
            ChildSpec(f"add{more}", Adder(more=more), policies=PATIENT, max_restarts=9)
            for more in range(3)
        ]
        await system.spawn(Supervisor(specs, max_restarts=9), name="top")
        for number in NUMBERS:
            for more in range(3):
                ref = system.ref(Adder, f"top/add{more}")
                assert await sure(ref, number) == number + more


# Effects on the world outside ---------------------------------------------------------------------


@stage(policies=PATIENT)
async def price(order: int) -> int:
    """What it costs."""
    await trio.lowlevel.checkpoint()
    return order * 10


@stage(effects=True, policies=PATIENT)
async def charge(amount: int, ctx: Turn) -> int:
    """Charge it: a provider takes a key, and charges once for each."""
    provider = ctx.deps.outside.setdefault("provider", {})
    await trio.sleep(0.01)
    key = ctx.idempotency_key("charge")
    if key not in provider:
        provider[key] = amount
        ctx.deps.history.effect(amount)
    await trio.sleep(0.01)
    return amount


SHOP: Pipeline[int, int] = Pipeline([price, charge], name="shop")


async def shop(world: World) -> None:
    """Each order is charged once."""
    report = await SHOP.run(NUMBERS, store=world.store, run_id="shop", deps=world)
    assert report.counts["done"] == len(NUMBERS), dict(report.counts)
    assert sorted(world.outside["provider"].values()) == [10, 20, 30, 40]


SYSTEMS = {
    "bank": System(bank, ("/bank/account",)),
    "transfers": System(transfers, ("/mint/teller", "/mint/left", "/mint/right")),
    "ticking": System(ticking, ("/tick/clock",)),
    "pool": System(pool, ("/pool/top/add0", "/pool/top/add1", "/pool/top")),
    "shop": System(shop, ("/shop/price", "/shop/charge")),
}
