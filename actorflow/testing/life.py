"""One life of a simulated system: a `trio.run` in virtual time, which may end by a death.

A death leaves the world as it is at that instant. What then still runs is taken down at once
by a cancellation; it finds a store that refuses everything, and whatever it raises counts for
nothing.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import trio

from actorflow.errors import ConfigurationError
from actorflow.runtime.ports import SIMULATION
from actorflow.testing.books import Books
from actorflow.testing.clock import virtual_clock
from actorflow.testing.disk import CommitFaults
from actorflow.testing.doors import Doors
from actorflow.testing.faults import (
    ClockJumps,
    Died,
    Fault,
    FaultPlan,
    MainCancelled,
    WorkerProcessDies,
)
from actorflow.testing.handlers import HandlerFaults
from actorflow.testing.recording import Recording
from actorflow.testing.schedule import lift_shields, seeded_chance, seeded_schedule
from actorflow.testing.steps import (
    BookedSteps,
    Steps,
    TracedSteps,
    WatchedSteps,
    collected_by_steps,
    keep_for_ever,
)
from actorflow.testing.trace import Trace
from actorflow.testing.world import World

__all__ = ["Life", "Mark", "SimulationStuck", "wants_world"]

#: Steps that what is left of a life may take to end.
ENDING_STEPS = 10_000

#: What `main` must be.
WANTED = "an async function of nothing, or of the world"


class Mark(NamedTuple):
    """How far a life has come.

    Attributes:
        step: Steps of the scheduler,
        seconds: virtual ones,
        commits: and tries of commits so far;
        lines: of the history, of all lives.
    """

    step: int
    seconds: float
    commits: int
    lines: int


class SimulationStuck(AssertionError):
    """A simulation does not come to its end: it takes too many steps, or nothing can happen any
    more, because all wait for each other or for something outside of the simulation."""


def wants_world(main: Callable[..., Any], call: str = "simulate()") -> bool:
    """Whether *main*, which is what *call* was given, takes the world: by a parameter of that name
    or type, or its only one that must be given.

    Raises:
        ConfigurationError: It wants something else, or is no coroutine function.
    """
    wanted = WANTED
    if inspect.isasyncgenfunction(main):
        raise ConfigurationError(f"{call} main", main, wanted)
    try:
        parameters = inspect.signature(main).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{call} main", main, wanted) from error
    needed = [
        each
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if len(needed) > 1 or any(each.kind is each.KEYWORD_ONLY for each in needed):
        raise ConfigurationError(f"{call} main", main, wanted)
    named = any(
        each.name == "world" or each.annotation in (World, "World") for each in list(parameters)[:1]
    )
    return bool(needed) or named


def _no_more() -> float:
    raise SimulationStuck


class Life:
    """One life.

    Args:
        world: What it lives in.
        number: Which life it is, from 1.
        plan: What goes wrong.
        max_steps: Most steps.
        trace: Where they are written down, if they are.
        watch: Told of each step (""), and where a commit is ("before", "torn", "after").
        booked: Whether the books are looked at after each step, as they are with a trace; else
            they are at its end.

    Attributes:
        dead: Whether its process has died.
        cut_short: Whether it was cancelled by plan.
        result: What `main` returned.
        finished: Whether it did.
        error: What it raised, unless the life has ended by plan.
        commits: The commits, and what happens to them.
        stores: Every store it has opened, by its `id`.
        seconds: Virtual seconds that it took.
        end: How far it came until it died, was cut short or ended.
        broken: What did not add up of its messages when that was seen first.
        fired: The faults that have happened,
        struck: and when the last of them was over.
    """

    def __init__(
        self,
        world: World,
        number: int,
        plan: FaultPlan,
        max_steps: int,
        trace: Trace | None,
        watch: Callable[[str], None] | None = None,
        *,
        booked: bool = False,
    ) -> None:
        self.world = world
        self.number = number
        self.dead = self.cut_short = self.finished = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.stores: dict[int, Any] = {}
        self.end: Mark | None = None
        self._loud: int | None = None
        self.fired: set[Fault] = set()
        self.struck = 0.0
        self._clock = virtual_clock(lambda: self.steps.idle(), lambda: self.steps.moved())
        self.now: Callable[[], float] = self._clock.current_time
        self._trace = trace
        self._booked = booked
        self.books = Books()
        self.broken: str | None = None
        self._max_steps = max_steps
        self._scope: trio.CancelScope | None = None
        self._past = world.past
        self._trouble: Exception | None = None
        self._unshielded: list[trio.lowlevel.Task] = []
        self.commits = CommitFaults(plan, number, self.fire)
        self.handlers = HandlerFaults(self.note, self.fire)
        self.recording = Recording(self, world.moves)
        self._doors = Doors(self, f"{world.past}/doors")
        self.steps = self._instrument(watch)
        self.commits.watch = watch
        for each in plan.faults:
            if each.life == number:
                self.plan(each)

    def plan(self, fault: Fault) -> None:
        """Let *fault* happen in this life; its numbers are counted from now on."""
        now = self.steps.count
        match fault:
            case Died(step=int(step)):
                self.steps.at(now + step, functools.partial(self._strike, fault, self.die))
            case MainCancelled():
                self.steps.at(now + fault.step, functools.partial(self._strike, fault, self.cut))
            case ClockJumps():
                self.steps.at(now + fault.step, functools.partial(self._jump, fault))
            case WorkerProcessDies():
                self._doors.plan(fault)
            case _:
                self.commits.plan(fault)
                self.handlers.plan(fault)

    def _instrument(self, watch: Callable[[str], None] | None) -> Steps:
        others: Any = [], self._max_steps, self._too_long, self._stuck
        if self._trace is not None:
            return TracedSteps(self._trace, self.number, self.now, watch, self._look_on, *others)
        if self._booked:
            return BookedSteps(self._look_on, *others)
        return Steps(*others) if watch is None else WatchedSteps(watch, *others)

    # Living ---------------------------------------------------------------------------

    def live(self, main: Callable[..., Awaitable[Any]], *, takes_world: bool) -> None:
        """Live it to its end."""
        self.world._begin(self)
        try:
            with (
                collected_by_steps(self.steps),
                seeded_schedule(f"{self.world.past}/schedule"),
                seeded_chance(f"{self.world.past}/random"),
            ):
                trio.run(self._root, main, takes_world, clock=self._clock, instruments=[self.steps])
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not self.dead:  # What a dead process raises nobody sees.
                self.error = error
        finally:
            if not self.dead:
                self.seconds, self.end = self.now(), self.end or self.mark()
            if self._loud is not None:
                logging.disable(self._loud)
            self.world.past = self._past
            self.world._end(self.seconds)
            for task in self._unshielded:
                if getattr(task.coro, "cr_frame", None) is not None:  # Its loop went without it.
                    keep_for_ever(task)
        if self._trouble is not None:
            self.error = self._trouble

    async def _root(self, main: Callable[..., Awaitable[Any]], takes_world: bool) -> None:
        SIMULATION.set(self._doors)
        with trio.CancelScope() as self._scope:
            if self.dead or self.cut_short:
                return
            made = main(self.world) if takes_world else main()
            if not inspect.isawaitable(made):
                raise ConfigurationError("main", main, WANTED)
            self.result = await made
            self._look(over=True)
            self.finished = True

    # Ending ---------------------------------------------------------------------------

    def die(self, when: str = "") -> None:
        """The process dies; *when* says where in a commit."""
        if self.dead:
            return
        self.note("the process dies")
        self._look()
        self._past, self.end = self.past(when), self.end or self.mark()
        if self.commits.undo:
            for suffix in self.commits.suffixes:
                self.fire(suffix)
        for store in self.stores.values():
            store.die()
        try:
            self.world._died(self.commits.undo or (), excused=self.commits.excused)
        except ConfigurationError as error:  # Trio would only log it, as of any instrument.
            self._trouble = self._trouble or error
        self.dead, self.seconds = True, self.now()
        self._hush()
        self.steps.at(self.steps.count + ENDING_STEPS, self._lay)
        if self._scope is not None:
            self._scope.cancel()

    def _hush(self) -> None:
        """Nobody hears a ghost: what it logs until the loop ends is not logged."""
        before = logging.root.manager.disable
        if before < logging.CRITICAL:
            self._loud = before
            logging.disable(logging.CRITICAL)

    def cut(self) -> None:
        """`main` is cancelled."""
        self.note("main is cancelled")
        self._past, self.end = self.past(), self.end or self.mark()
        self.cut_short = True
        if self._scope is not None:
            self._scope.cancel()

    def _jump(self, fault: ClockJumps) -> None:
        self.fire(fault)
        self.note(f"the clock jumps by {fault.seconds:g} s")
        self.world.clock.jump(fault.seconds)

    def _strike(self, fault: Fault, end: Callable[[], None]) -> None:
        self.fire(fault)
        end()

    def fire(self, fault: Fault) -> None:
        """*fault* happens; to a ghost nothing does."""
        if not self.dead:
            self.fired.add(fault)
            self.struck = max(self.struck, self.now() + fault.lasts)

    def _look_on(self) -> None:
        """A step is done."""
        if self.books.due():
            self._look()

    def _look(self, *, over: bool = False) -> None:
        """Look whether all messages are where they should be, and none is left if it is *over*."""
        if self.dead or self.broken is not None:
            return
        left = self.books.left() if over else ()
        lost = itertools.chain(self.books.broken(), left, self.recording.untold())
        found = next(lost, None)
        if found is not None:
            where = f"life {self.number}, step {self.steps.count:,}, {self.now():g} s"
            self.broken = f"conservation: {found} ({where})"

    def mark(self) -> Mark:
        """How far it has come."""
        lines = len(self.world.history)
        return Mark(self.steps.count, self.now(), self.commits.commits, lines)

    def past(self, when: str = "") -> str:
        """What the next life is to know this one by, if it ended now."""
        return f"{self.world.past}/{self.steps.count}.{self.commits.commits}{when}"

    def note(self, what: str) -> None:
        """Write down what the store or the laboratory does."""
        if self._trace is not None:
            self._trace.add((self.number, self.steps.count, self.now(), what))

    def _too_long(self) -> None:
        self._give_up(f"more than max_steps ({self._max_steps:,}) steps: is this a livelock?")

    def _stuck(self) -> None:
        self._give_up(
            "nothing can happen any more: all tasks wait for each other, or for something "
            "outside of the simulation, such as a thread or a socket"
        )

    def _give_up(self, text: str) -> None:
        """End what does not end by itself."""
        if self.dead:
            self._lay()
            return
        where = f"life {self.number}, step {self.steps.count:,}, {self.now():g} s"
        self._trouble = SimulationStuck(f"{where}: {text}")
        self.die()

    def _lay(self) -> None:
        """What is left of a dead process does not end, which nobody ever sees: end it, if it only
        shields itself; or else leave it behind, with the loop it runs in."""
        if not self._unshielded:
            self._unshielded = lift_shields()
            self.steps.at(self.steps.count + ENDING_STEPS, self._lay)
            return
        keep_for_ever(trio.lowlevel.current_root_task())
        vars(self._clock)["current_time"] = _no_more  # The loop asks for it in each round.
