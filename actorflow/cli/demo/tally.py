"""What the demo knows of all files together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Slow", "Tally"]


class Slow(NamedTuple):
    """One file and how long it took."""

    seconds: float
    path: str
    lines: int
    tokens: int


class Tally:
    """Sums over files; one turn at a time adds to it, in the loop.

    Attributes:
        lines: Of all files.
        tokens: Of all files.
        names: How often each is used.
    """

    def __init__(self) -> None:
        self.lines = self.tokens = 0
        self.names: Counter[str] = Counter()
        self._files: list[Slow] = []

    def add(
        self, path: str, lines: int, tokens: int, names: Mapping[str, int], seconds: float
    ) -> None:
        """Count one file."""
        self.lines += lines
        self.tokens += tokens
        self.names.update(names)
        self._files.append(Slow(seconds, path, lines, tokens))

    def slowest(self, most: int) -> list[Slow]:
        """The files that took longest to tokenise."""
        return sorted(self._files, reverse=True)[:most]
