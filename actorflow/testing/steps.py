"""Count the steps of the scheduler, and do what is planned for some of them.

Garbage is collected at some steps and turns, and at no other time: where a collection ends an async
generator, that takes steps of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import trio

from actorflow.testing.trace import Trace

__all__ = [
    "BookedSteps",
    "Steps",
    "TracedSteps",
    "WatchedSteps",
    "collected_by_steps",
    "keep_for_ever",
]

#: Steps between two collections of what is new, of what is older, and of all;
COLLECT_EVERY, OLDER_EVERY, ALL_EVERY = 250, 2_500, 50_000

#: and turns, of which one step may have many: what messages leave behind may be large.
COLLECT_TURNS = 100

#: Rounds of the event loop in which nothing can run and time has nowhere to jump to.
IDLE_ROUNDS = 64

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Steps(trio.abc.Instrument):
    """Told by trio of each step that a task is about to take.

    Args:
        planned: What is to be done before which step.
        last: The last step that may be taken.
        too_many: Called before the one after that.
        stuck: Called when nothing can happen any more.

    Attributes:
        count: Steps so far.
    """

    def __init__(
        self,
        planned: list[tuple[int, Callable[[], object]]],
        last: int,
        too_many: Callable[[], object],
        stuck: Callable[[], object],
    ) -> None:
        self.count = 0
        self._idle = self._turns = 0
        self._planned = sorted([*planned, (last + 1, too_many)], key=_latest_first)
        self._next: float = self._planned[-1][0]
        self._stuck = stuck

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        self._idle = 0
        if self.count >= self._next:
            self._do_planned()

    def idle(self) -> None:
        """Nothing can run; told by the clock, which jumps next."""
        self._idle += 1
        if self._idle > IDLE_ROUNDS:
            self._idle = 0
            self._stuck()

    def turn(self) -> None:
        """A turn begins."""
        self._turns += 1
        if not self._turns % COLLECT_TURNS:
            gc.collect(0)

    def moved(self) -> None:
        """The clock has jumped: to a deadline, be it one that wakes nobody."""
        self._idle = 0

    def at(self, step: int, action: Callable[[], object]) -> None:
        """Do *action* before *step* too."""
        self._planned.append((step, action))
        self._planned.sort(key=_latest_first)
        self._next = self._planned[-1][0]

    def _do_planned(self) -> None:
        while self._planned and self._planned[-1][0] <= self.count:
            self._planned.pop()[1]()
        self._next = self._planned[-1][0] if self._planned else math.inf


@contextlib.contextmanager
def collected_by_steps(steps: Steps) -> Iterator[None]:
    """Within the block, garbage is collected when *steps* says, and never else."""

    due = COLLECT_EVERY

    def collect() -> None:
        nonlocal due
        gc.collect(2 if not due % ALL_EVERY else 1 if not due % OLDER_EVERY else 0)
        due += COLLECT_EVERY
        steps.at(due, collect)

    collects = gc.isenabled()
    gc.disable()
    steps.at(due, collect)
    try:
        yield
    finally:
        if collects:
            gc.enable()


def keep_for_ever(thing: object) -> None:
    """Never let *thing* be collected, not even when the interpreter ends: a loop that was left
    behind would have each of its tasks complain."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _latest_first(planned: tuple[int, Callable[[], object]]) -> int:
    return -planned[0]


class BookedSteps(Steps):
    """The same, which looks at the books after each step.

    Args:
        books: Called for that.
        **others: As there.
    """

    def __init__(self, books: Callable[[], object], *others: Any) -> None:
        super().__init__(*others)
        self._books = books

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._books()


class TracedSteps(BookedSteps):
    """The same, which also writes each step down.

    Args:
        trace: Where.
        life: Number of the life.
        now: Its virtual time.
        watch: Who is told of each step too, if anybody is.
        **others: As there.
    """

    def __init__(
        self,
        trace: Trace,
        life: int,
        now: Callable[[], float],
        watch: Callable[[str], None] | None,
        books: Callable[[], object],
        *others: Any,
    ) -> None:
        super().__init__(books, *others)
        self._watch = watch
        self._add = trace.add
        self._life = life
        self._now = now
        self._names: dict[trio.lowlevel.Task, str] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        super().before_task_step(task)
        name = self._names.get(task)
        if name is None:
            name = f"{_ADDRESS.sub('', task.name)} #{len(self._names) + 1}"
            self._names[task] = name
        self._add((self._life, self.count, self._now(), name))
        if self._watch is not None:
            self._watch("")


class WatchedSteps(Steps):
    """The same, of which somebody is told each step.

    Args:
        watch: Who.
        **others: As there.
    """

    def __init__(self, watch: Callable[[str], None], *others: Any) -> None:
        super().__init__(*others)
        self._watch = watch

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        super().before_task_step(task)
        self._watch("")
