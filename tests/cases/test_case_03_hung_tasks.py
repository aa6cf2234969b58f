"""Case 3: a task hangs.

Its stage's timeout frees the worker, wherever the handler runs and even if it swallows its
cancellation. Without a timeout whoever ends the run, by `stop`, by `drain` with a deadline or by
cancelling the caller, comes back, and the item is still counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Context, Pipeline, TurnTimeout, stage
from actorflow.core.events import ThreadStuck
from tests.flows.flowing import counted, nothing_left, outcomes, pipeline
from tests.stages.handlers import hangs_if_negative

virtual = pytest.mark.usefixtures("autojump_clock")


async def hangs(value: int) -> int:
    """If it is negative."""
    if value < 0:
        await trio.sleep_forever()
    return value


async def deaf(value: int) -> int:
    """As `hangs`, and cannot be cancelled."""
    while value < 0:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            continue
    return value


async def shielded(value: int) -> int:
    """As `hangs`, and waits when it is cancelled."""
    try:
        await hangs(value)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        raise
    return value


async def endless(value: int) -> AsyncIterator[int]:
    """Gives more than there is room for."""
    while value < 0:
        yield value
    yield value


# Its stage's timeout ----------------------------------------------------------------------


@virtual
@pytest.mark.parametrize("handler", [hangs, shielded], ids=lambda each: each.__name__)
async def test_the_timeout_of_its_stage_frees_the_worker(handler: Any) -> None:
    flow = pipeline([stage(handler, timeout=10, workers=1)])

    found = await outcomes(flow, [1, -1, 2], ordered=True)

    assert [each.status for each in found] == ["done", "failed", "done"]
    assert isinstance(found[1].error, TurnTimeout)
    assert isinstance(found[1].error, TimeoutError)
    assert trio.current_time() == pytest.approx(10, abs=2.1)


async def test_a_worker_process_that_hangs_is_killed_at_its_timeout() -> None:
    first = pipeline([stage(hangs_if_negative, runs_in="process", name="first")])
    hung = pipeline([stage(hangs_if_negative, runs_in="process", name="hung", timeout=1)])

    assert await first.invoke(1) == 1  # A process is there now.
    report = await hung.run([-1])
    assert await first.invoke(2) == 2

    assert report.counts == counted(fed=1, dead=1)
    assert isinstance(report.dead[0].error, TurnTimeout)


async def test_a_thread_that_hangs_gives_its_item_up_and_is_never_doubled() -> None:
    """Python cannot end a thread, so its worker waits for it; the others go on."""
    free = threading.Event()
    inside: list[int] = []
    stuck = trio.Event()

    class Listens:
        wants = (ThreadStuck,)

        def on_event(self, event: ThreadStuck) -> None:
            stuck.set()

    def work(value: int) -> int:
        inside.append(value)
        if value < 0:
            free.wait(60)
        return value

    async with pipeline([stage(work, timeout=0.05, workers=2)]).open(observers=[Listens()]) as run:
        await run.feed([-1, *range(20)])
        results = run.results()
        found = [await anext(results) for _ in range(20)]
        await stuck.wait()
        states = {each.state for each in run.workers()}
        free.set()
        report = await run.finish()

    assert sorted(each.value for each in found) == list(range(20))
    assert states == {"idle", "stuck"}
    assert inside.count(-1) == 1
    assert report.counts == counted(fed=21, done=20, dead=1)


# Without a timeout ------------------------------------------------------------------------

ENDINGS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "stop": lambda run: run.stop(),
    "drain": lambda run: run.drain(5),
}


@virtual
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("handler", [hangs, deaf, shielded], ids=lambda each: each.__name__)
async def test_every_ending_returns_and_the_hung_item_is_held(handler: Any, ending: Any) -> None:
    async with nothing_left(), pipeline([stage(handler, workers=1)]).open() as run:
        await run.feed([1, -1, 2])
        await wait_all_tasks_blocked()
        began = trio.current_time()
        report = await ending(run)

    assert trio.current_time() - began < 20
    assert report.counts == counted(fed=3, done=1, held=2)


@virtual
@pytest.mark.parametrize("handler", [hangs, deaf, shielded], ids=lambda each: each.__name__)
async def test_a_caller_that_is_cancelled_gets_away(handler: Any) -> None:
    with trio.move_on_after(2) as scope:
        async with nothing_left():
            await pipeline([handler]).run([-1])

    assert scope.cancelled_caught
    assert trio.current_time() < 20


# A generator that gives more than anybody takes ----------------------------------------------


@virtual
async def test_a_stream_that_is_left_closes_a_generator_that_waits_for_room() -> None:
    async with nothing_left(), pipeline([stage(endless, capacity=1)]).stream([-1], window=1) as s:
        assert (await anext(s)).value == -1

    assert trio.current_time() < 20


@virtual
async def test_chunks_that_nobody_takes_do_not_keep_a_stream_from_being_left() -> None:
    @stage(writes=["text"])
    async def speak(context: Context) -> AsyncIterator[str]:
        while True:
            yield "and so on"

    flow: Pipeline[Any, Any] = pipeline([speak])
    async with nothing_left(), flow.stream([{"id": 1}], chunks=True, window=1) as results:
        assert (await anext(results)).value == "and so on"

    assert trio.current_time() < 20


@virtual
async def test_a_generator_that_waits_for_room_is_cancelled_with_its_caller() -> None:
    async def closed(value: int) -> int:
        await trio.sleep_forever()
        return value

    flow = pipeline([stage(endless, timeout=1), stage(closed, capacity=1)])
    with trio.move_on_after(100) as scope:
        async with nothing_left():
            await flow.run([-1])

    assert scope.cancelled_caught
    assert trio.current_time() < 120


async def test_a_hung_thread_holds_no_drain_up(caplog: pytest.LogCaptureFixture) -> None:
    free = threading.Event()

    def work(value: int) -> int:
        free.wait(60)
        return value

    async with pipeline([work]).open() as run:
        await run.feed([1])
        await wait_all_tasks_blocked()
        began = time.monotonic()
        report = await run.drain(0.1)
    free.set()

    assert time.monotonic() - began < 20
    assert report.counts == counted(fed=1, held=1)
    assert "thread" in caplog.text


@virtual
async def test_a_timeout_is_refused_if_it_is_none(autojump_clock: MockClock) -> None:
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            stage(hangs, timeout=wrong)
