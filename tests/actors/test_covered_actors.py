"""Durable actors with effects: a lease waits for the disk, and nothing of them outlives them."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from actorflow import Actor, ActorRef, Turn, actor
from actorflow.durability.memory import MemoryDisk
from actorflow.runtime.spawn import ActorCell
from tests.actors.boxes import Box, shop, taken


@actor("tests.covered.mayfly")
class Mayfly(Actor):
    """Ends with its first message."""

    async def receive(self, message: Any, ctx: Turn) -> None:
        if message == "crash":
            raise MemoryError
        ctx.stop()


def _covered(ref: ActorRef[Any]) -> list[str]:
    """Paths of the mailboxes that the next commit looks at."""
    journal = ref.cell.mailbox.journal
    assert journal is not None
    return [box.path for box in journal.covered]


def _cells(prefix: str) -> int:
    """How many actors below *prefix* are in memory, be they living or dead."""
    gc.collect()
    return sum(
        type(each) is ActorCell and each.path.startswith(prefix) for each in gc.get_objects()
    )


@pytest.mark.parametrize("last_words", ["stop", "crash"])
async def test_an_actor_that_has_ended_for_good_is_not_looked_at_by_any_commit(
    last_words: str,
) -> None:
    async with shop(MemoryDisk()) as system:
        for number in range(5):
            ref = await system.spawn(
                Mayfly(), name=f"fly{number}", durable=True, effects=True, restart="temporary"
            )
            await ref.tell(last_words)
            await ref.stopped()
        await wait_all_tasks_blocked()

        assert _covered(ref) == []
        if last_words == "stop":  # The traceback of a dead letter keeps what it has seen.
            assert _cells("/shop/fly") == 1  # The one that is at hand here.


async def test_an_actor_that_was_restarted_is_still_woken_by_commits() -> None:
    disk = MemoryDisk()
    async with shop(disk) as system:
        box = await system.spawn(Box(), name="box", durable=True, effects=True)
        await box.tell(1)
        await wait_all_tasks_blocked()
        await box.tell(2)

        assert await taken(system) == (1, 2)
        assert _covered(box) == ["/shop/box"]
