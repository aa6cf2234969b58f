"""A fault strikes what the handler itself waits for, and never a wait of the runtime around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorSystem,
    AskFailed,
    Fixed,
    Pipeline,
    Retry,
    StrayCancelled,
    Timeout,
    Turn,
    stage,
)
from actorflow.testing import HandlerCancelled, HandlerCrashes, World, simulate
from actorflow.testing.flow_handlers import AGAIN as LONG
from actorflow.testing.flow_handlers import remote, several

AGAIN = Retry(3, backoff=Fixed(0.0))


async def pieces(value: int) -> AsyncIterator[int]:
    for index in range(3):
        await trio.sleep(0.01)
        yield 10 * value + index


async def slow(value: int) -> int:
    await trio.sleep(1)
    return value


async def narrow(world: World) -> list[int]:
    """Pieces, each of which waits for room."""
    flow: Pipeline[int, int] = Pipeline(
        [stage(pieces, policies=[AGAIN]), stage(slow, capacity=1)], name="narrow"
    )
    report = await flow.run([1, 2], store=world.store, run_id="r", results="store")
    assert dict(report.counts) == {"fed": 2, "done": 2, "skipped": 0, "dead": 0, "held": 0}
    return sorted(each.value for each in world.results("r") if each.value)


EMITTED = [10, 11, 12, 20, 21, 22]


@pytest.mark.parametrize("resume", range(1, 5))
@pytest.mark.parametrize("turn", [1, 2])
def test_a_crash_of_a_generator_leaves_the_room_that_it_was_promised(
    turn: int, resume: int
) -> None:
    run = simulate(narrow, faults=[HandlerCrashes("/narrow/pieces", turn, resume=resume)])

    assert run.result == EMITTED
    crashes = [each for each in run.trace if "crashes" in each.what]
    assert len(crashes) == (resume < 4)  # It waits three times; room is waited for beside that.


def test_a_generator_before_processes_with_one_place_comes_to_its_end() -> None:
    """Drawn once, when it hung: the scenario of seed 105361."""
    flow: Pipeline[Any, Any] = Pipeline(
        [
            stage(several, name="a", policies=[LONG]),
            stage(remote, name="b", runs_in="process", workers=2, capacity=1),
        ],
        name="drawn",
        policies=[LONG, Timeout(60.0)],
    )
    crashes = [HandlerCrashes("/drawn/a", 3, resume=2), HandlerCrashes("/drawn/a", 6, resume=1)]

    async def main(world: World) -> int:
        report = await flow.run(range(6), store=world.store, run_id="r")
        return report.counts["done"] + report.counts["skipped"]

    for seed in range(20):
        assert simulate(main, seed=seed, faults=crashes).result == 6


class Awaited:
    def __await__(self) -> Any:
        return trio.sleep(1).__await__()  # noqa: ASYNC105


async def waits_itself() -> None:
    await trio.sleep(1)


async def waits_for_another() -> None:
    await Awaited()


@pytest.mark.parametrize("wait", [waits_itself, waits_for_another])
def test_every_wait_of_the_handlers_own_counts(wait: Any) -> None:
    @stage(policies=[AGAIN])
    async def waits(value: int, ctx: Turn) -> int:
        await wait()
        return ctx.attempt

    async def main() -> list[int]:
        return await Pipeline([waits], name="f").map([1])

    assert simulate(main, faults=[HandlerCrashes("/f/waits", 1, resume=1)]).result == [2]
    assert simulate(main, faults=[HandlerCrashes("/f/waits", 1, resume=2)]).result == [1]


def test_a_thread_that_a_handler_runs_in_is_a_wait_of_its_own() -> None:
    attempts: list[int] = []

    @stage(policies=[AGAIN])
    def threaded(value: int, ctx: Turn) -> int:
        attempts.append(ctx.attempt)
        return value

    async def main() -> list[int]:
        return await Pipeline([threaded], name="f").map([1])

    assert simulate(main, faults=[HandlerCrashes("/f/threaded", 1, resume=1)]).result == [1]
    assert attempts == [2]  # The first had not begun: a thread is a wait, and then the call.


@pytest.mark.parametrize("what", ["nursery", "limit", "lock", "channel"])
def test_what_hands_something_over_is_no_wait_to_crash_at(what: str) -> None:
    lock = trio.Lock()

    @stage(policies=[AGAIN], workers=2, limits={"one": 1})
    async def holds(value: int, ctx: Turn) -> int:
        match what:
            case "nursery":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep, 1)
            case "limit":
                async with ctx.limit("one"):
                    await trio.sleep(1)
            case "lock":
                async with lock:
                    await trio.sleep(1)
            case "channel":
                send, receive = trio.open_memory_channel[int](1)
                send.send_nowait(value)
                value = await receive.receive()
        return value

    async def main() -> list[int]:
        return await Pipeline([holds], name="f").map([1, 2])

    for resume in range(1, 4):
        faults = [HandlerCrashes("/f/holds", turn, resume=resume) for turn in (1, 2)]
        assert simulate(main, faults=faults).result == [1, 2]


def test_room_in_another_run_is_no_wait_of_the_handlers_own() -> None:
    other: Pipeline[int, int] = Pipeline([stage(slow, capacity=1)], name="other")

    async def main() -> int:
        async with other.open() as run:

            async def feeds(value: int) -> int:
                for number in range(4):
                    await run.feed([value + number])
                return value

            feeding: Any = stage(feeds, policies=[AGAIN])
            await Pipeline([feeding], name="f").map([1])
            report = await run.finish()
        return int(report.counts["done"])

    for resume in range(1, 5):
        faults = [HandlerCrashes("/f/feeds", 1, resume=resume)]
        assert simulate(main, faults=faults).result >= 4


# A scope that is nobody's ------------------------------------------------------------------------


@pytest.mark.parametrize("wait", range(1, 8))
@pytest.mark.parametrize("turn", [1, 2])
def test_a_stray_cancellation_is_a_failed_attempt_that_is_made_again(turn: int, wait: int) -> None:
    run = simulate(narrow, faults=[HandlerCancelled("/narrow/pieces", turn, wait=wait)])

    assert run.result == EMITTED


def test_it_strikes_the_runtimes_own_waits_too() -> None:
    """A generator may leave its scope open while it gives a piece."""
    waits = []
    for wait in range(1, 8):
        run = simulate(narrow, faults=[HandlerCancelled("/narrow/pieces", 1, wait=wait)])
        waits.append(any("is cancelled" in each.what for each in run.trace))

    assert sum(waits) > 3  # It has three of its own.


async def cancelled(policies: list[Any]) -> list[Any]:
    """What came of three asks, of the second of which the turn is cancelled."""

    class Counter(Actor):
        count: int = 0

        async def receive(self, message: Any, ctx: Turn) -> Any:
            self.count += 1
            await trio.sleep(1)
            return self.count, ctx.attempt

    found: list[Any] = []
    async with ActorSystem("s") as system:
        counter = await system.spawn(Counter(), name="counter", policies=policies)
        for _ in range(3):
            try:
                found.append(await counter.ask("one", timeout=60))
            except AskFailed as error:
                found.append(type(error.__cause__))
        found += [each.reason for each in system.dead_letters()]
        assert system.stats()["restarts"] == 0
    return found


FAULT = HandlerCancelled("/s/counter", 2)


def test_the_message_of_a_cancelled_turn_is_given_up_with_its_reason_or_tried_again() -> None:
    async def once() -> list[Any]:
        return await cancelled([])

    async def again() -> list[Any]:
        return await cancelled([AGAIN])

    assert simulate(once, faults=[FAULT]).result == [(1, 1), StrayCancelled, (2, 1), "failed"]
    assert simulate(again, faults=[FAULT]).result == [(1, 1), (2, 2), (3, 1)]


def test_a_handler_may_take_it_for_its_end() -> None:
    @stage(policies=[AGAIN])
    async def waits(value: int, ctx: Turn) -> str:
        try:
            await trio.sleep(10)
        except trio.Cancelled:
            return f"cut short in attempt {ctx.attempt}"
        return "to the end"

    async def main() -> list[str]:
        return await Pipeline([waits], name="f").map([1, 2])

    run = simulate(main, faults=[HandlerCancelled("/f/waits", 1)])

    assert run.result == ["cut short in attempt 1", "to the end"]


def test_what_a_handler_awaits_while_it_ends_is_cancelled_too_unless_shielded() -> None:
    seen: list[str] = []

    @stage(policies=[AGAIN])
    async def waits(value: int, ctx: Turn) -> int:
        try:
            await trio.sleep(10)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                seen.append("shielded")
            await trio.sleep(1)
            seen.append("bare")
        return ctx.attempt

    async def main() -> list[int]:
        return await Pipeline([waits], name="f").map([1])

    assert simulate(main, faults=[HandlerCancelled("/f/waits", 1)]).result == [2]
    assert seen == ["shielded", "shielded", "bare"]


def test_a_turn_that_is_stopped_meanwhile_is_stopped_and_no_stray() -> None:
    async def waits(value: int, ctx: Turn) -> int:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        await trio.sleep(1)
        return ctx.attempt

    async def main(world: World) -> Any:
        flow: Pipeline[int, int] = Pipeline([waits], name="f")
        if world.life == 1:
            async with flow.open(store=world.store, run_id="r") as run:
                await run.feed([1])
                await trio.sleep(1)
                await run.stop()
            assert run.report is not None
            assert run.report.counts["held"] == 1
            world.crash()
        return (await flow.run(store=world.store, run_id="r")).counts["done"]

    assert simulate(main, faults=[HandlerCancelled("/f/waits", 1)]).result == 1


def test_a_crash_and_a_cancellation_of_one_turn() -> None:
    faults = [
        HandlerCrashes("/narrow/pieces", 1, resume=1),
        HandlerCancelled("/narrow/pieces", 1, wait=2),
        HandlerCancelled("/narrow/pieces", 2, wait=2),
        HandlerCrashes("/narrow/pieces", 2, resume=3),
    ]

    assert simulate(narrow, faults=faults).result == EMITTED
