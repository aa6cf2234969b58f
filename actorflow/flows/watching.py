"""Look at a run without touching it: frozen copies of its counts, stages and workers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.core.envelope import message_id
from actorflow.core.timings import Timings, merged, percentiles
from actorflow.flows.ledger import Ledger
from actorflow.flows.results import Latency, RunStats, StageStats, WorkerState
from actorflow.runtime.burst import SLICE_SECONDS
from actorflow.runtime.kernel import Kernel
from actorflow.stages.build import StageCell

__all__ = ["Timing", "run_stats", "stage_stats", "timing_of", "worker_states"]


@attrs.frozen
class Timing:
    """How long the turns of one stage took.

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

    def mean(self) -> float:
        """Of one turn."""
        return self.seconds / self.turns if self.turns else 0.0


def timing_of(stage: StageCell) -> Timing:
    """What *stage* has measured in this part of its run."""
    workers = _works(stage)
    turns = sum(each.waited + (each.quick if each.sampled else 0) for each in workers)
    longest = max((each.longest for each in workers), default=0.0)
    return Timing(turns, sum(each.busy for each in workers), longest)


def _works(stage: StageCell) -> list[Timings]:
    return [cell.work for cell in stage.cells if cell.work is not None]


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
        run_id=kernel.run_id,
        counts=ledger.counts(),
        stages={
            name: stage_stats(cell, timings.get(name, Timing())) for name, cell in stages.items()
        },
        elapsed=elapsed,
        total=total,
        errors=ledger.errors(),
        restarts=kernel.counters["restarts"],
        observer_failures=kernel.counters["observer_errors"],
        hook_failures=kernel.counters["hook_errors"],
        workers=worker_states(stages, ledger.ids),
        now=kernel.now(),
    )


def stage_stats(stage: StageCell, before: Timing) -> StageStats:
    """One stage at this moment; *before* is what it measured in earlier parts of the run."""
    mailbox = stage.mailbox
    assert stage.target is not None
    return StageStats(
        received=mailbox.accepted - stage.parts,
        emitted=stage.emitted,
        failed=mailbox.failed,
        skipped=mailbox.skipped,
        retried=mailbox.retried,
        pending=len(mailbox),
        running=sum(cell.lease is not None for cell in stage.cells),
        workers=stage.workers,
        latency=_latency(stage, before),
    )


def _latency(stage: StageCell, before: Timing) -> Latency:
    now = timing_of(stage)
    both = before + now
    weights, total = merged(stage.waiting, stage.quick, _works(stage))
    p50, p95, p99 = percentiles(weights, total, now.longest, (0.5, 0.95, 0.99))
    return Latency(mean=both.mean(), max=both.longest, p50=p50, p95=p95, p99=p99)


def worker_states(
    stages: Mapping[str, StageCell], ids: Mapping[int, Any]
) -> tuple[WorkerState, ...]:
    """Every worker of every stage at this moment; *ids* are those that callers gave."""
    look = functools.partial(_worker_state, ids)
    return tuple(state for stage in stages.values() for state in stage.each_worker(look))


def _worker_state(ids: Mapping[int, Any], cell: Any) -> WorkerState:
    if cell.stuck is not None:
        state = "stuck"
    elif cell.lease is not None:
        state = "busy"
    else:
        state = "down" if cell.task is None else "idle"
    lease, work = cell.lease, cell.work
    status, progress = _said(cell)
    active = _last_active(cell)
    since = active if active is None or lease is None else max(active, work.since)
    return WorkerState(
        name=cell.path,
        state=state,
        item=None if lease is None else str(ids.get(lease.root, lease.root)),
        message_id=None if lease is None else message_id(lease),
        incarnation=cell.incarnation,
        stage=cell.mailbox.path.rpartition("/")[2],
        attempt=0 if lease is None else lease.attempt,
        since=since,
        status=status,
        progress=progress,
        done=work.done,
        failed=work.failed,
        busy=work.busy,
        mean=work.busy / work.turns if work.turns else 0.0,
        last_active=since if lease is not None else active,
    )


def _said(cell: Any) -> tuple[str, tuple[float, float | None] | None]:
    """What the turn in progress says of itself."""
    lease, said = cell.lease, cell.work.said
    if lease is None or said is None or said[:3] != (lease.root, lease.path, lease.attempt):
        return "", None
    _, _, _, text, done, total = said
    return text, None if done is None else (done, total)


def _last_active(cell: Any) -> float | None:
    """When the time was last looked at for a turn of *cell*: the slice ends so much later."""
    if not cell.work.turns and cell.lease is None:
        return None
    looked: float = round(cell.slice_ends - SLICE_SECONDS, 6)
    return max(looked, 0.0)
