"""Files and standard streams in blocks, off the event loop and never stuck.

    BlockReader ──► blocks ──► a source
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
import threading
from collections.abc import Callable
from typing import Any, Protocol, TextIO, TypeAlias, cast

import trio

from actorflow.errors import ConfigurationError, UsageError
from actorflow.flows.cursors import FilePrint
from actorflow.flows.diskfaults import naming
from actorflow.flows.reopening import continued, emptied
from actorflow.flows.tails import Tail
from actorflow.runtime.ports import to_thread

__all__ = [
    "STANDARD",
    "BlockReader",
    "BlockWriter",
    "FilePath",
    "file_path",
]

FilePath: TypeAlias = str | os.PathLike[str]

#: The file name that means standard input or standard output.
STANDARD = "-"

#: Bytes per read: a larger block is no faster, and one block is all that is held.
BLOCK = 65_536

#: Bytes that a pipe which says it has room takes without waiting (POSIX promises 512).
PIPE_ROOM: int = getattr(select, "PIPE_BUF", 512)


class RawFile(Protocol):
    """What is needed of a raw stream; `io.FileIO` has it, and so does `io.BytesIO`."""

    def read(self, size: int, /) -> bytes | None: ...
    def write(self, data: memoryview, /) -> int | None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class _Blocks:
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
            await to_thread(
                self._open, limiter=self._limiter, abandon_on_cancel=_is_fifo(self.path)
            )

    def _open(self) -> None:
        if self._file is not None:  # By a thread that was left behind.
            return
        file = self._opened()
        mode = _file_mode(file)
        self._waits = os.name == "posix" and mode != 0 and not stat.S_ISREG(mode)
        self._file = file

    def _opened(self) -> RawFile:
        raise NotImplementedError


class BlockReader(_Blocks):
    """Reads a file or standard input, of which nothing may have been read before.

    Attributes:
        print: Of all that was read, if it is an open file; `None` for pipes and others.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.print: FilePrint | None = None
        self._offset = 0

    @property
    def replayable(self) -> bool:
        """Whether it can be read again from any place: a regular file under a name."""
        if self._file is not None:
            return self.print is not None
        return self.path != STANDARD and self.size() is not None

    async def resume(self, old: FilePrint | None, offset: int) -> str:
        """Read on from *offset*, or say what has changed since the print *old* was taken."""
        if not self.replayable:  # Opening a pipe could wait for ever.
            self.check()
            return "it is no regular file any more"
        await self.open()
        return await to_thread(self._resume, old, offset, limiter=self._limiter)

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

    def size(self) -> int | None:
        """Bytes of a regular file; `None` for anything else, whose end only reading can find."""
        try:
            found = os.fstat(0) if self.path == STANDARD else os.stat(self.path)
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

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
            block = await to_thread(self._read, self._file, limiter=self._limiter)
        return block

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._file is not None and self.path != STANDARD:
            self._file.close()

    def _opened(self) -> RawFile:
        if self.path == STANDARD:
            return _standard_input()
        file = io.FileIO(self.path, "rb")
        if stat.S_ISREG(_file_mode(file)):
            try:
                self.print = FilePrint.take(file)
            except BaseException:
                file.close()
                raise
        return file

    def _read(self, file: RawFile) -> bytes | None:
        block = file.read(BLOCK)
        offset = self._offset + len(block or b"")
        if self.print is not None and offset > self.print.size:
            assert isinstance(file, io.FileIO), file
            try:  # It has grown, and all that is read must be known again.
                self.print = FilePrint.take(file, offset)
            except OSError:
                file.seek(self._offset)
                raise
        self._offset = offset
        return block

    def _resume(self, old: FilePrint | None, offset: int) -> str:
        assert isinstance(self._file, io.FileIO), self._file
        change = "" if old is None else old.change(self._file, offset)
        if not change:
            self._offset = self._file.seek(offset)
        return change


class BlockWriter(_Blocks):
    """Writes a file, emptied or gone on with when it is opened, or standard output.

    Attributes:
        offset: Bytes written: of a file its length, else since it was opened.
        is_file: Whether that is, or was, a regular file under a name.
        tail: The last of them, if it is.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._name = "stdout" if path == STANDARD else path
        self.offset = 0
        self.is_file = False
        self.tail = Tail()
        self._at: int | None = None
        self._mark: Any = None
        self._fresh_inode = False
        self._disk = threading.Lock()  # Guards the next two: sync() comes from other threads.
        self._unsynced: RawFile | None = None
        self._failure: OSError | None = None

    async def open(
        self, at: int | None = None, mark: Any = None, *, fresh_inode: bool = False
    ) -> None:
        """Open the file and empty it, or keep its first *at* bytes if it is as *mark* says."""
        self._at, self._mark, self._fresh_inode = at, mark, fresh_inode
        await super().open()
        self.offset = at or 0

    def sync(self) -> None:
        """Bring what was written to the disk; blocks, and may be called in any thread.

        Once that has failed it fails until the file is opened again: the system forgets what
        it could not write, and would say of the next attempt that all is well.
        """
        with self._disk, naming(self._name):
            self._sync()

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
                await to_thread(self._finish, file, limiter=self._limiter)

    async def _in_thread(
        self, write: Callable[[RawFile, memoryview], int], file: RawFile, data: memoryview
    ) -> int:
        with naming(self._name):
            written = await to_thread(write, file, data, limiter=self._limiter)
        self.offset += written
        if self.is_file:
            self.tail.add(data[:written])
        return written

    def _write_all(self, file: RawFile, data: memoryview) -> int:
        rest = data
        try:
            while rest:
                rest = rest[_write_some(file, rest) :]
        except OSError:
            if self.path != STANDARD:
                with contextlib.suppress(OSError):  # The first error is the one to tell.
                    os.lseek(file.fileno(), self.offset, os.SEEK_SET)
                    os.ftruncate(file.fileno(), self.offset)
            raise
        return len(data)

    def _opened(self) -> RawFile:
        if self.path != STANDARD:
            return self._opened_file()
        if self._at is not None:
            raise UsageError("stdout: nothing can be continued here; open it without `at`")
        return _standard_output()

    def _opened_file(self) -> io.FileIO:
        if not self._at:  # What is to be kept of it is nothing: it may as well be missing.
            self.tail = Tail()
            return emptied(self.path, fresh_inode=self._fresh_inode)
        file, last = continued(self.path, self._at, self._mark, fresh_inode=self._fresh_inode)
        self.tail = Tail(last)
        return file

    def _open(self) -> None:
        with naming(self._name):
            super()._open()
        assert self._file is not None
        regular = stat.S_ISREG(_file_mode(self._file))
        self.is_file = regular and self.path != STANDARD
        with self._disk:
            self._unsynced, self._failure = (self._file if regular else None), None

    def _sync(self) -> None:
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror, self.path)
        if self._unsynced is not None:
            try:
                os.fsync(self._unsynced.fileno())
            except OSError as error:
                self._failure = error
                raise

    def _finish(self, file: RawFile) -> None:
        with naming(self._name):
            try:
                with self._disk:
                    try:
                        self._sync()
                    finally:
                        self._unsynced = None
            finally:
                if self.path != STANDARD:
                    file.close()


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
