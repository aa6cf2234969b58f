"""Workers of supervision trees that note their lives, and the runtime driven by a script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import Actor, ActorSystem, Supervisor, Turn
from actorflow.policies.decision import Stop
from actorflow.testing.otp import Exit
from tests.runtime.actors import Crash

#: What happens at one time: which of the living workers end, counted round, and how.
Step: TypeAlias = tuple[float, Sequence[tuple[int, Exit]]]


#: Which starts of which workers fail; the first is 1.
Fails: TypeAlias = dict[str, tuple[int, ...]]


class StopsForGood:
    """A policy: whatever fails ends its actor."""

    def __repr__(self) -> str:
        return "StopsForGood()"

    def decide(self, attempt: int, error: BaseException, **facts: Any) -> Stop:
        return Stop()


class Noting(Actor):
    """Notes its starts and ends in `log`; ends as told, and fails the starts in `fails`."""

    log: ClassVar[list[str]] = []
    starts: ClassVar[dict[str, int]] = {}
    fails: ClassVar[Fails] = {}

    async def on_start(self, ctx: Turn) -> None:
        path = ctx.self.path.removeprefix("/s/")
        self.starts[path] = self.starts.get(path, 0) + 1
        if self.starts[path] in self.fails.get(path, ()):
            self.log.append(f"!{path}")
            raise OSError(path)
        self.log.append(f"+{path}")

    async def on_stop(self, ctx: Turn) -> None:
        self.log.append("-" + ctx.self.path.removeprefix("/s/"))

    async def receive(self, message: Exit, ctx: Turn) -> None:
        match message:
            case "crash":
                raise Crash(ctx.self.path)
            case "stopped":
                raise ValueError(ctx.self.path)
            case _:
                ctx.stop()


@attrs.define
class Seen:
    """What happened in a real tree.

    Attributes:
        log: As `Reference.log`.
        script: What was done: when, and who was to end how.
        alive: After the start and after each step: who was up, and which incarnation.
        ended: How the tree has ended, or `None`.
    """

    log: list[str] = attrs.Factory(list)
    script: list[tuple[float, list[tuple[str, Exit]]]] = attrs.Factory(list)
    alive: list[dict[str, int]] = attrs.Factory(list)
    ended: str | None = None


def play(tree: Supervisor, steps: Sequence[Step], fails: Fails | None = None) -> Seen:
    """Let *steps* happen to *tree* on the real runtime, in virtual time."""
    seen = Seen()
    Noting.log, Noting.starts, Noting.fails = seen.log, {}, fails or {}
    trio.run(_play, tree, steps, seen, clock=MockClock(autojump_threshold=0))
    return seen


async def _play(tree: Supervisor, steps: Sequence[Step], seen: Seen) -> None:
    async with ActorSystem("s", debug=False) as system:
        try:
            top = await system.spawn(tree, name="top", restart="temporary")
        except OSError:
            seen.ended = "crash"
            return
        await wait_all_tasks_blocked()
        seen.alive.append(workers(system))
        for pause, ends in steps:
            await trio.sleep(pause)
            await wait_all_tasks_blocked()
            living = sorted(workers(system))
            chosen = {living[number % len(living)]: kind for number, kind in ends if living}
            for path, kind in chosen.items():
                system.ref(Noting, path).tell_nowait(kind)
            await wait_all_tasks_blocked()
            seen.script.append((trio.current_time(), list(chosen.items())))
            seen.alive.append(workers(system))
        ending = top.cell.ended
        seen.ended = None if ending is None else ending.kind
        seen.log = seen.log.copy()  # Without the end of the system.


def workers(system: ActorSystem) -> dict[str, int]:
    """The workers that are up, and which incarnation each is."""
    found: dict[str, int] = {}
    left = list(system.tree().children)
    while left:
        node = left.pop()
        left.extend(node.children)
        if node.kind != "supervisor" and node.state == "running":
            found[node.path.removeprefix("/s/")] = node.incarnation
    return found
