"""Fill a mailbox with what a cut had in it, before anybody reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.runtime.effects import put_later
from actorflow.runtime.lanes import RankedQueue
from actorflow.runtime.mailbox import Mailbox
from actorflow.wire.snapshot import ASIDE, DUE, LATER, LEASED, SLEEPING, USER, Record

__all__ = ["refill"]

#: What was leased comes first, then what was due; both before the user lane.
_FIRST = {LEASED: 0, DUE: 1, ASIDE: 1}


def refill(mailbox: Mailbox, entries: Iterable[tuple[Envelope, Record]]) -> None:
    """Put *entries* into the lanes they were in, in their order.

    Args:
        mailbox: Empty, and without readers yet.
        entries: Messages with their records.
    """
    kernel = mailbox.kernel
    ahead = kernel.ports.wall() - kernel.now()
    due: list[tuple[Envelope, Record]] = []
    user: list[tuple[Envelope, Record]] = []
    for envelope, record in entries:
        if record.lane in _FIRST:
            due.append((envelope, record))
        elif record.lane == USER:
            user.append((envelope, record))
        else:
            when = max(kernel.now(), record.more["due"] - ahead)
            if record.lane == SLEEPING:
                mailbox.sleep(envelope, when, record.more["position"])
            elif record.lane == LATER:
                put_later(mailbox, envelope, when)
    due.sort(key=lambda pair: (_FIRST[pair[1].lane], pair[1].order))
    user.sort(key=lambda pair: pair[1].order)
    if due:
        mailbox.due = deque(envelope for envelope, _ in due)
    if user:
        queue: Any = deque(envelope for envelope, _ in user)
        if mailbox.priorities and any(pair[0].priority != DEFAULT_PRIORITY for pair in user):
            queue = RankedQueue(queue)
        mailbox.queue = queue
        mailbox.swift = mailbox.overflow == "block" and mailbox.capacity > 0 and not mailbox.dated
        # What had been tried had brought its own place.
        mailbox.limit += sum(envelope.attempt > 0 for envelope, _ in user)
    mailbox.look_again()
