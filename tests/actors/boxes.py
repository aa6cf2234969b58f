"""A durable actor that keeps what it gets, for tests of lives."""

from __future__ import annotations

from typing import Any

import trio

from actorflow import Actor, ActorSystem, Turn, actor
from actorflow.durability.memory import MemoryDisk, MemoryStore

__all__ = ["Box", "shop", "taken", "walls"]

#: Whether "hang" hangs.
walls: set[str] = set()


@actor("tests.evolving.box")
class Box(Actor):
    """Keeps what comes; while it is shut, in its stash."""

    shut: bool = False
    taken: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case "hang":
                if walls:
                    await trio.sleep_forever()
            case "refuse" if walls:
                raise ValueError
            case "taken":
                return self.taken
            case "open":
                self.shut = False
                ctx.unstash_all()
            case ["timer", key, delay, what]:
                ctx.timers.start(key, delay, what)
            case ["often", key, what]:
                ctx.timers.start(key, 10, what, every=10)
            case ["later", delay, what]:
                ctx.tell(ctx.self, what, delay=delay)
            case _ if self.shut:
                ctx.stash()
            case _:
                self.taken = (*self.taken, ctx.headers.get("order", message))
        return None


def shop(disk: MemoryDisk, **options: Any) -> ActorSystem:
    return ActorSystem("shop", store=MemoryStore(disk=disk, blocking=False), **options)


async def taken(system: ActorSystem, name: str = "box") -> Any:
    return await system.ref(Box, name).ask("taken")
