"""The store for one machine: a file of SQLite's, shared by any number of processes.

    run.db            runs, their cuts, results, dead letters, blame       sqlite_schema
    run.db-wal, -shm  SQLite's log, copied into the file every 4 MB
    run.db.lock       whose turn it is to write                            locks
    run.db.d/         who is alive, who is next

A commit is one transaction: the fence first, then a few statements of many rows each. The
fence is the update of the run, which names the epoch and the session: no row, no commit. A
process that holds runs also holds a lock on a file; where that lock can be had, it is dead,
and its runs go on at once. Otherwise its lease decides (`Session.lease`).

Keep the file on a local disk, and move or delete it only together with its companions.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from actorflow import options
from actorflow.durability import sqlite_rows as rows
from actorflow.durability.sqlite_link import Link
from actorflow.durability.sqlite_owners import Owners, boot_id
from actorflow.durability.sqlite_rows import execute
from actorflow.durability.sqlite_schema import STEPS, Step, known_version, upgrade
from actorflow.durability.store import (
    Change,
    CutRow,
    DeadQuery,
    DeadRow,
    Loaded,
    Owned,
    ResultRow,
    RunRow,
    Session,
)
from actorflow.durability.terms import check_change, owner_name, storable, wrong_number
from actorflow.errors import (
    CommitFailed,
    LeaseLost,
    RunExistsError,
    RunInUseError,
    RunNotFoundError,
    StoreError,
)

__all__ = ["SqliteStore"]

_FENCE = """
    UPDATE run SET
        number = coalesce(:number, number), status = coalesce(:status, status),
        session = iif(:ended, NULL, session), report = :report,
        version = coalesce(:version, version), identity = coalesce(:identity, identity),
        flow = coalesce(:flow, flow), updated = max(updated, :at),
        results = results + :results, dead = dead + :dead,
        doubted = iif(:number IS NULL, doubted, 0)
    WHERE id = :run AND epoch = :epoch AND session = :me
        AND (:number IS NULL OR number = :number - 1)
    RETURNING key, results - :results, dead - :dead
"""

_OURS = "SELECT number FROM run WHERE id = :run AND epoch = :epoch AND session = :me"

_NEW = """
    INSERT INTO run (id, status, epoch, session, number, results, dead, created, updated,
        version, flow, identity)
    VALUES (:run, 'running', 1, :me, 0, 0, 0, :now, :now, '', '', '[]')
"""

_AGAIN = """
    UPDATE run SET status = 'running', epoch = epoch + 1, session = :me, report = NULL,
        updated = max(updated, :now), doubted = :doubted
    WHERE id = :run
"""

_FOUND = """
    SELECT status, epoch, session, number, version, identity, doubted FROM run WHERE id = :run
"""

_CUTS = "SELECT number, full, body, crc FROM cut WHERE run = ? ORDER BY number"

#: From the last full one on.
_LAST_CUTS = """
    SELECT number, full, body, crc FROM cut WHERE run = :run AND number >= coalesce(
        (SELECT number FROM cut WHERE run = :run AND full ORDER BY number DESC LIMIT 1), 0)
    ORDER BY number
"""

_RUN_ROWS = """
    SELECT run.id, run.status, run.version, run.flow, run.epoch, run.number,
        session.host, session.pid, run.created, run.updated,
        (SELECT count(*) FROM cut WHERE cut.run = run.key),
        (SELECT coalesce(sum(length(body)), 0) FROM cut WHERE cut.run = run.key),
        run.results, (SELECT count(*) FROM dead WHERE dead.run = run.key), run.report
    FROM run LEFT JOIN session ON session.id = run.session
    ORDER BY run.updated DESC, run.id
