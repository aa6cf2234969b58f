"""Write what each stage has done to a log, every so often and at the end.

12:00:00 INFO  fetch: in 1,204, out 1,180, failed 3, skipped 0, retried 17, waiting 12, ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from actorflow import options
from actorflow.errors import ConfigurationError

__all__ = ["FORMAT", "FlowLog"]

#: What a line says; `FlowLog` has the names.
FORMAT = (
    "{stage}: in {received:,}, out {emitted:,}, failed {failed:,}, skipped {skipped:,}, "
    "retried {retried:,}, waiting {pending:,}, running {running:,}, {latency}"
)

_COUNTS = ("received", "emitted", "failed", "skipped", "retried", "pending", "running", "workers")
_TIMES = ("mean", "max", "p50", "p95", "p99")


class Stats(Protocol):
    """What is needed of the figures of a run."""

    @property
    def run_id(self) -> str: ...
    @property
    def stages(self) -> Any: ...
    @property
    def elapsed(self) -> float: ...


class FlowLog:
    """An observer that logs one line per stage, every so often and when the run is over.

    It asks for no events, so a run with it is as fast as one without. Time is the run's own.

    Args:
        every: Seconds between two lines of a stage.
        level: Of the log records.
        logger: Where they go; ``actorflow.flow`` unless given.
        format: A line, as for `str.format`: ``stage``; ``received`` or ``in``, ``emitted`` or
            ``out``, ``failed`` or ``err``, ``skipped``, ``retried``, ``pending``, ``running``,
            ``workers``; ``mean``, ``max``, ``p50``, ``p95``, ``p99`` in seconds, and ``latency``
            for some of them in words; ``run`` and ``elapsed``.
        stages: Names of the stages to log; all by default.

    Raises:
        ConfigurationError: An option is out of range, or the format has a name that is none.
    """

    wants = ()

    def __init__(
        self,
        every: float = 60.0,
        *,
        level: int = logging.INFO,
        logger: logging.Logger | None = None,
        format: str = FORMAT,  # noqa: A002
        stages: Iterable[str] | None = None,
    ) -> None:
        self.every = options.positive("FlowLog.every", every)
        self.level = options.count("FlowLog.level", level, least=0)
        self._logger = logging.getLogger("actorflow.flow") if logger is None else logger
        self._format = _checked(format)
        if isinstance(stages, str):
            raise ConfigurationError("FlowLog.stages", stages, "a list of names of stages")
        self._stages = None if stages is None else tuple(stages)
        self._missed = False

    def on_event(self, event: object) -> None:
        """It wants none."""

    def on_stats(self, stats: Stats) -> None:
        """Log a line per stage."""
        known = stats.stages
        for name in known if self._stages is None else self._stages:
            if name in known:
                facts = _facts(name, known[name], stats.run_id, stats.elapsed)
                self._logger.log(self.level, "%s", self._format.format_map(facts))
            elif not self._missed:
                self._logger.warning("FlowLog: no stage %r; there are %s", name, ", ".join(known))
        self._missed = True


def _facts(name: str, stage: Any, run: str, elapsed: float) -> dict[str, Any]:
    facts = {count: getattr(stage, count) for count in _COUNTS}
    times = {each: getattr(stage.latency, each) or 0.0 for each in _TIMES}
    latency = f"p50 {_brief(times['p50'])}, p99 {_brief(times['p99'])}"
    known = {"stage": name, "run": run, "elapsed": elapsed, "latency": latency}
    short = {"in": stage.received, "out": stage.emitted, "err": stage.failed}
    return facts | times | known | short


def _brief(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.2g} ms"


def _checked(line: object) -> str:
    facts: dict[str, Any] = dict.fromkeys((*_COUNTS, "in", "out", "err"), 0)
    facts |= dict.fromkeys((*_TIMES, "elapsed"), 0.0)
    facts |= dict.fromkeys(("stage", "run", "latency"), "")
    try:
        assert isinstance(line, str)
        line.format_map(facts)
    except Exception:
        names = ", ".join(facts)
        wanted = f"a format for str.format with some of {names}"
        raise ConfigurationError("FlowLog.format", line, wanted) from None
    return line
