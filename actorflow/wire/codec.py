"""Turn values into bytes and back, exactly; take any bytes at all without harm.

    value ──► Packer, `_write` for what msgpack does not know ──► bytes
    bytes ──► unpackb, `Reader` for ext, lists and maps ──► value of the same types

What msgpack lacks is written in one of two ways:

    scalar      ext(code, payload)            payload by `scalars`, never msgpack
    container   [ext(mark, name), *inside]    the mark comes first in an ordinary array
    packed      ext(code, bytes)              what `encode` wrote of a value, as it was

So msgpack sees every nesting as its own arrays and maps and keeps its own stack for
them. No hook ever unpacks: a bomb of ext inside ext is one ext with a long payload.
What is packed is read after what it was in, layer by layer, and a few layers at most.

Both ways run at the speed of C for plain bodies. Whether an answer needs a closer
look is told by the bytes: no byte that could begin an ext or bin means that no hook
ran and no bytearray slipped in; few that could begin a list or map mean it is shallow.
Where a failure happened is found by doing it again slowly, only when it failed.
"""

from __future__ import annotations

import bisect
import datetime
import functools
import uuid
from collections.abc import Callable
from typing import Any

from msgpack import ExtType, OutOfData, Packer, StackError, Timestamp, Unpacker, unpackb
from msgpack.exceptions import ExtraData

from actorflow.errors import DecodeError, EncodeError
from actorflow.wire.frozen import LEAVES
from actorflow.wire.packed import Packed
from actorflow.wire.place import (
    MAX_DEPTH,
    TOO_DEEP,
    find_stranger,
    first_fault,
    place_of,
    read_fields,
    refusal,
    why,
)
from actorflow.wire.reader import (
    CONTEXT,
    INSTANCE,
    MAX_LAYERS,
    PACKED,
    REFERENCE,
    TOO_MANY_LAYERS,
    WHOLES,
    RawExt,
    RawMap,
    Reader,
    locate,
    read_map,
    split_mark,
)
from actorflow.wire.registry import REGISTRY
from actorflow.wire.scalars import SCALARS

__all__ = ["MAX_BYTES", "decode", "encode", "pack", "tags", "unpack"]

MAX_BYTES = 1_048_576
"""Most bytes `decode` takes unless told otherwise; a megabyte of small ints is ten of objects."""

_HEADS = {cls: ExtType(code, b"") for cls, code in WHOLES.items()}
_CONTEXT_HEAD = ExtType(CONTEXT, b"")
_CONTEXT_BYTES = b"\xc7\0" + bytes([CONTEXT])
_SORTABLE = {str, bytes, int, uuid.UUID, datetime.date, datetime.timedelta}  # Total orders only.

_STRANGERS = {bytearray, memoryview, ExtType, Timestamp}  # msgpack takes them as if they were ours.

_MAY_BEGIN_EXT = bytes([*range(0xC4, 0xCA), *range(0xD4, 0xD9)])  # bin, ext, fixext
_MAY_NEST = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])  # fixmap, fixarray, array, map
_SHORT, _LONG = 1024, 16_384  # Sizes between which to search bytes is worth it, or is not.


def encode(value: object, *, max_bytes: int | None = None) -> bytes:
    """Write *value* as msgpack that `decode` turns into an equal value of the same types.

    Raises:
        EncodeError: Something in it cannot be written, it contains itself or is nested
            too deep; the text names the place. Or more than *max_bytes* came out.
    """
    try:
        data: bytes = Packer(default=_write, strict_types=True).pack(value)
        size = len(data)
        if type(value) not in LEAVES:
            if size > _LONG or len(data.translate(None, _MAY_BEGIN_EXT)) < size:
                stranger = find_stranger(value, _STRANGERS)
                if stranger is not None:
                    raise EncodeError(refusal(stranger))
            if size > MAX_DEPTH and _may_be_deep(data):
                _skim(data)
    except Exception as error:
        raise _fault(value, error) from error
    if max_bytes is not None and size > max_bytes:
        raise EncodeError(f"{size} bytes, more than max_bytes={max_bytes}", "body")
    return data


