"""Durable actors: state and mail survive whatever ends the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorFlowError,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskDiverged,
    AskFailed,
    ConfigurationError,
    Fixed,
    LeaseLost,
    NotRunningError,
    Retry,
    Turn,
    actor,
    message,
    upcast,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import Change
from actorflow.errors import EncodeError, RunInUseError
from tests.conftest import jumping
from tests.flows.lives import Held


@message(tag="tests.durable.deposit")
class Deposit:
    amount: int


@message(tag="tests.durable.withdraw")
class Withdraw:
    amount: int


@message(tag="tests.durable.get")
class Get:
    pass


@message(tag="tests.durable.transfer")
class Transfer:
    amount: int


@actor("tests.durable.account")
class Account(Actor):
    balance: int = 0
    turns: int = 0

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case Deposit(amount):
                self.balance += amount
                self.turns += 1
            case Withdraw(amount):
                self.balance -= amount
                self.turns += 1
                return self.balance
            case Get():
                return self.balance
        return None


class Mortal(MemoryStore):
    """A store whose process dies after so many commits."""

    def __init__(
        self, disk: MemoryDisk, commits: int | None = None, *, blocking: bool = False
    ) -> None:
        super().__init__(disk=disk, blocking=blocking)
        self.left = commits
        self.before: Callable[[], object] | None = None

    def commit(self, change: Change) -> None:
        if self.before is not None:
            self.before()
        if self.left == 0:
            self.die()
            raise LeaseLost(self.url, change.run)
        if self.left is not None:
            self.left -= 1
        super().commit(change)


def bank(disk: MemoryDisk, commits: int | None = None, **options: Any) -> ActorSystem:
    return ActorSystem("bank", store=Mortal(disk, commits), **options)


async def balance(system: ActorSystem, name: str = "alice") -> int:
    found: int = await system.ref(Account, name).ask(Get())
    return found


# Lives ------------------------------------------------------------------------------------


async def test_a_durable_actor_comes_back_with_its_state() -> None:
    disk = MemoryDisk()
    async with bank(disk) as system:
        alice = await system.spawn(Account(balance=10), name="alice", durable=True)
        await alice.tell(Deposit(5))

    async with bank(disk) as system:
        assert await balance(system) == 15


async def test_what_tell_has_returned_for_survives_an_end_without_a_last_cut() -> None:
    disk = MemoryDisk()
    async with bank(disk) as system:
        alice = await system.spawn(Account(), name="alice", durable=True)
        for _ in range(10):
            await alice.tell(Deposit(1))
        system.cancel()

    async with bank(disk) as system:
        assert await balance(system) == 10


async def test_spawning_a_known_name_takes_the_stored_state() -> None:
    disk = MemoryDisk()
    async with bank(disk) as system:
        await system.spawn(Account(balance=10), name="alice", durable=True)

    async with bank(disk) as system:
        alice = await system.spawn(Account(balance=99), name="alice", durable=True)
        assert await alice.ask(Get()) == 10
        with pytest.raises(ConfigurationError, match="that no living actor has"):
            await system.spawn(Account(), name="alice", durable=True)


async def test_replace_takes_the_state_that_is_given() -> None:
    disk = MemoryDisk()
    async with bank(disk) as system:
        await system.spawn(Account(balance=10), name="alice", durable=True)

    async with bank(disk) as system:
        alice = await system.spawn(Account(balance=99), name="alice", durable=True, replace=True)
        assert await alice.ask(Get()) == 99

    async with bank(disk) as system:
        assert await balance(system) == 99


async def test_an_actor_with_policies_waits_until_it_is_spawned() -> None:
    disk = MemoryDisk()
    again = [Retry(3, backoff=Fixed(0))]
    async with bank(disk) as system:
        await system.spawn(Account(balance=7), name="alice", durable=True, policies=again)

    async with bank(disk) as system:
        with pytest.raises(LookupError):
            system.ref(Account, "alice")
        alice = await system.spawn(Account(), name="alice", durable=True, policies=again)
        assert await alice.ask(Get()) == 7


async def test_lazily_an_actor_comes_back_when_it_is_wanted() -> None:
    disk = MemoryDisk()
    async with bank(disk) as system:
        await system.spawn(Account(balance=7), name="alice", durable=True)

    async with bank(disk, restore="lazy") as system:
        assert system.stats()["actors"] == 0
        assert await balance(system) == 7


async def test_an_actor_that_has_ended_by_itself_does_not_come_back() -> None:
    class Leaves(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            ctx.stop()

    disk = MemoryDisk()
    async with bank(disk) as system:
        ref = await system.spawn(Leaves(), name="gone", durable=True)
        await ref.tell("go")
        await ref.stopped()

    async with bank(disk) as system:
        with pytest.raises(LookupError):
            system.ref(Leaves, "gone")


async def test_a_system_is_held_by_one_process_at_a_time() -> None:
    disk = MemoryDisk()
    async with bank(disk):
        with pytest.raises(RunInUseError):
            async with bank(disk):
                raise AssertionError


async def test_durable_without_a_store_or_a_name_is_refused() -> None:
    async with ActorSystem("bank") as system:
        with pytest.raises(ConfigurationError, match="store"):
            await system.spawn(Account(), name="alice", durable=True)
    async with bank(MemoryDisk()) as system:
        with pytest.raises(ConfigurationError, match="name"):
            await system.spawn(Account(), durable=True)


async def test_a_system_that_loses_its_store_says_so_at_the_end() -> None:
    disk = MemoryDisk()
    refused = 0
    with pytest.raises(LeaseLost):  # noqa: PT012 - The block raises when it is left.
        async with bank(disk, commits=1) as system:
            alice = await system.spawn(Account(), name="alice", durable=True)
            for _ in range(3):
                try:
                    await alice.tell(Deposit(1))
                except (LeaseLost, ActorStopped, NotRunningError):
                    refused += 1
    assert refused >= 2


# Mail -------------------------------------------------------------------------------------


class Busy(Actor):
    """Stashes until told to go; then takes what comes."""

    open: bool = False
    taken: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "taken":
            return self.taken
        if message == "go":
            self.open = True
            ctx.unstash_all()
        elif not self.open:
            ctx.stash()
        else:
            self.taken = (*self.taken, message)
        return None


async def test_stashed_messages_come_back_in_their_order() -> None:
    disk = MemoryDisk()
    async with bank(disk) as system:
        busy = await system.spawn(Busy(), name="busy", durable=True)
        for number in range(5):
            await busy.tell(number)
        assert await busy.ask("taken") == ()
        await system.stop()

    async with bank(disk) as system:
        busy = system.ref(Busy, "busy")
        await busy.tell("go")
        assert await busy.ask("taken") == (0, 1, 2, 3, 4)


async def test_mail_that_nobody_has_handled_comes_back_in_its_order_and_by_priority() -> None:
    class Stuck(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            await trio.sleep_forever()

    disk = MemoryDisk()
    async with bank(disk) as system:
        stuck = await system.spawn(Stuck(), name="box", durable=True, shutdown=0)
        for number, priority in enumerate([100, 100, 50, 100, 50]):
            await stuck.tell(number, priority=priority)
        await system.stop()

    seen: list[tuple[Any, int]] = []

    class Box(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            seen.append((message, ctx.attempt))

    async with bank(disk, restore="lazy") as system:
        with pytest.raises(ConfigurationError, match="Stuck"):
            await system.spawn(Box(), name="box", durable=True)
    assert seen == []

    Stuck.receive = Box.receive  # type: ignore[assignment, method-assign]
    async with bank(disk) as system:
        await system.drain()
    assert seen == [(0, 1), (2, 1), (4, 1), (1, 1), (3, 1)]


async def test_timers_and_delayed_sends_go_on_with_the_time_that_is_left(
    autojump_clock: MockClock,
) -> None:
    rung: list[tuple[Any, float]] = []

    class Clock(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            if message == "wind up":
                ctx.timers.start("alarm", 10, "alarm")
                ctx.tell(ctx.self, "letter", delay=20)
            else:
                rung.append((message, trio.current_time()))

    disk = MemoryDisk()
    async with bank(disk) as system:
        clock = await system.spawn(Clock(), name="clock", durable=True)
        await clock.tell("wind up")
        await trio.sleep(4)
        await system.stop()
    began = trio.current_time()

    async with bank(disk) as system:
        await trio.sleep(30)

    assert [(what, round(when - began)) for what, when in rung] == [("alarm", 6), ("letter", 16)]


# The disk ---------------------------------------------------------------------------------


async def test_tell_and_answers_to_the_outside_wait_for_the_disk() -> None:
    disk, free = MemoryDisk(), threading.Event()
    store = Mortal(disk, blocking=True)
    order: list[str] = []
    async with ActorSystem("bank", store=store) as system:
        alice = await system.spawn(Account(), name="alice", durable=True)
        await system.settled()
        store.before = lambda: free.wait(10)

        async def tell() -> None:
            await alice.tell(Deposit(1))
            order.append("told")

        async def ask() -> None:
            assert await alice.ask(Withdraw(1)) in (0, -1)
            order.append("answered")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.01)
            order.append("free")
            free.set()

    assert order[0] == "free"
    assert sorted(order[1:]) == ["answered", "told"]


async def test_a_tell_that_is_cancelled_while_it_waits_for_the_disk_is_accepted() -> None:
    disk, free = MemoryDisk(), threading.Event()
    store = Mortal(disk, blocking=True)
    async with ActorSystem("bank", store=store) as system:
        alice = await system.spawn(Account(), name="alice", durable=True)
        await system.settled()
        store.before = lambda: free.wait(10)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.tell, Deposit(1))
                await trio.testing.wait_all_tasks_blocked(0.01)
                scope.cancel()
                free.set()

    async with bank(disk) as system:
        assert await balance(system) == 1


async def test_a_field_that_cannot_be_written_fails_its_message_and_changes_nothing() -> None:
    class Holder(Actor):
        value: Any = 0

        async def receive(self, message: Any, ctx: Turn) -> Any:
            if message == "get":
                return self.value
            self.value = object() if message == "bad" else message
            return None

    async with bank(MemoryDisk()) as system:
        holder = await system.spawn(Holder(), name="holder", durable=True)
        await holder.tell(1)
        with pytest.raises(AskFailed) as caught:
            await holder.ask("bad")
        assert isinstance(caught.value.__cause__, EncodeError)
        assert "value" in str(caught.value.__cause__)
        assert await holder.ask("get") == 1


async def test_a_message_that_cannot_be_written_is_not_accepted() -> None:
    async with bank(MemoryDisk()) as system:
        alice = await system.spawn(Account(), name="alice", durable=True)
        with pytest.raises(EncodeError):
            await alice.tell(object())
        assert system.stats()["held"] == 0


async def test_a_crashed_actor_goes_on_with_its_last_committed_state() -> None:
    class Fragile(Actor):
        count: int = 0

        async def receive(self, message: Any, ctx: Turn) -> Any:
            self.count += 1
            if message == "crash":
                raise SystemExit
            return self.count

    async with bank(MemoryDisk()) as system:
        fragile = await system.spawn(Fragile(), name="fragile", durable=True)
        assert await fragile.ask("count") == 1
        await fragile.tell("crash")
        assert await fragile.ask("count") == 2


async def test_an_id_is_never_given_again() -> None:
    keys: list[str] = []

    class Keyed(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            keys.append(ctx.idempotency_key("charge"))

    disk = MemoryDisk()
    for _ in range(3):
        async with bank(disk) as system:
            keyed = await system.spawn(Keyed(), name="keyed", durable=True)
            await keyed.tell("go")

    assert len(set(keys)) == 3


async def test_with_effects_a_turn_begins_when_its_message_is_on_disk() -> None:
    disk, free = MemoryDisk(), threading.Event()
    store = Mortal(disk, blocking=True)
    seen: list[Any] = []

    class Charges(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            seen.append(message)

    async with ActorSystem("bank", store=store) as system:
        charges = await system.spawn(Charges(), name="charges", durable=True, effects=True)
        await system.settled()
        store.before = lambda: free.wait(10)
        charges.tell_nowait("charge")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert seen == []
        free.set()

    assert seen == ["charge"]


# Schemas ----------------------------------------------------------------------------------


async def test_fields_of_an_older_version_are_brought_up() -> None:
    disk = MemoryDisk()

    @actor("tests.durable.versioned", version=1)
    class Old(Actor):
        cents: int = 0

    async with bank(disk) as system:
        await system.spawn(Old(cents=250), name="v", durable=True)

    class Versioned(Actor):
        euros: float = 0.0
        currency: str = "EUR"

        async def receive(self, message: Any, ctx: Turn) -> Any:
            return self.euros, self.currency

    Versioned.__qualname__, Versioned.__module__ = Old.__qualname__, Old.__module__
    actor("tests.durable.versioned", version=2)(Versioned)

    @upcast("tests.durable.versioned", 1)
    def to_euros(fields: dict[str, Any]) -> dict[str, Any]:
        return {"euros": fields["cents"] / 100}

    async with bank(disk) as system:
        assert await system.ref(Versioned, "v").ask("all") == (2.5, "EUR")


async def test_the_mail_of_a_class_that_is_gone_is_parked_and_the_rest_comes_back() -> None:
    class Passing(Actor):
        async def receive(self, message: Any, ctx: Turn) -> None:
            await trio.sleep_forever()

    disk = MemoryDisk()
    async with bank(disk) as system:
        await system.spawn(Account(balance=3), name="alice", durable=True)
        passing = await system.spawn(Passing(), name="passing", durable=True, shutdown=0)
        await passing.tell("left")
        await passing.tell("behind")
        await system.stop()
    Passing.__qualname__ = "renamed"

    async with bank(disk) as system:
        assert await balance(system) == 3
        letters = [(each.body, each.reason) for each in system.dead_letters()]

    assert sorted(letters) == [("behind", "unknown_schema"), ("left", "unknown_schema")]


# Two asks ---------------------------------------------------------------------------------


class Teller(Actor):
    """Moves money by two asks."""

    source: ActorRef[Any]
    target: ActorRef[Any]
    done: int = 0
    fails: int = 0

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if isinstance(message, Transfer):
            await ctx.ask(self.source, Withdraw(message.amount))
            if ctx.attempt <= self.fails:
                raise OSError("try again")
            await ctx.ask(self.target, Withdraw(-message.amount))
            self.done += 1
        return self.done


@attrs.frozen
class Money:
    alice: int
    bob: int
    done: int


async def transfers(disk: MemoryDisk, commits: int | None, count: int, fails: int) -> Money | None:
    """One life of a bank that moves 1 from alice to bob *count* times, once over all lives."""
    try:
        async with bank(disk, commits) as system:
            alice = await system.spawn(Account(balance=100), name="alice", durable=True)
            bob = await system.spawn(Account(), name="bob", durable=True)
            again = [Retry(5, backoff=Fixed(0), position="head")]
            teller = await system.spawn(
                Teller(source=alice, target=bob, fails=fails),
                name="teller",
                durable=True,
                policies=again,
            )
            await system.settled()
            accepted = await teller.ask("done") + len(teller.cell.mailbox)
            for _ in range(count - accepted - (teller.cell.lease is not None)):
                await teller.tell(Transfer(1))
            while await teller.ask("done") < count:
                await trio.lowlevel.checkpoint()
            return Money(await alice.ask(Get()), await bob.ask(Get()), await teller.ask("done"))
    except ActorFlowError:  # Whatever comes first of a system that has lost its store.
        return None


@pytest.mark.parametrize("fails", [0, 1])
@pytest.mark.parametrize("commits", range(1, 16))
def test_a_transfer_by_two_asks_withdraws_once_over_a_crash_at_any_commit(
    commits: int, fails: int
) -> None:
    disk = MemoryDisk()

    async def main() -> Money | None:
        first = await transfers(disk, commits, 3, fails)
        return first or await transfers(disk, None, 3, fails)

    assert jumping(main) == Money(97, 3, 3)


@given(lives=st.lists(st.integers(1, 8), max_size=5), fails=st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_transfers_are_exact_over_many_crashes(lives: list[int], fails: int) -> None:
    disk = MemoryDisk()

    async def main() -> Money | None:
        for commits in lives:
            money = await transfers(disk, commits, 4, fails)
            if money is not None:
                return money
        return await transfers(disk, None, 4, fails)

    assert jumping(main) == Money(96, 4, 4)


async def test_another_question_under_the_same_id_is_refused() -> None:
    class Fickle(Actor):
        target: ActorRef[Any]

        async def receive(self, message: Any, ctx: Turn) -> Any:
            await ctx.ask(self.target, Withdraw(ctx.attempt))
            raise OSError("again")

    async with bank(MemoryDisk()) as system:
        alice = await system.spawn(Account(), name="alice", durable=True)
        fickle = await system.spawn(
            Fickle(target=alice),
            name="fickle",
            durable=True,
            policies=[Retry(2, backoff=Fixed(0))],
        )
        with pytest.raises(AskFailed) as caught:
            await fickle.ask("go")
        assert isinstance(caught.value.__cause__, AskDiverged)
        assert await alice.ask(Get()) == -1


async def test_a_cancelled_tell_never_leaves_its_outcome_unknown() -> None:
    disk = MemoryDisk()
    store = Held(disk)
    told: list[bool] = []

    async with ActorSystem("bank", store=store) as system:
        alice = await system.spawn(Account(balance=100), name="alice", durable=True)
        store.hold()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def tell() -> None:
                    await alice.tell(Withdraw(1))
                    told.append(True)

                nursery.start_soon(tell)
                await wait_all_tasks_blocked(0.01)
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await wait_all_tasks_blocked(0.01)
                store.let_go()
        assert told == [True]


async def test_answers_are_forgotten_when_the_turn_that_asked_is_done() -> None:
    disk = MemoryDisk()

    async with bank(disk) as system:
        alice = await system.spawn(Account(balance=100), name="alice", durable=True)
        bob = await system.spawn(Account(), name="bob", durable=True)
        teller = await system.spawn(Teller(source=alice, target=bob), name="teller", durable=True)
        for _ in range(10):
            await teller.tell(Transfer(1))
        assert await teller.ask("done") == 10
        assert alice.cell.kept.answers == bob.cell.kept.answers == {}
        assert system._lasting is not None
        assert system._lasting._journal.asks == {}
