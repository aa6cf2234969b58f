"""How a run ended, in words for people and as one JSON object for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from actorflow.cli.drive import Outcome
from actorflow.cli.front import Code, one_line
from actorflow.flows.results import Report

__all__ = ["as_json", "as_text", "report_lines", "seconds", "status"]

#: Most kinds of errors that the words list; the JSON has them all.
ERRORS_SHOWN = 5

COUNTS = ("fed", "done", "skipped", "dead", "held")
COLUMNS = ("received", "emitted", "failed", "skipped", "retried")

_STATUS = {
    Code.DONE: "done",
    Code.FAILED: "failed",
    Code.DEAD_LETTERS: "done, with dead letters",
    Code.PARKED: "ended with work left",
    Code.INTERRUPTED: "interrupted",
}


def status(outcome: Outcome) -> str:
    """How it ended, in a few words."""
    words = _STATUS[outcome.code]
    if outcome.report is None:
        return f"{words} before it began"
    if outcome.again:
        return f"{words} before; nothing was run"
    if not outcome.read:
        last = f" (but to line {outcome.line:,})" if outcome.line else ""
        words += f"; the input was not read to its end{last}"
    if outcome.kept and outcome.code not in (Code.DONE, Code.DEAD_LETTERS):
        words += "; the same command goes on"
    return words


def as_text(flow: str, outcome: Outcome) -> str:
    """A short table."""
    report = outcome.report
    if report is None:
        return f"flow {one_line(flow)}: {status(outcome)}"
    title = f"flow {one_line(flow)}, run {one_line(report.run_id)}: {status(outcome)}"
    return "\n".join([title, *report_lines(report)])


def report_lines(report: Report) -> list[str]:
    """A report as a short table, for people."""
    ended = sum(report.counts[each] for each in ("done", "skipped", "dead"))
    rate = ended / report.duration if report.duration > 0 else 0.0
    lines = [
        "  ".join(f"{each} {report.counts[each]:,}" for each in COUNTS)
        + f"   {seconds(report.duration)}, {rate:,.0f} items/s"
        + (f", {report.restarts:,} restarts" if report.restarts else ""),
        "",
        *_table(report),
    ]
    if report.errors:
        lines += ["", *_errors(report)]
    return lines


def as_json(flow: str, outcome: Outcome) -> dict[str, Any]:
    """All there is to know, but for the dead letters themselves."""
    report, error = outcome.report, outcome.error
    known: dict[str, Any] = {
        "flow": flow,
        "exit_code": int(outcome.code),
        "status": _STATUS[outcome.code],
        "input_read": outcome.read,
        "input_line": outcome.line,
        "error": None if error is None else {"type": type(error).__name__, "text": str(error)},
    }
    if outcome.kept:
        known["finished_before"] = outcome.again
    if report is None:
        return known
    return known | {
        "run_id": report.run_id,
        "counts": dict(report.counts),
        "duration": report.duration,
        "restarts": report.restarts,
        "stages": {name: attrs.asdict(each) for name, each in report.stages.items()},
        "errors": [attrs.asdict(each) for each in report.errors],
    }


def seconds(duration: float) -> str:
    """A duration as people say it."""
    if duration < 60:
        return f"{duration:.1f} s" if duration >= 1 else f"{duration * 1000:.0f} ms"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes:,} min {rest} s"


def _table(report: Report) -> Iterable[str]:
    rows: list[tuple[str, ...]] = [("stage", *COLUMNS)]
    for name, stage in report.stages.items():
        rows.append((name, *(f"{getattr(stage, each):,}" for each in COLUMNS)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((row[0].ljust(widths[0]), *numbers))


def _errors(report: Report) -> Iterable[str]:
    shown = report.errors[:ERRORS_SHOWN]
    width = max(len(f"{each.count:,}") for each in shown)
    for each in shown:
        count = f"{each.count:,}".rjust(width)
        yield f"{count} x " + one_line(f"{each.stage}: {each.type}: {each.example}")
    if len(report.errors) > len(shown):
        yield f"and {len(report.errors) - len(shown)} other kinds of errors"
