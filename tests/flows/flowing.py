"""What the tests of flows share: small handlers and ways to look at what came out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from actorflow import ItemResult, Pipeline, Run
from actorflow.flows.flow import Flow

__all__ = [
    "Boom",
    "Gate",
    "counted",
    "counts_add_up",
    "double",
    "increment",
    "nothing_left",
    "outcomes",
    "pipeline",
]


class Boom(Exception):
    """An ordinary failure of a handler."""


class Gate:
    """A handler that waits until it is let through, and says who is inside.

    Attributes:
        inside: Values whose handlers have begun and not ended.
        most: Most values that were inside at a time.
    """

    def __init__(self) -> None:
        self.inside: list[Any] = []
        self.most = 0
        self._open = trio.Event()

    async def __call__(self, value: Any) -> Any:
        self.inside.append(value)
        self.most = max(self.most, len(self.inside))
        try:
            await self._open.wait()
        finally:
            self.inside.remove(value)
        return value

    def open(self) -> None:
        self._open.set()


async def increment(value: int) -> int:
    return value + 1


async def double(value: int) -> int:
    return value * 2


def pipeline(nodes: Iterable[Any], **given: Any) -> Pipeline[Any, Any]:
    """A flow whose types are left open."""
    return Pipeline(nodes, **given)


def counted(**given: int) -> dict[str, int]:
    """The counts of a report, 0 where nothing is given."""
    return {"fed": 0, "done": 0, "skipped": 0, "dead": 0, "held": 0, **given}


def counts_add_up(run: Run[Any, Any]) -> bool:
    """The law of conservation, at this moment."""
    counts = run.stats().counts
    ends = counts["done"] + counts["skipped"] + counts["dead"] + counts["held"]
    return counts["fed"] == ends and min(counts.values()) >= 0


async def outcomes(
    flow: Flow[Any, Any], items: Iterable[Any], **run_options: Any
) -> list[ItemResult[Any]]:
    """All results of *items*, in the order in which they come."""
    async with flow.stream(items, **run_options) as results:
        return [result async for result in results]


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Demands that the block leaves no task behind, however it ends."""
    before = _tasks()
    try:
        yield
    finally:
        assert _tasks() == before


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
