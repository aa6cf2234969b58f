"""Threads that outlive the incarnation that began them. In real time: a thread knows no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorSystem,
    ChildSpec,
    Fixed,
    Retry,
    Supervisor,
    Timeout,
    Turn,
)
from actorflow.runtime import offload
from tests.runtime.actors import Crash, Does, letters


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets the threads of a test end; they do at its end at the latest."""
    event = threading.Event()
    yield event
    event.set()


async def until(condition: Any) -> None:
    """Wait for what a thread does."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)


class Threads(Actor):
    """Handles each message in a thread, which waits for *release*."""

    release: threading.Event
    running: list[Any]
    begun: list[Any]

    async def receive(self, message: Any, ctx: Turn) -> Any:
        return await ctx.to_thread(self.work, message)

    def work(self, message: Any) -> Any:
        self.running.append(message)
        self.begun.append(message)
        self.release.wait(10)
        self.running.remove(message)
        return message


async def crash(message: Any, ctx: Turn) -> None:
    raise Crash


async def test_a_message_is_not_handled_again_while_a_thread_of_a_killed_incarnation_runs(
    release: threading.Event,
) -> None:
    running: list[Any] = []
    begun: list[Any] = []
    actor = Threads(release=release, running=running, begun=begun)
    children = [ChildSpec("a", Does(do=crash)), ChildSpec("t", actor, shutdown=0.02)]

    async with ActorSystem("s") as system:
        await system.spawn(Supervisor(children, strategy="one_for_all"), name="sup")
        threads = system.ref(Threads, "sup/t")
        await threads.tell("message")
        await until(lambda: running)
        await system.ref(Does, "sup/a").tell("crash")
        await until(lambda: threads.cell.incarnation == 2)
        await until(lambda: system.stats().get("stuck_threads") == 1)
        assert begun == ["message"]

        release.set()
        assert await threads.ask("next") == "next"

    assert begun == ["message", "message", "next"]
    assert letters(system) == [("crash", "failed", 1)]
    assert system.stats()["stuck_threads"] == 0


async def test_a_thread_that_outlives_its_actor_is_left_behind_and_that_is_said(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    running: list[Any] = []
    async with ActorSystem("s") as system:
        actor = Threads(release=release, running=running, begun=[])
        ref = await system.spawn(actor, name="t", shutdown=0.02)
        await ref.tell("message")
        await until(lambda: running)
        await system.stop()

    assert running == ["message"]
    assert system.stats()["stuck_threads"] == 1
    assert "/s/t: a thread runs on after the end of its actor; it is left behind" in caplog.text
    assert letters(system) == [("message", "stopped", 0)]


async def test_a_thread_that_is_about_to_end_is_not_called_left_behind(
    release: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "GRACE_SECONDS", 60.0)
    running: list[Any] = []
    async with ActorSystem("s") as system:
        actor = Threads(release=release, running=running, begun=[])
        ref = await system.spawn(actor, name="t")
        await ref.tell("message")
        await until(lambda: running)
        system.cancel()
        release.set()

    assert "stuck_threads" not in system.stats()
    assert caplog.text == ""


async def test_a_value_that_a_thread_returns_after_its_timeout_is_discarded(
    release: threading.Event,
) -> None:
    running: list[Any] = []

    async with ActorSystem("s") as system:
        actor = Threads(release=release, running=running, begun=[])
        ref = await system.spawn(actor, policies=[Timeout(0.02), Retry(1, backoff=Fixed(0))])
        await ref.tell("message")
        await until(lambda: system.stats().get("stuck_threads") == 1)
        release.set()

    assert letters(system) == [("message", "failed", 1)]


async def test_a_turn_can_be_seen_to_be_cancelled_from_its_thread() -> None:
    seen: list[bool] = []

    async def work(message: Any, ctx: Turn) -> None:
        def look() -> None:
            seen.append(ctx.cancelled())
            while not ctx.cancelled():
                pass
            seen.append(ctx.cancelled())

        await ctx.to_thread(look)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=work), policies=[Timeout(0.02)])
        await ref.tell("message")

    assert seen == [False, True]
