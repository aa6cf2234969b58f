"""What all sources share: turns for others, entries that cannot be read, the closed door."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import attrs
import trio

from actorflow.runtime.ports import stopwatch

__all__ = ["Malformed", "Slice", "refuse_closed"]

#: How long a source holds the event loop at a stretch: a thousandth of a second is not felt
#: by timers, and long enough that the cost of letting others run (4 µs) stays below 1 %.
SLICE_SECONDS = 0.001

#: Pulls after which others run even if the clock stands still, as it does in a simulation.
SLICE_PULLS = 64


@attrs.frozen
class Malformed:
    """An entry of the input that could not be read.

    Attributes:
        place: Where it stands, such as ``in.jsonl:17``.
        text: The entry as it was found; the first 1,024 bytes of a line that is too long.
        error: What is wrong with it.
    """

    place: str
    text: str
    error: Exception


class Slice:
    """Lets other tasks run once per `SLICE_SECONDS` and once per `SLICE_PULLS`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self._begun = False
        self._until = 0.0
        self._pulls = SLICE_PULLS

    async def begin(self) -> float:
        """When the work that begins now should end, after letting others run if it is time."""
        if not self._begun:
            self._begun, self.now = True, stopwatch(self.now)
        self._pulls += 1
        if self._pulls >= SLICE_PULLS or self.now() >= self._until:
            await trio.lowlevel.checkpoint()
            self._until = self.now() + SLICE_SECONDS
            self._pulls = 0
        return self._until


def refuse_closed(name: str) -> NoReturn:
    raise trio.ClosedResourceError(f"{name}: the source is closed; make a new one to read again")
