"""Who holds which run of an `SqliteStore`, and whether they are still alive.

    held by a session that ──► is proven dead (its lock can be had) ──► free, at once
                          ├──► let its lease end                   ──► taken over
                          └──► neither                              ──► in use

Proof is believed only from the same host and boot: elsewhere locks mean nothing. All of it
runs inside a transaction that writes, so two never judge at a time.
"""

from __future__ import annotations

import sqlite3

import attrs

from actorflow.durability.locks import forget, proven_dead
from actorflow.durability.sqlite_rows import execute
from actorflow.durability.store import Session
from actorflow.durability.terms import lease_over, owner_name
from actorflow.errors import RunInUseError

__all__ = ["Owners", "boot_id"]


@attrs.frozen
class _Life:
    """What the file says of a session."""

    id: bytes
    host: str
    pid: int
    boot: str
    beat: float
    lease: float

    @property
    def name(self) -> str:
        return owner_name(self.host, self.pid)


@attrs.define
class Owners:
    """The sessions of one file, as one of them sees them.

    Attributes:
        me: Our session.
        folder: Where the lock files are.
        boot: What the system calls the time since it was started, or "".
    """

    me: Session
    folder: str
    boot: str
    _buried: list[bytes] = attrs.Factory(list)

    def announce(self, db: sqlite3.Connection, beat: float, ticks: int) -> None:
        """Write that we were alive at *beat*."""
        me = self.me
        execute(
            db,
            "REPLACE INTO session (id, host, pid, boot, beat, lease, ticks) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (me.id, me.host, me.pid, self.boot, beat, me.lease, ticks),
        )

    def leave(self, db: sqlite3.Connection) -> None:
        """Give free what we hold, and end the session."""
        self._free(db, self.me.id)

    def sweep(self, db: sqlite3.Connection) -> None:
        """Give free what the proven dead hold."""
        for (session,) in execute(db, "SELECT id FROM session"):
            life = _life(db, session)
            if life is not None and self._is_dead(life):
                self._bury(db, session)

    def vacate(
        self, db: sqlite3.Connection, run: str, owner: bytes | None, now: float, *, held: bool
    ) -> bool:
        """Make sure that nobody holds *run*; whether its owner may still be alive.

        Args:
            db: With an open transaction.
            run: Its id.
            owner: The session that it names.
            now: Wall time.
            held: Whether we know that we hold it. If it names us all the same, we got it by an
                acquisition that was reported as failed.

        Raises:
            RunInUseError: Somebody alive holds it, or we do.
        """
        life = _life(db, owner)
        if life is None:
            return False
        if life.id == self.me.id:
            if held:
                raise RunInUseError(run, life.name)
            return False
        if self._is_dead(life):
            self._bury(db, life.id)
            return False
        if not lease_over(life.beat, life.lease, now):
            raise RunInUseError(run, life.name)
        return True

    def holder(self, db: sqlite3.Connection, owner: bytes | None) -> str:
        """Name of an owner that is not proven dead, or ""."""
        life = _life(db, owner)
        return "" if life is None or self._is_dead(life) else life.name

    def tidy(self) -> None:
        """Remove the lock files of the buried; only after the transaction: they are the proof."""
        while self._buried:
            forget(self.folder, self._buried.pop())

    def _is_dead(self, life: _Life) -> bool:
        if life.id == self.me.id or (life.host, life.boot) != (self.me.host, self.boot):
            return False
        return proven_dead(self.folder, life.id)

    def _bury(self, db: sqlite3.Connection, session: bytes) -> None:
        self._free(db, session)
        self._buried.append(session)

    def _free(self, db: sqlite3.Connection, session: bytes) -> None:
        execute(db, "UPDATE run SET session = NULL WHERE session = ?", (session,))
        execute(db, "DELETE FROM session WHERE id = ?", (session,))


def _life(db: sqlite3.Connection, session: bytes | None) -> _Life | None:
    columns = "id, host, pid, boot, beat, lease"
    found = execute(db, f"SELECT {columns} FROM session WHERE id = ?", (session,))
    return _Life(*found[0]) if found else None


def boot_id() -> str:
    """Changes with each start of the system; "" where it does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
