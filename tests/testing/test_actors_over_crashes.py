"""Every crash point of small durable systems, each about one promise: answers, timers, a stop."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorRef, ActorSystem, Retry, Turn, actor
from actorflow.testing import World, crash_points, simulate

AGAIN: list[Any] = [Retry(5)]

DURABLE: dict[str, Any] = {"durable": True, "policies": AGAIN}


@actor("tests.crashes.count")
class Count(Actor):
    total: int = 0

    async def receive(self, body: Any, ctx: Turn) -> int:
        if isinstance(body, int):
            self.total += body
        return self.total


class Front(Actor):
    """Of a system without a store: whoever hears of it is outside."""

    back: ActorRef[Any]
    world: World

    async def receive(self, body: Any, ctx: Turn) -> Any:
        self.world.outside["told"] = found = await ctx.ask(self.back, body)
        return found


@actor("tests.crashes.bell")
class Bell(Actor):
    """Its ticks change nothing of its own."""

    count: ActorRef[Any]
    begun: bool = False

    async def receive(self, body: Any, ctx: Turn) -> None:
        if body == "begin" and not self.begun:
            self.begun = True
            ctx.timers.start("ring", 5.0, "ring")
        elif body == "ring":
            ctx.tell(self.count, 1)
        elif body == "cancel":
            ctx.timers.cancel("ring")


async def counting(system: ActorSystem) -> ActorRef[Any]:
    return await system.spawn(Count, name="count", **DURABLE)


async def answers(world: World) -> None:
    async with ActorSystem("counts", store=world.store) as system:
        count = await counting(system)
        assert await count.ask("?") >= world.outside.get("told", 0)
        for _ in range(3):
            world.outside["told"] = await count.ask(1)


async def answers_to_another_system(world: World) -> None:
    async with ActorSystem("counts", store=world.store) as system, ActorSystem("front") as other:
        count = await counting(system)
        assert await count.ask("?") >= world.outside.get("told", 0)
        front = await other.spawn(lambda: Front(back=count, world=world), name="front")
        await front.ask(1)


async def rings_once(world: World) -> None:
    async with ActorSystem("counts", store=world.store) as system:
        count = await counting(system)
        bell = await system.spawn(Bell(count=count), name="bell", **DURABLE)
        if "begun" not in world.outside:
            await bell.tell("begin")
            world.outside["begun"] = True
        await trio.sleep(30.0)
        assert await count.ask("?") == 1


async def never_rings(world: World) -> None:
    async with ActorSystem("counts", store=world.store) as system:
        count = await counting(system)
        bell = await system.spawn(Bell(count=count), name="bell", **DURABLE)
        if "begun" not in world.outside:
            await bell.tell("begin")
            world.outside["begun"] = True
        if "cancelled" not in world.outside:
            await bell.tell("cancel")
            await bell.ask("?")
            world.outside["cancelled"] = True
        await trio.sleep(30.0)
        assert await count.ask("?") == 0


@pytest.mark.parametrize(
    "main",
    [answers, answers_to_another_system, rings_once, never_rings],
    ids=lambda it: it.__name__,
)
def test_no_crash_breaks_it(main: Any) -> None:
    report = crash_points(main)

    assert report.points > 40
    assert report.violations == ()


@pytest.mark.parametrize("durable", [False, True])
def test_a_turn_that_a_stop_has_cut_short_leaves_nothing_in_the_fields(durable: bool) -> None:
    seen: list[tuple[int, int]] = []

    @actor("tests.crashes.half")
    class Half(Actor):
        begun: int = 0
        done: int = 0

        async def receive(self, body: Any, ctx: Turn) -> None:
            self.begun += 1
            if body == "slow":
                await trio.sleep(100.0)
            self.done += 1

        async def on_stop(self, ctx: Turn) -> None:
            seen.append((self.begun, self.done))

    async def main(world: World) -> None:
        store = world.store if durable else None
        async with ActorSystem("halves", store=store) as system:
            half = await system.spawn(Half(), name="half", durable=durable)
            await half.tell("quick")
            await half.tell("slow")
            await trio.sleep(1.0)
            await system.stop()

    simulate(main)

    assert seen == [(1, 1)]
