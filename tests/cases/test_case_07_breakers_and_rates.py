"""Case 7: breakers and rate limits.

Each stage, actor and key has its own; a probe that is cancelled leaves nothing shut; a rate below
one a second is exact; and no window of time, wherever it begins, lets more through than it should.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import (
    Actor,
    ActorSystem,
    CircuitBreaker,
    CircuitOpenError,
    Fixed,
    RateLimit,
    Retry,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, counted, outcomes, pipeline

virtual = pytest.mark.usefixtures("autojump_clock")


async def good(value: Any) -> Any:
    return value


async def bad(value: Any) -> Any:
    raise Boom(value)


class Times:
    """A handler that notes when it is called."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.of: dict[Any, list[float]] = {}

    async def __call__(self, value: Any) -> Any:
        self.at.append(round(trio.current_time(), 6))
        self.of.setdefault(value, []).append(self.at[-1])
        return value


# Each has its own -----------------------------------------------------------------------


@virtual
async def test_a_stage_that_works_does_not_close_the_circuit_of_one_that_fails() -> None:
    """Both have the same policy object; the good one succeeds between all failures of the other."""
    breaker = CircuitBreaker(2, recovery_timeout=60, when_open="reject")

    found = await outcomes(
        pipeline([stage(good, policies=[breaker]), stage(bad, policies=[breaker])]), range(5)
    )

    errors = [type(each.error) for each in found]
    assert errors == [Boom, Boom, CircuitOpenError, CircuitOpenError, CircuitOpenError]
    assert {each.stage for each in found} == {"bad"}


@virtual
async def test_an_open_circuit_of_one_stage_does_not_reject_in_another() -> None:
    async def fails_once(value: int, ctx: Turn) -> int:
        raise Boom

    breaker = CircuitBreaker(1, recovery_timeout=1000, when_open="reject")
    down, up = stage(fails_once, policies=[breaker]), stage(good, policies=[breaker])
    async with pipeline([up, down]).open() as run:
        await run.feed([1, 2])
        await run.feed([3], stage="good")
        report = await run.finish()

    assert report.stages["good"].failed == 0
    assert report.stages["good"].emitted == 3
    assert report.counts == counted(fed=3, dead=3)


class Service(Actor):
    """Fails at what begins with ``bad``."""

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message.startswith("bad"):
            raise Boom
        return message


@virtual
async def test_each_actor_has_a_circuit_of_its_own() -> None:
    breaker = CircuitBreaker(1, recovery_timeout=1000, when_open="reject")
    async with ActorSystem("s") as system:
        one = await system.spawn(Service(), name="one", policies=[breaker])
        two = await system.spawn(Service(), name="two", policies=[breaker])
        await one.tell("bad")
        await one.tell("good")
        assert await two.ask("good") == "good"

    assert [(each.stage_or_actor, each.reason) for each in system.dead_letters()] == [
        ("/s/one", "failed"),
        ("/s/one", "rejected"),
    ]


@virtual
async def test_each_key_has_a_circuit_and_a_rate_of_its_own() -> None:
    async def call(host: str) -> str:
        if host == "down":
            raise Boom
        return host

    breaker = CircuitBreaker(1, recovery_timeout=1000, when_open="reject", key=str)
    found = await outcomes(pipeline([stage(call, policies=[breaker])]), ["down", "up"] * 2)
    assert [each.value for each in found if each.ok] == ["up", "up"]

    times = Times()
    began = trio.current_time()
    await pipeline([stage(times, policies=[RateLimit(1, key=str)])]).run(["a", "a", "b", "b"])
    assert {key: [at - began for at in each] for key, each in times.of.items()} == {
        "a": [0, 1],
        "b": [0, 1],
    }


# A probe that is cancelled --------------------------------------------------------------


@virtual
async def test_after_a_probe_that_is_cancelled_the_next_one_closes_the_circuit() -> None:
    async def call(value: str) -> str:
        if value == "bad":
            raise Boom
        if value == "hangs":
            await trio.sleep_forever()
        return value

    breaker = CircuitBreaker(1, recovery_timeout=10)
    async with pipeline([stage(call, policies=[breaker])]).open() as run:
        await run.feed(["bad"])
        probe = await run.submit("hangs")
        await trio.sleep(20)
        assert probe.attempts == 1
        probe.cancel()
        with trio.fail_after(1):
            value = await (await run.submit("good")).result()

    assert value == "good"


@virtual
async def test_after_a_probe_that_times_out_the_circuit_opens_for_another_recovery_time() -> None:
    async def call(value: int, ctx: Turn) -> float:
        if value == 0:
            raise Boom
        if value == 1:
            await trio.sleep_forever()
        return trio.current_time()

    breaker = CircuitBreaker(1, recovery_timeout=10)
    flow = pipeline([stage(call, policies=[breaker], timeout=5)])
    found = await outcomes(flow, range(3))

    assert [each.value for each in found if each.ok] == [10 + 5 + 10]


# Rates ----------------------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("rate", [0.5, 0.3, 1, 2.5, 20])
async def test_a_rate_is_exact_below_one_a_second_too(rate: float) -> None:
    times = Times()

    await pipeline([stage(times, workers=3, policies=[RateLimit(rate)])]).run(range(20))

    assert times.at == pytest.approx([number / rate for number in range(20)], abs=1e-5)


@virtual
async def test_a_retry_takes_from_the_rate_like_any_other_call() -> None:
    at: list[float] = []

    async def fails(value: int) -> None:
        at.append(trio.current_time())
        raise Boom

    policies = [RateLimit(1), Retry(3, backoff=Fixed(0))]
    await pipeline([stage(fails, policies=policies)]).run([1, 2])

    assert at == [0, 1, 2, 3, 4, 5]


@given(
    rate=st.integers(1, 20),
    burst=st.integers(1, 5),
    pauses=st.lists(st.sampled_from([0.0, 0.01, 0.95, 3.0]), min_size=1, max_size=25),
)
def test_no_second_wherever_it_begins_has_more_than_the_rate_and_the_burst(
    rate: int, burst: int, pauses: list[float]
) -> None:
    times = Times()

    async def main() -> None:
        flow = pipeline([stage(times, policies=[RateLimit(rate, burst=burst)])])
        async with flow.open() as run:
            for number, pause in enumerate(pauses):
                await trio.sleep(pause)
                await run.feed([number])
            await run.finish()

    trio.run(main, clock=MockClock(autojump_threshold=0))

    assert len(times.at) == len(pauses)
    for first in times.at:
        inside = [at for at in times.at if first <= at < first + 1 - 1e-5]
        assert len(inside) <= rate + burst


@virtual
async def test_nothing_is_let_through_early_because_a_second_has_just_begun() -> None:
    times = Times()

    async with pipeline([stage(times, policies=[RateLimit(10)])]).open() as run:
        await trio.sleep(0.95)
        await run.feed(range(11))
        await run.finish()

    assert times.at == pytest.approx([0.95 + number / 10 for number in range(11)], abs=1e-5)


def test_what_can_never_be_a_rate_or_a_circuit_is_refused_when_it_is_declared() -> None:
    for rate in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="rate"):
            RateLimit(rate)
    with pytest.raises(ValueError, match="failure_threshold"):
        CircuitBreaker(0)
