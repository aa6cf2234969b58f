"""Show people how far a run is: a bar, a line a second, or a table of its stages.

    stats of the run ──► make_display(progress) ──► on_start · on_update · on_finish

A display is a guest: it is shown on a terminal only, it starts no thread and reads no
clock (time is the run's own), and whoever calls it goes on if it raises. Only this file
knows rich, and imports it when a bar is really shown.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast, runtime_checkable

from actorflow import options
from actorflow.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table

__all__ = ["LEVELS", "Display", "RunStats", "StageStats", "make_display"]

#: The displays that come with us, from a little to a lot.
LEVELS = ("compact", "bar", "detailed", "full")

#: Seconds between two drawings of a bar: faster is not seen, and each costs about 2 ms.
DRAW_EVERY = 0.1

#: Seconds between two lines of the compact display.
LINE_EVERY = 1.0

#: Seconds over which the speed is measured: what was before says nothing about now.
SPEED_OVER = 10.0

#: How many errors the full display shows, and how much of each.
ERRORS, ERROR_WIDTH = 5, 200

STAGE_COLUMNS = (
    "received",
    "emitted",
    "failed",
    "skipped",
    "retried",
    "pending",
    "running",
    "workers",
)


class StageStats(Protocol):
    """How far one stage is."""

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
    """How far a run is, as of now. It may have `errors` too: counted by stage and type, the
    most frequent first, or else the last ones last."""

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
    """Anything that shows a run. After `on_start`, `on_finish` comes whatever happens."""

    def on_start(self, stats: RunStats) -> None:
        """The run begins."""

    def on_update(self, stats: RunStats) -> None:
        """The run got on; called as often as suits the run."""

    def on_finish(self, stats: RunStats) -> None:
        """The run has ended, well or not; leave the terminal as it was."""


def make_display(progress: object, *, stream: TextIO | None = None) -> Display | None:
    """The display for what a caller wrote as `progress=`; `None` shows nothing.

    Args:
        progress: `None` or `False` for none; `True` or ``"bar"``; ``"compact"`` for a line
            of text a second; ``"detailed"`` for a table of the stages below the bar;
            ``"full"`` for errors below that; or an object with `on_start`,
            `on_update` and `on_finish`, which each get the stats of the run.
        stream: Where to show it; standard error unless given. If that is no terminal,
            `True` and the names show nothing.

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
    if not _is_terminal(stream):
        return None
    return _Lines(stream) if level == "compact" else _Bar(stream, level)


def _own_display(display: object) -> Display:
    for name in ("on_start", "on_update", "on_finish"):
        method = getattr(display, name, None)
        unfit = isinstance(display, type) or inspect.iscoroutinefunction(method)
        if unfit or not callable(method):
            levels = ", ".join(map(repr, LEVELS))
            wanted = f"True, {levels}, or an object with plain methods on_start, on_update"
            raise ConfigurationError("progress", display, f"{wanted} and on_finish")
    return cast(Display, display)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # A stand-in, or closed.
        return False


class _Speed:
    """Items per second, counted from when the display began: a run may have been resumed."""

    def __init__(self, stats: RunStats) -> None:
        self._first = (stats.elapsed, _ended(stats))
        self._marks = deque([self._first])

    def recent(self, stats: RunStats) -> float:
        """Over the last `SPEED_OVER` seconds."""
        now = (stats.elapsed, _ended(stats))
        self._marks.append(now)
        while len(self._marks) > 2 and self._marks[1][0] <= stats.elapsed - SPEED_OVER:
            self._marks.popleft()
        return _slope(self._marks[0], now)

    def mean(self, stats: RunStats) -> float:
        """Over the whole run."""
        return _slope(self._first, (stats.elapsed, _ended(stats)))


def _slope(before: tuple[float, int], now: tuple[float, int]) -> float:
    return (now[1] - before[1]) / (now[0] - before[0]) if now[0] > before[0] else 0.0


def _ended(stats: RunStats) -> int:
    return stats.counts["done"] + stats.counts["skipped"] + stats.counts["dead"]


