"""The reference: a store in dictionaries, which all others are tested against.

    MemoryStore ─┐
    MemoryStore ─┼─► MemoryDisk      several "processes", one "disk"
    MemoryStore ─┘

What it keeps ends with the process. Several stores on one `MemoryDisk` stand for several
processes: one that closes gives its runs free, one that dies (`die`) is proven dead, one
that stops renewing loses its runs when its lease is over.
"""

from __future__ import annotations

import threading
from typing import Literal

import attrs

from actorflow.durability.store import (
    Change,
    CutRow,
    DeadQuery,
    DeadRow,
    Loaded,
    Owned,
    ResultRow,
    RunRow,
    RunStatus,
    Session,
)
from actorflow.durability.terms import (
    check_change,
    lease_over,
    matching_text,
    owner_name,
    storable,
    storable_row,
    wrong_number,
)
from actorflow.errors import (
    LeaseLost,
    RunExistsError,
    RunInUseError,
    RunNotFoundError,
    StoreError,
)

__all__ = ["MemoryDisk", "MemoryStore"]


@attrs.define(eq=False)
class _Life:
    """A session as the disk knows it."""

    session: Session
    beat: float = 0.0
    ticks: int = 0
    dead: bool = False

    @property
    def name(self) -> str:
        return owner_name(self.session.host, self.session.pid)


@attrs.define(eq=False)
class _Kept:
    """A run as the disk keeps it; nobody outside is handed one."""

    run: str
    created: float
    updated: float
    owner: bytes | None
    epoch: int = 1
    status: RunStatus = "running"
    number: int = 0
    version: str = ""
    identity: tuple[str, ...] = ()
    flow: str = ""
    report: bytes | None = None
    doubted: bool = False
    cuts: list[CutRow] = attrs.Factory(list)
    results: list[ResultRow] = attrs.Factory(list)
    dead: list[DeadRow] = attrs.Factory(list)
    last_dead: int = 0  # Numbers of purged letters are not given again.
    blame: dict[str, int] = attrs.Factory(dict)