def decode(
    data: bytes | bytearray | memoryview,
    *,
    max_bytes: int | None = MAX_BYTES,
    resolve: Callable[[str], Any] | None = None,
) -> Any:
    """Read what `encode` wrote.

    Args:
        data: The bytes; they may come from anybody.
        max_bytes: Most bytes taken, checked before anything is read; None for any number.
        resolve: Makes references from their paths, instead of the registered way.

    Raises:
        DecodeError: The bytes are not what `encode` writes, hold a tag nobody has, or a
            constructor refused them (then it is the cause). The text names the place.
    """
    if type(data) is not bytes or (max_bytes is not None and len(data) > max_bytes):
        data = _within(max_bytes, data)
    size = len(data)
    try:
        if size > MAX_DEPTH and _may_be_deep(data):
            _skim(data)
        if size <= _LONG and len(data.translate(None, _MAY_BEGIN_EXT)) == size:
            return unpackb(data, object_pairs_hook=read_map, strict_map_key=False)
        reader = Reader(resolve)
        value = _read(data, reader)
        if reader.packed:
            _read_packed(reader)
        return value
    except Exception as error:
        found = _damage(data, resolve, error)
        raise found from found.__cause__


def pack(value: object) -> Packed:
    """*value* as its bytes, which nobody can change.

    Raises:
        EncodeError: It cannot be written.
    """
    data = encode(value)
    if _CONTEXT_BYTES in data and _layers(data) >= MAX_LAYERS:
        raise EncodeError(TOO_MANY_LAYERS, "body")
    return Packed(data)


def unpack(packed: Packed) -> Any:
    """A copy of what was packed that nobody else has."""
    return decode(packed.data, max_bytes=None, resolve=packed.resolve)


def tags(
    data: bytes | bytearray | memoryview, *, max_bytes: int | None = MAX_BYTES
) -> frozenset[str]:
    """Tags of all instances in the bytes, found without making one.

    So bytes whose class is not imported can be told from damaged ones, and kept.

    Raises:
        DecodeError: The bytes are too many or not msgpack.
    """
    found = set()

    def note(code: int, payload: bytes) -> None:
        if code == INSTANCE:
            found.add(split_mark(payload)[0])

    data = _within(max_bytes, data)
    try:
        _layers(data, note)
    except Exception as error:
        raise DecodeError(_diagnosis(error), "body") from error
    return frozenset(found)


def _read(data: bytes, reader: Reader) -> Any:
    value = _unpack(data, ext_hook=reader.ext, list_hook=reader.array, object_pairs_hook=read_map)
    if reader.open_marks:
        raise DecodeError("a mark stands where none may")
    return value


def _read_packed(reader: Reader) -> None:
    """Read what is packed in what was read, so that who opens it later finds no damage."""
    for _ in range(MAX_LAYERS):
        layer, reader.packed = reader.packed, []
        for data in (packed.data for packed in layer):
            _check_depth(data)
            if len(data) <= _LONG and len(data.translate(None, _MAY_BEGIN_EXT)) == len(data):
                unpackb(data, object_pairs_hook=read_map, strict_map_key=False)
            else:
                _read(data, reader)
    if reader.packed:
        raise DecodeError(TOO_MANY_LAYERS)


def _layers(data: bytes, note: Callable[[int, bytes], None] = lambda code, payload: None) -> int:
    """How many layers of packed values there are in the bytes; *note* is told of every ext."""
    layer = [data]
    for number in range(MAX_LAYERS + 1):
        inner: list[bytes] = []

        def hook(code: int, payload: bytes, inner: list[bytes] = inner) -> None:
            note(code, payload)
            if code == PACKED:
                inner.append(payload)

        for each in layer:
            _check_depth(each)
            _unpack(each, ext_hook=hook, object_pairs_hook=len)
        if not inner:
            return number
        layer = inner
    raise DecodeError(TOO_MANY_LAYERS)


def _within(max_bytes: int | None, data: object) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"decode() takes bytes, got {type(data).__name__}")
    size = memoryview(data).nbytes
    if max_bytes is not None and size > max_bytes:
        raise DecodeError(f"{size} bytes, more than max_bytes={max_bytes}", "body")
    return bytes(data)


def _write(value: Any) -> Any:
    """Called by msgpack for what it does not know; msgpack goes on with the answer."""
    cls = type(value)
    if cls is tuple:
        return [_HEADS[tuple], *value]
    if cls in REGISTRY.by_class:
        entry = REGISTRY.by_class[cls]
        return [_instance_mark(entry.tag, entry.version), read_fields(value)]
    if cls in SCALARS:
        scalar = SCALARS[cls]
        return ExtType(scalar.code, scalar.write(value))
    if cls is set or cls is frozenset:
        return [_HEADS[cls], *_Order().sort(value)]
    if cls is Packed:
        return ExtType(PACKED, value.data)
    if REGISTRY.context is not None and cls is REGISTRY.context.cls:
        return [_CONTEXT_HEAD, *REGISTRY.context.apart(value)]
    if cls in REGISTRY.references:
        reference = REGISTRY.references[cls]
        return ExtType(REFERENCE, f"{reference.tag}\n{reference.to_path(value)}".encode())
    raise EncodeError(refusal(value))


