"""Open a file for writing: emptied, or behind what an earlier process wrote into it.

    nothing to keep ────────────────► emptied ────► ""
    the first `at` bytes count ─────► continued ──► those bytes, in the same file
    and its writer may wake up ─────► fresh inode ► those bytes, in a new file of that name
    but they are others ────────────► left alone ─► `SinkChanged`

A process that was stopped rather than killed still has the file open, and would write
into it once it wakes. So its file loses the name: the bytes that count are copied, and
the copy takes the name over. What the old process writes goes where nobody looks.

Whatever is opened here is on the disk under its name, so that bytes which are brought
to the disk later can be found after a power cut. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from io import FileIO
from typing import Any

from actorflow.errors import SinkChanged, UsageError
from actorflow.flows.tails import last_bytes, other_than

__all__ = ["continued", "emptied"]

#: Bytes that are copied at a time where the system does not copy files by itself.
BLOCK = 1_048_576

#: Characters of the file's name in that of its copy: with 4 bytes each they leave room.
STEM = 50

#: What systems say that cannot do a thing with these files, though with others they may.
CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM}


def emptied(path: str, *, fresh_inode: bool = False) -> FileIO:
    """The file, created or emptied.

    Args:
        path: Its name.
        fresh_inode: Whether it is to be a new file, if it is a file.
    """
    if fresh_inode and os.path.isfile(path):
        with FileIO(path, "rb") as old:
            return _renewed(path, old, 0)
    return _kept(path, FileIO(path, "wb"))


def continued(
    path: str, at: int, mark: Any = None, *, fresh_inode: bool = False
) -> tuple[FileIO, bytes]:
    """The file with its first *at* bytes, to be written on behind them, and the last of these.

    Args:
        path: Its name.
        at: What counts of it; what follows is gone.
        mark: By what it is known again; `None` allows any file that is long enough.
        fresh_inode: Whether it is to be a new file, with mode and, if allowed, owner of the old.

    Raises:
        SinkChanged: There is no such file, it is too short or no regular file, or it holds
            something else. It is as it was.
        OSError: It cannot be read or written.
    """
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        raise _lacking(path, at, "is missing") from None
    if not regular:
        raise _lacking(path, at, "is no regular file")
    if fresh_inode:
        with FileIO(path, "rb") as old:
            last = _checked(path, old, at, mark)
            return _renewed(path, old, at), last
    file = FileIO(path, "rb+")
    try:
        last = _checked(path, file, at, mark)
        file.truncate(at)
        file.seek(at)
    except BaseException:
        file.close()
        raise
    return _kept(path, file), last


def _checked(path: str, file: FileIO, at: int, mark: Any) -> bytes:
    """The last bytes before *at*, if the file is the one that was written."""
    _check_size(path, os.fstat(file.fileno()).st_size, at)
    change = other_than(mark, file, at)
    if change:
        raise SinkChanged(path, at, change)
    return last_bytes(file, at)


def _lacking(path: str, at: int, what: str) -> SinkChanged:
    return SinkChanged(path, at, f"{what}, and {at:,} bytes were written to it before")


def _check_size(path: str, size: int, at: int) -> None:
    if size < at:
        raise _lacking(path, at, f"has {size:,} bytes")


def _kept(path: str, file: FileIO) -> FileIO:
    """*file*, the name of which is on the disk."""
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            _sync_directory(os.path.dirname(os.path.realpath(path)))
    except BaseException:
        file.close()
        raise
    return file


def _renewed(path: str, old: FileIO, at: int) -> FileIO:
    """A new file in the place of *old*, with its first *at* bytes."""
    found = os.fstat(old.fileno())
    _check_size(path, found.st_size, at)
    target = os.path.realpath(path)  # A link goes on to lead there.
    directory, name = os.path.split(target)
    number, draft = tempfile.mkstemp(".part", f".{name[:STEM]}.", directory)
    file = FileIO(number, "rb+")
    try:
        _copy(path, old, file, at)
        with contextlib.suppress(OSError):  # Only root may give files away.
            os.chown(draft, found.st_uid, found.st_gid)
        os.chmod(draft, stat.S_IMODE(found.st_mode))
        os.fsync(number)
        if not os.path.samestat(os.stat(target), found):
            raise UsageError(f"{path}: somebody else has just replaced it; only one may write it")
        os.replace(draft, target)
        _sync_directory(directory)
    except BaseException:
        file.close()
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    return file


def _copy(path: str, old: FileIO, new: FileIO, count: int) -> None:
    """Copy the first *count* bytes; *new* is left at their end."""
    done = _copy_in_system(old.fileno(), new.fileno(), count)
    old.seek(done)
    new.seek(done)
    while done < count:
        rest = memoryview(old.read(min(BLOCK, count - done)))
        _check_size(path, done + len(rest), min(count, done + 1))  # It may shrink meanwhile.
        done += len(rest)
        while rest:
            rest = rest[new.write(rest) :]


def _copy_in_system(old: int, new: int, count: int) -> int:
    """How many of the first *count* bytes the system has copied by itself."""
    copy = getattr(os, "copy_file_range", None)
    done = 0
    try:
        while copy and done < count and (moved := copy(old, new, count - done, done, done)):
            done += moved
    except OSError as error:
        if error.errno not in CANNOT:
            raise
    return done


def _sync_directory(directory: str) -> None:
    """Bring the names in *directory* to the disk, where the system does that and lets us."""
    if os.name != "posix":
        return
    try:
        number = os.open(directory, os.O_RDONLY)
    except PermissionError:  # One may create files where one may not look.
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
    finally:
        os.close(number)
