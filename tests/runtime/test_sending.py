"""tell and tell_nowait: backpressure, overflow rules, rendezvous, priorities, cancellation."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    Fixed,
    MailboxFull,
    NotRunningError,
    RateLimit,
    Retry,
    Turn,
)
from tests.runtime.actors import Does, Holds, Keeps, balanced, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


async def held(system: ActorSystem, **options: Any) -> tuple[ActorRef[Any], Holds]:
    """An actor that holds its first message, which is leased, until its gate opens."""
    actor = Holds(gate=trio.Event())
    ref = await system.spawn(actor, name="held", **options)
    await ref.tell("leased")
    await wait_all_tasks_blocked()
    return ref, actor


# Backpressure ------------------------------------------------------------------------------


async def test_tell_waits_for_room_and_keeps_the_order_of_the_senders() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref, actor = await held(system, capacity=1)
        for number in range(4):
            nursery.start_soon(ref.tell, number)
            await wait_all_tasks_blocked()
        assert len(ref.cell.mailbox.queue) == 1

        actor.gate.set()

    assert actor.kept == ["leased", 0, 1, 2, 3]


async def test_tell_nowait_raises_when_the_mailbox_is_full() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=2)
        ref.tell_nowait(1)
        ref.tell_nowait(2)

        with pytest.raises(MailboxFull) as caught:
            ref.tell_nowait(3)

        actor.gate.set()
    assert str(caught.value) == (
        "/s/held: mailbox is full (2 of 2 messages); await tell() to wait for room, "
        "or raise `capacity`"
    )
    assert actor.kept == ["leased", 1, 2]


async def test_tell_nowait_does_not_overtake_a_tell_that_waits() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref, actor = await held(system, capacity=1)
        ref.tell_nowait(1)
        nursery.start_soon(ref.tell, 2)
        await wait_all_tasks_blocked()
        actor.gate.set()
        ref.cell.mailbox.limit += 1  # Room that nobody has been promised.

        with pytest.raises(MailboxFull):
            ref.tell_nowait(3)

    assert actor.kept == ["leased", 1, 2]


async def test_a_cancelled_tell_leaves_the_mailbox_as_it_was() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=1)
        await ref.tell("waits")

        with trio.move_on_after(5) as scope:
            await ref.tell("never")

        assert scope.cancelled_caught
        assert [each.body for each in ref.cell.mailbox.messages()] == ["waits"]
        assert not ref.cell.mailbox.writers
        assert ref.cell.mailbox.reserved == 0
        assert system.stats()["held"] == 2
        actor.gate.set()
    assert actor.kept == ["leased", "waits"]
    assert system.dead_letters() == ()


async def test_a_tell_cancelled_in_the_moment_it_is_promised_room_is_accepted() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=1)
        await ref.tell("waits")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ref.tell, "promised")
                await wait_all_tasks_blocked()
                ref.cell.mailbox.limit += 1
                ref.cell.mailbox.room_made()
                scope.cancel()

        assert [each.body for each in ref.cell.mailbox.messages()] == ["waits", "promised"]
        assert ref.cell.mailbox.reserved == 0
        actor.gate.set()


async def test_tell_raises_when_the_actor_ends_while_it_waits_for_room() -> None:
    async with ActorSystem("s") as system:
        ref, _ = await held(system, capacity=0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.stop)
            with pytest.raises(ActorStopped) as caught:
                await ref.tell("never")

    assert str(caught.value) == (
        "/s/held: the actor has stopped; spawn it again, or watch() it to know when"
    )
    assert letters(system) == [("leased", "stopped", 0)]


async def test_tell_to_an_actor_that_has_ended_raises() -> None:
    async def stop(message: Any, ctx: Turn) -> None:
        ctx.stop()

    async with ActorSystem("s") as system:
        ref = await system.spawn(Does(do=stop))
        await ref.tell("stop")
        await ref.stopped()

        with pytest.raises(ActorStopped):
            await ref.tell("late")
        with pytest.raises(ActorStopped):
            ref.tell_nowait("late")
        with pytest.raises(ActorStopped):
            await ref.ask("late")


async def test_a_draining_system_takes_nothing_from_outside() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(system.drain, 10)
            await wait_all_tasks_blocked()

            with pytest.raises(NotRunningError) as caught:
                await ref.tell("late")

            actor.gate.set()
    assert str(caught.value) == "/s/held: the system is draining and takes nothing from outside"


async def test_tell_lets_others_go_on_every_64th_time() -> None:
    async with ActorSystem("s") as system:
        actor = Keeps()
        ref = await system.spawn(actor)

        for number in range(128):
            await ref.tell(number)

        assert len(actor.kept) >= 63


# Overflow ----------------------------------------------------------------------------------


async def test_overflow_fail_makes_tell_raise() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=1, overflow="fail")
        await ref.tell(1)

        with pytest.raises(MailboxFull):
            await ref.tell(2)
        with pytest.raises(MailboxFull):
            ref.tell_nowait(2)
        with pytest.raises(MailboxFull):
            await ref.ask(2)

        actor.gate.set()
    assert actor.kept == ["leased", 1]
    assert system.dead_letters() == ()


async def test_overflow_drop_new_makes_the_new_one_a_dead_letter() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=2, overflow="drop_new")
        for number in (1, 2, 3, 4):
            await ref.tell(number)
        actor.gate.set()

    assert actor.kept == ["leased", 1, 2]
    assert letters(system) == [(3, "overflow", 0), (4, "overflow", 0)]
    assert system.stats()["overflow_drops"] == 2


async def test_overflow_drop_old_makes_the_oldest_that_waits_a_dead_letter() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=2, overflow="drop_old")
        for number in (1, 2, 3, 4):
            await ref.tell(number)
        actor.gate.set()

    assert actor.kept == ["leased", 3, 4]
    assert letters(system) == [(1, "overflow", 0), (2, "overflow", 0)]


async def test_overflow_drop_old_takes_the_oldest_whatever_its_priority() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=3, overflow="drop_old")
        await ref.tell("old", priority=1)
        await ref.tell("urgent", priority=0)
        await ref.tell("young", priority=9)
        await ref.tell("new", priority=5)
        actor.gate.set()

    assert letters(system) == [("old", "overflow", 0)]
    assert actor.kept == ["leased", "urgent", "new", "young"]


async def test_a_redelivery_that_is_dropped_takes_the_place_it_brought_with_it() -> None:
    gate = trio.Event()

    async def fail_first(message: Any, ctx: Turn) -> None:
        if message == "first" and ctx.attempt == 1:
            raise OSError
        await gate.wait()

    async with ActorSystem("s") as system:
        ref = await system.spawn(
            Does(do=fail_first), capacity=2, overflow="drop_old", policies=[Retry(backoff=Fixed(0))]
        )
        for message in ("first", "leased"):
            await ref.tell(message)
        await wait_all_tasks_blocked()
        mailbox = ref.cell.mailbox
        assert [each.body for each in mailbox.messages()] == ["first"]

        for number in range(8):
            await ref.tell(number)

        assert [each.body for each in mailbox.messages()] == [6, 7]
        assert mailbox.limit == 2
        gate.set()
    assert letters(system)[0] == ("first", "overflow", 1)
    assert balanced(mailbox)


async def test_an_ask_that_overflows_fails_at_once() -> None:
    from actorflow import AskFailed

    async with ActorSystem("s") as system:
        ref, actor = await held(system, capacity=1, overflow="drop_new")
        await ref.tell(1)

        with pytest.raises(AskFailed) as caught:
            await ref.ask(2, timeout=1000)

        assert trio.current_time() < 1
        actor.gate.set()
    assert str(caught.value) == "/s/held: the message was given up (overflow)"
    assert caught.value.reason == "overflow"


@pytest.mark.parametrize("overflow", ["block", "fail"])
async def test_an_outbox_larger_than_the_capacity_overshoots_and_is_counted(overflow: str) -> None:
    async with ActorSystem("s") as system:
        gate = trio.Event()
        actor = Holds(gate=gate)
        target = await system.spawn(actor, capacity=2, overflow=overflow)

        async def many(message: Any, ctx: Turn) -> None:
            for number in range(5):
                ctx.tell(target, number)

        sender = await system.spawn(Does(do=many))
        await sender.ask("go")
        assert system.stats()["mailbox_spilled"] == 3
        gate.set()

    assert actor.kept == [0, 1, 2, 3, 4]
    assert system.dead_letters() == ()


async def test_a_turn_that_sends_to_a_full_mailbox_that_fails_is_failed_and_its_actor_lives() -> (
    None
):
    async with ActorSystem("s") as system:
        target, actor = await held(system, capacity=1, overflow="fail")
        await target.tell(1)

        async def send(message: Any, ctx: Turn) -> str:
            if message == "send":
                ctx.tell(target, 2)
            return "alive"

        sender = await system.spawn(Does(do=send), name="sender")
        await sender.tell("send")
        assert await sender.ask("hello") == "alive"
        actor.gate.set()

    assert actor.kept == ["leased", 1]
    assert [(each.body, each.reason) for each in system.dead_letters()] == [("send", "failed")]
    assert isinstance(system.dead_letters()[0].error, MailboxFull)


async def test_a_turn_that_waits_for_two_mailboxes_holds_no_place_in_one_of_them() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        gates = [trio.Event(), trio.Event()]
        actors = [Holds(gate=gate) for gate in gates]
        targets = [await system.spawn(actor, capacity=1) for actor in actors]
        for target in targets:
            await target.tell("leased")
            await wait_all_tasks_blocked()
            await target.tell("waits")

        async def send(message: Any, ctx: Turn) -> None:
            for target in targets:
                ctx.tell(target, "from the turn")

        sender = await system.spawn(Does(do=send))
        await sender.tell("go")
        await wait_all_tasks_blocked()
        nursery.start_soon(targets[0].tell, "from outside")
        await wait_all_tasks_blocked()
        gates[0].set()
        await wait_all_tasks_blocked()

        assert actors[0].kept == ["leased", "waits", "from outside"]
        gates[1].set()
        await wait_all_tasks_blocked()
        assert actors[0].kept[3:] == actors[1].kept[2:] == ["from the turn"]


async def test_a_turn_that_waits_for_two_mailboxes_goes_ahead_after_a_second() -> None:
    async with ActorSystem("s") as system:
        actors = [Holds(gate=trio.Event()) for _ in range(2)]
        targets = [await system.spawn(actor, capacity=1) for actor in actors]
        for target in targets:
            await target.tell("leased")
            await wait_all_tasks_blocked()
            await target.tell("waits")

        async def send(message: Any, ctx: Turn) -> None:
            for target in targets:
                ctx.tell(target, "from the turn")

        sender = await system.spawn(Does(do=send))
        began = trio.current_time()
        await sender.ask("go")

        assert trio.current_time() == began + 1
        assert system.stats()["mailbox_spilled"] == 2
        for actor in actors:
            actor.gate.set()


# Rendezvous --------------------------------------------------------------------------------


async def test_a_rendezvous_takes_a_message_only_when_somebody_waits_for_it() -> None:
    async with ActorSystem("s") as system, trio.open_nursery() as nursery:
        ref, actor = await held(system, capacity=0)
        with pytest.raises(MailboxFull):
            ref.tell_nowait("no room")

        nursery.start_soon(ref.tell, "next")
        await wait_all_tasks_blocked()
        assert len(ref.cell.mailbox) == 0

        actor.gate.set()
    assert actor.kept == ["leased", "next"]


async def test_a_rendezvous_hands_over_several_in_a_row() -> None:
    async with ActorSystem("s") as system:
        actor = Keeps()
        ref = await system.spawn(actor, capacity=0)

        for number in range(100):
            await ref.tell(number)
            assert len(ref.cell.mailbox) <= 1

    assert actor.kept == list(range(100))


async def test_a_rendezvous_behind_a_closed_gate_has_room_for_one() -> None:
    async with ActorSystem("s") as system:
        actor = Keeps()
        ref = await system.spawn(actor, capacity=0, policies=[RateLimit(1)])

        for number in range(5):
            await ref.tell(number)
            assert len(ref.cell.mailbox) <= 1

        assert trio.current_time() >= 3
    assert actor.kept == [0, 1, 2, 3, 4]


async def test_each_rule_of_a_rendezvous_holds_while_nobody_waits() -> None:
    async with ActorSystem("s") as system:
        gates = []
        for overflow in ("fail", "drop_new", "drop_old"):
            actor = Holds(gate=trio.Event())
            ref = await system.spawn(actor, name=overflow, capacity=0, overflow=overflow)
            await wait_all_tasks_blocked()
            await ref.tell("leased")
            await wait_all_tasks_blocked()
            if overflow == "fail":
                with pytest.raises(MailboxFull):
                    await ref.tell("second")
            else:
                await ref.tell("second")
            gates.append(actor)
        for actor in gates:
            actor.gate.set()

    assert [actor.kept for actor in gates] == [["leased"]] * 3
    assert letters(system) == [("second", "overflow", 0)] * 2


# Priorities --------------------------------------------------------------------------------


async def test_lower_priorities_go_first_and_equal_ones_in_order() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system)
        for message, priority in (("c1", 200), ("b1", 100), ("a1", 1), ("b2", 100), ("a2", 1)):
            await ref.tell(message, priority=priority)
        actor.gate.set()

    assert actor.kept == ["leased", "a1", "a2", "b1", "b2", "c1"]


async def test_every_eighth_message_is_the_oldest_so_that_nobody_starves() -> None:
    async with ActorSystem("s") as system:
        ref, actor = await held(system)
        await ref.tell("patient", priority=500)
        for number in range(20):
            await ref.tell(number, priority=1)
        actor.gate.set()

    assert actor.kept.index("patient") == 8


async def test_what_a_turn_sends_inherits_priority_and_headers() -> None:
    seen: list[tuple[Any, int, dict[str, Any]]] = []

    async with ActorSystem("s") as system:

        async def note(message: Any, ctx: Turn) -> None:
            assert ref.cell.lease is not None
            seen.append((message, ref.cell.lease.priority, dict(ctx.headers)))
            if message == "parent":
                ctx.tell(ref, "child")
                ctx.tell(ref, "other", priority=7, headers={"b": 2})

        ref = await system.spawn(Does(do=note))
        await ref.tell("parent", priority=3, headers={"a": 1})

    assert seen == [
        ("parent", 3, {"a": 1}),
        ("child", 3, {"a": 1}),
        ("other", 7, {"a": 1, "b": 2}),
    ]
