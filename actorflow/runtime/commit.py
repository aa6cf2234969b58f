"""The commit: the only place where a turn's state, lease, sends and timers meet.

Every function here is plain, without an await, so that a cut sees all of a turn or
nothing of it. Each takes the lease out of its cell and puts envelopes somewhere
else: that is the one move of the house, and the law of conservation is about it.
"""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import UNWANTED, WITHDRAWN, Envelope, child, message_id
from actorflow.core.events import AttemptFailed, MailboxSpilled
from actorflow.core.letters import Reason
from actorflow.errors import DeadlineExceeded
from actorflow.policies.decision import Ack, Divert, Quarantine, Redeliver, Skip
from actorflow.runtime.bodies import copied, put_as_sent, refresh_body
from actorflow.runtime.cell import Cell
from actorflow.runtime.effects import UNSET, Effects, put_later, spawn, stash
from actorflow.runtime.telling import tell_moved, tell_retried, tell_skipped

__all__ = [
    "commit_emission",
    "commit_failure",
    "commit_start",
    "commit_stop",
    "commit_value",
    "divert",
]

#: Overflow rules under which a commit goes above the capacity rather than lose a message.
SPILLS = ("block", "fail")


def commit_value(cell: Cell, value: Any) -> None:
    """The turn ended well: its effects happen, the message is acknowledged or moves on."""
    envelope = cell.lease
    assert envelope is not None
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    mailbox = cell.mailbox
    if effects is not None:
        if effects.metadata is not None:
            envelope.headers = effects.metadata
        _apply(cell, effects)
        if effects.stashed:
            envelope.emitted += cell.turn.children()  # What it sends next time has ids of its own.
            stash(cell, envelope)
            if cell.kept is not None:
                cell.kept.set_aside(envelope)
            _release(cell, True)
            return
    mailbox.acked += 1
    if cell.kept is not None:
        cell.kept.note(envelope)
    _release(cell, True)
    if envelope.key is not None:
        mailbox.release_key(envelope)
    if cell.work is not None:
        cell.work.settled += 1
    if cell.target is not None:
        _move_on(cell, cell.target, envelope, value, effects)
        return
    mailbox.ledger.acknowledge(envelope)
    if envelope.reply is not None:  # Last: an answer that changes nothing waits for no disk.
        if effects is not None and effects.answer is not UNSET:
            value = effects.answer
        _answer(cell, envelope, value)


def _move_on(
    cell: Cell, target: Any, envelope: Envelope, value: Any, effects: Effects | None
) -> None:
    """Send a stage's values on. One for one the envelope itself moves."""
    ledger: Any = cell.mailbox.ledger
    if cell.chosen is not None:
        sent, cell.chosen = target.admit(cell.chosen), None
    elif effects is None:
        sent = [(target, value)]
    else:
        values = effects.emits if effects.skipped else [*effects.emits, value]
        sent = [(target, each) for each in values]
    if cell.kernel.watched:
        tell_moved(cell, envelope, len(sent))
    if not sent:
        cell.mailbox.skipped += not envelope.emitted
        ledger.acknowledge(envelope)
        return
    way = sent[0][0]
    given = 0 if effects is None else effects.given
    if len(sent) > 1 or way.feedback or given:
        pieces = [_piece(envelope, each[1], at) for at, each in enumerate(sent, given)]
        _split(cell, envelope, pieces, sent)
        return
    envelope.body, envelope.packed = sent[0][1], None
    if not way.direct:  # At the way out the attempts belong to the result.
        envelope.attempt = envelope.emitted = 0
    way.put(envelope)


def _split(cell: Cell, envelope: Envelope, pieces: list[Envelope], sent: list[Any]) -> None:
    """Let *pieces* go in place of *envelope*. All get ids of their own: what keeps its id may
    split once more, and come round again."""
    cell.mailbox.ledger.fork(envelope, len(pieces) - 1)  # type: ignore[attr-defined]
    if cell.mailbox.journal is not None:
        cell.mailbox.journal.drop(envelope)
    for piece, (way, *_) in zip(pieces, sent, strict=True):
        piece.item = envelope.item
        if way.direct:
            piece.attempt = envelope.attempt
        way.put(piece)


def _piece(envelope: Envelope, value: Any, index: int) -> Envelope:
    piece = child(envelope, value, index)
    piece.item = envelope.item
    piece.born = envelope.born
    return piece


def commit_emission(cell: Cell, value: Any) -> None:
    """One step of a generator: one more piece goes on while the message stays leased."""
    envelope, target = cell.lease, cell.target
    assert envelope is not None
    sent: list[Any] = [(target, value)]
    if cell.chosen is not None:
        sent, cell.chosen = target.admit(cell.chosen), None
    index = envelope.emitted
    envelope.emitted = index + 1
    if cell.mailbox.journal is not None:
        cell.mailbox.journal.note(envelope, cell.mailbox)  # A cut has both or neither.
    if not sent:
        return
    cell.mailbox.ledger.fork(envelope, len(sent))  # type: ignore[attr-defined]
    effects: Effects | None = None if cell.turn is None else cell.turn.effects
    for at, (way, body, *_) in enumerate(sent):
        piece = _piece(envelope, body, index)
        if len(sent) > 1:
            piece.path = (piece.path, at)
        if effects is not None and effects.metadata is not None:
            piece.headers = copied(effects.metadata)  # As it is now; the turn may go on with it.
        put_as_sent(cell, way, piece)


