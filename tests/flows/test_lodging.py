"""`run(system=...)`: a run below an actor system that its caller owns."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorSystem,
    ConfigurationError,
    NotRunningError,
    StageError,
    Turn,
    stage,
)
from tests.flows.flowing import Boom, double, increment, pipeline


class Echo(Actor):
    async def receive(self, message: Any, ctx: Turn) -> Any:
        return message


async def odd(value: int) -> int:
    if value % 2 == 0:
        raise Boom(value)
    return value


@stage
async def hang(value: int) -> None:
    await trio.sleep_forever()


def below(system: ActorSystem) -> list[str]:
    return [child.path for child in system.tree().children]


async def test_a_run_stands_in_the_tree_of_its_system_until_it_has_ended() -> None:
    async with ActorSystem("shop") as system:
        await system.spawn(Echo, name="echo")
        async with pipeline([increment, double], name="crawl").open(system=system) as run:
            crawl = system.tree().children[1]
            assert [crawl.path, *(each.path for each in crawl.children)] == [
                *("/shop/crawl", "/shop/crawl/double", "/shop/crawl/increment")
            ]
            await run.feed(range(3))

        assert run.report is not None
        assert run.report.counts["done"] == 3
        assert below(system) == ["/shop/echo"]


async def test_every_verb_takes_a_system() -> None:
    flow = pipeline([increment])
    async with ActorSystem("shop") as system:
        assert await flow.map(range(3), system=system) == [1, 2, 3]
        assert (await flow.run(range(3), system=system)).counts["done"] == 3
        async with flow.stream(range(3), ordered=True, system=system) as results:
            assert [each.value async for each in results] == [1, 2, 3]


async def test_two_runs_of_one_flow_stand_side_by_side() -> None:
    flow = pipeline([increment], name="crawl")
    async with (
        ActorSystem("shop") as system,
        flow.open(system=system),
        flow.open(system=system),
    ):
        assert below(system) == ["/shop/crawl", "/shop/crawl-2"]


async def test_the_system_hears_of_dead_letters_and_events() -> None:
    heard: list[object] = []

    class Listener:
        def on_event(self, event: object) -> None:
            heard.append(event)

    async with ActorSystem("shop", observers=[Listener()]) as system:
        await pipeline([odd]).run(range(4), system=system)

        assert [each.id for each in system.dead_letters()] == [0, 2]
        assert system.stats()["dead_letters"] == 2
    assert [type(each).__name__ for each in heard].count("MessageDied") == 2


@pytest.mark.parametrize("ending", ["stop", "drain", "cancel"])
async def test_a_system_that_ends_stops_its_runs_and_nothing_is_forgotten(ending: str) -> None:
    reports = []

    async def work(system: ActorSystem) -> None:
        reports.append(await pipeline([hang]).run(range(5), system=system))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, ActorSystem("shop") as system:
            nursery.start_soon(work, system)
            await wait_all_tasks_blocked()
            match ending:
                case "stop":
                    await system.stop()
                case "drain":
                    await system.drain(1)
                case _:
                    system.cancel()

    assert reports[0].counts == {"fed": 5, "done": 0, "skipped": 0, "dead": 0, "held": 5}


async def test_a_run_that_fails_leaves_its_system_and_neighbours_alone() -> None:
    async with ActorSystem("shop") as system:
        echo = await system.spawn(Echo, name="echo")

        with pytest.raises(StageError):
            await pipeline([odd]).run(range(5), system=system, on_failure="halt")

        assert await echo.ask("still here") == "still here"
        assert below(system) == ["/shop/echo"]


async def test_a_run_that_is_cancelled_leaves_nothing_in_the_system() -> None:
    async with ActorSystem("shop") as system:
        with trio.CancelScope() as scope:
            async with pipeline([hang]).open(system=system) as run:
                await run.feed([1])
                scope.cancel()
                await trio.sleep_forever()

        assert scope.cancelled_caught
        assert below(system) == []


async def test_draining_a_run_does_not_drain_its_system() -> None:
    async with ActorSystem("shop") as system:
        async with pipeline([increment]).open(system=system) as run:
            await run.feed([1])
            await run.drain(5)

        echo = await system.spawn(Echo)
        assert await echo.ask(1) == 1


async def test_a_system_that_has_ended_takes_no_run() -> None:
    async with ActorSystem("shop") as system:
        pass

    with pytest.raises(NotRunningError, match="system 'shop' is ending; it takes nothing new"):
        await pipeline([increment]).run([1], system=system)


async def test_what_is_no_system_is_refused() -> None:
    flow = pipeline([increment])

    with pytest.raises(ConfigurationError, match="run option system must be an ActorSystem, got 3"):
        flow.open(system=3)  # type: ignore[arg-type]
    async with ActorSystem("shop") as system:
        with pytest.raises(ConfigurationError, match="run option seed must be left to"):
            flow.open(system=system, seed=1)
