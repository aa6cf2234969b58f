"""What two runs made of their items, compared: the last that is known of each, key by key.

    stored results ──► digests, a page at a time ─┐
    kept checkpoints ──► the last moment ─────────┼──► one `Known` per item and run ──► RunDiff
    dead letters ─────────────────────────────────┘

Values are read again only where their digests differ, so that two long runs which gave the same
cost little more than their ids.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import attrs

from actorflow.core.letters import Unreadable
from actorflow.durability.letters import letter_id
from actorflow.durability.store import DeadQuery, DeadRow, ResultRow, Store
from actorflow.errors import DecodeError
from actorflow.flows.checkpoints import History, Moment, Root, read_cuts, run_row
from actorflow.flows.results import ItemResult
from actorflow.flows.stored import read_result
from actorflow.wire.codec import decode, encode

__all__ = ["RunDiff", "diff_runs"]

#: Rows that are read at a time.
PAGE = 1000

#: Bytes of the digest of a result.
DIGEST = 16

#: The key under which what became of an item is compared,
PLACE = "(place)"

#: and its value, if that has no keys of its own.
VALUE = "(value)"

#: What is known of an item, by the keys that are compared.
Known: TypeAlias = dict[Any, Any]


class _Missing(enum.Enum):
    """What one of two runs does not have."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "<missing>"


@attrs.frozen(kw_only=True)
class RunDiff:
    """How the items of two runs differ.

    Attributes:
        changed: By the id of an item, what differs: ``{key: (in a, in b)}``. Keys are those of
            Contexts and other mappings; ``"(value)"`` stands for a value that has none, and
            ``"(place)"`` for what became of the item, such as ``"done"`` or ``"at 'price'"``.
        only_a: Ids of items that only the first has.
        only_b: Ids of items that only the second has.
        same: How many items are equal in both.
    """

    changed: Mapping[Any, Mapping[Any, tuple[Any, Any]]]
    only_a: tuple[Any, ...]
    only_b: tuple[Any, ...]
    same: int

    #: Stands for a value that one of the two does not have.
    MISSING: ClassVar[_Missing] = _Missing.MISSING


def diff_runs(store: Store, a: str, b: str) -> RunDiff:
    """Compare the runs *a* and *b* of an open store.

    Raises:
        RunNotFoundError: There is no such run.
        StoreCorrupt: A checkpoint cannot be read.
    """
    one, other = _Side(store, a), _Side(store, b)
    changed: dict[Any, Mapping[Any, tuple[Any, Any]]] = {}
    same = 0
    for key in one.ids:
        if key not in other.ids:
            continue
        digests = one.digests(key)
        if digests and digests == other.digests(key):
            same += 1
            continue
        found = _differences(one.known(key), other.known(key))
        if found:
            changed[key] = found
        else:
            same += 1
    return RunDiff(
        changed=changed,
        only_a=tuple(key for key in one.ids if key not in other.ids),
        only_b=tuple(key for key in other.ids if key not in one.ids),
        same=same,
    )


def _differences(one: Known, other: Known) -> dict[Any, tuple[Any, Any]]:
    missing = RunDiff.MISSING
    found = {}
    for key in dict.fromkeys([*one, *other]):
        pair = one.get(key, missing), other.get(key, missing)
        if not _same(*pair):
            found[key] = pair
    return found


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return bool(one == other) or encode(one) == encode(other)  # No nan is equal to itself.
    except Exception:  # What cannot be compared differs.
        return False


