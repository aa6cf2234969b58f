"""Choose the next message and lease it: the one gate before every turn.

Asked in this order: is the mailbox paused, is something due, is the message too
late, is its key in use, do rate, breaker and bulkhead admit it. The answer is a
lease, `None` (nothing now; a wake-up is arranged where one is needed), or `AGAIN`
(a message was set aside or given up; look again after giving others their turn).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, Literal

from actorflow.core.envelope import UNWANTED, WITHDRAWN, Envelope
from actorflow.core.letters import Reason
from actorflow.errors import CircuitOpenError, DeadlineExceeded, UncleanEnds
from actorflow.policies.decision import Admit, Divert, Reject, Wait
from actorflow.runtime.bodies import refresh_body
from actorflow.runtime.cell import Cell
from actorflow.runtime.commit import divert
from actorflow.runtime.mailbox import MOMENT, Mailbox
from actorflow.runtime.reply import EXPECTED, excuse
from actorflow.runtime.telling import tell_returned, tell_started
from actorflow.runtime.withdraw import withdraw

__all__ = ["AGAIN", "Again", "give_back", "next_lease"]


class Again:
    """The only value of its type; see the module."""


AGAIN: Final = Again()


def next_lease(cell: Cell) -> Envelope | Again | None:
    """Lease the next message to *cell*, its attempt counted, or say why not."""
    mailbox = cell.mailbox
    if mailbox.paused:
        return None
    if mailbox.next_aside < math.inf and mailbox.next_aside <= cell.now() + MOMENT:
        mailbox.wake_aside()  # Or this lease could overtake them.
    due = mailbox.due
    lane: Any = due
    if not due:
        lane = mailbox.queue
        if not lane:
            return None
        full = mailbox.crowd() >= mailbox.max_waiting and (mailbox.sleeping or mailbox.held_keys)
        if full and not lane[0].attempt:
            return None  # Nothing new until one of those that wait has come back.
    envelope: Envelope = lane[0]
    if _too_late(cell, envelope):
        if envelope.deadline == UNWANTED:
            _give_up(mailbox, lane, "sibling_failed", None)
        elif envelope.deadline == WITHDRAWN:
            withdraw(mailbox, envelope)
        else:
            _give_up(mailbox, lane, "expired", DeadlineExceeded(mailbox.path))
        return AGAIN
    try:
        keyed = mailbox.key_of is not None and envelope.key is None
        if keyed and not _hold_key(mailbox, envelope, lane):
            return AGAIN
        answer = True if cell.gate is None else _ask_gate(cell, envelope, lane)
        if answer is True and mailbox.careful:
            answer = _ask_disk(cell, envelope, lane)
        if answer is None and keyed and envelope.key is not None:
            mailbox.release_key(envelope)  # Who waits in the queue holds nothing up.
        if answer is not True:
            return answer
        if cell.gate is not None:
            cell.token = cell.gate.take(cell.now(), envelope.body)
    except BaseException as error:  # A key function of the user's; the message pays for it.
        _give_up(mailbox, lane, "failed", error)
        return AGAIN
    _take(mailbox, lane)
    envelope.attempt += 1
    if envelope.attempt == 1 and cell.chain is not None and cell.chain.budgeted:
        cell.chain.first_lease()
    cell.lease = envelope
    if mailbox.kernel.watched and cell.work is not None:
        tell_started(cell, envelope)
    if mailbox.journal is not None:
        if mailbox.journal.careful is not None:
            mailbox.journal.careful.begun(envelope)
        mailbox.journal.note(envelope, mailbox)
    if mailbox.idle and (mailbox.due or mailbox.queue):
        mailbox.wake()  # Whoever gets past the gate tells the next one.
    return envelope


def _take(mailbox: Mailbox, lane: Any) -> None:
    """Remove the head of *lane*, and tell whoever waits for the room it leaves."""
    envelope = lane.popleft()
    if lane is mailbox.due:
        if not lane:
            mailbox.look_again()
        return
    if envelope.attempt:
        mailbox.limit -= 1  # A redelivery had brought its own place.
        if not mailbox.quiet:
            mailbox.look_again()
    if mailbox.writers:
        mailbox.room_made()


def _give_up(
    mailbox: Mailbox, lane: Any, reason: Reason, error: BaseException | None, attempts: int = 0
) -> None:
    """Let the head of *lane* leave as a dead letter, which says *attempts* at least; a key that
    it holds is free again."""
    envelope = lane[0]
    _take(mailbox, lane)
    if envelope.attempt < attempts:
        envelope.attempt = attempts
    mailbox.failed += 1
    mailbox.ledger.give_up(envelope, reason, error, mailbox.path)
    if envelope.key is not None:
        mailbox.release_key(envelope)


def _too_late(cell: Cell, envelope: Envelope) -> bool:
    mailbox = cell.mailbox
    if envelope.deadline is None and not mailbox.dated:
        return False
    now = cell.kernel.now()
    if envelope.deadline is not None and now >= envelope.deadline:
        return not (excuse(envelope) and now < envelope.deadline)
    allowed = cell.chain.deadline if mailbox.dated else None
    return allowed is not None and now >= envelope.since + allowed


def _ask_disk(cell: Cell, envelope: Envelope, lane: Any) -> Again | Literal[True] | None:
    """Whether the disk has what it must have before *envelope* is leased."""
    mailbox = cell.mailbox
    journal = mailbox.journal
    assert journal is not None
    if mailbox.covered and not journal.covers(envelope):
        return None  # The next commit wakes a reader.
    answer = True if journal.careful is None else journal.careful.asked(envelope, mailbox)
    if answer is None or answer:
        return True if answer else None
    if envelope.reply is EXPECTED:  # Its asker makes it again, and is told; the entry stays.
        withdraw(mailbox, envelope)
        cell.kept.unask(envelope)
        return AGAIN
    ends, attempts = journal.careful.convicted(envelope, mailbox)
    _give_up(mailbox, lane, "poison", UncleanEnds(mailbox.path, ends), max(1, attempts))
    return AGAIN


def _hold_key(mailbox: Mailbox, envelope: Envelope, lane: Any) -> bool:
    """Take the key of *envelope* for it; `False` if it now waits for another to give it up."""
    assert mailbox.key_of is not None
    key = mailbox.key_of(envelope.body)
    if key is None:  # In no order with anything.
        return True
    followers = mailbox.held_keys.get(key)
    if followers is not None:
        _take(mailbox, lane)
        followers.append(envelope)
        mailbox.set_aside()
        return False
    mailbox.held_keys[key] = deque()
    envelope.key = key
    return True


def _ask_gate(cell: Cell, envelope: Envelope, lane: Any) -> Again | Literal[True] | None:
    """`True` if admitted; else what `next_lease` answers."""
    mailbox, kernel = cell.mailbox, cell.kernel
    now = kernel.now()
    answer = cell.gate.ready(now, envelope.body, draining=kernel.draining)
    match answer:
        case Admit():
            return True
        case Wait(seconds, keyed):
            if not keyed or seconds is None:
                _reopen_in(mailbox, seconds)
                return None
            _take(mailbox, lane)
            mailbox.step_aside(envelope, seconds)
            return AGAIN
        case Reject():
            _give_up(mailbox, lane, "rejected", CircuitOpenError(mailbox.path, answer.retry_in))
            return AGAIN
        case Divert(to):
            _take(mailbox, lane)
            divert(cell, envelope, to)
            if envelope.key is not None:
                mailbox.release_key(envelope)
            return AGAIN
    raise AssertionError(answer)


def _reopen_in(mailbox: Mailbox, seconds: float | None) -> None:
    """Look at the gate again in *seconds*; `None`: when somebody records an outcome."""
    if seconds is None:
        return
    heap, when = mailbox.kernel.heap, mailbox.kernel.now() + seconds
    if mailbox.reopening is not None:
        if mailbox.reopening[2] is not None and mailbox.reopening[0] <= when:
            return
        heap.settle(mailbox.reopening)
    mailbox.reopening = heap.at(when, lambda _: mailbox.wake_for_work())


def give_back(cell: Cell) -> None:
    """Put the lease back in front: we ended the turn ourselves and no attempt is spent."""
    envelope = cell.lease
    assert envelope is not None
    mailbox = cell.mailbox
    envelope.attempt -= 1
    cell.lease = None
    if mailbox.kernel.watched and cell.work is not None:
        tell_returned(cell, envelope)
    cell.roll_back()
    refresh_body(envelope)
    if cell.token is not None:
        cell.gate.record(cell.kernel.now(), cell.token, None)
        cell.token = None
    mailbox.put_due(envelope, front=True)
