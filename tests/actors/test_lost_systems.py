"""Who works with a durable system that another process has taken over is told so."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, LeaseLost, Turn, actor
from actorflow.testing import FaultPlan, World, simulate
from actorflow.testing.faults import RunTaken


@actor("tests.lost.echo")
class Echo(Actor):
    async def receive(self, body: Any, ctx: Turn) -> Any:
        await trio.sleep(0.05)
        return body


@pytest.mark.parametrize("commit", range(1, 12))
def test_the_block_says_why_the_system_has_ended(commit: int) -> None:
    async def main(world: World) -> None:
        async with ActorSystem("lost", store=world.store) as system:
            for number in range(20):
                echo = await system.spawn(Echo(), name=f"echo{number}", durable=True)
                await echo.tell(number)
                await echo.tell(number)
                assert await echo.ask(number) == number

    with pytest.raises(LeaseLost):
        simulate(main, faults=FaultPlan(RunTaken(commit)))


def test_another_error_of_the_block_is_left_alone() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("lost", store=world.store) as system:
            await system.spawn(Echo(), name="echo", durable=True)
            await trio.sleep(60.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(main, faults=FaultPlan(RunTaken(1)))
