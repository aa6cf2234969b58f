"""A flow while it runs: feeding it, watching it, changing it, and its endings.

    feed ──► first stage's mailbox ──► ... ──► last stage ──► outlet ──► taps ──► takers

The stages are children of the run's supervisor, last stage first, so that they stop
in the order of the flow. Sources are read and sinks are written by tasks beside them.
The run's body is outside all of that: nothing here cancels it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, Generic, Literal, Self, overload

import trio

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.errors import ConfigurationError, EncodeError, NotRunningError
from actorflow.flows.feeding import Feeder, check_ids
from actorflow.flows.generic import In, Out
from actorflow.flows.injecting import Injector
from actorflow.flows.keeper import Keeper
from actorflow.flows.keeping import KeepingLedger, ledger_for
from actorflow.flows.ledger import OUTLET, Outlet, wake_at
from actorflow.flows.lodging import house_for, kernel_for
from actorflow.flows.progress import Progress
from actorflow.flows.refeeding import Refeeder
from actorflow.flows.results import Chunk, Held, ItemResult
from actorflow.flows.settings import RunSettings, facts
from actorflow.flows.sources import Source, as_source
from actorflow.flows.submitting import Submitting
from actorflow.flows.taps import ResultStream, Tap
from actorflow.flows.wiring import Wiring
from actorflow.flows.writing import Writer
from actorflow.graph.plan import Plan as FlowPlan
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.declare import Plan
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.ports import random_bytes
from actorflow.stages.build import StageCell
from actorflow.wire.codec import encode

__all__ = ["Run"]


class Run(Submitting, Generic[In, Out]):
    """A live run; made by ``flow.open()``, which is its ``async with`` block.

    Leaving the block calls `finish` if no ending was called; with an exception in the body it
    calls `stop`.

    Attributes:
        run_id: Id of the run.
        report: How it ended; `None` while it runs.
    """

    def __init__(self, plan: FlowPlan, settings: RunSettings) -> None:
        super().__init__()
        self.plan = plan
        self.settings = settings
        # A durable run that is started again by the same command finds itself by its name.
        self.run_id = settings.run_id or (plan.name if settings.kept else random_bytes(8).hex())
        self._writer: Writer | None = None
        self._sink_tap: Tap | None = None
        self._early: ResultStream[Any] | None = None
        self._wants_early: bool | None = None
        self._context = settings.context
        kernel = self._kernel = kernel_for(plan.name, settings)
        kernel.run_id = self.run_id
        ledger = self._ledger = ledger_for(kernel, plan, settings, self.run_id)
        self._keeper: Keeper | None = None
        if settings.kept is not None and isinstance(ledger, KeepingLedger):
            self._keeper = Keeper(
                plan, self.run_id, settings.kept, ledger, settings.rate, self._fail
            )
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
        self._outlet = Outlet(f"/{kernel.name}/{OUTLET}", kernel, self._ledger)
        for stage in plan.stages:
            self.stages[stage.name] = StageCell(
                stage, self._house.root, self._ledger, settings.stage_defaults
            )
        wiring = self._wiring = Wiring(plan, self.stages, self._outlet, kernel)
        ledger.entrances, ledger.batchers = wiring.entrances, wiring.batchers()
        ledger.busy, ledger.joins = wiring.busy, wiring.joins()
        ledger.injector = Injector(plan, ledger, self.stages)
        self._feeder = Feeder(self._ledger, settings)
        self._refeeder = Refeeder(plan, ledger, self.stages, wiring, settings.deadline)
        self._started = 0.0

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
        self._start_watching()
        return self

    async def _open_ends(self) -> bool:
        """Open the store and the sink; `False` if the run has finished before."""
        keeper, sink = self._keeper, self.settings.sink
        if keeper is not None:
            self.report = await keeper.open(self.stages, self._outlet, self._wiring)
            if self.report is not None:
                self._ending = True
                self._over.set()
                return False
        if sink is not None:
            settles = keeper is not None and getattr(sink, "settled", False)
            self._sink_tap = self._tap(values_only=True, settled=settles)
        if keeper is not None:
            sink = await keeper.open_sink(sink, self._sink_tap)
        elif sink is not None:
            await sink.open()
        if self._sink_tap is not None:
            self._writer = Writer(sink, self._sink_tap, self._fail)
        if self._wants_early is not None:
            self._early = self._stream(self._wants_early)
        return True

    # Feeding --------------------------------------------------------------------------

    async def feed(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        stage: str | None = None,
        priority: int = 100,
        ids: Iterable[Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Feed *items*, waiting for room; returns their ids when all are accepted. Cancelled while
        it waits, it returns the ids of those that were, if any, and feeds no more: the
        cancellation shows at the next wait. So it never says `Cancelled` of what was accepted.

        Args:
            items: An iterable or async iterable of items; not a str, bytes or mapping.
            stage: Name of the stage to feed instead of the first; none in a branch that is joined
                with others.
            priority: Lower is handled first, in every stage.
            ids: Ids for the items, one each, or more where their number is not known; the items'
                numbers from 0 by default.
            context: What handlers find in ``ctx.metadata``, beside that of the run.

        Raises:
            NotRunningError: The run has ended, or ends while this waits.
            ConfigurationError: *items* is one value, or the stage is unknown, or there are not as
                many ids as items; if that shows on the way only, the error says what was accepted.
            EncodeError: The run has a store, which must keep the item that comes next and cannot.
                The error says which were accepted before it.
        """
        self._refuse_inside("run.feed()", "ctx.emit()")
        target, noted = self._feedable(stage, priority), self._attaching(context)
        check_ids(items, ids)
        await trio.lowlevel.checkpoint_if_cancelled()  # From here on it may be accepted.
        ended = True
        try:
            accepted = self._feeder.feed_at_once(items, target, priority, ids, noted)
            if accepted is None:
                accepted = []
                source = as_source(items, option="feed() items")
                ended = await self._feed(source, target, priority, ids, accepted, None, noted)
            elif self._keeper is None:
                await trio.lowlevel.cancel_shielded_checkpoint()
        except trio.Cancelled:
            if not accepted:
                raise  # Else whoever feeds is told of those; the cancellation goes on.
        except (ConfigurationError, EncodeError):
            await self._on_disk()  # What came before that one is accepted.
            raise
        if self._keeper is not None and accepted:
            await self._on_disk()
            if self._kernel.ports.simulation is not None:
                self._kernel.ports.simulation.fed(self.run_id, len(accepted))
        if not ended:
            text = f"run {self.run_id} ended while it was fed; it has taken {len(accepted)} items"
            raise NotRunningError(text)
        return accepted

    async def feed_from(
        self,
        source: Source[In] | Iterable[In] | AsyncIterable[In],
        *,
        stage: str | None = None,
    ) -> None:
        """Feed all that *source* gives, as there is room for it; returns when it is at its end
        or the run has stopped reading.

        In a run with a store an item that cannot be kept becomes a dead letter, as a line that
        cannot be read does, and reading goes on.

        Args:
            source: What is fed.
            stage: Name of the stage to feed instead of the first.
        """
        self._refuse_inside("run.feed_from()", "ctx.emit()")
        given, target = as_source(source), self._feedable(stage, DEFAULT_PRIORITY)
        keep, noted = self._keep_source(), self._attaching(None)
        try:
            await self._feed(given, target, DEFAULT_PRIORITY, None, None, keep, noted)
        except Exception as error:
            self._unfed = error
            raise

    async def refeed(self, held: Iterable[Held]) -> list[Any]:
        """Put what another run of the flow had left where it was: each message into its stage,
        with its id, metadata, priority and attempts, and nothing is done twice that was done.
        All of it at once, as it needs no room; returns the ids of the items.

        A generator goes on behind what it had sent; branches that had arrived are not run again,
        and a batch that was formed is the same again. What belongs to one batch, or to one item
        in a joined `Parallel`, comes back together. A retry waits no longer, and the flow's own
        `Deadline` begins anew. ``attrs.evolve(each, value=...)`` mends a value.

        Args:
            held: Values of ``report.left``, or some of them.

        Raises:
            NotRunningError: The run has ended.
            ConfigurationError: One is not of a run of this flow, or its stage is unknown, or what
                belongs to it is missing. Then none of them is fed.
            EncodeError: The run has a store, which cannot keep one. Likewise.
        """
        self._refuse_inside("run.refeed()", "a task outside the run")
        self._feedable(None, DEFAULT_PRIORITY)
        await trio.lowlevel.checkpoint_if_cancelled()
        fed = self._refeeder.take(held)
        await self._on_disk()
        return fed

    async def _on_disk(self) -> None:
        """Wait until a run that is kept has all on disk that it has accepted."""
        with trio.CancelScope(shield=True):
            if self._keeper is not None:
                await self._keeper.settled()
            else:
                await trio.lowlevel.checkpoint()

    def _attaching(self, context: Mapping[str, Any] | None) -> Callable[[Envelope], None] | None:
        """Attaches what the run says, and *context*, to each message that is fed."""
        own = facts("feed() context", context)
        if own is None and self._context is None:
            return None
        attached = {**(self._context or {}), **(own or {})}
        if self._keeper is not None:
            encode(attached)  # Who feeds is told at once that it cannot be kept.
        return functools.partial(_attach, attached)

    def _keep_source(self) -> Callable[[Progress], Any] | None:
        """Where a source tells how far it was read, in a durable run."""
        return None if self._keeper is None else self._keeper.inputs.add

    def _feedable(self, stage: str | None, priority: int) -> Mailbox:
        """The mailbox of the stage that is to be fed."""
        try:
            self._raise_if_over()
        except NotRunningError:
            if self._house.ready.is_set() and not self._finishing:
                self._cut_off = True
            raise
        if type(priority) is not int:
            raise ConfigurationError("feed() priority", priority, "a whole number; lower is first")
        mailbox: Mailbox = self._ledger.injector.mailbox(stage, "feed()")
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
            keep, noted = self._keep_source(), self._attaching(None)
            await self._feeder.feed(source, mailbox, DEFAULT_PRIORITY, None, None, keep, noted)
        except trio.Cancelled:
            raise
        except BaseException as error:
            self._fail(error)
        self._ledger.close()

    # Results --------------------------------------------------------------------------

    @overload
    def results(self, *, chunks: Literal[False] = False) -> ResultStream[ItemResult[Out]]: ...

    @overload
    def results(self, *, chunks: bool) -> ResultStream[ItemResult[Out] | Chunk]: ...

    def results(self, *, chunks: bool = False) -> ResultStream[Any]:
        """What comes out from now on, as an async iterator of `ItemResult`, and of `Chunk` if
        *chunks* of contexts are wanted.

        Before this is called results are counted and dropped; after it, what is not taken
        counts towards the window, so that feeding waits for the taker. Items that are inside
        already come first and as they end, also where ``ordered=True``.
        """
        self._raise_if_over()
        early, self._early = self._early, None
        return early or self._stream(chunks)

    def keep_results(self, *, chunks: bool) -> None:
        """Keep results for the first `results` from before the run is open, as what was inside
        already may end while it opens; for ``stream``."""
        self._wants_early = chunks

    def note_inner(self) -> set[int]:
        """A set that gets the number of each item that is fed from inside; for ``map``."""
        injector = self._ledger.injector
        injector.fed = set() if injector.fed is None else injector.fed
        found: set[int] = injector.fed
        return found

    def _stream(self, chunks: bool) -> ResultStream[Any]:
        tap = self._tap(values_only=False)
        if chunks:
            tap.chunks, self._ledger.chunks = True, self._outlet
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

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise NotRunningError(f"run {self.run_id} has failed") from self._error
        if self._keeper is not None and self._keeper.report is not None:
            text = f"run {self.run_id} has finished before; look at its report"
            raise NotRunningError(f"{text}, or give another run_id")
        if not self._house.ready.is_set():
            raise NotRunningError(f"run {self.run_id} has not begun; use `async with`")
        if self._ending or not self._house.alive:
            raise NotRunningError(f"run {self.run_id} has ended; open another one")


def _attach(context: Mapping[str, Any], envelope: Envelope) -> None:
    envelope.headers = dict(context)
