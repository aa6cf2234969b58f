"""A run and its store: take hold of it, go on from what it has, keep it, let it go.

    open ──► acquire ──► same version? ──► load, fold ──► refill mailboxes, facts
                                                              │
    close ◄── last cut, report ◄── checkpoints beside the run ◄┘

Facts are made anew for each cut and written if they have changed since the one before.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.core.letters import DeadLetter
from actorflow.durability.hold import Hold
from actorflow.durability.letters import read_letter
from actorflow.durability.records import without_garbage
from actorflow.durability.store import DeadQuery, Owned, RunStatus
from actorflow.errors import VersionMismatch
from actorflow.flows.keeping import KeepingLedger
from actorflow.flows.ledger import Outlet
from actorflow.flows.refilling import Place, refill_run
from actorflow.flows.results import Report
from actorflow.flows.settings import StoreSettings
from actorflow.flows.sinks import ResumableSink
from actorflow.flows.stored import pack_report, read_report
from actorflow.flows.taps import Tap
from actorflow.graph.plan import Plan
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.stages.build import StageCell
from actorflow.wire.snapshot import Cut

__all__ = ["Keeper"]


class Keeper:
    """What makes a run survive.

    Args:
        plan: The compiled flow.
        run_id: Of the run.
        settings: The store and how to use it.
        ledger: The run's account.
        on_failure: Told when nothing will be on disk any more, or the run is another's.

    Attributes:
        report: Of a run that had finished before.
    """

    def __init__(
        self,
        plan: Plan,
        run_id: str,
        settings: StoreSettings,
        ledger: KeepingLedger,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.ledger = ledger
        self.report: Report | None = None
        self._offset: int | None = None
        self._order: dict[str, Any] | None = None
        self._out: list[Envelope] = []
        self._elapsed = 0.0
        self._forgotten = False
        self._settings = settings
        self._kernel: Kernel = ledger.kernel
        self._journal: Journal = ledger.journal
        self._stages: Mapping[str, StageCell] = {}
        self.hold = Hold(
            settings.store,
            run_id,
            self._kernel,
            on_failure=on_failure,
            lease=settings.lease,
            tune=settings.tune,
        )
        self._sources: dict[str, Any] = {}  # Facts of the earlier part, then what gives them.
        self._written: dict[str, Any] = {}
        self._sink: Any = None
        self._tap: Any = None
        self._began = 0.0

    # Taking hold ----------------------------------------------------------------------

    async def open(self, stages: Mapping[str, StageCell], outlet: Outlet) -> Report | None:
        """Take hold of the run and go on from what it has; a report if it has finished.

        Args:
            stages: The run's stages, whose mailboxes are filled.
            outlet: Where values come out.

        Raises:
            RunInUseError, RunNotFoundError, RunExistsError, VersionMismatch: It cannot go on.
            StoreError: The store cannot be used, or what it has cannot be read.
        """
        self._stages, self._outlet = stages, outlet
        try:
            return await self._open()
        except BaseException:
            await self.hold.close(None, broken=True)
            raise

    async def _open(self) -> Report | None:
        hold, settings = self.hold, self._settings
        await hold.open(settings.resume)
        bridge, owned = hold.bridge, hold.owned
        query = DeadQuery(run=self.run_id)
        rows = await bridge.call(bridge.store.dead, query, 0, self.ledger.max_dead)
        letters = tuple(read_letter(row) for _, row in rows)
        if owned.status == "finished":
            found = await bridge.call(bridge.store.runs)
            packed = next(row.report for row in found if row.run == self.run_id)
            assert packed is not None
            self.report = read_report(self.run_id, packed, letters)
            await hold.close(None)
            return self.report
        if not owned.new and owned.version:
            self._check_version(owned)
        self._began = self._kernel.now()
        checkpointer = hold.keep(
            interval=settings.interval,
            deadline=settings.deadline,
            holds=settings.holds,
            before=self._sync,
            about=(self.plan.version, self.plan.identity(), self.plan.name),
        )
        checkpointer.gather = self.gather
        self.ledger.rows = checkpointer.rows
        self._journal.on_commit.append(self.ledger.committed)
        careful = self._journal.careful
        if careful is not None:
            for cell in self._stages.values():
                retry = cell.chain.retry  # Perhaps the flow's own.
                careful.watch(cell.mailbox, 1 if retry is None else retry.max_attempts)
        if hold.state is not None:
            self._restore(hold.state, letters)
            hold.state = None
        return None

    def _check_version(self, owned: Owned) -> None:
        found, migrate = self.plan.version, self._settings.migrate
        if owned.version == found or migrate is not None:
            return
        lines = difflib.ndiff(owned.identity, self.plan.identity())
        changes = [line for line in lines if line[0] in "+-"]
        raise VersionMismatch(self.run_id, owned.version, found, changes)

    def _restore(self, state: Cut, letters: tuple[DeadLetter, ...]) -> None:
        facts = self.hold.facts()
        self._written = dict(facts)
        ledger, run = self.ledger, facts["run"]
        ledger.resume(run, letters)
        self._elapsed = run["elapsed"]
        self._offset, self._order = facts.get("sink"), facts.get("order")
        self._sources = {key: fact for key, fact in facts.items() if key.startswith("source/")}
        for name, figures in run["stages"].items():
            if name in self._stages:
                mailbox = self._stages[name].mailbox
                mailbox.accepted, mailbox.acked, mailbox.failed = figures[:3]
                mailbox.retried, mailbox.skipped = figures[3:]
        self._kernel.counters["restarts"] = run["restarts"]
        down = max(0.0, self._kernel.ports.wall() - state.at)
        for name, cell in self._stages.items():
            if f"policy/{name}" in facts:
                cell.chain.load(facts[f"policy/{name}"], self._kernel.now(), down)
        place = Place(
            run_id=self.run_id,
            url=self._settings.store.url,
            ledger=ledger,
            boxes={cell.mailbox.path: cell.mailbox for cell in self._stages.values()},
            outlet=self._outlet.path,
            renamed={
                f"/{self._kernel.name}/{old}": f"/{self._kernel.name}/{new}"
                for old, new in (self._settings.migrate or {}).items()
            },
        )
        with without_garbage():
            self._out = refill_run(place, state, facts)

    async def open_sink(self, sink: Any, tap: Tap) -> None:
        """Open *sink* behind what an earlier part has written, and give *tap*, from which it is
        written, what that part had not."""
        try:
            await self._open_sink(sink, tap)
        except BaseException:
            await self.close("parked", None, broken=True)
            raise

    async def _open_sink(self, sink: Any, tap: Tap) -> None:
        tap.whole = True
        self.ledger.outlet = self._outlet
        if isinstance(sink, ResumableSink) and self._offset is not None:
            await sink.open(at=self._offset, fresh_inode=self.hold.owned.taken_over)
        else:
            await sink.open()
        if self._order is not None and self.ledger.ordered:
            tap.resume(self._order)
            self._out.sort(key=attrgetter("root"))
        ended = set(self._order["ended"]) if self._order else ()
        for envelope in self._out:
            tap.push(envelope.root, envelope, envelope.root in ended)
        self._out.clear()
        if isinstance(sink, ResumableSink):
            self._sink = sink
        self._tap = tap

    # While it runs --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to checkpoint."""
        self.hold.start()

    async def settled(self) -> None:
        """Wait until all that was accepted so far is on disk."""
        await self._journal.settled()

    def source(self, number: int, provide: Callable[[], Any]) -> Any:
        """Keep what ``provide()`` says of the *number*-th source; answers what it said in an
        earlier part, or `None`."""
        key = f"source/{number}"
        before, self._sources[key] = self._sources.get(key), provide
        return before

    def gather(self) -> None:
        """Make the facts; called right before each cut."""
        ledger, kernel = self.ledger, self._kernel
        ledger.cut_taken(self._journal.number)
        elapsed = self._elapsed + kernel.now() - self._began
        stages = {
            name: [box.accepted, box.acked, box.failed, box.retried, box.skipped]
            for name, box in ((name, cell.mailbox) for name, cell in self._stages.items())
        }
        self._fact(
            "run",
            {
                **ledger.dump(),
                "stages": stages,
                "restarts": kernel.counters["restarts"],
                "elapsed": elapsed,
            },
        )
        for name, cell in self._stages.items():
            if cell.chain.gate is not None:
                self._fact(f"policy/{name}", cell.chain.dump(kernel.now()))
        for key, provide in self._sources.items():
            if callable(provide):
                self._fact(key, provide())
        if self._sink is not None:
            self._fact("sink", self._sink.position())
        if self._tap is not None and ledger.ordered:
            self._fact("order", self._tap.dump())

    def _fact(self, key: str, value: Any) -> None:
        if self._written.get(key) != value:
            self._written[key] = value
            self._journal.mark(key, lambda: value)

    def _sync(self) -> None:
        """In the store's thread, before a commit: what the cut says is written is on disk."""
        if self._sink is not None:
            self._sink.sync()

    # Letting go -----------------------------------------------------------------------

    def forget(self) -> None:
        """The run was cancelled: it stays as its last cut has it."""
        self._forgotten = True

    async def close(self, status: RunStatus, report: Report | None, *, broken: bool) -> None:
        """Take the last cut, with *status*, and let go of the run.

        Args:
            broken: An error is on its way to the caller, which nothing here may replace.

        Raises:
            StoreUnavailable: The cut could not be written.
        """
        final = status == "finished" and report is not None
        packed = pack_report(report) if final and report is not None else None
        wanted = None if self._forgotten else status
        try:
            await self.hold.close(wanted, packed, broken=broken)
        finally:
            for tap in self.ledger.taps:
                tap.forsake()
