"""How far a durable run has read a source, so that its next part reads on from there.

What was pulled and not yet accepted is kept too: the cursor stands behind it. It is kept as
bytes, so that an entry that the next part cannot read keeps no other from being read.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from actorflow.core.letters import Unreadable
from actorflow.errors import ConfigurationError, DecodeError, shown
from actorflow.flows.sources import Malformed
from actorflow.wire.codec import decode, encode

__all__ = ["Inputs", "Progress"]

logger = logging.getLogger("actorflow")

#: What the fact about a source begins with; its number follows.
SOURCE = "source/"


class Progress:
    """A source that remembers how far it was read.

    Args:
        source: The source itself; `total` is left out, as a part of it may be behind us.
        in_hand: What was pulled and not accepted yet.
    """

    def __init__(self, source: Any, in_hand: deque[Any]) -> None:
        self.name = str(source.name)
        self._source = source
        self._in_hand = in_hand
        self._before: Any = None  # What an earlier part said, until the source is there too.
        self._ended = False
        self._replayable = bool(getattr(source, "replayable", False))
        self._closed: tuple[Any, int | None] | None = None  # Its cursor, and what was left.

    async def resume(self, state: Any, run_id: str) -> bool:
        """Go on from what `dump` gave in an earlier part; `False` if there is nothing to read.

        Raises:
            SourceChanged: The input is not what that part has read.
        """
        if state is None:
            return True
        self._before = state
        self._in_hand.extend(map(_read, state["in_hand"]))
        if not state["ended"] and state["cursor"] is not None:
            if not self._replayable:
                wanted = "one that can be read from a place, as the one the run began with"
                raise ConfigurationError("source", self._source, wanted)
            await self._source.seek(state["cursor"], run_id)
        self._ended = state["ended"]
        self._before = None
        return bool(self._in_hand) or not self._ended

    async def pull(self, most: int) -> Sequence[Any]:
        """As the source."""
        entries: Sequence[Any] = () if self._ended else await self._source.pull(most)
        self._ended = not entries
        return entries

    def dump(self) -> dict[str, Any]:
        """How far it was read, as plain values."""
        read = self._before or {"cursor": self._cursor(), "ended": self._ended}
        return {
            "name": read.get("name", self.name),
            "cursor": read["cursor"],
            "ended": read["ended"],
            "in_hand": [_write(entry, self.name) for entry in self._in_hand],
        }

    @property
    def refused(self) -> bool:
        """Whether its place was not found, and is not looked for any more."""
        return self._closed is not None and self._before is not None

    def left(self) -> bool:
        """Whether something of it has not been fed, as far as can be told without reading on."""
        if self._in_hand or self._before is not None:  # Its place was not found, if it has one.
            return True
        return not self._ended and self._rest() != 0

    def close(self) -> None:
        """The source is about to be closed: it is not asked any more."""
        self._closed = self._cursor(), self._rest()

    def _cursor(self) -> Any:
        if self._closed is not None:
            return self._closed[0]
        return self._source.cursor() if self._replayable and not self._ended else None

    def _rest(self) -> int | None:
        """How much is left, if the source knows it."""
        rest: int | None = getattr(self._source, "left", None)
        return rest if self._closed is None else self._closed[1]


class Inputs:
    """All sources of one run: those that it reads, and those of which an earlier part has."""

    def __init__(self) -> None:
        self._before: dict[int, dict[str, Any]] = {}
        self._own: dict[int, Progress] = {}

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Know what an earlier part has read, from its *facts*."""
        for key, fact in facts.items():
            if key.startswith(SOURCE):
                self._before[int(key.removeprefix(SOURCE))] = fact

    def add(self, progress: Progress) -> Any:
        """One more source that is read; answers how far an earlier part has read it, or `None`.

        Sources are told apart by their names; those of one name, and those whose name is new, by
        the order in which they come.
        """
        name, known = progress.name, self._before
        known |= {number: each.dump() for number, each in self._own.items() if each.refused}
        same = [number for number, each in known.items() if each.get("name") == name]
        number = min(same or known, default=None)
        if number is None:
            number = next(each for each in itertools.count() if each not in self._own)
        before = known.pop(number, None)
        self._own[number] = progress
        if before is not None and before["ended"] and before.get("name", name) != name:
            text = "source %s is taken for %s, which the run has read to its end: it is not read"
            logger.warning(text, name, before["name"])
        return before

    def facts(self) -> dict[str, Any]:
        """How far those that are read were."""
        return {f"{SOURCE}{number}": each.dump() for number, each in self._own.items()}

    def left(self) -> bool:
        """Whether something was not fed, also of what this part was not given."""
        return any(each.left() for each in self._own.values()) or any(
            not each["ended"] or each["in_hand"] for each in self._before.values()
        )


def _write(entry: Any, name: str) -> list[Any]:
    if type(entry) is Malformed:
        return ["malformed", entry.place, entry.text, str(entry.error)]
    if type(entry) is Unreadable:
        return ["item", entry.packed]
    try:
        return ["item", encode(entry)]
    except Exception as error:  # It becomes a dead letter, in this part of the run or the next.
        return ["malformed", name, shown(entry), str(error)]


def _read(written: list[Any]) -> Any:
    if written[0] == "item":
        try:
            return decode(written[1], max_bytes=None)
        except DecodeError as error:
            return Unreadable(written[1], str(error))
    _, place, text, why = written
    return Malformed(place, text, DecodeError(why, place))
