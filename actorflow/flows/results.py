"""What a run hands out: one result per output, one per failed or skipped item; a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import attrs

from actorflow.core.letters import DeadLetter
from actorflow.errors import StageError, shown

__all__ = ["ErrorCount", "ItemResult", "Latency", "Report", "RunStats", "StageStats", "WorkerState"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class ItemResult(Generic[T]):
    """One output of an item, or the way the item ended without one.

    Attributes:
        id: Id of the fed item: its number from 0, or what `ids=` said.
        value: The output; `None` unless `ok`.
        error: What the handler raised in the last attempt, or `None`.
        attempts: Leases in the stage where it ended.
        stage: Name of that stage.
        status: "done", "failed" or "skipped".
        metadata: Facts that travelled with the item.
        timings: Seconds by name; ``total`` is from feeding to this result.
        traceback: The error's traceback as text.
        number: Place in the order of feeding.
    """

    id: Any
    value: T | None = None
    error: BaseException | None = None
    attempts: int = 0
    stage: str = ""
    status: Literal["done", "failed", "skipped"] = "done"
    metadata: Mapping[str, Any] = attrs.Factory(dict)
    timings: Mapping[str, float] = attrs.Factory(dict)
    traceback: str = ""
    number: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.status == "done"

    def stage_error(self) -> StageError:
        """How a failed item is told to whoever called for it; the handler's error is the cause."""
        detail = "given up" if self.error is None else shown(self.error)
        error = StageError(self.stage, self.id, self.attempts, detail)
        error.__cause__ = self.error
        return error


@attrs.frozen(kw_only=True)
class Latency:
    """Seconds in the handler, of the turns that suspended; queue time is apart."""

    mean: float = 0.0
    max: float = 0.0


@attrs.frozen(kw_only=True)
class StageStats:
    """One stage at one moment; all but `pending`, `running` and `workers` count since the start."""

    received: int
    emitted: int
    failed: int
    skipped: int
    retried: int
    pending: int
    running: int
    workers: int
    latency: Latency


@attrs.frozen(kw_only=True)
class WorkerState:
    """One worker at one moment.

    Attributes:
        name: Path of the worker.
        state: "idle", "busy", "stuck" or "down".
        item: Id of the message it works on, or `None`.
        incarnation: Which one; the first is 1.
    """

    name: str
    state: str
    item: str | None
    incarnation: int


@attrs.frozen(kw_only=True)
class ErrorCount:
    """How often an error of one type ended a message in one stage, with one example."""

    stage: str
    type: str
    count: int
    example: str


@attrs.frozen(kw_only=True)
class RunStats:
    """A run at one moment: a frozen copy that nothing changes any more.

    Attributes:
        counts: fed, done, skipped, dead, held.
        stages: By name.
        elapsed: Seconds since the start.
        total: Items there will be, if that is known.
        errors: By stage and type, the first 100.
        restarts: Workers restarted.
    """

    counts: Mapping[str, int]
    stages: Mapping[str, StageStats]
    elapsed: float
    total: int | None
    errors: tuple[ErrorCount, ...]
    restarts: int


@attrs.frozen(kw_only=True)
class Report:
    """How a run ended.

    Attributes:
        run_id: Id of the run.
        counts: fed, done, skipped, dead, held; ``fed = done + skipped + dead + held``.
        duration: Seconds.
        stages: By name.
        errors: By stage and type, the first 100.
        dead: The dead letters, at most `max_dead`.
        restarts: Workers restarted.
    """

    run_id: str
    counts: Mapping[str, int]
    duration: float
    stages: Mapping[str, StageStats]
    errors: tuple[ErrorCount, ...]
    dead: tuple[DeadLetter, ...]
    restarts: int = 0
