"""Parts of a handler that only so many workers enter at a time, or so often.

    async with ctx.limit("db"): ...     stage(limits={"db": 3})
    async with ctx.rate("api"): ...     stage(rates={"api": RateLimit(10)})

A section is its stage's: all workers share it. Whoever must wait does so inside the
turn, which has its worker and its timeout meanwhile; what should not begin at all
before there is room is a policy. Waiters enter in the order they came.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import trio

from actorflow.errors import ConfigurationError, TurnTimeout, UsageError
from actorflow.graph.stage import Stage
from actorflow.graph.steps import Steps
from actorflow.policies.chain import Chain
from actorflow.policies.decision import Wait
from actorflow.policies.ratelimit import RateLimitMachine
from actorflow.runtime.cell import Cell
from actorflow.runtime.turn import Turn

__all__ = ["Section", "Sections"]


class Door(Protocol):
    """Lets workers in."""

    async def enter(self, who: Any = None) -> None:
        """Wait until there is room, and take it. A step, which nobody enters twice, is nobody.

        Raises:
            UsageError: All who are inside, and *who* is one of them, wait to enter once more.
        """

    def leave(self, who: Any = None) -> None:
        """Give back what `enter` took."""

    def has_room(self, places: int) -> bool:
        """Whether so many could enter now without waiting."""


class LimitDoor:
    """So many at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = trio.Semaphore(limit)
        self._inside: Counter[Any] = Counter()
        self._again: set[Any] = set()  # Who is inside, and waits.

    async def enter(self, who: Any = None) -> None:
        if who is not None and who in self._inside and not self._limit.value:
            if self._inside.keys() <= {*self._again, who}:
                raise UsageError("entered inside itself: it would wait for its own place for ever")
            self._again.add(who)
        try:
            await self._limit.acquire()
        finally:
            self._again.discard(who)
        self._inside[who] += 1

    def leave(self, who: Any = None) -> None:
        self._inside[who] -= 1
        if not self._inside[who]:
            del self._inside[who]
        self._limit.release()

    def has_room(self, places: int) -> bool:
        return self._limit.value >= places


class RateDoor:
    """So many in a time."""

    def __init__(self, machine: RateLimitMachine, now: Callable[[], float]) -> None:
        self._machine = machine
        self._now = now
        self._line = trio.Lock()  # Its waiters enter in the order they came.

    async def enter(self, who: Any = None) -> None:
        async with self._line:
            while True:
                answer = self._machine.ready(self._now(), None)
                if not isinstance(answer, Wait):
                    break
                await trio.sleep(answer.seconds or 0)
            self._machine.take(self._now(), None)

    def leave(self, who: Any = None) -> None:
        """What has been done counts."""

    def has_room(self, places: int) -> bool:
        free = not self._line.locked()
        return free and self._machine.meter.admits(self._now(), places)


class Section:
    """What `ctx.limit` and `ctx.rate` give: ``async with`` it, or ``with`` it in a thread."""

    __slots__ = ("_cell", "_door", "_held", "_token", "_turn", "_what")

    def __init__(self, what: str, door: Door, cell: Cell, turn: Turn) -> None:
        self._what = what
        self._token: trio.lowlevel.TrioToken | None = None
        self._door = door
        self._cell = cell
        self._turn = turn
        self._held: Any = None

    def has_room(self, n: int = 1) -> bool:
        """Whether *n* could enter now without waiting."""
        return self._door.has_room(n)

    async def __aenter__(self) -> None:
        await self._enter((self._turn, trio.lowlevel.current_task()))

    async def _enter(self, who: Any) -> None:
        try:
            await self._door.enter(who)
        except UsageError as error:
            raise UsageError(f"{self._what} is {error}") from None
        self._held = who

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._door.leave(self._held)

    def __enter__(self) -> None:
        try:
            trio.from_thread.run(self._enter_in_time, (self._turn, threading.get_ident()))
        except (trio.RunFinishedError, UsageError):
            raise
        except RuntimeError as error:
            text = f"`with {self._what}` is for handlers in threads; write `async with`"
            raise UsageError(text) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):  # Also if the turn is long over.
            self._token.run_sync_soon(self._door.leave, self._held)

    async def _enter_in_time(self, who: Any) -> None:
        """`enter` for a thread, which does not hear of its turn's end while it waits."""
        self._token = trio.lowlevel.current_trio_token()
        with trio.move_on_at(self._cell.ends_at):
            await self._enter(who)
            if not self._turn.cancelled():
                return
            self._door.leave(who)
        raise TurnTimeout(self._cell.mailbox.path, self._cell.timeout or 0.0)


class Sections:
    """The sections of one stage, and the limits of its steps.

    Args:
        stage: The declaration.
        chain: Its policies, which keep the state of its rates.
        now: The system's clock.

    Attributes:
        steps: Doors by the name of the step, for those that have a limit.
    """

    def __init__(self, stage: Stage[Any, Any], chain: Chain, now: Callable[[], float]) -> None:
        self._stage = stage
        self._doors: dict[str, dict[str, Door]] = {
            "limit": {name: LimitDoor(limit) for name, limit in stage.limits.items()},
            "rate": {
                name: RateDoor(chain.section(name, rate), now) for name, rate in stage.rates.items()
            },
        }
        limits = stage.fn.limits if isinstance(stage.fn, Steps) else {}
        self.steps = {name: LimitDoor(limit) for name, limit in limits.items()}

    def find(self, kind: str, name: str, cell: Cell, turn: Turn) -> Section:
        """The section of that *kind* and *name*, for one turn.

        Raises:
            ConfigurationError: The stage declares none of that name; it says which it does.
        """
        doors = self._doors[kind]
        if name not in doors:
            known = ", ".join(map(repr, doors)) or "none"
            example = "limits={'db': 3}" if kind == "limit" else "rates={'api': RateLimit(10)}"
            raise ConfigurationError(
                f"ctx.{kind}() in stage {self._stage.name!r}",
                name,
                f"declared by the stage, as in {example}; it declares {known}",
            )
        return Section(f"ctx.{kind}({name!r})", doors[name], cell, turn)
