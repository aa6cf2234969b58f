"""What the outside was told and has seen: written down by `main`, kept over all deaths.

    world.history.acknowledge("order 7")     somebody was told that this is accepted
    world.history.complete("order 7")        it has come to its end
    world.history.effect("charge 7")         something was done to the world outside

What is acknowledged must be complete in the end, and nothing may be done twice. What `feed`
and `tell` acknowledge in a durable run or system is written down by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator

import attrs

__all__ = ["History", "Noted"]


@attrs.frozen
class Noted:
    """One line of a history.

    Attributes:
        life: In which life of the system.
        at: Virtual seconds since that life began.
        kind: "acknowledged", "completed", "effect", or "fed" and "told" for what `feed` and
            `tell` acknowledged, and "deleted" for a run that was deleted.
        key: Of what.
        count: How much: items of a feed; the number of the last message of a tell.
    """

    life: int
    at: float
    kind: str
    key: Hashable
    count: int = 1


class History:
    """The lines, in order.

    Args:
        when: Which life this is, and how far it has come.
    """

    def __init__(self, when: Callable[[], tuple[int, float]]) -> None:
        self._when = when
        self._lines: list[Noted] = []

    def acknowledge(self, key: Hashable) -> None:
        """Somebody outside was told that *key* is accepted: it may not be lost."""
        self._note("acknowledged", key)

    def complete(self, key: Hashable) -> None:
        """*key* has come to its end."""
        self._note("completed", key)

    def effect(self, key: Hashable) -> None:
        """Something was done to the world outside that must be done once for each *key*."""
        self._note("effect", key)

    def __iter__(self) -> Iterator[Noted]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def broken(self) -> list[str]:
        """What these lines, which are all, break of what they promise."""
        kinds: dict[str, Counter[Hashable]] = {}
        for line in self._lines:
            kinds.setdefault(line.kind, Counter())[line.key] += 1
        completed = kinds.get("completed", Counter())
        lost = [key for key in kinds.get("acknowledged", ()) if key not in completed]
        twice = [(key, count) for key, count in kinds.get("effect", Counter()).items() if count > 1]
        texts = [f"durable accept: {key!r} was acknowledged and never completed" for key in lost]
        return texts + [f"effects: {key!r} was done {count} times" for key, count in twice]

    def _note(self, kind: str, key: Hashable, count: int = 1) -> None:
        life, at = self._when()
        self._lines.append(Noted(life, at, kind, key, count))
