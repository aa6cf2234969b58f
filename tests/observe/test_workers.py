"""What is seen of the workers of a run."""

from __future__ import annotations

import threading
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import ActorSystem, ConfigurationError, Fixed, Retry, Run, Turn, TurnEnded, stage
from actorflow.core.events import StatusSet
from tests.flows.flowing import Boom, Gate, pipeline
from tests.runtime.actors import Does


def only(run: Run[Any, Any]) -> Any:
    (worker,) = run.workers()
    return worker


async def test_a_worker_tells_what_it_does_and_since_when(autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        ctx.status("reading")
        await trio.sleep(2)
        ctx.progress(1, 4)
        await trio.sleep(2)
        ctx.status("writing")
        await trio.sleep(2)
        return value

    async with pipeline([work], name="f").open() as run:
        await trio.sleep(10)
        began = trio.current_time()
        await run.feed([0])
        await trio.sleep(1)
        first = only(run)
        await trio.sleep(2)
        second = only(run)
        await trio.sleep(2)
        third = only(run)

    assert (first.name, first.stage, first.state, first.item, first.attempt) == (
        *("/f/work/1", "work", "busy", "0", 1),
    )
    assert first.since == first.last_active == began
    assert [(each.status, each.progress) for each in (first, second, third)] == [
        ("reading", None),
        ("reading", (1, 4)),
        ("writing", (1, 4)),
    ]


async def test_what_a_turn_says_ends_with_it(autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        if value == 0:
            ctx.status("first")
            ctx.progress(3)
        await trio.sleep(1)
        return value

    async with pipeline([work]).open() as run:
        await run.feed([0, 1])
        await trio.sleep(0.5)
        assert (only(run).status, only(run).progress) == ("first", (3, None))
        await trio.sleep(1)
        assert (only(run).item, only(run).status, only(run).progress) == ("1", "", None)
        await trio.sleep(1)
        assert (only(run).state, only(run).status) == ("idle", "")


async def test_what_an_attempt_said_is_not_said_by_the_next(autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        if ctx.attempt == 1:
            ctx.status("trying")
            raise Boom
        await trio.sleep(1)
        return value

    flow = pipeline([stage(work, policies=[Retry(2, backoff=Fixed(0))])])
    async with flow.open() as run:
        await run.feed([0])
        await wait_all_tasks_blocked()
        assert (only(run).attempt, only(run).status, only(run).failed) == (2, "", 1)


async def test_figures_of_a_worker(autojump_clock: MockClock) -> None:
    async def work(value: int) -> int:
        await trio.sleep(value)
        if value == 3:
            raise Boom
        return value

    async with pipeline([work]).open() as run:
        assert only(run) == attrs.evolve(only(run), since=None, last_active=None, done=0, mean=0.0)
        began = trio.current_time()
        await run.feed([1, 2, 3])
        await trio.sleep(50)
        seen = only(run)

    assert (seen.state, seen.item, seen.attempt) == ("idle", None, 0)
    assert (seen.done, seen.failed, seen.busy, seen.mean) == (2, 1, 6.0, 2.0)
    assert seen.last_active == seen.since == pytest.approx(began + 6)


async def test_a_worker_that_waits_for_room_has_not_done_its_item() -> None:
    gate = Gate()

    async def quick(value: int) -> int:
        return value

    async with pipeline([quick, stage(gate, capacity=1)]).open() as run:
        run.start_feeding(range(9))
        await wait_all_tasks_blocked()
        seen = {each.stage: each for each in run.workers()}
        assert (seen["quick"].state, seen["quick"].item, seen["quick"].done) == ("busy", "2", 2)
        gate.open()


async def test_frozen_copies_stay_as_they_are(autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        ctx.status("early")
        await trio.sleep(1)
        ctx.status("late")
        await trio.sleep(1)
        return value

    async with pipeline([work]).open() as run:
        await run.feed([0])
        await trio.sleep(0.5)
        early = only(run)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            early.status = "changed"
        await trio.sleep(1)
        assert (early.status, only(run).status) == ("early", "late")


async def test_a_thread_may_tell_too() -> None:
    told, go_on = threading.Event(), threading.Event()
    heard: list[Any] = []
    here = threading.get_ident()

    class Ear:
        wants = (StatusSet,)

        def on_event(self, event: StatusSet) -> None:
            heard.append((event.path, event.text, event.done, event.total, threading.get_ident()))

    def work(value: int, ctx: Turn) -> int:
        ctx.status("in a thread")
        ctx.progress(5, 10)
        told.set()
        assert go_on.wait(20)
        return value

    async with pipeline([work], name="f").open(observers=[Ear()]) as run:
        await run.feed([0])
        await trio.to_thread.run_sync(told.wait)
        assert (only(run).status, only(run).progress) == ("in a thread", (5, 10))
        go_on.set()

    assert heard == [
        ("/f/work/1", "in a thread", None, None, here),
        ("/f/work/1", "in a thread", 5, 10, here),
    ]


async def test_a_status_is_cut_and_made_text() -> None:
    async def work(value: Any, ctx: Turn) -> None:
        ctx.status(value)
        await trio.sleep_forever()

    async with pipeline([stage(work, workers=2)]).open() as run:
        await run.feed(["x" * 1_000, 7])
        await wait_all_tasks_blocked()
        assert {each.status for each in run.workers()} == {"x" * 200, "7"}
        await run.stop()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((-1, 2), "ctx.progress() done must be a number, 0 or more, got -1"),
        (("1", 2), "ctx.progress() done must be a number, 0 or more, got '1'"),
        ((1, True), "ctx.progress() total must be a number, 0 or more, got True"),
        ((float("nan"), 2), "ctx.progress() done must be a number, 0 or more, got nan"),
    ],
)
async def test_progress_that_is_no_number_is_refused(given: Any, text: str) -> None:
    found: list[str] = []

    async def work(value: int, ctx: Turn) -> int:
        with pytest.raises(ConfigurationError) as caught:
            ctx.progress(*given)
        found.append(str(caught.value))
        return value

    await pipeline([work]).run([0])

    assert found == [text]


async def test_a_turn_that_has_ended_says_nothing() -> None:
    kept: list[Turn] = []

    async def work(value: int, ctx: Turn) -> int:
        kept.append(ctx)
        return value

    await pipeline([work]).run([0])

    with pytest.raises(TurnEnded):
        kept[0].status("late")
    with pytest.raises(TurnEnded):
        kept[0].progress(1, 2)


async def test_actors_tell_observers() -> None:
    heard: list[Any] = []

    class Ear:
        def on_event(self, event: object) -> None:
            if isinstance(event, StatusSet):
                heard.append(event)

    async def tell(message: Any, ctx: Turn) -> None:
        ctx.status(message)

    async with ActorSystem("s", observers=[Ear()]) as system:
        ref = await system.spawn(Does(do=tell), name="a")
        await ref.ask("hello")

    assert heard == [StatusSet("/s/a", heard[0].message_id, "hello", None, None)]
