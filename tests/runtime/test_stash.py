"""Stashed messages: put aside, brought back in front, never lost."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from actorflow import Actor, ActorSystem, Turn
from tests.runtime.actors import Crash, Does, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")


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
