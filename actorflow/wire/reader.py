"""Build values from what msgpack found, and find the place where that goes wrong.

    ext(code, payload) ──► Reader.ext   ──► scalar, reference, `Packed` or `Mark`
    array              ──► Reader.array ──► list, or what the mark at its head says
    map                ──► read_map     ──► dict, each key once

msgpack calls these from the inside out and does not say where it is. So when one
of them refuses, `locate` goes through the same bytes again from the outside in,
calls the same functions and keeps the place. What it meets is raw: no hook ran.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from actorflow.errors import DecodeError
from actorflow.wire.packed import Packed
from actorflow.wire.place import MAX_DEPTH, TOO_DEEP, place_of, told, why
from actorflow.wire.registry import REGISTRY, Entry
from actorflow.wire.scalars import SCALARS_BY_CODE

__all__ = [
    "CONTEXT",
    "INSTANCE",
    "MAX_LAYERS",
    "PACKED",
    "REFERENCE",
    "TOO_MANY_LAYERS",
    "WHOLES",
    "RawExt",
    "RawMap",
    "Reader",
    "locate",
    "read_map",
    "split_mark",
]

REFERENCE, TUPLE, SET, FROZENSET, INSTANCE = 16, 17, 18, 19, 20  # On disk; they never change.
CONTEXT, PACKED = 21, 22  # These too.
WHOLES = {tuple: TUPLE, set: SET, frozenset: FROZENSET}
MARKS = {*WHOLES.values(), INSTANCE, CONTEXT}

CROWD = 64
"""Most keys of one hash in one dict or set. Strings are salted, ints, tuples and UUIDs
are not: 50,000 that collide fit in a megabyte and would take a minute to tell apart."""

MAX_LAYERS = 8
"""Most packed values inside one another: lists in Contexts in lists in Contexts. Each is
read by itself, so that MAX_DEPTH holds within each; without a limit of their own, a
megabyte could hold 50,000, and copying each out of the one around it would take an hour."""

TOO_MANY_LAYERS = (
    f"more than {MAX_LAYERS} packed values inside one another; keep the parts apart, refer by id"
)

Resolve: TypeAlias = Callable[[str], Any]
Unpack: TypeAlias = Callable[[bytes], Any]


class Mark:
    """Says what the array it is the first item of shall become."""

    __slots__ = ("code", "entry", "version")

    def __init__(self, code: int, entry: Entry | None = None, version: int = 0) -> None:
        self.code = code
        self.entry = entry
        self.version = version


class Reader:
    """The hooks of one decoding.

    Args:
        resolve: Makes references from their paths, instead of the registered way.
    """

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve
        self.open_marks = 0  # Read and not yet used; one that stays is out of place.
        self.packed: list[Packed] = []  # Not yet looked into; no hook may unpack.

    def ext(self, code: int, payload: bytes) -> Any:
        scalar = SCALARS_BY_CODE.get(code)
        if scalar is not None:
            try:
                return scalar.read(payload)
            except Exception as error:
                name = scalar.cls.__name__
                raise DecodeError(f"damaged {name}: {why(error)}") from error
        if code == REFERENCE:
            return self._reference(payload)
        if code == PACKED:
            self.packed.append(Packed(payload, self.resolve))
            return self.packed[-1]
        if code not in MARKS:
            raise DecodeError(f"unknown ext code {code}")
        self.open_marks += 1
        if code == INSTANCE:
            tag, version = split_mark(payload)
            return Mark(INSTANCE, REGISTRY.entry(tag, version), version)
        if payload:
            raise DecodeError(f"ext code {code} carries {len(payload)} bytes; it has none")
        return Mark(code)

    def array(self, items: list[Any]) -> Any:
        if not items or type(items[0]) is not Mark:
            return items
        self.open_marks -= 1
        mark = items[0]
        if mark.entry is not None:
            return _instance(mark.entry, mark.version, items)
        if mark.code == TUPLE:
            return tuple(items[1:])
        if mark.code == CONTEXT:
            return _context(items[1:])
        return _members(items[1:], set if mark.code == SET else frozenset)

    def _reference(self, payload: bytes) -> Any:
        try:
            tag, path = payload.decode().split("\n", 1)
            reference = REGISTRY.references_by_tag[tag]
            return (self.resolve or reference.from_path)(path)
        except Exception as error:
            raise DecodeError(f"cannot resolve reference {told(payload)}: {why(error)}") from error


@functools.lru_cache(maxsize=1024)
def split_mark(payload: bytes) -> tuple[str, int]:
    """Tag and version of an instance."""
    try:
        version, tag = payload.decode().split(":", 1)
        if version.isdecimal() and len(version) < 10 and int(version) > 0:
            return tag, int(version)
    except ValueError:
        pass
    raise DecodeError(f"damaged tag {told(payload)}")


def read_map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict, if each key comes once."""
    if len(pairs) > CROWD:
        _no_crowd([key for key, _ in pairs])
    try:
        made = dict(pairs)
    except TypeError as error:
        raise DecodeError(f"a key cannot be hashed: {why(error)}") from error
    if len(made) != len(pairs):
        raise DecodeError(f"key {told(_doubled([key for key, _ in pairs]))} comes twice")
    return made


