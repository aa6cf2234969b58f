"""Watch a run and change it while it runs: the operator's panel of `Run`."""

from __future__ import annotations

import trio

from actorflow.flows.keeper import Keeper
from actorflow.flows.ledger import Ledger
from actorflow.flows.results import ErrorCount, RunStats, WorkerState
from actorflow.flows.settings import RunSettings
from actorflow.flows.watching import run_stats, worker_states
from actorflow.graph.plan import Plan
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

    # Watching -------------------------------------------------------------------------

    def stats(self) -> RunStats:
        """The run at this moment, as a frozen copy."""
        kernel, total, keeper = self._kernel, self.settings.total, self._keeper
        if keeper is None:
            elapsed, timings = kernel.now() - self._started, {}
        else:
            elapsed, timings = keeper.elapsed(), keeper.timings
        return run_stats(kernel, self._ledger, self.stages, elapsed, total, timings)

    def errors(self) -> tuple[ErrorCount, ...]:
        """What ended messages, by stage and type; the first 100 kinds."""
        return self._ledger.errors()

    def workers(self) -> tuple[WorkerState, ...]:
        """Every worker at this moment."""
        return worker_states(self.stages)

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
