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
from actorflow.core.timings import SAMPLED
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

#: What became of the last turn, and what goes with it. The place of a turn is 1 if it had
#: waited before the burst, else minus the number of turns that the burst has committed before.
NOTHING: Final = 0  # (None, place): no message can be leased the fast way.
SLICE_OVER: Final = 1  # (None, place): others must get their turn.
SUSPENDED: Final = 2  # (coroutine, what it waits for)
RETURNED: Final = 3  # (value, place): to be settled
FAILED: Final = 4  # (error, place): to be settled

#: Turns before other tasks get theirs, and the seconds after which they do anyway.
TURNS_PER_SLICE = 64
SLICE_SECONDS = 0.001

#: Turns left when a burst has begun its first turn.
FIRST = TURNS_PER_SLICE - 1


def begin(cell: Cell, envelope: Envelope) -> tuple[int, Any, Any]:
    """Run the handler for a leased message up to its end or its first wait."""
    work = cell.work
    if work is not None and not work.plain % SAMPLED:
        work.looked = cell.now()
    try:
        value = cell.call(envelope.body)
        if not cell.coroutines:
            return RETURNED, value, 0
        try:
            trap = value.send(None)
        except StopIteration as stop:
            return RETURNED, stop.value, 0
        return SUSPENDED, value, trap
    except BaseException as error:
        return FAILED, error, 0


def burst(cell: Cell, envelope: Any, value: Any) -> tuple[int, Any, Any]:
    """Commit the turn of *envelope*, if one is given, then take fast turns until one is not."""
    mailbox, target, gate, call = cell.mailbox, cell.target, cell.gate, cell.call
    left, looks = TURNS_PER_SLICE, LOOKS if (work := cell.work) is None else TIMED
    if envelope is None:  # Else `drive` has noted when the slice ends.
        _begin_slice(cell)
    while True:
        if envelope is not None:
            if (turn := cell.turn) is not None:
                if turn.effects is not None:
                    return RETURNED, value, left - FIRST
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
                envelope.body, envelope.attempt = value, 0
                target.accepted += 1
                target.queue.append(envelope)
                if target.journal is not None:
                    target.journal.touch(envelope, target)
                if target.idle:
                    target.wake()
            elif not (target.forked and target.pass_on(cell, envelope, value)):
                return RETURNED, value, left - FIRST
        left -= 1
        if looks[left] and looks[left](cell):
            return SLICE_OVER, None, left - FIRST
        if not (queue := mailbox.queue) or not mailbox.quiet or cell.alert:
            return NOTHING, None, left - FIRST
        envelope = queue[0]
        if envelope.deadline is not None and cell.now() >= envelope.deadline:
            return NOTHING, None, left - FIRST
        if envelope.attempt or (gate and not (gate.calm and gate.swift(cell.now()))):
            return NOTHING, None, left - FIRST
        cell.lease = queue.popleft()
        envelope.attempt = 1
        if mailbox.writers:
            mailbox.room_made()
        try:
            value = call(envelope.body)
            if cell.coroutines:
                try:
                    trap = value.send(None)
                    if left != FIRST and work is not None:
                        work.inline += FIRST - left
                    return SUSPENDED, value, trap
                except StopIteration as stop:
                    value = stop.value
        except BaseException as error:
            return FAILED, error, left - FIRST


def _begin_slice(cell: Cell) -> None:
    """Note when the slice must end; and that its first turn is timed, if it is a worker's."""
    now = cell.now()
    cell.slice_ends = now + SLICE_SECONDS
    if cell.work is not None:
        cell.work.looked = now


def _slice_over(cell: Cell) -> bool:
    """Whether this slice has had its time."""
    return cell.now() >= cell.slice_ends


def _time_first(cell: Cell) -> bool:
    """The first turn of a burst is over."""
    work: Any = cell.work
    work.sample(cell.now)
    return False


def _always(cell: Cell) -> bool:
    return True


#: What is asked whether the slice is over, by the turns left; the last is for -1: none is.
LOOKS: tuple[Any, ...] = (*[*[None] * 7, _slice_over] * (TURNS_PER_SLICE // 8), _always)
TIMED: tuple[Any, ...] = (*LOOKS[: FIRST - 1], _time_first, None, _always)
