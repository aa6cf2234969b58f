"""A question of an earlier life that still waits where it was asked, when it is asked again."""

from __future__ import annotations

from typing import Any

import trio

from actorflow import Actor, ActorRef, ActorSystem, AskDiverged, Turn, actor
from actorflow.testing import World, simulate


@actor("tests.asked_again.slow")
class Slow(Actor):
    """Takes three seconds for what it is asked, and answers with that."""

    had: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "?":
            return self.had
        await trio.sleep(3)
        self.had = (*self.had, message)
        return message


@actor("tests.asked_again.asker")
class Asker(Actor):
    """Asks what stands for this life, and keeps the answer."""

    slow: ActorRef[Any] | None = None
    told: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "?":
            return self.told
        assert self.slow is not None
        answer = await ctx.ask(self.slow, message[LIFE[0]])
        self.told = (*self.told, answer)
        return None


#: Of which life the process is, from 0.
LIFE = [0]


def asked(questions: list[str]) -> tuple[Any, Any, list[BaseException | None]]:
    """Ask the first and, when the process has died, the second of *questions*; answers what came
    back, what was handled, and the errors of the dead letters."""

    async def main(world: World) -> Any:
        LIFE[0] = world.life - 1
        async with ActorSystem("asking", store=world.store) as system:
            if world.life == 1:
                slow = await system.spawn(Slow(), name="slow", durable=True)
                asker = await system.spawn(Asker(slow=slow), name="asker", durable=True)
                await asker.tell(questions)
                await trio.sleep(1)  # The question is there, and on the disk.
                world.crash()
            told = await system.ref(Asker, "asker").ask("?", timeout=60)
            had = await system.ref(Slow, "slow").ask("?", timeout=60)
            return told, had, [letter.error for letter in system.dead_letters()]

    result: tuple[Any, Any, list[BaseException | None]] = simulate(main).result
    return result


def test_the_same_question_is_waited_for_and_runs_once() -> None:
    assert asked(["a", "a"]) == (("a",), ("a",), [])


def test_another_question_does_not_get_the_answer_of_the_one_that_waits() -> None:
    told, had, errors = asked(["a", "b"])

    assert (told, had) == ((), ("a",))
    assert [type(error) for error in errors] == [AskDiverged]
