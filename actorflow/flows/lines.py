"""A file line by line, from its beginning or from where a cursor says.

    BlockReader ──► blocks ──► LineSplitter ──► lines ──► entries, `Malformed`

The splitter is ahead of what was pulled: the cursor is the place of the next line that
was not, and the print of the file is of all that was read.

Sizes and offsets are bytes; lines count from 1.
"""

from __future__ import annotations

import codecs
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import trio

from actorflow import options
from actorflow.errors import ConfigurationError, DecodeError, SourceChanged, UsageError
from actorflow.flows.cursors import FilePrint, own_cursor
from actorflow.flows.files import STANDARD, BlockReader, FilePath, file_path
from actorflow.flows.pulling import Malformed, Slice, refuse_closed

__all__ = ["MAX_LINE", "LineSource", "LineSplitter", "Long"]

T = TypeVar("T")

#: Longest line read by default: far above any sane record, far below what hurts.
MAX_LINE = 16 * 1024 * 1024

#: How much of a line that is too long is kept to recognise it by.
HEAD = 1_024

#: What a cursor into lines says it is one of.
KIND = "file"


class LineSource(trio.abc.AsyncResource, Generic[T]):
    """Lines of a file, each made into an entry by `_value`.

    Attributes:
        name: The file's name as given, or ``stdin``.
        offset: Where the next line that was not yet pulled begins.
        line: Number of the last line pulled; 0 before the first.
    """

    _skip_blank = False

    def __init__(
        self,
        path: FilePath,
        *,
        encoding: str = "utf-8",
        max_line: int = MAX_LINE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        kind = type(self).__name__
        self._reader = BlockReader(file_path(f"{kind}.path", path, "standard input"))
        self.name = "stdin" if self._reader.path == STANDARD else self._reader.path
        self.encoding = _line_encoding(f"{kind}.encoding", encoding)
        self.max_line = options.count(f"{kind}.max_line", max_line)
        self.offset = 0
        self.line = 0
        self._received = 0
        self._splitter = LineSplitter(max_line)
        self._ended = False
        self._closed = False
        self._slice = Slice(clock)

    @property
    def replayable(self) -> bool:
        """Whether it has a cursor: a regular file has, a pipe or standard input has none."""
        return self._reader.replayable

    def cursor(self) -> dict[str, Any]:
        """The place after the last entry pulled, as a plain value that `seek` understands.

        It costs a microsecond. Size and digest are those of the file when it was opened, or
        later if it was growing while it was read.

        Raises:
            UsageError: The source is not `replayable`.
        """
        if not self.replayable:
            raise UsageError(f"{self.name}: has no cursor, since it cannot be read again")
        known = self._reader.print
        return {
            "kind": KIND,
            "offset": self.offset,
            "line": self.line,
            "size": None if known is None else known.size,
            "digest": None if known is None else known.digest,
        }

    async def seek(self, cursor: Any, run: str) -> None:
        """Read on from where *cursor* was taken; line numbers go on too.

        The file may have grown at its end since, as a log does: its new lines are read as well.
        It may also be a copy, or have another name. What must be the same are the first, the
        last and some blocks between of what was there then, as far as they are sampled.

        Args:
            cursor: What `cursor` gave; of a file that was not open yet it allows any file.
            run: Id of the run, for the error.

        Raises:
            SourceChanged: It is not the file that was read, or its last line was read when it
                had no newline, and has grown.
            OSError: As from `check`.
            UsageError: Something was pulled already.
            trio.ClosedResourceError: The source is closed.
        """
        if self._received or self._ended:
            raise UsageError(f"{self.name}: seek() comes before the first pull")
        if self._closed:
            refuse_closed(self.name)
        place = own_cursor(cursor, KIND, run, self.name)
        offset, digest = place["offset"], place["digest"]
        known = None if digest is None else FilePrint(place["size"], digest)
        change = await self._reader.resume(known, offset)
        if change:
            raise SourceChanged(run, self.name, change)
        self.offset = self._received = offset
        self.line = place["line"]

    @property
    def left(self) -> int | None:
        """Bytes that were not pulled yet; `None` if only reading on can tell."""
        size = self._reader.size()
        return None if size is None else max(0, size - self.offset)

    def check(self) -> None:
        """Raise now what opening the file would raise, without waiting for anybody.

        Raises:
            OSError: `FileNotFoundError`, `IsADirectoryError`, `PermissionError` and others.
        """
        self._reader.check()

    async def open(self) -> None:
        """Open the file, if it is not open yet; the first pull does this too.

        Raises:
            OSError: As from `check`.
            trio.ClosedResourceError: The source is closed.
        """
        if self._closed:
            refuse_closed(self.name)
        await self._reader.open()

    async def pull(self, most: int) -> Sequence[T | Malformed]:
        """The next lines; none at the end.

        Raises:
            OSError: The file cannot be opened or read.
            trio.ClosedResourceError: The source is closed.
        """
        assert most >= 1, most
        await self.open()
        entries: list[T | Malformed] = []
        while not entries:
            until = await self._slice.begin()
            if self._splitter.lines:
                self._take(entries, most, until)
            elif self._ended:
                break
            else:
                await self._read()
        return entries

    async def aclose(self) -> None:
        """Close the file; standard input stays open."""
        self._closed = True
        self._reader.close()

    async def _read(self) -> None:
        block = await self._reader.read()
        self._received += len(block)
        if block:
            self._splitter.add(block)
        else:
            self._splitter.finish()
            self._ended = True

    def _take(self, entries: list[T | Malformed], most: int, until: float) -> None:
        lines = self._splitter.lines
        while lines and len(entries) < most:
            line = lines.popleft()
            self.line += 1
            # The last line may lack its newline.
            self.offset = min(self.offset + len(line) + 1, self._received)
            if self.line == 1 and isinstance(line, bytes) and self.encoding == "utf-8":
                line = line.removeprefix(codecs.BOM_UTF8)
            if not self._skip_blank or isinstance(line, Long) or line.strip():
                entries.append(self._entry(line))
            if self._slice.now() >= until:
                break

    def _entry(self, line: bytes | Long) -> T | Malformed:
        if isinstance(line, Long):
            detail = f"a line of {line.size:,} bytes, above `max_line` ({self.max_line:,})"
            return self._malformed(line.head, detail)
        if line.endswith(b"\r"):
            line = line[:-1]
        try:
            return self._value(line.decode(self.encoding))
        except UnicodeDecodeError as error:
            detail = f"not {self.encoding} at byte {error.start + 1} ({error.reason})"
        except json.JSONDecodeError as error:
            detail = f"not JSON at column {error.pos + 1} ({error.msg.removesuffix(' at')})"
        except RecursionError:
            detail = "JSON nested too deeply"
        except ValueError as error:
            detail = f"not JSON ({error})"
        return self._malformed(line, detail)

    def _malformed(self, line: bytes, detail: str) -> Malformed:
        place = f"{self.name}:{self.line}"
        # The error is made, not caught: a traceback would keep the whole block alive.
        return Malformed(
            place, line.decode(self.encoding, "backslashreplace"), DecodeError(detail, place)
        )

    def _value(self, text: str) -> T:
        raise NotImplementedError


class Long:
    """What is kept of a line that is too long: its *head*; its length is the whole line's."""

    __slots__ = ("head", "size")

    def __init__(self, head: bytes, size: int) -> None:
        self.head = head
        self.size = size

    def __len__(self) -> int:
        return self.size


class LineSplitter:
    """Blocks in, `lines` out, without their newline.

    Args:
        max_line: Most bytes of a line; of a longer one only the head is kept.
    """

    def __init__(self, max_line: int) -> None:
        self.lines: deque[bytes | Long] = deque()
        self._max_line = max_line
        self._partial = bytearray()
        self._size = 0  # Of the partial line, what was not kept of it included.

    def add(self, block: bytes) -> None:
        """Take the next block of the input."""
        first, *others = block.split(b"\n")
        self._carry(first)
        if not others:
            return
        self._end_line()
        last = others.pop()
        if len(block) <= self._max_line:
            self.lines.extend(others)
        else:
            for line in others:
                self._carry(line)
                self._end_line()
        self._carry(last)

    def finish(self) -> None:
        """The input has ended; what follows its last newline is a line, unless empty."""
        if self._size:
            self._end_line()

    def _carry(self, piece: bytes) -> None:
        self._partial += piece
        self._size += len(piece)
        if self._size > self._max_line:
            del self._partial[HEAD:]

    def _end_line(self) -> None:
        line = bytes(self._partial)
        self.lines.append(Long(line, self._size) if self._size > self._max_line else line)
        self._partial.clear()
        self._size = 0


def _line_encoding(option: str, encoding: object) -> str:
    wanted = "a text encoding with one-byte newlines, such as 'utf-8' or 'latin-1'"
    try:
        name = codecs.lookup(str(encoding)).name.removesuffix("-sig")
        if "\n".encode(name) == b"\n":
            return name
    except (LookupError, ValueError):
        pass
    raise ConfigurationError(option, encoding, wanted)
