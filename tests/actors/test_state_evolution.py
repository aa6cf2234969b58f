"""States of durable actors over programs that differ: brought up to date, or kept for another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Actor, ConfigurationError, DecodeError, Turn, actor, upcast
from actorflow.durability.memory import MemoryDisk
from actorflow.wire.registry import REGISTRY
from tests.actors.boxes import Box, shop, taken, walls
from tests.flows.evolving import FAULTS, Program
from tests.flows.lives import Disk

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture(autouse=True)
def no_walls() -> None:
    walls.clear()


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


class Till1(Actor):
    euros: float = 0.0
    last: Any = None

    async def receive(self, message: Any, ctx: Turn) -> Any:
        raise NotImplementedError


class Till2(Actor):
    cents: int = 0
    last: Any = None

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case int():
                if walls:
                    await trio.sleep_forever()
                self.cents += message
            case ["ring", cents]:
                ctx.timers.start("bell", 10, cents)
        return self.cents, self.last


class Till3(Till2):
    currency: str = ""

    async def receive(self, message: Any, ctx: Turn) -> Any:
        return (*await super().receive(message, ctx), self.currency)


TILL = "tests.evolving.till"


def till(version: int, *, upcasters: bool = True) -> Any:
    """The class as a program of that version has it."""
    for other in (Till1, Till2, Till3):
        other.__qualname__ = "Till"
        REGISTRY.by_class.pop(other, None)
    for start, step in ((1, to_cents), (2, with_currency)):
        REGISTRY._upcasters.pop((TILL, start), None)
        if upcasters:
            upcast(TILL, start)(step)
    return actor(TILL, version=version)((Till1, Till2, Till3)[version - 1])


def to_cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"cents": round(fields["euros"] * 100), "last": fields["last"]}


def with_currency(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "currency": "EUR"}


async def test_a_state_is_brought_up_step_by_step_with_all_that_is_in_it(program: Program) -> None:
    disk, order = MemoryDisk(), program.order(1)
    async with shop(disk) as system:
        await system.spawn(till(1)(euros=2.5, last=[order("tea", 2.5)]), name="till", durable=True)
    new = program.order(3)
    newer = till(3)

    for _ in range(2):  # As it was brought up, and as it was then stored.
        async with shop(disk) as system:
            found = await system.ref(newer, "till").ask("all")
            assert found == (250, [new("tea", 250, "EUR")], "EUR")


def newer(program: Program) -> Any:
    return till(1)


def no_way_up(program: Program) -> Any:
    return till(3, upcasters=False)


def unknown(program: Program) -> Any:
    program.forget()
    return till(2)


STATE_FAULTS: dict[Callable[[Program], Any], str] = {
    newer: f"/shop/till: stored by version 2 of {TILL!r}, which is newer than ours (1); "
    "run the program that wrote it",
    no_way_up: f"no way up from version 2 of {TILL!r}; "
    f'add a function with: @actorflow.upcast("{TILL}", 2)',
    unknown: f"body['last']: {FAULTS['unknown']}",
}


async def two_actors(disk: MemoryDisk, program: Program) -> None:
    """A life that leaves a till with mail, and a box."""
    walls.add("up")
    till(2)
    async with shop(disk) as system:
        last = program.order(2)("tea", 250)
        await system.spawn(Box(), name="box", durable=True)
        ref = await system.spawn(Till2(cents=5, last=last), name="till", durable=True, shutdown=0)
        await ref.tell(["ring", 3])
        await ref.tell(1)
        await ref.tell(1)
        await wait_all_tasks_blocked()
        await system.stop()
    walls.clear()


@pytest.mark.parametrize("restore", ["eager", "lazy"])
@pytest.mark.parametrize("fault", STATE_FAULTS, ids=lambda fault: fault.__name__)
async def test_a_state_that_cannot_be_read_stays_with_its_mail_for_a_program_that_can(
    program: Program, fault: Callable[[Program], Any], restore: str
) -> None:
    disk = MemoryDisk()
    await two_actors(disk, program)
    cls = fault(program)

    async with shop(disk, restore=restore) as system:
        with pytest.raises(LookupError):
            system.ref(cls, "till")
        with pytest.raises(DecodeError) as caught:
            await system.spawn(cls(), name="till", durable=True)
        assert str(caught.value) == STATE_FAULTS[fault]
        assert await taken(system) == ()  # The others came back.
        assert system.dead_letters() == ()
        assert system.stats()["held"] == 0
        began = trio.current_time()
    assert trio.current_time() == began

    program.order(2)
    cls = till(2)
    async with shop(disk) as system:
        await trio.sleep(30)
        assert (await system.ref(cls, "till").ask("all"))[0] == 5 + 1 + 1 + 3


async def test_who_says_so_begins_anew_in_the_place_of_a_state_that_cannot_be_read(
    program: Program,
) -> None:
    disk = MemoryDisk()
    await two_actors(disk, program)
    newer(program)

    async with shop(disk) as system:
        await system.spawn(Box(), name="till", durable=True, replace=True)
        assert await taken(system, "till") == (1, 1)


async def test_a_class_that_comes_back_finds_its_state_its_timers_and_its_letters(
    program: Program,
) -> None:
    disk = MemoryDisk()
    await two_actors(disk, program)
    REGISTRY.by_tag.pop(TILL)

    async with shop(disk) as system:
        with pytest.raises(LookupError):
            system.ref(Till2, "till")
        with pytest.raises(ConfigurationError, match="of the class"):
            await system.spawn(Box(), name="till", durable=True)
        letters = system.dead_letters()
    assert [(each.body, each.reason, each.stage_or_actor) for each in letters] == [
        (1, "unknown_schema", "/shop/till"),
        (1, "unknown_schema", "/shop/till"),
    ]
    assert all(str(each.error).startswith("/shop/till: no actor class") for each in letters)

    cls = till(2)
    async with shop(disk) as system:
        for letter in system.dead_letters():
            await system.replay(letter)
        await trio.sleep(30)
        assert (await system.ref(cls, "till").ask("all"))[0] == 5 + 1 + 1 + 3
    assert len(Disk(disk).bodies("system:shop")) == 0
