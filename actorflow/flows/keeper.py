"""A run and its store: take hold of it, go on from what it has, keep it, let it go.

    open ──► acquire ──► same version? ──► load, fold ──► refill mailboxes, facts
                                                              │
    close ◄── last cut, report ◄── checkpoints beside the run ◄┘

Facts are made anew for each cut and written if they have changed since the one before.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.core.letters import DeadLetter
from actorflow.durability.bridge import PATIENCE
from actorflow.durability.hold import Hold
from actorflow.durability.letters import read_letter
from actorflow.durability.records import without_garbage
from actorflow.durability.store import Change, DeadQuery, Owned, RunStatus
from actorflow.errors import ConfigurationError, StoreError, VersionMismatch
from actorflow.flows.figures import (
    POLICY,
    dump_figures,
    dump_policies,
    load_figures,
    load_policies,
)
from actorflow.flows.keeping import KeepingLedger
from actorflow.flows.ledger import Outlet
from actorflow.flows.order import ORDER, ended_early, order_keys
from actorflow.flows.output import Output, wants_sink
from actorflow.flows.progress import Inputs
from actorflow.flows.refilling import Place, refill_run
from actorflow.flows.results import Report
from actorflow.flows.settings import StoreSettings
from actorflow.flows.stored import pack_report, read_report
from actorflow.flows.taps import NO_RESULT, Tap
from actorflow.flows.watching import Timing
from actorflow.flows.wiring import Wiring
from actorflow.graph.joining import is_wiring
from actorflow.graph.plan import Plan
from actorflow.policies.chain import Chain
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.stages.build import StageCell
from actorflow.wire.snapshot import Cut

__all__ = ["Keeper"]

logger = logging.getLogger("actorflow")


class Keeper:
    """What makes a run survive.

    Args:
        plan: The compiled flow.
        run_id: Of the run.
        settings: The store and how to use it.
        ledger: The run's account.
        rate: The chain of the flow's own rate limits, or `None`.
        on_failure: Told when nothing will be on disk any more, or the run is another's.

    Attributes:
        report: Of a run that had finished before.
        timings: What the stages measured in its earlier parts.
        inputs: How far its sources were read.
    """

    def __init__(
        self,
        plan: Plan,
        run_id: str,
        settings: StoreSettings,
        ledger: KeepingLedger,
        rate: Chain | None,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.ledger = ledger
        self.report: Report | None = None
        self.timings: dict[str, Timing] = {}
        self.inputs = Inputs()
        self._out: list[Envelope] = []
        self._parked: list[int] = []  # Items that could not be restored.
        self._elapsed = 0.0
        self._forgotten = False
        self._settings = settings
        self._rate = rate
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
            patience=max(settings.deadline, PATIENCE),
        )
        self._written: dict[str, Any] = {}
        self._output: Output | None = None
        self._tap: Tap | None = None
        self._began = 0.0

    # Taking hold ----------------------------------------------------------------------

    async def open(
        self, stages: Mapping[str, StageCell], outlet: Outlet, wiring: Wiring
    ) -> Report | None:
        """Take hold of the run and go on from what it has; a report if it has finished.

        Args:
            stages: The run's stages, whose mailboxes are filled.
            outlet: Where values come out.
            wiring: How the stages are connected.

        Raises:
            RunInUseError, RunNotFoundError, RunExistsError, VersionMismatch: It cannot go on.
            StoreError: The store cannot be used, or what it has cannot be read.
        """
        self._stages, self._outlet, self._wiring = stages, outlet, wiring
        self._began = self._kernel.now()
        try:
            return await self._open()
        except BaseException:
            await self._back_out()
            raise

    async def _back_out(self) -> None:
        """It cannot be opened: leave the run as it was found. One that was killed stays so, and
        is careful the next time; one that was parked is not."""
        hold, owned = self.hold, getattr(self.hold, "owned", None)
        if owned is not None and not owned.new and owned.status in ("parked", "failed"):
            now = self._kernel.ports.wall()
            change = Change(run=owned.run, epoch=owned.epoch, status=owned.status, at=now)
            try:
                await hold.bridge.call(hold.bridge.store.commit, change)
            except StoreError as error:  # What keeps it from being opened is the one to tell.
                logger.warning("run %r stays as if it had been killed: %s", owned.run, error)
        await hold.close(None, broken=True)

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
            self._tell_version(owned)
            await hold.close(None)
            return self.report
        if not owned.new and owned.version:
            self._check_version(owned)
        checkpointer = hold.keep(
            interval=settings.interval,
            deadline=settings.deadline,
            holds=settings.holds,
            before=self._sync,
            keep=settings.keep,
            about=(self.plan.version, self.plan.identity(), self.plan.name),
        )
        checkpointer.gather = self.gather
        self.ledger.rows = checkpointer.rows
        self._journal.on_commit.append(self.ledger.committed)
        careful = self._journal.careful
        if careful is not None:
            for cell in self._stages.values():
                if is_wiring(cell.stage):
                    continue  # What runs there is ours, and ends no process.
                retry = cell.chain.retry  # Perhaps the flow's own.
                careful.watch(cell.mailbox, 1 if retry is None else retry.max_attempts)
        if hold.state is not None:
            self._restore(hold.state, letters)
            hold.state = None
        return None

    def _is_of(self, owned: Owned) -> bool:
        """Whether this flow began the run. An earlier release had the lines in another order."""
        same = owned.version == self.plan.version
        return same or sorted(owned.identity) == sorted(self.plan.identity())

    def _tell_version(self, owned: Owned) -> None:
        """The report is of another version of the flow, if it is: nothing of this one was run."""
        if not self._is_of(owned):
            text = "run %r was finished by version %s of the flow, this is %s: the report is that "
            text += "one's and nothing was run; give another run id to run this one"
            logger.warning(text, self.run_id, owned.version, self.plan.version)

    def _check_version(self, owned: Owned) -> None:
        found, migrate = self.plan.version, self._settings.migrate
        if self._is_of(owned) or migrate is not None:
            return
        lines = difflib.ndiff(owned.identity, self.plan.identity())
        changes = [line for line in lines if line[0] in "+-"]
        raise VersionMismatch(self.run_id, owned.version, found, changes)

    def _restore(self, state: Cut, letters: tuple[DeadLetter, ...]) -> None:
        facts = self.hold.facts()
        self._written = dict(facts)
        ledger, run = self.ledger, facts["run"]
        renamed = self._settings.migrate or {}
        ledger.resume(run, letters)
        self._elapsed = run["elapsed"]
        self.inputs.resume(facts)
        kernel, stages = self._kernel, self._stages
        now = kernel.now()
        down = now + kernel.ahead() - state.at
        self.timings = load_figures(run, kernel, stages, self._outlet, renamed, down)
        load_policies(facts, self._chains(), renamed, now, down)
        for old in renamed:
            self._fact(f"{POLICY}{old}", None)
        place = Place(
            run_id=self.run_id,
            url=self._settings.store.url,
            ledger=ledger,
            wiring=self._wiring,
            boxes={name: cell.mailbox for name, cell in self._stages.items()},
            renamed=renamed,
        )
        ledger.restoring = self._parked
        with without_garbage():
            self._out = refill_run(place, state, facts)
        ledger.restoring = None
        ledger.unwritten = len(self._out)

    async def open_sink(self, sink: Any, tap: Tap | None) -> Any:
        """Open *sink* behind what an earlier part has written, and give *tap*, from which it is
        written, what that part had not; answers what the run's writer is to write into.

        Raises:
            SinkChanged: The sink does not have what that part has written.
            ConfigurationError: There is no sink, and that part had one.
        """
        try:
            if tap is None:
                self._go_without_sink()
            else:
                await self._open_sink(sink, tap)
        except BaseException:
            if self.hold.owned.new:
                await self.close("parked", None, broken=True)
            else:
                await self._back_out()
            raise
        return self._output

    def _go_without_sink(self) -> None:
        name = wants_sink(self._written) or ("one" if self._out else "")
        if name:
            wanted = (
                f"given, as the run began with {name}, or what comes out would be lost "
                "(`lambda value: None` drops it)"
            )
            raise ConfigurationError("run option sink", None, wanted)

    async def _open_sink(self, sink: Any, tap: Tap) -> None:
        tap.whole = True
        self.ledger.outlet = self._outlet
        output = Output(sink, self.ledger)
        await output.open(self._written, fresh_inode=self.hold.owned.taken_over)
        ended = set(ended_early(self._written))
        if ORDER in self._written and self.ledger.ordered:
            tap.resume(self._written)
            self._out.sort(key=attrgetter("root"))
        for number in self._parked:
            tap.push(number, NO_RESULT, True)
        for envelope in self._out:
            tap.push(envelope.root, envelope, envelope.root in ended)
        self._out.clear()
        self._output, self._tap = output, tap

    # While it runs --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to checkpoint."""
        self.hold.start()

    async def flush(self) -> None:
        """Take a cut now, and bring it to the disk."""
        assert self.hold.checkpointer is not None
        await self.hold.checkpointer.checkpoint()

    async def settled(self) -> None:
        """Wait until all that was accepted so far is on disk."""
        await self._journal.settled()

    def gather(self) -> None:
        """Make the facts; called right before each cut."""
        ledger, kernel = self.ledger, self._kernel
        ledger.cut_taken(self._journal.number)
        figures = dump_figures(kernel, self._stages, self.timings)
        self._fact("run", {**ledger.dump(), **figures, "elapsed": self.elapsed()})
        facts = dump_policies(self._chains(), kernel.now()) | self.inputs.facts()
        if self._output is not None:
            facts |= self._output.facts()
        if self._tap is not None and ledger.ordered:
            facts |= self._tap.dump()
        else:  # It would stand still, and a later part would wait at that place.
            facts |= dict.fromkeys(order_keys(self._written))
        for key, fact in facts.items():
            self._fact(key, fact)

    def _chains(self) -> dict[str | None, Chain]:
        """The policies of each stage, and under `None` those of the flow itself."""
        chains: dict[str | None, Chain] = {name: cell.chain for name, cell in self._stages.items()}
        return chains if self._rate is None else {**chains, None: self._rate}

    def _fact(self, key: str, value: Any) -> None:
        """The fact *key* is *value* now; `None`: there is none."""
        if self._written.get(key) == value:
            return
        if value is None:
            del self._written[key]
        else:
            self._written[key] = value
        self._journal.mark(key, lambda: value)

    def elapsed(self) -> float:
        """Seconds that the run has been open, in all its parts up to their last cuts."""
        return self._elapsed + self._kernel.now() - self._began

    def _sync(self) -> None:
        """In the store's thread, before a commit: what the cut says is written is on disk."""
        if self._output is not None:
            self._output.sync()

    # Letting go -----------------------------------------------------------------------

    def forget(self) -> None:
        """The run was cancelled: it stays as its last cut has it."""
        self._forgotten = True

    def complete(self) -> bool:
        """Whether nothing is left to do: nothing to read, nothing held, nothing to write."""
        return not (self.ledger.held or self.ledger.unwritten or self.inputs.left())

    async def close(self, status: RunStatus, report: Report | None, *, broken: bool) -> None:
        """Take the last cut, with *status*, and let go of the run.

        Args:
            status: How it ends.
            report: Of the run.
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
