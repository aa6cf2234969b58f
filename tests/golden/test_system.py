"""Durable actors as any release has left them, restored by this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actorflow import ActorStopped, ActorSystem, Fixed, Retry
from tests.golden.shop import BODIES, DOORS, Box, Colour, Door, Order, Teller, Till
from tests.golden.test_golden import alike


@pytest.fixture(autouse=True)
def doors_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DOORS, "actors", Door(open=True))


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[ActorSystem]:
    """The system, when all that it had to do is done."""
    async with ActorSystem("shop", store=f"sqlite:///{folder / 'system.db'}") as system:
        await system.ref(Box, "stash").tell("open")
        await quiet(system)
        yield system


async def quiet(system: ActorSystem) -> None:
    """Wait until no message is held; after an unclean end that takes some writes."""
    while system.stats()["held"]:
        await trio.lowlevel.checkpoint()


async def taken(system: ActorSystem, name: str) -> Any:
    return await system.ref(Box, name).ask("taken")


HEADERS = {"at": (100, Colour.RED)}

STARTED = [Order("started"), {}, 1]


async def test_a_state_of_all_kinds_and_what_was_due_meanwhile(folder: Path) -> None:
    async with shop(folder) as system:
        cents, last, seen = await system.ref(Till, "till").ask("state")

    assert cents == 1000 - 1 - 2
    assert all(map(alike, last, BODIES.values()))
    assert seen == (Order("bell"), (1, "tick"), Order("delayed"))


async def test_mail_in_its_order_and_by_priority(folder: Path) -> None:
    async with shop(folder) as system:
        assert await taken(system, "mail") == (
            [Order("first"), {"at": (50, Colour.RED)}, 1],
            *(STARTED, STARTED),
            ["a", HEADERS, 1],
            [("c",), HEADERS, 1],
            *(STARTED, STARTED),  # The starters have started again.
        )


async def test_a_stash_comes_back_when_it_is_wanted(folder: Path) -> None:
    async with shop(folder) as system:
        await quiet(system)
        found = await taken(system, "stash")

    assert [message for message, *_ in found] == ["a", Order("b"), ("c",)]


async def test_an_answer_that_was_kept_is_given_again(folder: Path) -> None:
    async with shop(folder) as system:
        assert await system.ref(Teller, "teller").ask("answers") == (999, 997)
        assert (await system.ref(Till, "till").ask("state"))[0] == 997


async def test_an_actor_with_policies_goes_on_when_it_is_spawned(folder: Path) -> None:
    async with shop(folder) as system:
        with pytest.raises(LookupError):
            system.ref(Box, "patient")
        again = [Retry(3, backoff=Fixed(3600))]
        await system.spawn(Box(shut=False), name="patient", durable=True, policies=again)
        await quiet(system)
        assert await taken(system, "patient") == (["refuse", {}, 2],)


async def test_one_that_had_crashed_comes_back(folder: Path) -> None:
    async with shop(folder) as system:
        assert await system.ref(Till, "crashed").ask("state") == (7, None, ())


async def test_an_actor_has_the_restarts_that_it_was_spawned_with(folder: Path) -> None:
    async with shop(folder) as system:
        till = system.ref(Till, "till")
        for _ in range(2):
            await till.tell("crash")
        assert (await till.ask("state"))[0] == 997
        await till.tell("crash")
        await till.stopped()

        with pytest.raises(ActorStopped):
            await till.ask("state")


async def test_dead_letters_are_there_and_can_be_replayed(folder: Path) -> None:
    async with shop(folder) as system:
        first, second = system.dead_letters()
        assert (first.id, first.body, first.stage_or_actor) == ("5", "refuse", "/shop/stash")
        assert (first.reason, str(first.error), first.attempts) == ("failed", "Refused: refused", 1)
        assert (second.body, second.stage_or_actor) == ("crash", "/shop/crashed")
        await system.replay(first)
        await quiet(system)
        assert (await taken(system, "stash"))[-1] == ["refuse", {}, 1]


async def test_all_of_it_is_there_again_as_this_release_has_stored_it(folder: Path) -> None:
    found = []
    for _ in range(2):
        async with shop(folder) as system:
            state = await system.ref(Till, "till").ask("state")
            found.append((state[0], state[2], await system.ref(Teller, "teller").ask("answers")))

    assert found[0] == found[1]
