"""Case 5: a retry waits.

Meanwhile it holds no worker; no ending of the run forgets it; and it comes back into a mailbox
that is full, with its feeders waiting for room, without a deadlock.
"""

from __future__ import annotations

from typing import Any, Literal

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Fixed, Retry, Steps, Turn, stage
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom, counted, pipeline
from tests.flows.lives import Mortal, conserved

virtual = pytest.mark.usefixtures("autojump_clock")

MINUTE = [Retry(2, backoff=Fixed(60))]


async def first_fails(value: int, ctx: Turn) -> int:
    if ctx.attempt == 1:
        raise Boom
    return value


async def same(value: int) -> int:
    return value


class Poison:
    """Fails at item 0, and notes when each item is done."""

    def __init__(self) -> None:
        self.began = trio.current_time()
        self.done: dict[int, float] = {}

    async def __call__(self, value: int, ctx: Turn) -> int:
        if value == 0 and ctx.attempt == 1:
            raise Boom
        self.done[value] = trio.current_time() - self.began
        return value


# It holds no worker -----------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("form", ["one function", "several, a step again", "several, all again"])
async def test_twenty_items_behind_one_that_waits_are_done_at_once(form: str) -> None:
    poison = Poison()
    again: Literal["step", "stage"] = "step" if "a step" in form else "stage"
    handler: Any = poison if form == "one function" else Steps(same, poison, retry=again)

    await pipeline([stage(handler, name="work", workers=1, policies=MINUTE)]).run(range(20))

    assert poison.done == {**dict.fromkeys(range(1, 20), 0.0), 0: 60.0}


@virtual
async def test_while_all_items_wait_every_worker_is_idle() -> None:
    flow = pipeline([stage(first_fails, workers=3, policies=MINUTE)])
    async with flow.open() as run:
        await run.feed(range(5))
        await trio.sleep(30)

        assert {each.state for each in run.workers()} == {"idle"}
        assert len(run.items("retrying")) == 5

        await run.finish()

    assert trio.current_time() == 60


# It is not forgotten ----------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("retry", ["step", "stage"])
@pytest.mark.parametrize("delay", [0, 60])
@pytest.mark.parametrize("items", [1, 7])
async def test_the_end_of_a_run_waits_for_every_attempt(
    items: int, delay: float, retry: Literal["step", "stage"]
) -> None:
    attempts: list[int] = []

    async def never(value: int, ctx: Turn) -> int:
        attempts.append(ctx.attempt)
        raise Boom

    steps: Any = Steps(same, never, retry=retry)
    flow = pipeline([stage(steps, name="work", policies=[Retry(3, backoff=Fixed(delay))])])
    report = await flow.run(range(items))

    assert sorted(attempts) == sorted([1, 2, 3] * items)
    assert report.counts == counted(fed=items, dead=items)
    assert [each.attempts for each in report.dead] == [3] * items


@virtual
@pytest.mark.parametrize("ending", ["stop", "drain", "leave"])
async def test_an_ending_that_does_not_wait_keeps_it_counted(ending: str) -> None:
    async with pipeline([stage(first_fails, policies=MINUTE)]).open() as run:
        await run.feed(range(5))
        await wait_all_tasks_blocked()
        if ending == "stop":
            await run.stop()
        elif ending == "drain":
            await run.drain(1)
        else:
            run.cancel()

    assert run.report is not None
    assert run.report.counts == counted(fed=5, held=5)


async def test_it_outlives_the_process_that_it_waited_in() -> None:
    disk, tries = MemoryDisk(), list[int]()

    async def work(value: int, ctx: Turn) -> int:
        tries.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([stage(work, policies=[Retry(2, backoff=Fixed(0.05))])], name="again")
    async with flow.open(store=Mortal(disk), run_id="run") as run:
        await run.feed([1])
        await run.stop()
    assert conserved(disk, "run") == counted(fed=1, held=1)

    report = await flow.run([], store=Mortal(disk), run_id="run")

    assert report.counts == counted(fed=1, done=1)
    assert tries == [1, 2]


# It comes back into a full mailbox --------------------------------------------------------


@virtual
@pytest.mark.parametrize("position", ["head", "tail"])
@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("capacity", [0, 1, 4])
async def test_four_feeders_of_a_full_mailbox_and_retries_come_to_an_end(
    capacity: int, delay: float, position: Literal["head", "tail"]
) -> None:
    again = [Retry(2, backoff=Fixed(delay), position=position)]
    declared = [
        stage(first_fails, name=name, workers=2, capacity=capacity, policies=again)
        for name in ("one", "two")
    ]
    async with pipeline(declared).open() as run:
        async with trio.open_nursery() as nursery:
            for first in range(0, 100, 25):
                nursery.start_soon(run.feed, range(first, first + 25))
        report = await run.finish()

    assert report.counts == counted(fed=100, done=100)
    assert [each.retried for each in report.stages.values()] == [100, 100]


async def test_an_order_of_its_own_key_is_kept_over_retries(autojump_clock: MockClock) -> None:
    done: list[int] = []

    async def work(value: int, ctx: Turn) -> None:
        if value == 0 and ctx.attempt < 3:
            raise Boom
        done.append(value)

    again = [Retry(3, backoff=Fixed(10))]
    flow = pipeline([stage(work, workers=4, key=lambda value: value % 2, policies=again)])
    await flow.run(range(6))

    assert [each for each in done if each % 2 == 0] == [0, 2, 4]
    assert done[:3] == [1, 3, 5]
