"""Where generated plans get their choices from: a number of a range, the simplest one first.

The same generator serves a strategy of Hypothesis, which shrinks what it draws towards the
least numbers, and a seed, which draws thousands of plans a second.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from actorflow.errors import MissingExtra

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Draws", "Seeded", "chosen", "one_more", "perhaps", "strategy_of"]

T = TypeVar("T")


class Draws(Protocol):
    """Draws numbers."""

    def number(self, least: int, most: int) -> int:
        """A number from *least* to *most*, both included; *least* is the simplest."""
        ...

    def part(self, make: Callable[[], T]) -> T:
        """What *make* draws, as one part, which may be left out as a whole."""
        ...


class Seeded:
    """Draws by a seed."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def number(self, least: int, most: int) -> int:
        """A number from *least* to *most*."""
        return least + int(self._random.random() * (most - least + 1))

    def part(self, make: Callable[[], T]) -> T:
        """What *make* draws."""
        return make()


class _Drawn:
    """Draws what Hypothesis wants to see."""

    def __init__(self, draw: Callable[[Any], Any], strategies: Any) -> None:
        self._draw = draw
        self._strategies = strategies

    def number(self, least: int, most: int) -> int:
        """A number from *least* to *most*."""
        value: int = self._draw(self._strategies.integers(least, most))
        return value

    def part(self, make: Callable[[], T]) -> T:
        """What *make* draws, as a span that the shrinker may remove."""
        value: T = self._draw(self._strategies.builds(make))
        return value


def chosen(draws: Draws, choices: Sequence[T]) -> T:
    """One of *choices*, the first of which is the simplest."""
    return choices[draws.number(0, len(choices) - 1)]


def perhaps(draws: Draws, of: int = 2) -> bool:
    """Once of so many times; no is simpler than yes."""
    return draws.number(0, of - 1) == of - 1


def one_more(draws: Draws, of: int, make: Callable[[], T]) -> T | None:
    """What *make* makes, or once of so many times `None`, which is simpler: the end of a list."""
    return draws.part(lambda: make() if draws.number(0, of - 1) else None)


def strategy_of(feature: str, make: Callable[[Draws], T]) -> SearchStrategy[T]:
    """What *make* makes of its draws, as a strategy.

    Raises:
        MissingExtra: hypothesis is not installed, which *feature* needs.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingExtra(feature, "hypothesis", "test") from error

    @st.composite
    def drawn(draw: Callable[[Any], Any]) -> T:
        return make(_Drawn(draw, st))

    return drawn()
