"""How long turns take: counted for one worker, spread over a histogram for its stage.

    a turn ends ──► Timings.times, a plain list ──► every 128: count, seconds, longest
                                                      └──► Histogram of the stage

A bucket is 2.2 % wide, so a percentile is off by 1.1 % at most, and nothing is kept of
single turns. To note a turn costs one append; the rest is paid once in 128 turns. Beyond
the first 1,024 turns of a stage the longest 8 of a batch are counted, and of the others
every 15th by length, for 15: what is told as p50 is then between p49 and p51.

Turns that never wait are too short to time each: one in up to 64 of a worker is, the
first after a look at the clock, and stands for all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from math import log2

__all__ = ["BATCH", "SAMPLED", "Histogram", "Timings", "merged", "percentiles"]

#: Times that are noted before they are folded into the figures.
BATCH = 128

#: Of turns that go to the full commit, one in so many that did not wait is timed.
SAMPLED = 16

#: Buckets for a factor of 2, and the octaves below and above one second. What is shorter than
#: a microsecond is in the first bucket, what is longer than two hours in the last.
PER_OCTAVE, BELOW, ABOVE = 32, 20, 13
SIZE = PER_OCTAVE * (BELOW + ABOVE) + 1
LEAST, MOST = 2.0**-BELOW, 2.0**ABOVE

#: Turns of a stage up to which each is in the histogram. Beyond it the `LONGEST` of a batch are,
#: and of the others one stands for `STEP`.
EXACT = 1_024
LONGEST, STEP = 8, 15


class Histogram:
    """How often a turn took how long: 1,057 buckets, each 2.2 % wider than the one before.

    Attributes:
        counts: Turns in each bucket.
        total: Turns in all.
    """

    __slots__ = ("_start", "counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * SIZE
        self.total = 0
        self._start = 0

    def add(self, times: Sequence[float]) -> None:
        """Count *times*, in seconds, the shortest first."""
        if self.total < EXACT:
            self._count(times, 1)
        else:  # A place in the order stands for its neighbours; each comes about in time.
            self._start = start = (self._start + 1) % STEP
            self._count(times[start:-LONGEST:STEP], STEP)
            self._count(times[-LONGEST:], 1)
        self.total += len(times)

    def _count(self, times: Sequence[float], weight: int) -> None:
        counts = self.counts
        if times and times[0] >= LEAST and times[-1] < MOST:  # As almost always.
            for seconds in times:
                counts[int((log2(seconds) + BELOW) * PER_OCTAVE) + 1] += weight
        else:
            for seconds in times:
                counts[bucket(seconds)] += weight


def bucket(seconds: float) -> int:
    """Which one a time is in."""
    if seconds < LEAST:
        return 0
    return int((log2(seconds) + BELOW) * PER_OCTAVE) + 1 if seconds < MOST else SIZE - 1


def _middle(number: int) -> float:
    """The time that stands for all in a bucket."""
    return float(2.0 ** ((number - 0.5) / PER_OCTAVE - BELOW)) if number else 0.0


class Timings:
    """What one worker has done, and how long that took.

    Args:
        waiting: The stage's histogram of turns that waited for something,
        quick: and of those that did not.

    Attributes:
        times: Seconds of turns that waited, not yet folded.
        samples: Seconds of some that did not, not yet folded.
        since: When the turn in progress waited first.
        looked: When the time was looked at before a turn that may be a sample.
        settled: Turns that ended well by the full commit, and
        inline: those by the fast branch that did not wait.
        slowly: Turns that waited and did not end well by the fast branch.
        plain: Turns that did not wait and were handed over to the full commit.
        failed: Turns that failed, whatever became of the message.
        said: What the turn in progress says of itself: whose it is, text, done, total.
    """

    __slots__ = (
        "_longest",
        "_quick",
        "_sampled",
        "_sampled_seconds",
        "_seconds",
        "_waited",
        "_waiting",
        "failed",
        "inline",
        "looked",
        "plain",
        "said",
        "samples",
        "settled",
        "since",
        "slowly",
        "times",
    )

    def __init__(self, waiting: Histogram, quick: Histogram) -> None:
        self._waiting = waiting
        self._quick = quick
        self.times: list[float] = []
        self.samples: list[float] = []
        self.since = self.looked = -math.inf
        self.settled = self.inline = self.slowly = self.plain = self.failed = 0
        self.said: tuple[object, ...] | None = None
        self._waited = self._sampled = 0
        self._seconds = self._sampled_seconds = self._longest = 0.0

    def fold(self) -> None:
        """Put the turns that waited into the figures."""
        times = self.times
        times.sort()
        self._waited += len(times)
        self._seconds += sum(times)
        self._longest = max(self._longest, times[-1])
        self._waiting.add(times)
        times.clear()

    def hand_over(self, place: int, now: Callable[[], float]) -> None:
        """A turn goes from the fast branch to the full commit, or from the handler.

        Args:
            place: 1 if it had waited; else minus the number of turns that the fast branch had
                committed before it.
            now: Reads the clock.
        """
        if place > 0:
            self.slowly += 1
            return
        if not place and not self.plain % SAMPLED and self.looked > self.since:
            self.sample(now() - self.looked)
        self.inline -= place
        self.plain += 1

    def sample(self, seconds: float) -> None:
        """A turn took so long that did not wait."""
        samples = self.samples
        samples.append(seconds)
        if len(samples) < BATCH:
            return
        samples.sort()
        self._sampled += len(samples)
        self._sampled_seconds += sum(samples)
        self._longest = max(self._longest, samples[-1])
        self._quick.add(samples)
        samples.clear()

    @property
    def done(self) -> int:
        """Turns that ended well."""
        return self.waited - self.slowly + self.inline + self.settled

    @property
    def waited(self) -> int:
        """Turns that waited and have ended."""
        return self._waited + len(self.times)

    @property
    def quick(self) -> int:
        """Turns that ended without having waited."""
        return self.inline + self.plain

    @property
    def sampled(self) -> int:
        """How many of those were timed."""
        return self._sampled + len(self.samples)

    @property
    def turns(self) -> int:
        """Turns that have ended, well or not."""
        return self.waited + self.quick

    @property
    def longest(self) -> float:
        """The longest turn that was timed, in seconds."""
        return max(self._longest, *self.times, *self.samples, 0.0)

    @property
    def seconds(self) -> float:
        """All turns together; those that did not wait count as their samples say."""
        waited, sampled = self._seconds + sum(self.times), self.sampled
        if not sampled:
            return waited
        mean = (self._sampled_seconds + sum(self.samples)) / sampled
        return waited + mean * max(self.quick, sampled)


def merged(
    waiting: Histogram, quick: Histogram, workers: Iterable[Timings]
) -> tuple[Sequence[float], float]:
    """The buckets of a stage and their sum; each kind of turn has the weight of all its turns."""
    weights: list[float] = list(waiting.counts)
    workers = tuple(workers)
    sampled = sum(each.sampled for each in workers)
    share = max(sum(each.quick for each in workers) / sampled, 1.0) if sampled else 0.0
    for number, count in enumerate(quick.counts if sampled else ()):
        if count:
            weights[number] += count * share
    for each in workers:
        for seconds in each.times:
            weights[bucket(seconds)] += 1.0
        for seconds in each.samples:
            weights[bucket(seconds)] += share
    return weights, math.fsum(weights)


def percentiles(
    weights: Sequence[float], total: float, longest: float, shares: Sequence[float]
) -> list[float]:
    """The times that *shares* of all turns do not exceed, in seconds; ascending shares."""
    if not total:
        return [0.0] * len(shares)
    found: list[float] = []
    sums = itertools.accumulate(weights)
    reached, number = next(sums), 0
    for share in shares:
        while reached < share * total and number < SIZE - 1:
            reached, number = next(sums), number + 1
        found.append(min(_middle(number), longest))
    return found
