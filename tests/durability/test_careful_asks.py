"""After an unclean end: who asks, who is asked, and what they say of their attempts."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import trio

from actorflow import Actor, ActorRef, ActorSystem, AskTimeout, Retry, Turn
from actorflow.durability.careful import LIMIT, SECONDS
from actorflow.durability.memory import MemoryDisk
from tests.durability.test_what_is_kept import bank, killed

#: More than any law allows.
MOST_LIVES = 20

#: Seconds until all wait for the end, and less than an ask may take.
WHILE = 3

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Account(Actor):
    balance: int = 0

    async def receive(self, message: Any, ctx: Turn) -> int:
        self.balance += message
        return self.balance


class Teller(Actor):
    """Takes from one and gives to another, with some time between."""

    source: ActorRef[Any]
    target: ActorRef[Any]
    done: int = 0

    async def receive(self, message: Any, ctx: Turn) -> int:
        if message:
            await ctx.ask(self.source, -message)
            await trio.sleep(0.1)
            await ctx.ask(self.target, message)
            self.done += 1
        return self.done


async def tellers(system: ActorSystem, count: int = 1) -> list[ActorRef[Any]]:
    """The accounts ``a`` and ``b``, and tellers between them."""
    a = await system.spawn(Account(), name="a", durable=True)
    b = await system.spawn(Account(), name="b", durable=True)
    names = [f"teller {number}" for number in range(count)]
    return [
        await system.spawn(Teller(source=a, target=b), name=name, durable=True) for name in names
    ]


async def balances(system: ActorSystem) -> tuple[int, int]:
    a: int = await system.ref(Account, "a").ask(0)
    b: int = await system.ref(Account, "b").ask(0)
    return a, b


@pytest.mark.parametrize("strangers", [1, 30])
@pytest.mark.parametrize("count", [1, 3])
async def test_no_transfer_is_lost_when_others_are_first_in_a_mailbox(
    count: int, strangers: int
) -> None:
    disk = MemoryDisk()
    async with killed(disk) as system:
        for teller in await tellers(system, count):
            for _ in range(5):
                await teller.tell(1)
        await trio.sleep(0.25)
    async with killed(disk) as system:
        await trio.sleep(0.25)

    async with bank(disk) as system:
        for _ in range(strangers):
            system.ref(Account, "b").tell_nowait(0)
        await system.drain()
        assert not system.dead_letters()
    async with bank(disk) as system:
        assert await balances(system) == (-5 * count, 5 * count)


# Who ends the process --------------------------------------------------------------------


#: What `Deadly` was given, and the attempt; it outlives the actors.
LOG: list[tuple[Any, int]] = []

#: How many answers `Deadly` had kept at the end of each life.
ANSWERS: list[int] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()
    ANSWERS.clear()


class Deadly(Actor):
    """When it gets something fatal the process ends: it waits for that."""

    async def receive(self, message: Any, ctx: Turn) -> Any:
        LOG.append((message, ctx.attempt))
        if message == "fatal":
            await trio.sleep_forever()
        return message


class Asker(Actor):
    """Asks what it is sent."""

    target: ActorRef[Any]
    nested: bool = False

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if not self.nested:
            return await ctx.ask(self.target, message)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(ctx.ask, self.target, message))
        return None


async def spawned(system: ActorSystem, asker: type[Asker], *policies: Any, **options: Any) -> None:
    deadly = await system.spawn(Deadly(), name="deadly", durable=True, policies=policies)
    await system.spawn(asker(target=deadly, **options), name="asker", durable=True)


async def lives(
    disk: MemoryDisk, name: str, messages: list[Any], *spawns: Any, **options: Any
) -> list[Any]:
    """Tell *name* something and end the process whenever all wait, until none does; answers the
    dead letters."""
    for number in range(MOST_LIVES):
        before = len(LOG)
        async with killed(disk) as system:
            await spawned(system, *spawns, **options)
            for message in () if number else messages:
                await system.ref(Actor, name).tell(message)
            await trio.sleep(WHILE)
            ANSWERS.append(len(system.ref(Deadly, "deadly").cell.kept.answers))
        if not any(message == "fatal" for message, _ in LOG[before:]):
            break
    async with bank(disk) as system:
        await spawned(system, *spawns, **options)
        await system.drain()
        return letters(system)


def letters(system: ActorSystem) -> list[tuple[str, str, Any, int]]:
    return sorted(
        (letter.stage_or_actor, letter.reason, letter.body, letter.attempts)
        for letter in system.dead_letters()
    )


def deaths() -> list[int]:
    """The attempts at which the process ended."""
    return [attempt for message, attempt in LOG if message == "fatal"]


@pytest.mark.parametrize("attempts", [1, 3, 5])
async def test_attempts_are_counted_over_unclean_ends(attempts: int) -> None:
    retry = [Retry(attempts)] if attempts > 1 else []
    dead = await lives(MemoryDisk(), "deadly", [1, "fatal", 2], Asker, *retry)

    ends = max(LIMIT, attempts) + 1
    assert deaths() == [min(each, attempts) for each in range(1, ends + 1)]
    assert dead == [("/bank/deadly", "poison", "fatal", attempts)]
    assert {message for message, _ in LOG} == {1, "fatal", 2}


@pytest.mark.parametrize("time", range(8))  # What is not right shows in most orders of tasks.
async def test_who_has_asked_for_the_end_is_told_so_and_not_blamed(time: int) -> None:
    dead = await lives(MemoryDisk(), "asker", [1, "fatal", 2], Asker)

    assert len(deaths()) <= LIMIT + 1
    assert dead == [
        ("/bank/asker", "failed", "fatal", 1),
        ("/bank/deadly", "poison", "fatal", 1),
    ]
    assert {message for message, _ in LOG} == {1, "fatal", 2}


async def test_who_does_more_than_asking_may_be_the_one() -> None:
    dead = await lives(MemoryDisk(), "asker", [1, "fatal", 2], Asker, nested=True)

    assert len(deaths()) <= LIMIT + 1
    assert ("/bank/asker", "poison", "fatal", 1) in dead
    assert {message for message, _ in LOG} == {1, "fatal", 2}


async def test_who_ends_the_process_after_an_answer_is_blamed() -> None:
    class Then(Asker):
        async def receive(self, message: Any, ctx: Turn) -> Any:
            await ctx.ask(self.target, message)
            LOG.append(("fatal", ctx.attempt))
            await trio.sleep_forever()

    dead = await lives(MemoryDisk(), "asker", [1], Then)

    assert len(deaths()) == LIMIT + 1
    assert dead == [("/bank/asker", "poison", 1, 1)]


async def test_answers_are_forgotten_when_who_has_asked_is_poison() -> None:
    class Then(Asker):
        async def receive(self, message: Any, ctx: Turn) -> Any:
            await ctx.ask(self.target, message)
            LOG.append(("fatal", ctx.attempt))
            await trio.sleep_forever()

    disk = MemoryDisk()
    await lives(disk, "asker", [1, 2, 3], Then)
    assert max(ANSWERS) > ANSWERS[-1] == 0

    async with bank(disk) as system:
        await spawned(system, Then)
        kept = system.ref(Deadly, "deadly").cell.kept
        assert len(system.dead_letters()) == 3
        assert kept.answers == kept.questions == kept._journal.asks == {}


# The time of others ----------------------------------------------------------------------


class Slow(Actor):
    """Takes its time, and has been there when the process ended."""

    async def receive(self, message: Any, ctx: Turn) -> Any:
        LOG.append((message, ctx.attempt))
        await trio.sleep(message)


async def suspecting() -> MemoryDisk:
    """A disk after two ends of the process, at both of which a slow turn was there."""
    disk = MemoryDisk()
    for number in range(2):
        async with killed(disk) as system:
            slow = await system.spawn(Slow(), name="slow", durable=True)
            await system.spawn(Deadly(), name="deadly", durable=True)
            if not number:
                await slow.tell(30)
            await trio.sleep(5)
    return disk


async def test_nobody_is_charged_for_the_time_of_a_suspect() -> None:
    disk = await suspecting()

    async with bank(disk) as system:
        await trio.sleep(WHILE)
        assert await system.ref(Deadly, "deadly").ask("quick", timeout=1) == "quick"
        await system.drain()
        assert not system.dead_letters()


async def test_who_asks_beside_a_suspect_waits_no_longer_than_that_runs_and_the_timeout() -> None:
    disk = await suspecting()

    async with killed(disk) as system:
        began = trio.current_time()
        deadly = system.ref(Deadly, "deadly")
        await deadly.tell("fatal")  # What is asked waits behind it, also when the suspect is done.
        with trio.fail_after(100), pytest.raises(AskTimeout):
            await deadly.ask("quick", timeout=1)
        assert trio.current_time() - began == pytest.approx(31)


async def test_what_a_durable_actor_does_is_kept_when_its_system_is_careful_no_more() -> None:
    disk = MemoryDisk()
    async with killed(disk) as system:
        await system.spawn(Account(), name="a", durable=True)
        await system.ref(Account, "a").tell(1)

    async with bank(disk) as system:
        await trio.sleep(2 * SECONDS)
        assert not system.ref(Account, "a").cell.kernel.journal.careful
        for _ in range(10):
            system.ref(Account, "a").tell_nowait(1)
    async with bank(disk) as system:
        assert await system.ref(Account, "a").ask(0) == 11
