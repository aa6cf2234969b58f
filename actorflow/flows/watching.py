"""Look at a run without touching it: frozen copies of its counts, stages and workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import trio

from actorflow.core.envelope import message_id
from actorflow.flows.ledger import Ledger
from actorflow.flows.results import Latency, RunStats, StageStats, WorkerState
from actorflow.runtime.kernel import Kernel
from actorflow.stages.build import StageCell

__all__ = ["run_stats", "show_progress", "stage_stats", "worker_states"]

logger = logging.getLogger("actorflow")

#: Seconds between two updates of a display.
REFRESH_SECONDS = 0.2


def run_stats(
    kernel: Kernel,
    ledger: Ledger,
    stages: Mapping[str, StageCell],
    elapsed: float,
    total: int | None,
) -> RunStats:
    """The run at this moment."""
    return RunStats(
        counts=ledger.counts(),
        stages={name: stage_stats(cell) for name, cell in stages.items()},
        elapsed=elapsed,
        total=total,
        errors=ledger.errors(),
        restarts=kernel.counters["restarts"],
    )


def stage_stats(stage: StageCell) -> StageStats:
    """One stage at this moment."""
    mailbox = stage.mailbox
    cells = stage.cells
    timed = sum(cell.latency_count for cell in cells)
    mean = sum(cell.latency_sum for cell in cells) / timed if timed else 0.0
    assert stage.target is not None
    return StageStats(
        received=mailbox.accepted,
        emitted=stage.target.accepted,
        failed=mailbox.failed,
        skipped=mailbox.skipped,
        retried=mailbox.retried,
        pending=len(mailbox),
        running=sum(cell.lease is not None for cell in cells),
        workers=stage.workers,
        latency=Latency(mean=mean, max=max((cell.latency_max for cell in cells), default=0.0)),
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
