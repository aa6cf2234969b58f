"""Keys and priorities: what is worked on one at a time, in order, and what goes first."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Bulkhead,
    CircuitBreaker,
    Deadline,
    Fixed,
    RateLimit,
    Retry,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline


def tenth(value: int) -> int:
    return value // 10


class Watched:
    """A handler that notes what is inside per key, and in which order each key is done."""

    def __init__(
        self, *, seed: int = 0, fails: int = 0, delays: tuple[float, ...] = (0, 1)
    ) -> None:
        self.done: dict[int, list[int]] = defaultdict(list)
        self.inside: dict[int, int] = defaultdict(int)
        self.most_keys = 0
        self._chance = random.Random(seed)
        self._fails = fails
        self._delays = delays

    async def __call__(self, value: int, ctx: Turn) -> int:
        key = tenth(value)
        assert not self.inside[key], f"two of key {key} at a time"
        self.inside[key] += 1
        self.most_keys = max(self.most_keys, sum(self.inside.values()))
        try:
            await trio.sleep(self._chance.choice(self._delays))
            if ctx.attempt <= self._fails and self._chance.random() < 0.5:
                raise Boom
        finally:
            self.inside[key] -= 1
        self.done[key].append(value)
        return value


@pytest.mark.parametrize("fails", [0, 1, 3])
@pytest.mark.parametrize("capacity", [0, 1, 5, 256])
@pytest.mark.parametrize("delay", [0, 2])
async def test_of_one_key_one_message_is_worked_on_at_a_time_in_order_over_retries(
    fails: int, capacity: int, delay: float, autojump_clock: MockClock
) -> None:
    watched = Watched(seed=capacity, fails=fails)
    values = list(range(100))
    random.Random(capacity).shuffle(values)
    policies = [Retry(5, backoff=Fixed(delay))]
    flow = pipeline([stage(watched, workers=6, key=tenth, capacity=capacity, policies=policies)])

    report = await flow.run(values)

    assert report.counts == counted(fed=100, done=100)
    assert watched.done == {
        key: [value for value in values if tenth(value) == key] for key in range(10)
    }
    assert watched.most_keys > 1 or not capacity


async def test_a_retrying_key_does_not_lock_itself_out_behind_its_followers(
    autojump_clock: MockClock,
) -> None:
    """More followers than may wait aside, and the one they follow must come back."""

    async def one_key(value: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            raise Boom
        return value

    again = [Retry(2, backoff=Fixed(1))]
    flow = pipeline(
        [stage(one_key, key=lambda _: "same", capacity=4, max_waiting=3, policies=again)]
    )

    report = await flow.run(range(40))

    assert report.counts == counted(fed=40, done=40)


async def test_no_key_is_no_order() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=4, key=lambda _: None)]).open() as run:
        await run.feed(range(4))
        await wait_all_tasks_blocked()
        assert len(gate.inside) == 4
        gate.open()


@pytest.mark.parametrize("where", ["key", "rate"])
async def test_a_key_that_ends_programs_fails_its_item_alone(where: str) -> None:
    def exits(value: int) -> int:
        if value == 1:
            raise SystemExit
        return value

    limits = [RateLimit(1000, burst=9, key=exits)] if where == "rate" else []
    flow = pipeline([stage(increment, key=exits if where == "key" else None, policies=limits)])

    assert (await flow.run(range(4))).counts == counted(fed=4, done=3, dead=1)


async def test_an_error_in_the_key_fails_its_item_alone() -> None:
    async with pipeline([stage(increment, key=lambda value: 1 // value)]).open() as run:
        results = run.results()
        await run.feed([0, 1, 2])
        found = {(await anext(results)).status for _ in range(3)}
        (error,) = run.errors()

    assert found == {"failed", "done"}
    assert (error.type, error.count) == ("ZeroDivisionError", 1)


async def test_a_key_that_cannot_be_looked_up_fails_its_item_alone() -> None:
    report = await pipeline([stage(increment, key=lambda value: [value])]).run([1])

    assert report.counts == counted(fed=1, dead=1)


def refuse_one(value: int) -> int:
    return 1 // (value - 1)


@pytest.mark.parametrize("how", ["dead", "skipped", "rejected", "expired", "crashed", "key error"])
async def test_who_follows_a_message_that_ends_without_a_value_is_not_forgotten(
    how: str, autojump_clock: MockClock
) -> None:
    async def first_ends(value: int, ctx: Turn) -> int:
        await trio.sleep(1)
        if value == 0:
            if how == "skipped":
                ctx.skip()
                return 0
            raise SystemExit if how == "crashed" else Boom
        return value

    policies: dict[str, list[Any]] = {
        "rejected": [CircuitBreaker(1, 50, when_open="reject"), Retry(3, backoff=Fixed(10))],
        "expired": [Deadline(5), Retry(3, backoff=Fixed(3.5))],
        "key error": [RateLimit(100, key=refuse_one)],
    }
    flow = pipeline([stage(first_ends, workers=3, key=lambda _: 1, policies=policies.get(how, []))])

    async with flow.open() as run:
        results = run.results()
        await run.feed(range(4))
        for _ in range(4):
            await anext(results)
        report = await run.finish()

    counts = dict(report.counts)
    assert counts.pop("fed") == counts["done"] + counts["dead"] + counts["skipped"] == 4


@pytest.mark.parametrize(
    "policies",
    [
        [RateLimit(2)],
        [Bulkhead(1)],
        [RateLimit(2, key=lambda value: value % 3)],
        [Bulkhead(2), RateLimit(5), Retry(3, backoff=Fixed(1))],
    ],
)
async def test_keys_go_together_with_gates(policies: list[Any], autojump_clock: MockClock) -> None:
    watched = Watched(fails=2 if len(policies) > 2 else 0)
    flow = pipeline([stage(watched, workers=4, key=tenth, max_waiting=4, policies=policies)])

    report = await flow.run(range(40))

    assert report.counts == counted(fed=40, done=40)
    assert watched.done == {key: list(range(key * 10, key * 10 + 10)) for key in range(4)}


async def test_urgent_messages_of_a_key_that_waits_do_not_lock_it_out(
    autojump_clock: MockClock,
) -> None:
    limit = [RateLimit(1)]
    flow = pipeline([stage(increment, key=lambda _: 1, max_waiting=1, policies=limit)])

    async with flow.open() as run:
        for priority in range(10, 0, -1):
            await run.feed([priority], priority=priority)
            await wait_all_tasks_blocked()
        report = await run.finish()

    assert report.counts == counted(fed=10, done=10)


# Priorities ---------------------------------------------------------------------------


async def test_lower_priorities_go_first_and_equal_ones_in_order() -> None:
    done: list[str] = []

    async def note(value: str) -> None:
        done.append(value)

    async with pipeline([note]).open() as run:
        await run.pause("note")
        await run.feed(["c1", "c2"], priority=100)
        await run.feed(["a1", "a2"], priority=1)
        await run.feed(["b1", "b2"], priority=50)
        await run.feed(["a3"], priority=1)
        await run.resume("note")
        await run.finish()

    assert done == ["a1", "a2", "a3", "b1", "b2", "c1", "c2"]


async def test_a_priority_is_kept_over_stages_pieces_and_retries(
    autojump_clock: MockClock,
) -> None:
    done: list[str] = []

    async def halves(value: str) -> AsyncIterator[str]:
        yield value + "1"
        yield value + "2"

    async def flaky(value: str, ctx: Turn) -> str:
        if ctx.attempt == 1:
            raise Boom
        return value

    async def note(value: str) -> None:
        done.append(value)

    again = [Retry(2, backoff=Fixed(1))]
    async with pipeline([halves, stage(flaky, policies=again), note]).open() as run:
        await run.pause("note")
        await run.feed(["low"], priority=200)
        await run.feed(["high"], priority=1)
        await run.feed(["mid"])
        await trio.sleep(10)
        await run.resume("note")
        await run.finish()

    assert done == ["high1", "high2", "mid1", "mid2", "low1", "low2"]


async def test_a_stage_may_ignore_priorities() -> None:
    done: list[int] = []

    async def note(value: int) -> None:
        done.append(value)

    async with pipeline([stage(note, priorities=False)]).open() as run:
        await run.pause("note")
        for value in (1, 2, 3):
            await run.feed([value], priority=100 - value)
        await run.resume("note")
        await run.finish()

    assert done == [1, 2, 3]


async def test_urgent_messages_do_not_starve_the_others() -> None:
    done: list[int] = []

    async def note(value: int) -> None:
        done.append(value)

    async with pipeline([stage(note, capacity=1000)]).open() as run:
        await run.pause("note")
        await run.feed([-1])
        await run.feed(range(100), priority=1)
        await run.resume("note")
        await run.finish()

    assert done.index(-1) < 20


async def test_a_key_that_waits_for_less_than_a_moment_does_not_stop_the_clock(
    autojump_clock: MockClock,
) -> None:
    async def fail(value: int) -> int:
        raise Boom

    breaker = CircuitBreaker(1, recovery_timeout=3e-7, key=lambda value: 0)
    flow = pipeline([stage(fail, policies=[breaker, Retry(3, backoff=Fixed(1e-9))])])

    assert (await flow.run(range(3))).counts == counted(fed=3, dead=3)
