"""Time that jumps, and a system in which nothing may be lost unnoticed.

def test_shop():
    virtual_run(main)                  an hour of `trio.sleep` takes no time

async def main():
    async with StrictSystem() as system:
        ...                            at the end: no dead letters that nobody has taken
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import trio
from trio.testing import MockClock

from actorflow.actors.system import ActorSystem
from actorflow.core.letters import DeadLetter

__all__ = ["StrictSystem", "virtual_run"]

T = TypeVar("T")


def virtual_run(async_main: Callable[..., Awaitable[T]], *args: Any, **given: Any) -> T:
    """`trio.run` on a clock that jumps as soon as all tasks wait for time.

    For a test with Hypothesis or without pytest-trio. With it, as the run of a test or a whole
    module: ``pytestmark = pytest.mark.trio(run=virtual_run)``.

    Args:
        async_main: What is run.
        *args: For it.
        **given: For `trio.run`; ``clock`` is used if it is one.
    """
    clock = given.pop("clock", None) or MockClock(autojump_threshold=0)
    return trio.run(async_main, *args, clock=clock, **given)


class StrictSystem(ActorSystem):
    """An `ActorSystem` whose block ends with an error if a message was lost unnoticed.

    Every message that is given up becomes a dead letter, and so does what the end of the block
    cuts off. A test that means to lose one takes its letter.

    Args:
        name: First part of every path.
        **given: As for `ActorSystem`.
    """

    def __init__(self, name: str = "test", **given: Any) -> None:
        super().__init__(name, **given)
        self._taken: set[int] = set()

    def take_dead_letters(self) -> list[DeadLetter]:
        """The dead letters since the last call, oldest first; the end is silent about them."""
        new = [each for each in self.dead_letters() if id(each) not in self._taken]
        self._taken.update(map(id, new))
        return new

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if error is None and (lost := self.take_dead_letters()):
            raise AssertionError("\n".join(_listed(lost))) from lost[0].error


def _listed(lost: list[DeadLetter]) -> list[str]:
    lines = [
        f"{each.stage_or_actor}: {each.body!r:.100} ({each.reason}"
        + (f": {each.error!r:.100})" if each.error is not None else ")")
        for each in lost[:10]
    ]
    more = [f"... and {len(lost) - 10} more"] if len(lost) > 10 else []
    head = f"{len(lost)} dead letter{'s' * (len(lost) > 1)} that nobody took:"
    return [head, *lines, *more]
