"""Programs that do nothing wrong, of which a law once said that they do."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import trio

from actorflow import Actor, ActorRef, ActorSystem, Fixed, Pipeline, Retry, Turn, actor, stage
from actorflow.durability.memory import MemoryStore
from actorflow.policies.decision import Divert, Restart
from actorflow.testing import StrictSystem, World, crash_points, simulate


@actor("tests.alarms.count")
class Count(Actor):
    n: int = 0

    async def receive(self, body: Any, ctx: Turn) -> int:
        if body == "stop":
            ctx.stop()
        self.n += 1
        return self.n


@actor("tests.alarms.cart")
class Cart(Actor):
    items: list[Any] = []  # noqa: RUF012  # Each actor gets its own.
    last: float = math.nan

    async def receive(self, body: Any, ctx: Turn) -> int:
        self.items.append(body)
        return len(self.items)


class Strange:
    """Can be compared with nothing."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Holder(Actor):
    it: Any = None

    async def receive(self, body: Any, ctx: Turn) -> None:
        self.it = Strange()


class Herald(Actor):
    to: ActorRef[Any]

    async def on_start(self, ctx: Turn) -> None:
        ctx.tell(self.to, "begins")

    async def on_stop(self, ctx: Turn) -> None:
        ctx.tell(self.to, "ends")

    async def receive(self, body: Any, ctx: Turn) -> None:
        ctx.tell(self.to, body)
        if body == "crash":
            raise SystemExit


@stage
async def slow(value: Any) -> Any:
    await trio.sleep(1)
    return value


@attrs.frozen
class Elsewhere:
    to: Any

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Divert:
        return Divert(self.to)


@attrs.frozen
class Key:
    name: str
    secret: int = attrs.field(repr=False)


async def flows_side_by_side() -> None:
    flow = Pipeline([slow], name="flow")
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(flow.map, [1, 2, 3])


async def systems_of_one_name() -> None:
    for _ in range(2):
        async with StrictSystem() as system, ActorSystem("test") as other:
            for each in system, other:
                assert await (await each.spawn(Count(), name="count")).ask(1) == 1


async def spawned_anew() -> None:
    async with ActorSystem("alarms") as system:
        for begin in 0, 10:
            count = await system.spawn(Count(n=begin), name="count")
            assert await count.ask(1) == begin + 1
            await count.tell("stop")
            await count.stopped()


async def hooks_that_send() -> None:
    async with ActorSystem("alarms") as system:
        count = await system.spawn(Count(), name="count")
        again: Any = {"restart": "permanent", "policies": [Retry(2, backoff=Fixed(0))]}
        herald = await system.spawn(lambda: Herald(to=count), name="herald", **again)
        for body in "a", "crash", "b":
            await herald.tell(body)
        await trio.sleep(1)


async def diverted() -> None:
    class Fails(Actor):
        async def receive(self, body: Any, ctx: Turn) -> None:
            raise OSError

    async with ActorSystem("alarms") as system:
        count = await system.spawn(Count(), name="count")
        fails = await system.spawn(Fails, policies=[Elsewhere(count)])
        assert await fails.ask(1) == 1


async def diverted_with_keys() -> None:
    @stage(key=lambda value: value % 2, workers=3, policies=[Elsewhere("slow")])
    async def fails(value: int) -> int:
        await trio.sleep(1)
        raise OSError

    await Pipeline([fails, slow], name="flow").map(range(6))


async def keys_that_look_the_same() -> None:
    @stage(workers=4, key=lambda value: Key("k", value))
    async def keyed(value: int) -> int:
        await trio.sleep(1)
        return value

    await Pipeline([keyed], name="flow").map([1, 2, 3])


async def fields_that_cannot_be_compared() -> None:
    async with ActorSystem("alarms") as system:
        holder = await system.spawn(Holder())
        await holder.tell(1)
        await holder.tell(2)


async def a_store_of_ones_own() -> None:
    async with ActorSystem("alarms", store=MemoryStore()) as system:
        count = await system.spawn(Count(), name="count", durable=True)
        await count.tell(1)
        await count.tell(2)
        await system.stop()


