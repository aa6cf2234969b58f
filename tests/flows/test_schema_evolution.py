"""Durable runs over programs that differ: what they hold is brought up to date or parked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    ActorSystem,
    Batch,
    JsonLinesSink,
    Parallel,
    Pipeline,
    StageError,
    StoredError,
    TooManyFailures,
    stage,
)
from actorflow.cli.replay import Given, give_back
from actorflow.core.letters import Unreadable
from actorflow.durability.memory import MemoryDisk
from actorflow.durability.store import DeadQuery
from actorflow.testing import new_session
from actorflow.wire.codec import encode, tags
from tests.flows.evolving import (
    FAULTS,
    SCENES,
    TAG,
    Program,
    Store,
    Stuck,
    closed,
    killed,
    passing,
    show,
)
from tests.flows.flowing import Boom, counted, pipeline
from tests.flows.lives import Disk, Mortal, Slow, TapeSink, fed_and_killed, finished


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


scenes = pytest.mark.parametrize("name", SCENES)


async def gone_on(disk: Store, name: str, sink: Any) -> Any:
    """The report of a life that finishes what the scene has left."""
    scene = SCENES[name]
    if not scene.sourced:
        return await finished(scene.flow, disk(), sink=sink)
    return await scene.flow.run(Slow([1, 2, 0, 3]), store=disk(), run_id="run", sink=sink)


def plain(tape: list[Any]) -> list[int]:
    return sorted(each for each in tape if type(each) is int)


def neighbours(name: str) -> list[int]:
    return [1, 2] if name == "in pieces" else [1, 2, 3]


# Brought up to date -----------------------------------------------------------------------


@scenes
async def test_an_older_order_is_brought_up_to_date_wherever_it_is(
    disk: Store, program: Program, later: Callable[[float], None], name: str
) -> None:
    await SCENES[name].leave(disk, program.order(1)("tea", 2.5))
    new = program.order(3)
    later(101)
    tape: list[Any] = []

    report = await gone_on(disk, name, TapeSink(tape))

    (found,) = (each for each in tape if type(each) is not int)
    order = new("tea", 250, "EUR")
    assert found == ({"orders": [order]} if name == "nested" else order)
    assert plain(tape) == neighbours(name)
    assert report.counts["dead"] == 0
    assert report.counts["done"] == report.counts["fed"]


async def test_an_id_that_is_of_an_older_version_is_brought_up_to_date(
    disk: Store, program: Program
) -> None:
    store, old = disk(), program.order(1)
    async with passing(closed).open(store=store, run_id="run") as run:
        await run.feed([7], ids=[old("tea", 2.5)])
        store.die()
        run.cancel()
    new = program.order(2)

    async with passing().open(store=disk(), run_id="run") as run:
        results = run.results()
        assert (await anext(results)).id == new("tea", 250)
        await run.finish()


# Parked -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@scenes
async def test_an_order_that_cannot_be_read_is_parked_and_the_rest_goes_on(
    program: Program, later: Callable[[float], None], name: str, fault: str
) -> None:
    memory = MemoryDisk()

    def disk() -> Mortal:
        return Mortal(memory)

    await SCENES[name].leave(disk, program.order(2)("tea", 250))
    program.fail(fault)
    later(101)
    tape: list[Any] = []

    report = await gone_on(disk, name, TapeSink(tape))

    (letter,) = report.dead
    assert tape == neighbours(name)
    assert (letter.reason, letter.stage_or_actor) == ("unknown_schema", SCENES[name].place)
    assert str(letter.error).endswith(FAULTS[fault])
    out = name == "on its way out"  # It was done; only its value is not written.
    assert report.counts["dead"] == (0 if out else 1)
    assert report.counts["fed"] == report.counts["done"] + report.counts["dead"]
    (row,) = Disk(memory).dead("run")
    if name == "beside":
        assert letter.body == 0
        assert str(letter.error).startswith("its metadata: body['order']: ")
    else:
        assert letter.body == Unreadable(row.body, str(letter.error))
        assert tags(row.body) == {TAG}


async def test_a_branch_that_cannot_be_read_ends_its_siblings_and_no_other_item(
    disk: Store, program: Program
) -> None:
    def flow(left: Any, right: Any) -> Pipeline[Any, Any]:
        branches = {"left": stage(left, name="left"), "right": stage(right, name="right")}
        return pipeline([Parallel(branches, name="both")], name="f")

    async def ordering(value: int) -> Any:
        return program_of_two("tea", 250) if value == 9 else value

    program_of_two, tape = program.order(2), list[Any]()
    await fed_and_killed(flow(ordering, closed), disk(), [1, 9, 2])
    program.forget()

    report = await finished(flow(show, show), disk(), sink=TapeSink(tape))

    assert tape == [{"left": each, "right": each} for each in (1, 2)]
    assert report.counts == counted(fed=3, done=2, dead=1)
    assert [(each.stage_or_actor, each.reason) for each in report.dead] == [
        ("both", "unknown_schema"),
        ("right", "sibling_failed"),
    ]


async def test_a_batch_goes_without_what_cannot_be_read(disk: Store, program: Program) -> None:
    async def all_but_3(value: Any) -> Any:
        return await closed(value) if value == 3 else value

    def flow(handler: Any) -> Pipeline[Any, Any]:
        first = stage(handler, name="first")
        return pipeline([first, stage(show, name="a", batch=Batch(4))], name="f")

    tape: list[Any] = []
    await fed_and_killed(flow(all_but_3), disk(), [1, program.order(2)("tea", 250), 2, 3])
    program.forget()

    report = await finished(flow(show), disk(), sink=TapeSink(tape))

    assert tape == [[1, 2, 3]]
    assert report.counts == counted(fed=4, done=3, dead=1)
    assert [(each.stage_or_actor, each.reason) for each in report.dead] == [("a", "unknown_schema")]


async def test_a_letter_says_all_that_is_needed_to_see_why(disk: Store, program: Program) -> None:
    order = program.order(2)("tea", 250)
    await fed_and_killed(passing(closed), disk(), [order, 1])
    program.forget()

    report = await finished(passing(), disk())
    again = await finished(passing(), disk())  # Of a run that is over, as the store has it.

    (letter,) = report.dead
    why = f"body: {FAULTS['unknown']}"
    assert letter.id == 0
    assert letter.attempts == 1
    assert letter.body == Unreadable(encode(order), why)
    assert repr(letter.body) == f"<{why}>"
    assert str(letter.error) == why
    assert [(each.stage, each.type, each.example) for each in report.errors] == [
        ("a", "DecodeError", why)
    ]
    assert report.stages["a"].failed == 1
    assert again.dead == (attrs.evolve(letter, error=again.dead[0].error),)
    assert isinstance(again.dead[0].error, StoredError)


async def test_an_id_that_cannot_be_read_holds_nothing_up(disk: Store, program: Program) -> None:
    store, order = disk(), program.order(2)("tea", 250)
    async with passing(closed).open(store=store, run_id="run") as run:
        await run.feed([1, 2, 3], ids=["one", order, "three"])
        store.die()
        run.cancel()
    program.forget()
    why = f"<body: {FAULTS['unknown']}>"

    async def refuse(value: int) -> int:
        if value == 2:
            raise Boom
        return value

    async with passing(refuse).open(store=disk(), run_id="run") as run:
        results = run.results()
        assert [(await anext(results)).id for _ in range(3)] == ["one", why, "three"]
        report = await run.finish()

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert [each.id for each in report.dead] == [why]


async def test_a_letter_with_an_id_that_cannot_be_read_holds_nothing_up(
    disk: Store, program: Program
) -> None:
    async def refuse(value: int) -> int:
        raise Boom

    order = program.order(2)("tea", 250)
    async with passing(refuse).open(store=disk(), run_id="run") as run:
        await run.feed([1], ids=[order])
        await run.finish()
    program.forget()

    report = await finished(passing(refuse), disk())

    assert [each.id for each in report.dead] == [str(order)]


async def test_one_that_may_not_die_ends_the_run_when_it_is_restored(
    disk: Store, program: Program
) -> None:
    await fed_and_killed(passing(closed), disk(), [program.order(2)("tea", 250), 1])
    program.forget()

    with pytest.raises(TooManyFailures):
        await finished(passing(), disk(), max_dead=0)
    tape: list[Any] = []
    await finished(passing(), disk(), sink=TapeSink(tape))
    assert tape == [1]


async def test_who_is_told_of_letters_of_a_stage_is_told_of_parked_ones(
    disk: Store, program: Program
) -> None:
    await fed_and_killed(passing(closed), disk(), [program.order(2)("tea", 250), 1])
    program.forget()

    with pytest.raises(StageError, match="unknown tag"):
        await finished(passing(on_failure="halt"), disk())


# Another chance ---------------------------------------------------------------------------


def given_back(store: Any, flow: Pipeline[Any, Any], output: Path) -> Given:
    """Give the run its dead letters back, as `actorflow dead replay` does."""
    store.open(new_session())
    try:
        return give_back(store, flow, DeadQuery(run="run"), str(output))
    finally:
        store.close()


TEA = {"item": "tea", "cents": 250, "currency": "EUR"}


@pytest.mark.parametrize("name", [name for name in SCENES if name != "beside"])
async def test_a_parked_order_is_replayed_when_its_class_is_back(
    disk: Store, program: Program, later: Callable[[float], None], tmp_path: Path, name: str
) -> None:
    flow, output = SCENES[name].flow, tmp_path / "out.jsonl"
    output.touch()
    await SCENES[name].leave(disk, program.order(2)("tea", 250))
    program.forget()
    later(101)
    await gone_on(disk, name, JsonLinesSink(output))
    before = given_back(disk(), flow, output)
    program.order(3)

    given = given_back(disk(), flow, output)
    async with flow.open(
        store=disk(), run_id=given.into, resume="must", sink=JsonLinesSink(output)
    ) as run:
        report = await run.finish()

    assert (before.into, before.count, len(before.left)) == (None, 0, 1)
    assert before.left[0][1].startswith("its body cannot be read: body")
    assert before.left[0][1].endswith(FAULTS["unknown"])
    assert (given.into, given.count, given.left) == ("run.replay-1", 1, ())
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines == [*neighbours(name), {"orders": [TEA]} if name == "nested" else TEA]
    assert report.counts == counted(fed=1, done=1)


async def test_one_whose_metadata_cannot_be_read_is_replayed_without_it(
    disk: Store, program: Program, tmp_path: Path
) -> None:
    flow, output = SCENES["beside"].flow, tmp_path / "out.jsonl"
    await SCENES["beside"].leave(disk, program.order(2)("tea", 250))
    program.forget()
    await gone_on(disk, "beside", JsonLinesSink(output))

    given = given_back(disk(), flow, output)
    async with flow.open(store=disk(), run_id=given.into, sink=JsonLinesSink(output)) as run:
        await run.finish()

    assert output.read_text() == "1\n2\n3\n0\n"


async def test_a_run_that_goes_on_gets_its_parked_orders_back_into_its_order(
    disk: Store, program: Program, tmp_path: Path
) -> None:
    async def all_but_3(value: Any) -> Any:
        return await closed(value) if value == 3 else value

    order, output, sink = program.order(2), tmp_path / "out.jsonl", Stuck()
    flow, store = passing(all_but_3), disk()
    options: dict[str, Any] = {"run_id": "run", "ordered": True}
    async with flow.open(store=store, sink=sink, **options) as run:
        await run.feed([1, order("out", 1), 2, 3, order("in", 1)])
        await killed(run, store, sink)
    program.forget()
    output.touch()
    async with flow.open(store=disk(), sink=JsonLinesSink(output), **options) as run:
        await wait_all_tasks_blocked(0.01)
        report = await run.stop()
    assert report.counts == counted(fed=5, done=3, dead=1, held=1)
    assert output.read_text() == "1\n2\n"
    program.order(3)

    given = given_back(disk(), flow, output)
    async with passing().open(store=disk(), sink=JsonLinesSink(output), **options) as run:
        await run.feed([8])
        while "8" not in output.read_text().splitlines():  # It waits for none that has ended.
            await wait_all_tasks_blocked(0.001)
        report = await run.finish()

    assert (given.into, given.count) == ("run", 2)
    assert report.counts == counted(fed=8, done=7, dead=1)
    assert [json.loads(line) for line in output.read_text().splitlines()] == [
        *(1, 2, 3),
        {"item": "in", "cents": 1, "currency": "EUR"},
        {"item": "out", "cents": 1, "currency": "EUR"},
        8,
    ]


# The flow itself --------------------------------------------------------------------------


async def test_a_stage_may_be_called_as_the_way_out_is(disk: Store) -> None:
    def flow(handler: Any) -> Pipeline[Any, Any]:
        return pipeline([stage(handler, name="results")], name="f")

    tape: list[Any] = []
    await fed_and_killed(flow(closed), disk(), [1, 2, 3])

    report = await finished(flow(show), disk(), sink=TapeSink(tape))

    assert tape == [1, 2, 3]
    assert report.counts == counted(fed=3, done=3)


async def test_a_renamed_stage_keeps_its_messages_in_all_later_lives(disk: Store) -> None:
    def flow(handler: Any) -> Pipeline[Any, Any]:
        return pipeline([stage(handler, name="b")], name="f")

    await fed_and_killed(passing(closed), disk(), [1, 2, 3])
    await fed_and_killed(flow(closed), disk(), [], migrate={"a": "b"})

    report = await finished(flow(show), disk())

    assert report.counts == counted(fed=3, done=3)


async def test_a_run_finds_its_messages_wherever_it_lives(disk: Store) -> None:
    async with ActorSystem("shop") as system, passing(closed).open(system=system):
        await fed_and_killed(passing(closed), disk(), [1, 2, 3], system=system)
    tape: list[Any] = []

    report = await finished(passing(), disk(), sink=TapeSink(tape))

    assert tape == [1, 2, 3]
    assert report.counts == counted(fed=3, done=3)


async def test_what_waits_for_an_earlier_item_waits_over_a_stop_too(disk: Store) -> None:
    async def all_but_0(value: int) -> int:
        return int(await closed(value)) if value == 0 else value

    tape: list[Any] = []
    options: dict[str, Any] = {"run_id": "run", "ordered": True, "window": 4}
    async with passing(all_but_0, workers=2).open(
        store=disk(), sink=TapeSink(tape), **options
    ) as run:
        await run.feed([0, 1, 2])
        await wait_all_tasks_blocked(0.01)
        await run.stop()
    assert tape == []

    async with passing().open(store=disk(), sink=TapeSink(tape), **options) as run:
        await run.feed(range(3, 20))  # More than its window: what is written makes room.
        await run.finish()

    assert tape == list(range(20))
