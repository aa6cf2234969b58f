"""A flow while it runs: feeding it, watching it, changing it, and its endings.

    feed ──► first stage's mailbox ──► ... ──► last stage ──► outlet ──► taps ──► takers

The stages are children of the run's supervisor, last stage first, so that they stop
in the order of the flow. Sources are read and sinks are written by tasks beside them.
The run's body is outside all of that: nothing here cancels it.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import trio

from actorflow import options
from actorflow.core.envelope import DEFAULT_PRIORITY
from actorflow.durability.store import RunStatus
from actorflow.errors import ConfigurationError, InsideTurn, NotRunningError
from actorflow.flows.controls import Controls
from actorflow.flows.feeding import Feeder
from actorflow.flows.keeper import Keeper
from actorflow.flows.keeping import KeepingLedger, ledger_for
from actorflow.flows.ledger import Outlet, wake_at
from actorflow.flows.lodging import house_for, kernel_for
from actorflow.flows.results import Report
from actorflow.flows.settings import RunSettings
from actorflow.flows.sources import Source, as_source
from actorflow.flows.taps import ResultStream, Tap
from actorflow.flows.watching import show_progress
from actorflow.flows.writing import Writer
from actorflow.graph.plan import Plan as FlowPlan
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.cell import CURRENT, turn_here
from actorflow.runtime.declare import Plan
from actorflow.runtime.mailbox import Mailbox
from actorflow.stages.build import StageCell

__all__ = ["Run"]

#: What a sink gets to write the rest when a run is stopped, in seconds.
REST_SECONDS = 5.0

#: What it gets at least when the time of a drain is over.
LEAST_SECONDS = 1.0

In = TypeVar("In")
Out = TypeVar("Out")


class Run(Controls, Generic[In, Out]):
    """A live run; made by ``flow.open()``, which is its ``async with`` block.

    Leaving the block calls `finish` if no ending was called; with an exception in the body it
    calls `stop`.

    Attributes:
        run_id: Id of the run.
        report: How it ended; `None` while it runs.
    """

    def __init__(self, plan: FlowPlan, settings: RunSettings) -> None:
        self.plan = plan
        self.settings = settings
        # A durable run that is started again by the same command finds itself by its name.
        self.run_id = settings.run_id or (plan.name if settings.kept else secrets.token_hex(8))
        self.report: Report | None = None
        self._over = trio.Event()
        self._ending = False
        self._error: BaseException | None = None
        self._writer: Writer | None = None
        kernel = self._kernel = kernel_for(plan.name, settings)
        kernel.run_id = self.run_id
        ledger = self._ledger = ledger_for(kernel, plan, settings, self.run_id)
        self._keeper: Keeper | None = None
        if settings.kept is not None and isinstance(ledger, KeepingLedger):
            self._keeper = Keeper(plan, self.run_id, settings.kept, ledger, self._fail)
        self._ledger.on_idle = self._idle
        self._ledger.on_halt = self._fail
        self._ledger.hooks = {each.name: each.on_failure for each in plan.stages}
        self._ledger.hooks[None] = settings.on_failure
        workers = sum(each.workers for each in plan.stages)
        ledger.wake_at = wake_at(min(ledger.concurrency, ledger.ahead), workers)
        self.stages: dict[str, StageCell] = {}
        # Last stage first: stopping right to left then follows the flow.
        specs = tuple(ChildSpec(each.name, StageCell, shutdown=30.0) for each in plan.stages[::-1])
        self._house = house_for(
            kernel,
            Plan(children=specs, max_restarts=0),
            lambda _, spec: self.stages[spec.id],
            settings.system,
        )
        self._house.on_end = self._tree_ended
        self._outlet = Outlet(f"/{kernel.name}/results", kernel, self._ledger)
        for stage in plan.stages:
            self.stages[stage.name] = StageCell(
                stage, self._house.root, self._ledger, settings.stage_defaults
            )
        for name, cell in self.stages.items():
            following = plan.successors(name)
            cell.target = self.stages[following[0]].mailbox if following else self._outlet
        self._feeder = Feeder(self._ledger, settings)
        self._started = 0.0
        self._sources = 0  # That were fed, for their places in the store.
        self._input_ended = False

    # The block ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._started = self._kernel.now()
        if self._house.ready.is_set():
            raise NotRunningError(f"run {self.run_id} has ended; open another one")
        if not await self._open_ends():
            return self
        try:
            await self._house.open()
            await self._house.ready.wait()
            if self._error is not None:
                raise self._error  # A stage cannot start.
        except BaseException:
            await self._close_all(broken=True)
            raise
        if self._keeper is not None:
            self._keeper.start()
        if self._writer is not None:
            self._kernel.services.start_soon(self._writer.run)
        if self.settings.display is not None:
            self._kernel.services.start_soon(show_progress, self, self.settings.display)
        return self

    async def _open_ends(self) -> bool:
        """Open the store and the sink; `False` if the run has finished before."""
        keeper, sink = self._keeper, self.settings.sink
        if keeper is not None:
            self.report = await keeper.open(self.stages, self._outlet)
            if self.report is not None:
                self._ending = True
                self._over.set()
                return False
        if sink is not None:
            settles = keeper is not None and getattr(sink, "settled", False)
            tap = self._tap(values_only=True, settled=settles)
            self._writer = Writer(sink, tap, self._fail, self._kernel.journal)
            await (sink.open() if keeper is None else keeper.open_sink(sink, tap))
        return True

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and not self._ending:
                await self.finish()
        except BaseException as raised:
            error = raised
            raise
        finally:
            await self._close_all(broken=error is not None)

    async def _close_all(self, *, broken: bool) -> None:
        """End whatever still runs; neither a cancellation nor Ctrl-C leaves a part of it.

        Args:
            broken: An error is on its way to the caller, which nothing here may replace.
        """
        if self._keeper is not None and self._keeper.report is not None:
            return
        self._cut_short()
        try:
            await self._house.close()
        finally:
            self._note_report()
            try:
                if self._keeper is not None:
                    status: RunStatus = "failed" if self._error else "parked"
                    await self._keeper.close(status, self.report, broken=broken)
            finally:
                if self._writer is not None:
                    await self._writer.close(broken=broken)

    def _idle(self) -> None:
        """The input has ended and nothing is held: there will be no more results."""
        for tap in self._ledger.taps:
            tap.close(self._error)
        self._over.set()

    def _tree_ended(self) -> None:
        """No stage is left, wanted or not; the sink still gets what came out."""
        ending = self._house.ending
        if ending is not None and ending.kind == "crash" and self._error is None:
            self._error = ending.error
        self._feeder.cancel()
        self._ledger.close()
        for tap in self._ledger.taps:
            tap.close(self._error)
        self._over.set()

    def _fail(self, error: BaseException) -> None:
        """The run cannot go on: stop everything; `finish` and the takers raise *error*."""
        if self._error is None:
            self._error = error
        self._over.set()
        self._end_turns()

    def _end_turns(self) -> None:
        """Nothing is read and no turn begins any more; those in progress are cancelled."""
        self._feeder.cancel()
        for cell in self.stages.values():
            cell.mailbox.paused, cell.mailbox.quiet = True, False
        self._house.kill()

    # Feeding --------------------------------------------------------------------------

    async def feed(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        stage: str | None = None,
        priority: int = 100,
        ids: Iterable[Any] | None = None,
    ) -> list[Any]:
        """Feed *items*, waiting for room; returns their ids when all are accepted.

        Args:
            items: An iterable or async iterable of items; not a str, bytes or mapping.
            stage: Name of the stage to feed instead of the first.
            priority: Lower is handled first, in every stage.
            ids: Ids for the items, one each; their numbers from 0 by default.

        Raises:
            NotRunningError: The run has ended, or ends while this waits.
            ConfigurationError: *items* is one value, or the stage is unknown.
        """
        self._refuse_inside("run.feed()", "ctx.emit()")
        target = self._feedable(stage, priority)
        accepted, ended = self._feeder.feed_at_once(items, target, priority, ids), True
        if accepted is None:
            source = as_source(items, option="feed() items")
            accepted = []
            ended = await self._feed(source, target, priority, ids, accepted)
        elif self._keeper is None:
            await trio.lowlevel.checkpoint()
        if self._keeper is not None and accepted:
            await self._keeper.settled()
        if not ended:
            text = f"run {self.run_id} ended while it was fed; it has taken {len(accepted)} items"
            raise NotRunningError(text)
        return accepted

    async def feed_from(self, source: Source[In] | Iterable[In] | AsyncIterable[In]) -> None:
        """Feed all that *source* gives, as there is room for it; returns when it is at its end
        or the run has stopped reading."""
        self._refuse_inside("run.feed_from()", "ctx.emit()")
        given, target = as_source(source), self._feedable(None, DEFAULT_PRIORITY)
        keep = self._keep_source()
        self._input_ended = await self._feed(given, target, DEFAULT_PRIORITY, None, None, keep)

    def _keep_source(self) -> Callable[[Callable[[], Any]], Any] | None:
        """Where the next source tells how far it was read, in a durable run."""
        number, self._sources = self._sources, self._sources + 1
        return None if self._keeper is None else functools.partial(self._keeper.source, number)

    def _feedable(self, stage: str | None, priority: int) -> Mailbox:
        """The mailbox of the stage that is to be fed."""
        self._raise_if_over()
        if type(priority) is not int:
            raise ConfigurationError("feed() priority", priority, "a whole number; lower is first")
        mailbox: Mailbox = self._stage(stage or self.plan.entry).mailbox
        return mailbox

    async def _feed(self, source: Any, target: Mailbox, *facts: Any) -> bool:
        ended = await self._feeder.feed(source, target, *facts)
        if self._error is not None:
            raise self._error
        return ended

    def start_feeding(self, source: Any) -> None:
        """Feed *source* in a task of the run's own, then take no more; for ``stream``."""
        self._kernel.services.start_soon(self._feed_beside, as_source(source))

    @trio.lowlevel.enable_ki_protection
    async def _feed_beside(self, source: Any) -> None:
        mailbox = self._stage(self.plan.entry).mailbox
        try:
            self._input_ended = await self._feeder.feed(
                source, mailbox, DEFAULT_PRIORITY, None, None, self._keep_source()
            )
        except trio.Cancelled:
            raise
        except BaseException as error:
            self._fail(error)
        self._ledger.close()

    # Results --------------------------------------------------------------------------

    def results(self) -> ResultStream:
        """What comes out from now on, as an async iterator of `ItemResult`.

        Before this is called results are counted and dropped; after it, what is not taken
        counts towards the window, so that feeding waits for the taker. Items that are inside
        already come first and as they end, also where ``ordered=True``.
        """
        self._raise_if_over()
        tap = self._tap(values_only=False)
        return ResultStream(tap, lambda: self._forget(tap))

    def _tap(self, *, values_only: bool, settled: bool = True) -> Tap:
        tap = Tap(
            self.plan.exits[0],
            ordered=self._ledger.ordered,
            values_only=values_only,
            first=self._ledger.fed,
            on_taken=self._taken,
            journal=self._kernel.journal if settled else None,
        )
        self._ledger.taps = (*self._ledger.taps, tap)
        return tap

    def _forget(self, tap: Tap) -> None:
        self._ledger.taps = tuple(each for each in self._ledger.taps if each is not tap)
        self._taken()

    def _taken(self) -> None:
        """Results were taken: feeding, or a generator that has run ahead, may go on."""
        self._ledger.look_for_feeders()
        if self._outlet.writers:
            self._outlet.room_made()

    # Endings --------------------------------------------------------------------------

    async def finish(self) -> Report:
        """Take no more input, wait for all that is held, end. Of a durable run that has finished
        before: the report it had then.

        Raises:
            ActorFlowError: Why the run could not go on: `RestartsExhausted`, `TooManyFailures`.
            Exception: What a source or sink raised.
        """
        self._refuse_inside("run.finish()", "a task outside the run")
        if self._keeper is not None and self._keeper.report is not None:
            return self._keeper.report
        self._stop_feeding()
        await self._over.wait()
        self._input_ended = True
        return await self._end(math.inf)

    async def drain(self, timeout: float = 30.0) -> Report:
        """Stop reading sources, finish what is held, end; all by one deadline.

        What is not finished by then stays held, and is so counted.
        """
        seconds = options.seconds("drain() timeout", timeout)
        self._refuse_inside("run.drain()", "a task outside the run")
        until = self._kernel.now() + seconds
        self._kernel.draining = True
        self._stop_feeding()
        for cell in self.stages.values():
            cell.mailbox.wake_for_work()  # A gate that holds may now reject.
        with trio.move_on_at(until):
            await self._over.wait()
        return await self._end(max(until, self._kernel.now() + LEAST_SECONDS))

    async def stop(self) -> Report:
        """End turns now, their attempts given back; what is held stays held."""
        self._refuse_inside("run.stop()", "ctx.fail() or on_failure='halt'")
        self._cut_short()
        return await self._end(math.inf)

    def cancel(self) -> None:
        """End everything now and forget what was not finished; the sink gets a few seconds for
        what came out. A durable run stays as its last checkpoint has it."""
        self._cut_short()
        if self._keeper is not None:
            self._keeper.forget()

    def _cut_short(self) -> None:
        self._ending = True
        self._end_turns()
        if self._writer is not None:
            self._writer.end_by(self._kernel.now() + REST_SECONDS)

    def _stop_feeding(self) -> None:
        """Nothing new comes in, and what comes out waits for nobody any more."""
        self._ending = True
        self._feeder.cancel()
        self._ledger.close()
        for tap in self._ledger.taps:
            tap.bounded = tap.values_only  # The sink is always read, a result may never be.
        self._outlet.room_made()

    async def _end(self, writes_until: float) -> Report:
        """End the tree, let the sink write the rest until then, make the report."""
        if self._writer is not None:
            self._writer.end_by(writes_until)
        self._house.kill()
        await self._house.ended.wait()
        self._note_report()
        try:
            if self._keeper is not None:
                broken = self._error is not None
                await self._keeper.close(self._status(), self.report, broken=broken)
        finally:
            if self._writer is not None:
                await self._writer.close(broken=self._error is not None)
        if self._error is not None:
            raise self._error
        assert self.report is not None
        return self.report

    def _status(self) -> RunStatus:
        if self._error is not None:
            return "failed"
        return "finished" if self._input_ended and not self._ledger.held else "parked"

    def _note_report(self) -> None:
        if self.report is not None:
            return
        stats = self.stats()
        self.report = Report(
            run_id=self.run_id,
            counts=stats.counts,
            duration=stats.elapsed,
            stages=stats.stages,
            errors=stats.errors,
            dead=tuple(self._ledger.letters),
            restarts=stats.restarts,
        )

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise NotRunningError(f"run {self.run_id} has failed") from self._error
        if not self._house.ready.is_set():
            raise NotRunningError(f"run {self.run_id} has not begun; use `async with`")
        if self._ending or not self._house.alive:
            raise NotRunningError(f"run {self.run_id} has ended; open another one")

    def _refuse_inside(self, verb: str, instead: str) -> None:
        cell = CURRENT.get()
        if cell is not None and cell.kernel is self._kernel and turn_here() is not None:
            raise InsideTurn(verb, instead)
