"""Timers: messages to oneself at later times."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, Deadline, Turn
from actorflow.runtime.timers import SWEEP_FROM
from tests.runtime.actors import Crash, Does, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


class Clockwork(Actor):
    """Does with its timers what a message says, and notes ticks with their time."""

    notes: list[tuple[float, Any]]
    began: float = 0.0

    async def on_start(self, ctx: Turn) -> None:
        self.began = trio.current_time()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if isinstance(message, tuple):
            verb, *args = message
            options = args.pop() if args and isinstance(args[-1], dict) else {}
            answer = getattr(ctx.timers, verb)(*args, **options)
            if options.get("fail") or args[-1] == "fail":
                raise OSError
            return answer
        if message == "crash":
            raise Crash
        if message == "busy":
            await trio.sleep(9.5)
        self.notes.append((trio.current_time() - self.began, message))


async def test_a_timer_ticks_once_after_its_delay() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.ask(("start", "key", 3, "tick"))
        assert await ref.ask(("active", "key")) is True
        await trio.sleep(100)
        assert await ref.ask(("active", "key")) is False

    assert notes == [(3, "tick")]


async def test_a_timer_with_every_ticks_at_a_fixed_rate() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.ask(("start", "key", 1, "tick", {"every": 2}))
        await trio.sleep(8)

    assert notes == [(1, "tick"), (3, "tick"), (5, "tick"), (7, "tick")]


async def test_ticks_that_come_while_one_waits_are_left_out() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.ask(("start", "key", 1, "tick", {"every": 1}))
        await ref.tell("busy")
        await trio.sleep(11.5)
        assert system.stats()["timer_ticks_left_out"] == 8
        await ref.ask(("cancel", "key"))

    assert notes == [(9.5, "busy"), (9.5, "tick"), (10, "tick"), (11, "tick")]


async def test_starting_a_timer_of_the_same_key_replaces_it() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.ask(("start", "key", 1, "old"))
        await ref.ask(("start", "key", 2, "new"))
        await trio.sleep(5)

    assert notes == [(2, "new")]


async def test_a_cancelled_timer_ticks_no_more() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.ask(("start", "key", 1, "tick", {"every": 1}))
        await trio.sleep(2.5)
        await ref.ask(("cancel", "key"))
        await ref.ask(("cancel", "unknown"))
        await trio.sleep(5)

    assert notes == [(1, "tick"), (2, "tick")]


async def test_cancelling_a_timer_takes_back_a_tick_that_nobody_has_handled() -> None:
    notes: list[Any] = []

    async def late(message: Any, ctx: Turn) -> None:
        notes.append(message)
        if message == "start":
            ctx.timers.start("key", 1, "tick")
        elif message == "cancel":
            await trio.sleep(5)  # Meanwhile the timer ticks.
            ctx.timers.cancel("key")

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=late))
        await ref.tell("start")
        await ref.tell("cancel")
        await ref.tell("mail")

    assert notes == ["start", "cancel", "mail"]
    mailbox = ref.cell.mailbox
    assert mailbox.accepted == mailbox.acked == 4


async def test_a_tick_that_was_rejected_does_not_stop_the_timer() -> None:
    notes: list[float] = []

    async def tick(message: Any, ctx: Turn) -> None:
        if message == "start":
            ctx.timers.start("key", 1, "tick", every=1)
        elif message == "stop":
            ctx.timers.cancel("key")
        elif message == "busy":
            await trio.sleep(5.5)
        else:
            notes.append(trio.current_time() - began)

    async with ActorSystem("s") as system:
        began = trio.current_time()
        ref = await system.spawn(Does(do=tick), policies=[Deadline(2)])
        await ref.ask("start")
        await ref.tell("busy")
        await trio.sleep(7.5)
        await ref.tell("stop")

    assert notes == [6, 7]
    assert letters(system) == [("tick", "expired", 0)]


async def test_a_failed_turn_starts_and_cancels_no_timer() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.tell(("start", "new", 1, "fail"))
        await ref.ask(("start", "old", 2, "tick"))

        await trio.sleep(5)

    assert notes == [(2, "tick")]


async def test_timers_go_on_over_a_restart() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes))
        await ref.ask(("start", "key", 1, "tick", {"every": 1}))
        await ref.tell("crash")
        await trio.sleep(2.5)

    assert [message for _, message in notes] == ["tick", "tick"]


async def test_timers_end_with_the_actor() -> None:
    async with ActorSystem("s") as system:

        async def start_and_stop(message: Any, ctx: Turn) -> None:
            ctx.timers.start("key", 1, "tick", every=1)
            ctx.stop()

        ref = await system.spawn(Does(do=start_and_stop))
        await ref.tell("go")
        await trio.sleep(10)

        assert len(ref.cell.kernel.heap) == 0
    assert system.dead_letters() == ()


async def test_active_counts_what_the_turn_itself_has_asked_for() -> None:
    seen: list[bool] = []

    async def look(message: Any, ctx: Turn) -> None:
        timers = ctx.timers
        seen.append(timers.active("key"))
        timers.start("key", 1, "tick")
        seen.append(timers.active("key"))
        timers.cancel("key")
        seen.append(timers.active("key"))

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=look))
        await ref.ask("go")

    assert seen == [False, True, False]


async def test_a_tick_and_a_down_know_no_deadline_policy_of_before_they_came() -> None:
    notes: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Clockwork(notes=notes), policies=[Deadline(2)])
        await trio.sleep(100)
        await ref.ask(("start", "key", 3, "tick"))
        await trio.sleep(10)

    assert [message for _, message in notes] == ["tick"]
    assert system.dead_letters() == ()


async def test_a_tick_that_waits_is_taken_back_however_many_timers_there_are() -> None:
    ticks: list[Any] = []

    async def work(message: Any, ctx: Turn) -> None:
        if message == "start":
            for key in range(SWEEP_FROM):
                ctx.timers.start(key, 1, key)
        elif message == "cancel":
            await trio.sleep(5)  # By now all of them wait.
            ctx.timers.start("other", 1, "other")
            for key in range(1, SWEEP_FROM):
                ctx.timers.cancel(key)
        else:
            ticks.append(message)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=work))
        await ref.ask("start")
        await ref.tell("cancel")
        await trio.sleep(10)

    assert ticks == [0, "other"]