def _members(items: list[Any], kind: type[set[Any]] | type[frozenset[Any]]) -> Any:
    if len(items) > CROWD:
        _no_crowd(items)
    try:
        made = kind(items)
    except TypeError as error:
        raise DecodeError(f"a member cannot be hashed: {why(error)}") from error
    if len(made) != len(items):
        raise DecodeError(f"member {told(_doubled(items))} comes twice")
    return made


def _no_crowd(keys: list[Any]) -> None:
    if set(map(type, keys)) == {str}:
        return
    try:
        crowd = len(keys) - len(set(map(hash, keys)))
    except TypeError:
        return  # Said better where the dict or set is made.
    if crowd > CROWD:
        raise DecodeError(f"{crowd} of {len(keys)} keys share their hash with another")


def _doubled(keys: Sequence[Any]) -> Any:
    seen = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _instance(entry: Entry, version: int, items: list[Any]) -> Any:
    if len(items) != 2 or type(items[1]) is not dict:
        raise DecodeError(f"damaged {entry.tag}: its fields are not one map")
    if entry.shape is None:
        raise DecodeError(f"{entry.tag!r} is the tag of an actor, not of a value")
    fields = items[1]
    if version != entry.version:
        fields = REGISTRY.upgrade(entry.tag, version, fields)
    if not entry.shape.names.issuperset(fields):
        unknown = next(name for name in fields if name not in entry.shape.names)
        known = ", ".join(sorted(entry.shape.names)) or "none"
        raise DecodeError(f"{entry.tag} has no field {told(unknown)}; its fields: {known}")
    try:
        return entry.shape.build(fields)
    except Exception as error:
        raise DecodeError(f"cannot make {entry.tag}: {why(error)}") from error


def _context(parts: list[Any]) -> Any:
    if REGISTRY.context is None:
        raise DecodeError("nobody reads a Context here; import actorflow.core.context")
    if [type(part) for part in parts] != [str, list, dict]:
        raise DecodeError("damaged Context: it has a name, the keys written, and its values")
    name, written, values = parts
    if not {str}.issuperset(map(type, (*written, *values))):
        raise DecodeError("damaged Context: one of its keys is no text")
    try:
        return REGISTRY.context.together(name, written, values)
    except Exception as error:
        raise DecodeError(f"cannot make a Context: {why(error)}") from error


class RawExt(NamedTuple):
    """An ext as it was found."""

    code: int
    payload: bytes


class RawMap(list[tuple[Any, Any]]):
    """The pairs of a map as they were found."""


