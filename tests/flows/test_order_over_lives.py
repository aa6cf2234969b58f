"""In which order a run that has been stopped goes on."""

from __future__ import annotations

import pytest
import trio

from actorflow import stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import counted, pipeline

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_what_was_in_hand_at_the_stop_is_first_in_the_next_life_however_often() -> None:
    disk = MemoryDisk()
    lives: list[list[int]] = []

    async def work(value: int) -> int:
        lives[-1].append(value)
        if len(lives) < 5:
            await trio.sleep_forever()
        return value

    for workers in (3, 1, 1, 1, 1):
        lives.append([])
        flow = pipeline([stage(work, name="work", workers=workers)], name="f")
        store = MemoryStore(disk=disk, blocking=False)
        async with flow.open(store=store, run_id="run") as run:
            if len(lives) == 1:
                await run.feed([1, 2, 3])
            await trio.sleep(1)
            report = await (run.stop() if len(lives) < 5 else run.finish())

    assert sorted(lives[0]) == sorted(lives[4]) == [1, 2, 3]
    assert lives[1] == lives[2] == lives[3] == lives[4][:1]
    assert report.counts == counted(fed=3, done=3)
