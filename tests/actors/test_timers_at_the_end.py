"""A timer that fires while its durable system is ending fires in the next life."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, Turn, actor
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
