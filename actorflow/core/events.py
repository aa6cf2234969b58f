"""What happened, as frozen values: the only thing that observers ever see.

An observer gets each event after the fact. It cannot change or undo what it is told
about, and if it raises, that is logged and counted and nothing else. It is called where
the thing happens, so one that is slow slows the run down.

    of actors     ActorStarted · ActorRestarting · ActorEnded · AttemptFailed · MessageDied
                  MailboxSpilled · ThreadStuck · StatusSet
    of items      ItemAccepted ─► ItemStarted ─┬► ItemDone ──► ... ──► ItemOut ──► ItemEnded
                                ▲              ├► ItemRetried, ItemReturned: started again
                                └──────────────┤
                                               └► ItemSkipped, ItemFailed ──────► ItemEnded

A run tells of items only while an observer wants to hear of them, because that costs as much
as the turns themselves. An observer says which events it wants by ``wants``, a tuple of their
types; one that says nothing gets all there are.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias

import attrs

from actorflow.core.letters import DeadLetter, Reason

__all__ = [
    "ACTOR_EVENTS",
    "ActorEnded",
    "ActorRestarting",
    "ActorStarted",
    "AttemptFailed",
    "Event",
    "ItemAccepted",
    "ItemDone",
    "ItemEnded",
    "ItemEvent",
    "ItemFailed",
    "ItemOut",
    "ItemRetried",
    "ItemReturned",
    "ItemSkipped",
    "ItemStarted",
    "MailboxSpilled",
    "MessageDied",
    "Observer",
    "StatusSet",
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


@attrs.frozen
class StatusSet:
    """A turn has said by `ctx.status` or `ctx.progress` what it is doing."""

    path: str
    message_id: str
    text: str
    done: float | None
    total: float | None


# Items --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ItemEvent:
    """Something has happened to an item of a run, or to a piece of it.

    Attributes:
        item: Id of the fed item: its number, or what ``ids=`` said.
        number: Its place in the order of feeding, from 0.
        message_id: Id of the message: ``"17"``, or that of a piece, such as ``"17.0"``; of a
            batch that of its first member.
        at: When, on trio's clock.
    """

    item: Any
    number: int
    message_id: str
    at: float


@attrs.frozen(kw_only=True)
class ItemAccepted(ItemEvent):
    """It was fed to *stage* and is inside from now on."""

    stage: str


@attrs.frozen(kw_only=True)
class ItemStarted(ItemEvent):
    """A worker begins its *attempt*-th attempt; *worker* is its path."""

    stage: str
    worker: str
    attempt: int


@attrs.frozen(kw_only=True)
class ItemDone(ItemEvent):
    """A stage is done with it and has sent *values* on for it."""

    stage: str
    worker: str
    attempt: int
    values: int


@attrs.frozen(kw_only=True)
class ItemSkipped(ItemEvent):
    """A stage is done with it and has sent nothing on."""

    stage: str
    worker: str
    attempt: int


@attrs.frozen(kw_only=True)
class ItemRetried(ItemEvent):
    """An attempt has failed; the next one follows in *delay* seconds."""

    stage: str
    worker: str
    attempt: int
    error: BaseException
    delay: float


@attrs.frozen(kw_only=True)
class ItemReturned(ItemEvent):
    """The run itself has ended the turn; the attempt does not count."""

    stage: str
    worker: str


@attrs.frozen(kw_only=True)
class ItemFailed(ItemEvent):
    """It has become a dead letter, or a piece of it has."""

    stage: str
    reason: Reason
    error: BaseException | None
    attempts: int


@attrs.frozen(kw_only=True)
class ItemOut(ItemEvent):
    """A value has come out of the flow for it."""

    stage: str


@attrs.frozen(kw_only=True)
class ItemEnded(ItemEvent):
    """Nothing of it is inside any more: the last event of an item, and as it is counted."""

    status: Literal["done", "skipped", "failed"]


Event: TypeAlias = (
    ActorStarted
    | ActorRestarting
    | ActorEnded
    | AttemptFailed
    | MessageDied
    | MailboxSpilled
    | ThreadStuck
    | StatusSet
    | ItemEvent
)


#: All but those of items.
ACTOR_EVENTS = (
    ActorStarted,
    ActorRestarting,
    ActorEnded,
    AttemptFailed,
    MessageDied,
    MailboxSpilled,
    ThreadStuck,
    StatusSet,
)


class Observer(Protocol):
    """Anything with this method can watch a run or a system.

    It may have `wants` too: a tuple of the types of events it wants, `ItemEvent` for all those of
    items. Without it, it gets every event.
    """

    def on_event(self, event: Any) -> None:
        """Take one event; must be quick, and may raise without harm."""
