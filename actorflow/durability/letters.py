"""How dead letters are written into a store, and read back.

An error is kept as its type, text and traceback: what a class of the user's own would
make of bytes from a file is nobody's business.
"""

from __future__ import annotations

from actorflow.core.envelope import Envelope
from actorflow.core.letters import DeadLetter
from actorflow.durability.store import DeadRow
from actorflow.errors import DecodeError, StoredError, shown
from actorflow.wire.codec import decode, encode

__all__ = ["dead_row", "read_letter", "text_of"]


def dead_row(letter: DeadLetter, envelope: Envelope) -> DeadRow:
    """A dead letter as it is stored; a body that cannot be written is kept as its repr."""
    packed = envelope.packed
    if packed is None:
        try:
            packed = encode(envelope.body)
        except Exception:
            packed = encode(shown(envelope.body))
    error = letter.error
    facts = {"priority": envelope.priority, "number": envelope.root, "id": letter.id}
    return DeadRow(
        seq=0,
        id=str(letter.id),
        place=letter.stage_or_actor,
        reason=letter.reason,
        error="" if error is None else type(error).__name__,
        text="" if error is None else text_of(error),
        traceback=letter.traceback,
        attempts=letter.attempts,
        at=letter.at,
        replays=letter.replays,
        body=packed,
        facts=encode(facts),
    )


def read_letter(row: DeadRow) -> DeadLetter:
    """A stored dead letter; of its error the type and text are left."""
    try:
        body = decode(row.body, max_bytes=None)
    except DecodeError as error:
        body = f"<{error}>"
    facts = decode(row.facts, max_bytes=None) if row.facts else {}
    return DeadLetter(
        id=facts.get("id", row.id),
        body=body,
        stage_or_actor=row.place,
        reason=row.reason,  # type: ignore[arg-type]
        error=StoredError(row.error, row.text) if row.error else None,
        traceback=row.traceback,
        attempts=row.attempts,
        at=row.at,
        replays=row.replays,
    )


def text_of(error: BaseException) -> str:
    """The text of an error, whatever its `str` does."""
    try:
        return str(error)
    except Exception:
        return shown(error)
