"""The bytes of a cut: what changed since the cut before, or everything.

    cut = header, blocks of messages, block of facts, seal        each one msgpack array

    message   key ──► record (box, lane, order, attempt, body, more)      or gone
    fact      key ──► value                                               or gone

A message is something that waits in a mailbox; a fact is anything else: the state of
an actor, a policy's counts, how far a source was read. Both are kept under a key and
replaced as a whole, so cuts fold like dicts, and two of them compare like dicts.
Records and facts stay bytes until somebody needs them: what one run holds that this
process cannot read does not keep the rest from being read.

The seal is a digest: a cut that was torn or damaged is a `DecodeError`, never half a cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import attrs
from msgpack import Packer, Unpacker

from actorflow.errors import DecodeError
from actorflow.wire.codec import decode, encode
from actorflow.wire.place import why

__all__ = [
    "ASIDE",
    "DUE",
    "LANES",
    "LATER",
    "LEASED",
    "OUT",
    "SLEEPING",
    "STASHED",
    "USER",
    "Cut",
    "Difference",
    "Key",
    "Record",
    "Row",
    "compare",
    "fold",
    "pack_facts",
    "pack_gone",
    "pack_messages",
    "read_bodies",
    "read_cut",
    "read_record",
    "read_records",
    "rewrite",
    "write_cut",
]

#: Of the format; another one is refused.
VERSION = 1

#: The root of an id that has no path, else its text.
Key: TypeAlias = "int | str"

#: ``(key, box, lane, order, attempt, packed body or None, body, more or None)``
Row: TypeAlias = "tuple[Key, str, int, int, int, bytes | None, Any, dict[str, Any] | None]"

#: Messages per block: about a millisecond's work.
BLOCK = 512

USER, DUE, LEASED, SLEEPING, ASIDE, STASHED, LATER, OUT = range(8)
"""Where in its mailbox a message was; numbers on disk, which never change."""

LANES = ("waiting", "due", "leased", "retrying", "aside", "stashed", "later", "result")

#: Bytes of the digest.
SEAL = 16

#: First bytes of numbers, texts, None, True and False, which need no closer look.
_SCALARS = frozenset(
    [*range(0x80), *range(0xA0, 0xC1), 0xC2, 0xC3, *range(0xCA, 0xD4), 0xD9, *range(0xE0, 0x100)]
)

_PLAIN = {int, str, bytes, float, bool, type(None)}


@attrs.frozen
class Cut:
    """One cut, read.

    Attributes:
        number: Rises by one with each cut of a run.
        full: Whether it stands for all before it.
        at: Wall time when it was taken.
        messages: Record of each message, `None` where it has left.
        facts: Bytes of each fact, `None` where it has gone.
    """

    number: int
    full: bool
    at: float
    messages: dict[Key, bytes | None]
    facts: dict[str, bytes | None]


class Record(NamedTuple):
    """Where a message was and what it was.

    Attributes:
        box: Path of its mailbox.
        lane: One of the numbers above.
        order: Its place among those of its lane; lower is first.
        attempt: Leases begun.
        body: Its packed body.
        more: What is not as it usually is: priority, headers, seconds left, ...
    """

    box: str
    lane: int
    order: int
    attempt: int
    body: bytes
    more: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen
class Difference:
    """How one state became another. Keys, sorted as text."""

    added: tuple[Key, ...]
    removed: tuple[Key, ...]
    changed: tuple[Key, ...]


# Writing --------------------------------------------------------------------------------


def pack_messages(rows: Iterable[Row], on_fault: Callable[[Key, Exception], None]) -> list[bytes]:
    """Blocks of messages. One whose body cannot be written goes without it, and *on_fault*
    is told: no message keeps the others from being kept.
    """
    pack = Packer().pack
    blocks: list[bytes] = []
    block: dict[Key, bytes] = {}
    for key, box, lane, order, attempt, packed, body, more in rows:
        if packed is None:
            try:
                packed = pack(body) if type(body) in _PLAIN else encode(body)
            except Exception as error:  # EncodeError, or an int beyond 64 bits.
                packed = _second_try(key, body, error, on_fault)
        row = (box, lane, order, attempt, packed)
        block[key] = pack((*row, more) if more else row)
        if len(block) == BLOCK:
            blocks.append(pack_row(("m", block)))
            block = {}
    if block:
        blocks.append(pack_row(("m", block)))
    return blocks


def pack_row(row: tuple[Any, ...]) -> bytes:
    data: bytes = Packer().pack(row)
    return data


def _second_try(
    key: Key, body: object, error: Exception, on_fault: Callable[[Key, Exception], None]
) -> bytes:
    try:
        return encode(body)
    except Exception:
        on_fault(key, error)
        return b""


def pack_gone(keys: Iterable[Key]) -> bytes:
    """A block of messages that have left."""
    return pack_row(("m", dict.fromkeys(keys)))


def pack_facts(facts: Mapping[str, bytes | None]) -> bytes:
    """A block of facts; `None` for those that are gone."""
    return pack_row(("f", facts))


def write_cut(number: int, full: bool, at: float, blocks: Iterable[bytes]) -> bytes:
    """The bytes of a cut; a later block overrules an earlier one."""
    body = b"".join([pack_row(("cut", VERSION, number, full, at)), *blocks])
    return body + pack_row(("end", hashlib.blake2b(body, digest_size=SEAL).digest()))


def rewrite(cut: Cut) -> bytes:
    """The bytes of a cut that was read or folded."""
    keys = list(cut.messages)
    blocks = [
        pack_row(("m", {key: cut.messages[key] for key in keys[start : start + BLOCK]}))
        for start in range(0, len(keys), BLOCK)
    ]
    return write_cut(cut.number, cut.full, cut.at, [*blocks, pack_facts(cut.facts)])


# Reading --------------------------------------------------------------------------------


def read_cut(data: bytes) -> Cut:
    """Read what `write_cut` wrote.

    Raises:
        DecodeError: The bytes are damaged, incomplete, or of a later format.
    """
    messages: dict[Key, bytes | None] = {}
    facts: dict[str, bytes | None] = {}
    unpacker = Unpacker(strict_map_key=False, use_list=False, max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    try:
        word, version, number, full, at = _header(unpacker)
        if word != "cut" or version != VERSION:
            raise DecodeError(f"a cut of format {version}; this release reads {VERSION}", "cut")
        while True:
            end = unpacker.tell()
            kind, content = next(unpacker)
            if kind == "end":
                break
            (messages if kind == "m" else facts).update(content)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"not a whole cut: {why(error)}", "cut") from error
    if content != hashlib.blake2b(memoryview(data)[:end], digest_size=SEAL).digest():
        raise DecodeError("its digest differs from its content: it is damaged", "cut")
    return Cut(number, full, at, messages, facts)


def _header(unpacker: Any) -> tuple[Any, ...]:
    found = next(unpacker)
    if not isinstance(found, tuple) or len(found) < 2:
        raise DecodeError("does not begin like one", "cut")
    return found if len(found) == 5 else (found[0], found[1], 0, False, math.nan)


def read_record(data: bytes) -> Record:
    """Read what `pack_messages` wrote of one message.

    Raises:
        DecodeError: The bytes are no record.
    """
    return read_records([data])[0]


def read_records(records: Sequence[bytes]) -> list[Record]:
    """Read many records at once, which costs half of reading each.

    Raises:
        DecodeError: One of them is none.
    """
    data = b"".join(records)
    unpacker = Unpacker(strict_map_key=False, use_list=False, max_buffer_size=len(data) or 1)
    unpacker.feed(data)
    try:
        found = [Record(*row) for row in unpacker]
    except Exception as error:
        raise DecodeError(f"not a record: {why(error)}", "record") from error
    if len(found) != len(records):
        raise DecodeError(f"{len(records)} records hold {len(found)}", "record")
    return found


def read_bodies(bodies: Sequence[bytes]) -> list[Any]:
    """What `encode` wrote of many bodies; a `DecodeError` in the place of one that is damaged,
    or holds a tag nobody has."""
    data = b"".join(bodies)
    if all(body and body[0] in _SCALARS for body in bodies):
        unpacker = Unpacker(max_buffer_size=len(data) or 1)
        unpacker.feed(data)
        with contextlib.suppress(Exception):
            found = list(unpacker)
            if len(found) == len(bodies):
                return found
    return [_read_body(body) for body in bodies]


def _read_body(body: bytes) -> Any:
    try:
        return decode(body, max_bytes=None)
    except DecodeError as error:
        return error


# Folding and comparing ------------------------------------------------------------------


def fold(cuts: Iterable[Cut]) -> Cut:
    """The state after *cuts*, in their order, as one full cut without anything gone.

    Raises:
        DecodeError: A cut is missing between two others or comes again, or the first is not full.
    """
    number, at = 0, 0.0
    messages: dict[Key, bytes] = {}
    facts: dict[str, bytes] = {}
    for cut in cuts:
        if number and cut.number <= number:
            raise DecodeError(f"cut {cut.number} comes again after cut {number}", "cut")
        if cut.full:
            messages.clear()
            facts.clear()
        elif cut.number != number + 1:
            raise DecodeError(f"cut {number + 1} is missing before cut {cut.number}", "cut")
        number, at = cut.number, cut.at
        _apply(messages, cut.messages)
        _apply(facts, cut.facts)
    return Cut(number, True, at, dict(messages), dict(facts))


def _apply(state: dict[Any, bytes], changes: Mapping[Any, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


def compare(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Difference:
    """What was added, removed and changed from *before* to *after*."""

    def ordered(keys: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(sorted(keys, key=lambda key: (isinstance(key, str), key)))

    return Difference(
        added=ordered(after.keys() - before.keys()),
        removed=ordered(before.keys() - after.keys()),
        changed=ordered(key for key in before.keys() & after.keys() if before[key] != after[key]),
    )
