"""The last commit of a run or a system cannot be written: whoever ends it is told so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, StoreUnavailable, Turn
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import Change
from actorflow.errors import CommitFailed
from tests.flows.flowing import counted, increment, pipeline

pytestmark = pytest.mark.usefixtures("autojump_clock")


class NoEnd(MemoryStore):
    """Takes every commit but the one that says how it has ended."""

    def commit(self, change: Change) -> None:
        if change.status is not None:
            raise CommitFailed(self.url, "injected", "full")
        super().commit(change)


async def leave(run: Any) -> None:
    """Leaving the block is to end it."""


async def finish(run: Any) -> None:
    await run.finish()


async def drain(run: Any) -> None:
    await run.drain()


async def stop(run: Any) -> None:
    await run.stop()


async def stop_and_not_wait(run: Any) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await run.stop()


@pytest.mark.parametrize("end", [leave, finish, drain, stop, stop_and_not_wait])
async def test_a_run_whose_last_commit_fails_does_not_end_well(
    end: Callable[[Any], Awaitable[None]],
) -> None:
    disk = MemoryDisk()
    flow = pipeline([increment], name="f")

    async def main() -> None:
        store = NoEnd(disk=disk, blocking=False)
        async with flow.open(store=store, run_id="run") as run:
            await run.feed([1])
            await end(run)

    with pytest.raises(StoreUnavailable, match="injected"):
        await main()

    again = MemoryStore(disk=disk, blocking=False)
    async with flow.open(store=again, run_id="run") as run:  # And what it had is there.
        assert (await run.finish()).counts == counted(fed=1, done=1)


class Adds(Actor):
    total: int = 0

    async def receive(self, message: int, ctx: Turn) -> int:
        self.total += message
        return self.total


async def test_a_system_whose_last_commit_fails_does_not_end_well() -> None:
    disk = MemoryDisk()

    async def main() -> None:
        async with ActorSystem("bank", store=NoEnd(disk=disk, blocking=False)) as system:
            adds = await system.spawn(Adds(), name="adds", durable=True)
            assert await adds.ask(1) == 1

    with pytest.raises(StoreUnavailable, match="injected"):
        await main()

    async with ActorSystem("bank", store=MemoryStore(disk=disk, blocking=False)) as system:
        assert await system.ref(Adds, "adds").ask(0) == 1
