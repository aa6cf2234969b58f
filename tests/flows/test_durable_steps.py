"""Durable runs of stages with steps: a restart goes on at the step that failed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Fixed, Pipeline, Retry, Steps, Turn, VersionMismatch, stage
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom, counted, pipeline
from tests.flows.lives import (
    Disk,
    Life,
    Mortal,
    TapeSink,
    conserved,
    fed_and_killed,
    finished,
    live,
)

PATIENT = Retry(3, backoff=Fixed(100))


class Lines:
    """Steps that write down when they run, and fail while they are told to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failing: set[str] = set()

    def has(self, count: int) -> bool:
        return len(self.lines) == count

    def step(self, name: str) -> Any:
        async def run(value: Any, ctx: Turn) -> Any:
            self.lines.append(f"{name}{ctx.attempt} {value}")
            value = [*value, name]
            if name in self.failing:
                raise Boom(name)
            return value

        run.__name__ = name
        return run

    def flow(self, names: str = "abc", *, of: str = "steps", **given: Any) -> Pipeline[Any, Any]:
        steps = Steps(*(self.step(name) for name in names), **given)
        return pipeline([stage(steps, name=of, policies=[PATIENT])], name="f")


async def test_a_restart_goes_on_at_the_step_that_failed_with_the_value_it_had(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    log = Lines()
    log.failing = {"b"}
    await fed_and_killed(log.flow(), disk(), [["in"]])
    await fed_and_killed(log.flow(), disk(), [])  # It waits for its retry.
    assert log.lines == ["a1 ['in']", "b1 ['in', 'a']"]

    log.failing.clear()
    log.lines.clear()
    later(101.0)
    report = await finished(log.flow(), disk())

    assert report.counts == counted(fed=1, done=1)
    assert log.lines == ["b2 ['in', 'a']", "c1 ['in', 'a', 'b']"]


async def test_attempts_of_a_step_are_counted_over_restarts(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    log = Lines()
    log.failing = {"b"}
    for life in range(2):
        later(101.0 * life)
        items = [] if life else [["in"]]
        await fed_and_killed(log.flow(), disk(), items, until=partial(log.has, life + 2))
    later(202.0)
    report = await finished(log.flow(), disk())

    assert log.lines == ["a1 ['in']", *(f"b{attempt} ['in', 'a']" for attempt in (1, 2, 3))]
    assert report.counts == counted(fed=1, dead=1)
    assert [(each.body, each.attempts) for each in report.dead] == [(["in"], 3)]


async def test_by_stage_a_restart_begins_at_the_first_step(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    log = Lines()
    log.failing = {"b"}
    await fed_and_killed(log.flow(retry="stage"), disk(), [["in"]])
    log.failing.clear()
    log.lines.clear()
    later(101.0)
    await finished(log.flow(retry="stage"), disk())

    assert log.lines == ["a2 ['in']", "b2 ['in', 'a']", "c2 ['in', 'a', 'b']"]


async def test_a_stop_in_the_middle_of_a_step_goes_on_at_that_step(disk: Callable[[], Any]) -> None:
    lines: list[str] = []
    waiting = [True]

    async def first(value: int, ctx: Turn) -> int:
        lines.append(f"first{ctx.attempt}")
        return value + 1

    async def second(value: int, ctx: Turn) -> int:
        lines.append(f"second{ctx.attempt}")
        if waiting:
            await trio.sleep_forever()
        return value * 10

    flow = pipeline([stage(Steps(first, second), policies=[Retry(2)])], name="f")
    async with flow.open(store=disk(), run_id="run") as run:
        await run.feed([1])
        await wait_all_tasks_blocked()
        await run.stop()
    waiting.clear()
    report = await finished(flow, disk())

    assert report.counts == counted(fed=1, done=1)
    assert lines == ["first1", "second1", "second1"]


async def test_a_value_between_steps_that_cannot_be_written_begins_at_the_first_step(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    lines: list[str] = []

    async def opened(value: int, ctx: Turn) -> object:
        lines.append(f"opened{ctx.attempt}")
        return object()

    async def used(value: object, ctx: Turn) -> int:
        lines.append(f"used{ctx.attempt}")
        if ctx.attempt < 3:
            raise Boom
        return 1

    flow = pipeline([stage(Steps(opened, used), policies=[PATIENT])], name="f")
    await fed_and_killed(flow, disk(), [1])
    later(101.0)
    await fed_and_killed(flow, disk(), [], until=lambda: len(lines) == 4)
    later(202.0)
    report = await finished(flow, disk())

    assert report.counts == counted(fed=1, done=1)
    assert lines == ["opened1", "used1", "opened2", "used2", "opened3", "used3"]


async def test_other_steps_are_another_version(disk: Callable[[], Any]) -> None:
    log = Lines()
    log.failing = {"b"}
    await fed_and_killed(log.flow(), disk(), [["in"]])

    with pytest.raises(VersionMismatch, match=r"steps a, c, b"):
        await finished(log.flow("acb"), disk())


async def test_a_migrated_run_goes_on_at_the_step_of_that_name(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    log = Lines()
    log.failing = {"b"}
    await fed_and_killed(log.flow(), disk(), [["in"]])
    log.failing.clear()
    log.lines.clear()
    later(101.0)
    await finished(log.flow("xabc"), disk(), migrate={})

    assert log.lines == ["b2 ['in', 'a']", "c1 ['in', 'a', 'b']"]


async def test_a_migrated_run_begins_anew_where_the_step_is_gone(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    log = Lines()
    log.failing = {"b"}
    await fed_and_killed(log.flow(), disk(), [["in"]])
    log.lines.clear()
    later(101.0)
    await finished(log.flow("ac"), disk(), migrate={})

    assert log.lines == ["a2 ['in']", "c1 ['in', 'a']"]


async def test_the_next_stage_and_the_results_have_no_mark(disk: Callable[[], Any]) -> None:
    log = Lines()
    tape: list[Any] = []
    failed = [True]

    async def fails_once(value: list[str], ctx: Turn) -> list[str]:
        if failed:
            failed.clear()
            raise Boom
        return value

    async def seen(value: list[str], ctx: Turn) -> Any:
        return [value, dict(ctx.headers), ctx.emitted]

    steps = Steps(log.step("a"), fails_once)
    retry = Retry(2, backoff=Fixed(0))
    flow = pipeline([stage(steps, policies=[retry]), seen], name="f")
    report = await finished_with(flow, disk(), [["in"]], TapeSink(tape))

    assert report.counts == counted(fed=1, done=1)
    assert tape == [[["in", "a"], {}, 0]]


async def finished_with(flow: Pipeline[Any, Any], store: Any, items: list[Any], sink: Any) -> Any:
    async with flow.open(store=store, run_id="run", sink=sink) as run:
        await run.feed(items)
        return await run.finish()


@pytest.mark.parametrize("at", range(0, 12, 2))
async def test_a_process_that_dies_at_any_commit_loses_no_item_and_no_step(at: int) -> None:
    failed: set[tuple[int, str]] = set()

    def step(name: str) -> Any:
        async def run(value: Any, ctx: Turn) -> Any:
            number, done = value
            if (number, name) not in failed and number % 2:
                failed.add((number, name))
                raise Boom
            return [number, done + name]

        run.__name__ = name
        return run

    retry = Retry(9, backoff=Fixed(0))
    steps = Steps(*map(step, "abc"))
    flow = pipeline([stage(steps, workers=2, policies=[retry])], name="f")
    disk = MemoryDisk()
    tape: list[Any] = []
    items = [[number, ""] for number in range(6)]

    async def feed(run: Any) -> None:
        await run.feed_from(items)

    for commits in (at, None):
        life = Life(Mortal(disk, commits))
        report = await live(flow, life, feed, run_id="run", sink=TapeSink(tape))
        if Disk(disk).state("run") is not None:
            conserved(disk, "run")

    assert report is not None
    assert report.counts == counted(fed=6, done=6)
    assert sorted(tape) == [[number, "abc"] for number in range(6)]