"""


class SqliteStore:
    """A `Store` in a file.

    Args:
        path: Of the file; made by `open` if it is missing, its folder must be there.
        synchronous: "FULL" syncs at every commit. "NORMAL" leaves that to the system: power
            loss may take the last commits with it, the death of processes never does, and
            the file stays whole in any case.
        wait: Seconds a transaction waits for its turn before `CommitFailed` ("busy").

    Raises:
        ConfigurationError: An option is out of range.

    Errors of `open`: `StoreCorrupt` for a file that is there but is no whole store, which is
    never begun anew; `SchemaTooNew`; `StoreError` for a place where no file can be.
    """

    _steps: ClassVar[Sequence[Step]] = STEPS
    _connection: ClassVar[type[sqlite3.Connection]] = sqlite3.Connection

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        wait: float = 5.0,
    ) -> None:
        options.choice("SqliteStore.synchronous", synchronous, ("FULL", "NORMAL"))
        self._wait = options.seconds("SqliteStore.wait", wait)
        self._synchronous = synchronous
        self._path = os.path.abspath(path)
        self.url = f"sqlite:///{os.fspath(path)}"
        self._link: Link | None = None
        self._owners: Owners | None = None
        self._ticks = 0
        self._held: dict[str, int] = {}
        self._announced = False

    # The session ----------------------------------------------------------------------

    def open(self, session: Session) -> None:
        """Open or make the file, upgrade its schema, announce *session*.

        What sessions held that are proven dead is free. While another process holds the turn to
        write, which one that is stopped may do for long, the file can be read all the same; then
        the first `acquire` announces the session.
        """
        if self._link is not None:
            raise StoreError(self.url, "is open already")
        link = Link(
            self.url, self._path, self._synchronous, self._wait, self._steps, self._connection
        )
        link.open(session.id)
        owners = Owners(session, link.folder, boot_id())
        try:
            with link.writing() as db:
                upgrade(self.url, db, self._steps)
                owners.sweep(db)
                owners.announce(db, 0.0, 0)
            self._announced = True
        except CommitFailed as error:
            self._announced = False
            if error.reason != "busy" or not self._is_latest(link):
                link.close(delete=True)
                raise
        except BaseException:
            link.close(delete=True)
            raise
        owners.tidy()
        self._link, self._owners = link, owners

    def _is_latest(self, link: Link) -> bool:
        with link.reading() as db:
            return known_version(self.url, db, self._steps) == len(self._steps)

    def close(self) -> None:
        """End the session and give its runs free; twice does nothing.

        If that cannot be written, the lock file stays as proof: they are free all the same.
        """
        if self._link is None:
            return
        written = not self._announced
        try:
            with contextlib.suppress(StoreError):
                if self._announced:
                    with self._link.writing() as db:
                        self._who().leave(db)
                written = True
        finally:
            self._end().close(delete=written)

    def die(self) -> None:
        """For tests: end as by ``kill -9``. Nothing is given free, but all can see it is dead."""
        if self._link is not None:
            self._end().close(delete=False)

    def renew(self, now: float, ticks: int) -> None:
        """Keep the lease; see `Store.renew`. Each run that was lost is told once."""
        link, owners = self._use(), self._who()
        self._announced = True
        with link.writing() as db:
            owners.announce(db, now, ticks)
            ours = execute(db, "SELECT id, epoch FROM run WHERE session = ?", (owners.me.id,))
            doubtful = sorted(self._held.items() - set(ours))
            named = "SELECT epoch, session FROM run WHERE id = ?"
            found = {run: execute(db, named, (run,)) for run, _ in doubtful}
        self._ticks = ticks
        for run, epoch in doubtful:
            del self._held[run]
            if found[run] != [(epoch, None)]:  # Else a commit of ours ended it, unknown to us.
                raise LeaseLost(self.url, run)

    # One run --------------------------------------------------------------------------

    def acquire(
        self, run: str, now: float, *, resume: Literal["auto", "never", "must"] = "auto"
    ) -> Owned:
        """Make *run* ours; see `Store.acquire`. Counts as a renewal."""
        link, owners, run = self._use(), self._who(), storable(run)
        whose = {"run": run, "me": owners.me.id, "now": now}
        self._announced = True
        with link.writing() as db:
            known = execute(db, _FOUND, {"run": run})
            if not known:
                if resume == "must":
                    raise RunNotFoundError(run)
                execute(db, _NEW, whose)
                answer = Owned(run, 1, 0, "running", True, False, "", ())
            else:
                if resume == "never":
                    raise RunExistsError(run)
                status, epoch, owner, number, version, text, doubted = known[0]
                identity = rows.identity_lines(self.url, run, text)
                if status == "finished":
                    return Owned(run, epoch, number, status, False, False, version, identity)
                alive = owners.vacate(db, run, owner, now, held=run in self._held)
                taken_over = alive or bool(doubted)
                execute(db, _AGAIN, {**whose, "doubted": int(taken_over)})
                answer = Owned(run, epoch + 1, number, status, False, taken_over, version, identity)
            owners.announce(db, now, self._ticks)
        owners.tidy()
        self._held[run] = answer.epoch
        return answer

    def load(self, run: str) -> Loaded:
        """What *run* left behind.

        Raises:
            RunNotFoundError: There is no such run.
            StoreCorrupt: A cut is missing or is not what was written.
        """
        with self._use().reading() as db:
            key, number, results = _one(db, run, "key, number, results")
            cuts = execute(db, _LAST_CUTS, {"run": key})
            blame = execute(db, "SELECT id, count FROM blame WHERE run = ?", (key,))
            dead = execute(db, "SELECT count(*) FROM dead WHERE run = ?", (key,))[0][0]
        bodies = (each.body for each in rows.cut_rows(self.url, run, number, cuts))
        return Loaded(tuple(bodies), dict(blame), results, dead)

    def commit(self, change: Change) -> None:
        """Apply *change* whole or not at all; see `Store.commit`.

        At most five driver calls, and one for every 500 rows of a kind.
        """
        check_change(self.url, change)
        with self._use().writing() as db:
            rows.write(db, *self._fence(db, change), change)
        if _ends(change):
            self._held.pop(storable(change.run), None)

    def number(self, run: str) -> int:
        """Number of the last cut of *run*.

        Raises:
            RunNotFoundError: There is no such run.
        """
        with self._use().reading() as db:
            return int(_one(db, run, "number")[0])

    def release(self, run: str, epoch: int) -> None:
        """Give *run* free as it is; nothing if it is not ours any more."""
        run = storable(run)
        with self._use().writing() as db:
            execute(
                db,
                "UPDATE run SET session = NULL WHERE id = ? AND epoch = ? AND session = ?",
                (run, epoch, self._who().me.id),
            )
        if self._held.get(run) == epoch:
            del self._held[run]

    # For tools ------------------------------------------------------------------------

    def runs(self) -> list[RunRow]:
        """Every run, the latest first, by name where that is equal."""
        with self._use().reading() as db:
            found = execute(db, _RUN_ROWS)
        return [
            RunRow(*(*head, "" if host is None else owner_name(host, pid), *facts))
            for head, host, pid, facts in ((row[:6], row[6], row[7], row[8:]) for row in found)
        ]

    def cuts(self, run: str) -> list[CutRow]:
        """Every cut of *run* that is kept, in order.

        Raises:
            RunNotFoundError: There is no such run.
            StoreCorrupt: A cut is missing or is not what was written.
        """
        with self._use().reading() as db:
            key, number = _one(db, run, "key, number")
            found = execute(db, _CUTS, (key,))
        return rows.cut_rows(self.url, run, number, found)

    def results(self, run: str, after: int = 0, limit: int = 1000) -> list[ResultRow]:
        """Stored results with a `seq` above *after*, in order; none if there is no such run."""
        with self._use().reading() as db:
            found = execute(
                db,
                "SELECT seq, id, body, crc FROM result "
                "WHERE run = (SELECT key FROM run WHERE id = ?) AND seq > ? ORDER BY seq LIMIT ?",
                (run, after, max(limit, 0)),
            )
        return [rows.result_row(self.url, *row) for row in found]

    def dead(
        self, query: DeadQuery, after: int = 0, limit: int = 1000
    ) -> list[tuple[str, DeadRow]]:
        """``(run, DeadRow)`` pairs that match, by run and `seq`, with a `seq` above *after*."""
        condition, values = rows.where(query)
        with self._use().reading() as db:
            found = execute(
                db,
                f"SELECT run.id, {rows.DEAD_COLUMNS} FROM dead JOIN run ON run.key = dead.run "
                f"WHERE {condition} AND seq > ? ORDER BY run.id, seq LIMIT ?",
                [*values, after, max(limit, 0)],
            )
        return [rows.dead_row(self.url, row) for row in found]

    def purge_dead(self, query: DeadQuery) -> int:
        """Delete dead letters that match; answers how many."""
        condition, values = rows.where(query)
        with self._use().writing() as db:
            execute(db, f"DELETE FROM dead WHERE {condition}", values)
            return int(execute(db, "SELECT changes()")[0][0])

    def delete_run(self, run: str) -> bool:
        """Forget a run that nobody holds; `False` if there is none.

        Raises:
            RunInUseError: Its owner is not proven dead, be its lease over or not: acquire it.
        """
        with self._use().writing() as db:
            found = execute(db, "SELECT key, session FROM run WHERE id = ?", (run,))
            for key, owner in found:
                holder = self._who().holder(db, owner)
                if holder:
                    raise RunInUseError(storable(run), holder)
                for table in ("cut", "result", "dead", "blame"):
                    execute(db, f"DELETE FROM {table} WHERE run = ?", (key,))
                execute(db, "DELETE FROM run WHERE key = ?", (key,))
        return bool(found)

    # ----------------------------------------------------------------------------------

    def _use(self) -> Link:
        if self._link is None:
            raise StoreError(self.url, "is not open")
        return self._link

    def _who(self) -> Owners:
        if self._owners is None:
            raise StoreError(self.url, "is not open")
        return self._owners

    def _end(self) -> Link:
        """Be closed; the link is left to the caller."""
        link, self._link, self._owners = self._use(), None, None
        self._held.clear()
        return link

    def _fence(self, db: sqlite3.Connection, change: Change) -> tuple[int, int, int]:
        """Write the run's own row, if it is ours at this epoch and this is its next cut."""
        whose = {"run": change.run, "epoch": change.epoch, "me": self._who().me.id}
        values = {
            "number": change.number,
            "status": change.status,
            "ended": _ends(change),
            "report": change.report,
            "version": change.version,
            "identity": None if change.identity is None else json.dumps(change.identity),
            "flow": change.flow,
            "at": change.at,
            "results": len(change.results),
            "dead": len(change.dead),
        }
        for key, results, dead in execute(db, _FENCE, whose | values):
            return key, results, dead
        run = storable(change.run)
        for (last,) in execute(db, _OURS, whose):
            raise wrong_number(self.url, run, change.number, last)
        raise LeaseLost(self.url, run)


def _ends(change: Change) -> bool:
    return change.status not in (None, "running")


def _one(db: sqlite3.Connection, run: str, columns: str) -> tuple[Any, ...]:
    """Columns of the run, which must be there."""
    for row in execute(db, f"SELECT {columns} FROM run WHERE id = ?", (run,)):
        return tuple(row)
    raise RunNotFoundError(run)
