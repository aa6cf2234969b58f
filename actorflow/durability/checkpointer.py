"""The checkpointer: take a cut, bring it to the disk, let go of what it covers, again.

    something changed ──► take ──► pack, commit (fsync) in the store's thread ──► release
           ▲                                                                        │
           └────────────────────────────────────────────────────────────────────────┘

That is group commit: while one cut is being written the next one gathers, and whoever
waits for the disk waits for a number. A commit that fails is tried again, the same
bytes under the same number; nothing is released meanwhile, so feeding stops by itself.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from actorflow.durability.bridge import Bridge
from actorflow.durability.chain import whole
from actorflow.durability.cut import RawCut, prepare, slices, take
from actorflow.durability.store import Change, DeadRow, Owned, RunStatus
from actorflow.errors import CommitFailed, StoreUnavailable
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.wire.snapshot import fold, read_cut, rewrite

__all__ = ["Checkpointer", "Rows"]

logger = logging.getLogger("actorflow")

#: Seconds between tries of a commit that failed: doubled each time, up to the second.
FIRST_RETRY = 0.05
LAST_RETRY = 2.0

#: Seconds that the last try has at least.
LAST_TRY = 0.25

#: A chain of cuts is folded when it has this many, or is larger than what it changes.
FOLD_CUTS = 1_000

#: Chains below this many bytes are not worth folding.
FOLD_BYTES = 1 << 20


@attrs.define
class Rows:
    """What tools query, gathered for the next commit."""

    results: list[tuple[str, bytes]] = attrs.Factory(list)
    dead: list[DeadRow] = attrs.Factory(list)

    def take(self) -> Rows:
        """What was gathered, which then is gone from here."""
        taken = Rows(self.results, self.dead)
        self.results, self.dead = [], []
        return taken


class Checkpointer:
    """Brings the changes of one run to its store.

    Args:
        kernel: Clock, and who is told of trouble.
        journal: What changes.
        bridge: The store's thread.
        owned: The run.
        interval: Least seconds between two cuts.
        deadline: Seconds for which a commit is tried again before the run is given up.
        holds: Whether it is tried again at all.
        before: Called in the store's thread before each commit: brings files to the disk.
        about: Version, identity and name of the flow or system, for the first commit.
        keep: How many of the last checkpoints can be put together again.
        chain: Bytes of the last full cut that the store has of the run, and of each since.
        on_failure: Told when nothing will be on disk any more.

    Attributes:
        rows: Results and dead letters for the next commit.
        commits: How many there have been.
    """

    def __init__(
        self,
        kernel: Kernel,
        journal: Journal,
        bridge: Bridge,
        owned: Owned,
        *,
        interval: float = 0.0,
        deadline: float = 60.0,
        holds: bool = True,
        before: Callable[[], None] | None = None,
        about: tuple[str, tuple[str, ...], str],
        keep: int = 1,
        chain: Sequence[int] = (),
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kernel = kernel
        self._journal = journal
        self._bridge = bridge
        self._interval = interval
        self._deadline = deadline
        self._holds = holds
        self._on_failure = on_failure
        self._writer = _Writer(bridge, owned, before, about, keep)
        if chain:
            self._writer.whole, self._writer.since = chain[0], sum(chain[1:])
            self._writer.cuts = len(chain) - 1
        self._busy = trio.Lock()
        self.rows = Rows()
        self.commits = 0
        self.gather: Callable[[], None] | None = None

    async def run(self) -> None:
        """Checkpoint for ever; ends only when nothing can be written any more."""
        journal = self._journal
        while journal.broken is None:
            if not journal.changed:
                await self._rest()
            began = self._kernel.now()
            if not await self.checkpoint():
                return
            if self._interval:
                await trio.sleep(max(0.0, began + self._interval - self._kernel.now()))

    async def _rest(self) -> None:
        """Wait until something changes."""
        changed = trio.Event()
        self._journal.stir, self._journal.resting = changed.set, True
        try:
            await changed.wait()
        finally:
            self._journal.resting = False

    async def checkpoint(
        self, status: RunStatus | None = None, report: bytes | None = None
    ) -> bool:
        """One cut to the disk and what it covers released; `False` if that cannot be done."""
        async with self._busy:
            journal = self._journal
            if journal.broken is not None:
                return False
            now, wall = self._kernel.now, self._kernel.ports.wall
            for _ in range(slices(journal)):  # What comes meanwhile comes too.
                prepare(journal, now(), wall())
                await trio.lowlevel.checkpoint()
            if self.gather is not None:
                self.gather()
            cut = take(journal, now(), wall())
            rows = self.rows.take()
            cleared = [] if journal.careful is None else journal.careful.take_cleared(cut=True)
            self._bridge.ticks += 1
            try:
                await self._commit(_Job(self._writer, cut, rows, cleared, status, report).run)
            except BaseException as error:
                journal.fail(error)
                self._on_failure(error)
                if not isinstance(error, Exception):
                    raise
                return False
            self.commits += 1
            journal.commit(cut.number)
            return True

    async def bring(self, provide: Callable[[], Change]) -> None:
        """Commit what *provide* gives, which is no cut and may be written twice.

        Raises:
            StoreError: It cannot be written.
        """
        async with self._busy:  # A cut on its way may not undo it.
            change = provide()
            await self._commit(lambda: self._bridge.store.commit(change))

    async def _commit(self, job: Callable[[], None]) -> None:
        until = self._kernel.now() + self._deadline
        delay = FIRST_RETRY
        while True:
            try:
                await self._bridge.call(job, seconds=max(until - self._kernel.now(), LAST_TRY))
                return
            except CommitFailed as error:
                left = until - self._kernel.now()
                if not self._holds or left <= 0:
                    detail = f"{error.detail}; tried for {self._deadline:g} s"
                    url = self._bridge.store.url
                    raise StoreUnavailable(url, detail if self._holds else error.detail) from error
                if delay == FIRST_RETRY:
                    logger.warning("%s; nothing is acknowledged until it works again", error)
                self._kernel.counters["commits_failed"] += 1
                with trio.CancelScope(shield=True):
                    await trio.sleep(min(delay, left))
                delay = min(delay * 2, LAST_RETRY)


class _Writer:
    """What the store's thread knows of the run: how long its chain of cuts is."""

    def __init__(
        self,
        bridge: Bridge,
        owned: Owned,
        before: Callable[[], None] | None,
        about: tuple[str, tuple[str, ...], str],
        keep: int,
    ) -> None:
        self.store = bridge.store
        self.keep = keep
        self.about: tuple[Any, Any, Any] = about
        self.owned = owned
        self.before = before
        self.whole = 0  # Bytes of the last full cut,
        self.since = 0  # of those after it,
        self.cuts = 0  # and how many these are.

    def is_long(self) -> bool:
        """Whether going on with the chain costs more than writing it anew."""
        return self.cuts >= FOLD_CUTS or self.since > max(self.whole, FOLD_BYTES)


