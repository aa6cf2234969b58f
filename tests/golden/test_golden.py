"""What any release has ever stored is restored and finished by this one, exactly.

The files are in `files`; their names end in the version that wrote them: that of the schema,
a dot, and that of the format of cuts. A release that raises one of them adds files, by
``python -m tests.golden.write``; none is ever taken away.
"""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorflow import (
    JsonLinesSink,
    JsonLinesSource,
    SinkChanged,
    SourceChanged,
)
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.sqlite_schema import STEPS
from actorflow.flows.stored import read_result
from actorflow.testing import new_session
from actorflow.wire.codec import encode
from tests.flows.flowing import counted
from tests.golden import write
from tests.golden.conftest import VERSIONS
from tests.golden.shop import BODIES, FLOWS, HOUR, Door, Generous, Order
from tests.golden.write import CURRENT, SUMS, digest, kept

#: Every golden file there has ever been; a new version adds its own.
EVER = {
    "lines-1.1.jsonl",
    "lines-2.1.jsonl",
    "output-1.1.jsonl",
    "output-2.1.jsonl",
    "pieces-1.1.jsonl",
    "pieces-2.1.jsonl",
    "runs-1.1.db",
    "runs-2.1.db",
    "system-1.1.db",
    "system-2.1.db",
    "walk-1.1.jsonl",
    "walk-2.1.jsonl",
    "way-out-1.1.jsonl",
    "way-out-2.1.jsonl",
}


def test_no_golden_file_is_ever_dropped_or_changed() -> None:
    names = {each.name for each in kept()}
    sums = dict(line.split()[::-1] for line in SUMS.read_text().splitlines())

    assert names == EVER
    assert {each.name: digest(each) for each in kept()} == sums


def test_this_release_has_its_own_golden_files() -> None:
    assert CURRENT in VERSIONS


def test_what_is_there_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert write.main() == 1
    assert "these are there already; --replace writes them anew: lines-" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["runs.db", "system.db"])
def test_a_file_says_which_versions_it_is_of(
    request: pytest.FixtureRequest, folder: Path, name: str
) -> None:
    with closing(sqlite3.connect(folder / name)) as db:
        ((schema,),) = db.execute("SELECT version FROM meta")
        cuts = db.execute("SELECT run, number, full, body FROM cut").fetchall()
    heads = {body[:5] for *_, body in cuts}
    formats = {body[5] for *_, body in cuts}

    assert schema in range(1, len(STEPS) + 1)
    assert heads == {b"\x95\xa3cut"}
    assert request.node.callspec.params["folder"] == f"{schema}.{max(formats)}"
    # Long chains, of which only the first cut is full.
    assert {number for _, number, full, _ in cuts if full} == {1}
    assert max(number for _, number, *_ in cuts) > 15


# Runs -------------------------------------------------------------------------------------


async def finish(folder: Path, name: str, source: Any = None, **options: Any) -> Any:
    """The report of run *name*, gone on with to its end, doors open."""
    url = f"sqlite:///{folder / 'runs.db'}"
    options = {"deps": Door(open=True), "run_id": name, "resume": "must", **options}
    async with FLOWS[name.partition(".")[0]].open(store=url, **options) as run:
        if source is not None and run.report is None:
            await run.feed_from(source)
        return await run.finish()


def stored(folder: Path, name: str) -> list[Any]:
    """Results of run *name*."""
    store = SqliteStore(folder / "runs.db")
    store.open(new_session())
    try:
        return [read_result(row) for row in store.results(name)]
    finally:
        store.close()


def values(folder: Path, name: str) -> list[Any]:
    return [each.value for each in stored(folder, name)]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def alike(found: Any, wanted: Any) -> bool:
    """Whether two values are equal, type for type, a number that is none included."""
    if type(found) is not type(wanted) or encode(found) != encode(wanted):
        return False
    return bool(found == wanted) or math.isnan(found)


async def test_bodies_of_every_kind_with_ids_priorities_and_metadata(folder: Path) -> None:
    report = await finish(folder, "bodies", results="store")

    assert report.counts == counted(fed=len(BODIES) + 1, done=len(BODIES) + 1)
    results = {each.id: each for each in stored(folder, "bodies")}
    number = len(BODIES)
    assert results.keys() == {*BODIES, number}
    wrong = [name for name, body in BODIES.items() if not alike(results[name].value, body)]
    assert wrong == []
    assert results[number].value == "by number"
    assert all(each.metadata == {"marks": (Order("mark"), 1)} for each in results.values())


