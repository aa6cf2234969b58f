"""What happened, as frozen values: the only thing that observers ever see.

An observer gets each event after the fact. It cannot change, delay or undo what
it is told about, and if it raises, that is logged and counted and nothing else.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import attrs

from actorflow.core.letters import DeadLetter

__all__ = [
    "ActorEnded",
    "ActorRestarting",
    "ActorStarted",
    "AttemptFailed",
    "Event",
    "MailboxSpilled",
    "MessageDied",
    "Observer",
    "ThreadStuck",
]


@attrs.frozen
class ActorStarted:
    """An incarnation is ready for messages."""

    path: str
    incarnation: int


@attrs.frozen
class ActorRestarting:
    """An incarnation crashed and another follows in *delay* seconds."""

    path: str
    incarnation: int
    error: BaseException | None
    delay: float


@attrs.frozen
class ActorEnded:
    """An actor has ended for good."""

    path: str
    incarnation: int
    reason: str | BaseException


@attrs.frozen
class AttemptFailed:
    """An attempt failed and the message will be tried again in *delay* seconds."""

    path: str
    message_id: str
    attempt: int
    error: BaseException
    delay: float


@attrs.frozen
class MessageDied:
    """A message became a dead letter."""

    letter: DeadLetter


@attrs.frozen
class MailboxSpilled:
    """A mailbox took *count* messages above its capacity, to break a circle of waits."""

    path: str
    count: int


@attrs.frozen
class ThreadStuck:
    """A thread runs on after its timeout; its worker stays taken until it ends."""

    path: str
    message_id: str


Event: TypeAlias = (
    ActorStarted
    | ActorRestarting
    | ActorEnded
    | AttemptFailed
    | MessageDied
    | MailboxSpilled
    | ThreadStuck
)


class Observer(Protocol):
    """Anything with this method can watch a system."""

    def on_event(self, event: Any) -> None:
        """Take one event; must be quick, and may raise without harm."""
