"""What a cut has of each mailbox and actor, seen by the life that comes after a kill."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Actor, ActorFlowError, ActorSystem, Retry, Turn, stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Gate, counted, pipeline
from tests.flows.lives import Mortal, TapeSink, fed_and_killed, finished


def bank(disk: MemoryDisk) -> ActorSystem:
    return ActorSystem("bank", store=MemoryStore(disk=disk, blocking=False))


@asynccontextmanager
async def killed(disk: MemoryDisk) -> AsyncIterator[ActorSystem]:
    """A life that is killed at the end of the block, when the disk has all of it."""
    store = MemoryStore(disk=disk, blocking=False)
    with contextlib.suppress(ActorFlowError):  # Of one that cannot write its end.
        async with ActorSystem("bank", store=store) as system:
            yield system
            await system.settled()
            store.die()
            system.cancel()


# Mailboxes -------------------------------------------------------------------------------


async def test_what_was_leased_is_leased_first_before_what_is_more_urgent() -> None:
    disk, order = MemoryDisk(), list[int]()
    stuck = Gate()

    async def work(value: int) -> int:
        order.append(value)
        return value

    async with pipeline([stage(stuck, name="a")], name="f").open(
        store=(store := Mortal(disk)), run_id="run"
    ) as run:
        await run.feed([0])
        await wait_all_tasks_blocked()
        await run.feed([1, 2], priority=50)
        await wait_all_tasks_blocked(0.005)
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()
    await finished(pipeline([stage(work, name="a")], name="f"), Mortal(disk))

    assert order == [0, 1, 2]


async def test_the_pieces_of_pieces_are_told_apart_on_the_disk_too() -> None:
    disk, tape, keys = MemoryDisk(), list[int](), list[str]()
    lives = [1]

    async def thousand(value: int, ctx: Turn) -> int:
        ctx.emit(value + 1000)
        return value

    async def hundred(value: int, ctx: Turn) -> int:
        ctx.emit(value + 100)
        return value

    async def last(value: int, ctx: Turn) -> int:
        keys.append(ctx.idempotency_key("charge"))
        if lives == [1]:
            await trio.sleep_forever()
        return value

    effect = stage(last, workers=4, effects=True, policies=[Retry(9)])
    flow = pipeline([thousand, hundred, effect], name="f")
    options: dict[str, Any] = {"sink": TapeSink(tape)}
    await fed_and_killed(flow, Mortal(disk), [1], until=lambda: len(keys) == 4, **options)
    lives.append(2)
    report = await finished(flow, Mortal(disk), **options)

    assert sorted(tape) == [1, 101, 1001, 1101]
    assert len(set(keys[:4])) == 4
    assert sorted(keys[4:]) == sorted(keys[:4])
    assert report.counts == counted(fed=1, done=1)


async def test_what_was_stashed_comes_first_in_its_order_before_what_is_more_urgent(
    autojump_clock: MockClock,
) -> None:
    handled: list[Any] = []
    lives = [1]

    class Door(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            handled.append(message)
            if lives == [1]:
                if message == "wait":
                    await trio.sleep_forever()
                ctx.stash()

    disk = MemoryDisk()
    async with killed(disk) as system:
        door = await system.spawn(Door(), name="door", durable=True)
        for message in (0, 1, "wait"):
            await door.tell(message)
        await door.tell("urgent", priority=1)
    assert handled == [0, 1, "wait"]
    handled.clear()
    lives.append(2)

    async with bank(disk) as system:
        await system.drain()

    assert handled == [0, 1, "wait", "urgent"]


# Actors ----------------------------------------------------------------------------------


async def test_a_cut_in_the_middle_of_a_turn_has_nothing_of_it(autojump_clock: MockClock) -> None:
    begun: list[int] = []

    class Counter(Actor):
        count: int = 0

        async def receive(self, message: Any, ctx: Turn) -> Any:
            if message == "wind up":
                ctx.timers.start("tick", 5, "tick")
            elif message == "work":
                begun.append(self.count)
                self.count += 1
                if len(begun) == 1:
                    await trio.sleep_forever()
            return self.count

    disk = MemoryDisk()
    async with killed(disk) as system:
        counter = await system.spawn(Counter(), name="counter", durable=True)
        await counter.tell("wind up")
        await counter.tell("work")
        await trio.sleep(10)  # The timer has rung, which a cut has to say.

    async with bank(disk) as system:
        assert await system.ref(Counter, "counter").ask("count") == 1
    assert begun == [0, 0]


async def test_a_timer_that_rings_again_and_again_goes_on_doing_so(
    autojump_clock: MockClock,
) -> None:
    rung: list[float] = []

    class Clock(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            if message == "wind up":
                ctx.timers.start("tick", 10, "tick", every=10)
            else:
                rung.append(trio.current_time())

    disk = MemoryDisk()
    async with killed(disk) as system:
        clock = await system.spawn(Clock(), name="clock", durable=True)
        await clock.tell("wind up")
        await trio.sleep(14)
    assert len(rung) == 1
    began = trio.current_time()

    async with bank(disk) as system:
        await trio.sleep(30)

    assert [round(when - began) for when in rung[1:]] == [6, 16, 26]
