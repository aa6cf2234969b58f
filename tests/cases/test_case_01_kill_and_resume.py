"""Case 1: the process is killed in the middle of a run, and another one goes on.

No item is lost, none comes out twice, and what a stage had done with an item is done again at
most once per kill.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from actorflow import stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.cli.support import child, json_lines
from tests.flows.flowing import Gate, counted, pipeline
from tests.flows.lives import (
    Killable,
    Life,
    Mortal,
    TapeSink,
    conserved,
    fed_and_killed,
    finished,
    live,
)

#: Items of the run in a process of its own.
ITEMS = 300

#: A run over `ITEMS` numbers, which says of each call in which stage and with which item it is.
#: It stands still in the stage that is its first argument, at the item that is its second.
SCRIPT = f"""
import os, sys, time
from actorflow import JsonLinesSink, Pipeline, stage

CALLS = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def call(name, number):
    os.write(CALLS, f"{{name}} {{number}}\\n".encode())
    if [name, str(number)] == sys.argv[1:]:
        print("stands still", flush=True)
        time.sleep(600)

@stage(workers=3, capacity=8)
async def one(number):
    call("one", number)
    return number * 10

@stage(workers=2, capacity=8)
async def two(number):
    call("two", number)
    return number + 1

@stage(workers=2, capacity=8)
async def three(number):
    call("three", number)
    return number

flow = Pipeline([one, two, three], name="counted")
report = flow.run_sync(
    range({ITEMS}), store="sqlite:///runs.db", run_id="run", sink=JsonLinesSink("out.jsonl")
)
print(dict(report.counts))
"""

#: Where each life is killed.
KILLS = [("two", 400), ("three", 1701)]


def test_killed_twice_by_kill_9_nothing_is_lost_and_nothing_comes_out_twice(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    calls = tmp_path / "calls"

    for name, number in KILLS:
        with child(tmp_path, name, str(number), script=script) as life:
            assert life.out() == "stands still\n", life.seen
            life.send(signal.SIGKILL)
            assert life.end() == -signal.SIGKILL
        assert len(calls.read_text().splitlines()) < 3 * ITEMS
    with child(tmp_path, script=script) as life:
        assert life.end() == 0, life.seen

    assert life.rest == f"{{'fed': {ITEMS}, 'done': {ITEMS}, 'skipped': 0, 'dead': 0, 'held': 0}}\n"
    written = json_lines((tmp_path / "out.jsonl").read_text())
    assert sorted(written) == [number * 10 + 1 for number in range(ITEMS)]
    made = Counter(calls.read_text().splitlines())
    assert len(made) == 3 * ITEMS
    assert max(made.values()) <= 1 + len(KILLS)
    # Only what the last checkpoints did not have: no more than stood in workers and mailboxes.
    assert made.total() - len(made) < ITEMS


@pytest.mark.parametrize("landed", [False, True], ids=["lost", "landed"])
@pytest.mark.parametrize("commits", range(12))
async def test_wherever_it_is_killed_each_stage_of_an_item_runs_again_at_most_once(
    commits: int, landed: bool
) -> None:
    """The store dies at commit number *commits*, which reaches the disk or does not."""
    disk, tape = MemoryDisk(), list[int]()
    calls: Counter[tuple[str, int]] = Counter()

    async def one(number: int) -> int:
        calls["one", number] += 1
        await trio.lowlevel.checkpoint()
        return number

    async def two(number: int) -> int:
        calls["two", number] += 1
        await trio.lowlevel.checkpoint()
        return number

    async def feed(run: Any) -> None:
        if run.stats().counts["fed"] == 0:
            await run.feed(range(6))

    flow = pipeline([one, two], name="counted")
    lives = [Life(Mortal(disk, commits, landed=landed)), Life(Mortal(disk))]
    reports = [await live(flow, life, feed, run_id="run", sink=TapeSink(tape)) for life in lives]

    assert reports[-1] is not None
    assert reports[-1].counts["done"] == 6
    assert conserved(disk, "run")["done"] == 6
    assert sorted(tape) == list(range(6))
    assert set(calls.values()) <= {1, 2}


async def test_a_stage_whose_work_is_on_the_disk_is_not_run_again() -> None:
    """All items are in stage two, and on the disk there, when the process dies."""
    disk, tape = MemoryDisk(), list[int]()
    ones: list[int] = []
    gate = Gate()

    async def one(number: int) -> int:
        ones.append(number)
        return number

    flow = pipeline([one, stage(gate, name="two", workers=5)], name="counted")
    killed, alive = (Killable(MemoryStore(disk=disk)) for _ in range(2))
    await fed_and_killed(
        flow, killed, list(range(5)), until=lambda: len(gate.inside) == 5, sink=TapeSink(tape)
    )
    assert (tape, gate.inside) == ([], [])
    gate.open()
    report = await finished(flow, alive, sink=TapeSink(tape))

    assert report.counts == counted(fed=5, done=5)
    assert sorted(tape) == sorted(ones) == list(range(5))
