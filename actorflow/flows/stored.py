"""How results and reports are written into a store, and read back.

An error is kept as its type, text and traceback: what a class of the user's own would
make of bytes from a file is nobody's business.
"""

from __future__ import annotations

from typing import Any

from actorflow.core.letters import DeadLetter
from actorflow.durability.letters import text_of
from actorflow.flows.results import ErrorCount, ItemResult, Latency, Report, StageStats
from actorflow.wire.codec import decode, encode

__all__ = ["pack_report", "read_report", "stored_result"]


def stored_result(result: ItemResult[Any]) -> bytes:
    """A result as it is stored; an error as its type and text."""
    return encode(
        {
            "id": result.id,
            "value": result.value,
            "error": None if result.error is None else _error(result.error),
            "attempts": result.attempts,
            "stage": result.stage,
            "status": result.status,
            "metadata": dict(result.metadata),
            "timings": dict(result.timings),
            "traceback": result.traceback,
            "number": result.number,
        }
    )


def _error(error: BaseException) -> list[str]:
    return [type(error).__name__, text_of(error)]


def pack_report(report: Report) -> bytes:
    """A report without its dead letters, which are rows."""
    return encode(
        {
            "counts": dict(report.counts),
            "duration": report.duration,
            "restarts": report.restarts,
            "errors": [[e.stage, e.type, e.count, e.example] for e in report.errors],
            "stages": {
                name: [
                    each.received,
                    each.emitted,
                    each.failed,
                    each.skipped,
                    each.retried,
                    each.pending,
                    each.running,
                    each.workers,
                    each.latency.mean,
                    each.latency.max,
                ]
                for name, each in report.stages.items()
            },
        }
    )


def read_report(run_id: str, data: bytes, dead: tuple[DeadLetter, ...]) -> Report:
    """What `pack_report` wrote, with the dead letters."""
    found = decode(data, max_bytes=None)
    names = ("received", "emitted", "failed", "skipped", "retried", "pending", "running", "workers")
    stages = {
        name: StageStats(
            **dict(zip(names, figures, strict=False)),
            latency=Latency(mean=figures[8], max=figures[9]),
        )
        for name, figures in found["stages"].items()
    }
    errors = tuple(
        ErrorCount(stage=stage, type=kind, count=count, example=example)
        for stage, kind, count, example in found["errors"]
    )
    return Report(
        run_id=run_id,
        counts=found["counts"],
        duration=found["duration"],
        stages=stages,
        errors=errors,
        dead=dead,
        restarts=found["restarts"],
    )
