"""A wall clock that is set back between two lives makes nobody wait longer than was left."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, Fixed, Pipeline, Retry, Turn, actor, stage
from actorflow.testing import World, simulate

DAY = 86_400.0


@pytest.mark.parametrize("jump", [-DAY, 0.0, 30.0])
def test_a_retry_waits_for_what_was_left_of_its_delay(jump: float) -> None:
    ended: list[float] = []

    async def main(world: World) -> None:
        async def once(value: int, ctx: Turn) -> int:
            if ctx.attempt == 1:
                raise OSError("not yet")
            return value

        flow = Pipeline([stage(once, policies=[Retry(2, backoff=Fixed(60))])], name="f")
        with trio.move_on_after(10):
            await flow.run([1], store=world.store, run_id="run")
        world.clock.jump(jump)
        report = await flow.run([1], store=world.store, run_id="run")
        assert report.counts["done"] == 1
        ended.append(trio.current_time())

    simulate(main)

    assert ended == pytest.approx([60 - max(0.0, jump)], abs=1)


@actor("tests.clocks.alarm")
class Alarm(Actor):
    rung: float = 0.0

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "set":
            ctx.timers.start("ring", 60.0, "ring")
        elif message == "ring":
            self.rung = trio.current_time()
        return self.rung


@pytest.mark.parametrize("jump", [-DAY, 0.0, 30.0])
def test_a_timer_waits_for_what_was_left_of_it(jump: float) -> None:
    rung: list[float] = []

    async def main(world: World) -> None:
        async with ActorSystem("clocks", store=world.store) as system:
            alarm = await system.spawn(Alarm(), name="alarm", durable=True)
            await alarm.ask("set")
            await trio.sleep(10)
        world.clock.jump(jump)
        async with ActorSystem("clocks", store=world.store) as system:
            alarm = await system.spawn(Alarm(), name="alarm", durable=True)
            await trio.sleep(100)
            rung.append(await alarm.ask("when"))

    simulate(main)

    assert rung == pytest.approx([60 - max(0.0, jump)], abs=1)
