"""A stash over the end of a process: what was put aside comes back in the order in which it was."""

from __future__ import annotations

import pytest
from trio.testing import wait_all_tasks_blocked

from actorflow import ActorSystem, StashFull
from actorflow.durability.memory import MemoryDisk
from actorflow.runtime.mailbox import WAITING_PER_CAPACITY
from tests.actors.boxes import Box, shop, taken


async def _fill(system: ActorSystem, priorities: list[int]) -> None:
    box = await system.spawn(Box(shut=True), name="box", durable=True)
    for number, priority in enumerate(priorities, 1):
        box.tell_nowait(number, priority=priority)
    await wait_all_tasks_blocked()
    await system.settled()


async def test_a_stash_comes_back_in_the_order_of_stashing_with_and_without_a_kill() -> None:
    priorities = [100, 50, 100, 10]
    disk = MemoryDisk()
    async with shop(MemoryDisk()) as system:
        await _fill(system, priorities)
        await system.ref(Box, "box").tell("open")
        undisturbed = await taken(system)

    async with shop(disk) as system:
        await _fill(system, priorities)
        system.cancel()
    async with shop(disk) as system:
        await system.ref(Box, "box").tell("open")
        disturbed = await taken(system)

    assert undisturbed == (4, 2, 1, 3)
    assert disturbed == undisturbed


async def test_a_stash_keeps_its_order_over_several_lives() -> None:
    disk = MemoryDisk()
    async with shop(disk) as system:
        await _fill(system, [100, 10])
        system.cancel()
    async with shop(disk) as system:
        box = system.ref(Box, "box")
        await box.tell(3)
        await box.tell(4)
        await wait_all_tasks_blocked()
        await system.settled()
        system.cancel()
    async with shop(disk) as system:
        await system.ref(Box, "box").tell("open")
        assert await taken(system) == (2, 1, 3, 4)


@pytest.mark.parametrize("lives", [1, 2, 3])
async def test_a_full_stash_is_full_in_the_next_life_too(lives: int) -> None:
    most = WAITING_PER_CAPACITY * 16 - 1
    disk = MemoryDisk()
    for life in range(1, lives + 1):
        async with shop(disk) as system:
            box = await system.spawn(Box(shut=True), name="box", durable=True, capacity=16)
            for number in range(most if life == 1 else 0):
                await box.tell(number)
            await wait_all_tasks_blocked()
            if life < lives:
                await system.settled()
                system.cancel()
                continue
            await box.tell("one more")
            await box.tell("open")
            assert await taken(system) == tuple(range(most))
            (letter,) = system.dead_letters()
            assert (letter.body, type(letter.error)) == ("one more", StashFull)
