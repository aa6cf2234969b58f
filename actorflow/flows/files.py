"""Files and standard streams in blocks, off the event loop and never stuck.

    BlockReader ──► blocks ──► LineSplitter ──► lines ──► a source
    a sink ──► BlockWriter ──► file, pipe or terminal

A thread that waits for somebody else cannot be cancelled. So a thread only ever
touches the disk, which answers by itself; waiting for the other end of a pipe, a
socket or a terminal is done on the loop, where a cancelled wait takes nothing.

The streams are raw: nothing is buffered here that could be lost or written twice,
and no lock of a buffered stream is held by a thread when the interpreter exits.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol, TextIO, TypeAlias, cast

import trio

from actorflow.errors import ConfigurationError

__all__ = [
    "STANDARD",
    "BlockReader",
    "BlockWriter",
    "FilePath",
    "LineSplitter",
    "Long",
    "file_path",
]

FilePath: TypeAlias = str | os.PathLike[str]

#: The file name that means standard input or standard output.
STANDARD = "-"

#: Bytes per read: a larger block is no faster, and one block is all that is held.
BLOCK = 65_536

#: Bytes that a pipe which says it has room takes without waiting (POSIX promises 512).
PIPE_ROOM: int = getattr(select, "PIPE_BUF", 512)

#: How much of a line that is too long is kept to recognise it by.
HEAD = 1_024


class RawFile(Protocol):
    """What is needed of a raw stream; `io.FileIO` has it, and so does `io.BytesIO`."""

    def read(self, size: int, /) -> bytes | None: ...
    def write(self, data: memoryview, /) -> int | None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class _Blocks:
    _mode: Literal["rb", "wb"]

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: RawFile | None = None
        self._waits = False
        self._limiter = trio.CapacityLimiter(1)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    async def open(self) -> None:
        """Open the file, if it is not open yet."""
        if self._file is None:
            # A named pipe opens when its other end does: that thread may be left behind.
            await trio.to_thread.run_sync(
                self._open, limiter=self._limiter, abandon_on_cancel=_is_fifo(self.path)
            )

    def _open(self) -> None:
        if self._file is not None:  # By a thread that was left behind.
            return
        if self.path != STANDARD:
            file: RawFile = io.FileIO(self.path, self._mode)
        elif self._mode == "rb":
            file = _standard_input()
        else:
            file = _standard_output()
        mode = _file_mode(file)
        self._waits = os.name == "posix" and mode != 0 and not stat.S_ISREG(mode)
        self._file = file


class BlockReader(_Blocks):
    """Reads a file or standard input, of which nothing may have been read before."""

    _mode = "rb"

    def check(self) -> None:
        """Raise now what opening would raise, without waiting for anybody."""
        if self.path == STANDARD:
            _standard_input()
            return
        mode = os.stat(self.path).st_mode
        if stat.S_ISDIR(mode):
            raise _os_error(errno.EISDIR, self.path)
        if stat.S_ISREG(mode):
            open(self.path, "rb").close()
        elif not os.access(self.path, os.R_OK):
            raise _os_error(errno.EACCES, self.path)

    async def read(self) -> bytes:
        """The next block, empty at the end. A cancelled read has taken nothing."""
        assert self._file is not None
        block = None
        while block is None:  # Non-blocking, and somebody else was quicker.
            if self._waits:
                try:
                    await trio.lowlevel.wait_readable(self._file.fileno())
                except OSError:  # What is always ready, such as /dev/null, cannot be waited for.
                    self._waits = False
            block = await trio.to_thread.run_sync(self._file.read, BLOCK, limiter=self._limiter)
        return block

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._file is not None and self.path != STANDARD:
            self._file.close()


class BlockWriter(_Blocks):
    """Writes a file, emptied when it is opened, or standard output.

    Attributes:
        offset: Bytes written since it was opened.
    """

    _mode = "wb"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.offset = 0

    async def open(self) -> None:
        """Open and empty the file."""
        await super().open()
        self.offset = 0

    async def write(self, data: bytes) -> None:
        """Hand *data* to the system, whole.

        A file gets all of it or, cancelled or after an error, nothing. A pipe or a
        terminal may have got a part.
        """
        assert self._file is not None
        file = self._file
        rest = memoryview(data)
        while self._waits and rest:
            try:
                await trio.lowlevel.wait_writable(file.fileno())
            except OSError:  # What is always ready, such as /dev/null, cannot be waited for.
                self._waits = False
            else:
                written = await self._in_thread(_write_some, file, rest[:PIPE_ROOM])
                rest = rest[written:]
        if rest:
            await self._in_thread(self._write_all, file, rest)

    async def close(self) -> None:
        """Bring a file to the disk and close it; standard output stays open."""
        file, self._file = self._file, None
        if file is not None:
            with trio.CancelScope(shield=True):  # The disk answers by itself.
                await trio.to_thread.run_sync(self._finish, file, limiter=self._limiter)

    async def _in_thread(
        self, write: Callable[[RawFile, memoryview], int], file: RawFile, data: memoryview
    ) -> int:
        written = await trio.to_thread.run_sync(write, file, data, limiter=self._limiter)
        self.offset += written
        return written

    def _write_all(self, file: RawFile, data: memoryview) -> int:
        rest = data
        try:
            while rest:
                rest = rest[_write_some(file, rest) :]
        except OSError:
            if self.path != STANDARD:
                with contextlib.suppress(OSError):  # The first error is the one to tell.
                    os.ftruncate(file.fileno(), self.offset)
                    os.lseek(file.fileno(), self.offset, os.SEEK_SET)
            raise
        return len(data)

    def _finish(self, file: RawFile) -> None:
        try:
            if stat.S_ISREG(_file_mode(file)):
                os.fsync(file.fileno())
        finally:
            if self.path != STANDARD:
                file.close()


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


def file_path(option: str, path: object, stream: str) -> str:
    """*path* as a str, if it can name a file; *stream* is what ``"-"`` stands for."""
    if isinstance(path, (str, os.PathLike)):
        return os.fsdecode(path)
    raise ConfigurationError(option, path, f"a file name, or '-' for {stream}")


def _os_error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)


def _standard_input() -> RawFile:
    if sys.stdin is None:
        raise FileNotFoundError(errno.ENOENT, "this process has no standard input", STANDARD)
    return _raw(sys.stdin)


def _standard_output() -> RawFile:
    if sys.stdout is None:
        raise FileNotFoundError(errno.ENOENT, "this process has no standard output", STANDARD)
    sys.stdout.flush()
    return _raw(sys.stdout)


def _raw(stream: TextIO) -> RawFile:
    buffer = getattr(stream, "buffer", None)
    if buffer is None:  # A stand-in that takes only text, as in notebooks.
        return _TextStream(stream)
    return cast(RawFile, getattr(buffer, "raw", buffer))


class _TextStream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        return self._stream.read(size).encode()

    def write(self, data: memoryview, /) -> int:
        self._stream.write(str(data, "utf-8"))
        return len(data)

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")

    def close(self) -> None:
        raise AssertionError("a standard stream stays open")


def _write_some(file: RawFile, data: memoryview) -> int:
    return file.write(data) or 0  # None: non-blocking, and there was no room after all.


def _is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _file_mode(file: RawFile) -> int:
    """The type and permissions the system has for it; 0 if it knows no such file."""
    try:
        return os.fstat(file.fileno()).st_mode
    except OSError:
        return 0
