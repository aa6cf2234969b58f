"""Fill a mailbox with what a cut had in it, before anybody reads it."""

from __future__ import annotations

import contextlib
from collections import deque
from operator import attrgetter
from typing import Any

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.runtime.effects import put_later
from actorflow.runtime.lanes import RankedQueue
from actorflow.runtime.mailbox import Mailbox
from actorflow.wire.snapshot import ASIDE, DUE, LATER, LEASED, SLEEPING, USER, Record

__all__ = ["cover", "refill"]

#: What was leased comes first, then what was due; both before the user lane.
_FIRST = {LEASED: 0, DUE: 1, ASIDE: 1}


def cover(mailbox: Mailbox) -> None:
    """Let a message of *mailbox* be leased only when a cut on the disk has it as it is, until
    its owner has ended for good."""
    assert mailbox.journal is not None
    mailbox.careful = mailbox.covered = True
    mailbox.journal.covered[mailbox] = None
    mailbox.look_again()


class Mail:
    """What a cut has for one mailbox.

    Attributes:
        waiting: Messages of the user lane.
        others: Those of other lanes, with their records.
        asked: Those of either whose answer a durable actor waits for.
    """

    __slots__ = ("asked", "others", "waiting")

    def __init__(self) -> None:
        self.asked: list[Envelope] = []
        self.waiting: list[Envelope] = []
        self.others: list[tuple[Envelope, Record]] = []

    def add(self, envelope: Envelope, record: Record) -> None:
        """One more message, in no order."""
        if record.lane == USER:
            self.waiting.append(envelope)
        else:
            self.others.append((envelope, record))
        if "asked" in record.more:
            self.asked.append(envelope)

    def envelopes(self) -> list[Envelope]:
        """All of them, in no order."""
        return [*self.waiting, *(envelope for envelope, _ in self.others)]


def refill(mailbox: Mailbox, mail: Mail) -> None:
    """Put *mail* into the lanes it was in, in its order.

    Args:
        mailbox: Empty, and without readers yet.
        mail: Its messages; those that were stashed are left out.
    """
    kernel = mailbox.kernel
    ahead = kernel.ahead()
    due: list[tuple[Envelope, Record]] = []
    for envelope, record in sorted(mail.others, key=_turn):
        if record.lane in _FIRST:
            due.append((envelope, record))
        elif record.lane == SLEEPING:
            when = max(kernel.now(), record.more["due"] - ahead)
            mailbox.sleep(envelope, when, record.more["position"])
            _hold_key(mailbox, envelope)
        elif record.lane == LATER:
            put_later(mailbox, envelope, max(kernel.now(), record.more["due"] - ahead))
    if due:
        due.sort(key=lambda pair: (_FIRST[pair[1].lane], pair[1].order))
        mailbox.due = deque(envelope for envelope, _ in due)
    if mail.waiting:
        _fill_user_lane(mailbox, mail.waiting)
    mailbox.look_again()


def _turn(mail: tuple[Envelope, Record]) -> tuple[float, int]:
    """Moments that have passed while nobody ran become one, so their order is kept here."""
    record = mail[1]
    return record.more.get("due", 0.0), record.order


def _hold_key(mailbox: Mailbox, envelope: Envelope) -> None:
    """A message that waits for a retry has kept its key."""
    with contextlib.suppress(Exception):  # A key function of the user's; the lease says it.
        key = None if mailbox.key_of is None else mailbox.key_of(envelope.body)
        if key is not None and key not in mailbox.held_keys:
            mailbox.held_keys[key] = deque()
            envelope.key = key


def _fill_user_lane(mailbox: Mailbox, waiting: list[Envelope]) -> None:
    waiting.sort(key=attrgetter("order"))
    ranked = any(envelope.priority != DEFAULT_PRIORITY for envelope in waiting)
    queue: Any = deque(waiting)
    mailbox.queue = RankedQueue(queue) if ranked and mailbox.priorities else queue
    mailbox.swift = mailbox.overflow == "block" and mailbox.capacity > 0 and not mailbox.dated
    # What had been tried had brought its own place.
    mailbox.limit += sum(envelope.attempt > 0 for envelope in waiting)
