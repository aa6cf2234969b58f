"""Tell in lines of text how far a run is, where nothing can be drawn."""

from __future__ import annotations

from typing import TextIO

from actorflow.observe.figures import Figures, Speed, clock
from actorflow.observe.shown import RunStats

__all__ = ["Lines"]

#: Seconds between two lines.
LINE_EVERY = 1.0


class Lines:
    """A line of text a second: for files, pipes and those who scroll."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._speed: Speed | None = None
        self._next = 0.0

    def on_start(self, stats: RunStats) -> None:
        """Note when the first line is due."""
        self._speed = Speed(stats)
        self._next = stats.elapsed + LINE_EVERY

    def on_update(self, stats: RunStats) -> None:
        """Write a line, if it is time to."""
        if self._speed is not None and stats.elapsed >= self._next:
            self._next = stats.elapsed + LINE_EVERY
            self._write(Figures(stats, self._speed.recent(stats)))

    def on_finish(self, stats: RunStats) -> None:
        """Write the last line."""
        if self._speed is not None:
            self._write(Figures(stats, self._speed.mean(stats)))

    def _write(self, now: Figures) -> None:
        parts = (clock(now.elapsed), now.share(), now.states, now.pace(), now.rest())
        self._stream.write("  ".join(filter(None, parts)) + "\n")
        self._stream.flush()
