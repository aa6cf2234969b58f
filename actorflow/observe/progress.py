"""Show people how far a run is: a bar, a panel, tables, or a line a second.

    stats of the run ──► make_display(progress) ──► on_start · on_update · on_finish

    bar       one line, and what became of the items
    compact   a panel: the bar, busy workers, speed, time left, what became of the items
    detailed  the bar, a table of the stages with latencies, a table of the workers
    full      a panel, both tables, the errors, the last items

A display is a guest: it draws on a terminal only, it starts no thread and reads no
clock (time is the run's own), and whoever calls it goes on if it raises. To draw takes 2 to
20 ms, in which the loop stands still: so a bar is drawn ten times a second at most and
tables twice, and of many workers and items a few are shown. Only this file knows rich, and
imports it when something is really drawn.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.observe.figures import Figures, Speed, brief, clock, printable
from actorflow.observe.lines import Lines
from actorflow.observe.shown import (
    Display,
    ErrorCount,
    RunStats,
    StageStats,
    WorkerState,
    items_of,
    workers_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

__all__ = ["LEVELS", "Display", "RunStats", "StageStats", "make_display"]

#: The displays that come with us, from a little to a lot.
LEVELS = ("compact", "bar", "detailed", "full")

#: Seconds between two drawings: a bar that moves faster is not seen, a table not read.
DRAW_EVERY: Mapping[str, float] = {"bar": 0.1, "compact": 0.1, "detailed": 0.5, "full": 0.5}

#: How many errors, workers and items are shown.
ERRORS, WORKERS, ITEMS = 5, 20, 20

#: Most characters of an id, and of what a worker says of itself.
ID_WIDTH, STATUS_WIDTH = 20, 40

STAGE_COLUMNS = (
    "received",
    "emitted",
    "failed",
    "skipped",
    "retried",
    "pending",
)


def make_display(progress: object, *, stream: TextIO | None = None) -> Display | None:
    """The display for what a caller wrote as `progress=`; `None` shows nothing.

    Args:
        progress: `None` or `False` for none; `True` or ``"bar"``; ``"compact"`` for a panel with
            the bar, busy workers and what became of the items; ``"detailed"`` for tables of
            the stages and the workers; ``"full"`` for the last errors and items too; or an
            object with `on_start`, `on_update` and `on_finish`, which each get the stats of
            the run.
        stream: Where to show it; standard error unless given. If that is no terminal,
            ``"compact"`` writes a line of text a second, and all others show nothing.

    Raises:
        ConfigurationError: *progress* is none of these.
    """
    if progress is None or progress is False:
        return None
    level = "bar" if progress is True else progress
    if not isinstance(level, str):
        return _own_display(level)
    options.choice("progress", level, LEVELS)
    stream = sys.stderr if stream is None else stream
    if _is_terminal(stream):
        return _Drawing(stream, level)
    return Lines(stream) if level == "compact" and _is_open(stream) else None


def _own_display(display: object) -> Display:
    for name in ("on_start", "on_update", "on_finish"):
        method = getattr(display, name, None)
        unfit = isinstance(display, type) or inspect.iscoroutinefunction(method)
        if unfit or not callable(method):
            levels = ", ".join(map(repr, LEVELS))
            wanted = f"True, {levels}, or an object with plain methods on_start, on_update"
            raise ConfigurationError("progress", display, f"{wanted} and on_finish")
    return cast(Display, display)


def _is_open(stream: TextIO | None) -> bool:
    """Whether anything can be written there."""
    try:
        return stream is not None and not stream.closed and stream.writable()
    except (AttributeError, ValueError):  # A stand-in.
        return False


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # A stand-in, or closed.
        return False


class _Drawing:
    """A display that draws over itself.

    Args:
        stream: The terminal.
        level: "bar", "compact", "detailed" or "full".

    Attributes:
        items: How many items it wants to see.
    """

    def __init__(self, stream: TextIO, level: str) -> None:
        self.items = ITEMS if level == "full" else 0
        self._stream = stream
        self._level = level
        self._speed: Speed | None = None
        self._next = 0.0
        self._live: Live | None = None

    def on_start(self, stats: RunStats) -> None:
        from rich.console import Console
        from rich.live import Live

        self._speed = Speed(stats)
        self._next = stats.elapsed + DRAW_EVERY[self._level]
        self._live = Live(
            self._drawing(stats, 0.0),
            console=Console(file=self._stream),
            auto_refresh=False,
            # What handlers print on the same terminal goes above the bar. What they print
            # into a pipe or file stays theirs.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        self._live.start(refresh=True)

    def on_update(self, stats: RunStats) -> None:
        if self._live is None or self._speed is None or stats.elapsed < self._next:
            return
        self._next = stats.elapsed + DRAW_EVERY[self._level]
        self._live.update(self._drawing(stats, self._speed.recent(stats)), refresh=True)

    def on_finish(self, stats: RunStats) -> None:
        live, self._live = self._live, None
        if live is None or self._speed is None:
            return
        try:
            live.update(self._drawing(stats, self._speed.mean(stats)))
        finally:
            live.stop()  # Draws once more, shows the cursor, gives the streams back.

    def _drawing(self, stats: RunStats, rate: float) -> RenderableType:
        from rich.console import Group

        now, level = Figures(stats, rate), self._level
        if level == "bar":
            return Group(*_bar(now))
        if level == "compact":
            return _panel(now, stats)
        parts: list[RenderableType] = [_panel(now, stats)] if level == "full" else _bar(now)
        parts.append(_stage_table(stats.stages))
        workers = workers_of(stats)
        if workers:
            parts += _worker_table(workers, getattr(stats, "now", 0.0))
        if level == "full":
            parts += _last_errors(getattr(stats, "errors", ()))
            items = items_of(stats)
            if items:
                parts.append(_item_table(items))
        return Group(*parts)


def _bar(now: Figures) -> list[RenderableType]:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(
        total=now.total,
        completed=now.ended,
        width=30,
        pulse=now.total is None,
        animation_time=now.elapsed,
    )
    line.add_row(bar, *map(Text, (now.share(), now.pace(), clock(now.elapsed), now.rest())))
    return [line, Text(now.states)]


def _panel(now: Figures, stats: RunStats) -> RenderableType:
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    stages = stats.stages.values()
    busy = sum(each.running for each in stages)
    words = f"workers {busy:,}/{sum(each.workers for each in stages):,} busy"
    retried = sum(each.retried for each in stages)
    if retried:
        words += f"  retries {retried:,}"
    return Panel(Group(*_bar(now), Text(words)), expand=False)


def _table(*columns: str, texts: int = 1) -> Table:
    """An empty table, of which the first *texts* columns are words and the others numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for number, column in enumerate(columns):
        if number == 0:
            table.add_column(column)  # The one that gives way where the terminal is narrow.
        else:
            table.add_column(column, justify="left" if number < texts else "right", no_wrap=True)
    return table