async def parked_and_opened_again(world: World) -> None:
    for life in range(2):
        async with ActorSystem("alarms", store=world.store) as system:
            count = await system.spawn(Count(), name="count", durable=True)
            if not life:
                for _ in range(3):
                    await count.tell(1)
                await system.stop()


async def deleted(world: World) -> None:
    if world.life == 1:
        async with Pipeline([slow], name="flow").open(store=world.store, run_id="run") as run:
            await run.feed([1, 2])
            await run.stop()
    await Pipeline([slow], name="flow").runs(world.store).delete("run")


@pytest.mark.parametrize(
    "main",
    [
        flows_side_by_side,
        systems_of_one_name,
        spawned_anew,
        hooks_that_send,
        diverted,
        diverted_with_keys,
        keys_that_look_the_same,
        fields_that_cannot_be_compared,
        a_store_of_ones_own,
        parked_and_opened_again,
        deleted,
    ],
    ids=lambda it: it.__name__,
)
def test_it_breaks_no_law(main: Any) -> None:
    for seed in range(3):
        simulate(main, seed=seed)


@pytest.mark.parametrize("isolation", ["fields", "copy"])
def test_fields_that_are_changed_in_place_break_none_over_deaths(isolation: str) -> None:
    async def cart(world: World) -> None:
        given: Any = {"name": "cart", "durable": True, "isolation": isolation}
        async with ActorSystem("alarms", store=world.store) as system:
            items = await system.spawn(Cart, **given)
            if world.life == 1:
                await items.tell("tea")
            await trio.sleep(1)
            await items.ask("milk")

    assert crash_points(cart).violations == ()


def test_an_actor_that_is_replaced_begins_as_it_is_told_to() -> None:
    async def replaced(world: World) -> None:
        async with ActorSystem("alarms", store=world.store) as system:
            new = Count(n=world.life * 10)
            count = await system.spawn(new, name="count", durable=True, replace=True)
            await count.ask(1)
            await count.ask(1)

    assert crash_points(replaced).violations == ()


@actor("tests.alarms.branch")
class Branch(Actor):
    """Comes back with its fields in another order: the one that was given is set first."""

    needed: int
    told: int = 0

    async def receive(self, body: Any, ctx: Turn) -> int:
        self.told += 1
        return self.needed


def test_fields_that_come_back_in_another_order_are_the_same() -> None:
    async def branch(world: World) -> None:
        async with ActorSystem("alarms", store=world.store) as system:
            asked = await system.spawn(Branch(needed=1), name="branch", durable=True)
            await asked.ask("?")
            await asked.ask("?")

    assert crash_points(branch).violations == ()


class Begins:
    """A policy: what fails is a crash."""

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Restart:
        return Restart()


class Waiting(Actor):
    """Puts all aside, until it has crashed."""

    async def receive(self, body: Any, ctx: Turn) -> None:
        if body == "crash":
            await trio.sleep_until(10)
            raise OSError
        if trio.current_time() < 10:
            ctx.stash()


def test_stashes_of_two_actors_that_restart_together_have_an_order_each() -> None:
    async def together() -> None:
        async with ActorSystem("alarms") as system:
            both = [
                await system.spawn(Waiting, name=name, policies=[Begins()]) for name in ("a", "b")
            ]
            for body in (1, 2, 3, "crash"):
                for each in both:
                    await each.tell(body)
                    await trio.sleep(0.1)
            await trio.sleep(20)

    for seed in range(5):
        simulate(together, seed=seed)


@actor("tests.alarms.aside")
class Aside(Actor):
    async def receive(self, body: Any, ctx: Turn) -> None:
        if body == "again":
            ctx.unstash_all()
        else:
            ctx.stash()


def test_a_message_may_be_stashed_more_often_than_it_may_be_tried() -> None:
    async def aside(world: World) -> None:
        async with ActorSystem("alarms", store=world.store) as system:
            ref = await system.spawn(Aside(), name="a", durable=True, policies=[Retry(2)])
            await ref.tell(1)
            for _ in range(5):
                await ref.tell("again")
                await trio.sleep(1)
            await system.stop()

    simulate(aside)
