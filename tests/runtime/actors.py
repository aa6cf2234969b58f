"""Actors that the tests of the runtime share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from actorflow import Actor, ActorSystem, DeadLetter, Turn
from actorflow.runtime.mailbox import Mailbox


class Does(Actor):
    """Handles each message with a function of the test."""

    do: Callable[[Any, Turn], Awaitable[Any]]

    async def receive(self, message: Any, ctx: Turn) -> Any:
        return await self.do(message, ctx)


class Keeps(Actor):
    """Keeps what it gets, in a list of the test."""

    kept: list[Any] = attrs.Factory(list)

    async def receive(self, message: Any, ctx: Turn) -> None:
        self.kept.append(message)


class Holds(Actor):
    """Handles nothing before *gate* is set."""

    gate: trio.Event
    kept: list[Any] = attrs.Factory(list)

    async def receive(self, message: Any, ctx: Turn) -> None:
        await self.gate.wait()
        self.kept.append(message)


class Hangs(Actor):
    """Never comes back from a message."""

    async def receive(self, message: Any, ctx: Turn) -> None:
        await trio.sleep_forever()


class Crash(BaseException):
    """Ends an actor, and says nothing else."""


def letters(system: ActorSystem) -> list[tuple[Any, str, int]]:
    """The dead letters: body, reason, attempts."""
    return [(each.body, each.reason, each.attempts) for each in system.dead_letters()]


def letter(system: ActorSystem) -> DeadLetter:
    """The only dead letter."""
    (only,) = system.dead_letters()
    return only


def balanced(mailbox: Mailbox, leased: int = 0) -> bool:
    """The equation of one mailbox: what came in is done, dead or there."""
    return mailbox.accepted == mailbox.acked + mailbox.failed + leased + len(mailbox)
