"""What waits in mailboxes: what is found, and what is said of what is not."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorSystem,
    Batch,
    ConfigurationError,
    Fixed,
    NotRunningError,
    Pipeline,
    Retry,
    Turn,
    actor,
    stage,
)
from actorflow.testing import Simulation, World, assert_enqueued, drain, simulate
from tests.runtime.actors import Hangs, Holds

pytestmark = pytest.mark.usefixtures("autojump_clock")


@actor("tests.enqueued.till")
class Till(Actor):
    """Counts what it is told, late, at the second attempt or never, as that says."""

    had: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> None:
        if message == "later" and "later" not in self.had:
            ctx.tell(ctx.self, "late", delay=60)
        if message == "again" and ctx.attempt == 1:
            raise OSError
        if message == "aside" and "open" not in self.had:
            ctx.stash()
            return
        if message == "open":
            ctx.unstash_all()
        self.had = (*self.had, message)


async def till(system: ActorSystem, **given: Any) -> ActorRef[Any]:
    retry = Retry(2, backoff=Fixed(60))
    return await system.spawn(Till(), name="till", policies=[retry], **given)


async def test_it_finds_what_waits_in_a_mailbox_but_not_what_is_handled() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Holds(gate=(gate := trio.Event())), name="slow")
        for message in ("first", "second", 3):
            await ref.tell(message)
        await wait_all_tasks_blocked()

        assert assert_enqueued(system, ref) == ["second", 3]
        assert assert_enqueued(system, "slow", int, count=1) == [3]
        assert assert_enqueued(system, "/s/slow", "second") == ["second"]
        assert assert_enqueued(system, ref, "first", count=0) == []
        gate.set()
        await drain(system)
        assert assert_enqueued(system, ref, count=0) == []


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "durable"])
def test_it_finds_what_waits_for_time_or_for_the_actor(kept: bool) -> None:
    async def main(world: World) -> None:
        store = world.store if kept else None
        async with ActorSystem("s", store=store) as system:
            ref = await till(system, durable=kept)
            for message in ("later", "again", "aside"):
                await ref.tell(message)
            await trio.sleep(30)

            assert set(assert_enqueued(system, ref)) == {"late", "again", "aside"}
            with pytest.raises(AssertionError, match=r"/s: 3 messages wait, or are handled, after"):
                await drain(system)
            await ref.tell("open")
            await drain(system, timeout=100)
            assert world.clock.time() > 0
            assert_enqueued(system, ref, count=0)

    done: Simulation[None] = simulate(main)
    assert 60 <= done.virtual_seconds < 100


async def test_it_finds_items_at_their_stage_and_in_a_batch() -> None:
    gate = trio.Event()

    async def price(value: int) -> int:
        await gate.wait()
        return value

    async def send(values: list[int]) -> list[int]:
        return values

    flow = Pipeline([price, stage(send, batch=Batch(4, seconds=60))])
    async with flow.open() as run:
        await run.feed([1, 2, 3])
        await wait_all_tasks_blocked()
        assert assert_enqueued(run, "price") == [2, 3]
        assert_enqueued(run, "send", count=0)
        gate.set()
        await wait_all_tasks_blocked()
        assert assert_enqueued(run, "send", int, count=3) == [1, 2, 3]


async def test_it_says_what_waits_instead() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Hangs, name="busy")
        with pytest.raises(AssertionError) as caught:
            assert_enqueued(system, ref, "tea")
        assert str(caught.value) == (
            "/s/busy: expected 'tea' to wait, found 0; nothing waits there"
        )
        for number in range(8):
            await ref.tell(number)
        await wait_all_tasks_blocked()
        with pytest.raises(AssertionError) as caught:
            assert_enqueued(system, ref, str, count=2)
        assert str(caught.value) == (
            "/s/busy: expected a str to wait (count=2), found 0; what waits there: 1, 2, 3, 4, 5 "
            "and 2 more"
        )
        with pytest.raises(
            AssertionError, match=r"expected a message to wait \(count=1\), found 7"
        ):
            assert_enqueued(system, ref, count=1)
        await system.stop()


async def test_what_is_no_such_place_is_refused() -> None:
    system = ActorSystem("s")
    with pytest.raises(NotRunningError):
        assert_enqueued(system, "a")
    with pytest.raises(NotRunningError):
        await drain(system)
    async with system:
        with pytest.raises(ConfigurationError, match="living actor of 's', got 'nobody'"):
            assert_enqueued(system, "nobody")
        with pytest.raises(ConfigurationError, match="living actor of 's', got None"):
            assert_enqueued(system, None)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="count must be a whole number, 0 or more"):
            assert_enqueued(system, "nobody", count=-1)
        with pytest.raises(ConfigurationError, match="drain\\(\\) timeout must be"):
            await drain(system, timeout=-1)
    async with Pipeline([stage(_same, name="one")]).open() as run:
        with pytest.raises(ConfigurationError, match="name of a stage, one of 'one', got 'two'"):
            assert_enqueued(run, "two")
        with pytest.raises(ConfigurationError, match=r"await run.finish\(\)"):
            await drain(run)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="house must be an ActorSystem"):
        assert_enqueued(None, "a")  # type: ignore[arg-type]


async def _same(value: int) -> int:
    return value
