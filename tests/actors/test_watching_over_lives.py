"""A watch is of one life of the process; a durable actor watches again when it begins."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorRef, ActorStopped, ActorSystem, Down, Retry, Turn, actor
from actorflow.testing import World, assert_enqueued, crash_points, simulate


@actor("tests.watching.child")
class Child(Actor):
    async def receive(self, message: Any, ctx: Turn) -> None:
        ctx.stop()


@actor("tests.watching.parent")
class Parent(Actor):
    child: ActorRef[Any] | None = None
    ended: bool = False

    async def on_start(self, ctx: Turn) -> None:
        if self.child is not None and not self.ended:
            try:
                ctx.watch(self.child)
            except ActorStopped:
                self.ended = True

    async def receive(self, message: Any, ctx: Turn) -> bool:
        if message == "go" and self.child is None:
            self.child = ctx.spawn(Child(), name="child", durable=True)
            ctx.watch(self.child)
            ctx.tell(self.child, "end")
        elif isinstance(message, Down):
            self.ended = True
        return self.ended


def test_who_watches_again_hears_of_the_end_wherever_the_process_dies() -> None:
    async def main(world: World) -> None:
        async with ActorSystem("s", store=world.store) as system:
            parent = await system.spawn(Parent, name="parent", durable=True, policies=[Retry(5)])
            await parent.tell("go")
            await trio.sleep(30)
            assert await parent.ask("?")

    crash_points(main).check()


@actor("tests.watching.puts_aside")
class PutsAside(Actor):
    async def receive(self, message: Any, ctx: Turn) -> None:
        if isinstance(message, Down):
            ctx.stash()
        else:
            child = ctx.spawn(Child(), name="child", durable=True)
            ctx.watch(child)
            ctx.tell(child, "end")


def test_a_notice_that_waits_is_not_missed_by_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be written, and need not be."""

    async def main(world: World) -> None:
        async with ActorSystem("s", store=world.store) as system:
            parent = await system.spawn(PutsAside, name="parent", durable=True)
            await parent.tell("go")
            await trio.sleep(5)
            assert_enqueued(system, parent, Down)
            await system.settled()
            await system.stop()

    simulate(main)
    assert "cannot be kept" not in caplog.text
