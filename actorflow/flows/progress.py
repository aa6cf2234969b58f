"""How far a durable run has read a source, so that its next part reads on from there.

What was pulled and not yet accepted is kept too: the cursor stands behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from actorflow.errors import ConfigurationError, DecodeError, shown
from actorflow.flows.sources import Malformed
from actorflow.wire.codec import encode

__all__ = ["Progress"]


class Progress:
    """A source that remembers how far it was read.

    Args:
        source: The source itself; `total` is left out, as a part of it may be behind us.
        in_hand: What was pulled and not accepted yet.
    """

    def __init__(self, source: Any, in_hand: deque[Any]) -> None:
        self._source = source
        self._in_hand = in_hand
        self._ended = False
        self._replayable = bool(getattr(source, "replayable", False))

    async def resume(self, state: Any, run_id: str) -> bool:
        """Go on from what `dump` gave in an earlier part; `False` if there is nothing to read.

        Raises:
            SourceChanged: The input is not what that part has read.
        """
        if state is None:
            return True
        self._in_hand.extend(map(_read, state["in_hand"]))
        self._ended = state["ended"]
        if self._ended and not self._in_hand:
            return False
        if not self._ended and state["cursor"] is not None:
            if not self._replayable:
                wanted = "one that can be read from a place, as the one the run began with"
                raise ConfigurationError("source", self._source, wanted)
            await self._source.seek(state["cursor"], run_id)
        return True

    async def pull(self, most: int) -> Sequence[Any]:
        """As the source."""
        entries: Sequence[Any] = () if self._ended else await self._source.pull(most)
        self._ended = not entries
        return entries

    def dump(self) -> dict[str, Any]:
        """How far it was read, as plain values."""
        cursor = self._source.cursor() if self._replayable and not self._ended else None
        return {
            "cursor": cursor,
            "ended": self._ended,
            "in_hand": [_write(entry, self._source.name) for entry in self._in_hand],
        }


def _write(entry: Any, name: str) -> list[Any]:
    if type(entry) is Malformed:
        return ["malformed", entry.place, entry.text, str(entry.error)]
    try:
        encode(entry)
    except Exception as error:  # It becomes a dead letter, in this part of the run or the next.
        return ["malformed", name, shown(entry), str(error)]
    return ["item", entry]


def _read(written: list[Any]) -> Any:
    if written[0] == "item":
        return written[1]
    _, place, text, error = written
    return Malformed(place, text, DecodeError(error, place))
