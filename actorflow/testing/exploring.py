"""Go to crash points, one after the other, and see what is wrong there."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import logging
import multiprocessing
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, TypeAlias

import attrs

from actorflow.testing.faults import Died, Fault, FaultPlan, MainCancelled
from actorflow.testing.laws import LawBroken, StoredResults, other_results, stored_results
from actorflow.testing.life import wants_world
from actorflow.testing.simulate import Lives, line_for
from actorflow.testing.world import World

__all__ = ["Exploration", "Main", "Violation", "explore", "points_for", "quietly", "spread"]

Main: TypeAlias = Callable[..., Awaitable[Any]]

#: Told how many points were just explored, and how many violations they found.
Tell: TypeAlias = Callable[[int, int], object]

#: Scenarios between two rounds of the garbage collector, which does not run within one.
ROUND = 64

#: Parts that each process of several explores, one after the other.
PARTS = 8

#: Where in a commit a process may die.
WHENS: tuple[Literal["before", "torn", "after"], ...] = ("before", "torn", "after")


@attrs.frozen
class Violation:
    """A point at which something is wrong.

    Attributes:
        faults: The point.
        error: What is wrong.
        line: The call that does the same again.
    """

    faults: FaultPlan
    error: str
    line: str

    def __str__(self) -> str:
        return f"{self.error}\n    {self.line}"


@attrs.frozen
class Exploration:
    """Points, and what is killed there.

    Attributes:
        main: What is killed.
        seed: Of scheduling and chance.
        max_steps: Most steps of a life.
        plans: The points.
        shared_past: Whether the life up to them is lived once for all.
        results: What runs must have stored in the end, if that is known.
    """

    main: Main
    seed: int
    max_steps: int
    plans: tuple[FaultPlan, ...]
    shared_past: bool
    results: StoredResults | None


def points_for(
    steps: int, commits: int, wanted: Literal["all"] | int, pairs: int, *, cancel: bool, seed: int
) -> list[FaultPlan]:
    """The points of a life of so many steps and commits, as the plans that go there."""

    def points(life: int) -> list[Fault]:
        if cancel:
            return [MainCancelled(step=step, life=life) for step in range(1, steps + 1)]
        return [
            *(Died(step=step, life=life) for step in range(1, steps + 1)),
            *(
                Died(commit=commit, when=when, life=life)
                for commit in range(1, commits + 1)
                for when in WHENS
            ),
        ]

    draw = random.Random(f"{seed}/points")
    first, second = points(1), points(2)
    chosen = first
    if wanted != "all" and wanted < len(first):
        chosen = [first[index] for index in sorted(draw.sample(range(len(first)), wanted))]
    plans = [FaultPlan(each) for each in chosen]
    return plans + [FaultPlan(draw.choice(first), draw.choice(second)) for _ in range(pairs)]


def explore(task: Exploration, tell: Tell) -> tuple[int, list[Violation]]:
    """Go to each point; answers how many lives that took, and what is wrong. *tell* is called with
    how many points were just explored, and found how many violations."""
    takes_world = wants_world(task.main)
    past = _Past(task) if task.shared_past else None
    count, violations = 0 if past is None else 1, []
    for number, plan in enumerate(task.plans):
        if not number % ROUND:
            gc.collect(1)
        if past is None:
            lives = Lives(task.main, task.seed, plan, task.max_steps, None, takes_world=takes_world)
            error = lives.live()
            count += lives.lived
        else:
            lives = past.go_on(plan, takes_world)
            broken = lives.world._broken()  # Right after the death.
            error = LawBroken("; ".join(broken)) if broken else lives.live()
            count += lives.lived - 1
        if error is None and task.results is not None:
            texts = other_results(task.results, stored_results(lives.world._disk))
            error = LawBroken("; ".join(texts)) if texts else None
        if error is not None:
            text = f"{type(error).__name__}: {error}"
            line = line_for(task.main, task.seed, plan)
            violations.append(Violation(plan, text, line))
        tell(1, int(error is not None))
    return count, violations


def spread(task: Exploration, processes: int, tell: Tell) -> tuple[int, list[Violation]]:
    """The same, over several processes."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        # A shared past is lived once in each part.
        count = processes if task.shared_past else processes * PARTS
        parts = [task.plans[first::count] for first in range(count)]
        futures = [
            pool.submit(_explore_apart, attrs.evolve(task, plans=part)) for part in parts if part
        ]
        outcomes = []
        for future in concurrent.futures.as_completed(futures):
            explored, lives, found = future.result()
            outcomes.append((lives, found))
            tell(explored, len(found))
    order = {plan: index for index, plan in enumerate(task.plans)}
    violations = itertools.chain.from_iterable(found for _, found in outcomes)
    return (
        sum(count for count, _ in outcomes),
        sorted(violations, key=lambda each: order[each.faults]),
    )


def _explore_apart(task: Exploration) -> tuple[int, int, list[Violation]]:
    """In a process of its own; answers also how many points that were."""
    with quietly():
        return len(task.plans), *explore(task, lambda points, violations: None)


class _Past:
    """A life that is not killed, and the world as it was at those of its points that matter."""

    def __init__(self, task: Exploration) -> None:
        self._task = task
        self._wanted = {plan.faults[0] for plan in task.plans}
        self._worlds: dict[Fault, World] = {}
        self._lives = Lives(task.main, task.seed, FaultPlan(), task.max_steps, None)
        self._lives.watch = self._note
        error = self._lives.live()
        if error is not None:
            raise error

    def _note(self, when: Any) -> None:
        life = self._lives.last
        point = Died(commit=life.commits.commits, when=when) if when else None
        point = point or Died(step=life.steps.count)
        if point in self._wanted:
            self._worlds[point] = self._lives.world._snapshot(life.past(when))

    def go_on(self, plan: FaultPlan, takes_world: bool) -> Lives:
        """The lives after the first one of *plan*."""
        found, task = self._worlds[plan.faults[0]], self._task
        world = found._snapshot(found.past)
        return Lives(
            task.main,
            task.seed,
            plan,
            task.max_steps,
            None,
            world=world,
            lived=1,
            takes_world=takes_world,
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
