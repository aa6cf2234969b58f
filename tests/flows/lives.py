"""Lives of a durable run: stores that die, a sink that outlives them, and what the disk says.

A life ends as by ``kill -9``: its store dies, so nothing that it does afterwards counts,
and its run is cancelled. The next life is another run on a store with the same disk.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Report, Run
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.records import address
from actorflow.durability.store import Change, CutRow, DeadQuery, DeadRow, ResultRow
from actorflow.errors import NotRunningError, StoreError
from actorflow.flows.flow import Flow
from actorflow.testing import new_session
from actorflow.wire.codec import decode, encode
from actorflow.wire.snapshot import Cut, fold, read_cut, read_record, rewrite
from tests.flows.flowing import nothing_left

__all__ = [
    "SECONDS",
    "Disk",
    "Held",
    "Killable",
    "Life",
    "Mortal",
    "Slow",
    "TapeSink",
    "aged",
    "conserved",
    "fed_and_killed",
    "finished",
    "item_counts",
    "live",
    "status_of",
]

#: Real seconds after which what should happen at once will not happen.
SECONDS = 10


class Mortal(MemoryStore):
    """A store whose process dies at its commit number *commits*, from 0.

    Args:
        disk: What outlives it.
        commits: How many it makes; `None` is no end.
        landed: Whether the last one is on the disk all the same.
    """

    def __init__(
        self, disk: MemoryDisk, commits: int | None = None, *, landed: bool = False
    ) -> None:
        super().__init__("memory:lives", disk=disk)
        self._numbers = itertools.count()
        self._last, self._landed = commits, landed

    def commit(self, change: Change) -> None:
        if next(self._numbers) == self._last:
            if self._landed:
                super().commit(change)
            self.die()
        super().commit(change)


class Killable:
    """Any store, which can die: it then refuses all, and another one finds its runs as they are."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._dead = False
        self.url: str = store.url

    def die(self) -> None:
        self._dead = True

    def close(self) -> None:
        self._store.close()

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._store, name)

        def call(*args: Any, **options: Any) -> Any:
            if self._dead:
                raise StoreError(self.url, "is dead")
            return verb(*args, **options)

        return call


