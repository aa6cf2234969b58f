"""How long turns take: what a histogram may be wrong by, and that every turn is counted once."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import Fixed, Retry, Turn, stage
from actorflow.core.timings import (
    PER_SECOND,
    SIZE,
    Histogram,
    Timings,
    bucket,
    merged,
    percentiles,
)
from actorflow.runtime.kernel import Kernel
from tests.flows.flowing import Boom, pipeline

#: How far the middle of a bucket is from what is in it.
WRONG = 0.0109

SHARES = (0.5, 0.95, 0.99)


def spread(times: list[float], apart: float = 1.0) -> list[float]:
    """Percentiles of *times* as a stage with one worker tells them; a turn ends every so often."""
    waiting, quick = Histogram(), Histogram()
    worker = Timings(waiting, quick)
    for number, each in enumerate(times):
        wait(worker, each, number * apart)
    weights, total = merged(waiting, quick, [worker])
    assert worker.waited == len(times)
    assert total <= len(times)
    return percentiles(weights, total, worker.longest, SHARES)


def wait(worker: Timings, seconds: float, now: float) -> None:
    """What `drive` does when a turn ends that has waited."""
    worker.seconds += seconds
    worker.longest = max(worker.longest, seconds)
    worker.left -= 1
    if not worker.left:
        worker.show(seconds, now)


def nearest(times: list[float], share: float) -> float:
    """The exact percentile."""
    return sorted(times)[max(math.ceil(share * len(times)) - 1, 0)]


times = st.floats(2e-6, 7_000)


@given(times)
def test_a_bucket_is_narrow(seconds: float) -> None:
    found = bucket(seconds)
    (middle,) = percentiles([0.0] * found + [1.0] + [0.0] * (SIZE - 1 - found), 1.0, 1e9, [0.5])

    assert abs(middle - seconds) <= WRONG * seconds


@given(st.lists(times, min_size=1, max_size=400))
@settings(deadline=None)
def test_percentiles_of_few_turns_are_those_of_all_of_them(listed: list[float]) -> None:
    for found, share in zip(spread(list(listed)), SHARES, strict=True):
        exact = nearest(listed, share)
        assert abs(found - exact) <= WRONG * exact + 1e-9


@given(st.lists(times, min_size=300, max_size=600))
@settings(deadline=None, max_examples=20)
def test_where_turns_are_few_a_second_all_count(listed: list[float]) -> None:
    for found, share in zip(spread(list(listed), 1 / PER_SECOND), SHARES, strict=True):
        exact = nearest(listed, share)
        assert abs(found - exact) <= WRONG * exact + 1e-9


@pytest.mark.parametrize("period", [1, 2, 3, 8, 16, 128, 1_000])
def test_where_they_are_many_percentiles_are_close_whatever_their_rhythm(period: int) -> None:
    """Every *period*-th is slow: a sample that took every so many would see all of them or none."""
    chance = random.Random(period)
    listed = [
        chance.lognormvariate(-4, 1) * (10 if number % period == 0 else 1)
        for number in range(100_000)
    ]

    found = spread(list(listed), 1 / 20_000)

    listed.sort()
    for seconds, share in zip(found, SHARES, strict=True):
        below = bisect_left(listed, seconds * (1 - WRONG)) / len(listed)
        upto = bisect_right(listed, seconds * (1 + WRONG)) / len(listed)
        assert below - 0.015 <= share <= upto + 0.015


def test_what_is_kept_does_not_grow_and_costs_little() -> None:
    waiting = Histogram()
    worker = Timings(waiting, Histogram())
    samples = 0
    for number in range(200_000):
        before = waiting.total
        wait(worker, number * 0.01, number / 20_000)
        samples += waiting.total > before

    assert len(waiting.counts) == SIZE == 1_057
    assert worker.waited == 200_000
    assert worker.longest == 1_999.99
    assert samples == pytest.approx(10 * PER_SECOND, rel=0.1)


def test_when_turns_become_few_all_count_again() -> None:
    waiting = Histogram()
    worker = Timings(waiting, Histogram())
    for number in range(50_000):
        wait(worker, 0.1, number / 50_000)
    assert waiting.gap > 20
    for number in range(20_000):
        wait(worker, 0.1, 10 + number / 100)

    assert waiting.gap == 1
    assert waiting.total == worker.waited == 70_000


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9, math.inf])
def test_times_off_the_scale_are_counted(seconds: float) -> None:
    assert 0 <= bucket(seconds) < SIZE
    assert spread([seconds]) == [min(seconds, spread([seconds])[0])] * 3


def test_no_turns_take_no_time() -> None:
    assert percentiles([0.0] * SIZE, 0.0, 0.0, SHARES) == [0.0, 0.0, 0.0]


def test_turns_that_do_not_wait_weigh_as_many_as_there_were() -> None:
    waiting, quick = Histogram(), Histogram()
    worker = Timings(waiting, quick)
    for number in range(10):
        wait(worker, 1.0, float(number))
    worker.inline, worker.looked = 90, 20.0
    worker.sample(lambda: 20.001)

    weights, total = merged(waiting, quick, [worker])

    assert total == 100.0
    assert percentiles(weights, total, 1.0, (0.5, 0.95)) == [pytest.approx(1e-3, rel=WRONG), 1.0]
    assert worker.turns == 100
    assert worker.busy == pytest.approx(10.09)


# In a run -----------------------------------------------------------------------------


async def nap(seconds: float) -> float:
    await trio.sleep(seconds)
    return seconds


async def test_a_stage_tells_its_percentiles(autojump_clock: MockClock) -> None:
    flow = pipeline([stage(nap, workers=5)])

    report = await flow.run([number / 100 for number in range(1, 101)])

    latency = report.stages["nap"].latency
    assert latency.max == 1.0
    assert latency.mean == pytest.approx(0.505)
    assert latency.p50 == pytest.approx(0.5, rel=WRONG)
    assert latency.p95 == pytest.approx(0.95, rel=WRONG)
    assert latency.p99 == pytest.approx(0.99, rel=WRONG)


async def test_a_stage_that_never_waits_is_timed_too() -> None:
    clock = Ticking()

    def busy(value: int) -> int:
        clock.seconds += 0.5
        return value

    flow = pipeline([stage(busy, runs_in="loop")])
    async with flow.open() as run:
        run._kernel.now = clock
        for cell in run.stages["busy"].cells:
            cell.now = clock
        await run.feed(range(300))
        report = await run.finish()

    latency = report.stages["busy"].latency
    assert (latency.mean, latency.max) == (0.5, 0.5)
    assert latency.p50 == latency.p99 == pytest.approx(0.5, rel=WRONG)


class Ticking:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


KINDS = ("quick", "waits", "either", "loop", "emits", "many", "skips", "fails", "flaky", "tells")


def handler(kind: str) -> Any:
    async def work(value: int, ctx: Turn) -> int:
        if kind in ("waits", "fails", "flaky") or (kind == "either" and value % 3 == 0):
            await trio.lowlevel.checkpoint()
        if kind == "emits":
            ctx.emit(value)
        if kind == "tells":
            ctx.status("working")
        if kind == "skips" and value % 2:
            ctx.skip()
        if kind == "fails" and value % 3 == 0:
            raise Boom
        if kind == "flaky" and ctx.attempt == 1 and value % 2:
            raise Boom
        return value

    async def many(value: int) -> Any:
        for number in range(value % 3):
            if number:
                await trio.lowlevel.checkpoint()
            yield value

    def plain(value: int) -> int:
        if value % 5 == 0:
            raise Boom
        return value

    return {"many": many, "loop": plain}.get(kind, work)


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    items=st.integers(1, 150),
    workers=st.integers(1, 3),
    capacity=st.sampled_from([0, 1, 3, 256]),
    fast=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_turn_of_a_worker_is_counted_once(
    kinds: list[str], items: int, workers: int, capacity: int, fast: bool
) -> None:
    def plan(number: int, kind: str) -> Any:
        return stage(
            handler(kind),
            name=f"{kind}{number}",
            workers=workers,
            capacity=capacity,
            runs_in="loop" if kind == "loop" else None,
            policies=[Retry(2, backoff=Fixed(0))] if kind in ("fails", "flaky") else (),
        )

    async def main() -> None:
        flow = pipeline([plan(number, kind) for number, kind in enumerate(kinds)])
        async with flow.open() as run:
            await run.feed(range(items))
            while run.stats().counts["held"]:
                await trio.lowlevel.checkpoint()
            for name, figures in run.stats().stages.items():
                mine = [each for each in run.workers() if each.stage == name]
                ended = sum(each.done for each in mine)
                assert ended == run.stages[name].mailbox.acked
                assert sum(each.failed for each in mine) == figures.retried + figures.failed
                assert ended + figures.failed == figures.received
                assert all(each.busy >= 0 and each.item is None for each in mine)

    before, Kernel.fast = Kernel.fast, fast
    try:
        trio.run(main)
    finally:
        Kernel.fast = before
