"""Go to crash points, one after the other, and see what is wrong there."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import logging
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from actorflow.errors import ConfigurationError
from actorflow.testing.faults import Fault, FaultPlan
from actorflow.testing.laws import LawBroken, StoredResults, other_results, stored_results
from actorflow.testing.life import Mark, SimulationStuck, wants_world
from actorflow.testing.lines import MAX_STEPS, line_for, said, where
from actorflow.testing.points import Point, point_at, second_for
from actorflow.testing.simulate import Lives
from actorflow.testing.world import World

__all__ = [
    "CAUSES",
    "Exploration",
    "Explored",
    "Main",
    "NotReplayable",
    "Violation",
    "explore",
    "quietly",
    "spread",
]

Main: TypeAlias = Callable[..., Awaitable[Any]]

#: Told how many points were just explored, and how many violations they found.
Tell: TypeAlias = Callable[[int, int], object]

#: Scenarios between two rounds of the garbage collector, which does not run within one.
ROUND = 64

#: Parts that each process of several explores, one after the other.
PARTS = 8


@attrs.frozen
class Violation:
    """A point at which something is wrong.

    Attributes:
        faults: The point.
        error: What is wrong.
        line: The call that does the same again.
        where: File and line of `main`, or what it calls, that raised it; empty for a law.
    """

    faults: FaultPlan
    error: str
    line: str
    where: str = ""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where and self.where not in self.error else ""
        return f"{self.error}{place}\n    {self.line}"


class NotReplayable(AssertionError):
    """The same seed does not lead the same way, so nothing that is found could be done again."""


#: What usually leads another way, and what to use.
CAUSES = (
    "what usually does that: time.time() and datetime.now(), uuid4(), os.urandom() and secrets, "
    "the order of a set (PYTHONHASHSEED), threads of its own, and what is kept in the process "
    "outside of main, such as a cache of a module; use trio.current_time(), world.clock, "
    "world.random or ctx"
)


@attrs.frozen
class Exploration:
    """Points, and what is killed there.

    Attributes:
        main: What is killed.
        seed: Of scheduling and chance.
        max_steps: Most steps of a life.
        within: Most virtual seconds from the last death to the end.
        points: The points.
        marks: How far the undisturbed life was at each.
        cancel: Whether it is cancelled there.
        shared_past: Whether the life up to them is lived once for all.
        results: What runs must have stored in the end, if that is known.
    """

    main: Main
    seed: int
    max_steps: int
    within: float | None
    points: tuple[Point, ...]
    marks: dict[Fault, Mark]
    cancel: bool
    shared_past: bool
    results: StoredResults | None

    def part(self, points: Sequence[Point]) -> Exploration:
        """That of some of its points."""
        marks = {each.first: self.marks[each.first] for each in points}
        return attrs.evolve(self, points=tuple(points), marks=marks)


@attrs.define
class Explored:
    """What came of it.

    Attributes:
        points: Points that were gone to, or tried to.
        singles: Those that happened,
        pairs: and pairs of which both did.
        lives: That it took.
        violations: What is wrong, with the number of the point that found it.
    """

    points: int = 0
    singles: int = 0
    pairs: int = 0
    lives: int = 0
    violations: dict[FaultPlan, tuple[int, Violation]] = attrs.Factory(dict)

    def add(self, other: Explored) -> None:
        """Have what another one has."""
        self.points += other.points
        self.singles += other.singles
        self.pairs += other.pairs
        self.lives += other.lives
        for plan, found in other.violations.items():
            known = self.violations.setdefault(plan, found)
            self.violations[plan] = min(known, found, key=lambda each: each[0])

    def in_order(self) -> list[Violation]:
        """The violations, in the order of the points."""
        return [each for _, each in sorted(self.violations.values(), key=lambda each: each[0])]


def explore(task: Exploration, tell: Tell) -> Explored:
    """Go to each point. *tell* is called with how many were just explored, and found how many
    violations."""
    explorer = _Explorer(task)
    found = explorer.explored
    for number, point in enumerate(task.points):
        if not number % ROUND:
            gc.collect(1)
        before = len(found.violations)
        explorer.go_to(point)
        found.points += 1
        tell(1, len(found.violations) - before)
    return found


def spread(task: Exploration, processes: int, tell: Tell) -> Explored:
    """The same, over several processes."""
    context = multiprocessing.get_context("spawn")
    whole = Explored()
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        # A shared past is lived once in each part.
        count = processes if task.shared_past else processes * PARTS
        parts = [task.points[first::count] for first in range(count)]
        futures = [pool.submit(_explore_apart, task.part(part)) for part in parts if part]
        for future in concurrent.futures.as_completed(futures):
            found, before = future.result(), len(whole.violations)
            whole.add(found)
            tell(found.points, len(whole.violations) - before)
    return whole


def _explore_apart(task: Exploration) -> Explored:
    """In a process of its own."""
    with quietly():
        return explore(task, lambda points, violations: None)


class _Explorer:
    """Goes to points, one after the other."""

    def __init__(self, task: Exploration) -> None:
        self._task = task
        self._takes_world = wants_world(task.main)
        self._past = _Past(task) if task.shared_past else None
        self.explored = Explored(lives=0 if self._past is None else 1)
        #: How far the second life came after one point; `None` if something was wrong.
        self._recovered: dict[Fault, Mark | None] = {}

    def go_to(self, point: Point) -> None:
        """Go to one, or to both of a pair."""
        alone = FaultPlan(point.first)
        if not point.pair:
            self.explored.singles += self._live(point.number, alone)
            return
        if point.first not in self._recovered:
            self._live(point.number, alone)
        end = self._recovered[point.first]
        if end is not None:
            task = self._task
            second = second_for(point.pair, end, cancel=task.cancel, seed=task.seed)
            self.explored.pairs += self._live(point.number, FaultPlan(point.first, second))

    def _live(self, number: int, plan: FaultPlan) -> bool:
        """Let *plan* happen; whether all of it did."""
        task = self._task
        lives = self._begin(plan)
        error: BaseException | None = None
        missed: Sequence[Fault] = plan.faults
        if lives is None:
            other: str | None = f"{plan.faults[0]} was not reached"
        else:
            before = lives.lived
            broken = lives.world._broken() if before else []  # Right after the death.
            error = LawBroken("; ".join(broken)) if broken else lives.live()
            self.explored.lives += lives.lived - before
            missed = [
                each for each in plan.faults if each.life > before and each not in lives.fired
            ]
            other = None if before else self._other_way(lives, plan)
            if missed:  # Something that is wrong may have ended them before.
                other = None if error is not None else f"{missed[0]} was not reached"
            if error is None and task.results is not None:
                texts = other_results(task.results, stored_results(lives.world._disk))
                error = LawBroken("; ".join(texts)) if texts else None
        if error is not None or other is not None:
            text = "" if error is None else said(error)
            if other is not None:
                text = f"NotReplayable: {other}: {CAUSES}{text and f'; then {text}'}"
            most = task.max_steps
            if not isinstance(error, SimulationStuck):  # It has not come as far.
                most = max(most, MAX_STEPS)
            same = True if task.results is not None else None
            line = line_for(task.main, task.seed, plan, most, within=task.within, same_results=same)
            place = "" if error is None else where(error)
            found = Violation(plan, text, line, place)
            self.explored.violations.setdefault(plan, (number, found))
        if len(plan) == 1:
            right = lives is not None and error is None and other is None
            self._recovered[plan.faults[0]] = lives.ends.get(2) if right and lives else None
        return not missed

    def _begin(self, plan: FaultPlan) -> Lives | None:
        task = self._task
        if self._past is not None:
            return self._past.go_on(plan, self._takes_world)
        return Lives(
            task.main,
            task.seed,
            plan,
            task.max_steps,
            None,
            takes_world=self._takes_world,
            within=task.within,
        )

    def _other_way(self, lives: Lives, plan: FaultPlan) -> str | None:
        """How the first of these lives went another way than undisturbed, if it did."""
        here, there = lives.ends.get(1), self._task.marks[plan.faults[0]]
        return None if here == there else f"at {plan.faults[0]} it was {here}, undisturbed {there}"


class _Past:
    """A life that is not killed, and the world as it was at those of its points that matter."""

    def __init__(self, task: Exploration) -> None:
        self._task = task
        self._worlds: dict[Fault, World] = {}
        self._lives = Lives(task.main, task.seed, FaultPlan(), task.max_steps, None)
        self._lives.watch = self._note
        self._refused: ConfigurationError | None = None
        error = self._lives.live() or self._refused
        if error is not None:
            raise error

    def _note(self, when: Any) -> None:
        life = self._lives.last
        point = point_at(life.mark(), when, cancel=False)
        if self._task.marks.get(point) == life.mark() and self._refused is None:
            try:
                self._worlds[point] = self._lives.world._snapshot(life.past(when))
            except ConfigurationError as error:  # Trio would only log it.
                self._refused = error

    def go_on(self, plan: FaultPlan, takes_world: bool) -> Lives | None:
        """The lives after the first one of *plan*, if that went as undisturbed."""
        found, task = self._worlds.get(plan.faults[0]), self._task
        if found is None:
            return None
        return Lives(
            task.main,
            task.seed,
            plan,
            task.max_steps,
            None,
            world=found._snapshot(found.past),
            lived=1,
            takes_world=takes_world,
            within=task.within,
        )


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the log lines and the garbage collections that thousands of deaths would make."""
    before, collects = logging.root.manager.disable, gc.isenabled()
    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        yield
    finally:
        logging.disable(before)
        if collects:
            gc.enable()