def _stage_table(stages: Mapping[str, StageStats]) -> Table:
    table = _table("stage", *STAGE_COLUMNS, "busy", "p50", "p99")
    for name, stage in stages.items():
        counts = (f"{getattr(stage, column):,}" for column in STAGE_COLUMNS)
        latency = getattr(stage, "latency", None)
        times = (brief(getattr(latency, each, None)) for each in ("p50", "p99"))
        table.add_row(_cut(name), *counts, f"{stage.running:,}/{stage.workers:,}", *times)
    return table


def _worker_table(workers: Sequence[WorkerState], now: float) -> list[RenderableType]:
    """Those that work first, then the others, as many as there is room for."""
    from rich.text import Text

    order = sorted(workers, key=lambda each: each.state == "idle")
    table = _table("worker", "state", "item", "doing", "done", "failed", "mean", texts=4)
    for each in order[:WORKERS]:
        state = each.state
        if each.item is not None and each.since is not None:
            state += f" {brief(max(now - each.since, 0.0))}"
        words = (state, (each.item or "")[:ID_WIDTH], _doing(each))
        cells = [Text(printable(word)) for word in words]
        numbers = (f"{each.done:,}", f"{each.failed:,}", brief(each.mean))
        table.add_row(_cut(each.name), *cells, *numbers)
    rest = len(workers) - WORKERS
    more = [Text(f"and {rest:,} other workers")] if rest > 0 else []
    return [Text(""), table, *more]


def _doing(worker: WorkerState) -> str:
    """What it says of itself."""
    words = worker.status[:STATUS_WIDTH]
    if worker.progress is not None:
        done, total = worker.progress
        words += f" {done:,g}" if total is None else f" {done:,g}/{total:,g}"
    return words.strip()


def _item_table(items: Iterable[Any]) -> Table:
    table = _table("item", "status", "stage", "attempt", texts=3)
    for each in items:
        table.add_row(
            _cut(str(each.id)[:ID_WIDTH]), each.status, _cut(each.stage), str(each.attempt)
        )
    return table


def _cut(text: str) -> RenderableType:
    from rich.text import Text

    return Text(printable(text), no_wrap=True, overflow="ellipsis")


def _last_errors(errors: Iterable[Any] | Mapping[Any, Any]) -> list[RenderableType]:
    from rich.text import Text

    if isinstance(errors, Mapping):
        errors = [f"{key}: {value}" for key, value in errors.items()]
    known = list(errors)
    counted = bool(known) and isinstance(known[0], ErrorCount)
    shown = known[:ERRORS] if counted else known[-ERRORS:]
    return [
        Text(printable(_in_words(error)), style="red", no_wrap=True, overflow="ellipsis")
        for error in shown
    ]


def _in_words(error: object) -> str:
    if isinstance(error, ErrorCount):
        return f"{error.count:,} x {error.stage}: {error.type}: {error.example}"
    return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