class _Side:
    """One of the two runs.

    Attributes:
        ids: Of its items, in the order in which they are known.
    """

    def __init__(self, store: Store, run: str) -> None:
        row = run_row(store, run)
        # Its results say all: what a checkpoint has of an item may be long past, or of another.
        self._settled = row.status == "finished" and row.results > 0
        self._store = store
        self._run = run
        self._results: dict[Any, list[tuple[bytes, int]]] = {}
        self._moments: dict[Any, tuple[Moment, Root]] = {}
        self._letters: dict[Any, str] = {}
        self._bodies: dict[Any, list[Any]] = {}
        self._read_results()
        names = self._read_checkpoints()
        self._read_letters(names)
        self.ids = dict.fromkeys([*self._results, *self._moments, *self._letters])

    def _read_results(self) -> None:
        after = 0
        while page := self._store.results(self._run, after, PAGE):
            after = page[-1].seq
            for row in page:
                result = _result(row)
                said = encode([_place_of(result), _packed(result.value)])
                digest = hashlib.blake2b(said, digest_size=DIGEST).digest()
                self._results.setdefault(_hashable(result.id), []).append((digest, row.seq))

    def _read_checkpoints(self) -> dict[Root, Any]:
        """The ids of items by their numbers."""
        history = History()
        last: dict[Root, Moment] = {}
        for cut in read_cuts(self._store, self._run, self._store.cuts(self._run)):
            for moment in history.add(cut):
                last.update(dict.fromkeys(moment.roots, moment))
        names = {root: _hashable(moment.id_of(root)) for root, moment in last.items()}
        for root, moment in last.items():
            if names[root] not in self._results and not self._settled:
                self._moments[names[root]] = moment, root
        return names

    def _read_letters(self, names: Mapping[Root, Any]) -> None:
        after = 0
        while page := self._store.dead(DeadQuery(run=self._run), after, PAGE):
            after = page[-1][1].seq
            for _, row in page:
                key = _item_of(row, names)
                if key not in self._results and key not in self._letters:
                    error = f": {row.error}: {row.text}" if row.error else ""
                    self._letters[key] = f"dead in {row.place!r} ({row.reason}){error}"
                    if key not in self._moments:
                        self._bodies[key] = [_body(row.body)]

    def digests(self, key: Any) -> list[bytes]:
        """Of its stored results, in no order of theirs; empty if there are none."""
        return sorted(digest for digest, _ in self._results.get(key, ()))

    def known(self, key: Any) -> Known:
        """The last that is known of an item."""
        if key in self._results:
            return self._known_result(self._results[key])
        if key not in self._moments:
            return _known(self._letters[key], self._bodies[key])
        moment, root = self._moments[key]
        pieces = [piece for piece in moment.pieces if root in piece.roots]
        places = sorted({"came out" if each.out else f"at {each.stage!r}" for each in pieces})
        place = self._letters.get(key, ", ".join(places))
        return _known(place, [_body(each.record.body) for each in pieces])

    def _known_result(self, rows: list[tuple[bytes, int]]) -> Known:
        found = [_result(self._store.results(self._run, seq - 1, 1)[0]) for _, seq in sorted(rows)]
        places = sorted({_place_of(each) for each in found})
        return _known(", ".join(places), [each.value for each in found if each.ok])


def _known(place: str, values: list[Any]) -> Known:
    if len(values) == 1 and isinstance(values[0], Mapping):
        return {PLACE: place, **values[0]}
    if len(values) > 1:
        return {PLACE: place, VALUE: sorted(values, key=_packed)}
    return {PLACE: place, VALUE: values[0]} if values else {PLACE: place}


def _place_of(result: ItemResult[Any]) -> str:
    if result.status == "failed":
        return f"failed in {result.stage!r}: {result.error}"
    return result.status


def _result(row: ResultRow) -> ItemResult[Any]:
    try:
        return read_result(row)
    except DecodeError as error:
        return ItemResult(id=row.id, value=Unreadable(row.body, str(error)))


def _body(data: bytes) -> Any:
    try:
        return decode(data, max_bytes=None)
    except DecodeError as error:
        return Unreadable(data, str(error))


def _packed(value: Any) -> bytes:
    if isinstance(value, Unreadable):
        return value.packed
    return encode(value)


def _item_of(row: DeadRow, names: Mapping[Root, Any]) -> Any:
    """The id of the item that a dead letter is a piece of, or is."""
    try:
        root = decode(row.facts)["number"]
    except (DecodeError, KeyError):
        root = None
    if root in names:
        return names[root]
    found = letter_id(row)
    piece = isinstance(found, str) and found.startswith(f"{root}.")
    return root if piece else _hashable(found)


def _hashable(found: Any) -> Any:
    """An id as a key; one that has no hash as text."""
    try:
        hash(found)
    except TypeError:
        return str(found)
    return found
