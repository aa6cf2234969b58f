"""What happened in a simulation, step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, overload

import attrs

__all__ = ["Event", "Trace"]


@attrs.frozen
class Event:
    """One thing that happened.

    Attributes:
        life: The process it happened in, from 1; a system that is killed lives again.
        step: The step of the scheduler, from 1 in each life.
        at: Virtual seconds since that life began.
        what: The path of the task whose step it is, or what the store or the laboratory did.
    """

    life: int
    step: int
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.life}.{self.step} {self.at:.6f} {self.what}"


class Trace(Sequence[Event]):
    """The events of a simulation, in order."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, float, str]] = []
        self.add = self._rows.append

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [Event(*row) for row in self._rows[index]]
        return Event(*self._rows[index])

    def __iter__(self) -> Iterator[Event]:
        return (Event(*row) for row in self._rows)

    @property
    def digest(self) -> str:
        """One number for all of it: two simulations with the same one went the same way."""
        lines = "\n".join(map(repr, self._rows))
        return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()

    def __repr__(self) -> str:
        return f"Trace({len(self)} events, {self.digest})"
