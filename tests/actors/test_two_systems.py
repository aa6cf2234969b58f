"""Two systems in one program: each accounts for the messages to its own actors."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import ActorSystem, CircuitBreaker, Divert, InsideTurn, Pipeline, Turn, stage
from tests.runtime.actors import Does, Keeps

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.mark.parametrize("delay", [None, 3])
async def test_a_message_to_an_actor_of_another_system_is_held_there(delay: float | None) -> None:
    kept: list[Any] = []
    async with ActorSystem("there") as there:
        target = await there.spawn(Keeps(kept=kept), name="keeps")

        async def pass_on(message: Any, ctx: Turn) -> None:
            ctx.tell(target, message, delay=delay)

        async with ActorSystem("here") as here:
            ref = await here.spawn(Does(do=pass_on))
            for number in range(3):
                await ref.ask(number)
            assert here.stats()["held"] == 0
            assert there.stats()["held"] == 3 - len(kept)

    assert kept == [0, 1, 2]
    assert (here.stats()["held"], there.stats()["held"]) == (0, 0)


async def test_a_stage_may_tell_the_actor_of_a_system() -> None:
    kept: list[Any] = []
    async with ActorSystem("there") as there:
        target = await there.spawn(Keeps(kept=kept), name="keeps")

        @stage
        async def pass_on(item: int) -> int:
            await target.tell(item)
            return item

        flow: Pipeline[int, int] = Pipeline([pass_on])
        report = await flow.run(range(5))
        assert report.counts["done"] == 5

    assert kept == [0, 1, 2, 3, 4]
    assert there.stats()["held"] == 0


async def test_a_message_diverted_to_another_system_is_held_there() -> None:
    kept: list[Any] = []

    async def fail(message: Any, ctx: Turn) -> None:
        raise OSError

    async with ActorSystem("there") as there:
        target = await there.spawn(Keeps(kept=kept), name="keeps")
        async with ActorSystem("here") as here:
            breaker = CircuitBreaker(1, 60, when_open=Divert(target))
            ref = await here.spawn(Does(do=fail), policies=[breaker])
            for number in range(3):
                await ref.tell(number)

    assert kept == [1, 2]
    assert (here.stats()["held"], there.stats()["held"]) == (0, 0)


async def test_a_handler_may_have_a_system_of_its_own_but_not_steer_the_one_it_is_in() -> None:
    async def nest(message: Any, ctx: Turn) -> Any:
        async with ActorSystem("inner") as inner:
            ref = await inner.spawn(Does(do=echo))
            with pytest.raises(InsideTurn):
                await outer.spawn(Keeps)
            return await ref.ask(message)

    async def echo(message: Any, ctx: Turn) -> Any:
        return message

    async with ActorSystem("outer") as outer:
        ref = await outer.spawn(Does(do=nest))
        assert await ref.ask("x") == "x"
