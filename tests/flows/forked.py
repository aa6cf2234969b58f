"""Runs that are forked and compared: a disk, and handlers that checkpoints see at work."""

from __future__ import annotations

from typing import Any

import trio

from actorflow import Context, Parallel, Pipeline, Runs, Turn, stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.testing import new_session
from tests.flows.flowing import Boom, pipeline
from tests.flows.lives import Disk

__all__ = ["ITEMS", "World", "plain", "shop"]


class World:
    """A disk in memory, and handlers that take a second, so that checkpoints see where they are."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.lines: list[str] = []
        self.failing: set[str] = set()

    def store(self) -> MemoryStore:
        return MemoryStore(disk=self.disk, blocking=False)

    def runs(self, flow: Any) -> Runs:
        runs: Runs = flow.runs(self.store())
        return runs

    def writes(self, name: str, *reads: str, more: int = 1, **given: Any) -> Any:
        """A stage that writes the sum of what it reads, and *more*."""

        async def run(context: Context, ctx: Turn) -> Context:
            self.lines.append(f"{name} {context['id']} {ctx.attempt}")
            await trio.sleep(1)
            if name in self.failing:
                raise Boom(name)
            return context.set(name, sum(context[each] for each in reads) + more)

        run.__name__ = name
        return stage(run, **given)

    def adds(self, name: str, more: int = 1, **given: Any) -> Any:
        """A stage that adds *more* to a number."""
        return stage(self.adding(name, more), **given)

    def adding(self, name: str, more: int = 1) -> Any:
        """A handler that does."""

        async def run(value: int, ctx: Turn) -> int:
            self.lines.append(f"{name} {value} {ctx.attempt}")
            await trio.sleep(1)
            if name in self.failing:
                raise Boom(name)
            return value + more

        run.__name__ = name
        return run

    async def run(self, flow: Any, *source: Any, **given: Any) -> tuple[dict[str, int], list[Any]]:
        """Run it to its end: counts and values."""
        found: list[Any] = []
        options = {"run_id": "a", "sink": found.append, "results": "store", **given}
        report = await flow.run(*source, store=self.store(), **options)
        return dict(report.counts), found

    async def parked(self, flow: Any, items: list[Any], seconds: float, **given: Any) -> None:
        """Feed *items* and stop after so many seconds."""
        async with flow.open(store=self.store(), run_id="a", **given) as run:
            await run.feed(items)
            await trio.sleep(seconds)
            await run.stop()

    def everything(self, run: str) -> list[Any]:
        """All that the store has of *run*."""
        store = self.store()
        store.open(new_session())
        row = [each for each in store.runs() if each.run == run]
        found = [row, store.cuts(run), store.results(run), Disk(self.disk).dead(run)]
        store.close()
        return found


def shop(world: World, **given: Any) -> Pipeline[Any, Any]:
    return pipeline(
        [
            world.writes("fetch", "id"),
            Parallel([world.writes("price", "fetch"), world.writes("stock", "fetch")]),
            world.writes("total", "price", "stock", **given),
            world.writes("save", "total"),
        ],
        name="shop",
    )


ITEMS = [{"id": number} for number in range(4)]


def plain(values: list[Any]) -> list[Any]:
    return sorted((dict(each) for each in values), key=lambda each: each["id"])
