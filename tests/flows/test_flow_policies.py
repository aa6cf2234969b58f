"""Policies of a whole flow: what bounds an item from feeding to its end, and what is a default."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Bulkhead,
    CircuitBreaker,
    ConfigurationError,
    Deadline,
    DeadlineExceeded,
    Divert,
    Fixed,
    RateLimit,
    Retry,
    RunOptions,
    Timeout,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, Gate, counted, double, increment, outcomes, pipeline


async def slow(value: int) -> int:
    await trio.sleep(4)
    return value


# Diverting ----------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
async def test_an_open_breaker_diverts_to_another_stage_of_the_flow(by_name: bool) -> None:
    async def down(value: int) -> int:
        raise Boom(value)

    backup = stage(double, name="backup")
    breaker = CircuitBreaker(1, 1000, when_open=Divert("backup" if by_name else backup))
    flow = pipeline([stage(down, policies=[breaker]), backup])

    with trio.fail_after(20):
        report = await flow.run(range(6))

    assert report.counts == {"fed": 6, "done": 5, "skipped": 0, "dead": 1, "held": 0}
    assert report.stages["backup"].emitted == 5


async def test_diverting_to_what_the_flow_does_not_have_makes_dead_letters() -> None:
    async def down(value: int) -> int:
        raise Boom(value)

    breaker = CircuitBreaker(1, 1000, when_open=Divert("nobody"))
    flow = pipeline([stage(down, policies=[breaker])])

    with trio.fail_after(20):
        report = await flow.run(range(3))

    assert report.counts == {"fed": 3, "done": 0, "skipped": 0, "dead": 3, "held": 0}
    assert str(report.dead[-1].error) == (
        "Divert.to must be a ref, or a stage of this flow, got 'nobody'"
    )


# Deadline -----------------------------------------------------------------------------


async def test_a_deadline_counts_from_feeding_to_the_end_of_the_item(
    autojump_clock: MockClock,
) -> None:
    async def slower(value: int) -> int:
        await trio.sleep(4 if value else 1)
        return value

    flow = pipeline([stage(slow, workers=2), stage(slower, workers=2)], policies=[Deadline(6)])

    first, second = await outcomes(flow, [0, 1])

    assert (first.number, first.status) == (0, "done")
    assert (second.number, second.status, second.stage) == (1, "failed", "slower")
    assert type(second.error) is DeadlineExceeded
    assert second.timings["total"] == 6


async def test_items_that_wait_too_long_expire_without_being_begun(
    autojump_clock: MockClock,
) -> None:
    begun: list[int] = []

    async def note(value: int) -> int:
        begun.append(value)
        await trio.sleep(4)
        return value

    report = await pipeline([note], policies=[Deadline(6)]).run(range(4))

    assert begun == [0, 1]
    assert report.counts == counted(fed=4, done=1, dead=3)
    assert [(letter.reason, letter.attempts) for letter in report.dead] == [
        ("expired", 1),
        ("expired", 0),
        ("expired", 0),
    ]


async def test_a_retry_that_would_come_too_late_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async def fail(value: int) -> int:
        raise Boom("last words")

    again = [Retry(9, backoff=Fixed(4))]
    began = trio.current_time()
    report = await pipeline([stage(fail, policies=again)], policies=[Deadline(6)]).run([1])

    (letter,) = report.dead
    assert trio.current_time() - began == 4
    assert (letter.reason, letter.attempts, repr(letter.error)) == (
        "expired",
        2,
        "Boom('last words')",
    )


async def test_a_deadline_holds_for_every_piece_of_an_item(autojump_clock: MockClock) -> None:
    async def spread(value: int) -> AsyncIterator[int]:
        for each in range(3):
            await trio.sleep(1)
            yield each

    flow = pipeline([spread, stage(slow, workers=9)], policies=[Deadline(6.5)])

    report = await flow.run([0])

    assert report.counts == counted(fed=1, dead=1)
    assert report.stages["slow"].emitted == 2


async def test_the_smaller_of_timeout_and_deadline_holds(autojump_clock: MockClock) -> None:
    async def forever(value: int) -> int:
        await trio.sleep_forever()
        return value

    for timeout, reason in ((2, "failed"), (9, "expired")):
        flow = pipeline([stage(forever, timeout=timeout)], policies=[Deadline(5)])
        (letter,) = (await flow.run([1])).dead
        assert letter.reason == reason


# RateLimit ----------------------------------------------------------------------------


async def test_a_rate_limit_bounds_feeding(autojump_clock: MockClock) -> None:
    fed: list[float] = []
    began = trio.current_time()

    async def note(value: int) -> int:
        fed.append(trio.current_time() - began)
        return value

    await pipeline([stage(note, workers=9)], policies=[RateLimit(4, burst=2)]).run(range(7))

    assert fed == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1.0, 1.25])


async def test_a_rate_limit_is_one_for_all_who_feed(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    flow = pipeline([double], policies=[RateLimit(1)])
    async with flow.open() as run, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run.feed, iter(range(5)))

    assert trio.current_time() - began == pytest.approx(14, abs=1.1)


async def test_two_rate_limits_both_hold(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    limits = [RateLimit(10, burst=10), RateLimit(60, per=60, burst=15)]
    await pipeline([double], policies=limits).run(range(25))

    assert trio.current_time() - began == pytest.approx(10, abs=1)


async def test_finish_and_drain_do_not_wait_for_the_rate(autojump_clock: MockClock) -> None:
    flow = pipeline([double], policies=[RateLimit(1, per=1000)])
    async with flow.open() as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed_from, range(100))
        await trio.sleep(1)
        began = trio.current_time()
        report = await run.drain(60)

    assert trio.current_time() - began == 0
    assert report.counts == counted(fed=1, done=1)


def test_a_rate_limit_of_a_flow_has_no_key() -> None:
    with pytest.raises(ConfigurationError, match=r"^flow 'f' RateLimit\.key must be None"):
        pipeline([double], name="f", policies=[RateLimit(1, key=lambda value: value)]).open()


async def test_a_rate_limit_of_a_stage_is_one_for_its_workers(autojump_clock: MockClock) -> None:
    begun: list[float] = []
    zero = trio.current_time()

    async def note(value: int) -> int:
        begun.append(trio.current_time() - zero)
        await trio.sleep(100)
        return value

    flow = pipeline([stage(note, workers=5, policies=[RateLimit(2)])])
    await flow.run(range(5))

    assert begun == pytest.approx([0, 0.5, 1, 1.5, 2])


# Bulkhead -----------------------------------------------------------------------------


async def test_a_bulkhead_bounds_the_items_inside() -> None:
    gate = Gate()
    flow = pipeline([increment, stage(gate, workers=9)], policies=[Bulkhead(3)])
    async with flow.open() as run:
        run.start_feeding(range(20))
        await wait_all_tasks_blocked()
        assert (len(gate.inside), run.stats().counts["held"]) == (3, 3)
        gate.open()
        await run.over.wait()

    assert gate.most == 3


async def test_the_smallest_of_bulkheads_concurrency_and_window_holds() -> None:
    cases: list[tuple[RunOptions, list[Bulkhead], int]] = [
        ({"concurrency": 2}, [Bulkhead(5)], 2),
        ({"concurrency": 7}, [Bulkhead(5), Bulkhead(4)], 4),
        ({"window": 3}, [Bulkhead(5)], 3),
    ]
    for options, policies, wanted in cases:
        gate = Gate()
        flow = pipeline([stage(gate, workers=9)], policies=policies)
        async with flow.open(**options) as run:
            run.start_feeding(range(20))
            await wait_all_tasks_blocked()
            assert len(gate.inside) == wanted
            gate.open()


async def test_a_shared_bulkhead_bounds_two_stages_together(autojump_clock: MockClock) -> None:
    inside = most = 0

    async def query(value: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await trio.sleep(1)
        inside -= 1
        return value

    limit = [Bulkhead(3, shared="database")]
    flow = pipeline(
        [
            stage(query, name="read", workers=9, policies=limit),
            stage(query, name="write", workers=9, policies=limit),
        ]
    )
    began = trio.current_time()
    report = await flow.run(range(30))

    assert report.counts == counted(fed=30, done=30)
    assert most == 3
    assert trio.current_time() - began == 20


# Defaults -----------------------------------------------------------------------------


async def test_a_breaker_of_the_flow_is_one_of_each_stages_own(autojump_clock: MockClock) -> None:
    async def down(value: int) -> int:
        raise Boom

    async def fine(value: int) -> int:
        return value

    breaker = CircuitBreaker(2, recovery_timeout=1000, when_open="reject")
    flow = pipeline([fine, down], policies=[breaker])

    report = await flow.run(range(6))

    assert report.counts == counted(fed=6, dead=6)
    assert sorted(letter.reason for letter in report.dead) == ["failed"] * 2 + ["rejected"] * 4
    assert report.stages["fine"].emitted == 6


async def test_a_timeout_of_the_flow_is_one_per_attempt_of_each_stage(
    autojump_clock: MockClock,
) -> None:
    async def slow_first(value: int, ctx: Turn) -> int:
        await trio.sleep(10 if ctx.attempt == 1 else 4)
        return value

    again = [Timeout(5), Retry(2, backoff=Fixed(0))]
    flow = pipeline([stage(slow_first, name="one"), stage(slow_first, name="two")], policies=again)
    began = trio.current_time()

    assert await flow.invoke(1) == 1
    assert trio.current_time() - began == 2 * (5 + 4)


@pytest.mark.parametrize("policies", [[3], ["Retry"], [Retry(), Retry()], Retry()])
def test_what_is_no_list_of_policies_is_refused(policies: object) -> None:
    with pytest.raises(ConfigurationError, match="flow 'f'"):
        pipeline([double], name="f", policies=policies)
