"""What a durable run promises about its disk, each promise where only it can be at fault."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    JsonLinesSink,
    LeaseLost,
    Parallel,
    Retry,
    RunInUseError,
    StoreUnavailable,
    TooManyFailures,
    stage,
)
from actorflow.durability import checkpointer
from actorflow.durability.careful import LIMIT
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Change, Owned
from actorflow.durability.urls import store_from_url
from actorflow.testing import MemoryWorld, SqliteWorld, StoreWorld, new_session
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import read_cut
from tests.durability.faulty import FaultyStore
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline
from tests.flows.lives import (
    Disk,
    Held,
    Life,
    Mortal,
    TapeSink,
    conserved,
    fed_and_killed,
    finished,
    live,
)

# What a commit stands for ----------------------------------------------------------------


class SyncedTape(TapeSink):
    """Knows how much of it is on the disk."""

    synced = 0

    def sync(self) -> None:
        self.synced = len(self.tape)


async def test_what_a_cut_names_as_written_is_on_the_disk_before_it() -> None:
    tape = SyncedTape([])
    named: list[tuple[int, int]] = []

    class Watching(MemoryStore):
        def commit(self, change: Change) -> None:
            fact = None if change.cut is None else read_cut(change.cut).facts.get("sink")
            if fact is not None:
                named.append((decode(fact), tape.synced))
            super().commit(change)

    async with pipeline([increment], name="f").open(
        store=Watching(), run_id="run", sink=tape
    ) as run:
        for number in range(5):
            await run.feed([number])
            await wait_all_tasks_blocked(0.005)
        await run.finish()

    assert max(position for position, _ in named) == 5
    assert [position for position, synced in named if synced < position] == []


@pytest.mark.parametrize("fault", ["fails", "full", "landed", "unknown"])
async def test_what_a_failed_commit_had_is_on_the_disk_when_the_next_one_is(
    fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "FIRST_RETRY", 0.001)
    disk, tape = MemoryDisk(), list[int]()
    flow = pipeline([increment], name="f")
    store = FaultyStore(disk)
    async with flow.open(store=store, run_id="run", sink=TapeSink(tape)) as run:
        await run.pause("increment")  # No later cut says again what an earlier one has said.
        await run.feed([0])
        await wait_all_tasks_blocked(0.005)
        store.always, tried = fault, store.tried
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.feed, [1])
            while store.tried == tried:
                await wait_all_tasks_blocked(0.001)
            store.always = None
        await run.feed([2])
        store.die()
        run.cancel()

    assert conserved(disk, "run") == counted(fed=3, held=3)
    assert sorted(Disk(disk).bodies("run")) == [0, 1, 2]
    report = await finished(flow, Mortal(disk), sink=TapeSink(tape))
    assert sorted(tape) == [1, 2, 3]
    assert report.counts == counted(fed=3, done=3)


async def test_results_and_dead_letters_are_stored_once_however_many_commits_follow() -> None:
    disk = MemoryDisk()

    async def odd(value: int) -> int:
        if value % 2 == 0:
            raise Boom
        return value

    async with pipeline([odd], name="f").open(
        store=MemoryStore(disk=disk), run_id="run", results="store"
    ) as run:
        for number in range(6):
            await run.feed([number])
            await wait_all_tasks_blocked(0.005)
        await run.finish()

    assert [row["id"] for row in Disk(disk).results("run")] == [0, 1, 2, 3, 4, 5]
    assert [row.id for row in Disk(disk).dead("run")] == ["0", "2", "4"]


async def test_failures_of_all_lives_count_towards_the_most_that_are_allowed() -> None:
    disk = MemoryDisk()

    async def boom(value: int) -> int:
        raise Boom

    flow = pipeline([boom], name="f")
    await fed_and_killed(flow, Mortal(disk), [1, 2], max_dead=2)
    async with flow.open(store=Mortal(disk), run_id="run", max_dead=2) as run:
        await run.feed([3])
        with pytest.raises(TooManyFailures):
            await run.finish()


async def test_an_effect_waits_until_the_disk_has_its_message_as_it_is_now() -> None:
    store, gate = Held(MemoryDisk()), Gate()
    charged: list[int] = []

    async def price(value: int) -> int:
        return int(await gate(value)) * 10

    async def charge(value: int) -> int:
        charged.append(value)
        return value

    flow = pipeline([price, stage(charge, effects=True)], name="f")
    async with flow.open(store=store, run_id="run") as run:
        await run.feed([1])  # The disk has it, but before its price was known.
        await wait_all_tasks_blocked(0.005)
        await run._keeper.settled()  # type: ignore[union-attr]
        store.hold()
        try:
            gate.open()
            await wait_all_tasks_blocked(0.02)
            early = list(charged)
        finally:
            store.let_go()
        await run.finish()

    assert early == []
    assert charged == [10]


async def test_a_settled_sink_shows_nothing_that_the_disk_has_refused(tmp_path: Path) -> None:
    store, path = FaultyStore(MemoryDisk()), tmp_path / "out.jsonl"
    flow = pipeline([increment], name="f")

    async def main() -> None:
        async with flow.open(
            store=store, run_id="run", store_deadline=0.1, sink=JsonLinesSink(path, settled=True)
        ) as run:
            store.always = "fails"
            with pytest.raises(StoreUnavailable):
                await run.feed([1, 2])
            assert run.stats().counts["done"] == 2

    with pytest.raises(StoreUnavailable):
        await main()

    assert path.read_text() == ""


def test_a_commit_is_synced_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    stores: list[Any] = [SqliteStore(tmp_path / "a"), store_from_url(f"sqlite:///{tmp_path}/b")]
    for store in stores:
        store.open(new_session())
        with contextlib.closing(store):
            db = store._link._db
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA fullfsync").fetchone() == (1,)


# Whose a run is --------------------------------------------------------------------------


@pytest.mark.parametrize("world", [MemoryWorld, SqliteWorld])
def test_an_old_owner_that_renews_takes_nothing_from_the_new_one(
    world: Callable[[], StoreWorld],
) -> None:
    with contextlib.closing(world()) as disk:
        old, new = disk.open(new_session(10.0)), disk.open(new_session(10.0))
        old.acquire("run", 0.0)
        owned = new.acquire("run", 10.0)
        with pytest.raises(LeaseLost):
            old.renew(11.0, 1)

        new.commit(Change(run="run", epoch=owned.epoch, number=1, cut=b"mine"))
        new.renew(19.0, 1)
        with pytest.raises(RunInUseError):
            disk.open(new_session()).acquire("run", 21.0)


class Sleeper(MemoryStore):
    """A process that is stopped for a while: meanwhile it renews nothing."""

    asleep = False

    def renew(self, now: float, ticks: int) -> None:
        if not self.asleep:
            super().renew(now, ticks)


async def test_a_run_that_has_nothing_to_write_learns_of_its_lost_lease_too() -> None:
    disk, gate = MemoryDisk(), Gate()
    store, thief = Sleeper(disk=disk), MemoryStore(disk=disk)
    thief.open(new_session())

    async def main() -> None:
        async with pipeline([stage(gate, name="a")], name="f").open(
            store=store, run_id="run", lease=0.03
        ) as run:
            await run.feed([1])
            await wait_all_tasks_blocked(0.005)
            await run._keeper.settled()  # type: ignore[union-attr]
            store.asleep = True
            owned = taken(thief)
            assert owned.taken_over
            store.asleep = False
            await run.finish()  # Nothing is fed, nothing is done: nothing is to be written.

    with trio.fail_after(5), pytest.raises(LeaseLost):
        await main()
    assert gate.inside == []


def taken(thief: MemoryStore) -> Owned:
    """The run, once the lease of its owner is over."""
    while True:
        try:
            return thief.acquire("run", time.time())
        except RunInUseError:
            time.sleep(0.005)


# Suspects --------------------------------------------------------------------------------


async def test_nobody_is_blamed_any_more_when_all_suspects_are_done() -> None:
    disk, gate = MemoryDisk(), Gate()
    flow = pipeline([stage(gate, name="a", workers=3)], name="f")
    await fed_and_killed(flow, Mortal(disk), [1, 2, 3])
    await fed_and_killed(flow, Mortal(disk), [], until=lambda: len(gate.inside) == 3)
    gate.open()
    await finished(flow, Mortal(disk))

    store = MemoryStore(disk=disk)
    store.open(new_session())
    assert store.load("run").blame == {}


async def test_what_a_flow_does_itself_is_never_poison() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    branches = [stage(increment, name=name, policies=[Retry(60)]) for name in "ab"]
    flow = pipeline([Parallel(branches)], name="f")

    async def feed(run: Any) -> None:
        await run.feed_from(range(1))

    # The last of them end when the branches are joined, before a cut says so.
    for commits in (0, 2, *[1] * (LIMIT + 1)):
        life = Life(Mortal(disk, commits))
        assert await live(flow, life, feed, run_id="run", sink=TapeSink(tape)) is None
    report = await live(flow, Life(Mortal(disk)), feed, run_id="run", sink=TapeSink(tape))

    assert tape == [[1, 1]]
    assert report is not None
    assert report.counts == counted(fed=1, done=1)
