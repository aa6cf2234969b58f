"""Commits that fail, hang, or land unheard: a run holds, tries again, loses and doubles nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    CommitFailed,
    Fixed,
    JsonLinesSink,
    LeaseLost,
    NotRunningError,
    Pipeline,
    Retry,
    StoreUnavailable,
    stage,
)
from actorflow.durability import bridge, checkpointer
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import Session
from actorflow.flows import keeper
from tests.durability.faulty import FaultyStore
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline
from tests.flows.lives import Disk, Life, Mortal, TapeSink, conserved, live

#: Real seconds after which what should happen at once will not happen.
SECONDS = 10


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(checkpointer, "LAST_RETRY", 0.002)


faults = st.dictionaries(
    st.integers(0, 20), st.sampled_from(["fails", "full", "landed", "unknown"]), max_size=12
)


def flow_of_two() -> Pipeline[Any, Any]:
    calls: Counter[int] = Counter()

    async def split(value: int) -> Any:
        for index in range(2):
            yield value * 10 + index

    async def work(value: int) -> int:
        calls[value] += 1
        if value % 3 == 0 and calls[value] == 1:
            raise Boom
        await trio.lowlevel.checkpoint()
        return value

    retry = [Retry(50, backoff=Fixed(0.001))]
    return pipeline([split, stage(work, workers=2, policies=retry, capacity=2)], name="f")


EXPECTED = sorted(value * 10 + index for value in range(10) for index in range(2))


@given(faults=faults)
@settings(max_examples=50, deadline=None)
def test_whatever_commits_do_nothing_is_lost_or_doubled(faults: dict[int, Any]) -> None:
    checkpointer.FIRST_RETRY = 0.0001
    disk, tape = MemoryDisk(), list[int]()

    async def main() -> Any:
        with trio.fail_after(SECONDS):
            return await flow_of_two().run(
                range(10),
                store=FaultyStore(disk, faults),
                run_id="run",
                sink=TapeSink(tape),
                results="store",
            )

    report = trio.run(main)

    assert sorted(tape) == EXPECTED
    assert sorted(row["value"] for row in Disk(disk).results("run")) == EXPECTED
    assert report.counts == counted(fed=10, done=10)


@given(faults=faults, kill=st.integers(0, 12), landed=st.booleans())
@settings(max_examples=50, deadline=None)
def test_failures_before_and_after_a_kill_lose_and_double_nothing(
    faults: dict[int, Any], kill: int, landed: bool
) -> None:
    disk, tape = MemoryDisk(), list[int]()

    class Both(FaultyStore, Mortal):
        """Faults, and then death."""

    async def feed(run: Any) -> None:
        await run.feed_from(range(10))

    async def main() -> Any:
        options: dict[str, Any] = {"run_id": "run", "sink": TapeSink(tape), "results": "store"}
        with trio.fail_after(SECONDS):
            await live(flow_of_two(), Life(Mortal(disk, kill, landed=landed)), feed, **options)
            return await flow_of_two().run(range(10), store=FaultyStore(disk, faults), **options)

    report = trio.run(main)

    assert sorted(tape) == EXPECTED
    assert sorted(row["value"] for row in Disk(disk).results("run")) == EXPECTED
    assert report.counts == counted(fed=10, done=10)


async def test_feeding_holds_while_commits_fail_and_goes_on_when_they_work() -> None:
    disk = MemoryDisk()
    store = FaultyStore(disk)
    returned: list[Any] = []
    async with pipeline([increment], name="f").open(store=store, run_id="run") as run:
        await run.feed([1])
        store.always = "full"

        async def feed() -> None:
            returned.append(await run.feed([2]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            tried = store.tried
            while store.tried < tried + 3:
                await wait_all_tasks_blocked(0.001)
            assert returned == []
            store.always = None
        assert returned == [[1]]
        report = await run.finish()

    assert report.counts == counted(fed=2, done=2)


async def test_a_disk_that_stays_full_stops_the_run_and_nothing_is_acknowledged() -> None:
    disk, tape = MemoryDisk(), list[int]()
    store = FaultyStore(disk)
    flow = pipeline([increment], name="f")
    options: dict[str, Any] = {"run_id": "run", "sink": TapeSink(tape)}

    async def main() -> None:
        async with flow.open(store=store, store_deadline=0.02, **options) as run:
            assert await run.feed([1]) == [0]
            store.always = "full"
            with pytest.raises(StoreUnavailable):
                await run.feed([2])
            with pytest.raises(NotRunningError):
                await run.feed([3])

    with pytest.raises(StoreUnavailable, match=r"no space left; tried for 0\.02 s"):
        await main()

    assert conserved(disk, "run")["fed"] == 1  # The last good checkpoint can be read.
    async with flow.open(store=MemoryStore(disk=disk), **options) as run:
        report = await run.finish()
    assert tape == [2]
    assert report.counts == counted(fed=1, done=1)


async def test_a_store_that_hangs_is_given_up_at_its_deadline() -> None:
    disk = MemoryDisk()
    store = FaultyStore(disk)

    async def main() -> None:
        async with pipeline([increment], name="f").open(
            store=store, run_id="run", store_deadline=0.05
        ) as run:
            await run.feed([1])
            store.always = "hangs"
            try:
                with pytest.raises(StoreUnavailable, match="no answer within"):
                    await run.feed([2])
            finally:
                store.let_go()

    with pytest.raises(StoreUnavailable, match="no answer within"):
        await main()

    assert conserved(disk, "run")["fed"] >= 1


async def test_a_store_that_hangs_for_ever_keeps_nobody_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "CLOSE_SECONDS", 0.05)
    store = FaultyStore(MemoryDisk())

    async def main() -> None:
        flow = pipeline([increment], name="f")
        async with flow.open(store=store, run_id="run", store_deadline=0.05) as run:
            await run.feed([1])
            store.always = "hangs"
            await run.feed([2])

    with trio.fail_after(SECONDS), pytest.raises(StoreUnavailable, match="no answer within"):
        await main()

    assert store.hanging.is_set()
    store.let_go()  # Its thread.


async def test_a_store_that_hangs_when_it_is_opened_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = threading.Event()

    class Hanging(MemoryStore):
        def open(self, session: Session) -> None:
            free.wait(60)

    monkeypatch.setattr(keeper, "PATIENCE", 0.05)
    flow = pipeline([increment], name="f")
    with trio.fail_after(SECONDS), pytest.raises(StoreUnavailable, match="no answer within"):
        await flow.run([1], store=Hanging("memory:hangs"), store_deadline=0.05)
    free.set()


async def test_a_store_that_is_back_before_its_deadline_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    monkeypatch.setattr(checkpointer, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(checkpointer, "LAST_RETRY", 2.0)
    store = FaultyStore(MemoryDisk(), blocking=False)

    async def mend() -> None:
        await trio.sleep(2.9)
        store.always = None

    flow = pipeline([increment], name="f")
    async with flow.open(store=store, run_id="run", store_deadline=3) as run:
        async with trio.open_nursery() as nursery:
            store.always = "fails"
            nursery.start_soon(mend)
            await run.feed([1])
        assert (await run.finish()).counts == counted(fed=1, done=1)


async def test_results_are_not_handed_out_when_the_disk_refuses_them() -> None:
    store = FaultyStore(MemoryDisk())
    came: list[Any] = []

    async def main() -> None:
        async with pipeline([increment], name="f").open(
            store=store, run_id="run", store_deadline=0.02
        ) as run:
            results = run.results()
            store.always = "fails"
            run.start_feeding([1, 2])
            came.extend([result async for result in results])

    with pytest.raises(StoreUnavailable):
        await main()

    assert came == []


async def test_a_run_may_stop_at_the_first_failure() -> None:
    store = FaultyStore(MemoryDisk(), {1: "fails"})

    async def main() -> None:
        async with pipeline([increment], name="f").open(
            store=store, run_id="run", on_store_failure="stop"
        ) as run:
            for value in range(10):
                await run.feed([value])

    with pytest.raises(StoreUnavailable, match=r"injected$") as caught:
        await main()

    assert isinstance(caught.value.__cause__, CommitFailed)
    assert store.tried == 2


async def test_a_run_that_has_lost_its_lease_is_cancelled_and_writes_nothing_more(
    tmp_path: Path,
) -> None:
    disk, path, taken = MemoryDisk(), tmp_path / "out.jsonl", list[Any]()
    gate = Gate()
    flow = pipeline([stage(gate, name="a")], name="f")
    stale = MemoryStore(disk=disk)
    stale.renew = lambda now, ticks: None  # type: ignore[method-assign]  # It does not answer.

    async def main() -> None:
        async with flow.open(
            store=stale, run_id="run", lease=0.001, sink=JsonLinesSink(path)
        ) as run:
            await run.feed([1, 2])
            await wait_all_tasks_blocked()
            await run._keeper.settled()  # type: ignore[union-attr]
            taken.append(await over(disk, path))
            gate.open()
            await run.feed([3])

    with pytest.raises(LeaseLost):
        await main()

    assert path.read_text() == "1\n2\n"
    assert taken[0].counts == counted(fed=2, done=2)


async def over(disk: MemoryDisk, path: Path) -> Any:
    """Take the run over and finish it."""

    async def echo(value: int) -> int:
        return value

    async with pipeline([stage(echo, name="a")], name="f").open(
        store=MemoryStore(disk=disk), run_id="run", sink=JsonLinesSink(path)
    ) as run:
        return await run.finish()


async def test_entries_of_the_blame_list_are_tried_again_too() -> None:
    disk, tape = MemoryDisk(), list[int]()
    gate = Gate()
    flow = pipeline([stage(gate, name="a")], name="f")
    store = Mortal(disk)
    async with flow.open(store=store, run_id="run") as run:
        await run.feed([1, 2])
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()
    gate.open()
    with trio.fail_after(SECONDS):
        async with flow.open(
            store=FaultyStore(disk, {0: "fails", 1: "full", 2: "landed", 4: "unknown"}),
            run_id="run",
            sink=TapeSink(tape),
        ) as run:
            report = await run.finish()

    assert sorted(tape) == [1, 2]
    assert report.counts == counted(fed=2, done=2)


# What ends the process -------------------------------------------------------------------


def poisoned(where: str, attempts: int, directory: Path) -> dict[str, Any]:
    """Lives of a process that a message ends; see `tests.durability.poisoned`."""
    command = [sys.executable, "-m", "tests.durability.poisoned", where, str(attempts)]
    done = subprocess.run(
        [*command, str(directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_generator_that_ends_the_process_is_found_between_two_waits(tmp_path: Path) -> None:
    found = poisoned("emission", 1, tmp_path)

    assert found["kills"] <= 4
    assert found["dead"] == [["poison", 3, 1]]
    done = [value for value in range(24) if value not in (12, 13, 14, 15)]
    assert sorted(value for value in found["out"] if value != 12) == done


@pytest.mark.parametrize(
    ("where", "attempts"),
    [("restored", 1), ("cursor", 1), ("child", 1), ("thread", 1), ("cursor", 5), ("child", 5)],
)
def test_what_ends_the_process_is_poison_and_its_neighbours_are_done(
    where: str, attempts: int, tmp_path: Path
) -> None:
    found = poisoned(where, attempts, tmp_path)

    assert max(3, attempts) <= found["kills"] <= max(3, attempts) + 1
    assert found["dead"] == [["poison", 13, attempts]]
    assert sorted(found["out"]) == [value for value in range(24) if value != 13]


def test_two_that_end_the_process_take_no_neighbour_with_them(tmp_path: Path) -> None:
    found = poisoned("two", 1, tmp_path)

    assert found["kills"] <= 2 * (3 + 1)
    assert sorted(found["dead"]) == [["poison", 12, 1], ["poison", 13, 1]]
    assert sorted(found["out"]) == [value for value in range(24) if value not in (12, 13)]
