"""The checkpoints of a run that are kept, item by item: where each item was, and with what.

    cuts, in order ──► History.add ──► a Moment for each item that has changed since

Items whose messages are in one batch go together as long as the batch does: they are in one
moment. What a cut does not change costs nothing, so many cuts of a large run can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import attrs

from actorflow.core.envelope import address
from actorflow.durability.hold import NAME
from actorflow.durability.store import CutRow, RunRow, Store
from actorflow.errors import DecodeError, RunNotFoundError, StoreCorrupt
from actorflow.stages.ways import SEEN
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import OUT, Cut, Key, Record, read_cut, read_records

__all__ = ["History", "Moment", "Piece", "Root", "read_cuts", "run_row"]

#: Number of an item within its run.
Root: TypeAlias = "int | str"


@attrs.frozen(eq=False)
class Piece:
    """One message of a checkpoint.

    Attributes:
        key: Of the message.
        data: Its record, packed.
        record: Its record.
        stage: Where it is.
        held: What it waits in before that stage for others, such as ``"gather"``, or "".
        roots: Of the items that it is a part of: several, if it is a batch.
    """

    key: Key
    data: bytes
    record: Record
    stage: str
    held: str
    roots: frozenset[Root]

    @property
    def out(self) -> bool:
        """Whether it had come out, and was not written yet."""
        return self.record.lane == OUT


@attrs.frozen(eq=False)
class Moment:
    """What a checkpoint has of one item, or of several that are in one batch.

    Attributes:
        number: Of the first kept checkpoint that has it so.
        at: Wall time of that.
        roots: Of the items.
        pieces: All their messages.
        facts: What is known of them besides: ids, pieces, batches, groups of branches.
    """

    number: int
    at: float
    roots: frozenset[Root]
    pieces: tuple[Piece, ...]
    facts: dict[str, bytes]

    def id_of(self, root: Root) -> Any:
        """The id of an item: its number, unless it was given one."""
        data = self.facts.get(f"{NAME}{root}")
        if data is None:
            return root
        try:
            return decode(data, max_bytes=None)
        except DecodeError as error:
            return f"<{error}>"


class History:
    """What cuts say of items, one cut after another.

    Attributes:
        now: The moment of each item that is held after the last cut, or has come out.
        facts: All facts after the last cut.
        noted: When a key was noted that a stage takes once: number of the first cut that has it.
    """

    def __init__(self) -> None:
        self.now: dict[Root, Moment] = {}
        self.facts: dict[str, bytes] = {}
        self.noted: dict[str, int] = {}
        self._pieces: dict[Key, Piece] = {}
        self._keys: dict[Root, dict[Key, None]] = {}
        self._own: dict[Root, dict[str, bytes]] = {}

    def fed(self) -> int:
        """How many items the run has been fed."""
        data = self.facts.get("run")
        return 0 if data is None else int(decode(data, max_bytes=None)["counts"][0])

    def add(self, cut: Cut) -> list[Moment]:
        """Take in the next cut; answers the moments that are new."""
        messages: dict[Key, bytes | None] = dict(cut.messages)
        facts: dict[str, bytes | None] = dict(cut.facts)
        if cut.full:
            messages |= {key: None for key in self._pieces if key not in messages}
            facts |= {key: None for key in self.facts if key not in facts}
        touched = self._take_facts(facts, cut.number)
        touched |= self._take_messages(messages)
        return self._moments(touched, cut)

    def _take_messages(self, messages: dict[Key, bytes | None]) -> set[Root]:
        touched: set[Root] = set()
        new: list[tuple[Key, bytes]] = []
        for key, data in messages.items():
            old = self._pieces.get(key)
            if old is not None and old.data == data:  # As in a full cut.
                continue
            if old is not None:
                del self._pieces[key]
                for root in old.roots:
                    self._keys[root].pop(key)
                touched |= old.roots
            if data is not None:
                new.append((key, data))
        records = read_records([data for _, data in new])
        for (key, data), record in zip(new, records, strict=True):
            piece = self._pieces[key] = _piece(key, data, record)
            for root in piece.roots:
                self._keys.setdefault(root, {})[key] = None
            touched |= piece.roots
        return touched

    def _take_facts(self, facts: dict[str, bytes | None], number: int) -> set[Root]:
        touched: set[Root] = set()
        for key, data in facts.items():
            if self.facts.get(key) == data:
                continue
            root = _root_of_fact(key)
            own = {} if root is None else self._own.setdefault(root, {})
            if data is None:
                del self.facts[key]
                if not key.startswith(NAME):  # What has come out is of the item all the same.
                    own.pop(key, None)
            else:
                self.facts[key] = own[key] = data
                if key.startswith(SEEN):
                    self.noted[key] = number
            if root is not None:
                touched.add(root)
        return touched

    def _moments(self, touched: set[Root], cut: Cut) -> list[Moment]:
        found: list[Moment] = []
        done: set[Root] = set()
        for root in touched:
            if root in done:
                continue
            if not self._keys.get(root):
                self.now.pop(root, None)
                self._keys.pop(root, None)
                continue
            roots = self._together(root)
            done |= roots
            keys = dict.fromkeys(key for each in sorted(roots, key=str) for key in self._keys[each])
            facts = {key: fact for each in roots for key, fact in self._own.get(each, {}).items()}
            pieces = tuple(self._pieces[key] for key in keys)
            moment = Moment(cut.number, cut.at, frozenset(roots), pieces, facts)
            self.now.update(dict.fromkeys(roots, moment))
            found.append(moment)
        return found

    def _together(self, root: Root) -> set[Root]:
        """All items that batches tie to this one."""
        found, frontier = {root}, [root]
        while frontier:
            for key in self._keys[frontier.pop()]:
                new = self._pieces[key].roots - found
                found |= new
                frontier += new
        return found


def _piece(key: Key, data: bytes, record: Record) -> Piece:
    box, _, held = record.box.partition("//")
    members = record.more.get("members")
    roots = {address(key)[0], *_member_roots(members)}
    return Piece(key, data, record, box.rpartition("/")[2], held, frozenset(roots))


def _member_roots(members: Any) -> Iterator[Root]:
    for key, within in members[1] if members else ():
        yield address(key)[0]
        yield from _member_roots(within)


def _root_of_fact(key: str) -> Root | None:
    """The item that a fact is about, if it is about one."""
    kind, _, rest = key.partition("/")
    if kind not in ("item", "name", "group", "batch"):
        return None
    root: Root = address(rest.rpartition("/")[2] if kind == "batch" else rest)[0]
    return root


# From a store ---------------------------------------------------------------------------


def run_row(store: Store, run: str) -> RunRow:
    """What is known of *run*.

    Raises:
        RunNotFoundError: There is no such run.
    """
    for row in store.runs():
        if row.run == run:
            return row
    raise RunNotFoundError(run)


def read_cuts(store: Store, run: str, rows: Iterable[CutRow]) -> Iterator[Cut]:
    """Read *rows*, the cuts of *run*, one after another.

    Raises:
        StoreCorrupt: One cannot be read.
    """
    for row in rows:
        try:
            yield read_cut(row.body)
        except DecodeError as error:
            text = f"checkpoint {row.number} of run {run!r} cannot be read: {error}"
            raise StoreCorrupt(store.url, text) from error