async def test_messages_come_in_the_order_they_had(folder: Path) -> None:
    await finish(folder, "bodies", results="store")

    leased, *order = [each.number for each in stored(folder, "bodies")]
    by_priority = [
        [n for n in order if n % 3 == step and n in range(len(BODIES))] for step in range(3)
    ]
    assert leased == 0
    assert by_priority == [sorted(each) for each in by_priority]
    assert order[:7] == by_priority[0][:7]


async def test_deadlines_that_have_passed(folder: Path) -> None:
    report = await finish(folder, "late")

    assert report.counts == counted(fed=2, dead=2)
    assert [each.reason for each in report.dead] == ["expired", "expired"]


async def test_a_generator_goes_on_behind_its_emissions_in_the_order_of_feeding(
    folder: Path,
) -> None:
    sink = JsonLinesSink(folder / "pieces.jsonl")
    report = await finish(folder, "pieces", sink=sink, ordered=True, results="store")

    pieces = [(count, index) for count in (10, 20) for index in range(4)]
    assert report.counts == counted(fed=2, done=2)
    assert [(each["count"], each["more"]) for each in lines(folder / "pieces.jsonl")] == pieces
    assert sorted((each.count, each.more) for each in values(folder, "pieces")) == pieces


async def test_values_on_their_way_out_are_written_once(folder: Path) -> None:
    report = await finish(folder, "way-out", sink=JsonLinesSink(folder / "way-out.jsonl"))

    assert report.counts == counted(fed=3, done=3)
    assert lines(folder / "way-out.jsonl") == [
        1,
        {"item": "out", "count": 1, "more": None},
        [2, 3],
    ]


async def test_branches_of_which_one_had_arrived_are_joined(folder: Path) -> None:
    out: list[Any] = []

    report = await finish(folder, "joined", sink=out.append)

    assert out == [
        {"left": Order("at once", number), "right": Order("in time", number)} for number in (1, 2)
    ]
    assert report.counts == counted(fed=2, done=2)


async def test_a_batch_goes_on_filling(folder: Path) -> None:
    out: list[int] = []

    report = await finish(folder, "batched", sink=out.append)

    assert out == [1 + 2 + 3]
    assert report.counts == counted(fed=3, done=3)


async def test_a_stage_goes_on_at_the_step_that_failed(folder: Path) -> None:
    out: list[Order] = []

    await finish(folder, "steps", sink=out.append)

    assert out == [Order("weighed", 1, Door(open=False))]


async def test_a_page_that_was_visited_is_not_visited_again(folder: Path) -> None:
    await finish(folder, "walk", sink=JsonLinesSink(folder / "walk.jsonl"))

    links = [link for page in range(7) for link in (page + 1, page + 2) if link < 7]
    assert sorted(lines(folder / "walk.jsonl")) == sorted(links)


async def test_a_file_is_read_on_and_another_is_written_on(folder: Path) -> None:
    source, output = folder / "lines.jsonl", folder / "output.jsonl"
    inode = output.stat().st_ino

    report = await finish(
        *(folder, "lines", JsonLinesSource(source)), sink=JsonLinesSink(output), results="store"
    )

    good = [n for n in range(40) if n not in (5, 33) and n % 10 != 7]
    assert sorted(each["n"] for each in lines(output)) == good
    assert report.counts == counted(fed=40, done=34, dead=6)
    assert sorted(str(each.id) for each in report.dead) == sorted(
        ["lines.jsonl:6", f"{source}:34", "7", "17", "27", "37"]
    )
    assert len(stored(folder, "lines")) == 40
    # Its last owner's lease is over, and that is no proof: it may not write into this file.
    assert output.stat().st_ino != inode


async def test_another_output_is_refused(folder: Path) -> None:
    output = folder / "output.jsonl"
    output.write_text(output.read_text(encoding="utf-8").upper(), encoding="utf-8")

    with pytest.raises(SinkChanged):
        await finish(folder, "lines", sink=JsonLinesSink(output), results="store")


