"""Retries in a flow: who waits meanwhile, what the next attempt sees, and that none is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Exponential, Fixed, Retry, StageError, Timeout, Turn, stage
from actorflow.core.events import AttemptFailed
from actorflow.runtime.kernel import Kernel
from tests.flows.flowing import Boom, counted, counts_add_up, double, increment, pipeline


@pytest.fixture(params=[True, False], ids=["fast", "full"], autouse=True)
def both_roads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "fast", request.param)


async def first_time_fails(value: int, ctx: Turn) -> int:
    if ctx.attempt == 1:
        raise Boom(value)
    return value


async def test_a_waiting_retry_holds_no_worker(autojump_clock: MockClock) -> None:
    ended: dict[int, float] = {}
    began = trio.current_time()

    async def zero_waits(value: int, ctx: Turn) -> int:
        if value == 0 and ctx.attempt == 1:
            raise Boom
        ended[value] = trio.current_time() - began
        return value

    flow = pipeline([stage(zero_waits, workers=1, policies=[Retry(2, backoff=Fixed(60))])])
    await flow.run(range(5))

    assert ended == {1: 0, 2: 0, 3: 0, 4: 0, 0: 60}


@pytest.mark.parametrize("position", ["head", "tail"])
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("capacity", [0, 1, 2])
async def test_a_retry_into_a_full_mailbox_never_deadlocks(
    capacity: int, delay: float, position: Any, autojump_clock: MockClock
) -> None:
    again = [Retry(3, backoff=Fixed(delay), position=position)]
    flow = pipeline(
        [
            stage(first_time_fails, name=name, capacity=capacity, workers=2, policies=again)
            for name in ("one", "two", "three")
        ]
    )

    report = await flow.run(range(50))

    assert report.counts == counted(fed=50, done=50)
    assert [each.retried for each in report.stages.values()] == [50, 50, 50]


async def test_a_dead_service_does_not_move_the_input_into_memory(
    autojump_clock: MockClock,
) -> None:
    """Beyond `max_waiting` a stage begins nothing new, and the pressure goes upstream."""

    async def down(value: int) -> int:
        raise Boom

    again = [Retry(1000, backoff=Fixed(3600))]
    flow = pipeline([double, stage(down, capacity=5, max_waiting=10, policies=again)])

    async with flow.open() as run:
        run.start_feeding(range(1000))
        await trio.sleep(7200.5)
        stats = run.stats()

        assert stats.stages["down"].pending == 10 + 5
        assert stats.counts["dead"] == 0
        assert counts_add_up(run)
        await run.stop()


@pytest.mark.parametrize("body", [{"left": [1, 2]}, [1, {"deep": set()}], {1, 2}])
async def test_every_attempt_sees_the_message_as_it_was_sent(body: Any) -> None:
    seen: list[str] = []

    async def spoil(value: Any, ctx: Turn) -> int:
        seen.append(repr(value))
        value.clear()
        if ctx.attempt < 3:
            raise Boom
        return 0

    await pipeline([stage(spoil, policies=[Retry(3, backoff=Fixed(0))])]).invoke(body)

    assert len(seen) == 3
    assert len(set(seen)) == 1


async def test_every_attempt_in_a_later_stage_sees_the_message_as_it_was_sent() -> None:
    seen: list[list[int]] = []

    async def listed(value: int) -> list[int]:
        return [value]

    async def spoil(value: list[int], ctx: Turn) -> int:
        seen.append(list(value))
        value.append(ctx.attempt)
        if ctx.attempt < 3:
            raise Boom
        return 0

    flow = pipeline([listed, stage(spoil, policies=[Retry(3, backoff=Fixed(0))])])
    await flow.invoke(1)

    assert seen == [[1], [1], [1]]


async def test_isolation_share_gives_every_attempt_the_same_object() -> None:
    seen: list[int] = []

    async def look(value: list[int], ctx: Turn) -> int:
        seen.append(id(value))
        if ctx.attempt < 2:
            raise Boom
        return 0

    again = Retry(2, backoff=Fixed(0))
    async with pipeline([stage(look, isolation="share", policies=[again])]).open() as run:
        await run.set_policy("look", Retry(2, backoff=Fixed(0), position="head"))
        await run.feed([[1]])
        await run.finish()

    assert len(set(seen)) == 1


async def test_when_every_item_fails_once_in_every_stage_all_are_done(
    autojump_clock: MockClock,
) -> None:
    chance = random.Random(7)
    flow = pipeline(
        [
            stage(first_time_fails, name=f"s{number}", workers=3, capacity=number)
            for number in range(4)
        ],
        policies=[Retry(2, backoff=Exponential(0.1, jitter="full"))],
    )

    report = await flow.run(range(200), seed=chance.randrange(1000))

    assert report.counts == counted(fed=200, done=200)


async def test_only_errors_worth_it_are_tried_again() -> None:
    async def refuse(value: int) -> int:
        raise KeyError if value else Boom

    again = Retry(3, backoff=Fixed(0), retry_on=(LookupError,), never_on=(IndexError,))
    first, second = await pipeline([stage(refuse, policies=[again])]).map(
        [0, 1], return_exceptions=True
    )

    assert (first.attempts, second.attempts) == (1, 3)


async def test_a_timeout_is_an_attempt_like_any_other(autojump_clock: MockClock) -> None:
    async def slow_twice(value: int, ctx: Turn) -> int:
        await trio.sleep(100 if ctx.attempt < 3 else 1)
        return ctx.attempt

    flow = pipeline([stage(slow_twice, policies=[Timeout(5), Retry(3, backoff=Fixed(1))])])
    began = trio.current_time()

    assert await flow.invoke(0) == 3
    assert trio.current_time() - began == 5 + 1 + 5 + 1 + 1


async def test_observers_hear_of_every_failed_attempt() -> None:
    heard: list[tuple[str, str, int, str, float]] = []

    class Ear:
        def on_event(self, event: object) -> None:
            if isinstance(event, AttemptFailed):
                error = repr(event.error)
                heard.append((event.path, event.message_id, event.attempt, error, event.delay))

    flow = pipeline(
        [stage(first_time_fails, policies=[Retry(3, backoff=Fixed(0))])],
        name="f",
        observers=[Ear()],
    )
    await flow.run([7])

    assert heard == [("/f/first_time_fails/1", "0", 1, "Boom(7)", 0.0)]


async def test_a_retry_that_waits_at_a_stop_is_held_and_counted(autojump_clock: MockClock) -> None:
    flow = pipeline([stage(first_time_fails, policies=[Retry(2, backoff=Fixed(60))])])

    async with flow.open() as run:
        await run.feed(range(3))
        await trio.sleep(1)
        report = await run.stop()

    assert report.counts == counted(fed=3, held=3)
    assert trio.current_time() < autojump_clock.current_time() + 10


async def test_a_retry_due_after_the_end_of_a_drain_stays_held(autojump_clock: MockClock) -> None:
    flow = pipeline([stage(first_time_fails, policies=[Retry(2, backoff=Fixed(60))]), increment])

    async with flow.open() as run:
        await run.feed(range(3))
        await wait_all_tasks_blocked()
        began = trio.current_time()
        report = await run.drain(10)

    assert report.counts == counted(fed=3, held=3)
    assert trio.current_time() - began == 10


async def test_the_flows_retry_is_for_stages_that_name_none() -> None:
    tries: dict[str, int] = {}

    def failing(name: str, **given: Any) -> Any:
        async def fail(value: int, ctx: Turn) -> int:
            tries[name] = ctx.attempt
            raise Boom

        return stage(fail, name=name, **given)

    default = [Retry(4, backoff=Fixed(0))]
    cases: dict[str, dict[str, Any]] = {
        "own": {"policies": [Retry(2, backoff=Fixed(0))]},
        "none": {},
        "other": {"policies": [Timeout(5)]},
    }
    for name, given in cases.items():
        with pytest.raises(StageError):
            await pipeline([failing(name, **given)], policies=default).invoke(1)

    assert tries == {"own": 2, "none": 4, "other": 4}


async def test_redelivered_messages_leave_a_mailbox_as_small_as_it_was(
    autojump_clock: MockClock,
) -> None:
    again = [Retry(2, backoff=Fixed(0))]
    async with pipeline([stage(first_time_fails, capacity=2, policies=again)]).open() as run:
        await run.feed(range(50))
        await wait_all_tasks_blocked()
        await run.pause("first_time_fails")
        run.start_feeding(range(50))
        await wait_all_tasks_blocked()

        assert run.stats().stages["first_time_fails"].pending == 2
        await run.stop()
