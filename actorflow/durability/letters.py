"""How dead letters are written into a store, and read back.

An error is kept as its type, text and traceback: what a class of the user's own would
make of bytes from a file is nobody's business.
"""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.core.letters import DeadLetter, Unreadable
from actorflow.durability.store import DeadRow
from actorflow.errors import DecodeError, StoredError, shown
from actorflow.wire.codec import decode, encode

__all__ = [
    "dead_row",
    "had_come_out",
    "letter_id",
    "letter_item",
    "read_letter",
    "text_of",
    "was_batch",
]


def dead_row(letter: DeadLetter, envelope: Envelope, *, out: bool = False) -> DeadRow:
    """A dead letter as it is stored; a body that cannot be written is kept as its repr.

    Args:
        letter: The letter.
        envelope: The message that it was.
        out: Whether it had come out of its flow.
    """
    packed = envelope.packed
    if packed is None:
        try:
            packed = encode(envelope.body)
        except Exception:
            packed = encode(shown(envelope.body))
    error = letter.error
    facts = {"priority": envelope.priority, "number": envelope.root, "id": encode(letter.id)}
    if letter.item is not None:
        facts["item"] = encode(letter.item)
    if out:
        facts["out"] = True
    members = None if envelope.item is None else envelope.item.kept()
    if members and members[0] == letter.stage_or_actor:
        facts["batch"] = True
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
        body = Unreadable(row.body, str(error))
    return DeadLetter(
        id=letter_id(row),
        body=body,
        stage_or_actor=row.place,
        reason=row.reason,  # type: ignore[arg-type]
        error=StoredError(row.error, row.text) if row.error else None,
        traceback=row.traceback,
        attempts=row.attempts,
        at=row.at,
        replays=row.replays,
        item=letter_item(row),
    )


def letter_item(row: DeadRow) -> Any:
    """The id of the item whose stored dead letter it is, or a piece of it; `None` of an actor's.
    An earlier release has kept no more of a piece's item than its number."""
    try:
        facts = decode(row.facts) if row.facts else {}
        if "item" in facts:
            return decode(facts["item"])
    except DecodeError:
        return row.id
    if row.place.startswith("/"):
        return None
    found, number = letter_id(row), facts.get("number")
    piece = isinstance(found, str) and found.startswith(f"{number}.")
    return number if piece else found


def letter_id(row: DeadRow) -> Any:
    """The id of a stored dead letter; as text, if this process cannot read it."""
    try:
        return decode(decode(row.facts)["id"]) if row.facts else row.id
    except DecodeError:
        return row.id


def had_come_out(row: DeadRow) -> bool:
    """Whether a stored dead letter is a value that had come out of its flow."""
    return bool(row.facts) and "out" in decode(row.facts)


def was_batch(row: DeadRow) -> bool:
    """Whether a stored dead letter is a batch, and not one of its values."""
    return bool(row.facts) and "batch" in decode(row.facts)


def text_of(error: BaseException) -> str:
    """The text of an error, whatever its `str` does."""
    try:
        return str(error)
    except Exception:
        return shown(error)
