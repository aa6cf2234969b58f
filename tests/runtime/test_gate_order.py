"""A keyed policy lets other keys pass, and never changes the order within one."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import ActorSystem, CircuitBreaker, RateLimit, Turn
from actorflow.policies.ratelimit import SLACK
from actorflow.runtime.kernel import Kernel
from tests.runtime.actors import Does

gaps = st.sampled_from([0.0, 0.0, 0.1, 0.3, 1 / 3, 0.7, 1.1])
arrivals = st.lists(st.tuples(st.sampled_from("abc"), gaps), min_size=1, max_size=30)
rates = st.sampled_from([0.7, 1.0, 3.0, 7.0])


def handled(mail: list[tuple[str, float]], policy: Any) -> dict[str, list[tuple[float, int]]]:
    """Per key: when each message was handled, and its number."""
    seen: dict[str, list[tuple[float, int]]] = defaultdict(list)

    async def note(message: tuple[str, int], ctx: Turn) -> None:
        seen[message[0]].append((trio.current_time(), message[1]))
        if isinstance(policy, CircuitBreaker) and message[1] % 3 == 0:
            raise OSError

    async def main() -> None:
        async with ActorSystem("s") as system:
            ref = await system.spawn(Does(do=note), policies=[policy])
            for number, (key, gap) in enumerate(mail):
                await trio.sleep(gap)
                await ref.tell((key, number))
            await trio.sleep(1000)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return seen


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "full"])
@given(mail=arrivals, rate=rates)
@settings(max_examples=80, deadline=None)
def test_a_rate_limit_per_key_keeps_its_order_and_its_rate(
    mail: list[tuple[str, float]], rate: float, fast: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "fast", fast)
        seen = handled(mail, RateLimit(rate, key=lambda body: body[0]))

    assert sum(map(len, seen.values())) == len(mail)
    for notes in seen.values():
        times = [time for time, _ in notes]
        numbers = [number for _, number in notes]
        assert numbers == sorted(numbers)
        assert all(b - a > 1 / rate - 1e-6 for a, b in pairwise(times))


@given(mail=arrivals)
@settings(max_examples=80, deadline=None)
def test_a_circuit_per_key_keeps_its_order(mail: list[tuple[str, float]]) -> None:
    seen = handled(mail, CircuitBreaker(1, recovery_timeout=1 / 3, key=lambda body: body[0]))

    assert sum(map(len, seen.values())) == len(mail)
    for notes in seen.values():
        numbers = [number for _, number in notes]
        assert numbers == sorted(numbers)


@pytest.mark.usefixtures("autojump_clock")
async def test_who_comes_just_before_a_wait_ends_does_not_pass_those_who_waited() -> None:
    seen: list[str] = []

    async def note(message: str, ctx: Turn) -> None:
        seen.append(message)

    async with ActorSystem("s") as system:
        limit = RateLimit(1, key=lambda body: body[0])
        ref = await system.spawn(Does(do=note), policies=[limit])
        began = trio.current_time()
        for when, message in (
            (0.0, "a1"),
            (0.5, "b1"),
            (0.6, "a2"),  # Waits until 1, and when that is over another one still waits:
            (0.7, "b2"),  # until 1.5.
            (1.5 - SLACK / 2, "b3"),
        ):
            await trio.sleep_until(began + when)
            await ref.tell(message)
        await trio.sleep(5)

    assert seen == ["a1", "b1", "a2", "b2", "b3"]
