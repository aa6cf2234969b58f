"""The report of a run that was gone on with counts all its parts, and no work twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import Fixed, Parallel, Report, Retry, Turn, stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline
from tests.flows.lives import (
    SECONDS,
    Life,
    Mortal,
    TapeSink,
    aged,
    fed_and_killed,
    finished,
    live,
)

#: More than the ends of lives, so that none of them is taken for the fault of a message.
ATTEMPTS = 60


async def echo(value: Any) -> Any:
    return value


async def twice(value: int) -> AsyncIterator[int]:
    yield value
    yield -value


async def odd_ones(value: int, ctx: Turn) -> Any:
    if ctx.attempt == 1:
        raise Boom
    if value % 2 == 0:
        ctx.skip()
    return value


def figures(report: Report, name: str) -> tuple[int, int, int, int, int]:
    """received, emitted, failed, skipped, retried."""
    found = report.stages[name]
    return found.received, found.emitted, found.failed, found.skipped, found.retried


# Counts ----------------------------------------------------------------------------------


async def test_figures_of_the_stages_are_those_of_all_parts(disk: Callable[[], Any]) -> None:
    calls: list[int] = []

    async def refuse_9(value: int) -> int:
        calls.append(value)
        if value == 9:
            raise Boom
        return value

    again = [Retry(2, backoff=Fixed(0))]
    flow = pipeline(
        [stage(odd_ones, name="odd", policies=again), refuse_9, stage(twice, name="twice")],
        name="f",
    )
    await fed_and_killed(flow, disk(), [1, 2, 3], until=lambda: len(calls) == 2)
    await fed_and_killed(flow, disk(), [4, 5, 9], until=lambda: len(calls) == 4)
    report = await finished(flow, disk())

    assert report.counts == counted(fed=6, done=3, skipped=2, dead=1)
    assert figures(report, "odd") == (6, 4, 0, 2, 6)
    assert figures(report, "refuse_9") == (4, 3, 1, 0, 0)
    assert figures(report, "twice") == (3, 6, 0, 0, 0)
    assert (await finished(flow, disk())).stages == report.stages


@pytest.mark.parametrize("ending", ["stop", "drain", "finish"])
async def test_a_part_that_was_ended_in_order_counts_too(ending: str) -> None:
    disk, flow = MemoryDisk(), pipeline([increment, stage(echo)], name="f")

    for part in ([1, 2], [3, 4, 5]):
        async with flow.open(store=MemoryStore(disk=disk), run_id="run") as run:
            await run.feed(part)
            report = await (run.finish() if part[0] == 3 else getattr(run, ending)())
            if ending == "finish":
                break

    fed = 2 if ending == "finish" else 5
    assert figures(report, "increment") == figures(report, "echo") == (fed, fed, 0, 0, 0)


ends = st.lists(
    st.tuples(st.sampled_from(["before", "landed", "step"]), st.integers(0, 12)), max_size=5
)


@given(ends, st.integers(1, 12), st.booleans())
@settings(max_examples=50, deadline=None)
def test_over_any_kills_each_stage_has_received_and_emitted_what_was_fed(
    ends: list[tuple[str, int]], items: int, sinks: bool
) -> None:
    disk, tape = MemoryDisk(), list[Any]()
    lives: list[Life] = []

    async def work(value: int) -> int:
        await trio.lowlevel.checkpoint()
        lives[-1].step()
        return value

    again = [Retry(ATTEMPTS)]
    stages = [stage(work, name=name, workers=2, policies=again) for name in ("a", "b")]
    flow = pipeline(stages, name="f")
    reports: list[Report | None] = []

    async def one_life(kind: str, count: int) -> None:
        commits = count if kind in ("before", "landed") else None
        store = Mortal(disk, commits, landed=kind == "landed")
        lives.append(Life(store, count + 1 if kind == "step" else None))
        options = {"sink": TapeSink(tape)} if sinks else {}
        with trio.fail_after(SECONDS):
            feed = lambda run: run.feed_from(range(items))  # noqa: E731
            reports.append(await live(flow, lives[-1], feed, run_id="run", **options))

    for end in [*ends, ("none", 0)]:
        trio.run(one_life, *end)

    report = reports[-1]
    assert report is not None
    assert report.counts == counted(fed=items, done=items)
    assert figures(report, "a") == figures(report, "b") == (items, items, 0, 0, 0)
    assert sorted(tape) == (list(range(items)) if sinks else [])


# Seconds ---------------------------------------------------------------------------------


def in_virtual_time(disk: MemoryDisk) -> Any:
    return MemoryStore(disk=disk, blocking=False)


@pytest.mark.parametrize("killed", [False, True])
async def test_latency_and_duration_are_those_of_all_parts(
    killed: bool, autojump_clock: MockClock
) -> None:
    disk = MemoryDisk()

    async def work(seconds: float) -> None:
        await trio.sleep(seconds)

    flow = pipeline([stage(work, name="a")], name="f")
    async with flow.open(store=in_virtual_time(disk), run_id="run") as run:
        await run.feed([2.0, 2.0, 2.0])
        await trio.sleep(10)
        if killed:  # The last cut was taken when the last item ended.
            run.cancel()
        else:
            assert (await run.drain()).duration == 10
    async with flow.open(store=in_virtual_time(disk), run_id="run") as run:
        assert run.stats().elapsed == (6 if killed else 10)
        await run.feed([4.0])
        report = await run.finish()

    assert report.duration == (10 if killed else 14)
    assert (report.stages["a"].latency.mean, report.stages["a"].latency.max) == (2.5, 4.0)


async def test_the_longest_turn_may_have_been_in_an_earlier_part(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    flow = pipeline([stage(trio.sleep, name="a")], name="f")

    for part in ([5.0], [1.0], [3.0]):
        async with flow.open(store=in_virtual_time(disk), run_id="run") as run:
            await run.feed(part)
            await trio.sleep(6)
            report = await run.drain()

    assert (report.stages["a"].latency.mean, report.stages["a"].latency.max) == (3.0, 5.0)


async def test_what_stages_of_a_graph_have_emitted_is_of_all_parts_too() -> None:
    disk = MemoryDisk()

    async def left(value: int) -> int:
        return value

    async def right(value: int) -> int:
        return -value

    flow = pipeline([increment, Parallel([left, right], join=False), stage(echo, name="e")])
    for part in ([1, 2], [3]):
        async with flow.open(store=MemoryStore(disk=disk), run_id="run") as run:
            await run.feed(part)
            report = await run.drain()

    undisturbed = await flow.run([1, 2, 3])
    for name in report.stages:
        assert figures(report, name) == figures(undisturbed, name)
    assert figures(report, "increment")[:2] == (3, 3)


# Other code, other releases --------------------------------------------------------------


async def test_figures_of_a_stage_go_with_its_new_name(disk: Callable[[], Any]) -> None:
    gate = Gate()
    await fed_and_killed(pipeline([stage(gate, name="a")], name="f"), disk(), [1, 2])

    flow = pipeline([stage(echo, name="b")], name="f")
    await fed_and_killed(flow, disk(), [3], migrate={"a": "b"})
    report = await finished(flow, disk(), migrate={"a": "b"})

    assert figures(report, "b") == (3, 3, 0, 0, 0)


async def test_a_checkpoint_of_an_earlier_release_has_fewer_figures() -> None:
    disk, flow = MemoryDisk(), pipeline([stage(echo, name="a")], name="f")
    await fed_and_killed(flow, Mortal(disk), [1, 2])
    aged(disk, "run")

    async with flow.open(store=MemoryStore(disk=disk), run_id="run") as run:
        await run.feed([3])
        report = await run.finish()

    assert figures(report, "a") == (3, 3, 0, 0, 0)
