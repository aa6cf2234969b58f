"""Give items to a run one by one, each with a future of what will come of it.

submit ──► Feeder ──► the run ──► ledger ──► Desk ──► Future
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.errors import NotRunningError
from actorflow.flows.awaiting import as_completed, wait
from actorflow.flows.desk import Desk
from actorflow.flows.endings import Endings
from actorflow.flows.futures import Future
from actorflow.flows.taps import Tap
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox

__all__ = ["Submitting"]

#: Dead letters that an executor keeps for its report; others are counted.
LETTERS_KEPT = 100


class Submitting(Endings):
    """What a run does with single items."""

    _feedable: Callable[[str | None, int], Mailbox]
    _feed: Callable[..., Awaitable[bool]]
    _taken: Callable[[], None]
    _desk: Desk | None = None

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

    # For the standing run of a flow ------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """Its services."""
        return self._kernel

    def add_tap(self, tap: Tap) -> None:
        """Give *tap* all results from now on, and the end of each item."""
        tap.on_taken = self._taken
        self._ledger.followed = True
        self._ledger.taps = (*self._ledger.taps, tap)

    async def take_in(self, item: Any, noted: Callable[[Envelope], None]) -> None:
        """Feed *item* when there is room for it; *noted* is told of its message right before.

        Raises:
            NotRunningError: The run has ended, or ends while this waits.
        """
        target = self._feedable(None, DEFAULT_PRIORITY)
        fed = self._feeder.feed_at_once([item], target, DEFAULT_PRIORITY, None, noted)
        if fed is None:
            fed = []
            await self._feed(_One(item), target, DEFAULT_PRIORITY, None, fed, None, noted)
        if not fed:
            raise NotRunningError(f"run {self.run_id} ended while invoke() waited for room")

    # For the executor and it -------------------------------------------------------------

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

    def _own_desk(self) -> Desk:
        if self._desk is None:
            many = any(each.many for each in self.plan.stages)
            desk = self._desk = Desk(
                self.plan.exits[0],
                kernel=self._kernel,
                stages=self.stages,
                many=many,
                refuse=self.refuse_inside,
                on_taken=self._taken,
            )
            self._ledger.taps = (*self._ledger.taps, desk)
            self._ledger.followed = True
        return self._desk

    async def _settle(self) -> None:
        """Have what a future waits for on the disk, too, while there is somebody to bring it."""
        await super()._settle()
        waits = self._desk is not None and self._desk.waits()
        if waits and self._keeper is not None and self._error is None:
            await self._keeper.flush()

    def _tree_ended(self) -> None:
        super()._tree_ended()
        if self._desk is not None:
            self._desk.forsake()


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
