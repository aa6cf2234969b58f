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

__all__ = ["FAILED", "NOTHING", "RETURNED", "SLICE_OVER", "SUSPENDED", "begin", "burst"]

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
    call = cell.call
    assert call is not None
    if cell.state is not None:
        cell.saved = cell.save(cell.state)
    try:
        if cell.wants_turn:
            cell.turn = cell.turn_type(cell, envelope)
            value = call(envelope.body, cell.turn)
        else:
            value = call(envelope.body)
        if not cell.coroutines:
            return RETURNED, value, None
        try:
            trap = value.send(None)
        except StopIteration as stop:
            return RETURNED, stop.value, None
        return SUSPENDED, value, trap
    except BaseException as error:
        return FAILED, error, None


def burst(cell: Cell) -> tuple[int, Any, Any]:
    """Take fast turns until one is not; answers what is to be done with that one."""
    mailbox, target, call, turn_type = cell.mailbox, cell.target, cell.call, cell.turn_type
    wants_turn, coroutines, gate, now = cell.wants_turn, cell.coroutines, mailbox.gate, cell.kernel.now
    assert call is not None
    state = cell.state
    packs = target is not None and target.packs
    left, slice_ends = TURNS_PER_SLICE, now() + SLICE_SECONDS
    while left:
        queue = mailbox.queue
        if not queue or not mailbox.quiet or cell.alert:
            return NOTHING, None, None
        envelope = queue[0]
        if envelope.attempt or (envelope.deadline is not None and now() >= envelope.deadline):
            return NOTHING, None, None
        if gate is not None and not (gate.calm and gate.swift(now())):
            return NOTHING, None, None
        cell.lease = queue.popleft()
        envelope.attempt = 1
        if mailbox.writers:
            mailbox.room_made()
        left -= 1
        if not left & LOOK_MASK and now() >= slice_ends:
            left = 0

        try:
            if state is not None:
                cell.saved = cell.save(state)
            if wants_turn:
                turn = cell.turn = turn_type(cell, envelope)
                value = call(envelope.body, turn)
            else:
                value = call(envelope.body)
            if coroutines:
                try:
                    trap = value.send(None)
                except StopIteration as stop:
                    value = stop.value
                else:
                    return SUSPENDED, value, trap
        except BaseException as error:
            return FAILED, error, None

        turn = cell.turn
        if turn is not None:
            if turn.effects is not None:
                return RETURNED, value, None
            turn.close()
            cell.turn = None
        if target is None:
            commit_value(cell, value)
            continue
        if target.direct:
            cell.lease = None
            mailbox.acked += 1
            envelope.body = value
            target.put(envelope)
            continue
        if (
            not target.swift
            or target.writers
            or len(target.queue) + target.reserved >= target.limit
            or envelope.priority != DEFAULT_PRIORITY
            or (packs and type(value) not in FROZEN)
        ):
            return RETURNED, value, None
        cell.lease = None
        mailbox.acked += 1
        envelope.body = value
        envelope.attempt = 0
        envelope.packed = None
        target.accepted += 1
        target.queue.append(envelope)
        if target.idle:
            target.wake()
    return SLICE_OVER, None, None
