"""Which files this process has open in SQLite, and whether their names still lead to them.

SQLite's locks are POSIX locks: a process loses all that it has on a file as soon as it closes
*any* descriptor of it, also one that had nothing to do with them. Without them the next process
that closes the file takes itself for the last one and deletes the log, into which we go on
writing. So a file that a connection of ours is in is looked at by nobody else in here.

A file that was deleted, moved or replaced takes all that is written, and keeps nothing. SQLite
does not notice; a comparison of numbers of devices and inodes does, in a microsecond.

Source: https://www.sqlite.org/howtocorrupt.html, sections 2.2 and 4.2 ff.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable

from actorflow.errors import StoreError

__all__ = ["Held", "first_bytes"]

#: Device and inode.
Identity = tuple[int, int]

#: Connections of this process by file. The lock is held while a file is opened or looked at.
_connections: Counter[Identity] = Counter()
_opening = threading.RLock()


def first_bytes(path: str, size: int) -> bytes | None:
    """The first *size* bytes of the file, or all there are; `None` if a connection of this
    process is in it, so that it has been looked at before.

    Raises:
        OSError: It cannot be read.
    """
    with _opening:
        if _identity(path) in _connections:
            return None
        with open(path, "rb") as file:
            return file.read(size)


class Held:
    """The file of one `Link`, for as long as that is open.

    Args:
        url: How errors name the store.
        path: Of the file.
    """

    def __init__(self, url: str, path: str) -> None:
        self._url = url
        self._path = path
        self._log = f"{path}-wal"
        self._connected: Identity | None = None  # What the connection is in.
        self._known: dict[str, Identity] = {}  # What the names led to at first.

    def connect(self, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """The connection that *connect* makes to the file.

        Raises:
            StoreError: It is not the file that it was, or what *connect* raises.
        """
        with _opening:
            self.check()
            db = connect()
            self._connected = self._known.setdefault(self._path, _identity(self._path))
            _connections[self._connected] += 1
            return db

    def let_go(self, db: sqlite3.Connection) -> None:
        """Close the connection.

        Raises:
            sqlite3.Error: As of closing it.
        """
        with _opening:
            try:
                db.close()
            finally:
                if self._connected is not None:
                    _connections[self._connected] -= 1
                    if not _connections[self._connected]:
                        del _connections[self._connected]
                    self._connected = None
                    self._known.pop(self._log, None)  # The last one deletes it.

    def check(self) -> None:
        """See that the names lead to what they did, as far as can be told.

        Raises:
            StoreError: Somebody has deleted, moved or replaced the file or its log.
        """
        for path in (self._path, self._log):
            known = self._known.get(path)
            try:
                found = _identity(path)
            except FileNotFoundError:
                if known is not None:
                    raise self._gone(path, "was deleted or moved") from None
                continue
            if known is None and path == self._log and self._connected is not None:
                self._known[path] = found
            elif known is not None and found != known:
                raise self._gone(path, "was replaced by another file")

    def _gone(self, path: str, what: str) -> StoreError:
        detail = (
            f"{path} {what} while it was in use, so nothing is kept any more; bring it back "
            "together with its -wal and start again, or begin with a new one"
        )
        return StoreError(self._url, detail)


def _identity(path: str) -> Identity:
    found = os.stat(path)
    return found.st_dev, found.st_ino
