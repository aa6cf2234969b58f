"""What displays are given, and what a display is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

__all__ = ["Display", "ErrorCount", "RunStats", "StageStats", "WorkerState"]


class StageStats(Protocol):
    """How far one stage is. It may have `latency` too, with `p50` and `p99` in seconds."""

    @property
    def received(self) -> int: ...
    @property
    def emitted(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def retried(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def workers(self) -> int: ...


class WorkerState(Protocol):
    """What one worker does, and has done."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def item(self) -> str | None: ...
    @property
    def since(self) -> float | None: ...
    @property
    def status(self) -> str: ...
    @property
    def progress(self) -> tuple[float, float | None] | None: ...
    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def mean(self) -> float: ...


@runtime_checkable
class ErrorCount(Protocol):
    """How often one type of error ended a message in one stage, with one example."""

    @property
    def stage(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def example(self) -> str: ...


class RunStats(Protocol):
    """How far a run is, as of now.

    It may have more: `errors`, counted by stage and type, the most frequent first, or else the
    last ones last; `workers`, each as `WorkerState`, and the time `now` on the same clock;
    and `items`.
    """

    @property
    def counts(self) -> Mapping[str, int]:
        """Items ``fed``, ``done``, ``skipped``, ``dead`` and ``held``."""

    @property
    def stages(self) -> Mapping[str, StageStats]:
        """By name of the stage, in the order of the flow."""

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""

    @property
    def total(self) -> int | None:
        """Items there will be, if that is known."""


class Display(Protocol):
    """Anything that shows a run. After `on_start`, `on_finish` comes whatever happens.

    It is called in the run's own loop, five times a second at most, and must return at once. If
    it raises, that is logged and counted, and it gets `on_finish` and nothing else any more.
    It may say by a number `items` how many items it wants in the stats, which are the
    `RunStats` of a run.
    """

    def on_start(self, stats: Any, /) -> None:
        """The run begins."""

    def on_update(self, stats: Any, /) -> None:
        """The run got on; called as often as suits the run."""

    def on_finish(self, stats: Any, /) -> None:
        """The run has ended, well or not; leave the terminal as it was."""


def workers_of(stats: RunStats) -> Sequence[WorkerState]:
    """The workers, if the stats have them."""
    return getattr(stats, "workers", ())


def items_of(stats: RunStats) -> Sequence[Any]:
    """The items, if the stats have them."""
    return getattr(stats, "items", ())