class Held(Mortal):
    """A store whose commits wait for `let_go`, from the one on that comes after `hold`."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    def commit(self, change: Change) -> None:
        self._free.wait(60)
        super().commit(change)


class TapeSink:
    """A resumable sink in memory, as a file is one: what was written stays there."""

    settled = False

    def __init__(self, tape: list[Any], *, pauses: int = 0) -> None:
        self.tape = tape
        self._pauses = pauses

    async def open(self, at: int | None = None, *, fresh_inode: bool = False) -> None:
        await trio.lowlevel.checkpoint()
        assert at is None or at <= len(self.tape), "what a checkpoint names is there"
        del self.tape[at or 0 :]

    def position(self) -> int:
        return len(self.tape)

    def sync(self) -> None:
        """It is always where it belongs."""

    async def write(self, values: Sequence[Any]) -> None:
        for _ in range(self._pauses + 1):
            await trio.lowlevel.checkpoint()
        self.tape.extend(values)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Slow:
    """A replayable source that gives more than is asked for, as one that reads blocks may."""

    replayable = True
    total = None
    name = "slow"

    def __init__(self, values: list[int]) -> None:
        self._values, self._index = values, 0

    async def pull(self, most: int) -> list[int]:
        await trio.lowlevel.checkpoint()
        taken = self._values[self._index : self._index + most + 3]
        self._index += len(taken)
        return taken

    def cursor(self) -> int:
        return self._index

    async def seek(self, cursor: int, run: str) -> None:
        await trio.lowlevel.checkpoint()
        self._index = cursor

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Life:
    """One life of a run, for handlers that end it.

    Attributes:
        steps: Calls of `step` until the process dies; `None` is never.
    """

    def __init__(self, store: Mortal, steps: int | None = None) -> None:
        self.store = store
        self.steps = steps
        self.run: Run[Any, Any] | None = None

    def step(self) -> None:
        """Something has happened, perhaps the last thing."""
        if self.steps is not None:
            self.steps -= 1
            if self.steps <= 0:
                self.steps = None
                self.kill()

    def kill(self) -> None:
        """End it now."""
        self.store.die()
        if self.run is not None:
            self.run.cancel()


async def live(
    flow: Flow[Any, Any], life: Life, feed: Callable[[Any], Any], **options: Any
) -> Report | None:
    """Live *life* of a run, which ``feed(run)`` feeds; the report if it has finished."""
    try:
        async with flow.open(store=life.store, tune=False, **options) as life.run:
            if life.run.report is None:
                await feed(life.run)
            return await life.run.finish()
    except (StoreError, NotRunningError):
        return None


def conserved(disk: MemoryDisk, run: str) -> dict[str, int]:
    """The account as the disk has it, after comparing it with the messages beside it."""
    counts, messages, _ = item_counts(disk, run)
    fed, done, skipped, dead = counts[:4]
    held = {address(key)[0] for key, box in messages.items() if not box.endswith("/results")}
    assert fed == done + skipped + dead + len(held), (counts, messages)
    return {"fed": fed, "done": done, "skipped": skipped, "dead": dead, "held": len(held)}


def item_counts(disk: MemoryDisk, run: str) -> tuple[list[int], dict[Any, str], dict[str, Any]]:
    """Counts, the mailbox of each message and the facts of the state on *disk*."""
    state = Disk(disk).state(run)
    if state is None:
        return [0, 0, 0, 0, 0], {}, {}
    facts = {key: decode(data, max_bytes=None) for key, data in state.facts.items() if data}
    boxes = {key: read_record(data).box for key, data in state.messages.items() if data}
    return facts["run"]["counts"], boxes, facts


class Disk:
    """What tools see of a disk."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    def _look(self, verb: Callable[[MemoryStore], Any]) -> Any:
        store = MemoryStore(disk=self._disk)
        store.open(new_session())
        with contextlib.closing(store):
            return verb(store)

    def state(self, run: str) -> Cut | None:
        """What the cuts add up to."""
        cuts = self._look(lambda store: store.load(run).cuts)
        return fold(map(read_cut, cuts)) if cuts else None

    def facts(self, run: str) -> dict[str, Any]:
        """The facts of that state."""
        return item_counts(self._disk, run)[2]

    def bodies(self, run: str) -> list[Any]:
        """The bodies of all messages."""
        state = self.state(run)
        records = () if state is None else state.messages.values()
        return [decode(read_record(each).body, max_bytes=None) for each in records if each]

    def results(self, run: str) -> list[Any]:
        """Stored results as dicts."""
        rows: Iterable[ResultRow] = self._look(lambda store: store.results(run, 0, 100_000))
        return [decode(row.body, max_bytes=None) for row in rows]

    def dead(self, run: str) -> list[DeadRow]:
        """Stored dead letters."""
        found = self._look(lambda store: store.dead(DeadQuery(run=run), 0, 100_000))
        return [row for _, row in found]


def status_of(store: Any, run: str) -> str:
    """What *store*, which nobody has opened, says of *run*."""
    store.open(new_session())
    with contextlib.closing(store):
        return str(next(row.status for row in store.runs() if row.run == run))


def aged(disk: MemoryDisk, run: str, **others: Any) -> None:
    """Make what is on *disk* what the release before this one has written: without the figures,
    facts and names that it did not know, but with *others*."""
    state = Disk(disk).state(run)
    assert state is not None
    facts = {key: decode(data, max_bytes=None) for key, data in state.facts.items() if data}
    for name in ("output", "rate"):
        facts.pop(name, None)
    for name in ("emitted", "timings"):
        facts["run"].pop(name)
    for key, fact in facts.items():
        if key.startswith("source/"):
            del fact["name"]
    facts |= others
    old = attrs.evolve(state, facts={key: encode(fact) for key, fact in facts.items()})
    disk._runs[run].cuts[:] = [CutRow(old.number, True, rewrite(old))]


async def fed_and_killed(
    flow: Flow[Any, Any],
    store: Any,
    items: list[Any],
    *,
    until: Callable[[], bool] = lambda: True,
    idle: float = 0.0,
    **options: Any,
) -> None:
    """A life that feeds *items*, waits *until* something holds and nothing moves any more, and
    is killed."""
    with trio.fail_after(SECONDS):
        async with nothing_left(), flow.open(store=store, run_id="run", **options) as run:
            await run.feed(items)
            await wait_all_tasks_blocked()
            while not until():
                await wait_all_tasks_blocked(0.001)
            await wait_all_tasks_blocked(idle)
            await run._keeper.settled()  # type: ignore[union-attr]
            store.die()
            run.cancel()


async def finished(flow: Flow[Any, Any], store: Any, **options: Any) -> Any:
    """A life that is fed nothing more and finishes."""
    with trio.fail_after(SECONDS):
        async with flow.open(store=store, run_id="run", **options) as run:
            return await run.finish()