def commit_start(cell: Cell) -> None:
    """`on_start` returned: what it asked for happens."""
    effects = None if cell.turn is None else cell.turn.effects
    if effects is not None:
        _apply(cell, effects)
    if cell.kept is not None:
        cell.kept.note(None)
    _release(cell, True)


def commit_stop(cell: Cell) -> None:
    """`on_stop` returned: what it sent leaves; nothing else it asked for can matter any more."""
    if cell.turn.effects is not None:
        _send(cell, cell.turn.effects)


def commit_failure(cell: Cell, decision: Any, error: BaseException) -> None:
    """The turn failed: the fields go back and the message goes where *decision* says."""
    envelope = cell.lease
    assert envelope is not None
    mailbox = cell.mailbox
    if cell.work is not None:
        cell.work.failed += 1
    cell.roll_back()
    refresh_body(envelope)
    # A turn that was cut short because nobody wants its message says nothing about the service.
    _release(cell, None if envelope.deadline in (UNWANTED, WITHDRAWN) else False)
    match decision:
        case Redeliver(delay, position):
            if cell.kernel.observers:
                cell.kernel.emit(
                    AttemptFailed(cell.path, message_id(envelope), envelope.attempt, error, delay)
                )
                if cell.work is not None and cell.kernel.watched:
                    tell_retried(cell, envelope, error, delay)
            mailbox.redeliver(envelope, delay, position)
            return
        case Skip() | Ack():
            mailbox.acked += 1
            if cell.kept is not None:
                cell.kept.give_up(envelope)
            if envelope.reply is not None:
                _answer(cell, envelope, None)
            if cell.work is not None and cell.kernel.watched:
                tell_skipped(cell, envelope)
            mailbox.ledger.acknowledge(envelope)
        case Divert(to):
            divert(cell, envelope, to)
        case _:
            reason: Reason = decision.reason if isinstance(decision, Quarantine) else "failed"
            called_off = reason == "sibling_failed" and isinstance(error, DeadlineExceeded)
            mailbox.failed += 1
            cause = None if called_off else error  # That is how its turn was ended, not why.
            mailbox.ledger.give_up(envelope, reason, cause, mailbox.path)
    if envelope.key is not None:
        mailbox.release_key(envelope)


def divert(cell: Cell, envelope: Envelope, to: Any) -> None:
    """*envelope* goes to another actor, where nothing is left of what it has asked here."""
    cell.mailbox.acked += 1
    if cell.kept is not None:
        cell.kept.give_up(envelope)
    cell.mailbox.ledger.divert(envelope, to)


def _release(cell: Cell, good: bool | None) -> None:
    """The lease leaves the cell, the gate hears how it went, the turn is over."""
    journal = cell.mailbox.journal
    if journal is not None and journal.careful is not None and cell.lease is not None:
        journal.careful.left(cell.lease)
    cell.lease = cell.saved = None
    gate = cell.gate
    if gate is not None:
        if cell.token is None and not good:
            cell.token = gate.adopt(cell.now())  # Admitted the swift way; it counts now.
        if cell.token is not None:
            gate.record(cell.now(), cell.token, good)
            cell.token = None
    if cell.turn is not None:
        cell.turn.close()
        cell.turn = None


def _answer(cell: Cell, envelope: Envelope, value: Any) -> None:
    reply, envelope.reply = envelope.reply, None
    journal, sender = cell.mailbox.journal, envelope.sender
    if journal is not None and (sender is None or sender.kernel.journal is not journal):
        journal.answer(reply, value)  # What the outside sees is on disk.
        return
    if not reply.resolve(value):
        late = Envelope(value, envelope.root, envelope.path)
        cell.kernel.held += 1
        cell.kernel.give_up(late, "late_reply", None, cell.path)


def _apply(cell: Cell, effects: Effects) -> None:
    """Send the outbox and do what was noted, in the order it was asked for."""
    _send(cell, effects)
    for newborn in effects.newborn:
        spawn(cell, newborn)
    for op, args in effects.ops:
        op(*args)
    if effects.stops:
        cell.stopping = cell.alert = True


def _send(cell: Cell, effects: Effects) -> None:
    kernel = cell.kernel
    spilled: dict[str, int] = {}
    for target, envelope, delay in effects.sends:
        mailbox, theirs = target.mailbox, target.kernel
        theirs.held += 1  # Which may be another system.
        if delay > 0 and not mailbox.closed:
            put_later(mailbox, envelope, theirs.now() + delay)
            continue
        if mailbox.overflow in SPILLS and mailbox.free() <= 0:
            spilled[mailbox.path] = spilled.get(mailbox.path, 0) + 1
        mailbox.put(envelope, committed=True)
    for path, count in spilled.items():
        kernel.counters["mailbox_spilled"] += count
        kernel.emit(MailboxSpilled(path, count))
