"""Systems of users with a bug each, and without it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actorflow import Actor, ActorSystem, Pipeline, Turn, actor, message, stage
from actorflow.testing import World

ORDERS = ["book", "pen", "ink"]


@message(tag="tests.testing.put")
class Put:
    order: str


@actor("tests.testing.shelf")
class Shelf(Actor):
    orders: tuple[str, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if isinstance(message, Put) and message.order not in self.orders:
            self.orders = (*self.orders, message.order)
        return list(self.orders)


async def shop(world: World, *, hasty: bool) -> None:
    """Takes orders, each of which the customer sends until it is acknowledged.

    Args:
        world: Its world.
        hasty: The bug: it says thank you before the order is on the disk.
    """
    thanked = {line.key for line in world.history if line.kind == "acknowledged"}
    async with ActorSystem("shop", store=world.store) as system:
        shelf = await system.spawn(Shelf(), name="shelf", durable=True)
        for order in ORDERS:
            if order in thanked:
                continue
            if hasty:
                shelf.tell_nowait(Put(order))
            else:
                await shelf.tell(Put(order))
            world.history.acknowledge(order)
            await trio.sleep(0.1)
        for order in await shelf.ask("orders"):
            world.history.complete(order)


async def charging(world: World, *, careless: bool) -> None:
    """Charges a card for each order.

    Args:
        world: Its world.
        careless: The bug: the provider is not told that it is the same charge again.
    """

    async def charge(order: str, ctx: Turn) -> str:
        key = f"{len(world.history)}" if careless else ctx.idempotency_key("charge")
        await trio.sleep(0.05)  # On its way to the provider,
        charges = world.outside.setdefault("charges", {})
        if key not in charges:
            charges[key] = order
            world.history.effect(order)
        await trio.sleep(0.05)  # and back.
        return order

    flow = Pipeline([stage(charge, effects=True)], name="charging")
    report = await flow.run(ORDERS, store=world.store, run_id="charging")
    assert report.counts["done"] == len(ORDERS)


async def counting() -> None:
    """Three clerks count one customer each, by reading the tally and writing one more: a race."""
    tally = 0

    async def clerk(moments: int) -> None:
        nonlocal tally
        for _ in range(moments):
            await trio.lowlevel.checkpoint()
        read = tally
        await trio.lowlevel.checkpoint()
        tally = read + 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clerk, 0)
        nursery.start_soon(clerk, 1)
    assert tally == 2


Main = Callable[..., Awaitable[Any]]

LOSES: Main = functools.partial(shop, hasty=True)
KEEPS: Main = functools.partial(shop, hasty=False)
CHARGES_TWICE: Main = functools.partial(charging, careless=True)
CHARGES_ONCE: Main = functools.partial(charging, careless=False)
