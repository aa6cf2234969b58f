"""What is true of every linear flow: it gives what a plain loop would give, and loses nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import Fixed, ItemResult, Pipeline, Report, Retry, Stage, Turn, stage
from actorflow.runtime.kernel import Kernel

#: Virtual seconds, after which a run that has not ended never will.
TIME_LIMIT = 10_000


class Boom(Exception):
    """An ordinary failure."""


@attrs.frozen
class Recipe:
    """One stage, as data: what the real handler and the plain loop both go by.

    Attributes:
        kind: "one" gives one value, "many" yields several, "skip" drops some.
        arg: What it computes with.
        fails: How many attempts fail, of the values that `arg` picks.
        crash: Whether failing is crashing.
        attempts: `Retry.max_attempts`; 1 is no `Retry`.
    """

    kind: str
    arg: int
    fails: int
    crash: bool
    attempts: int
    delay: float
    position: str
    workers: int
    capacity: int
    waits: bool

    def unlucky(self, value: int, attempt: int) -> bool:
        return value % 3 == self.arg % 3 and attempt <= self.fails

    def outputs(self, value: int) -> list[int]:
        if self.kind == "many":
            return [value * 10 + index for index in range(self.arg % 4)]
        if self.kind == "skip" and value % 2 == self.arg % 2:
            return []
        return [value + self.arg]

    def error(self) -> BaseException:
        return SystemExit("crash") if self.crash else Boom("failure")


recipes = st.builds(
    Recipe,
    kind=st.sampled_from(["one", "one", "many", "skip"]),
    arg=st.integers(0, 7),
    fails=st.integers(0, 3),
    crash=st.booleans(),
    attempts=st.integers(1, 4),
    delay=st.sampled_from([0.0, 1.0]),
    position=st.sampled_from(["head", "tail"]),
    workers=st.integers(1, 3),
    capacity=st.integers(0, 3),
    waits=st.booleans(),
)


def make_stage(recipe: Recipe, name: str) -> Stage[int, int]:
    async def pause() -> None:
        if recipe.waits:
            await trio.sleep(0.5)

    async def one(value: int, ctx: Turn) -> int:
        await pause()
        if recipe.unlucky(value, ctx.attempt):
            raise recipe.error()
        outputs = recipe.outputs(value)
        if not outputs:
            ctx.skip()
            return 0
        return outputs[0]

    async def many(value: int, ctx: Turn) -> AsyncIterator[int]:
        await pause()
        outputs = recipe.outputs(value)
        for index, output in enumerate(outputs):
            if index == 1 and recipe.unlucky(value, ctx.attempt):
                raise recipe.error()
            yield output
        if len(outputs) < 2 and recipe.unlucky(value, ctx.attempt):
            raise recipe.error()

    fn: Callable[..., Any] = many if recipe.kind == "many" else one
    policies = []
    if recipe.attempts > 1:
        backoff, position = Fixed(recipe.delay), recipe.position
        policies = [Retry(recipe.attempts, backoff=backoff, position=position)]  # type: ignore[arg-type]
    return stage(fn, name=name, workers=recipe.workers, capacity=recipe.capacity, policies=policies)


def plain_loop(flow: list[Recipe], value: int) -> tuple[list[int], bool]:
    """All outputs of one item, and whether a piece of it died."""
    values, died = [value], False
    for recipe in flow:
        following: list[int] = []
        for each in values:
            outputs = recipe.outputs(each)
            if not recipe.unlucky(each, recipe.attempts):
                following += outputs
                continue
            died = True  # Its last attempt fails too.
            if recipe.kind == "many":
                following += outputs[:1]  # Sent on before the failure, and never taken back.
        values = following
    return values, died


@attrs.frozen
class Ways:
    """How a flow is run; none of it may change what comes out."""

    items: int
    ordered: bool
    window: int
    concurrency: int | None
    fast: bool


ways = st.builds(
    Ways,
    items=st.integers(0, 30),
    ordered=st.booleans(),
    window=st.sampled_from([1, 2, 5, 1024]),
    concurrency=st.sampled_from([None, 1, 3]),
    fast=st.booleans(),
)


def run(flow: list[Recipe], way: Ways) -> tuple[list[ItemResult[int]], Report]:
    pipeline = Pipeline[int, int](
        [make_stage(recipe, f"s{number}") for number, recipe in enumerate(flow)]
    )

    async def main() -> tuple[list[ItemResult[int]], Report]:
        found: list[ItemResult[int]] = []
        with trio.fail_after(TIME_LIMIT):
            async with pipeline.open(
                ordered=way.ordered, window=way.window, concurrency=way.concurrency
            ) as live:
                results = live.results()
                live.start_feeding(range(way.items))
                async for result in results:
                    found.append(result)
                    counts = live.stats().counts
                    assert counts["fed"] == sum(counts.values()) - counts["fed"]
                report = await live.finish()
        return found, report

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@settings(max_examples=150, deadline=None)
@given(flow=st.lists(recipes, min_size=1, max_size=4), way=ways)
def test_a_flow_gives_what_a_plain_loop_gives(flow: list[Recipe], way: Ways) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "fast", way.fast)
        found, report = run(flow, way)

    outputs: dict[int, list[int]] = defaultdict(list)
    statuses: dict[int, Counter[str]] = defaultdict(Counter)
    for result in found:
        statuses[result.number][result.status] += 1
        if result.ok:
            assert result.value is not None
            outputs[result.number].append(result.value)
    ends: Counter[str] = Counter()
    for number in range(way.items):
        wanted, died = plain_loop(flow, number)
        assert sorted(outputs[number]) == sorted(wanted)
        end = "dead" if died else "done" if wanted else "skipped"
        ends[end] += 1
        assert statuses[number]["failed"] == died
        assert statuses[number]["skipped"] == (end == "skipped")
    counts = report.counts
    assert {name: counts[name] for name in ("done", "skipped", "dead")} == {
        "done": ends["done"],
        "skipped": ends["skipped"],
        "dead": ends["dead"],
    }
    assert (counts["fed"], counts["held"]) == (way.items, 0)
    if way.ordered:
        order = [result.number for result in found]
        assert order == sorted(order)
