"""Give items to a run one by one, each with a future of what will come of it.

    submit ──► Feeder ──► the run ──► ledger ──► Desk ──► Future
                                                  └── knows the items that have futures
    cancel ──► Desk ──► out of its mailbox, or its turn is cut short

A desk is one more tap of the run, beside those of `results` and of the sink. It keeps a
future while its item is held, and no result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import trio

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.errors import FutureCancelled, NotRunningError
from actorflow.flows.awaiting import as_completed, wait
from actorflow.flows.endings import Endings
from actorflow.flows.futures import Future
from actorflow.flows.taps import NO_RESULT, Tap
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.withdraw import cut_short, withdraw
from actorflow.stages.build import StageCell

__all__ = ["Submitting"]

T = TypeVar("T")

#: Dead letters that an executor keeps for its report; others are counted.
LETTERS_KEPT = 100


class Submitting(Endings):
    """What a run does with single items."""

    _feedable: Callable[[str | None, int], Mailbox]
    _feed: Callable[..., Awaitable[bool]]
    _taken: Callable[[], None]
    _desk: _Desk | None = None

    async def submit(
        self, item: Any, *, stage: str | None = None, priority: int = DEFAULT_PRIORITY
    ) -> Future[Any]:
        """Feed *item*, waiting for room; gives a future of its value.

        Args:
            item: Any value.
            stage: Name of the stage to feed instead of the first.
            priority: Lower is handled first, in every stage.

        Raises:
            NotRunningError: The run has ended, or ends while this waits.
            ConfigurationError: The stage is unknown.
            MailboxFull: Its mailbox is full and it says ``overflow="fail"``.
            InsideTurn: This is a turn of the run.
        """
        self._refuse_inside("run.submit()", "ctx.emit()")
        await trio.lowlevel.checkpoint()
        future = self.offer(item, stage, priority)
        if future is None:
            future = await self.accept(item, stage, priority)
        if self._keeper is not None:
            await self._keeper.settled()
        return future

    as_completed = staticmethod(as_completed)
    wait = staticmethod(wait)

    # For the executor -------------------------------------------------------------------

    def offer(
        self, item: Any, stage: str | None = None, priority: int = DEFAULT_PRIORITY
    ) -> Future[Any] | None:
        """Feed *item* if there is room for it right now."""
        target, desk = self._feedable(stage, priority), self._own_desk()
        future: Future[Any] = Future(desk)
        noted = partial(desk.noted, future)
        accepted = self._feeder.feed_at_once([item], target, priority, None, noted)
        return None if accepted is None else future

    async def accept(
        self, item: Any, stage: str | None = None, priority: int = DEFAULT_PRIORITY
    ) -> Future[Any]:
        """Feed *item* when there is room for it. Cancelled, it has not been fed."""
        target, desk = self._feedable(stage, priority), self._own_desk()
        future: Future[Any] = Future(desk)
        noted = partial(desk.noted, future)
        await self._feed(_One(item), target, priority, None, [], None, noted)
        if future.id < 0:
            raise NotRunningError(f"run {self.run_id} ended while submit() waited for room")
        return future

    @property
    def ending(self) -> bool:
        """Whether it takes no more items, or has ended."""
        return self._ending

    def refuse_inside(self, verb: str, instead: str = "a task outside the run") -> None:
        """Raise `InsideTurn` in a turn of this run."""
        self._refuse_inside(verb, instead)

    def keep_few_letters(self) -> None:
        """Keep the latest dead letters only: their futures have told of them."""
        del self._ledger.letters[:-LETTERS_KEPT]
        while len(self._kernel.letters) > LETTERS_KEPT:
            self._kernel.letters.popleft()

    def take_back(self) -> None:
        """Take no more items, cancel those with futures that wait, and retry none of the others."""
        self._stop_feeding()
        if self._desk is not None:
            self._desk.take_back()

    def _own_desk(self) -> _Desk:
        if self._desk is None:
            many = any("generator" in each.kind for each in self.plan.stages)
            desk = self._desk = _Desk(
                self.plan.exits[0],
                kernel=self._kernel,
                stages=self.stages,
                many=many,
                refuse=self.refuse_inside,
                on_taken=self._taken,
            )
            self._ledger.taps = (*self._ledger.taps, desk)
        return self._desk


class _Desk(Tap):
    """The futures of one run's items.

    Args:
        stage: Name of the stage whose values come out.
        kernel: The run's services.
        stages: Its stages.
        many: Whether an item gives a list, however many values it has.
        refuse: Raises `InsideTurn` in a turn of the run.
        on_taken: Called when results have left, so that feeding may go on.
    """

    __slots__ = ("_kernel", "_open", "_stages", "many", "path", "refuse_inside")

    def __init__(
        self,
        stage: str,
        *,
        kernel: Kernel,
        stages: Mapping[str, StageCell],
        many: bool,
        refuse: Callable[[str], None],
        on_taken: Callable[[], None],
    ) -> None:
        self.path = f"/{kernel.name}"
        self.many = many
        self.refuse_inside = refuse
        self._kernel = kernel
        self._stages = stages
        self._open: dict[int, Future[Any]] = {}
        super().__init__(
            stage,
            ordered=False,
            values_only=False,
            first=0,
            on_taken=on_taken,
            journal=kernel.journal,
        )

    def noted(self, future: Future[Any], envelope: Envelope) -> None:
        """The item of *future* is about to be in the run, as *envelope*."""
        future.accepted(envelope)
        self._open[future.id] = future

    def cancel(self, envelope: Envelope) -> bool:
        """Take *envelope* back, or cut its turn short; whether it waited somewhere."""
        for stage in self._stages.values():
            if withdraw(stage.mailbox, envelope):
                return True
            for cell in stage.cells:
                if cell.lease is envelope:
                    cut_short(cell)
        return False

    def take_back(self) -> None:
        """Cancel what waits; what runs is not tried again."""
        now = self._kernel.now()
        for stage in self._stages.values():
            for cell in stage.cells:
                if cell.lease is not None:
                    cell.lease.deadline = now
        running = {cell.lease for stage in self._stages.values() for cell in stage.cells}
        for future in tuple(self._open.values()):
            if future.envelope not in running:
                future.cancel()

    def report(self, what: str, error: BaseException) -> None:
        """Log and count a failure that nobody has asked for."""
        self._kernel.report(self.path, what, error)

    # As a tap ---------------------------------------------------------------------------

    def push(self, number: int, result: Any, ended: bool) -> None:
        """One result of item *number*, or `NO_RESULT`; *ended*: it was its last."""
        future = self._open.get(number)
        if future is None:
            return
        if result is not NO_RESULT:
            future.add(result)
        if ended:
            del self._open[number]
            self._arrive((future,))
            self._hand_out()

    def _settle(self, number: int) -> None:
        super()._settle(number)
        if self._ready:
            self._hand_out()
            self.on_taken()

    def _hand_out(self) -> None:
        while self._ready:
            self._ready.popleft().finish()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        super().close(error)
        left, self._open = self._open, {}
        self._lose(left.values(), error)

    def forsake(self) -> None:
        """What is not on disk by now will not be."""
        left = [future for _, future in self._unsettled]
        super().forsake()
        self._lose(left, self.error)

    def _lose(self, futures: Iterable[Future[Any]], error: BaseException | None) -> None:
        for future in futures:
            lost = FutureCancelled(self.path, future.id, "its run has ended before it")
            lost.__cause__ = error
            future.fail(lost)


class _One:
    """One item as a source. Between the room that it is pulled for and its being accepted
    nobody else runs."""

    name = "submit()"
    total = 1

    def __init__(self, item: Any) -> None:
        self._items = [item]

    async def pull(self, most: int) -> list[Any]:
        if self._items:
            await trio.lowlevel.checkpoint_if_cancelled()
        items, self._items = self._items, []
        return items

    async def aclose(self) -> None:
        """Nothing is open."""
