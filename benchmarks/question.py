"""What a benchmark file declares: questions, the sides that answer them, the targets.

    Question ── ours, peers ──► Side ── run(items) ──► {"rate": 343_000.0, ...}
        └────── figures ──────► Figure ── targets ──► Target(must, reach, over)

These are values. A side builds its load, runs it, checks the answer and returns its
figures by name; how often, in which process and in which order is not its business.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

import attrs

__all__ = ["Figure", "Question", "Side", "Target", "WrongAnswer", "checked"]


class WrongAnswer(Exception):
    """A side was fast, perhaps, but wrong; its figures count for nothing."""


def checked(what: str, expected: object, found: object) -> None:
    """Raise `WrongAnswer` unless *found* is what was *expected*."""
    if expected != found:
        raise WrongAnswer(f"{what}: expected {expected!r:.100}, got {found!r:.100}")


@attrs.frozen(kw_only=True)
class Side:
    """One way of doing the work.

    Attributes:
        name: What the table calls it.
        run: Does it for so many items; answers its figures by name.
        needs: The module it cannot do without; `None`: nothing that we do not need anyway.
        share: The part of the items that it is given: one that is slow gets fewer, where the
            figure is per item anyway.
    """

    name: str
    run: Callable[[int], Mapping[str, float]]
    needs: str | None = None
    share: float = 1.0

    @property
    def present(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


@attrs.frozen(kw_only=True)
class Target:
    """What a figure must reach, and what we reach for.

    Attributes:
        must: The bound that counts, if there is one.
        reach: The one we would like, if there is one.
        over: The peer that the bound is a multiple of; `None`: it bounds the figure itself.
    """

    must: float | None = None
    reach: float | None = None
    over: str | None = None


@attrs.frozen(kw_only=True)
class Figure:
    """One number of a question: a line of the table for each peer that has it too.

    Attributes:
        key: Its name in what `Side.run` answers.
        title: Its name in the table.
        unit: Its unit in the table.
        least: Whether less is better. Then the worst round counts: it is a bound.
        targets: What it is held against; none: it only informs.
    """

    key: str
    title: str
    unit: str
    least: bool = False
    targets: tuple[Target, ...] = ()

    def target(self, over: str | None) -> Target | None:
        """The target against the peer *over*, or the one for the figure itself."""
        return next((each for each in self.targets if each.over == over), None)


@attrs.frozen(kw_only=True)
class Question:
    """One question, asked of ours and of every peer with the same load.

    Attributes:
        name: What the command line calls it.
        ours: Our side.
        peers: The others; may be none.
        figures: What is read off a run.
        items: The load.
        quick_items: The load of a quick look.
        rounds: How often each side runs, one after the other within a round.
        warm: Whether a tenth of the load runs unmeasured first. Not where memory is weighed.
    """

    name: str
    ours: Side
    figures: tuple[Figure, ...]
    items: int
    quick_items: int
    peers: tuple[Side, ...] = ()
    rounds: int = 5
    warm: bool = True

    @property
    def sides(self) -> tuple[Side, ...]:
        """Ours first."""
        return (self.ours, *self.peers)
