"""The points at which a life may be killed, and where it was there."""

from __future__ import annotations

import random
from typing import Any, Literal

import attrs

from actorflow.testing.faults import Died, Fault, MainCancelled
from actorflow.testing.life import Mark

__all__ = ["Point", "point_at", "points_for", "points_of", "second_for"]

#: Where in a commit a process may die.
WHENS: tuple[Literal["before", "torn", "after"], ...] = ("before", "torn", "after")


@attrs.frozen
class Point:
    """A point, or the first one of a pair.

    Attributes:
        number: Among all.
        first: What happens there.
        pair: Which pair it begins, from 1; 0 if none.
    """

    number: int
    first: Fault
    pair: int = 0


def point_at(mark: Mark, when: Any, *, cancel: bool) -> Fault:
    """The point where a first life is; *when* says where in a commit."""
    if cancel:
        return MainCancelled(step=mark.step)
    return Died(commit=mark.commits, when=when) if when else Died(step=mark.step)


def points_of(steps: int, commits: int, life: int, *, cancel: bool) -> list[Fault]:
    """All points of one life of so many steps and commits."""
    if cancel:
        return [MainCancelled(step=step, life=life) for step in range(1, steps + 1)]
    return [
        *(Died(step=step, life=life) for step in range(1, steps + 1)),
        *(
            Died(commit=commit, when=when, life=life)
            for commit in range(1, commits + 1)
            for when in WHENS
        ),
    ]


def points_for(
    steps: int, commits: int, wanted: Literal["all"] | int, pairs: int, *, cancel: bool, seed: int
) -> list[Point]:
    """The points of a first life of so many steps and commits that are gone to."""
    draw = random.Random(f"{seed}/points")
    first = points_of(steps, commits, 1, cancel=cancel)
    chosen = first
    if wanted != "all" and wanted < len(first):
        chosen = [first[index] for index in sorted(draw.sample(range(len(first)), wanted))]
    found = [Point(number, each) for number, each in enumerate(chosen)]
    more = [Point(len(found) + pair, draw.choice(first), pair + 1) for pair in range(pairs)]
    return found + more


def second_for(pair: int, end: Mark, *, cancel: bool, seed: int) -> Fault:
    """The second point of a *pair*, in a life that comes to its *end* there if nothing happens."""
    draw = random.Random(f"{seed}/pair/{pair}")
    step = draw.randint(1, end.step)
    if cancel:
        return MainCancelled(step=step, life=2)
    if draw.randint(1, end.step + len(WHENS) * end.commits) <= end.step:
        return Died(step=step, life=2)
    return Died(commit=draw.randint(1, end.commits), when=draw.choice(WHENS), life=2)