def locate(raw: object, resolve: Resolve | None, unpack: Unpack) -> DecodeError | None:
    """The first refusal met when building *raw* from the outside in, with its place.

    Args:
        raw: What was unpacked without hooks.
        resolve: As for `Reader`.
        unpack: Unpacks, in the same way, what is packed in it; raises `DecodeError`.
    """
    walk = _Walk(resolve, unpack)
    try:
        walk.whole(raw, MAX_DEPTH)
    except DecodeError as error:
        found = DecodeError(str(error), place_of(reversed(walk.place)))
        found.__cause__ = error.__cause__
        return found
    return None


class _Walk:
    """One slow decoding. A refusal leaves its place behind, innermost segment first."""

    def __init__(self, resolve: Resolve | None, unpack: Unpack) -> None:
        self.reader = Reader(resolve)
        self.unpack = unpack
        self.layers = MAX_LAYERS
        self.place: list[str] = []

    def whole(self, raw: Any, depth: int) -> Any:
        """The value of *raw*, which must not be a mark: marks stand at the head of an array."""
        if type(raw) is list:
            return self._array(raw, depth)
        if type(raw) is RawMap:
            return self._map(raw, depth)
        if type(raw) is str and not raw.isascii():
            if any("\ud800" <= letter <= "\udfff" for letter in raw):
                raise DecodeError("the text is not UTF-8")
        elif type(raw) is RawExt:
            value = self.reader.ext(raw.code, raw.payload)
            if type(value) is Mark:
                raise DecodeError(f"ext code {raw.code} may only stand at the head of an array")
            if type(value) is Packed:
                self._packed(value.data)
            return value
        return raw

    def _packed(self, data: bytes) -> None:
        if self.layers == 0:
            raise DecodeError(TOO_MANY_LAYERS)
        self.layers -= 1
        self.whole(self.unpack(data), MAX_DEPTH)
        self.layers += 1

    def _array(self, raw: list[Any], depth: int) -> Any:
        if depth == 0:
            raise DecodeError(TOO_DEEP)
        head = self._head(raw)
        if head is not None and head.entry is not None:
            return self.reader.array([head, *self._fields(raw[1:], depth)])
        if head is not None and head.code == CONTEXT and type(raw[-1]) is RawMap:
            parts = [self.whole(part, depth - 1) for part in raw[1:-1]]
            return self.reader.array([head, *parts, self._map(raw[-1], depth - 1)])
        rest = raw if head is None else raw[1:]
        items = [] if head is None else [head]
        try:
            for item in rest:
                items.append(self.whole(item, depth - 1))  # noqa: PERF401 - Their number is needed.
        except DecodeError:
            ordered = head is None or head.code == TUPLE
            self.place.append(f"[{len(items) - (head is not None)}]" if ordered else "{}")
            raise
        return self.reader.array(items)

    def _head(self, raw: list[Any]) -> Mark | None:
        if raw and type(raw[0]) is RawExt and raw[0].code in MARKS:
            mark: Mark = self.reader.ext(*raw[0])
            return mark
        return None

    def _fields(self, rest: list[Any], depth: int) -> list[Any]:
        if len(rest) != 1 or type(rest[0]) is not RawMap:
            return rest  # `array` says what is wrong with it.
        return [self._map(rest[0], depth - 1, fields=True)]

    def _map(self, raw: RawMap, depth: int, fields: bool = False) -> dict[Any, Any]:
        if depth == 0:
            raise DecodeError(TOO_DEEP)
        pairs: list[tuple[Any, Any]] = []
        segment = ""
        try:
            for raw_key, raw_value in raw:
                segment = f".keys()[{len(pairs)}]"
                key = self.whole(raw_key, depth - 1)
                segment = f".{key}" if fields else f"[{told(key)}]"
                pairs.append((key, self.whole(raw_value, depth - 1)))
        except DecodeError:
            self.place.append(segment)
            raise
        return read_map(pairs)