class _Order:
    """Sorts sets, so that equal ones are written alike however their members got in.

    Members without an order of their own go by their bytes. That packs them once more;
    sets in sets would be packed twice as often a level, so they are remembered.
    """

    def __init__(self) -> None:
        self._sorted: dict[int, tuple[object, list[Any]]] = {}

    def sort(self, members: set[Any] | frozenset[Any]) -> list[Any]:
        kinds = set(map(type, members))
        if len(members) < 2 or (len(kinds) == 1 and kinds <= _SORTABLE):
            return sorted(members)
        if id(members) not in self._sorted:
            pack = Packer(default=self._write, strict_types=True).pack
            self._sorted[id(members)] = (members, sorted(members, key=pack))  # Keeps the id taken.
        return self._sorted[id(members)][1]

    def _write(self, value: Any) -> Any:
        if type(value) is frozenset:
            return [_HEADS[frozenset], *self.sort(value)]
        return _write(value)


@functools.cache
def _instance_mark(tag: str, version: int) -> Any:
    return ExtType(INSTANCE, f"{version}:{tag}".encode())


def _fault(value: object, error: Exception) -> EncodeError:
    place, detail = first_fault(value, _write_leaf) or ("", f"cannot write it: {why(error)}")
    return EncodeError(detail, place_of([place]))


def _write_leaf(value: object) -> None:
    try:
        Packer(default=_write, strict_types=True).pack(value)
    except EncodeError:
        raise
    except UnicodeEncodeError as error:
        detail = f"half a surrogate pair in text, at character {error.start}"
        raise EncodeError(f"{detail}; encode it with errors='replace'") from error
    except Exception as error:
        raise EncodeError(f"cannot write {type(value).__name__}: {why(error)}") from error


def _unpack(data: bytes, **hooks: Any) -> Any:
    return unpackb(data, strict_map_key=False, timestamp=3, **hooks)


def _may_be_deep(data: bytes) -> bool:
    return len(data) > _SHORT or len(data) - len(data.translate(None, _MAY_NEST)) > MAX_DEPTH


def _check_depth(data: bytes) -> None:
    if len(data) > MAX_DEPTH and _may_be_deep(data):
        _skim(data)


def _padding() -> bytes:
    """Arrays in arrays that leave MAX_DEPTH levels of msgpack's own stack for the body."""
    if Unpacker.__module__ == "msgpack.fallback":
        return b""  # In pure Python the limit is that of Python's stack, which is not ours to fill.

    def overflows(levels: int) -> bool:
        unpacker = Unpacker()
        unpacker.feed(b"\x91" * levels + b"\xc0")
        try:
            unpacker.skip()
        except StackError:
            return True
        return False

    return b"\x91" * (bisect.bisect_left(range(8192), True, key=overflows) - 1 - MAX_DEPTH)


_PADDING = _padding()


def _skim(data: bytes, padding: bytes = _PADDING) -> None:
    """Go over the bytes without making anything, to see that they are whole and not deep.

    What is not whole must be known before: an array may claim to hold more than comes,
    and msgpack before 1.2 makes room for claims (nested ones in 1 MiB took 8 GiB and 2 s).
    """
    unpacker = Unpacker(max_buffer_size=len(padding) + len(data))
    unpacker.feed(padding)
    unpacker.feed(data)
    unpacker.skip()


def _damage(data: bytes, resolve: Callable[[str], Any] | None, error: Exception) -> DecodeError:
    """What to raise for *error*: with the place, if a second reading comes to one."""
    found = None
    try:
        found = locate(_unpack_raw(data), resolve, _unpack_part)
    except Exception as another:
        error = another
    if found is None:
        found = DecodeError(_diagnosis(error), "body")
        found.__cause__ = error
    return found


def _unpack_raw(data: bytes) -> Any:
    _skim(data, padding=b"")  # What is too deep for us still has a place.
    hooks: dict[str, Any] = {"ext_hook": RawExt, "object_pairs_hook": RawMap}
    return _unpack(data, unicode_errors="surrogateescape", **hooks)


def _unpack_part(data: bytes) -> Any:
    try:
        return _unpack_raw(data)
    except Exception as error:
        raise DecodeError(_diagnosis(error)) from error


def _diagnosis(error: Exception) -> str:
    match error:
        case DecodeError():
            return str(error)
        case StackError():
            return TOO_DEEP
        case ExtraData():
            return f"{len(error.extra)} bytes are left over after the value"
        case OutOfData():
            return "the bytes end before the value does"
        case _:
            return f"not msgpack: {why(error)}"
