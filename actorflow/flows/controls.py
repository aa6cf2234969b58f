"""Watch a run and change it while it runs: the operator's panel of `Run`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import attrs
import trio

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.flows.keeper import Keeper
from actorflow.flows.ledger import Ledger
from actorflow.flows.looking import STATUSES, item_state, item_states
from actorflow.flows.results import ErrorSummary, ItemState, RunStats, WorkerState
from actorflow.flows.settings import RunSettings
from actorflow.flows.showing import show_progress, tell_stats
from actorflow.flows.watching import run_stats, worker_states
from actorflow.flows.wiring import Wiring
from actorflow.graph.plan import Plan
from actorflow.observe.history import ENDED, INSIDE, History
from actorflow.observe.observers import check_observer
from actorflow.runtime.kernel import Kernel
from actorflow.stages.build import StageCell

__all__ = ["Controls"]


class Controls:
    """What a live run shows, and what can be changed while it runs."""

    plan: Plan
    settings: RunSettings
    stages: dict[str, StageCell]
    _keeper: Keeper | None
    _kernel: Kernel
    _ledger: Ledger
    _error: BaseException | None
    _over: trio.Event
    _started: float
    _wiring: Wiring
    _telling: dict[int, trio.CancelScope] | None = None

    # Watching -------------------------------------------------------------------------

    def stats(self) -> RunStats:
        """The run at this moment, as a frozen copy."""
        kernel, total, keeper = self._kernel, self.settings.total, self._keeper
        if keeper is None:
            elapsed, timings = kernel.now() - self._started, {}
        else:
            elapsed, timings = keeper.elapsed(), keeper.timings
        return run_stats(kernel, self._ledger, self.stages, elapsed, total, timings)

    def figures(self, items: int = 0) -> RunStats:
        """`stats` for a display that wants to see so many items: the last ones of a `History`
        among the observers, or else some that are inside."""
        stats, kernel = self.stats(), self._kernel
        if not items:
            return stats
        histories = [each for each in kernel.observers if isinstance(each, History)]
        inside = self._items(() if histories else kernel.observers)
        seen = map(item_state, histories[0].last(items)) if histories else islice(inside, items)
        return attrs.evolve(stats, items=tuple(seen))

    def errors(self, *, failed: int = 100) -> ErrorSummary:
        """What ended messages: how many, by type and stage, with examples.

        Args:
            failed: How many of the last failed items to tell of.
        """
        most, ledger = options.count("errors() failed", failed, least=0), self._ledger
        return ledger.faults.summary(ledger.letters, ledger.dead_letters, most)

    def workers(self) -> tuple[WorkerState, ...]:
        """Every worker at this moment."""
        return worker_states(self.stages, self._ledger.ids)

    def items(self, status: str | None = None) -> tuple[ItemState, ...]:
        """Where every item is that is inside, piece by piece; read from the mailboxes.

        With a `History` among the observers also how those ended that it still knows.

        Args:
            status: Only those that are "waiting", "running" or "retrying"; with a `History` also
                those that have ended "done", "skipped" or "failed".

        Raises:
            ConfigurationError: There is no such status, or only a `History` knows of it.
        """
        observers = self._kernel.observers
        if status is not None:
            options.choice("items() status", status, STATUSES)
            if status in ENDED and not any(isinstance(each, History) for each in observers):
                wanted = f"one of {', '.join(map(repr, INSIDE))}; of items that have ended only a "
                wanted += "History knows, as in open(observers=[History()])"
                raise ConfigurationError("items() status", status, wanted)
        found = self._items(observers)
        return tuple(each for each in found if status is None or each.status == status)

    def _items(self, observers: Iterable[Any]) -> Iterator[ItemState]:
        gathers = self._wiring.gathers
        return item_states(self.stages, gathers, self._ledger.ids, observers)

    def snapshot(self) -> RunStats:
        """All of it at one moment: `stats`, with every worker and every item that is inside. A
        frozen copy."""
        return attrs.evolve(self.stats(), items=self.items())

    # Being watched --------------------------------------------------------------------

    def observe(self, observer: Any) -> None:
        """Tell *observer* what happens from now on."""
        check_observer("observe() observer", observer)
        self._kernel.observe(observer)
        if self._telling is not None and not self._over.is_set():
            self._tell_often(observer)

    def unobserve(self, observer: Any) -> None:
        """Tell *observer* nothing any more; one that is none is left alone."""
        self._kernel.unobserve(observer)
        scope = (self._telling or {}).pop(id(observer), None)
        if scope is not None:
            scope.cancel()

    def _start_watching(self) -> None:
        """The run has begun: start what keeps displays and logs up to date."""
        kernel, self._telling = self._kernel, {}
        if self.settings.display is not None:
            kernel.services.start_soon(show_progress, self, kernel, self.settings.display)
        for observer in kernel.observers:
            self._tell_often(observer)

    def _tell_often(self, observer: Any) -> None:
        """Give *observer* the figures every so often, if it wants them."""
        assert self._telling is not None
        if hasattr(observer, "on_stats"):
            scope = self._telling[id(observer)] = trio.CancelScope()
            self._kernel.services.start_soon(tell_stats, self, self._kernel, observer, scope)

    @property
    def failed(self) -> bool:
        """Whether the run could not go on; `finish` says why."""
        return self._error is not None

    @property
    def over(self) -> trio.Event:
        """Set when nothing is held any more after the input has ended, or the run has ended."""
        return self._over

    # Changing -------------------------------------------------------------------------

    async def pause(self, stage: str) -> None:
        """Let *stage* begin no more turns; those in progress go on."""
        mailbox = self._stage(stage).mailbox
        mailbox.paused, mailbox.quiet = True, False
        await trio.lowlevel.checkpoint()

    async def resume(self, stage: str) -> None:
        """Let *stage* go on."""
        mailbox = self._stage(stage).mailbox
        mailbox.paused = False
        mailbox.look_again()
        mailbox.wake_for_work()
        await trio.lowlevel.checkpoint()

    async def resize(self, stage: str, workers: int) -> None:
        """Give *stage* another number of workers; surplus ones end after their turn."""
        self._stage(stage).resize(workers)
        await trio.lowlevel.checkpoint()

    async def set_policy(self, stage: str, policy: object) -> None:
        """Put *policy* in the place of the one of its kind that *stage* has.

        Raises:
            ConfigurationError: The stage has no policy of that kind.
        """
        self._stage(stage).change(policy)
        await trio.lowlevel.checkpoint()

    def _stage(self, name: str) -> StageCell:
        return self.stages[self.plan.stage(name).name]
