"""Dead letters of branches and batches, given back to their run; and what cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from actorflow import Batch, Failed, Graph, JsonLinesSink, Parallel, Pipeline, stage
from actorflow.cli.replay import Given, give_back
from actorflow.durability.store import DeadQuery
from actorflow.testing import new_session
from tests.flows.evolving import Program
from tests.flows.flowing import Boom, Gate, counted, pipeline
from tests.flows.lives import TapeSink, fed_and_killed, finished
from tests.flows.test_graphs import named, passing

#: Gives a store per life, all with the same disk.
Store = Callable[[], Any]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


class Broken:
    """A handler that fails until it is mended."""

    mended = False

    async def __call__(self, value: Any) -> Any:
        if not self.mended:
            raise Boom
        return value


class Scene:
    """A run that has died in places, its letters given back, and the rest of it.

    Args:
        disk: Gives its stores.
        path: Of its output.
    """

    def __init__(self, disk: Store, path: Path) -> None:
        self._disk, self._path = disk, path
        path.touch()

    async def die(self, flow: Any, items: list[Any]) -> None:
        async with flow.open(
            store=self._disk(), run_id="run", sink=JsonLinesSink(self._path)
        ) as run:
            await run.feed(items)

    def give_back(self, flow: Any) -> Given:
        store = self._disk()
        store.open(new_session())
        with contextlib.closing(store):
            return give_back(store, flow, DeadQuery(run="run"), str(self._path))

    async def go_on(self, flow: Any, given: Given) -> Any:
        async with flow.open(
            store=self._disk(), run_id=given.into, sink=JsonLinesSink(self._path)
        ) as run:
            return await run.finish()

    def output(self) -> list[str]:
        return sorted(self._path.read_text().splitlines())


@pytest.fixture
def scene(disk: Store, tmp_path: Path) -> Scene:
    return Scene(disk, tmp_path / "out.jsonl")


def whys(given: Given) -> dict[str, str]:
    return {f"{row.id} of {row.place}": why for row, why in given.left}


async def test_values_of_a_batch_are_put_into_a_batch_again(scene: Scene) -> None:
    work = Broken()
    flow = pipeline([passing("a"), stage(work, name="b", batch=Batch(2))], name="f")
    await scene.die(flow, [1, 2, 3])
    work.mended = True

    given = scene.give_back(flow)
    report = await scene.go_on(flow, given)

    assert (given.count, given.left) == (3, ())
    assert report.counts == counted(fed=3, done=3)
    assert scene.output() == ["[1,2]", "[3]"]


async def test_so_are_those_of_batches_that_an_edge_makes(scene: Scene) -> None:
    work = Broken()
    flow: Graph[Any, Any] = Graph("f").add(passing("a"), stage(work, name="b"))
    flow.connect("a", "b", batch=Batch(2))
    await scene.die(flow, [1, 2, 3])
    work.mended = True

    await scene.go_on(flow, scene.give_back(flow))

    assert scene.output() == ["[1,2]", "[3]"]


async def test_where_nobody_can_tell_a_value_from_a_batch_it_is_left(scene: Scene) -> None:
    flow: Graph[Any, Any] = Graph("f").add(passing("a"), passing("c"), stage(Broken(), name="b"))
    flow.connect("a", "b", batch=Batch(2)).connect("c", "b")
    await scene.die(flow, [1])

    given = scene.give_back(flow)

    assert given.count == 0
    assert set(whys(given).values()) == {
        "the stage gets batches and single values; feed its item again"
    }


async def test_a_batch_of_which_a_part_failed_is_run_again_as_a_whole(scene: Scene) -> None:
    mended = False

    async def parts(values: list[int]) -> AsyncIterator[Any]:
        for value in values:
            yield value if mended or value != 2 else Failed(Boom())

    flow = pipeline([stage(parts, batch=Batch(3))], name="f")
    await scene.die(flow, [1, 2, 3])
    assert scene.output() == ["1", "3"]
    mended = True

    given = scene.give_back(flow)
    await scene.go_on(flow, given)

    assert given.count == 1
    assert scene.output() == ["1", "1", "2", "3", "3"]


async def test_letters_of_a_joined_branch_are_left_with_the_reason(scene: Scene) -> None:
    async def fails_late(value: Any) -> None:
        await wait_all_tasks_blocked()  # The other branch has come to its end.
        raise Boom

    flow = pipeline([Parallel([stage(fails_late, name="bad"), named("c")]), named("z")], name="f")
    await scene.die(flow, [1])

    given = scene.give_back(flow)

    assert given.count == 0
    assert whys(given) == {
        "0.-1 of bad": "a branch that 'bad+c' joins with others; feed its item again",
        "0.-2 of bad+c": "what branches gave before they were joined; feed its item again",
    }


async def test_those_of_a_branch_that_nobody_waits_for_run_again_there(scene: Scene) -> None:
    work = Broken()
    inner = [named("b"), Parallel([stage(work, name="late")], join=False)]
    flow = pipeline([Parallel([inner, named("c")])], name="f")
    await scene.die(flow, [1])
    work.mended = True

    given = scene.give_back(flow)
    report = await scene.go_on(flow, given)

    assert (given.count, report.counts) == (1, counted(fed=1, skipped=1))


async def test_what_could_not_be_merged_can_be_joined_again(scene: Scene) -> None:
    def flow(second: str) -> Pipeline[Any, Any]:
        def writing(name: str, key: str) -> Any:
            async def work(value: Any) -> dict[str, Any]:
                return {key: name}

            return stage(work, name=name, reads=["id"])

        return pipeline([Parallel([writing("a", "x"), writing("b", second)])], name="f")

    await scene.die(flow("x"), [{"id": 1}])

    given = scene.give_back(flow("y"))
    report = await scene.go_on(flow("y"), given)

    assert given.count == 1  # It is what the branches gave, so the conflict is in it.
    assert [type(each.error).__name__ for each in report.dead] == ["MergeConflictError"]


# What cannot be read ----------------------------------------------------------------------


async def test_a_batch_that_cannot_be_read_holds_no_order_up(disk: Store, program: Program) -> None:
    def flow(gate: Any) -> Pipeline[Any, Any]:
        return pipeline([stage(gate, name="gate", batch=Batch(3))], name="f")

    tape: list[Any] = []
    order = program.order(2)("tea", 250)
    await fed_and_killed(
        flow(Gate()), disk(), [1, order, 2, 3, 4, 5], ordered=True, sink=TapeSink(tape)
    )
    program.forget()
    gate = Gate()
    gate.open()

    report = await finished(flow(gate), disk(), ordered=True, sink=TapeSink(tape))

    assert tape == [[3, 4, 5]]
    assert report.counts == counted(fed=6, done=3, dead=3)
    assert [(each.stage_or_actor, each.reason) for each in report.dead] == [
        ("gate", "unknown_schema")
    ]


async def test_a_batch_that_can_be_read_again_is_run_again_as_a_whole(
    scene: Scene, disk: Store, program: Program, tmp_path: Path
) -> None:
    seen: list[Any] = []

    async def note(values: list[Any]) -> None:
        seen.append(values)

    def flow(handler: Any) -> Pipeline[Any, Any]:
        return pipeline([stage(handler, name="note", batch=Batch(2))], name="f")

    order = program.order(2)("tea", 250)
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    await fed_and_killed(flow(Gate()), disk(), [1, order], sink=sink)
    program.forget()
    await finished(flow(note), disk(), sink=JsonLinesSink(tmp_path / "out.jsonl"))
    program.order(2)

    report = await scene.go_on(flow(note), scene.give_back(flow(note)))

    assert (len(seen), seen[0][0], seen[0][1].item) == (1, 1, "tea")
    assert report.counts == counted(fed=1, done=1)
