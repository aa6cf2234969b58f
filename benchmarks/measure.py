"""Ask a question: every side in a fresh process, side by side, several times over.

    round 1: ours, peer, peer      round 2: peer, peer, ours      ...

One side after the other within a round, so that what the machine does meanwhile
hits all alike; every other round runs backwards, so that a drift cancels out.

Beside a peer, medians count: a ratio is taken within each round, and the one in the
middle is printed, with the figures in the middle of each side. Alone, against a target
of its own, a rate is that of the best round, as noise can only hurt it, and a memory
or a share of the processor that of the worst, as it is a bound.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping

import attrs

from benchmarks.question import Figure, Question, Side

__all__ = ["Answer", "SideFailed", "ask"]

#: Longest time one side may take for one round, in seconds.
PATIENCE = 1800.0

#: Fewest items a side is given, whatever its share.
LEAST_ITEMS = 10


class SideFailed(Exception):
    """A side ended with an error, which is most likely a wrong answer."""


@attrs.frozen
class Answer:
    """What the sides of one question said.

    Attributes:
        question: The question.
        items: The load of our side.
        rounds: For each side that ran, by name, its figures of every round.
        missing: The peers that are not installed.
    """

    question: Question
    items: int
    rounds: Mapping[str, list[Mapping[str, float]]]
    missing: tuple[Side, ...]

    def extreme(self, side: str, figure: Figure) -> float | None:
        """Of a rate the best round of *side*, of a bound the worst; `None` if it has none."""
        return max(self._all(side, figure), default=None)

    def middle(self, side: str, figure: Figure) -> float | None:
        """The round in the middle, or `None` if *side* has no such figure."""
        found = self._all(side, figure)
        return statistics.median(found) if found else None

    def _all(self, side: str, figure: Figure) -> list[float]:
        return [each[figure.key] for each in self.rounds.get(side, []) if figure.key in each]

    def ratio(self, peer: str, figure: Figure) -> float | None:
        """How many times *peer* ours is: the median of the rounds' own ratios."""
        pairs = zip(self.rounds[self.question.ours.name], self.rounds.get(peer, []), strict=False)
        found = [
            ours[figure.key] / theirs[figure.key] for ours, theirs in pairs if theirs[figure.key]
        ]
        return statistics.median(found) if found else None


def ask(
    question: Question,
    *,
    quick: bool = False,
    rounds: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Answer:
    """Run all sides of *question* that are installed.

    Args:
        question: The question.
        quick: Take the small load, and fewer rounds.
        rounds: How often, instead of what the question says.
        tell: Told what runs, for people who wait.

    Raises:
        SideFailed: A side gave a wrong answer, or none.
    """
    items = question.quick_items if quick else question.items
    times = rounds or (min(question.rounds, 3) if quick else question.rounds)
    sides = [each for each in question.sides if each.present]
    found: dict[str, list[Mapping[str, float]]] = {each.name: [] for each in sides}
    for number, order in enumerate(_orders(sides, times), start=1):
        for side in order:
            tell(f"{question.name}, round {number} of {times}: {side.name}")
            found[side.name].append(_in_a_fresh_process(question, side, items))
    missing = tuple(each for each in question.peers if not each.present)
    return Answer(question, items, found, missing)


def _orders(sides: list[Side], times: int) -> Iterator[list[Side]]:
    for number in range(times):
        yield sides if number % 2 == 0 else sides[::-1]


def _in_a_fresh_process(question: Question, side: Side, items: int) -> Mapping[str, float]:
    load = max(LEAST_ITEMS, int(items * side.share))
    command = [sys.executable, "-m", "benchmarks.side", question.name, side.name, str(load)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if ended.returncode:
        raise SideFailed(f"{question.name}: {side.name} failed:\n{ended.stderr}")
    figures: Mapping[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return figures