class MemoryDisk:
    """What several `MemoryStore`s share, as processes share a file; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, _Kept] = {}
        self._sessions: dict[bytes, _Life] = {}

    def _bury(self, session: bytes) -> None:
        for kept in self._runs.values():
            if kept.owner == session:
                kept.owner = None
        self._sessions.pop(session, None)


class MemoryStore:
    """A `Store` in memory.

    Args:
        url: How errors name it.
        disk: Shared with other stores; `None` makes one of its own, which outlives `close`.
        blocking: Whether it is called in a thread, as stores that wait for a disk are; in virtual
            time nothing may wait for a thread.

    Raises:
        StoreError: A verb was used before `open` or after `close`.
    """

    def __init__(
        self, url: str = "memory:", *, disk: MemoryDisk | None = None, blocking: bool = True
    ) -> None:
        self.url = url
        self.blocking = blocking
        self._disk = MemoryDisk() if disk is None else disk
        self._session: Session | None = None
        self._held: dict[str, int] = {}

    # The session ----------------------------------------------------------------------

    def open(self, session: Session) -> None:
        """Announce *session*; what proven dead ones held is free."""
        if self._session is not None:
            raise StoreError(self.url, "is open already")
        with self._disk._lock:
            known = self._disk._sessions
            if session.id in known and not known[session.id].dead:
                raise StoreError(self.url, f"session {session.id.hex()} is open already")
            for each in [each for each, life in known.items() if life.dead]:
                self._disk._bury(each)
            known[session.id] = _Life(session)
            self._session = session

    def close(self) -> None:
        """End the session and give its runs free; twice does nothing."""
        session, self._session = self._session, None
        self._held.clear()
        if session is not None:
            with self._disk._lock:
                self._disk._bury(session.id)

    def die(self) -> None:
        """For tests: end as by ``kill -9``. Nothing is given free, but all can see it is dead."""
        session, self._session = self._session, None
        self._held.clear()
        if session is not None:
            with self._disk._lock:
                self._disk._sessions[session.id].dead = True

    def renew(self, now: float, ticks: int) -> None:
        """Keep the lease; see `Store.renew`."""
        me = self._me()
        with self._disk._lock:
            life = self._disk._sessions.setdefault(me.id, _Life(me))
            life.beat, life.ticks = now, ticks
            for run, epoch in sorted(self._held.items()):
                kept = self._disk._runs.get(run)
                if kept is None or kept.epoch != epoch:
                    del self._held[run]  # Told once; the next renewal tells the next run.
                    raise LeaseLost(self.url, run)

    # One run --------------------------------------------------------------------------

    def acquire(
        self, run: str, now: float, *, resume: Literal["auto", "never", "must"] = "auto"
    ) -> Owned:
        """Make *run* ours; see `Store.acquire`. Counts as a renewal."""
        me, run = self._me(), storable(run)
        with self._disk._lock:
            kept = self._disk._runs.get(run)
            if kept is None:
                if resume == "must":
                    raise RunNotFoundError(run)
                kept = self._disk._runs[run] = _Kept(run, now, now, me.id)
                answer = _owned(kept, "running", new=True)
            else:
                if resume == "never":
                    raise RunExistsError(run)
                if kept.status == "finished":
                    return _owned(kept, kept.status)
                kept.doubted = self._vacate(kept, now) or kept.doubted
                found = kept.status
                kept.epoch += 1
                kept.owner, kept.status, kept.report = me.id, "running", None
                kept.updated = max(kept.updated, now)
                answer = _owned(kept, found, taken_over=kept.doubted)
            self._disk._sessions.setdefault(me.id, _Life(me)).beat = now
            self._held[run] = kept.epoch
            return answer

    def load(self, run: str) -> Loaded:
        """What *run* left behind.

        Raises:
            RunNotFoundError: There is no such run.
        """
        self._me()
        with self._disk._lock:
            kept = self._kept(run)
            begins = max((each.number for each in kept.cuts if each.full), default=0)
            cuts = tuple(each.body for each in kept.cuts if each.number >= begins)
            return Loaded(cuts, dict(kept.blame), len(kept.results), len(kept.dead))

    def commit(self, change: Change) -> None:
        """Apply *change* whole or not at all; see `Store.commit`."""
        me = self._me()
        check_change(self.url, change)
        run = storable(change.run)
        with self._disk._lock:
            kept = self._disk._runs.get(run)
            if kept is None or kept.epoch != change.epoch or kept.owner != me.id:
                raise LeaseLost(self.url, run)
            if change.number not in (None, kept.number + 1):
                raise wrong_number(self.url, run, change.number, kept.number)
            _apply(kept, change)
            if kept.owner is None:
                self._held.pop(run, None)

    def number(self, run: str) -> int:
        """Number of the last cut of *run*.

        Raises:
            RunNotFoundError: There is no such run.
        """
        self._me()
        with self._disk._lock:
            return self._kept(run).number

    def release(self, run: str, epoch: int) -> None:
        """Give *run* free as it is; nothing if it is not ours any more."""
        me, run = self._me(), storable(run)
        with self._disk._lock:
            if self._held.get(run) == epoch:
                del self._held[run]
            kept = self._disk._runs.get(run)
            if kept is not None and (kept.epoch, kept.owner) == (epoch, me.id):
                kept.owner = None

    # For tools ------------------------------------------------------------------------

    def runs(self) -> list[RunRow]:
        """Every run, the latest first, by name where that is equal."""
        self._me()
        with self._disk._lock:
            rows = [self._row(kept) for kept in self._disk._runs.values()]
        return sorted(rows, key=lambda row: (-row.updated, row.run))

    def cuts(self, run: str) -> list[CutRow]:
        """Every cut of *run* that is kept, in order.

        Raises:
            RunNotFoundError: There is no such run.
        """
        self._me()
        with self._disk._lock:
            return list(self._kept(run).cuts)

    def results(self, run: str, after: int = 0, limit: int = 1000) -> list[ResultRow]:
        """Stored results with a `seq` above *after*, in order; none if there is no such run."""
        self._me()
        with self._disk._lock:
            kept = self._disk._runs.get(storable(run))
            rows = [] if kept is None else [each for each in kept.results if each.seq > after]
            return rows[: max(limit, 0)]

    def dead(
        self, query: DeadQuery, after: int = 0, limit: int = 1000
    ) -> list[tuple[str, DeadRow]]:
        """``(run, DeadRow)`` pairs that match, by run and `seq`, with a `seq` above *after*."""
        self._me()
        with self._disk._lock:
            rows = [
                (run, row)
                for run, kept in sorted(self._disk._runs.items())
                for row in kept.dead
                if row.seq > after and _matches(run, row, query)
            ]
            return rows[: max(limit, 0)]

    def purge_dead(self, query: DeadQuery) -> int:
        """Delete dead letters that match; answers how many."""
        self._me()
        purged = 0
        with self._disk._lock:
            for run, kept in self._disk._runs.items():
                stay = [row for row in kept.dead if not _matches(run, row, query)]
                purged += len(kept.dead) - len(stay)
                kept.dead = stay
        return purged

    def delete_run(self, run: str) -> bool:
        """Forget a run that nobody holds; `False` if there is none.

        Raises:
            RunInUseError: Its owner is not proven dead, be its lease over or not: acquire it.
        """
        self._me()
        with self._disk._lock:
            kept = self._disk._runs.get(storable(run))
            if kept is None:
                return False
            life = self._disk._sessions.get(kept.owner) if kept.owner else None
            if life is not None and not life.dead:
                raise RunInUseError(kept.run, life.name)
            del self._disk._runs[kept.run]
            return True

    # ----------------------------------------------------------------------------------

    def _me(self) -> Session:
        if self._session is None:
            raise StoreError(self.url, "is not open")
        return self._session

    def _kept(self, run: str) -> _Kept:
        kept = self._disk._runs.get(storable(run))
        if kept is None:
            raise RunNotFoundError(run)
        return kept

    def _vacate(self, kept: _Kept, now: float) -> bool:
        """Make sure that nobody else holds it; whether its owner may still be alive."""
        life = self._disk._sessions.get(kept.owner) if kept.owner else None
        if life is None:
            return False
        if life.dead:
            self._disk._bury(life.session.id)
            return False
        mine = life.session.id == self._me().id
        if mine or not lease_over(life.beat, life.session.lease, now):
            raise RunInUseError(kept.run, life.name)
        return True

    def _row(self, kept: _Kept) -> RunRow:
        life = self._disk._sessions.get(kept.owner) if kept.owner else None
        return RunRow(
            kept.run,
            kept.status,
            kept.version,
            kept.flow,
            kept.epoch,
            kept.number,
            "" if life is None else life.name,
            kept.created,
            kept.updated,
            len(kept.cuts),
            sum(len(each.body) for each in kept.cuts),
            len(kept.results),
            len(kept.dead),
            kept.report,
        )


def _owned(kept: _Kept, status: RunStatus, *, new: bool = False, taken_over: bool = False) -> Owned:
    return Owned(
        kept.run, kept.epoch, kept.number, status, new, taken_over, kept.version, kept.identity
    )


def _apply(kept: _Kept, change: Change) -> None:
    if change.number is not None and change.cut is not None:
        kept.number = change.number
        kept.doubted = False
        kept.cuts.append(CutRow(change.number, change.full, bytes(change.cut)))
        if change.full:
            last = change.number - change.keep + 1
            fulls = (each.number for each in kept.cuts if each.full and each.number <= last)
            begins = max(fulls, default=0)
            kept.cuts = [each for each in kept.cuts if each.number >= begins]
    for item, body in change.results:
        kept.results.append(ResultRow(len(kept.results) + 1, storable(item), bytes(body)))
    for row in change.dead:
        kept.last_dead += 1
        kept.dead.append(storable_row(row, kept.last_dead))
    kept.blame.update((storable(item), count) for item, count in change.blame.items())
    for item in change.cleared:  # After the blame: of two changes made one, the later cleared.
        kept.blame.pop(storable(item), None)
    if change.status is not None:
        kept.status, kept.report = change.status, change.report
        if change.status != "running":
            kept.owner = None
    kept.version = kept.version if change.version is None else storable(change.version)
    kept.identity = kept.identity if change.identity is None else tuple(change.identity)
    kept.flow = kept.flow if change.flow is None else storable(change.flow)
    kept.updated = max(kept.updated, change.at)


def _matches(run: str, row: DeadRow, query: DeadQuery) -> bool:
    wanted = (query.run, query.place, query.reason, query.error, query.id)
    found = (run, row.place, row.reason, row.error, row.id)
    return query.seq in (None, row.seq) and all(
        matching_text(each) in (None, it) for each, it in zip(wanted, found, strict=True)
    )
