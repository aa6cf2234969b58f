"""Nobody is kept from the loop: not by a busy actor, not by many messages, not by idle ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import ActorSystem, RateLimit, Turn
from actorflow.runtime.burst import TURNS_PER_SLICE
from tests.runtime.actors import Does, Keeps

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


async def test_an_actor_that_tells_itself_without_end_leaves_others_their_turns() -> None:
    async with ActorSystem("s") as system:
        turns = [0]

        async def again(message: Any, ctx: Turn) -> None:
            turns[0] += 1
            if not stopped:
                ctx.tell(ctx.self, message)

        stopped: list[bool] = []
        busy = await system.spawn(Does(do=again))
        await busy.tell("go")
        seen = []
        for _ in range(20):
            await trio.lowlevel.checkpoint()
            seen.append(turns[0])
        stopped.append(True)

    steps = [after - before for before, after in pairwise(seen)]
    assert max(steps) <= 3 * TURNS_PER_SLICE
    assert seen[-1] > 0


async def test_a_full_mailbox_is_worked_off_in_slices() -> None:
    async with ActorSystem("s") as system:
        actor = Keeps()
        ref = await system.spawn(actor, capacity=1000)
        for number in range(1000):
            ref.tell_nowait(number)
        seen: set[int] = set()
        while len(actor.kept) < 1000:
            seen.add(len(actor.kept))
            await trio.lowlevel.checkpoint()

    assert len(seen) >= 1000 // (3 * TURNS_PER_SLICE)
    assert actor.kept == list(range(1000))


async def test_rejected_and_expired_messages_leave_others_their_turns() -> None:
    async with ActorSystem("s") as system:
        gate = trio.Event()

        async def wait(message: Any, ctx: Turn) -> None:
            await gate.wait()

        ref = await system.spawn(Does(do=wait), capacity=1000)
        await ref.tell("first")
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(TimeoutError):
                    await ref.ask("late", timeout=1)

            for _ in range(500):
                nursery.start_soon(ask)
        gate.set()
        seen: set[int] = set()
        while len(system.dead_letters()) < 500:
            seen.add(len(system.dead_letters()))
            await trio.lowlevel.checkpoint()

    assert len(seen) >= 3


async def test_idle_actors_and_closed_gates_take_no_steps() -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    async with ActorSystem("s") as system:
        for _ in range(100):
            await system.spawn(Keeps)
        gated = await system.spawn(Keeps, policies=[RateLimit(1, per=10_000)])
        for number in range(3):
            await gated.tell(number)
        await wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        for _ in range(50):
            await trio.sleep(100)
        trio.lowlevel.remove_instrument(steps)
        await system.stop()

    assert steps.count <= 2 * 50
