"""Thirty messages, and the tenth goes wrong: the shortest way through mailbox, turn and policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from actorflow import Actor, ActorSystem, Fixed, Retry, Turn
from tests.runtime.actors import Crash, letter, letters

pytestmark = pytest.mark.usefixtures("both_roads", "autojump_clock")

AGAIN = Retry(3, backoff=Fixed(0), position="head")

FAILURE = pytest.param(lambda: OSError("tenth"), id="fails")
CRASHES = [
    pytest.param(lambda: SystemExit(1), id="SystemExit"),
    pytest.param(lambda: AssertionError("tenth"), id="AssertionError"),
    pytest.param(lambda: KeyboardInterrupt(), id="KeyboardInterrupt"),
    pytest.param(lambda: Crash(), id="BaseException"),
]


class Tenth(Actor):
    """Notes each attempt; the first attempt at message 10 raises."""

    error: Callable[[], BaseException]
    always: bool = False
    attempts: list[tuple[int, int]] = attrs.Factory(list)
    handled: list[int] = attrs.Factory(list)
    starts: list[int] = attrs.Factory(list)

    async def on_start(self, ctx: Turn) -> None:
        self.starts.append(len(self.handled))

    async def receive(self, message: int, ctx: Turn) -> None:
        self.attempts.append((message, ctx.attempt))
        if message == 10 and (self.always or ctx.attempt == 1):
            raise self.error()
        self.handled.append(message)


async def thirty(actor: Tenth, **options: Any) -> ActorSystem:
    async with ActorSystem("law") as system:
        ref = await system.spawn(actor, name="tenth", **options)
        for number in range(1, 31):
            await ref.tell(number)
    return system


@pytest.mark.parametrize("error", [FAILURE, *CRASHES])
async def test_with_a_retry_all_thirty_are_handled_in_order_and_the_tenth_twice(
    error: Callable[[], BaseException],
) -> None:
    actor = Tenth(error=error)

    system = await thirty(actor, policies=[AGAIN])

    assert actor.handled == list(range(1, 31))
    assert actor.attempts == [
        *((number, 1) for number in range(1, 11)),
        (10, 2),
        *((number, 1) for number in range(11, 31)),
    ]
    assert system.dead_letters() == ()


async def test_without_a_retry_a_failed_tenth_is_a_dead_letter_and_the_actor_lives_on() -> None:
    actor = Tenth(error=lambda: OSError("tenth"))

    system = await thirty(actor)

    assert actor.handled == [number for number in range(1, 31) if number != 10]
    assert actor.starts == [0]
    assert letters(system) == [(10, "failed", 1)]
    assert repr(letter(system).error) == "OSError('tenth')"
    assert "raise self.error()\nOSError: tenth" in letter(system).traceback
    assert letter(system).stage_or_actor == "/law/tenth"


@pytest.mark.parametrize("error", CRASHES)
async def test_without_a_retry_a_crash_on_the_tenth_is_a_dead_letter_and_the_actor_is_restarted(
    error: Callable[[], BaseException],
) -> None:
    actor = Tenth(error=error)

    system = await thirty(actor)

    assert actor.handled == [number for number in range(1, 31) if number != 10]
    assert actor.starts == [0, 9]
    assert letters(system) == [(10, "failed", 1)]
    assert system.stats()["restarts"] == 1


@pytest.mark.parametrize("error", [FAILURE, *CRASHES])
async def test_a_tenth_that_never_works_ends_as_a_dead_letter_after_three_attempts(
    error: Callable[[], BaseException],
) -> None:
    actor = Tenth(error=error, always=True)

    system = await thirty(actor, policies=[AGAIN])

    assert [attempt for message, attempt in actor.attempts if message == 10] == [1, 2, 3]
    assert actor.handled == [number for number in range(1, 31) if number != 10]
    assert letters(system) == [(10, "failed", 3)]
