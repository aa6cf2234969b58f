"""How long turns take: added up for each worker, and spread over a histogram of its stage.

    a turn ends ──► Timings of its worker: how many, seconds, longest
                      └── one in some ──► Histogram of the stage ──► percentiles

A bucket is 2.2 % wide, so what is told of a turn is off by 1.1 % at most. A turn that waits
is in the histogram as long as there are few: the first 256 of a stage, and all where it has
up to 1,000 a second. Of more, one in some is, at irregular steps, for all since the one
before; 1,000 a second, so that what is told as p50 is between p47 and p53 after a second,
as a rule, and nearer from then on.

Turns that never wait are too short to time each: one in up to 64 of a worker is, the
first after a look at the clock, and stands for all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from math import log2

__all__ = ["SAMPLED", "Histogram", "Timings", "merged", "percentiles"]

#: Of turns that go to the full commit, one in so many that did not wait is timed.
SAMPLED = 16

#: Buckets for a factor of 2, and the octaves below and above one second. What is shorter than
#: a microsecond is in the first bucket, what is longer than two hours in the last.
PER_OCTAVE, BELOW, ABOVE = 32, 20, 13
SIZE = PER_OCTAVE * (BELOW + ABOVE) + 1
LEAST, MOST = 2.0**-BELOW, 2.0**ABOVE

#: Samples of a stage up to which nothing is left out, and how many a second there may be then.
#: One costs as much as a tenth of a turn.
EXACT, PER_SECOND = 256, 1_000

#: Samples between two looks at how fast they come, and most turns from one to the next.
SPAN, WIDEST = 256, 256


class Histogram:
    """How often a turn took how long: 1,057 buckets, each 2.2 % wider than the one before.

    Attributes:
        counts: Turns in each bucket.
        total: Turns in all.
        gap: Turns of a worker from one sample to the next, on average.
    """

    __slots__ = ("_left", "_since", "counts", "gap", "total")

    def __init__(self) -> None:
        self.counts = [0] * SIZE
        self.total = 0
        self.gap = 1.0
        self._left = EXACT
        self._since = -math.inf

    def add(self, seconds: float, weight: int, now: float) -> None:
        """Count a turn that took *seconds* and has ended *now*; it stands for *weight* of them."""
        if LEAST <= seconds < MOST:
            self.counts[int((log2(seconds) + BELOW) * PER_OCTAVE) + 1] += weight
        else:
            self.counts[bucket(seconds)] += weight
        self.total += weight
        self._left -= 1
        if not self._left:
            self._pace(now)

    def _pace(self, now: float) -> None:
        """Set the gap by how fast the last samples came."""
        seconds, self._since, self._left = now - self._since, now, SPAN
        if seconds < math.inf:
            rate = SPAN / max(seconds, 1e-9)
            self.gap = min(max(self.gap * rate / PER_SECOND, 1.0), float(WIDEST))


def bucket(seconds: float) -> int:
    """Which one a time is in."""
    if seconds < LEAST:
        return 0
    return int((log2(seconds) + BELOW) * PER_OCTAVE) + 1 if seconds < MOST else SIZE - 1


def _middle(number: int) -> float:
    """The time that stands for all in a bucket."""
    return float(2.0 ** ((number - 0.5) / PER_OCTAVE - BELOW)) if number else 0.0


class Timings:
    """What one worker has done, and how long that took. `drive` and `burst` write into it.

    Args:
        waiting: The stage's histogram of turns that waited for something,
        quick: and of those that did not.

    Attributes:
        seconds: How long those took.
        longest: The longest turn that was timed.
        left: Turns up to the one that is the next sample.
        since: When the turn in progress waited first.
        looked: When the time was looked at before a turn that may be a sample.
        settled: Turns that ended well by the full commit, and
        inline: those by the fast branch that did not wait.
        slowly: Turns that waited and did not end well by the fast branch.
        plain: Turns that did not wait and were handed over to the full commit.
        sampled: Turns that did not wait and were timed.
        failed: Turns that failed, whatever became of the message.
        said: What the turn in progress says of itself: whose it is, text, done, total.
    """

    __slots__ = (
        "_chance",
        "_passed",
        "_quick",
        "_sampled_seconds",
        "_step",
        "_waited",
        "_waiting",
        "failed",
        "inline",
        "left",
        "longest",
        "looked",
        "plain",
        "said",
        "sampled",
        "seconds",
        "settled",
        "since",
        "slowly",
    )

    def __init__(self, waiting: Histogram, quick: Histogram) -> None:
        self._waiting = waiting
        self._quick = quick
        self.sampled = self._waited = 0
        self.seconds = self.longest = self._sampled_seconds = 0.0
        self.left = self._step = 1
        self._chance = self._passed = 0
        self.since = self.looked = -math.inf
        self.settled = self.inline = self.slowly = self.plain = self.failed = 0
        self.said: tuple[object, ...] | None = None

    def show(self, seconds: float, now: float) -> None:
        """The turn that has just ended is a sample: it took *seconds*."""
        waiting, step = self._waiting, self._step
        waiting.add(seconds, step, now)
        self._waited += step
        self._step = 1
        if waiting.gap > 1.0:  # From half to one and a half of it, lest it keeps step with items.
            self._chance = (self._chance * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            self._step = int(waiting.gap * (0.5 + self._chance / 0x80000000) + 0.5)
        self.left = self._step

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
        if not place and not self.plain % SAMPLED:
            self.sample(now)
        self.inline -= place
        self.plain += 1

    def sample(self, now: Callable[[], float]) -> None:
        """A turn that did not wait has ended, the first since the time was looked at; it may be
        a sample."""
        self._passed += 1
        if self._passed < self._quick.gap or self.looked <= self.since:
            return  # One is not due; or the burst went on from a turn that had waited.
        ended = now()
        seconds, self._passed = ended - self.looked, 0
        self.sampled += 1
        self._sampled_seconds += seconds
        if seconds > self.longest:
            self.longest = seconds
        self._quick.add(seconds, 1, ended)

    @property
    def done(self) -> int:
        """Turns that ended well."""
        return self.waited - self.slowly + self.inline + self.settled

    @property
    def waited(self) -> int:
        """Turns that waited and have ended."""
        return self._waited + self._step - self.left

    @property
    def quick(self) -> int:
        """Turns that ended without having waited."""
        return self.inline + self.plain

    @property
    def turns(self) -> int:
        """Turns that have ended, well or not."""
        return self.waited + self.quick

    @property
    def busy(self) -> float:
        """Seconds of all turns; those that did not wait count as their samples say."""
        if not self.sampled:
            return self.seconds
        mean = self._sampled_seconds / self.sampled
        return self.seconds + mean * max(self.quick, self.sampled)


def merged(
    waiting: Histogram, quick: Histogram, workers: Iterable[Timings]
) -> tuple[Sequence[float], float]:
    """The buckets of a stage and their sum; each kind of turn has the weight of all its turns."""
    if not quick.total:
        return waiting.counts, waiting.total
    if not waiting.total:
        return quick.counts, quick.total
    share = max(sum(each.quick for each in workers) / quick.total, 1.0)
    weights = [one + share * other for one, other in zip(waiting.counts, quick.counts, strict=True)]
    return weights, waiting.total + share * quick.total


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
