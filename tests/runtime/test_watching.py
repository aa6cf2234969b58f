"""Watching: one `Down` when an actor has ended for good."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Actor, ActorRef, ActorSystem, Down, Turn
from tests.runtime.actors import Crash, Does

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


class Watcher(Actor):
    downs: list[Down]

    async def receive(self, message: Any, ctx: Turn) -> None:
        match message:
            case Down():
                self.downs.append(message)
            case ("watch", ref):
                ctx.watch(ref)
            case ("unwatch", ref):
                ctx.unwatch(ref)
            case "crash":
                raise Crash
            case "busy":
                await trio.sleep(5)


async def stop_or_crash(message: Any, ctx: Turn) -> None:
    if message == "stop":
        ctx.stop()
    elif isinstance(message, BaseException):
        raise message


async def watching(
    system: ActorSystem, **options: Any
) -> tuple[ActorRef[Any], ActorRef[Any], list[Down]]:
    downs: list[Down] = []
    watcher = await system.spawn(Watcher(downs=downs), name="watcher")
    target = await system.spawn(Does(do=stop_or_crash), name="target", **options)
    await watcher.ask(("watch", target))
    return watcher, target, downs


async def test_a_watcher_is_told_once_when_the_actor_has_ended() -> None:
    async with ActorSystem("s") as system:
        _, target, downs = await watching(system)
        await target.tell("stop")
        await target.stopped()

    assert downs == [Down(target, "normal", 1)]


async def test_a_restart_is_no_down_and_the_last_crash_is_its_reason() -> None:
    first, second = Crash(1), Crash(2)

    async with ActorSystem("s") as system:
        _, target, downs = await watching(system, max_restarts=1)
        await target.tell(first)
        await wait_all_tasks_blocked()
        assert downs == []
        await target.tell(second)
        await target.stopped()

    (down,) = downs
    assert isinstance(down.reason, BaseException)
    assert down.reason.__cause__ is second
    assert down.incarnation == 2


async def test_watching_one_that_is_gone_gives_its_down_at_once() -> None:
    async with ActorSystem("s") as system:
        watcher, target, downs = await watching(system)
        await target.tell("stop")
        await target.stopped()
        await wait_all_tasks_blocked()
        downs.clear()

        await watcher.ask(("watch", target))
        await wait_all_tasks_blocked()

        assert downs == [Down(target, "normal", 1)]


async def test_watching_twice_gives_one_down() -> None:
    async with ActorSystem("s") as system:
        watcher, target, downs = await watching(system)
        await watcher.ask(("watch", target))
        await target.tell("stop")
        await target.stopped()

    assert len(downs) == 1


async def test_a_watch_survives_the_restart_of_the_watcher() -> None:
    async with ActorSystem("s") as system:
        watcher, target, downs = await watching(system)
        await watcher.tell("crash")
        await wait_all_tasks_blocked()
        await target.tell("stop")
        await target.stopped()

    assert len(downs) == 1


async def test_after_unwatch_there_is_no_down() -> None:
    async with ActorSystem("s") as system:
        watcher, target, downs = await watching(system)
        await watcher.ask(("unwatch", target))
        await target.tell("stop")
        await target.stopped()

    assert downs == []


async def test_unwatch_takes_back_a_down_that_waits_in_the_mailbox() -> None:
    async with ActorSystem("s") as system:
        downs: list[Down] = []
        ended = trio.Event()

        async def watch(message: Any, ctx: Turn) -> None:
            match message:
                case Down():
                    downs.append(message)
                case "watch":
                    ctx.watch(target)
                case "unwatch":
                    await ended.wait()
                    ctx.unwatch(target)

        watcher = await system.spawn(Does(do=watch))
        target = await system.spawn(Does(do=stop_or_crash))
        await watcher.tell("watch")
        await watcher.tell("unwatch")
        await wait_all_tasks_blocked()
        await target.tell("stop")
        await target.stopped()
        ended.set()

    assert downs == []
    mailbox = watcher.cell.mailbox
    assert mailbox.accepted == mailbox.acked == 3


async def test_a_down_comes_before_users_mail() -> None:
    order: list[Any] = []

    async with ActorSystem("s") as system:

        async def watch(message: Any, ctx: Turn) -> None:
            if message == "watch":
                ctx.watch(target)
            elif message == "busy":
                await trio.sleep(5)
            else:
                order.append(message)

        target = await system.spawn(Does(do=stop_or_crash))
        watcher = await system.spawn(Does(do=watch))
        for message in ("watch", "busy", "mail"):
            await watcher.tell(message)
        await target.tell("stop")
        await target.stopped()

    assert order == [Down(target, "normal", 1), "mail"]


async def test_a_down_is_not_dropped_by_a_full_mailbox() -> None:
    async with ActorSystem("s") as system:
        downs: list[Down] = []
        watcher = await system.spawn(Watcher(downs=downs), capacity=1, overflow="drop_old")
        target = await system.spawn(Does(do=stop_or_crash))
        await watcher.ask(("watch", target))
        await watcher.tell("busy")
        await wait_all_tasks_blocked()
        await target.tell("stop")
        await target.stopped()
        for number in range(5):
            await watcher.tell(number)

    assert len(downs) == 1


async def test_a_failed_turn_watches_nobody() -> None:
    async with ActorSystem("s") as system:
        seen: list[Any] = []

        async def watch(message: Any, ctx: Turn) -> None:
            seen.append(message)
            if message == "watch":
                ctx.watch(target)
                raise OSError

        target = await system.spawn(Does(do=stop_or_crash))
        watcher = await system.spawn(Does(do=watch))
        await watcher.tell("watch")
        await wait_all_tasks_blocked()
        await target.tell("stop")
        await target.stopped()

    assert seen == ["watch"]
