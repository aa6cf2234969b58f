"""The two ends of a run as the command line sees them: what it reads, what it writes.

source ──► Watched ──► the run ──► Opened, OpenedLater ──► sink
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

__all__ = ["Opened", "OpenedLater", "Watched"]


class Watched:
    """A source, and whether all of it has been read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._pulled = 0
        self._ended = False
        self.name: str = source.name

    @property
    def line(self) -> int | None:
        """Number of the last line read, if there are lines."""
        line: int | None = getattr(self._source, "line", None)
        return line

    @property
    def at_end(self) -> bool:
        """Whether its end was seen, or is known to follow what was read."""
        known = getattr(self._source, "total", None)
        left = getattr(self._source, "left", None)
        return self._ended or self._pulled == known or left == 0

    @property
    def left(self) -> int | None:
        """How much of it was not read; `None` if only reading on can tell."""
        left: int | None = getattr(self._source, "left", None)
        return 0 if self.at_end else left

    @property
    def replayable(self) -> bool:
        """Whether it has a cursor."""
        return bool(getattr(self._source, "replayable", False))

    def cursor(self) -> Any:
        """As of the source."""
        return self._source.cursor()

    async def seek(self, cursor: Any, run: str) -> None:
        """As of the source."""
        await self._source.seek(cursor, run)
        self._pulled = cursor.get("index", 0)

    async def pull(self, most: int) -> Sequence[Any]:
        """As of the source."""
        entries: Sequence[Any] = await self._source.pull(most)
        self._ended = not entries
        self._pulled += len(entries)
        return entries

    async def aclose(self) -> None:
        """As of the source."""
        await self._source.aclose()


class Opened:
    """A sink that is open before its run begins."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    async def open(self) -> None:
        """Nothing to do."""
        await trio.lowlevel.checkpoint()

    async def write(self, values: Sequence[Any]) -> None:
        """As of the sink."""
        await self._sink.write(values)

    async def aclose(self) -> None:
        """As of the sink."""
        await self._sink.aclose()


class OpenedLater(Opened):
    """A sink that a durable run opens, by way of whoever must know of that.

    Args:
        sink: A `KnownSink`.
        opening: Opens it.
    """

    settled = False

    def __init__(self, sink: Any, opening: Callable[..., Awaitable[None]]) -> None:
        super().__init__(sink)
        self.name = str(getattr(sink, "name", type(sink).__name__))
        self._opening = opening

    async def open(
        self, at: int | None = None, *, fresh_inode: bool = False, tail: Any = None
    ) -> None:
        """Open the sink, behind the first *at* bytes if given."""
        place = {"at": at, "fresh_inode": fresh_inode, "tail": tail}
        await self._opening(**{name: value for name, value in place.items() if value})

    def tail(self) -> Any:
        """As of the sink."""
        return self._sink.tail()

    def position(self) -> int | None:
        """As of the sink."""
        position: int | None = self._sink.position()
        return position

    def sync(self) -> None:
        """As of the sink."""
        self._sink.sync()
