"""What code in a handler's hands can do to itself, and must not do to its neighbours."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from actorflow import Actor, ActorRef, ActorSystem, ConfigurationError, Fixed, Retry, Timeout, Turn
from tests.runtime.actors import Crash, Does, Keeps, letters

ONCE_MORE = [Retry(3, backoff=Fixed(0))]


async def works(ref: ActorRef[Any]) -> bool:
    """Whether the actor still answers."""
    return bool(await ref.ask("ping", timeout=1) == "ping")


# Values of the wrong kind ---------------------------------------------------------------------


async def test_a_timer_key_that_cannot_be_hashed_fails_its_turn_and_no_other() -> None:
    async def start(message: Any, ctx: Turn) -> Any:
        if message != "ping":
            getattr(ctx.timers, message)(["key"], *([1, "tick"] if message == "start" else []))
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=start), name="a")
        for verb in ("start", "cancel"):
            await ref.tell(verb)
        assert await works(ref)

    assert [str(letter.error) for letter in system.dead_letters()] == [
        "timer key must be hashable, such as a str, got ['key']"
    ] * 2
    assert system.stats()["restarts"] == 0


@pytest.mark.parametrize("priority", ["high", float("nan"), 1.5, True])
async def test_a_priority_that_is_no_whole_number_is_refused_and_nothing_is_held(
    priority: Any,
) -> None:
    async def pass_on(message: Any, ctx: Turn) -> Any:
        if message == "bad":
            ctx.tell(ctx.self, "one", priority=5)
            ctx.tell(ctx.self, "two", priority=priority)
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=pass_on), name="a")
        with pytest.raises(ConfigurationError, match="priority must be a whole number"):
            await ref.tell("x", priority=priority)
        with pytest.raises(ConfigurationError, match="priority must be a whole number"):
            ref.tell_nowait("x", priority=priority)
        assert system.stats()["held"] == 0
        await ref.tell("bad")
        assert await works(ref)

    assert letters(system) == [("bad", "failed", 1)]


async def test_an_exception_whose_repr_fails_crashes_its_actor_and_no_other() -> None:
    class Nameless(Crash):
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        __str__ = __repr__

    async def fail(message: Any, ctx: Turn) -> Any:
        if message == "bad":
            raise Nameless
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=fail), policies=ONCE_MORE)
        await ref.tell("bad")
        assert await works(ref)

    assert letters(system) == [("bad", "failed", 3)]
    assert system.stats()["restarts"] == 3


# Scopes left open -----------------------------------------------------------------------------


async def numbers() -> AsyncIterator[int]:
    with trio.CancelScope():
        yield 1
        yield 2


@pytest.mark.parametrize("way", ["stop", "timeout"])
async def test_a_scope_that_a_handler_leaves_open_costs_its_own_actor_only(way: str) -> None:
    kept: list[Any] = []

    async def break_off(message: Any, ctx: Turn) -> Any:
        if message == "bad" and ctx.attempt == 1:
            generator = numbers()
            kept.append(generator)
            async for number in generator:
                if way == "timeout":
                    await trio.sleep_forever()
                return number
        return message

    async with ActorSystem("s") as system:
        other = await system.spawn(Keeps, name="other")
        ref = await system.spawn(
            Does(do=break_off), name="a", policies=[Timeout(0.02), *ONCE_MORE], shutdown=1
        )
        await ref.tell("bad")
        assert await works(ref)
        await other.ask("still there")

    assert letters(system) == []
    assert system.stats()["held"] == 0
    assert system.stats()["restarts"] == (way == "timeout")


# Bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [None, 0.01])
async def test_a_handler_that_changes_the_body_of_a_tick_spoils_no_other_delivery(
    every: float | None,
) -> None:
    seen: list[Any] = []

    async def count(message: Any, ctx: Turn) -> None:
        if message == "start":
            ctx.timers.start("tick", 0.01, {"n": 0}, every=every)
            return
        seen.append((message["n"], ctx.attempt))
        message["n"] += 1
        if len(seen) < 3:
            raise OSError
        ctx.timers.cancel("tick")
        done.set()

    done = trio.Event()
    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=count), policies=ONCE_MORE)
        await ref.tell("start")
        await done.wait()

    assert seen == [(0, 1), (0, 2), (0, 3)]


async def test_a_tell_in_a_turn_inherits_the_priority_of_its_message() -> None:
    order: list[Any] = []

    async def pass_on(message: Any, ctx: Turn) -> None:
        order.append(message)
        if message == "urgent":
            await ctx.self.tell("urgent too")

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=pass_on))
        for number in range(3):
            ref.tell_nowait(number)
        ref.tell_nowait("urgent", priority=1)

    assert order == ["urgent", "urgent too", 0, 1, 2]


# Fields ---------------------------------------------------------------------------------------


class Collects(Actor):
    """Changes its fields in place, and fails if told so."""

    items: list[Any] = []  # noqa: RUF012
    lock: Any = None

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "items":
            return list(self.items)
        self.items.append(message)
        if message == "fail":
            raise OSError
        return None


async def test_a_default_that_can_change_is_shared_by_no_two_actors() -> None:
    async with ActorSystem("s") as system:
        one, two = await system.spawn(Collects), await system.spawn(Collects())
        await one.ask("x")

        assert await one.ask("items") == ["x"]
        assert await two.ask("items") == []


@pytest.mark.parametrize(
    ("debug", "isolation", "left"),
    [(True, "fields", ["x", "fail"]), (False, "fields", ["x", "fail"]), (True, "copy", ["x"])],
)
async def test_debug_mode_says_which_field_a_failed_turn_has_changed_in_place(
    debug: bool, isolation: str, left: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with ActorSystem("s", debug=debug) as system:
        lock = None if isolation == "copy" else threading.Lock()  # It cannot be copied.
        ref = await system.spawn(Collects(lock=lock), name="a", isolation=isolation)
        await ref.tell("x")
        await ref.tell("fail")
        assert await ref.ask("items") == left

    told = debug and isolation == "fields"
    assert system.stats().get("changed_in_place", 0) == told
    said = "/s/a: a turn that failed changed field 'items' in place; replace its value instead"
    assert (said in caplog.text) == told


# Threads --------------------------------------------------------------------------------------


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("way", ["drain", "cancel"])
async def test_many_hung_threads_hold_an_ending_up_no_longer_than_one(
    release: threading.Event, way: str
) -> None:
    async def hang(message: Any, ctx: Turn) -> None:
        await ctx.to_thread(release.wait, 20)

    began = 0.0
    async with ActorSystem("s") as system:
        for _ in range(16):
            ref = await system.spawn(Does(do=hang))
            await ref.tell("x")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        if way == "drain":
            await system.drain(0.1)
        else:
            system.cancel()

    assert trio.current_time() - began < 1.5
    assert system.stats()["stuck_threads"] == 16


async def test_a_thread_that_a_kill_has_cut_off_is_shown_while_on_stop_still_runs(
    release: threading.Event,
) -> None:
    shown = trio.Event()

    class Threads(Actor):
        async def receive(self, message: Any, ctx: Turn) -> Any:
            return message if message == "ping" else await ctx.to_thread(release.wait, 20)

        async def on_stop(self, ctx: Turn) -> None:
            with trio.move_on_after(3, shield=True):  # So that it hangs nothing if it fails.
                await shown.wait()

    async def look() -> None:
        with trio.fail_after(5):
            while system.stats().get("stuck_threads") != 1:  # noqa: ASYNC110
                await trio.sleep(0.005)
        shown.set()

    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref = await system.spawn(Threads, shutdown=0.01)
        await ref.tell("x")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(look)
        await system.stop()
        assert shown.is_set()

    assert system.stats()["stuck_threads"] == 1
