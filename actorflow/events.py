"""The events that observers get: import them from here.

    from actorflow.events import ItemFailed, ItemRetried

What each is, and when it comes, stands in `actorflow.core.events`.
"""

from actorflow.core.events import (
    ActorEnded,
    ActorRestarting,
    ActorStarted,
    AttemptFailed,
    Event,
    ItemAccepted,
    ItemDone,
    ItemEnded,
    ItemEvent,
    ItemFailed,
    ItemOut,
    ItemRetried,
    ItemReturned,
    ItemSkipped,
    ItemStarted,
    MailboxSpilled,
    MessageDied,
    Observer,
    StatusSet,
    ThreadStuck,
)

__all__ = [
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
