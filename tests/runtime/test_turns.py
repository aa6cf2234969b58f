"""A turn happens as a whole or not at all: fields, outbox, message, and the `Turn` itself."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorSystem,
    DeadLetter,
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
