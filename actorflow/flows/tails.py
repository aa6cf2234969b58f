"""Know a file again that was written: the last bytes before the place to go on from.

    write ──► Tail.add ──► tail.mark(name) ──► part of every cut that names the place
    open(at=place, tail=mark) ──► the same bytes before it, or another file: left alone

A mark is made for every cut, so what it is about is kept in memory: the file is read only
when it is opened again. It does not depend on the name, so a file may be moved or copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from io import FileIO
from typing import Any

__all__ = ["Tail", "last_bytes", "other_than"]

#: Bytes that are looked at. Two files that have as many in common, at the same place, have
#: nearly always all before them in common; a digest of them costs the loop 30 µs.
SIZE = 16_384

#: What a mark says it is one of; a sink of another kind has another one, or none.
KIND = "file"


class Tail:
    """The last bytes of a file that is being written.

    Args:
        data: What it had when it was opened.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._data = data[-SIZE:]
        self._digest = ""

    def add(self, data: memoryview) -> None:
        """*data* was written."""
        self._data = (self._data + data[-SIZE:])[-SIZE:]
        self._digest = ""

    def mark(self, name: str) -> dict[str, Any]:
        """By what the file is known again, as a plain value.

        Args:
            name: Of the file, for people.
        """
        self._digest = self._digest or _digest(self._data)
        return {"kind": KIND, "name": name, "size": len(self._data), "digest": self._digest}


def last_bytes(file: FileIO, at: int, size: int = SIZE) -> bytes:
    """The last *size* bytes before *at*, or all that there are."""
    size = min(size, at)
    file.seek(at - size)
    data = b""
    while len(data) < size and (piece := file.read(size - len(data))):
        data += piece
    return data


def other_than(mark: Any, file: FileIO, at: int) -> str:
    """What speaks against going on with *file* at *at*; nothing if it is as *mark* says.

    Args:
        mark: Of the file that was written; `None`, of an earlier release, allows any file.
    """
    if mark is None:
        return ""
    if not isinstance(mark, Mapping) or mark.get("kind") != KIND:
        return "is a file, and what was written before was none"
    if _digest(last_bytes(file, at, mark["size"])) == mark["digest"]:
        return ""
    return f"has other bytes before byte {at:,} than were written to {mark['name']}"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
