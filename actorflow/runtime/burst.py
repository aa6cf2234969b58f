"""The fast branch: whole turns in one frame, for as long as nothing asks for more.

A turn is fast if its message is at the head of a quiet mailbox, its handler neither
suspends nor asks for anything through `ctx`, and its target has room. `burst` does
for such a turn what `next_lease`, `begin` and `commit_value` do for any; wherever it
cannot, it hands the turn over as it stands. It is a plain function: nothing can come
between the parts of a turn. The law tests run with the branch on and off.
"""

from __future__ import annotations

from typing import Any, Final

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.runtime.bodies import FROZEN
from actorflow.runtime.cell import Cell
from actorflow.runtime.commit import commit_value

__all__ = [
    "FAILED",
    "NOTHING",
    "RETURNED",
    "SLICE_OVER",
    "SUSPENDED",
    "begin",
    "burst",
]

#: What became of the last turn, and what goes with it.
NOTHING: Final = 0  # No message can be leased the fast way.
SLICE_OVER: Final = 1  # Others must get their turn.
SUSPENDED: Final = 2  # (coroutine, what it waits for)
RETURNED: Final = 3  # (value, None): to be settled
FAILED: Final = 4  # (error, None): to be settled

#: Turns before other tasks get theirs, and the seconds after which they do anyway.
TURNS_PER_SLICE = 64
SLICE_SECONDS = 0.001

#: The time is looked at when the count of turns has these bits all 0.
LOOK_MASK = 7


def begin(cell: Cell, envelope: Envelope) -> tuple[int, Any, Any]:
    """Run the handler for a leased message up to its end or its first wait."""
    try:
        value = cell.call(envelope.body)
        if not cell.coroutines:
            return RETURNED, value, None
        try:
            trap = value.send(None)
        except StopIteration as stop:
            return RETURNED, stop.value, None
        return SUSPENDED, value, trap
    except BaseException as error:
        return FAILED, error, None


def burst(cell: Cell, envelope: Any, value: Any) -> tuple[int, Any, Any]:
    """Take fast turns until one is not; answers what is to be done with that one.

    First the turn of *envelope* is committed, whose handler had suspended and has now
    returned *value*; `None` if there is no such turn.
    """
    mailbox, target, gate, call = cell.mailbox, cell.target, cell.gate, cell.call
    left = TURNS_PER_SLICE - (envelope is not None)  # `drive` has noted when its slice ends.
    while True:
        if envelope is not None:
            if (turn := cell.turn) is not None:
                if turn.effects is not None:
                    return RETURNED, value, None
                turn.close()
                cell.turn = None
            if target is None:
                commit_value(cell, value)
            elif (
                target.swift
                and len(target.queue) + target.reserved < target.limit
                and not target.writers
                and envelope.priority == DEFAULT_PRIORITY
                and (not target.packs or type(value) in FROZEN)
            ):
                cell.lease = envelope.packed = None
                mailbox.acked += 1
                envelope.body = value
                envelope.attempt = 0
                target.accepted += 1
                target.queue.append(envelope)
                if target.journal is not None:
                    target.journal.touch(envelope, target)
                if target.idle:
                    target.wake()
            else:
                return RETURNED, value, None
        if not left & LOOK_MASK and (not left or slice_over(cell, left)):
            return SLICE_OVER, None, None
        left -= 1
        if not (queue := mailbox.queue) or not mailbox.quiet or cell.alert:
            return NOTHING, None, None
        envelope = queue[0]
        late = envelope.deadline is not None and cell.now() >= envelope.deadline
        if late or envelope.attempt or (gate and not (gate.calm and gate.swift(cell.now()))):
            return NOTHING, None, None
        cell.lease = queue.popleft()
        envelope.attempt = 1
        if mailbox.writers:
            mailbox.room_made()
        try:
            value = call(envelope.body)
            if cell.coroutines:
                try:
                    trap = value.send(None)
                except StopIteration as stop:
                    value = stop.value
                else:
                    return SUSPENDED, value, trap
        except BaseException as error:
            return FAILED, error, None


def slice_over(cell: Cell, left: int) -> bool:
    """Whether this slice has had its time; looked at every few turns."""
    now = cell.now()
    if left == TURNS_PER_SLICE:
        cell.slice_ends = now + SLICE_SECONDS
        return False
    return now >= cell.slice_ends
