"""A disk in memory that can go wrong, and the stores of the processes that write to it.

    world.store ──► SimStore ──► MemoryDisk        what is on it outlives the process
                       └── faults of the plan: fail, torn, slow, hang, full, unreported, repeated,
                           taken; stale and repeated when it is loaded

A store of a process that is dead refuses everything: nothing that still runs somewhere
can have an effect on what the next life finds.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

import attrs

from actorflow.durability.memory import MemoryDisk, MemoryStore, _Kept
from actorflow.durability.store import Change, Loaded, Owned, Session
from actorflow.errors import CommitFailed, StoreError
from actorflow.testing.faults import (
    CommitFails,
    CommitHangs,
    CommitRepeated,
    CommitSlow,
    CommitTorn,
    CommitUnreported,
    Died,
    DiskFull,
    Fault,
    FaultPlan,
    LoadRepeated,
    LoadStale,
    RunTaken,
    SuffixLost,
)

__all__ = ["URL", "CommitFaults", "Delayed", "SimStore", "contents", "put_back"]

#: How errors name the store of a simulation.
URL = "memory:simulated"

Contents = dict[str, _Kept]


class Delayed(BaseException):
    """A call of the store is to be made again when so many *seconds* have passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def contents(disk: MemoryDisk) -> Contents:
    """All that is on *disk*, for `put_back`."""
    return {run: _copied(kept) for run, kept in disk._runs.items()}


def put_back(disk: MemoryDisk, before: Contents) -> None:
    """Make *disk* have what it had when `contents` was taken."""
    disk._runs = {run: _copied(kept) for run, kept in before.items()}


def _copied(kept: _Kept) -> _Kept:
    other = copy.copy(kept)
    other.cuts, other.results = kept.cuts.copy(), kept.results.copy()
    other.dead, other.blame = kept.dead.copy(), kept.blame.copy()
    return other


class CommitFaults:
    """What happens to the commits of one life, and to what it loads.

    Args:
        plan: The faults.
        life: Which life this is.

    Attributes:
        loads: What happens to each load.
        commits: Tries of commits so far.
        undo: What was on the disk before each of the last commits, if those will be lost,
        excused: and whether the store may lose them.
        watch: Told of each: "before" and "torn", and "after" if it has landed.
        fire: Told of each fault that happens.
        suffixes: The faults by which those are lost.
    """

    def __init__(self, plan: FaultPlan, life: int, fire: Callable[[Fault], object]) -> None:
        self.commits = 0
        self.fire = fire
        self.watch: Callable[[str], None] | None = None
        self._at: dict[int, list[Any]] = {}
        self.loads: list[LoadRepeated | LoadStale] = []
        self.suffixes = suffixes = plan.picked(SuffixLost, life)
        self.undo: deque[Contents] | None = None
        if suffixes:
            self.undo = deque(maxlen=max(each.commits for each in suffixes))
        self.excused = all(each.allowed for each in suffixes)

    def plan(self, fault: Fault) -> None:
        """Let *fault* happen, if it is one of commits or loads; counted from the next commit."""
        done = self.commits
        match fault:
            case LoadRepeated() | LoadStale():
                self.loads.append(fault)
            case CommitFails():
                self._put(range(done + fault.commit, done + fault.commit + fault.times), fault)
            case DiskFull():
                self._put(range(done + fault.first, done + fault.last + 1), fault)
            case Died(commit=int(commit)):
                self._put([done + commit], fault)
            case (
                CommitTorn()
                | CommitSlow()
                | CommitHangs()
                | CommitUnreported()
                | CommitRepeated()
                | RunTaken()
            ):
                self._put([done + fault.commit], fault)

    def _put(self, commits: Iterable[int], fault: Fault) -> None:
        for commit in commits:
            self._at.setdefault(commit, []).append(fault)

    def next(self) -> list[Any]:
        """What happens to the commit that is tried now."""
        self.commits += 1
        return self._at.get(self.commits, [])


