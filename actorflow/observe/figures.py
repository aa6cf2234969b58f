"""The numbers of a run as people say them: how much of it is done, how fast, how long yet."""

from __future__ import annotations

from collections import deque

from actorflow.observe.shown import RunStats

__all__ = ["Figures", "Speed", "brief", "clock", "ended", "printable"]

#: Seconds over which the speed is measured: what was before says nothing about now.
SPEED_OVER = 10.0

#: Most characters of anybody's text on one line.
TEXT_WIDTH = 200


class Speed:
    """Items per second, counted from when the display began: a run may have been resumed."""

    def __init__(self, stats: RunStats) -> None:
        self._first = (stats.elapsed, ended(stats))
        self._marks = deque([self._first])

    def recent(self, stats: RunStats) -> float:
        """Over the last `SPEED_OVER` seconds."""
        now = (stats.elapsed, ended(stats))
        self._marks.append(now)
        while len(self._marks) > 2 and self._marks[1][0] <= stats.elapsed - SPEED_OVER:
            self._marks.popleft()
        return _slope(self._marks[0], now)

    def mean(self, stats: RunStats) -> float:
        """Over the whole run."""
        return _slope(self._first, (stats.elapsed, ended(stats)))


def _slope(before: tuple[float, int], now: tuple[float, int]) -> float:
    return (now[1] - before[1]) / (now[0] - before[0]) if now[0] > before[0] else 0.0


def ended(stats: RunStats) -> int:
    """Items that have ended, well or not."""
    return stats.counts["done"] + stats.counts["skipped"] + stats.counts["dead"]


class Figures:
    """The numbers of one moment, in words."""

    def __init__(self, stats: RunStats, rate: float) -> None:
        counts = stats.counts
        self.elapsed = stats.elapsed
        self.ended = ended(stats)
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
        return f"eta {clock((self.total - self.ended) / self.rate)}" if self.rate > 0 else "eta -"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def brief(seconds: float | None) -> str:
    """A short time."""
    if seconds is None:
        return "-"
    if seconds >= 100:
        return clock(seconds)
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.2f} ms"


def printable(text: str) -> str:
    """*text* on one line, with nothing in it that a terminal would obey."""
    cut = text[:TEXT_WIDTH]
    return "".join(letter if letter.isprintable() else " " for letter in cut)
