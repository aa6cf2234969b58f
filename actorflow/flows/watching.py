"""Look at a run without touching it: frozen copies of its counts, stages and workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from actorflow.core.envelope import message_id
from actorflow.flows.ledger import Ledger
from actorflow.flows.results import Latency, RunStats, StageStats, WorkerState
from actorflow.runtime.kernel import Kernel
from actorflow.stages.build import StageCell

__all__ = ["Timing", "run_stats", "show_progress", "stage_stats", "timing_of", "worker_states"]

logger = logging.getLogger("actorflow")

#: Seconds between two updates of a display.
REFRESH_SECONDS = 0.2


@attrs.frozen
class Timing:
    """How long the turns of one stage took, those that suspended.

    Attributes:
        turns: How many.
        seconds: All together.
        longest: The longest of them, in seconds.
    """

    turns: int = 0
    seconds: float = 0.0
    longest: float = 0.0

    def __add__(self, other: Timing) -> Timing:
        longest = max(self.longest, other.longest)
        return Timing(self.turns + other.turns, self.seconds + other.seconds, longest)

    def latency(self) -> Latency:
        """As a report has it."""
        mean = self.seconds / self.turns if self.turns else 0.0
        return Latency(mean=mean, max=self.longest)


def timing_of(stage: StageCell) -> Timing:
    """What *stage* has measured in this part of its run."""
    return Timing(
        sum(cell.latency_count for cell in stage.cells),
        sum(cell.latency_sum for cell in stage.cells),
        max((cell.latency_max for cell in stage.cells), default=0.0),
    )


def run_stats(
    kernel: Kernel,
    ledger: Ledger,
    stages: Mapping[str, StageCell],
    elapsed: float,
    total: int | None,
    timings: Mapping[str, Timing],
) -> RunStats:
    """The run at this moment.

    Args:
        kernel: Its services.
        ledger: Its account.
        stages: Its stages.
        elapsed: Seconds since it began, in all its parts.
        total: Items there will be, if that is known.
        timings: What the stages measured in its earlier parts.
    """
    return RunStats(
        counts=ledger.counts(),
        stages={
            name: stage_stats(cell, timings.get(name, Timing())) for name, cell in stages.items()
        },
        elapsed=elapsed,
        total=total,
        errors=ledger.errors(),
        restarts=kernel.counters["restarts"],
    )


def stage_stats(stage: StageCell, before: Timing) -> StageStats:
    """One stage at this moment; *before* is what it measured in earlier parts of the run."""
    mailbox = stage.mailbox
    assert stage.target is not None
    return StageStats(
        received=mailbox.accepted,
        emitted=stage.target.accepted,
        failed=mailbox.failed,
        skipped=mailbox.skipped,
        retried=mailbox.retried,
        pending=len(mailbox),
        running=sum(cell.lease is not None for cell in stage.cells),
        workers=stage.workers,
        latency=(before + timing_of(stage)).latency(),
    )


def worker_states(stages: Mapping[str, StageCell]) -> tuple[WorkerState, ...]:
    """Every worker of every stage at this moment."""
    return tuple(state for stage in stages.values() for state in stage.each_worker(_worker_state))


def _worker_state(cell: Any) -> WorkerState:
    if cell.stuck is not None:
        state = "stuck"
    elif cell.lease is not None:
        state = "busy"
    else:
        state = "down" if cell.task is None else "idle"
    item = None if cell.lease is None else message_id(cell.lease)
    return WorkerState(name=cell.path, state=state, item=item, incarnation=cell.incarnation)


@trio.lowlevel.enable_ki_protection
async def show_progress(run: Any, display: Any) -> None:
    """Keep *display* up to date until the run is over; one that fails is left alone."""
    show = display.on_start
    try:
        while _shown(show, run.stats()):
            show = display.on_update
            with trio.move_on_after(REFRESH_SECONDS):
                await run.over.wait()
                break
    finally:
        _shown(display.on_finish, run.stats())


def _shown(show: Callable[[RunStats], None], stats: RunStats) -> bool:
    """Whether the display took *stats*; whatever it raises is no affair of the run."""
    try:
        show(stats)
    except BaseException:
        logger.exception("the progress display failed and is left alone")
        return False
    return True
