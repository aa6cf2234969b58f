"""Between the handler's end and the commit: wait for room, ask the policies, decide.

A turn commits when each of its targets has room for one message. Meanwhile nothing
has happened yet, so a stop here simply gives the message back. Blocked commits form
a graph of waits; one that no running actor could ever untie is broken by letting
the commit that closed it go above the capacity.
"""

from __future__ import annotations

from typing import Any

import trio

from actorflow.core.envelope import UNWANTED, WITHDRAWN
from actorflow.errors import (
    DeadlineExceeded,
    EncodeError,
    MailboxFull,
    MessageFailed,
    SchemaError,
    UnknownRoute,
    WorkerDied,
)
from actorflow.policies.decision import Ack, Escalate, Quarantine, Redeliver, Restart, Stop
from actorflow.runtime.cell import Cell, Ending
from actorflow.runtime.commit import commit_failure, commit_value
from actorflow.runtime.effects import Effects
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.offload import wait_for_stuck
from actorflow.runtime.waits import hopeless
from actorflow.wire.codec import encode

__all__ = ["choose", "make_room", "rooms_ahead", "settle", "targets_of", "unwritable", "values_of"]

#: A commit that sends to several actors goes ahead after waiting this long for all of them to
#: have room, in seconds. Stages wait: what follows a stage never waits for it.
SEVERAL_WAIT_SECONDS = 1.0


async def settle(cell: Cell, value: Any, error: BaseException | None) -> Ending | None:
    """Finish the turn that ended with *value* or *error*; an `Ending` ends the incarnation."""
    if cell.stuck is not None:
        await wait_for_stuck(cell)
    if error is None and cell.kept is not None:
        error = cell.kept.pack(cell, value)
    if error is None:
        error = unwritable(cell)
    if error is None and cell.target is not None and cell.target.forked:
        error = choose(cell, values_of(cell, value))
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    after = None if effects is None else effects.after
    if error is None:
        error = await make_room(cell, targets_of(cell))
        if error is None:
            commit_value(cell, value)
            if after is not None:
                await after(None, None)
            return None
    crashed = not isinstance(error, Exception) or isinstance(error, (WorkerDied, *cell.crash_on))
    decision = _decide(cell, error, crashed)
    if isinstance(decision, Restart):
        crashed = True
        decision = _decide(cell, error, crashed)
    commit_failure(cell, decision, error)
    if after is not None:
        await after(decision, error)
    if isinstance(decision, Escalate):
        return Ending("crash", error, in_turn=True, escalates=True)
    if crashed:
        return Ending("crash", error, in_turn=True)
    return Ending("stopped") if isinstance(decision, Stop) else None


def values_of(cell: Cell, value: Any) -> list[Any]:
    """What goes on from a turn of a stage that returned *value*."""
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    if effects is None:
        return [value]
    return effects.emits if effects.skipped else [*effects.emits, value]


def choose(cell: Cell, values: list[Any]) -> BaseException | None:
    """Settle which ways *values* go; functions of the flow's are called, and may fail."""
    target: Any = cell.target
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    headers = None if cell.lease is None else cell.lease.headers
    if effects is not None and effects.metadata is not None:
        headers = effects.metadata
    try:
        cell.chosen = target.choose(cell.lease, values, headers or {})
    except BaseException as error:
        return error
    return None


def unwritable(cell: Cell) -> EncodeError | None:
    """Why what the turn attaches to its item cannot be kept, if it must be and cannot."""
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    if effects is None or not effects.metadata or cell.mailbox.journal is None:
        return None
    try:
        encode(effects.metadata)
    except EncodeError as error:
        return EncodeError(f"{cell.mailbox.path}: ctx.metadata must be writable: {error}")
    return None


def _decide(cell: Cell, error: BaseException, crashed: bool) -> Any:
    envelope = cell.lease
    assert envelope is not None
    if isinstance(error, (MessageFailed, UnknownRoute)) or _is_misfit(error):  # None gets better.
        return Quarantine("failed")
    if envelope.deadline == UNWANTED:
        return Quarantine("sibling_failed")
    if envelope.deadline == WITHDRAWN:
        return Ack()
    if cell.chain is None:
        return Quarantine("expired" if isinstance(error, DeadlineExceeded) else "failed")
    kernel = cell.kernel
    age = kernel.now() - envelope.since if cell.mailbox.dated else 0.0
    try:
        decision = cell.chain.decide(
            envelope.attempt, error, crashed=crashed, age=age, draw=kernel.ports.draw()
        )
    except BaseException as mistake:  # A decider or backoff of the user's own.
        kernel.report(cell.path, "a policy failed to decide", mistake)
        return Quarantine("failed")
    late = isinstance(decision, Redeliver) and envelope.deadline is not None
    if late and kernel.now() + decision.delay >= envelope.deadline:
        return Quarantine("expired")  # The message's own deadline, which no chain knows.
    return decision


def _is_misfit(error: BaseException) -> bool:
    """Whether the message is not what its stage takes."""
    return isinstance(error, SchemaError) and error.side == "input"


def rooms_ahead(cell: Cell) -> list[Mailbox]:
    """The mailboxes that the values of a stage go into next."""
    if cell.chosen is None:
        return [cell.target]
    return list(dict.fromkeys(room for way, *_ in cell.chosen for room in way.rooms))


def targets_of(cell: Cell) -> list[Mailbox]:
    """The mailboxes this turn's commit will put into and may have to wait for."""
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    targets: list[Mailbox] = []
    if cell.target is not None and (effects is None or not effects.skipped or effects.emits):
        targets += rooms_ahead(cell)
    if effects is not None:
        for target, _, delay in effects.sends:
            if target is cell or delay > 0 or target in effects.newborn:
                continue  # A newborn begins to read only after this commit.
            if target.mailbox not in targets:
                targets.append(target.mailbox)
    return targets


async def make_room(cell: Cell, targets: list[Mailbox]) -> MailboxFull | None:
    """Wait until each of *targets* has room for one; answers an error if one refuses."""
    for mailbox in targets:
        if mailbox.overflow == "fail" and mailbox.free() <= 0:
            return MailboxFull(mailbox.path, mailbox.capacity)
    sends = cell.turn is not None and cell.turn.effects is not None and cell.turn.effects.sends
    granted: Mailbox | None = None
    while True:
        full = next((each for each in targets if each is not granted and not each.has_room()), None)
        if full is None:
            return None
        if granted is not None:
            granted.room_made()  # Nothing is held while waiting for something else.
        if hopeless(cell, full):
            return None
        cell.blocked = full
        careful = None if cell.mailbox.journal is None else cell.mailbox.journal.careful
        if careful is not None:
            careful.rests(cell.lease)
        try:
            if len(targets) == 1 or not sends:
                await full.wait_for_room()
            else:
                with trio.move_on_after(SEVERAL_WAIT_SECONDS) as patience:
                    await full.wait_for_room()
                if patience.cancelled_caught:
                    return None
        finally:
            cell.blocked = None
        granted = full