class _Job:
    """One commit, which may take several tries; `run` is called in the store's thread."""

    def __init__(
        self,
        writer: _Writer,
        cut: RawCut,
        rows: Rows,
        cleared: list[str],
        status: RunStatus | None,
        report: bytes | None,
    ) -> None:
        self._writer = writer
        self._cut = cut
        self._rows = rows
        self._cleared = cleared
        self._status = status
        self._report = report
        self._data = b""
        self._full = cut.full
        self._unknown = False

    def run(self) -> None:
        """Try it once more."""
        writer, run = self._writer, self._writer.owned.run
        if self._unknown and writer.store.number(run) >= self._cut.number:
            self._landed()
            return
        self._unknown = False
        if not self._data:
            self._pack()
        if writer.before is not None:
            try:
                writer.before()
            except OSError as error:
                reason = "full" if error.errno == errno.ENOSPC else "io"
                raise CommitFailed(writer.store.url, f"the output: {error}", reason) from error
        change = Change(
            run=run,
            epoch=writer.owned.epoch,
            number=self._cut.number,
            cut=self._data,
            full=self._full,
            keep=writer.keep,
            status=self._status,
            report=self._report,
            results=self._rows.results,
            dead=self._rows.dead,
            cleared=self._cleared,
            version=writer.about[0],
            identity=writer.about[1],
            flow=writer.about[2],
            at=self._cut.at,
        )
        try:
            writer.store.commit(change)
        except CommitFailed as error:
            self._unknown = error.unknown
            raise
        self._landed()

    def _pack(self) -> None:
        writer = self._writer
        self._data = self._cut.pack()
        if not self._full and writer.is_long():
            run, cut = writer.owned.run, read_cut(self._data)
            kept = whole(writer.store.url, run, writer.store.load(run).cuts, cut.number - 1)
            self._data = rewrite(cut if kept is None else fold([kept, cut]))
            self._full = True

    def _landed(self) -> None:
        writer = self._writer
        writer.about = (None, None, None)
        if self._full:
            writer.whole, writer.since, writer.cuts = len(self._data), 0, 0
        else:
            writer.since += len(self._data)
            writer.cuts += 1
