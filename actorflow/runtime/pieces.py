"""A piece of an item that is born and dies at once: what a generator says has failed."""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import child
from actorflow.runtime.bodies import refresh_body
from actorflow.runtime.cell import Cell

__all__ = ["commit_failed_piece"]


def commit_failed_piece(cell: Cell, error: BaseException, index: int | None = None) -> None:
    """One step of a generator, whose message stays leased: a piece becomes a dead letter.

    Args:
        cell: The worker.
        error: Why.
        index: Its place among the pieces of the message; by default it is the next one, and
            counts as emitted.
    """
    envelope, mailbox = cell.lease, cell.mailbox
    assert envelope is not None
    ledger: Any = mailbox.ledger
    ledger.fork(envelope, 1)
    if index is None:
        index = envelope.emitted
        envelope.emitted = index + 1
        if mailbox.journal is not None:
            mailbox.journal.note(envelope, mailbox)
    piece = child(envelope, envelope.body, index)
    piece.item, piece.born = envelope.item, envelope.born
    piece.packed, piece.attempt = envelope.packed, envelope.attempt
    refresh_body(piece)
    mailbox.accepted += 1
    mailbox.outside += 1  # No stage has sent it, and nobody fed it.
    stage: Any = cell.parent
    stage.parts += 1
    mailbox.failed += 1
    ledger.give_up(piece, "failed", error, mailbox.path)
