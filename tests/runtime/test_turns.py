"""A turn happens as a whole or not at all: fields, outbox, stash, timers, watches, children."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorRef,
    ActorSystem,
    DeadLetter,
    Deadline,
    Down,
    Fixed,
    OutboxFull,
    Retry,
    Turn,
    TurnEnded,
    UsageError,
    current_turn,
)
from tests.runtime.actors import Crash, Does, Keeps, letter, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")

AGAIN = Retry(3, backoff=Fixed(0), position="head")


class Account(Actor):
    balance: int = 0
    log: tuple[int, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "read":
            return self.balance, self.log
        self.balance += message
        self.log = (*self.log, message)
        self.unannotated = message
        if message < 0:
            await trio.lowlevel.checkpoint()
            raise ValueError(message) if message > -100 else Crash(message)
        return self.balance


async def test_a_failed_turn_puts_the_fields_back() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Account(balance=10))
        await ref.tell(5)
        await ref.tell(-3)

        assert await ref.ask("read") == (15, (5,))
        assert ref.cell.instance.unannotated == 5


async def test_a_crashed_turn_puts_the_fields_back_to_those_of_the_start() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Account(balance=10))
        await ref.tell(5)
        await ref.tell(-100)

        assert await ref.ask("read") == (10, ())


async def test_on_stop_after_a_crash_sees_the_fields_of_the_last_good_turn() -> None:
    seen: list[int] = []

    class Careful(Account):
        async def on_stop(self, ctx: Turn) -> None:
            seen.append(self.balance)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Careful(balance=10), restart="temporary")
        await ref.tell(5)
        await ref.tell(-100)

    assert seen == [15]


@pytest.mark.parametrize("error", [ValueError, Crash])
async def test_what_a_failed_turn_sent_never_leaves(error: type[BaseException]) -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:
        target = await system.spawn(keeps)

        async def send(message: Any, ctx: Turn) -> None:
            ctx.tell(target, f"ctx {ctx.attempt}")
            await target.tell(f"ref {ctx.attempt}")
            target.tell_nowait(f"nowait {ctx.attempt}")
            ctx.tell(target, f"later {ctx.attempt}", delay=5)
            if ctx.attempt == 1:
                raise error

        ref = await system.spawn(Does(do=send), policies=[AGAIN])
        await ref.tell("go")

    assert keeps.kept == ["ctx 2", "ref 2", "nowait 2", "later 2"]


async def test_what_a_turn_sends_leaves_only_when_it_commits() -> None:
    keeps, gate = Keeps(), trio.Event()

    async with ActorSystem("s") as system:
        target = await system.spawn(keeps)

        async def send(message: Any, ctx: Turn) -> None:
            await target.tell("sent")
            await gate.wait()

        ref = await system.spawn(Does(do=send))
        await ref.tell("go")
        await wait_all_tasks_blocked()
        assert keeps.kept == []

        gate.set()
        await wait_all_tasks_blocked()
        assert keeps.kept == ["sent"]


async def test_a_delayed_message_arrives_that_long_after_the_commit() -> None:
    arrived: list[float] = []

    async with ActorSystem("s") as system:

        async def note(message: Any, ctx: Turn) -> None:
            if message == "go":
                await trio.sleep(2)
                ctx.tell(ctx.self, "later", delay=3)
            else:
                arrived.append(trio.current_time())

        ref = await system.spawn(Does(do=note))
        began = trio.current_time()
        await ref.tell("go")

    assert arrived == [began + 5]


async def test_a_delayed_message_that_has_not_left_when_the_system_stops_is_a_dead_letter() -> None:
    async with ActorSystem("s") as system:
        target = await system.spawn(Keeps, name="target")

        async def send(message: Any, ctx: Turn) -> None:
            ctx.tell(target, "later", delay=1000)

        ref = await system.spawn(Does(do=send))
        await ref.tell("go")
        await wait_all_tasks_blocked()
        await system.stop()

    assert letters(system) == [("later", "stopped", 0)]
    assert letter(system).stage_or_actor == "/s/target"
    assert system.stats()["held"] == 0


async def test_a_turn_may_send_10_000_messages_and_not_one_more() -> None:
    async with ActorSystem("s") as system:
        target = await system.spawn(Keeps, name="target")

        async def send(message: int, ctx: Turn) -> None:
            for number in range(message):
                ctx.tell(target, number)

        ref = await system.spawn(Does(do=send), name="sender")
        await ref.tell(10_001)
        await ref.ask(10_000)

        assert target.cell.mailbox.accepted == 10_000
    assert isinstance(letter(system).error, OutboxFull)
    assert str(letter(system).error).startswith("/s/sender: one turn may send 10000 messages;")


async def test_sends_to_an_actor_that_has_ended_become_dead_letters() -> None:
    async with ActorSystem("s") as system:

        async def act(message: Any, ctx: Turn) -> None:
            if message == "stop":
                ctx.stop()
            else:
                ctx.tell(message, "too late")

        gone = await system.spawn(Does(do=act), name="gone")
        await gone.tell("stop")
        await gone.stopped()
        ref = await system.spawn(Does(do=act))
        await ref.ask(gone)

    assert letters(system) == [("too late", "stopped", 0)]


# The body ----------------------------------------------------------------------------------


async def test_a_handler_that_changes_its_message_spoils_neither_retry_nor_dead_letter() -> None:
    seen: list[dict[str, Any]] = []

    async def spoil(message: dict[str, Any], ctx: Turn) -> None:
        seen.append({**message, "items": list(message["items"])})
        message["items"].append(ctx.attempt)
        message["spoiled"] = True
        raise OSError

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=spoil), policies=[AGAIN])
        await ref.tell({"items": [0]})

    assert seen == [{"items": [0]}] * 3
    assert letters(system) == [({"items": [0]}, "failed", 3)]


async def test_a_handler_ended_by_the_runtime_does_not_spoil_the_message_either() -> None:
    seen: list[dict[str, Any]] = []

    async def spoil(message: dict[str, Any], ctx: Turn) -> None:
        seen.append(dict(message))
        message["spoiled"] = True
        await trio.sleep_forever()

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=spoil), policies=[AGAIN])
        await ref.tell({"a": 1})
        await wait_all_tasks_blocked()
        system.cancel()

    assert letters(system) == [({"a": 1}, "stopped", 0)]


# Isolation ---------------------------------------------------------------------------------


class Basket(Actor):
    items: list[Any] = attrs.Factory(list)

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "read":
            return list(self.items)
        self.items.append(message)
        if message == "bad":
            raise OSError
        if message == "crash":
            raise Crash


async def test_isolation_copy_puts_back_what_was_changed_in_place() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Basket, isolation="copy")
        for message in ("good", "bad"):
            await ref.tell(message)

        assert await ref.ask("read") == ["good"]


@pytest.mark.parametrize("start", [Basket(items=["first"]), lambda: Basket(items=["first"])])
async def test_isolation_copy_starts_each_incarnation_with_fields_nobody_has_changed(
    start: Any,
) -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(start, isolation="copy")
        for message in ("good", "crash"):
            await ref.tell(message)

        assert await ref.ask("read") == ["first"]


async def test_isolation_copy_with_a_field_that_cannot_be_copied_is_refused_at_spawn() -> None:
    async with ActorSystem("s") as system:
        with pytest.raises(TypeError, match="cannot pickle"):
            await system.spawn(Basket(items=[(i for i in "generator")]), isolation="copy")


# Stash -------------------------------------------------------------------------------------


class Opens(Actor):
    """Stashes until it is opened."""

    kept: list[Any]
    open: bool = False

    async def receive(self, message: Any, ctx: Turn) -> None:
        if message == "crash":
            raise Crash
        if message == "fail":
            ctx.unstash_all()
            raise OSError
        if message == "open":
            self.open = True
            ctx.unstash_all()
        elif self.open:
            self.kept.append(message)
        else:
            ctx.stash()


async def test_unstashed_messages_come_first_and_in_their_order() -> None:
    kept: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Opens(kept=kept))
        for message in (1, 2, 3, "open", 4):
            await ref.tell(message)

    assert kept == [1, 2, 3, 4]
    assert system.dead_letters() == ()


async def test_a_failed_turn_unstashes_nothing() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Opens(kept=[]))
        for message in (1, 2, "fail"):
            await ref.tell(message)
        await wait_all_tasks_blocked()

        assert [each.body for each in ref.cell.stash or ()] == [1, 2]
        assert system.stats()["held"] == 2


async def test_the_stash_survives_a_restart_and_comes_back_in_front() -> None:
    kept: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Opens(kept=kept))
        for message in (1, 2, "crash", 3, "open", 4):
            await ref.tell(message)

    assert kept == [1, 2, 3, 4]


async def test_a_stash_left_at_the_end_becomes_dead_letters_in_order() -> None:
    async with ActorSystem("s") as system:
        ref = await system.spawn(Opens(kept=[]))
        for message in (1, 2, 3):
            await ref.tell(message)
        await wait_all_tasks_blocked()
        await system.stop()

    assert letters(system) == [(1, "stopped", 1), (2, "stopped", 1), (3, "stopped", 1)]


async def test_a_stash_that_is_full_fails_the_message_and_cannot_shut_the_mailbox() -> None:
    kept: list[Any] = []

    async with ActorSystem("s") as system:
        ref = await system.spawn(Opens(kept=kept), name="opens", capacity=1)
        for number in range(100):
            await ref.tell(number)
        await ref.tell("open")

    lost = [each.body for each in system.dead_letters()]
    assert kept + lost == list(range(100))
    assert len(kept) >= 16
    assert {each.reason for each in system.dead_letters()} == {"failed"}
    assert str(system.dead_letters()[0].error) == (
        "/s/opens: 63 messages are held back, and no more may be; unstash_all() earlier, "
        "or raise `capacity`"
    )


async def test_a_stashed_message_keeps_its_attempts() -> None:
    attempts: list[int] = []

    async with ActorSystem("s") as system:

        async def stash_first(message: Any, ctx: Turn) -> None:
            if message == "unstash":
                ctx.unstash_all()
                return
            attempts.append(ctx.attempt)
            if ctx.attempt < 3:
                ctx.stash()

        ref = await system.spawn(Does(do=stash_first))
        for message in ("stashed", "unstash", "unstash"):
            await ref.tell(message)

    assert attempts == [1, 2, 3]


# Timers ------------------------------------------------------------------------------------


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


# Watching ----------------------------------------------------------------------------------


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


# Ending ------------------------------------------------------------------------------------


async def test_stop_ends_the_actor_after_the_turn_and_its_mail_becomes_dead_letters() -> None:
    keeps = Keeps()

    async with ActorSystem("s") as system:
        target = await system.spawn(keeps)

        async def stop(message: Any, ctx: Turn) -> str:
            ctx.stop()
            await target.tell("last words")
            return "bye"

        ref = await system.spawn(Does(do=stop))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.tell, "first")
            nursery.start_soon(ref.tell, "second")
        await ref.stopped()

    assert keeps.kept == ["last words"]
    assert [(reason, attempts) for _, reason, attempts in letters(system)] == [("stopped", 0)]


async def test_a_failed_turn_does_not_stop_the_actor() -> None:
    async def stop(message: Any, ctx: Turn) -> Any:
        if message == "stop":
            ctx.stop()
            raise OSError
        return message

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=stop))
        await ref.tell("stop")

        assert await ref.ask("alive") == "alive"


# The Turn itself ---------------------------------------------------------------------------


async def test_a_turn_ends_with_its_turn() -> None:
    kept: list[Turn] = []

    async def keep(message: Any, ctx: Turn) -> None:
        kept.append(ctx)
        if message == "touch":
            ctx.tell(ctx.self, "nothing")
        elif message == "fail":
            raise OSError
        elif message == "wait":
            await trio.sleep(1)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=keep))
        for message in ("plain", "touch", "fail", "wait"):
            await ref.tell(message)
            await trio.sleep(2)

        for turn in kept:
            with pytest.raises(TurnEnded):
                turn.tell(ref, "late")
            with pytest.raises(TurnEnded):
                await turn.ask(ref, "late")
            with pytest.raises(TurnEnded):
                turn.spawn(Keeps)
            with pytest.raises(TurnEnded):
                turn.reply("late")
            with pytest.raises(TurnEnded):
                _ = turn.timers
            assert turn.cancelled()
    assert len(kept) == 5


async def test_current_turn_is_that_of_the_handler_in_deep_code_and_in_its_child_tasks() -> None:
    turns: list[Turn] = []

    async def deep() -> None:
        await trio.lowlevel.checkpoint()
        turns.append(current_turn())

    async def handle(message: Any, ctx: Turn) -> None:
        turns.append(ctx)
        await deep()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deep)
            async with trio.open_nursery() as inner:
                inner.start_soon(deep)

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=handle))
        await ref.ask("go")

    assert len(turns) == 4
    assert len(set(map(id, turns))) == 1


async def test_outside_a_handler_there_is_no_current_turn() -> None:
    with pytest.raises(UsageError) as caught:
        current_turn()

    assert str(caught.value) == (
        "current_turn() is for code that a handler runs; there is no turn here"
    )


async def test_a_task_leaked_into_a_nursery_outside_belongs_to_no_turn() -> None:
    found: list[Any] = []
    keeps = Keeps()

    async with ActorSystem("s") as system, trio.open_nursery() as outside:
        target = await system.spawn(keeps)

        async def leaked() -> None:
            try:
                found.append(current_turn())
            except UsageError:
                found.append(None)
            await target.tell("from outside")
            await wait_all_tasks_blocked()
            found.extend(keeps.kept)

        async def leak(message: Any, ctx: Turn) -> None:
            outside.start_soon(leaked)
            await trio.sleep(10)
            raise OSError

        ref = await system.spawn(Does(do=leak))
        await ref.tell("go")
        await trio.sleep(1)

    assert found == [None, "from outside"]


async def test_the_facts_of_a_message_are_the_same_on_every_attempt() -> None:
    facts: list[Any] = []

    async def note(message: Any, ctx: Turn) -> None:
        facts.append((ctx.message_id, ctx.idempotency_key("charge"), dict(ctx.headers)))
        raise OSError

    async with ActorSystem("shop") as system:
        ref = await system.spawn(Does(do=note), name="till", policies=[AGAIN])
        await ref.tell("pay", headers={"user": 7})

    assert facts == [("1", "shop:1:/shop/till:charge", {"user": 7})] * 3


async def test_headers_are_read_only() -> None:
    async def spoil(message: Any, ctx: Turn) -> None:
        ctx.headers["user"] = 8  # type: ignore[index]

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=spoil))
        await ref.tell("go", headers={"user": 7})

    only: DeadLetter = letter(system)
    assert isinstance(only.error, TypeError)
