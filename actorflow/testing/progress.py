"""How far an exploration has come, told now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

import attrs

__all__ = ["CrashProgress", "Tell", "Teller", "on_terminal"]

#: Least seconds between two updates but the last.
EVERY = 0.5


@attrs.frozen(kw_only=True)
class CrashProgress:
    """How far `crash_points` has come.

    Attributes:
        explored: Points that were gone to,
        points: of so many.
        violations: So far.
        seconds: Real ones since it began.
    """

    explored: int
    points: int
    violations: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"crash points: {self.explored:,} of {self.points:,}, "
            f"{self.violations:,} violations, {self.seconds:.0f} s"
        )


Tell: TypeAlias = Callable[[CrashProgress], object]


class Teller:
    """Tells somebody, but not often.

    Args:
        points: How many there are.
        tell: Who is told; `None` for a line on stderr if that is a terminal.
        clock: Real seconds.
    """

    def __init__(
        self, points: int, tell: Tell | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = on_terminal() if tell is None else tell
        self._clock = clock
        self._began = self._told = clock()
        self._points = points
        self._explored = self._violations = 0

    def went(self, points: int, violations: int) -> None:
        """So many more *points* were explored, which have found so many *violations*."""
        self._explored += points
        self._violations += violations
        now = self._clock()
        if self._tell is None or (now - self._told < EVERY and self._explored < self._points):
            return
        self._told = now
        self._tell(
            CrashProgress(
                explored=self._explored,
                points=self._points,
                violations=self._violations,
                seconds=now - self._began,
            )
        )


def on_terminal() -> Tell | None:
    """What writes one line on stderr over and over; `None` if nobody would see it."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return None

    def write(progress: CrashProgress) -> None:
        end = "\n" if progress.explored == progress.points else ""
        stream.write(f"\r{progress}\x1b[K{end}")
        stream.flush()

    return write
