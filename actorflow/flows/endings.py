"""How a run ends: by which verb, by when, and what the store is told of it.

    finish   no more input; all that is held, however long that takes
    drain    no more reading; what is held, by a deadline
    stop     nothing more; turns are cut off and given back
    cancel   as stop, at once, and the last checkpoint is the last word

Several may be called, by several tasks, in any order: the sooner end holds, each caller
waits for all of it, and leaving the block waits for those that have begun: also for a finish
or a drain whose caller was cancelled, as nobody has said that what is held may stay so.

A durable run is *finished* if somebody has said that there is no more input, by `finish`, and
that is true: every source was read to its end, no `feed` was refused or cut short by another
ending, nothing is held and the sink has all. Else it is *parked*, and can be gone on with.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from types import TracebackType

import trio

from actorflow import options
from actorflow.actors.house import House
from actorflow.durability.store import RunStatus
from actorflow.errors import InsideTurn, NotRunningError
from actorflow.flows.controls import Controls
from actorflow.flows.feeding import Feeder
from actorflow.flows.ledger import Outlet
from actorflow.flows.looking import held
from actorflow.flows.results import Held, Report, with_report
from actorflow.flows.taps import Tap
from actorflow.flows.writing import Writer
from actorflow.runtime.cell import CURRENT, turn_here

__all__ = ["Endings"]

#: What a sink gets to write the rest when a run is stopped, in seconds.
REST_SECONDS = 5.0

#: What it gets at least when the time of a drain is over.
LEAST_SECONDS = 1.0


class Endings(Controls):
    """The endings of a run, and its block.

    Attributes:
        run_id: Id of the run.
        report: How it ended; `None` while it runs.
    """

    run_id: str
    report: Report | None
    _feeder: Feeder
    _house: House
    _outlet: Outlet
    _writer: Writer | None
    _sink_tap: Tap | None

    def __init__(self) -> None:
        self.report = None
        self._over = trio.Event()
        self._error = None
        self._ending = False
        self._finishing = False
        self._unfed: Exception | None = None  # What a source raised that was to be read.
        self._cut_off = False  # A `feed` was refused, or cut short, and not by `finish`.
        self._endings: list[trio.Event] = []
        self._owed = math.inf  # By when an ending is over whose caller was cancelled,
        self._owes = self._cut = False  # if there is one, and nobody has cut it short since.
        self._letting_go = trio.Lock()

    # The verbs ------------------------------------------------------------------------

    async def finish(self) -> Report:
        """Take no more input, wait for all that is held, end. Of a durable run that has finished
        before: the report it had then. One with a source that was not read to its end has not
        finished by this; it can be gone on with. Cancelled, it only waits no longer: leaving the
        block waits for the rest, unless `stop` or `cancel` is called; `drain` has a time limit.

        Raises:
            ActorFlowError: Why the run could not go on: `RestartsExhausted`, `TooManyFailures`.
            Exception: What a source or sink raised.
        """
        self._refuse_inside("run.finish()", "a task outside the run")
        with self._begun_ending(math.inf) as before:
            if before is not None:
                return before
            self._finishing = True
            self._stop_feeding()
            await self._over.wait()
            await self._settle()
            return await self._end(math.inf)

    async def drain(self, timeout: float = 30.0) -> Report:
        """Stop reading sources, finish what is held, end; all by one deadline.

        What is not finished by then stays held, and is so counted. A durable run can be gone on
        with, also if nothing is held: that there is no more input only `finish` says. Cancelled,
        it waits no longer, and leaving the block waits until the deadline.
        """
        seconds = options.seconds("drain() timeout", timeout)
        self._refuse_inside("run.drain()", "a task outside the run")
        until = self._kernel.now() + seconds
        with self._begun_ending(until) as before:
            if before is not None:
                return before
            self._kernel.draining = True
            self._stop_feeding()
            for cell in self.stages.values():
                cell.mailbox.wake_for_work()  # A gate that holds may now reject.
            with trio.move_on_at(until):
                await self._over.wait()
            await self._settle()
            return await self._end(max(until, self._kernel.now() + LEAST_SECONDS))

    async def stop(self) -> Report:
        """End turns now, their attempts given back; what is held stays held."""
        self._refuse_inside("run.stop()", "ctx.fail() or on_failure='halt'")
        with self._begun_ending() as before:
            if before is not None:
                return before
            self._cut_short()
            return await self._end(math.inf)

    def cancel(self) -> None:
        """End everything now and forget what was not finished; the sink gets a few seconds for
        what came out. A durable run stays as its last checkpoint has it."""
        self._cut_short()
        if self._keeper is not None:
            self._keeper.forget()

    @contextlib.contextmanager
    def _begun_ending(self, until: float = -math.inf) -> Iterator[Report | None]:
        """One more ending is on its way; gives the report of a run that had finished before.

        Args:
            until: By when it is over; leaving the block waits for it then, if it is cancelled.
        """
        if self._keeper is not None and self._keeper.report is not None:
            yield self._keeper.report
            return
        if not self._house.ready.is_set():
            raise NotRunningError(f"run {self.run_id} has not begun; use `async with`")
        ended = trio.Event()
        self._endings.append(ended)
        try:
            yield None
        except trio.Cancelled:
            if until > -math.inf:
                self._owes, self._owed = True, min(until, self._owed)
            raise
        finally:
            self._endings.remove(ended)
            ended.set()

    # What they are made of ------------------------------------------------------------

    def _stop_feeding(self) -> None:
        """Nothing new comes in, and what comes out waits for nobody any more."""
        self._ending = True
        self._stop_reading()
        self._ledger.close()
        for tap in self._ledger.taps:
            tap.bounded = tap.values_only  # The sink is always read, a result may never be.
        self._outlet.room_made()

    def _stop_reading(self) -> None:
        if self._feeder.cancel() and not self._finishing:
            self._cut_off = True

    def _cut_short(self) -> None:
        self._ending = self._cut = True
        self._end_turns()
        if self._writer is not None:
            self._writer.end_by(self._kernel.now() + REST_SECONDS)

    def _end_turns(self) -> None:
        """Nothing is read and no turn begins any more; those in progress are cancelled."""
        self._stop_reading()
        for cell in self.stages.values():
            cell.mailbox.paused, cell.mailbox.quiet = True, False
        self._house.kill()

    async def _settle(self) -> None:
        """Have what a settled sink waits for on the disk while there is somebody to bring it."""
        tap = self._sink_tap
        if self._keeper is not None and self._error is None and tap is not None and tap.waits():
            await self._keeper.flush()

    async def _end(self, writes_until: float) -> Report:
        """End the tree, let the sink write the rest until then, make the report."""
        if self._writer is not None:
            self._writer.end_by(writes_until)
        self._house.kill()
        await self._house.ended.wait()
        self._note_report()
        await self._let_go(broken=self._error is not None)
        if self._error is not None:
            raise self._error
        assert self.report is not None
        return self.report

    async def _let_go(self, *, broken: bool) -> None:
        """Let go of store and sink; who comes second waits until that is done.

        Args:
            broken: An error is on its way to the caller, which nothing here may replace.
        """
        with trio.CancelScope(shield=True):
            async with self._letting_go:
                try:
                    if self._keeper is not None:
                        await self._keeper.close(self._status(), self.report, broken=broken)
                finally:
                    if self._writer is not None:
                        try:
                            await self._writer.close(broken=broken)
                        except Exception as error:
                            with_report(error, self.report)
                            raise

    def _status(self) -> RunStatus:
        assert self._keeper is not None
        if self._error is not None:
            return "failed"
        final = self._finishing and not self._cut_off and self._keeper.complete()
        return "finished" if final else "parked"

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
            observer_failures=stats.observer_failures,
            hook_failures=stats.hook_failures,
            left=() if self._keeper is not None else self._left(),
        )
        if isinstance(self._error, Exception):
            with_report(self._error, self.report)

    def _left(self) -> tuple[Held, ...]:
        if not self._ledger.held:
            return ()
        return tuple(held(self.plan.name, self.stages, self._wiring, self._ledger.ids))

    # What ends by itself --------------------------------------------------------------

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
        self._stop_reading()
        self._ledger.close()
        for tap in self._ledger.taps:
            tap.close(self._error)
        if self._sink_tap is not None:
            self._sink_tap.forsake()  # Nobody is left who would bring it to the disk.
        self._over.set()

    def _fail(self, error: BaseException) -> None:
        """The run cannot go on: stop everything; `finish` and the takers raise *error*."""
        if self._error is None:
            self._error = error
        self._over.set()
        self._end_turns()

    # The block ------------------------------------------------------------------------

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
            elif error is None:
                while self._endings:
                    await self._endings[0].wait()
                if self._owes and not self._cut and self.report is None:
                    await self._go_on()
        except BaseException as raised:
            error = raised
            raise
        finally:
            await self._close_all(broken=error is not None)
            if self._unfed is not None and error is self._unfed:
                with_report(self._unfed, self.report)

    async def _go_on(self) -> None:
        """End as an ending has begun to whose caller was cancelled."""
        if self._owed < math.inf:
            await self.drain(max(0.0, self._owed - self._kernel.now()))
        else:
            await self.finish()

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
            await self._let_go(broken=broken)

    def _refuse_inside(self, verb: str, instead: str) -> None:
        cell = CURRENT.get()
        if cell is not None and cell.kernel is self._kernel and turn_here() is not None:
            raise InsideTurn(verb, instead)
