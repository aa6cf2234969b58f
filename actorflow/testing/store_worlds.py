"""A disk and the processes on it: what a check of a store needs to be told from outside.

The processes are stores in this one, each with a session of its own. What they cannot do
by themselves is die.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import Literal, Protocol

from actorflow import options
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Session, Store

__all__ = ["MemoryWorld", "SqliteWorld", "StoreWorld", "new_session"]

_pids = itertools.count(1001)


def new_session(lease: float = 30.0) -> Session:
    """A session as a new process would have it: the same host, another process id.

    Args:
        lease: Seconds after its last renewal for which its runs stay its own; above 0.
    """
    options.seconds("new_session() lease", lease, zero=False)
    return Session(os.urandom(16), "laboratory", next(_pids), lease)


class StoreWorld(Protocol):
    """One disk that is empty at first, and the processes that share it.

    Attributes:
        proves_death: Whether a killed process is known to be dead before its lease is over;
            if not, the checks of that are left out.
    """

    proves_death: bool

    def open(self, session: Session) -> Store:
        """One more process: another store on the same disk, opened with *session*."""

    def kill(self, store: Store) -> None:
        """End that process as ``kill -9`` does: it writes nothing more and says nothing."""

    def close(self) -> None:
        """Remove the disk; stores that are still open may be closed or not."""


class MemoryWorld:
    """The world of `MemoryStore`."""

    proves_death = True

    def __init__(self) -> None:
        self._disk = MemoryDisk()

    def open(self, session: Session) -> Store:
        store = MemoryStore(disk=self._disk)
        store.open(session)
        return store

    def kill(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.die()

    def close(self) -> None:
        pass


class SqliteWorld:
    """The world of `SqliteStore`: a folder of its own, below the system's for such things."""

    proves_death = os.name == "posix"

    def __init__(self, *, synchronous: Literal["FULL", "NORMAL"] = "NORMAL") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="actorflow-store-")
        self._synchronous: Literal["FULL", "NORMAL"] = synchronous
        self._open: list[SqliteStore] = []

    def open(self, session: Session) -> Store:
        path = os.path.join(self._folder.name, "run.db")
        store = SqliteStore(path, synchronous=self._synchronous)
        store.open(session)
        self._open.append(store)
        return store

    def kill(self, store: Store) -> None:
        assert isinstance(store, SqliteStore)
        store.die()

    def close(self) -> None:
        for store in self._open:
            store.die()
        self._folder.cleanup()
