"""Take a message back, for whoever has sent it and wants it no more: a timer its tick, too.

    it waits: in a lane, for a retry, behind its key    out, and acknowledged: nobody has failed
    its handler runs                                    cut short at its next checkpoint; a value
                                                        that it gives all the same counts
    its handler has ended, the commit waits             it goes on, up to the next lease

Whatever a handler that was cut short raises is no failure: no retry, no dead letter, and
no evidence for a circuit breaker.
"""

from __future__ import annotations

from actorflow.core.envelope import WITHDRAWN, Envelope
from actorflow.runtime.cell import Cell
from actorflow.runtime.mailbox import Mailbox

__all__ = ["cut_short", "withdraw"]


def withdraw(mailbox: Mailbox, envelope: Envelope) -> bool:
    """Take *envelope* out of *mailbox* and acknowledge it; `False` if it does not wait there."""
    if not _taken_out(mailbox, envelope):
        return False
    mailbox.acked += 1
    mailbox.skipped += 1
    if envelope.key is not None:
        mailbox.release_key(envelope)
    mailbox.ledger.acknowledge(envelope)
    return True


def _taken_out(mailbox: Mailbox, envelope: Envelope) -> bool:
    sleeping = mailbox.sleeping
    if sleeping is not None and envelope in sleeping:
        mailbox.kernel.heap.settle(sleeping.pop(envelope))
        mailbox.bring_back()
        return True
    if mailbox.due is not None and envelope in mailbox.due:
        mailbox.due.remove(envelope)
        mailbox.look_again()
        return True
    if envelope in mailbox.queue:
        mailbox.queue.remove(envelope)
        if envelope.attempt:
            mailbox.limit -= 1  # A redelivery had brought its own place.
            mailbox.look_again()
        mailbox.room_made()
        return True
    for followers in mailbox.held_keys.values():
        if envelope in followers:
            followers.remove(envelope)
            mailbox.bring_back()
            return True
    return False


def cut_short(cell: Cell) -> None:
    """End the turn of *cell* at its handler's next checkpoint; its message is not wanted any more.

    A turn whose handler has ended and whose commit waits cannot be cut short.
    """
    assert cell.lease is not None
    cell.lease.deadline = WITHDRAWN
    committing = cell.blocked is not None or bool(cell.stuck) or cell.pending is not None
    if cell.scope is not None and not (committing or cell.killed or cell.timed_out):
        cell.timed_out = True
        cell.scope.cancel()
