"""Branches, batches and circles of a run that is killed and goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio

from actorflow import (
    Batch,
    Context,
    EncodeError,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Turn,
    VersionMismatch,
    stage,
)
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom, Gate, counted, pipeline
from tests.flows.lives import SECONDS, Disk, Mortal, TapeSink, fed_and_killed, finished
from tests.flows.test_graphs import graph, named, passing
from tests.flows.test_parallel import skips

#: Gives a store per life, all with the same disk.
Store = Callable[[], Any]


async def lives(
    make: Callable[[Any], Any],
    disk: Store,
    items: list[Any],
    until: Callable[[], bool] = lambda: True,
) -> tuple[list[Any], Any]:
    """Feed *items* to the flow that ``make(gate)`` makes, kill it when nothing moves because of the
    gate, and finish it with an open one; what came out in both lives, and the report."""
    tape: list[Any] = []
    await fed_and_killed(make(Gate()), disk(), items, until=until, sink=TapeSink(tape))
    gate = Gate()
    gate.open()
    report = await finished(make(gate), disk(), sink=TapeSink(tape))
    return tape, report


# Circles ----------------------------------------------------------------------------------


async def test_keys_that_have_been_somewhere_are_known_there_after_a_kill(disk: Store) -> None:
    seen: list[Any] = []

    def circle(gate: Gate) -> Graph[Any, Any]:
        async def visit(value: int) -> AsyncIterator[int]:
            seen.append(value)
            yield value + 1
            yield 0  # Which has been here in the first life.

        flow = graph(stage(visit), stage(gate, name="gate"), name="crawl")
        flow.connect("visit", "gate")
        return flow.connect("gate", "visit", feedback=True, max_depth=3, dedupe=str)

    _, report = await lives(circle, disk, [0])

    assert seen == [0, 1, 2, 3]
    assert report.counts == counted(fed=1, done=1)


async def test_how_often_a_value_went_back_is_known_after_a_kill(disk: Store) -> None:
    depths: list[Any] = []

    def circle(gate: Gate) -> Graph[Any, Any]:
        async def visit(value: int, ctx: Turn) -> int:
            depths.append(ctx.metadata.get("depth", 0))
            return await gate(value) if len(depths) == 3 else value

        flow = graph(stage(visit), passing("b"), name="circle").connect("visit", "b")
        return flow.connect("b", "visit", feedback=True, max_depth=4)

    tape, _ = await lives(circle, disk, [7])

    assert depths == [0, 1, 2, 2, 3, 4]  # The third was killed and run again.
    assert tape == 5 * [7]


# Branches ---------------------------------------------------------------------------------


async def test_a_branch_that_has_arrived_is_not_run_again(disk: Store) -> None:
    runs: Counter[Any] = Counter()

    async def count(value: Any) -> Any:
        runs[value] += 1
        return value

    def flow(gate: Gate) -> Any:
        return pipeline([Parallel([stage(count), stage(gate, name="gate", workers=9)])], name="f")

    tape, report = await lives(flow, disk, [1, 2, 3])

    assert sorted(tape) == [[1, 1], [2, 2], [3, 3]]
    assert (runs, report.counts) == ({1: 1, 2: 1, 3: 1}, counted(fed=3, done=3))


async def test_an_item_whose_branch_died_before_a_kill_ends_dead(disk: Store) -> None:
    async def fails(value: Any) -> None:
        raise Boom

    async def shielded(value: Any) -> Any:
        """Cannot be called off before the process ends."""
        with trio.CancelScope(shield=True):
            await held.wait()
        return value

    held = trio.Event()

    def flow(gate: Gate) -> Any:
        first = stage(gate, name="gate", workers=9)
        return pipeline([Parallel([[first, fails], shielded])], name="f")

    store, gate = disk(), Gate()
    async with flow(gate).open(store=store, run_id="run") as run:
        await run.feed([1])
        await run._keeper.flush()
        gate.open()
        while not run.stats().stages["fails"].failed:
            await trio.lowlevel.checkpoint()
        await run._keeper.flush()
        store.die()
        held.set()
        run.cancel()
    report = await finished(flow(gate), disk())

    assert report.counts == counted(fed=1, dead=1)
    assert sorted(each.reason for each in report.dead) == ["failed", "sibling_failed"]


async def test_metadata_is_put_together_as_if_nobody_had_died(disk: Store) -> None:
    found: list[Any] = []

    def flow(gate: Gate) -> Any:
        async def begin(value: Any, ctx: Turn) -> Any:
            ctx.metadata.update(old=1, new="old", gone=True)
            return value

        async def left(value: Any, ctx: Turn) -> Any:
            ctx.metadata["new"] = "by left"
            del ctx.metadata["gone"]
            return value

        async def right(value: Any, ctx: Turn) -> Any:
            ctx.metadata["right"] = True
            return value

        async def end(value: Any, ctx: Turn) -> Any:
            found.append(dict(ctx.metadata))
            return value

        branches = Parallel([left, [right, stage(gate, name="gate")]])
        return pipeline([begin, branches, end], name="f")

    await lives(flow, disk, [1])

    assert found == [{"old": 1, "new": "by left", "right": True}]


async def test_metadata_outlives_a_kill_and_branches_that_all_skip(disk: Store) -> None:
    found: list[Any] = []

    def flow(gate: Gate) -> Any:
        async def begin(value: Any, ctx: Turn) -> Any:
            ctx.metadata["old"] = 1
            return value

        async def end(value: Any, ctx: Turn) -> Any:
            found.append((value, dict(ctx.metadata)))

        first = stage(gate, name="gate")
        return pipeline([begin, Parallel([[first, skips], stage(skips, name="b")]), end], name="f")

    await lives(flow, disk, [1])

    assert found == [([None, None], {"old": 1})]


async def test_a_context_that_all_branches_skip_outlives_a_kill(disk: Store) -> None:
    def flow(gate: Gate) -> Any:
        async def first(context: Context) -> dict[str, Any]:
            return {}

        async def left(context: Context, ctx: Turn) -> None:
            await gate(None)
            ctx.skip()

        async def right(context: Context, ctx: Turn) -> None:
            ctx.skip()

        return pipeline([first, Parallel([left, right])], name="f")

    tape, _ = await lives(flow, disk, [{"id": 1, "rows": [1, 2]}])

    assert tape == [Context({"id": 1, "rows": [1, 2]})]


async def test_a_branch_that_nobody_waits_for_goes_on_after_a_kill(disk: Store) -> None:
    done: list[Any] = []

    def flow(gate: Gate) -> Any:
        async def late(value: Any) -> None:
            done.append(await gate(value))

        inner = [named("b"), Parallel([late], join=False), named("d")]
        return pipeline([Parallel([inner, named("c")]), named("z")], name="f")

    tape, report = await lives(flow, disk, [1])

    assert (tape, done) == (["z(['d(b(1))', 'c(1)'])"], ["b(1)"])
    assert report.counts == counted(fed=1, done=1)


@pytest.mark.parametrize("joined", [False, True])
async def test_a_value_that_cannot_be_kept_leaves_its_place_to_the_next(joined: bool) -> None:
    async def opaque(value: int) -> Any:
        await trio.lowlevel.checkpoint()
        return object() if value % 2 else value

    ends = [passing("b", capacity=1), passing("c", capacity=1)]
    flow = pipeline([stage(opaque, workers=4), Parallel(ends) if joined else ends[0]], name="f")

    with trio.fail_after(SECONDS):
        report = await flow.run(range(40), store=Mortal(MemoryDisk()), run_id="run")

    assert report.counts == counted(fed=40, done=20, dead=20)
    assert {type(each.error) for each in report.dead} <= {EncodeError, type(None)}


# Pieces and batches -----------------------------------------------------------------------


async def test_what_a_generator_yielded_and_what_it_emitted_are_all_kept(disk: Store) -> None:
    async def gives(value: int, ctx: Turn) -> AsyncIterator[int]:
        yield 1
        yield 2
        ctx.emit(3)
        ctx.emit(4)

    def flow(gate: Gate) -> Any:
        return pipeline([gives, stage(gate, name="gate")], name="f")

    tape, report = await lives(flow, disk, [0])

    assert sorted(tape) == [1, 2, 3, 4]
    assert report.counts == counted(fed=1, done=1)


async def test_a_batch_of_batches_is_not_taken_for_one_of_its_batches(disk: Store) -> None:
    def flow(gate: Gate) -> Any:
        async def total(values: list[int]) -> int:
            return sum(values)

        last = stage(gate, name="last", batch=Batch(2))
        return pipeline([stage(total, batch=Batch(2)), last], name="f")

    tape, report = await lives(flow, disk, [1, 2, 3, 4, 5])

    assert sorted(map(sorted, tape)) == [[3, 7], [5]]
    assert report.counts == counted(fed=5, done=5)


async def test_values_that_wait_for_a_batch_are_kept_and_fill_it_later(disk: Store) -> None:
    def flow(gate: Gate) -> Any:
        return pipeline([stage(gate, name="gate", batch=Batch(3))], name="f")

    tape: list[Any] = []
    await fed_and_killed(flow(Gate()), disk(), [1, 2], sink=TapeSink(tape))
    gate = Gate()
    gate.open()
    async with flow(gate).open(store=disk(), run_id="run", sink=TapeSink(tape)) as run:
        await run.feed([3, 4])
        report = await run.finish()

    assert (tape, report.counts) == ([[1, 2, 3], [4]], counted(fed=4, done=4))


async def test_a_batch_is_tried_again_after_a_kill_with_the_same_values_and_its_attempts(
    disk: Store,
) -> None:
    seen: list[Any] = []

    def flow(gate: Gate) -> Any:
        async def fails(values: list[int], ctx: Turn) -> None:
            seen.append((list(values), ctx.attempt))
            if ctx.attempt == 2:
                await gate(None)
            raise Boom

        retry = Retry(3, backoff=Fixed(0.0))
        return pipeline([stage(fails, batch=Batch(2), policies=[retry])], name="f")

    tape: list[Any] = []
    async with flow(Gate()).open(store=(store := disk()), run_id="run") as run:
        await run.feed([1, 2], ids=["one", "two"])
        while len(seen) < 2:
            await trio.lowlevel.checkpoint()
        await run._keeper.flush()
        store.die()
        run.cancel()
    gate = Gate()
    gate.open()
    report = await finished(flow(gate), disk())

    assert (seen, tape) == ([([1, 2], 1), ([1, 2], 2), ([1, 2], 3)], [])
    assert [(each.id, each.body, each.attempts) for each in report.dead] == [
        ("one", 1, 3),
        ("two", 2, 3),
    ]


async def test_a_batch_before_a_generator_before_branches_survives_a_kill_anywhere(
    disk: Store,
) -> None:
    async def each_of(values: list[int]) -> AsyncIterator[int]:
        for value in values:
            yield value

    def flow(gate: Gate) -> Any:
        return pipeline(
            [
                stage(each_of, batch=Batch(2)),
                Parallel([named("b"), [named("c"), stage(gate, name="gate")]]),
            ],
            name="f",
        )

    tape, report = await lives(flow, disk, [1, 2, 3])

    assert sorted(tape) == [[f"b({n})", f"c({n})"] for n in (1, 2, 3)]
    assert report.counts == counted(fed=3, done=3)


# Effects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["behind the join", "in a branch", "in a batch"])
async def test_effects_have_one_key_however_often_they_are_tried(disk: Store, where: str) -> None:
    keys: Counter[str] = Counter()

    def flow(gate: Gate) -> Any:
        async def charge(value: Any, ctx: Turn) -> Any:
            keys[ctx.idempotency_key("charge")] += 1
            return await gate(value)

        last = stage(charge, effects=True, workers=9, batch=Batch(2) if "batch" in where else None)
        if where == "in a branch":
            return pipeline([passing("a"), Parallel([last, passing("c")])], name="f")
        return pipeline([Parallel([passing("b"), passing("c")]), last], name="f")

    count = 1 if where == "in a batch" else 2
    tape, report = await lives(flow, disk, [1, 2], until=lambda: len(keys) == count)

    assert report.counts == counted(fed=2, done=2)
    assert set(keys.values()) == {2}  # In the first life and in the second.
    assert len(keys) == len(tape)


# What the store has -----------------------------------------------------------------------


async def test_an_item_that_split_and_was_skipped_has_a_stored_result_as_any_other() -> None:
    disk = MemoryDisk()
    drop = graph(passing("a"), stage(skips, name="b"), stage(skips, name="c"), name="g")
    drop.connect("a", "b").connect("a", "c")

    await drop.run([1, 2], store=Mortal(disk), run_id="run", results="store")

    assert [(each["id"], each["status"]) for each in Disk(disk).results("run")] == [
        (0, "skipped"),
        (1, "skipped"),
    ]


async def test_another_flow_says_which_edge_is_another_one(disk: Store) -> None:
    def flow(**options: Any) -> Graph[Any, Any]:
        return graph(passing("a"), stage(Gate(), name="b"), name="g").connect("a", "b", **options)

    await fed_and_killed(flow(), disk(), [1])

    with pytest.raises(VersionMismatch) as caught:
        await finished(flow(when=bool), disk())

    assert "  - edge 'a' to 'b'\n  + edge 'a' to 'b', when\n" in str(caught.value)


async def test_figures_go_on_with_what_each_stage_gave(disk: Store) -> None:
    def flow(gate: Gate) -> Pipeline[Any, Any]:
        ends = [named("b"), named("c")]
        inner = graph(passing("a"), *ends, stage(gate, name="d", workers=9), name="inner")
        inner.connect("a", "b").connect("a", "c").connect("b", "d").connect("c", "d")
        return pipeline([inner, named("z")], name="f")

    _, report = await lives(flow, disk, [1, 2])

    figures = {name: (each.received, each.emitted) for name, each in report.stages.items()}
    assert figures == {"a": (2, 2), "b": (2, 2), "c": (2, 2), "d": (4, 4), "z": (4, 4)}


async def test_items_that_were_fed_to_a_later_stage_stay_apart_from_what_was_given(
    disk: Store,
) -> None:
    flow = pipeline([passing("a"), passing("b")], name="f")
    store = disk()
    async with flow.open(store=store, run_id="run") as run:
        await run.feed([1])
        await run.feed([2, 3], stage="b")
        await run._keeper.flush()  # type: ignore[union-attr]
        store.die()
        run.cancel()

    report = await finished(flow, disk())

    assert (report.stages["a"].emitted, report.stages["b"].received) == (1, 3)


@pytest.mark.parametrize("deep", [False, True])
async def test_if_all_skip_after_a_kill_the_context_goes_on_as_it_was(deep: bool) -> None:
    disk, tape, gate = MemoryDisk(), list[Any](), Gate()

    async def outer(context: Context) -> Context:
        return context.set("own", "outer").set("outer", 1)

    async def write(context: Context) -> Context:
        return context.set("own", "changed").set("new", 1).remove("gone")

    async def skip(context: Context, ctx: Turn) -> None:
        await gate(0)
        ctx.skip()

    inner = Parallel([[write, skip]], name="inner")
    flow = pipeline([Parallel([[outer, inner]], name="outer+") if deep else inner], name="f")
    item = {"own": [1], "gone": 2, "id": 3}
    await fed_and_killed(flow, Mortal(disk), [item], sink=TapeSink(tape))
    gate.open()
    await finished(flow, Mortal(disk), sink=TapeSink(tape))

    assert [dict(each) for each in tape] == [{**item, "own": "outer", "outer": 1} if deep else item]