class SimStore(MemoryStore):
    """The store of one process in a simulation; `world.store` gives one.

    Args:
        disk: What outlives it.
        faults: What happens to commits.
        die: Ends the process.
        note: Told what it does, for the trace.
        forget: Told of each run that is deleted.
        dead: Whether the process is dead already.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        faults: CommitFaults,
        die: Callable[[str], object],
        note: Callable[[str], None],
        forget: Callable[[str], None],
        *,
        dead: bool,
    ) -> None:
        super().__init__(URL, disk=disk, blocking=False)
        self._faults = faults
        self._die = die
        self._note = note
        self._forget = forget
        self._over = dead
        self._pending: list[Any] | None = None  # What is left of a commit that waits.
        # What comes once more behind the next commit.
        self._late: tuple[Change, CommitRepeated] | None = None

    def die(self) -> None:
        """Refuse everything from now on."""
        self._over = True
        super().die()

    def open(self, session: Session) -> None:
        self._alive()
        self._note("store open")
        super().open(session)

    def delete_run(self, run: str) -> bool:
        self._alive()
        deleted = super().delete_run(run)
        if deleted:
            self._forget(run)
        return deleted

    def acquire(
        self, run: str, now: float, *, resume: Literal["auto", "never", "must"] = "auto"
    ) -> Owned:
        self._alive()
        self._note(f"store acquire {run}")
        return super().acquire(run, now, resume=resume)

    def load(self, run: str) -> Loaded:
        self._alive()
        self._note(f"store load {run}")
        loaded = super().load(run)
        for fault in self._faults.loads:
            self._note(f"store load {run} suffers {fault}")
            if loaded.cuts:
                self._faults.fire(fault)
            cuts, again = loaded.cuts, loaded.cuts[-fault.cuts :]
            cuts = cuts[: -fault.cuts] if isinstance(fault, LoadStale) else cuts + again
            loaded = attrs.evolve(loaded, cuts=cuts)
        return loaded

    def commit(self, change: Change) -> None:
        self._alive()
        if self._pending is None:
            found = self._faults.next()
            for fault in found:
                if isinstance(fault, (CommitSlow, CommitHangs)):
                    self._pending = [each for each in found if each is not fault]
                    seconds = fault.seconds if isinstance(fault, CommitSlow) else math.inf
                    self._note(f"store commit {self._faults.commits} waits {seconds:g} s")
                    self._faults.fire(fault)
                    raise Delayed(seconds)
        else:
            found, self._pending = self._pending, None
        self._note(f"store commit {self._faults.commits} {change.run} {change.number}")
        watch = self._faults.watch
        if watch is not None:
            watch("before")
            watch("torn")
        for fault in found:
            self._suffer(fault, change)
        again = next((each for each in found if isinstance(each, CommitRepeated)), None)
        if self._faults.undo is not None:
            self._faults.undo.append(contents(self._disk))
        super().commit(change)
        self._come_again(change, again)
        if watch is not None:
            watch("after")
        for fault in found:
            if isinstance(fault, Died):  # Of those only "after" comes here.
                self._end(fault)
            if isinstance(fault, CommitUnreported):
                self._faults.fire(fault)
                raise CommitFailed(URL, "the answer was lost", "lost", unknown=True)

    def _suffer(self, fault: Any, change: Change) -> None:
        """What goes wrong before all of *change* is on disk."""
        match fault:
            case CommitFails():
                self._faults.fire(fault)
                raise CommitFailed(URL, "an error of the disk", fault.reason)
            case DiskFull():
                self._faults.fire(fault)
                raise CommitFailed(URL, "no space left", "full")
            case CommitTorn():
                self._faults.fire(fault)
                self._tear(change)
                raise CommitFailed(URL, "an error in the middle of a commit", "io")
            case RunTaken():
                kept = self._disk._runs.get(change.run)
                if kept is not None:
                    self._faults.fire(fault)
                    kept.epoch, kept.owner, kept.doubted = kept.epoch + 1, None, True
            case Died(when="before"):
                self._end(fault)
            case Died(when="torn"):
                self._tear(change)
                self._end(fault)

    def _end(self, fault: Died) -> None:
        self._faults.fire(fault)
        self._die(fault.when)
        self._alive()

    def _come_again(self, change: Change, again: CommitRepeated | None) -> None:
        """What was to come again does; *change* will, if it is to come *again*."""
        last, self._late = self._late, None if again is None else (change, again)
        if last is not None:
            late, fault = last
            self._faults.fire(fault)
            self._note(f"store commit of {late.run} {late.number} comes again")
            with contextlib.suppress(StoreError):  # It is refused, unless it is no cut.
                super().commit(late)

    def _tear(self, change: Change) -> None:
        """Write a part of *change* and take it back, as a journal does when the disk is opened."""
        before = contents(self._disk)
        super().commit(attrs.evolve(change, results=(), dead=(), blame={}, cleared=()))
        put_back(self._disk, before)

    def _alive(self) -> None:
        if self._over:
            raise StoreError(URL, "its process is dead")
