"""Timers over the end of a durable system, or of its process: what has fired, and what not."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, Fixed, Retry, Turn, actor
from actorflow.testing import World, simulate


@actor("tests.timers.bell")
class Bell(Actor):
    rings: int = 0

    async def receive(self, body: Any, ctx: Turn) -> Any:
        match body:
            case "begin":
                ctx.timers.start("ring", 5.0, "ring")
            case "work":
                await trio.sleep(20.0)
            case "ring":
                self.rings += 1
        return self.rings


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("leaves_after", [1.0, 4.0, 4.99])
def test_a_timer_that_fires_at_the_end_is_not_lost(leaves_after: float, cancelled: bool) -> None:
    async def main(world: World) -> None:
        if world.life == 1:
            with trio.move_on_after(leaves_after if cancelled else 1_000.0):
                async with ActorSystem("bells", store=world.store) as system:
                    bell = await system.spawn(Bell(), name="bell", durable=True)
                    await bell.tell("begin")
                    await bell.tell("work")
                    await trio.sleep(leaves_after)
                    await system.stop()
            world.crash()
        async with ActorSystem("bells", store=world.store) as system:
            bell = await system.spawn(Bell(), name="bell", durable=True)
            await trio.sleep(60.0)
            assert await bell.ask("?") == 1

    simulate(main)


@actor("tests.timers_at_the_end.alarm")
class Alarm(Actor):
    """Rings for as long as the first life lasts, and cannot in the next until it is mended."""

    mended: bool = False
    rung: int = 0

    async def receive(self, body: Any, ctx: Turn) -> Any:
        match body:
            case "set":
                ctx.timers.start("ring", 1.0, "ring")
            case "cancel":
                ctx.timers.cancel("ring")
            case "mend":
                self.mended = True
            case "ring" if ctx.attempt == 1:
                await trio.sleep_forever()
            case "ring" if not self.mended:
                raise OSError
            case "ring":
                self.rung += 1
        return self.rung


def test_a_tick_in_whose_turn_the_process_died_is_taken_back_in_the_next_life() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("ringing", store=world.store) as system:
            again = [Retry(9, backoff=Fixed(20.0))]
            alarm = await system.spawn(Alarm(), name="alarm", durable=True, policies=again)
            if world.life == 1:
                await alarm.tell("set")
                await trio.sleep(5.0)
                await system.settled()
                world.crash()
            await alarm.tell("cancel")  # It has failed by now, and waits to be tried again.
            await alarm.tell("mend")
            await trio.sleep(100.0)
            assert await alarm.ask("?") == 0

    simulate(main)
