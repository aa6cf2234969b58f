"""Durable runs: what a run that is started again finds, does, and refuses to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    JsonLinesSink,
    JsonLinesSource,
    NotRunningError,
    RunExistsError,
    RunInUseError,
    RunNotFoundError,
    SourceChanged,
    Turn,
    VersionMismatch,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline
from tests.flows.lives import (
    SECONDS,
    Disk,
    Held,
    Life,
    Mortal,
    Slow,
    TapeSink,
    conserved,
    fed_and_killed,
    finished,
    live,
)


async def echo(value: Any) -> Any:
    return value


# Durable accept --------------------------------------------------------------------------


async def test_feed_returns_when_its_items_are_on_the_disk() -> None:
    disk = MemoryDisk()
    store = Held(disk)
    returned: list[Any] = []
    async with pipeline([increment], name="f").open(store=store, run_id="run") as run:
        await run.feed([1])
        store.hold()

        async def feed() -> None:
            returned.append(await run.feed([2, 3]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            await wait_all_tasks_blocked(0.01)
            assert run.stats().counts["fed"] == 3
            assert returned == []
            store.let_go()
        assert returned == [[1, 2]]
        assert conserved(disk, "run")["fed"] == 3


async def test_a_cancelled_feed_never_leaves_its_outcome_unknown() -> None:
    disk = MemoryDisk()
    store = Held(disk)
    async with pipeline([increment], name="f").open(store=store, run_id="run") as run:
        store.hold()
        fed: list[Any] = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def feed() -> None:
                    fed.append(await run.feed([1, 2]))

                nursery.start_soon(feed)
                await wait_all_tasks_blocked(0.01)
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await wait_all_tasks_blocked(0.01)
                store.let_go()
        assert fed == [[0, 1]]


async def test_a_feed_that_is_cancelled_while_it_waits_for_room_says_what_it_has_fed() -> None:
    disk, gate, fed = MemoryDisk(), Gate(), list[Any]()

    async def feed() -> None:
        fed.extend(await run.feed([1, 2, 3, 4], ids=["a", "b", "c", "d"]))
        assert conserved(disk, "run")["fed"] == len(fed)  # It is on the disk.

    flow = pipeline([stage(gate, capacity=1)], name="f")
    async with flow.open(store=Mortal(disk), run_id="run") as run:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed)
                await wait_all_tasks_blocked(0.02)
                scope.cancel()
        assert fed == ["a", "b"]
        gate.open()
        report = await run.finish()

    assert report.counts["fed"] == 2


async def test_a_life_that_is_killed_leaves_all_that_was_accepted(disk: Callable[[], Any]) -> None:
    tape: list[Any] = []
    gate = Gate()
    await fed_and_killed(pipeline([gate], name="f"), disk(), [1, 2, 3], sink=TapeSink(tape))

    report = await finished(pipeline([echo_as(gate)], name="f"), disk(), sink=TapeSink(tape))

    assert sorted(tape) == [1, 2, 3]
    assert report.counts == counted(fed=3, done=3)


def echo_as(handler: Any) -> Any:
    """`echo` under the name of *handler*, so that the flow is the same."""
    return stage(echo, name=stage(handler).name)


# Which run it is -------------------------------------------------------------------------


async def test_a_finished_run_gives_its_report_and_runs_nothing(disk: Callable[[], Any]) -> None:
    calls: list[int] = []

    async def work(value: int) -> int:
        calls.append(value)
        if value == 2:
            raise Boom("two")
        return value

    flow = pipeline([work], name="f")
    first = await flow.run([1, 2, 3], store=disk(), run_id="run")
    second = await flow.run([1, 2, 3], store=disk(), run_id="run")

    assert len(calls) == 3
    assert second.counts == first.counts == counted(fed=3, done=2, dead=1)
    assert [(each.id, each.body, str(each.error)) for each in second.dead] == [(1, 2, "Boom: two")]
    assert second.stages == first.stages
    assert second.errors == first.errors
    assert second.duration == first.duration


async def test_a_report_of_another_version_of_the_flow_is_said_to_be_that(
    disk: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    flow = pipeline([increment], name="f")
    other = pipeline([stage(increment, name="renamed")], name="f")
    first = await flow.run([1, 2], store=disk(), run_id="run")
    assert await flow.run([1, 2], store=disk(), run_id="run") == first
    assert not caplog.records

    again = await other.run([3], store=disk(), run_id="run")

    assert again == first
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("actorflow", "WARNING")
    assert record.getMessage() == (
        f"run 'run' was finished by version {flow.plan.version} of the flow, this is "
        f"{other.plan.version}: the report is that one's and nothing was run; give another run id "
        "to run this one"
    )


async def test_a_finished_run_takes_nothing_more(disk: Callable[[], Any]) -> None:
    flow = pipeline([increment], name="f")
    await flow.run([1], store=disk(), run_id="run")

    async with flow.open(store=disk(), run_id="run") as run:
        assert run.report is not None
        with pytest.raises(NotRunningError):
            await run.feed([2])


async def test_what_asks_a_finished_run_for_values_is_told_that_it_has_finished(
    disk: Callable[[], Any],
) -> None:
    flow = pipeline([increment], name="f")
    await flow.run([1], store=disk(), run_id="run")

    with pytest.raises(NotRunningError) as caught:
        await flow.map([1], store=disk(), run_id="run")

    assert str(caught.value) == (
        "run run has finished before; look at its report, or give another run_id"
    )


async def test_resume_says_what_may_exist(disk: Callable[[], Any]) -> None:
    flow = pipeline([increment], name="f")

    with pytest.raises(RunNotFoundError):
        await flow.run([1], store=disk(), run_id="run", resume="must")
    await flow.run([1], store=disk(), run_id="run", resume="never")
    with pytest.raises(RunExistsError):
        await flow.run([1], store=disk(), run_id="run", resume="never")
    assert (await flow.run([1], store=disk(), run_id="run", resume="must")).counts["done"] == 1


async def test_a_run_has_one_owner(disk: Callable[[], Any]) -> None:
    flow = pipeline([increment], name="f")
    async with flow.open(store=disk(), run_id="run") as run:
        with pytest.raises(RunInUseError):
            await flow.run([1], store=disk(), run_id="run")
        assert await run.feed([1]) == [0]  # The first one never noticed.
        report = await run.finish()

    assert report.counts == counted(fed=1, done=1)


async def test_another_version_of_the_flow_is_refused_and_told_apart(
    disk: Callable[[], Any],
) -> None:
    gate = Gate()
    await fed_and_killed(pipeline([stage(gate, name="a")], name="f"), disk(), [1])

    other = pipeline([stage(echo, name="b")], name="f")
    with pytest.raises(VersionMismatch) as caught:
        await finished(other, disk())
    assert "- stage 'a': version 1, gives one value" in caught.value.changes
    assert "+ stage 'b': version 1, gives one value" in caught.value.changes

    tape: list[Any] = []
    await finished(other, disk(), migrate={"a": "b"}, sink=TapeSink(tape))
    assert tape == [1]


async def test_what_waited_for_a_stage_that_is_gone_is_a_dead_letter(
    disk: Callable[[], Any],
) -> None:
    gate = Gate()
    await fed_and_killed(pipeline([stage(gate, name="a")], name="f"), disk(), [1, 2])

    report = await finished(pipeline([stage(echo, name="b")], name="f"), disk(), migrate={})

    assert report.counts == counted(fed=2, dead=2)
    assert {each.reason for each in report.dead} == {"unknown_schema"}
    assert [each.body for each in report.dead] == [1, 2]


async def test_a_changed_input_is_refused(disk: Callable[[], Any], tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f"{number}\n" for number in range(600)))
    flow = pipeline([stage(Gate(), name="a", capacity=4)], name="f")
    async with flow.open(store=disk(), run_id="run") as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed_from, JsonLinesSource(source))
        await wait_all_tasks_blocked(0.05)
        await run._keeper.settled()  # type: ignore[union-attr]
        run.cancel()
    source.write_text(source.read_text().replace("3\n", "4\n"))

    with pytest.raises(SourceChanged, match=r"in\.jsonl has changed"):
        await pipeline([stage(echo, name="a", capacity=4)], name="f").run(
            JsonLinesSource(source), store=disk(), run_id="run"
        )


# What the earlier parts did --------------------------------------------------------------


async def test_stored_results_and_dead_letters_of_all_parts_are_there() -> None:
    disk = MemoryDisk()

    calls: list[int] = []

    async def work(value: int) -> int:
        calls.append(value)
        if value < 0:
            raise Boom(f"no {value}")
        return value * 2

    def four() -> bool:
        return len(calls) == 4

    flow = pipeline([work], name="f")
    await fed_and_killed(flow, Mortal(disk), [1, -1], results="store")
    await fed_and_killed(flow, Mortal(disk), [2, -2], until=four, results="store")
    report = await finished(flow, MemoryStore(disk=disk), results="store")

    assert report.counts == counted(fed=4, done=2, dead=2)
    assert [(each.id, str(each.error)) for each in report.dead] == [
        (1, "Boom: no -1"),
        (3, "Boom: no -2"),
    ]
    assert [(row["id"], row["status"], row["value"]) for row in Disk(disk).results("run")] == [
        (0, "done", 2),
        (1, "failed", None),
        (2, "done", 4),
        (3, "failed", None),
    ]
    assert [row.attempts for row in Disk(disk).dead("run")] == [1, 1]
    assert report.errors[0].count + report.errors[-1].count >= 2


async def test_results_come_only_when_a_cut_covers_them() -> None:
    store = Held(MemoryDisk())
    came: list[Any] = []
    async with pipeline([increment], name="f").open(store=store, run_id="run") as run:
        results = run.results()

        async def take() -> None:
            came.extend([(await anext(results)).value])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await wait_all_tasks_blocked(0.01)
            store.hold()
            nursery.start_soon(run.feed, [1])
            await wait_all_tasks_blocked(0.02)
            assert run.stats().counts["done"] == 1
            assert came == []
            store.let_go()
        assert came == [2]


async def test_a_settled_sink_shows_only_what_is_on_the_disk(tmp_path: Path) -> None:
    store, path = Held(MemoryDisk()), tmp_path / "out.jsonl"
    flow = pipeline([increment], name="f")
    async with flow.open(store=store, run_id="run", sink=JsonLinesSink(path, settled=True)) as run:
        await run.feed([1])
        await wait_all_tasks_blocked(0.02)
        store.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.feed, [2])
            await wait_all_tasks_blocked(0.02)
            assert run.stats().counts["done"] == 2
            assert path.read_text() == "2\n"
            store.let_go()
        await run.finish()

    assert path.read_text() == "2\n3\n"


async def test_a_file_is_gone_on_with_where_the_disk_says(
    disk: Callable[[], Any], tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"

    async def some(value: int) -> int:
        if value > 2 and not open_now:
            await trio.sleep_forever()
        return value

    open_now: list[bool] = []
    flow = pipeline([some], name="f")
    await fed_and_killed(flow, disk(), [1, 2, 3, 4], sink=JsonLinesSink(path))
    with path.open("a") as file:
        file.write("torn")
    open_now.append(True)
    await finished(flow, disk(), sink=JsonLinesSink(path))

    assert [json.loads(line) for line in path.read_text().splitlines()] == [1, 2, 3, 4]


async def test_headers_and_ids_go_on_with_their_items(disk: Callable[[], Any]) -> None:
    seen: list[Any] = []

    async def mark(value: int, ctx: Turn) -> int:
        ctx.metadata["from"] = value
        return value

    async def last(value: int, ctx: Turn) -> int:
        if not seen:
            await gate(value)
        return value

    gate = Gate()
    flow = pipeline([mark, last], name="f")
    async with flow.open(store=disk(), run_id="run") as run:
        await run.feed([1, 2], ids=["one", "two"])
        await wait_all_tasks_blocked(0.02)
        await run._keeper.settled()  # type: ignore[union-attr]
        run.cancel()
    seen.append("open")
    async with flow.open(store=disk(), run_id="run") as run:
        results = run.results()
        found = [await anext(results), await anext(results)]
        await run.finish()

    assert [(each.id, each.value, each.metadata) for each in found] == [
        ("one", 1, {"from": 1}),
        ("two", 2, {"from": 2}),
    ]


async def test_what_two_sources_have_in_hand_is_not_lost() -> None:
    disk, tape = MemoryDisk(), list[Any]()
    life = Life(Mortal(disk))
    gate = Gate()

    async def feed(run: Any) -> None:
        async with trio.open_nursery() as nursery:
            for start in (0, 100):
                nursery.start_soon(run.feed_from, Slow(list(range(start, start + 5))))
                await wait_all_tasks_blocked()
            if not open_now:
                await wait_all_tasks_blocked(0.01)
                await run._keeper.settled()
                life.kill()

    async def work(value: int) -> int:
        return value if open_now else await gate(value)

    open_now: list[bool] = []
    flow = pipeline([stage(work, capacity=1)], name="f")
    with trio.fail_after(SECONDS):
        await live(flow, life, feed, run_id="run", sink=TapeSink(tape))
    _, facts = conserved(disk, "run"), Disk(disk).facts("run")
    assert facts["source/0"]["in_hand"] or facts["source/1"]["in_hand"]
    open_now.append(True)
    life = Life(Mortal(disk))
    with trio.fail_after(SECONDS):
        await live(flow, life, feed, run_id="run", sink=TapeSink(tape))

    assert sorted(tape) == [*range(5), *range(100, 105)]
