"""What a cut has beside messages and states: draws of a seed, and restarts that count."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Actor, ActorSystem, Pipeline, RestartsExhausted, Turn, actor, stage
from actorflow.durability import checkpointer
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.testing import new_session

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def echo(value: int) -> int:
    return value


def store(disk: MemoryDisk) -> MemoryStore:
    return MemoryStore(disk=disk, blocking=False)


async def test_a_run_draws_on_where_it_was() -> None:
    async def draws(disk: MemoryDisk, count: int) -> list[float]:
        flow: Pipeline[int, int] = Pipeline([stage(echo)], name="f")
        async with flow.open(store=store(disk), run_id="run", seed=7) as run:
            found = [run.kernel.ports.draw() for _ in range(count)]
            await run.feed([1])
            await run.stop()
        return found

    disk = MemoryDisk()
    halves = [*await draws(disk, 3), *await draws(disk, 3)]

    assert halves == await draws(MemoryDisk(), 6)


async def test_a_system_draws_on_where_it_was() -> None:
    async def draws(disk: MemoryDisk, count: int) -> list[float]:
        async with ActorSystem("s", store=store(disk), seed=7) as system:
            ref = await system.spawn(Fragile(), name="f", durable=True)
            found = [ref.cell.kernel.ports.draw() for _ in range(count)]
            await ref.tell("hello")
        return found

    disk = MemoryDisk()
    halves = [*await draws(disk, 3), *await draws(disk, 3)]

    assert halves == await draws(MemoryDisk(), 6)


@actor("tests.durability.fragile")
class Fragile(Actor):
    turns: int = 0

    async def receive(self, message: Any, ctx: Turn) -> Any:
        self.turns += 1
        if message == "crash":
            raise SystemExit
        return self.turns


async def crash(disk: MemoryDisk, times: int) -> BaseException | None:
    """Crash one actor so often in a life of its own; why it has ended, if it has."""
    async with ActorSystem("s", store=store(disk)) as system:
        ref = await system.spawn(
            Fragile(), name="f", durable=True, max_restarts=3, window=1000.0, backoff=None
        )
        for _ in range(times):
            await ref.tell("crash")
            await wait_all_tasks_blocked()
            await trio.sleep(20)
        ended = ref.cell.ended
        reason: BaseException | None = None if ended is None else ended.error
        return reason


async def test_restarts_of_an_earlier_life_count() -> None:
    disk = MemoryDisk()

    assert await crash(disk, 2) is None
    assert isinstance(await crash(disk, 2), RestartsExhausted)


async def test_restarts_of_an_earlier_life_are_forgotten_in_time(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()

    assert await crash(disk, 2) is None
    autojump_clock.jump(2000)
    assert await crash(disk, 2) is None


async def test_the_chain_of_cuts_stays_short_over_many_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", 10)
    disk, flow = MemoryDisk(), Pipeline[int, int]([stage(echo)], name="f")
    for _ in range(10):
        async with flow.open(store=store(disk), run_id="run") as run:
            for value in range(4):
                await run.feed([value])
            await run.stop()
    looking = store(disk)
    looking.open(new_session())

    assert len(looking.load("run").cuts) <= 11
    looking.close()


def test_the_switch_interval_is_given_back_by_the_last_that_wanted_it_short() -> None:
    before = sys.getswitchinterval()

    async def main() -> None:
        first, second = (ActorSystem("a", store=url()), ActorSystem("b", store=url()))
        async with second:
            async with first:
                assert sys.getswitchinterval() < before
            assert sys.getswitchinterval() < before

    def url() -> MemoryStore:
        return MemoryStore(disk=MemoryDisk(), blocking=True)

    trio.run(main)

    assert sys.getswitchinterval() == before
