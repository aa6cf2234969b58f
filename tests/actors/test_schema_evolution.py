"""Durable actors over programs that differ: what they have is brought up to date or parked."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    AskFailed,
    DecodeError,
    Turn,
)
from actorflow.core.letters import Unreadable
from actorflow.durability.memory import MemoryDisk
from actorflow.errors import EncodeError
from tests.actors.boxes import Box, shop, taken, walls
from tests.flows.evolving import FAULTS, TAG, Program

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture(autouse=True)
def no_walls() -> None:
    walls.clear()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


# Where a message may be when its program ends --------------------------------------------


async def in_mailbox(box: Any, order: Any) -> None:
    walls.add("up")
    for each in ("hang", "a", order, "b"):
        await box.tell(each)


async def in_stash(box: Any, order: Any) -> None:
    for each in ("a", order, "b"):
        await box.tell(each)


async def in_timers(box: Any, order: Any) -> None:
    for delay, each in ((10, "a"), (11, order), (12, "b")):
        await box.tell(["timer", f"at {delay}", delay, each])


async def in_keys(box: Any, order: Any) -> None:
    for key, delay, each in (("a", 10, "a"), (order, 11, order), ("b", 12, "b")):
        await box.tell(["timer", key, delay, each])


async def in_delayed_sends(box: Any, order: Any) -> None:
    for delay, each in ((10, "a"), (11, order), (12, "b")):
        await box.tell(["later", delay, each])


async def in_headers(box: Any, order: Any) -> None:
    walls.add("up")
    await box.tell("hang")
    await box.tell("a")
    await box.tell("order", headers={"order": order})
    await box.tell("b")


PLACES = {
    each.__name__: each
    for each in (in_mailbox, in_stash, in_timers, in_keys, in_delayed_sends, in_headers)
}
places = pytest.mark.parametrize("place", PLACES)


async def left(disk: MemoryDisk, place: str, order: Any) -> None:
    """A life that leaves "a", *order* and "b" in *place*."""
    async with shop(disk) as system:
        shut = place == "in_stash"
        box = await system.spawn(Box(shut=shut), name="box", durable=True, shutdown=0)
        await PLACES[place](box, order)
        await wait_all_tasks_blocked()
        await system.stop()
    walls.clear()


@places
async def test_an_older_message_is_brought_up_to_date_wherever_it_is(
    program: Program, place: str
) -> None:
    disk = MemoryDisk()
    await left(disk, place, program.order(1)("tea", 2.5))
    new = program.order(3)

    async with shop(disk) as system:
        await system.ref(Box, "box").tell("open")
        await trio.sleep(30)

        assert await taken(system) == ("a", new("tea", 250, "EUR"), "b")
        assert system.dead_letters() == ()


@pytest.mark.parametrize("fault", FAULTS)
@places
async def test_a_message_that_cannot_be_read_is_parked_and_the_rest_goes_on(
    program: Program, place: str, fault: str
) -> None:
    disk, order = MemoryDisk(), program.order(2)("tea", 250)
    await left(disk, place, order)
    program.fail(fault)

    async with shop(disk) as system:
        await system.ref(Box, "box").tell("open")
        await trio.sleep(30)
        assert await taken(system) == ("a", "b")
        (letter,) = system.dead_letters()
    async with shop(disk) as system:
        (kept,) = system.dead_letters()

    assert (letter.reason, letter.stage_or_actor) == ("unknown_schema", "/shop/box")
    assert str(letter.error).endswith(FAULTS[fault])
    if place == "in_headers":
        assert letter.body == kept.body == "order"
        assert str(letter.error).startswith("its metadata: body['order']: ")
    else:
        why = f"body: {FAULTS[fault]}"
        assert letter.body == kept.body == Unreadable(encode_as(2, order), why)
    assert (kept.id, kept.reason, str(kept.error)) == (
        letter.id,
        letter.reason,
        f"DecodeError: {letter.error}",
    )


def encode_as(version: int, order: Any) -> bytes:
    """The bytes of an order as a program of that version has written it."""
    mark = msgpack.ExtType(20, f"{version}:{TAG}".encode())
    packed: bytes = msgpack.packb([mark, {"item": order.item, "cents": order.cents}])
    return packed


async def test_which_timer_it_was_is_told(program: Program) -> None:
    disk = MemoryDisk()
    await left(disk, "in_timers", program.order(2)("tea", 250))
    program.forget()

    async with shop(disk) as system:
        (letter,) = system.dead_letters()

    assert str(letter.error) == f"of timer 'at 11': body: {FAULTS['unknown']}"


async def test_a_timer_that_rings_again_and_again_is_parked_once(program: Program) -> None:
    disk, order = MemoryDisk(), program.order(2)("tea", 250)
    async with shop(disk) as system:
        box = await system.spawn(Box(), name="box", durable=True)
        await box.tell(["often", "tea", order])
        await box.tell(["often", "a", "a"])
        await system.stop()
    program.forget()
    for _ in range(2):
        async with shop(disk) as system:
            await trio.sleep(15)
            letters = system.dead_letters()
            await system.stop()

    assert len(letters) == 1


# Another chance ---------------------------------------------------------------------------


async def test_a_parked_message_is_replayed_once_its_class_is_back(program: Program) -> None:
    disk = MemoryDisk()
    await left(disk, "in_mailbox", program.order(2)("tea", 250))
    program.forget()

    async with shop(disk) as system:
        (letter,) = system.dead_letters()
        with pytest.raises(DecodeError, match="unknown tag"):
            await system.replay(letter)
        new = program.order(3)
        await system.replay(letter)
        assert await taken(system) == ("a", "b", new("tea", 250, "EUR"))


async def test_a_parked_message_is_replayed_in_a_later_life(program: Program) -> None:
    disk = MemoryDisk()
    await left(disk, "in_mailbox", program.order(2)("tea", 250))
    program.forget()
    async with shop(disk) as system:
        await system.stop()
    new = program.order(3)

    async with shop(disk) as system:
        (letter,) = system.dead_letters()
        assert letter.body == new("tea", 250, "EUR")
        await system.replay(letter)
        assert (await taken(system))[-1] == new("tea", 250, "EUR")


async def test_a_replayed_message_runs_once_over_all_lives() -> None:
    disk = MemoryDisk()
    walls.add("up")
    async with shop(disk) as system:
        box = await system.spawn(Box(), name="box", durable=True)
        await box.tell("refuse")
    async with shop(disk) as system:
        await system.ref(Box, "box").tell("hang")
        (letter,) = system.dead_letters()
        await system.replay(letter)
        await system.settled()
        system.cancel()
        await system.stop()
    walls.clear()

    for _ in range(2):
        async with shop(disk) as system:
            assert await taken(system) == ("refuse",)


# What was due while nobody ran, and what can never be kept --------------------------------


@pytest.mark.parametrize("form", ["timer", "later"])
async def test_what_was_due_while_nobody_ran_comes_in_the_order_of_its_moments(form: str) -> None:
    disk = MemoryDisk()
    async with shop(disk) as system:
        box = await system.spawn(Box(), name="box", durable=True)
        for delay in (12, 10, 11):
            key = [f"at {delay}"] if form == "timer" else []
            await box.tell([form, *key, delay, delay])
        await system.stop()
    await trio.sleep(60)

    async with shop(disk) as system:
        await wait_all_tasks_blocked()
        assert await taken(system) == (10, 11, 12)


class Stranger:
    """Nothing that the codec knows."""


@pytest.mark.parametrize("timer", [(Stranger, "body"), ("key", Stranger())], ids=["key", "body"])
async def test_a_timer_that_cannot_be_kept_fails_its_message_and_nothing_else(
    timer: tuple[Any, Any],
) -> None:
    class Winder(Actor):
        turns: int = 0

        async def receive(self, message: Any, ctx: Turn) -> Any:
            self.turns += 1
            if message == "wind":
                ctx.timers.start(timer[0], 10, timer[1])
            return self.turns

    async with shop(MemoryDisk()) as system:
        winder = await system.spawn(Winder(), name="winder", durable=True)
        with pytest.raises(AskFailed) as caught:
            await winder.ask("wind")
        assert isinstance(caught.value.__cause__, EncodeError)
        assert await winder.ask("count") == 1