async def test_a_sequence_is_read_on_and_another_is_refused(folder: Path) -> None:
    out: list[int] = []
    with pytest.raises(SourceChanged):
        await finish(folder, "sequence", range(50, 61))

    report = await finish(folder, "sequence", range(50, 60), sink=out.append)

    assert sorted(out) == list(range(50, 60))
    assert report.counts == counted(fed=10, done=10)


async def test_what_a_source_had_given_and_nobody_had_taken(folder: Path) -> None:
    out: list[Order] = []

    report = await finish(folder, "in-hand", Generous(), sink=out.append)

    assert sorted(out, key=lambda order: order.item) == Generous().orders
    assert report.counts == counted(fed=10, done=10)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("keyed", [["bob", 1, 1], ["ann", 1, 2], ["ann", 2, 1]]),
        ("circuit", [["ann", 2, 1], ["bob", 1, 1], ["ann", 1, 2]]),
        ("rate", [["bob", 1, 1], ["bob", 2, 1]]),
    ],
)
async def test_moments_that_have_passed_hold_nothing_up(
    folder: Path, name: str, wanted: list[Any]
) -> None:
    report = await finish(folder, name, results="store")

    assert values(folder, name) == wanted
    assert report.counts == counted(fed=len(wanted), done=len(wanted))


class Inline(SqliteStore):
    """Called in the loop, so that the clock may jump."""

    blocking = False


@pytest.mark.parametrize(
    ("name", "began", "moments"),
    [
        ("keyed", 600, {("ann", 1): HOUR, ("ann", 2): HOUR}),
        ("circuit", 660, {("ann", 2): HOUR, ("bob", 1): HOUR, ("ann", 1): HOUR}),
        ("rate", 720, {("bob", 2): HOUR}),
    ],
)
async def test_moments_to_come_are_waited_for(
    folder: Path,
    autojump_clock: MockClock,
    name: str,
    began: float,
    moments: dict[tuple[str, int], float],
) -> None:
    """The clock begins where that of the writer has begun."""
    autojump_clock.jump(1000.0)
    seen: dict[tuple[str, int], float] = {}

    def note(value: Any) -> None:
        seen[value[0], value[1]] = round(trio.current_time() - began)

    store = Inline(folder / "runs.db")
    options: dict[str, Any] = {"run_id": name, "resume": "must", "results": "store"}
    async with FLOWS[name].open(store=store, deps=Door(open=True), sink=note, **options) as run:
        report = await run.finish()

    assert seen == moments
    assert report.counts["held"] == 0


async def test_one_that_was_there_at_too_many_unclean_ends_is_poison(folder: Path) -> None:
    report = await finish(folder, "suspect")

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert [(each.body, each.reason) for each in report.dead] == [(1, "poison")]


async def test_a_parked_run_goes_on(folder: Path) -> None:
    assert (await finish(folder, "parked")).counts == counted(fed=3, done=3)


async def test_a_finished_run_has_its_report_results_and_letters(folder: Path) -> None:
    report = await finish(folder, "finished", results="store")

    assert report.counts == counted(fed=6, done=3, dead=3)
    assert [(each.stage, each.type, each.count, each.example) for each in report.errors] == [
        ("refuse", "Refused", 3, "1 is odd")
    ]
    assert report.stages["refuse"].received == 6
    assert [(each.id, each.body, str(each.error), each.attempts) for each in report.dead] == [
        (1, 1, "Refused: 1 is odd", 1),
        (5, 5, "Refused: 5 is odd", 1),
    ]
    assert "raise Refused" in report.dead[0].traceback
    found = [(each.id, each.status, each.value, each.stage) for each in stored(folder, "finished")]
    assert found == [
        (n, "failed" if n % 2 else "done", None if n % 2 else n, "refuse") for n in range(6)
    ]


async def test_letters_that_were_given_another_chance(folder: Path) -> None:
    report = await finish(folder, "finished.replay-1")

    assert report.counts == counted(fed=1, dead=1)
    assert [(each.id, each.body, each.replays) for each in report.dead] == [(3, 3, 1)]


async def test_a_failed_run_goes_on(folder: Path) -> None:
    report = await finish(folder, "failed", [2, 4, 5, 6, 8])

    assert report.counts == counted(fed=5, done=4, dead=1)
    assert [str(each.error) for each in report.dead] == ["Refused: 5 is odd"]
