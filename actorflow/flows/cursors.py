"""Know an input again, so that a run can be gone on with where it was left.

    file, sequence ──► a few samples ──► size and digest ──► part of every cursor
    cursor ──► the same samples, taken anew ──► what has changed, or nothing

Samples find the mistakes people make: another file under the old name, a log that was
rotated, a list in another order. They do not find an edit of the same length between
two samples; a file of a megabyte or less is read whole, and every edit of it is found.

Nothing here waits or opens anything. What touches a file is called in its thread.

Sizes and offsets are bytes; indexes count from 0.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from typing import Any, cast

import attrs

from actorflow.errors import SourceChanged
from actorflow.wire.codec import encode

__all__ = ["FilePrint", "SequencePrint", "items_from", "own_cursor"]

#: Bytes of one sample of a file; its first and its last bytes are always among them.
SAMPLE = 65_536

#: Samples of a file. All of them together are read in about a millisecond.
SAMPLES = 16

#: Items of a sequence that are looked at, the first and the last among them.
ITEMS = 8

#: An item with more parts than this, or more text, is left out: this is done on the loop.
MOST_PARTS = 1_000
MOST_TEXT = 1_048_576

#: Stands for an item that is left out; msgpack has no such byte.
LEFT_OUT = b"\xc1"


@attrs.frozen
class FilePrint:
    """By what a file is known again.

    Attributes:
        size: How many of its first bytes *digest* is about.
        digest: Of the samples.
    """

    size: int
    digest: str

    @classmethod
    def take(cls, file: FileIO, least: int = 0) -> FilePrint:
        """The print of *file* as it is now, and of *least* bytes if it has become shorter."""
        size = max(least, os.fstat(file.fileno()).st_size)
        return cls(size, _file_digest(file, size))

    def change(self, file: FileIO, offset: int) -> str:
        """What speaks against reading *file* on from *offset*; nothing if it has only grown."""
        size, known = os.fstat(file.fileno()).st_size, max(self.size, offset)
        if size < known:
            return f"it had {known:,} bytes and has {size:,}"
        if _file_digest(file, self.size) != self.digest:
            return f"its first {self.size:,} bytes are not what they were"
        # The line that was read last ended with the file, and does so no more.
        if 0 < offset < size and _read(file, offset - 1, 1) != b"\n":
            return f"its last line had no newline when it was read, at byte {offset:,}, and goes on"
        return ""


@attrs.frozen
class SequencePrint:
    """By what a sequence is known again.

    Attributes:
        length: How many items it has.
        digest: Of some of them; `None` if one of those cannot be turned into bytes.
    """

    length: int
    digest: str | None

    @classmethod
    def take(cls, values: Sequence[Any]) -> SequencePrint:
        """The print of *values*; their items must not have been handed out yet."""
        length = len(values)
        return cls(length, _items_digest(values, length))

    def change(self, now: SequencePrint, index: int) -> str:
        """What speaks against going on at *index* of the sequence whose print is *now*.

        Another length does, even if the items before are the same: a list that has
        become longer is a new list, of which nobody knows where the new ones stand.
        """
        known = max(self.length, index)
        if now.length != known:
            return f"it had {known:,} items and has {now.length:,}"
        if now.digest != self.digest:
            return "its items are not what they were, or in another order"
        return ""


def own_cursor(cursor: Any, kind: str, run: str, name: str) -> Mapping[str, Any]:
    """*cursor*, which must be of the *kind* of the source *name*.

    Raises:
        SourceChanged: It comes from another kind of source.
    """
    found = cursor.get("kind") if isinstance(cursor, Mapping) else None
    if found != kind:
        read = "something else" if found is None else f"a {found}"
        raise SourceChanged(run, name, f"the run has read {read}, and this is a {kind}")
    return cast("Mapping[str, Any]", cursor)


def items_from(values: Sequence[Any], index: int) -> Iterator[Any]:
    """The items from *index* on, without a walk over those before it."""
    while True:
        try:
            item = values[index]
        except IndexError:
            return
        yield item
        index += 1


def _file_digest(file: FileIO, size: int) -> str:
    """The digest of samples of the first *size* bytes; leaves the position as it was."""
    digest = hashlib.blake2b(digest_size=16)
    position = file.tell()
    try:
        if size <= SAMPLE * SAMPLES:
            starts = list(range(0, size, SAMPLE))
        else:
            starts = [(size - SAMPLE) * number // (SAMPLES - 1) for number in range(SAMPLES)]
        for start in starts:
            digest.update(_read(file, start, min(SAMPLE, size - start)))
    finally:
        file.seek(position)
    return digest.hexdigest()


def _read(file: FileIO, start: int, size: int) -> bytes:
    file.seek(start)
    data = b""
    while len(data) < size and (piece := file.read(size - len(data))):
        data += piece
    return data


def _items_digest(values: Sequence[Any], length: int) -> str | None:
    digest = hashlib.blake2b(digest_size=16)
    indexes = {(length - 1) * number // (ITEMS - 1) for number in range(ITEMS)} if length else ()
    try:
        for index in sorted(indexes):
            item = values[index]
            digest.update(LEFT_OUT if _is_large(item) else encode(item))
    except Exception:  # No bytes can be made of it, or it cannot be had at all: a pull will tell.
        return None
    return digest.hexdigest()


def _is_large(item: Any) -> bool:
    rest, parts, text = [item], 0, 0
    while rest:
        part = rest.pop()
        kind = type(part)
        if kind is str or kind is bytes:
            text += len(part)
        elif kind in (list, tuple, set, frozenset, dict):
            parts += len(part)
        if parts > MOST_PARTS or text > MOST_TEXT:
            return True
        if kind is dict:
            rest.extend(part.values())
        elif kind in (list, tuple, set, frozenset):
            rest.extend(part)
    return False
