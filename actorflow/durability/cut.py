"""Take a cut: one plain function over the live system; its bytes are made elsewhere.

    prepare(journal) in the loop, while there is much: rows of what has changed, in slices
    take(journal)    in the loop, without an await: what has changed, as references
    RawCut.pack()    in the store's thread: the bytes

In one trio process any function without an await sees a consistent state: leases are
still in their mailboxes, the outbox of a running turn is not yet visible. So nothing
has to be stopped. What is referred to cannot change afterwards: bodies are frozen or
packed, facts are made for the cut. A row that was made ahead is forgotten when its
message changes before the cut, which is as consistent as if there were none.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

import attrs

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.core.letters import Down
from actorflow.runtime.journal import Journal, key_of
from actorflow.runtime.reply import EXPECTED, UNASKED
from actorflow.wire.codec import encode
from actorflow.wire.snapshot import (
    ASIDE,
    DUE,
    LATER,
    LEASED,
    OUT,
    SLEEPING,
    STASHED,
    USER,
    Key,
    Row,
    pack_facts,
    pack_gone,
    pack_messages,
    write_cut,
)

__all__ = ["RawCut", "prepare", "slices", "take"]

logger = logging.getLogger("actorflow")

#: Messages whose rows are made at a time: about 2 ms of the loop.
SLICE = 4_096

#: Where a message is, and what belongs to that.
Place = tuple[int, dict[str, Any] | None]


@attrs.define
class RawCut:
    """A cut before it is bytes.

    Attributes:
        number: Of the cut.
        full: Whether it stands for all before it.
        at: Wall time.
        rows: Messages that came or changed.
        gone: Keys of messages that left.
        facts: New facts; `None` for those that are gone.
    """

    number: int
    full: bool
    at: float
    rows: list[Row]
    gone: list[Key]
    facts: dict[str, Any]

    def pack(self) -> bytes:
        """The bytes; plain work that any thread may do."""
        blocks = [pack_gone(self.gone)] if self.gone else []
        blocks += pack_messages(self.rows, self._unwritten)
        packed = {key: None if fact is None else encode(fact) for key, fact in self.facts.items()}
        if packed:
            blocks.append(pack_facts(packed))
        return write_cut(self.number, self.full, self.at, blocks)

    def _unwritten(self, key: Key, error: Exception) -> None:
        """A notice of an end is of this life, as the watch was; any other message is missed."""
        if not any(row[0] == key and type(row[6]) is Down for row in self.rows):
            logger.error("message %s cannot be kept: %s", key, error)


def slices(journal: Journal) -> int:
    """How often to `prepare` before the next cut."""
    return len(journal.touched) // SLICE


def prepare(journal: Journal, now: float, wall: float) -> None:
    """Make rows for the `SLICE` messages that changed first, so that `take` has less to do."""
    touched = journal.touched
    slice_ = {each: touched.pop(each) for each in list(itertools.islice(touched, SLICE))}
    for row, envelope in zip(_rows(journal, slice_, wall - now), slice_, strict=True):
        journal.ready[envelope] = row


def take(journal: Journal, now: float, wall: float) -> RawCut:
    """Take the cut of everything that has changed since the one before."""
    number = journal.number
    rows = [*journal.ready.values(), *_rows(journal, journal.touched, wall - now)]
    facts = {key: provide and provide() for key, provide in journal.marked.items()}
    cut = RawCut(number, number == 1, wall, rows, journal.gone, facts)
    journal.touched, journal.gone, journal.marked, journal.ready = {}, [], {}, {}
    journal.number = number + 1
    return cut


_WAITING: tuple[int, dict[str, Any] | None] = (USER, None)


def _rows(journal: Journal, touched: dict[Envelope, Any], ahead: float) -> list[Row]:
    """What the next cut says of the messages that were *touched*, in their order.

    Args:
        ahead: How much the wall clock, which goes on between lives, is ahead of ours.
    """
    number = journal.number
    rows: list[Row] = []
    places: dict[Any, _Places] = {}
    for envelope, box in touched.items():
        known = places.get(box)
        if known is None:
            known = places[box] = _Places(box, ahead)
        lane, more = known.of(envelope) if known.any else _WAITING
        if box.direct:
            lane = OUT
        if journal.later and envelope in journal.later:
            lane, more = LATER, {"due": journal.later[envelope][0] + ahead}
        if (
            envelope.headers is not None
            or envelope.priority != DEFAULT_PRIORITY
            or envelope.emitted
            or envelope.deadline is not None
            or envelope.replays
            or envelope.reply is not None
            or envelope.item is not None
            or box.dated
        ):
            more = _more(envelope, more, ahead, box.dated)
        rows.append(
            (
                envelope.root if envelope.path is None else key_of(envelope),
                box.path,
                lane,
                envelope.order,
                envelope.attempt,
                envelope.packed,
                envelope.body,
                more,
            )
        )
        envelope.stored = number
    return rows


class _Places:
    """Where in *box* a message is, if it is not just waiting in its user lane.

    What waits behind a key counts as waiting there: its number gives it its place again. Asked
    for each message that has changed, so that a cut costs nothing for those that have not: a
    mailbox may have a hundred thousand retries that wait.
    """

    def __init__(self, box: Any, ahead: float) -> None:
        self._ahead = ahead
        self._leased = {each.lease for each in box.readers if each.lease is not None}
        self._sleeping = box.sleeping or {}
        self._due = set(box.due or ())
        self._stashed = set(box.stash())
        self.any = bool(self._leased or self._sleeping or self._due or self._stashed)

    def of(self, envelope: Envelope) -> Place:
        """Its lane, and what belongs to that."""
        if envelope in self._leased:
            return LEASED, None
        entry = self._sleeping.get(envelope)
        if entry is not None:
            if not isinstance(entry[3], tuple):
                return ASIDE, None
            return SLEEPING, {"due": entry[0] + self._ahead, "position": entry[3][1]}
        if envelope in self._stashed:
            return STASHED, None
        return (DUE, None) if envelope in self._due else _WAITING


def _more(
    envelope: Envelope, more: dict[str, Any] | None, ahead: float, dated: bool
) -> dict[str, Any]:
    """What is not as it usually is. Moments are those of the wall clock."""
    found = dict(more or ())
    if envelope.priority != DEFAULT_PRIORITY:
        found["priority"] = envelope.priority
    if envelope.headers is not None:
        found["headers"] = encode(envelope.headers)
    if envelope.emitted:
        found["emitted"] = envelope.emitted
    if envelope.deadline is not None:
        found["until"] = envelope.deadline + ahead
    if envelope.replays:
        found["replays"] = envelope.replays
    if envelope.reply is not None and (
        envelope.sender is not None or envelope.reply in (EXPECTED, UNASKED)
    ):
        found["asked"] = True
    if envelope.item is not None:
        if members := envelope.item.kept():
            found["members"] = members
        if any(bases := envelope.item.bases(envelope.body)):
            found["bases"] = bases
        if any(facts := envelope.item.facts(envelope.headers)):
            found["facts"] = facts
    if dated:
        found["since"] = envelope.since + ahead
    return found
