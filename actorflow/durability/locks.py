"""Locks on files: whose turn it is to write, and who is still alive.

    run.db.lock            held around one transaction: the turn
    run.db.d/next.lock     held while waiting for the turn: who is next
    run.db.d/<id>.lock     held for the life of a session: proof of it

The kernel drops a lock with the last descriptor of it, however a process ends. So none may
be inherited: not by a program that is started (`O_CLOEXEC`), not by a forked copy either,
which would keep a dead parent alive.

Two locks make turns fair. Who has ended a turn and wants the next must first become next,
and whoever waits is that already: it gets the turn after at most the one that is running.
SQLite's own waiting starves: seconds under load.

Local disks only. Without `fcntl` (Windows) there are no turns and no proof, only leases.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import weakref
from collections.abc import Callable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock", "Turn", "forget", "life_lock", "proven_dead"]

#: Seconds between two looks at a lock that somebody holds: well below one commit.
PAUSE_SECONDS = 0.0005

#: What `flock` says when somebody else holds the lock.
HELD = (errno.EAGAIN, errno.EACCES)

_open: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An exclusive lock on one file, which is made if it is missing.

    Args:
        path: Of the file.

    Raises:
        OSError: The file cannot be made or opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        _open.add(self)

    def try_lock(self) -> bool:
        """Take the lock if it is free; never waits."""
        return _try_lock(self._fd)

    def unlock(self) -> None:
        if fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self, *, delete: bool = False) -> None:
        """Let go, in any state; twice does nothing. *delete* removes the file while it is held."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if delete:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        os.close(fd)


def _try_lock(fd: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    return True


def _close_copies() -> None:
    for lock in list(_open):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)


class Turn:
    """Whose turn it is to write, among all that opened the same two files.

    Args:
        turn: Path of the lock for the turn.
        following: Path of the lock for being next.
        wait: Seconds to wait at most.
        pause: Passes a given number of seconds; tests put their own here.
        clock: Seconds that only grow.

    Raises:
        OSError: A file cannot be made or opened.
    """

    def __init__(
        self,
        turn: str,
        following: str,
        wait: float,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turn = FileLock(turn)
        try:
            self._next = FileLock(following)
        except BaseException:
            self._turn.close()
            raise
        self._wait = wait
        self._pause = pause
        self._clock = clock

    def take(self) -> bool:
        """Wait for the turn; `False` if it did not come in time, and nothing is held then."""
        end = self._clock() + self._wait
        if not self._get(self._next, end):
            return False
        try:
            return self._get(self._turn, end)
        finally:
            self._next.unlock()

    def give(self) -> None:
        """End the turn."""
        self._turn.unlock()

    def close(self) -> None:
        self._turn.close()
        self._next.close()

    def _get(self, lock: FileLock, end: float) -> bool:
        while not lock.try_lock():
            if self._clock() >= end:
                return False
            self._pause(PAUSE_SECONDS)
        return True


def life_lock(folder: str, session: bytes) -> FileLock | None:
    """Make and hold the lock file of *session*; `None` if somebody holds it already.

    Raises:
        OSError: It cannot be made.
    """
    lock = FileLock(_life_path(folder, session))
    if lock.try_lock():
        return lock
    lock.close()
    return None


def proven_dead(folder: str, session: bytes) -> bool:
    """Whether the lock file of *session* is there and nobody holds it.

    Asked only about sessions that have announced themselves, thus hold their lock before.
    """
    if fcntl is None:
        return False
    path = _life_path(folder, session)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # No file proves nothing: somebody may have tidied up.
        return False
    try:
        return _try_lock(fd)
    except OSError:
        return False
    finally:
        os.close(fd)


def forget(folder: str, session: bytes) -> None:
    """Remove the lock file of a session that is dead."""
    with contextlib.suppress(OSError):
        os.unlink(_life_path(folder, session))


def _life_path(folder: str, session: bytes) -> str:
    return os.path.join(folder, f"{session.hex()}.lock")
