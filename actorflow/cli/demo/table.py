"""What the demo found, as tables that fit a terminal of 80 columns."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Any

import attrs
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from actorflow.cli.demo.tally import Tally
from actorflow.cli.demo.work import NotPython
from actorflow.cli.drive import Outcome
from actorflow.cli.front import in_words, one_line
from actorflow.cli.summary import seconds, status
from actorflow.core.letters import DeadLetter
from actorflow.flows.results import Report

__all__ = ["Facts", "facts_form", "show"]

#: Slow files, common names and failures that are listed.
SLOWEST, NAMES, FAILURES = 5, 6, 30

#: Most characters of a path beside figures.
PATH_WIDTH = 44

STAGE_COLUMNS = ("workers", "received", "emitted", "failed", "retried")

#: Of every table.
LOOK: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False}


@attrs.frozen
class Facts:
    """What the command knows and the report does not.

    Attributes:
        root: The directory whose files these are.
        files: How many were taken.
        left_out: How many were not.
        output: Where the lines of output are.
        library: Whether *root* is the standard library.
    """

    root: str
    files: int
    left_out: int
    output: str
    library: bool


def facts_form(facts: Facts, tally: Tally) -> dict[str, Any]:
    """What JSON has of the demo beside the report."""
    return {
        "root": facts.root,
        "files": facts.files,
        "left_out": facts.left_out,
        "output": facts.output,
        "lines": tally.lines,
        "tokens": tally.tokens,
        "names": len(tally.names),
    }


def show(console: Console, outcome: Outcome, facts: Facts, tally: Tally) -> None:
    """Print it all."""
    report = outcome.report
    if report is None:
        console.print(Text(f"actorflow demo: {status(outcome)}"))
        return
    parts = (_stages(report), _slowest(tally), _failures(report))
    console.print(Text(f"\n{_title(outcome, facts)}\n", style="bold"))
    console.print(_facts(report, facts, tally))
    for title, part in zip(("stages", "slowest files", "what failed, and why"), parts, strict=True):
        console.print(Text(f"\n{title}", style="bold"))
        console.print(part)


def _title(outcome: Outcome, facts: Facts) -> str:
    what = f"the standard library of Python {platform.python_version()}"
    return one_line(f"{what if facts.library else facts.root}: {status(outcome)}")


def _facts(report: Report, facts: Facts, tally: Tally) -> Table:
    counts = report.counts
    ended = counts["done"] + counts["skipped"] + counts["dead"]
    rate = ended / report.duration if report.duration > 0 else 0.0
    common = ", ".join(f"{name} {n:,}" for name, n in tally.names.most_common(NAMES))
    left = f"{facts.left_out:,} left out (--files all takes them)" if facts.left_out else "all"
    retried = sum(each.retried for each in report.stages.values())
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan")
    grid.add_column()
    rows = {
        "files": f"{facts.files:,}, {left}",
        "items": "  ".join(f"{name} {n:,}" for name, n in counts.items()),
        "lines": f"{tally.lines:,}",
        "tokens": f"{tally.tokens:,}",
        "names": f"{len(tally.names):,} different; {common}",
        "time": f"{seconds(report.duration)}, {rate:,.0f} files/s",
        "crashes": f"{report.restarts:,} workers restarted, {retried:,} attempts repeated",
        "output": f"{facts.output}, one JSON line per file",
    }
    for name, value in rows.items():
        grid.add_row(name, Text(one_line(value)))
    return grid


def _stages(report: Report) -> Table:
    timed = any(each.latency.mean for each in report.stages.values())
    table = _table("stage", *STAGE_COLUMNS, *(("mean",) if timed else ()))
    for name, stage in report.stages.items():
        numbers = [f"{getattr(stage, each):,}" for each in STAGE_COLUMNS]
        if timed:
            numbers.append(_brief(stage.latency.mean))
        table.add_row(name, *numbers)
    return table


def _slowest(tally: Tally) -> RenderableType:
    slowest = tally.slowest(SLOWEST)
    if not slowest:
        return Text("none")
    table = _table("file", "lines", "tokens", "tokenised in")
    for each in slowest:
        table.add_row(
            Text(_end_of(each.path)), f"{each.lines:,}", f"{each.tokens:,}", _brief(each.seconds)
        )
    return table


def _end_of(path: str) -> str:
    path = one_line(path)
    return path if len(path) <= PATH_WIDTH else f"…{path[1 - PATH_WIDTH :]}"


def _failures(report: Report) -> RenderableType:
    if not report.dead:
        return Text("none")
    table = Table(**LOOK)
    table.add_column("stage", no_wrap=True)
    table.add_column("file, and its error", overflow="fold")
    for letter in sorted(report.dead, key=_path)[:FAILURES]:
        what = Text.assemble(_path(letter), "\n", (_why(letter), "red"))
        table.add_row(letter.stage_or_actor, what)
    if len(report.dead) <= FAILURES:
        return table
    more = f"and {len(report.dead) - FAILURES:,} more; of all:"
    return Group(table, Text(more), *_kinds(report))


def _why(letter: DeadLetter) -> str:
    error = letter.error
    if error is None:
        return letter.reason
    return one_line(str(error)) if isinstance(error, NotPython) else in_words(error)


def _kinds(report: Report) -> Iterable[Text]:
    for each in report.errors:
        yield Text(one_line(f"{each.count:,} x {each.stage}: {each.type}, such as {each.example}"))


def _path(letter: DeadLetter) -> str:
    return one_line(letter.body["path"])


def _table(first: str, *others: str) -> Table:
    table = Table(**LOOK)
    table.add_column(first, no_wrap=True)
    for each in others:
        table.add_column(each, justify="right", no_wrap=True)
    return table


def _brief(duration: float) -> str:
    return f"{duration * 1000:,.1f} ms" if duration < 1 else f"{duration:,.2f} s"
