"""The way of one process to the file of an `SqliteStore`: its locks, its connection, its turns.

    writing():  take the turn ─► BEGIN IMMEDIATE ─► ... ─► COMMIT ─► give the turn
                                       └── any error ─► ROLLBACK ─┘
    reading():  BEGIN ─► ... ─► ROLLBACK        one snapshot; waits for nobody

Whatever the driver or the system raises leaves here as a `StoreError`, with nothing half done
and a connection that works: one that cannot even roll back is replaced. A file that is not the
one any more that was opened is found out before a transaction and after its commit.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence

from actorflow.durability.locks import FileLock, Turn, life_lock
from actorflow.durability.sqlite_errors import from_os, from_sqlite
from actorflow.durability.sqlite_files import Held
from actorflow.durability.sqlite_schema import Step, check_file, connect, create
from actorflow.errors import CommitFailed, StoreError

__all__ = ["Link"]


class Link:
    """One session's locks and connection.

    Args:
        url: How errors name the store.
        path: Of the file.
        synchronous: "FULL" or "NORMAL".
        wait: Seconds to wait for a turn.
        steps: Of the schema.
        factory: Class of the connection; tests put their own here.
    """

    def __init__(
        self,
        url: str,
        path: str,
        synchronous: str,
        wait: float,
        steps: Sequence[Step],
        factory: type[sqlite3.Connection],
    ) -> None:
        self.url = url
        # The real path, so that all who mean the file mean the same locks.
        self.path = os.path.realpath(path)
        self.folder = f"{self.path}.d"
        self._synchronous = synchronous
        self._wait = wait
        self._steps = steps
        self._factory = factory
        self._pid = os.getpid()
        self._file = Held(url, self.path)
        self._db: sqlite3.Connection | None = None
        self._life: FileLock | None = None
        self._turn: Turn | None = None

    def open(self, session: bytes) -> None:
        """Take the lock of *session*, and the file, which is made if it is missing.

        Raises:
            StoreError: And its kinds; nothing is left open then.
        """
        try:
            there = check_file(self.url, self.path)
            os.makedirs(self.folder, exist_ok=True)
            self._life = life_lock(self.folder, session)
            if self._life is None:
                raise StoreError(self.url, f"session {session.hex()} is open already")
            following = os.path.join(self.folder, "next.lock")
            self._turn = Turn(f"{self.path}.lock", following, self._wait)
            if not there:
                self._make()
            self._db = self._connected()
        except OSError as error:
            self.close(delete=True)
            raise from_os(self.url, error) from error
        except sqlite3.Error as error:
            self.close(delete=True)
            raise from_sqlite(self.url, error) from error
        except BaseException:
            self.close(delete=True)
            raise

    def _make(self) -> None:
        with self._turned():
            if not check_file(self.url, self.path):  # Somebody may have been faster.
                create(self.url, self.path, self._steps)

    def close(self, *, delete: bool) -> None:
        """Let everything go; *delete* also removes the lock file that proves our death."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.let_go(db)
        if self._turn is not None:
            self._turn.close()
        if self._life is not None:
            self._life.close(delete=delete)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes, whole or not at all.

        Raises:
            CommitFailed: Also when the turn does not come ("busy").
            StoreError: The file is gone; what was committed last may be gone with it.
        """
        with self._turned():
            self._check_file()
            db = self._usable()
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
            except sqlite3.Error as error:
                self._roll_back()
                raise from_sqlite(self.url, error) from error
            except OverflowError as error:
                self._roll_back()
                raise StoreError(self.url, f"cannot be kept: {error}") from error
            except BaseException:
                self._roll_back()
                raise
            try:
                db.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise from_sqlite(self.url, error, committing=True) from error
                raise
            self._check_file()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot to read from."""
        db = self._usable()
        try:
            db.execute("BEGIN")
            yield db
        except sqlite3.Error as error:
            raise from_sqlite(self.url, error) from error
        finally:
            self._roll_back()

    @contextlib.contextmanager
    def _turned(self) -> Iterator[None]:
        turn = self._turn
        assert turn is not None
        try:
            taken = turn.take()
        except OSError as error:
            raise from_os(self.url, error) from error
        if not taken:
            detail = f"no turn to write within {self._wait:g} s; another process holds it"
            raise CommitFailed(self.url, detail, "busy")
        try:
            yield
        finally:
            turn.give()

    def _usable(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            raise StoreError(self.url, "was opened before a fork; open another in this process")
        if self._db is None:
            try:
                self._db = self._connected()
            except sqlite3.Error as error:
                raise from_sqlite(self.url, error) from error
        return self._db

    def _connected(self) -> sqlite3.Connection:
        return self._file.connect(
            lambda: connect(
                self.url, self.path, self._synchronous, self._wait, self._factory, self._steps
            )
        )

    def _check_file(self) -> None:
        try:
            self._file.check()
        except OSError as error:  # Nobody can tell, not even whether a commit is in it.
            failed = from_os(self.url, error)
            raise CommitFailed(self.url, failed.detail, failed.reason, unknown=True) from error

    def _roll_back(self) -> None:
        """Leave no transaction open; a connection that cannot do that is dropped."""
        db = self._db
        if db is None:
            return
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self._db = None
            with contextlib.suppress(sqlite3.Error):
                self._file.let_go(db)
