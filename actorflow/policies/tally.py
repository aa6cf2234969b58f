"""When has something failed too often? Three ways to count.

    Streak    so many failures in a row
    Recent    so many failures within the last *window* seconds
    Share     so great a share of the calls within the last *window* seconds

Each is told of every outcome and answers whether that was one too many. Each is
bounded: `Recent` keeps as many times as it takes to decide, `Share` counts calls
in slices of the window, so a million calls a second cost what ten do.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

__all__ = ["SLICES", "Recent", "Share", "Streak", "Tally"]

#: Parts into which `Share` cuts its window. A call is forgotten up to one part early:
#: a twentieth of the window, at twenty pairs of numbers per circuit.
SLICES: Final = 20


class Tally(Protocol):
    """A count of outcomes that knows its limit."""

    def count(self, now: float, ok: bool) -> bool:
        """Count an outcome, and say whether the limit is reached."""

    def clear(self) -> None:
        """Forget everything."""

    def quiet(self, now: float) -> bool:
        """Whether it is as good as new."""

    def dump(self, now: float) -> Any:
        """What was counted, as plain values; times as ages."""

    def load(self, state: Any, now: float, elapsed: float) -> None:
        """Go on from *state*, dumped *elapsed* seconds ago."""


class Streak:
    """At the limit after *threshold* failures in a row; one success starts anew."""

    __slots__ = ("failures", "threshold")

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self.failures = 0

    def count(self, now: float, ok: bool) -> bool:
        self.failures = 0 if ok else self.failures + 1
        return self.failures >= self.threshold

    def clear(self) -> None:
        self.failures = 0

    def quiet(self, now: float) -> bool:
        return self.failures == 0

    def dump(self, now: float) -> Any:
        return self.failures

    def load(self, state: Any, now: float, elapsed: float) -> None:
        # A threshold lowered meanwhile must not be passed before the next failure.
        self.failures = min(int(state), self.threshold - 1)


class Recent:
    """At the limit when *threshold* failures lie within *window* seconds, ends included."""

    __slots__ = ("_times", "threshold", "window")

    def __init__(self, threshold: int, window: float) -> None:
        self.threshold = threshold
        self.window = window
        # The last *threshold* failures decide alone: if they span more than the window, no
        # earlier one can help.
        self._times: deque[float] = deque(maxlen=threshold)

    def count(self, now: float, ok: bool) -> bool:
        if ok:
            return False
        times = self._times
        times.append(now)
        return len(times) == self.threshold and now - times[0] <= self.window

    def clear(self) -> None:
        self._times.clear()

    def quiet(self, now: float) -> bool:
        return not self._times or now - self._times[-1] > self.window

    def dump(self, now: float) -> Any:
        return [now - time for time in self._times]

    def load(self, state: Any, now: float, elapsed: float) -> None:
        self._times = deque((now - age - elapsed for age in state), maxlen=self.threshold)


class Share:
    """At the limit when *rate* of at least *least* calls within *window* seconds failed."""

    __slots__ = ("_calls", "_failures", "_slice", "_slices", "least", "rate")

    def __init__(self, least: int, window: float, rate: float) -> None:
        self.least = least
        self.rate = rate
        self._slice = window / SLICES
        self._slices: deque[list[int]] = deque()  # [number, calls, failures], oldest first
        self._calls = self._failures = 0

    def count(self, now: float, ok: bool) -> bool:
        number = int(now // self._slice)
        self._forget(number)
        self._add(number, 1, 0 if ok else 1)
        # Divided, not multiplied: 7 of 100 is 0.07, but 0.07 * 100 is more than 7.
        return self._calls >= self.least and self._failures / self._calls >= self.rate

    def clear(self) -> None:
        self._slices.clear()
        self._calls = self._failures = 0

    def quiet(self, now: float) -> bool:
        return not self._slices or self._slices[-1][0] <= int(now // self._slice) - SLICES

    def dump(self, now: float) -> Any:
        # A slice's middle: then rounding cannot move it into its neighbour.
        return [[now - (n + 0.5) * self._slice, calls, bad] for n, calls, bad in self._slices]

    def load(self, state: Any, now: float, elapsed: float) -> None:
        self.clear()
        for age, calls, failures in state:
            self._add(int((now - age - elapsed) // self._slice), calls, failures)

    def _add(self, number: int, calls: int, failures: int) -> None:
        if not self._slices or self._slices[-1][0] != number:
            self._slices.append([number, 0, 0])
        newest = self._slices[-1]
        newest[1] += calls
        newest[2] += failures
        self._calls += calls
        self._failures += failures

    def _forget(self, number: int) -> None:
        slices = self._slices
        while slices and slices[0][0] <= number - SLICES:
            _, calls, failures = slices.popleft()
            self._calls -= calls
            self._failures -= failures
