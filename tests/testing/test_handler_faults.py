"""A fault strikes what the handler itself waits for, and never a wait of the runtime around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from actorflow import Fixed, Pipeline, Retry, Turn, stage
from actorflow.testing import HandlerCrashes, World, simulate
from tests.scenarios.drawing import play, scenario

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


def test_a_drawn_generator_before_a_narrow_stage_comes_to_its_end() -> None:
    assert play(scenario(105361)).violation is None


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