class _Figures:
    """The numbers of one moment, in words."""

    def __init__(self, stats: RunStats, rate: float) -> None:
        counts = stats.counts
        self.elapsed = stats.elapsed
        self.ended = _ended(stats)
        self.total = None if stats.total is None else max(stats.total, self.ended)
        self.rate = rate
        self.states = "  ".join(
            f"{name} {counts[name]:,}" for name in ("fed", "done", "skipped", "dead", "held")
        )

    def share(self) -> str:
        """How much of the whole has ended."""
        if self.total is None:
            return f"{self.ended:,}"
        percent = 100 * self.ended // self.total if self.total else 100
        return f"{self.ended:,}/{self.total:,} {percent} %"

    def pace(self) -> str:
        """Items per second."""
        return f"{self.rate:,.0f}/s" if self.rate >= 10 else f"{self.rate:.1f}/s"

    def rest(self) -> str:
        """How long the rest will take at this pace, if that can be said."""
        if self.total is None or self.ended >= self.total:
            return ""
        return f"eta {_clock((self.total - self.ended) / self.rate)}" if self.rate > 0 else "eta -"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class _Lines:
    """A line of text a second: for terminals that cannot draw, and for those who scroll."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._speed: _Speed | None = None
        self._next = 0.0

    def on_start(self, stats: RunStats) -> None:
        self._speed = _Speed(stats)
        self._next = stats.elapsed + LINE_EVERY

    def on_update(self, stats: RunStats) -> None:
        if self._speed is not None and stats.elapsed >= self._next:
            self._next = stats.elapsed + LINE_EVERY
            self._write(_Figures(stats, self._speed.recent(stats)))

    def on_finish(self, stats: RunStats) -> None:
        if self._speed is not None:
            self._write(_Figures(stats, self._speed.mean(stats)))

    def _write(self, now: _Figures) -> None:
        parts = (_clock(now.elapsed), now.share(), now.states, now.pace(), now.rest())
        self._stream.write("  ".join(filter(None, parts)) + "\n")
        self._stream.flush()


class _Bar:
    """A bar, with a table of the stages and the last errors below it if asked for."""

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._level = level
        self._speed: _Speed | None = None
        self._next = 0.0
        self._live: Live | None = None

    def on_start(self, stats: RunStats) -> None:
        from rich.console import Console
        from rich.live import Live

        self._speed = _Speed(stats)
        self._next = stats.elapsed + DRAW_EVERY
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
        self._next = stats.elapsed + DRAW_EVERY
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

        parts: list[RenderableType] = _bar(_Figures(stats, rate))
        if self._level in ("detailed", "full"):
            parts.append(_stage_table(stats.stages))
        if self._level == "full":
            parts.extend(_last_errors(getattr(stats, "errors", ())))
        return Group(*parts)


def _bar(now: _Figures) -> list[RenderableType]:
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
    line.add_row(bar, *map(Text, (now.share(), now.pace(), _clock(now.elapsed), now.rest())))
    return [line, Text(now.states)]


def _stage_table(stages: Mapping[str, StageStats]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("stage")  # The one that gives way where the terminal is narrow.
    for column in STAGE_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, stage in stages.items():
        numbers = (f"{getattr(stage, column):,}" for column in STAGE_COLUMNS)
        table.add_row(Text(_printable(name), no_wrap=True, overflow="ellipsis"), *numbers)
    return table


def _last_errors(errors: Iterable[Any] | Mapping[Any, Any]) -> list[RenderableType]:
    from rich.text import Text

    if isinstance(errors, Mapping):
        errors = [f"{key}: {value}" for key, value in errors.items()]
    known = list(errors)
    counted = bool(known) and isinstance(known[0], ErrorCount)
    shown = known[:ERRORS] if counted else known[-ERRORS:]
    return [
        Text(_printable(_in_words(error)), style="red", no_wrap=True, overflow="ellipsis")
        for error in shown
    ]


def _in_words(error: object) -> str:
    if isinstance(error, ErrorCount):
        return f"{error.count:,} x {error.stage}: {error.type}: {error.example}"
    return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)


def _printable(text: str) -> str:
    """*text* on one line, with nothing in it that a terminal would obey."""
    cut = text[:ERROR_WIDTH]
    return "".join(letter if letter.isprintable() else " " for letter in cut)
