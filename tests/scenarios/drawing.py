"""From a number to a scenario, and from a scenario to its outcome."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import attrs
import trio

from actorflow import LeaseLost, RunInUseError, StoreCorrupt, StoreUnavailable
from actorflow.testing import FAULT_KINDS, Fault, FaultPlan, SuffixLost, World
from actorflow.testing.draws import Draws, Seeded, chosen, perhaps
from actorflow.testing.fault_strategies import Range, draw_fault_plan
from actorflow.testing.faults import (
    ClockJumps,
    CommitHangs,
    Died,
    HandlerHangs,
    LoadRepeated,
    LoadStale,
    MainCancelled,
    RunTaken,
)
from actorflow.testing.flow_plain import plain
from actorflow.testing.flow_plans import steps_of
from actorflow.testing.flow_strategies import draw_flow
from actorflow.testing.simulate import Lives, line_for
from tests.scenarios.stories import draw_story
from tests.scenarios.systems import PATIENT, SYSTEMS, Main, System

__all__ = ["KINDS", "Outcome", "Scenario", "play", "scenario"]

KINDS = FAULT_KINDS

#: Most steps of a life: two hundred times what the longest of them needs undisturbed.
MAX_STEPS = 100_000

#: Seconds after which a host starts what has ended: the lease of who does not let go is over.
LEASE = 40.0

#: Virtual seconds within which all lives are at their end, whatever happens in them: three commits
#: that hang, three handlers that hang, and the waits of a client in four lives.
MAX_SECONDS = 2_500.0


@attrs.frozen
class Scenario:
    """What happens to what.

    Attributes:
        seed: The number that it comes from.
        name: Of the system.
        main: What is simulated.
        faults: What goes wrong.
        about: What it is, as text.
    """

    seed: int
    name: str
    main: Main
    faults: FaultPlan
    about: str


@attrs.frozen
class Outcome:
    """What came of it.

    Attributes:
        scenario: Of what.
        steps: Of all lives.
        lives: How many.
        violation: What is wrong, or `None`.
    """

    scenario: Scenario
    steps: int
    lives: int
    violation: str | None

    @property
    def line(self) -> str:
        """The command that does the same again."""
        return f"python -m tests.scenarios --count 1 --seed {self.scenario.seed}"


def scenario(seed: int) -> Scenario:
    """The scenario of *seed*."""
    draws = Seeded(f"scenario {seed}")
    match draws.number(0, 2):
        case 0:
            name, (system, about) = "flow", _flow(draws)
        case 1:
            name, (system, about) = "story", draw_story(draws)
        case _:
            name = about = chosen(draws, tuple(SYSTEMS))
            system = SYSTEMS[name]
    reach = Range(
        max_faults=3,
        max_step=draws.number(20, 300),
        max_commit=draws.number(3, 20),
        max_turn=8,
        paths=system.paths,
    )
    faults = _with_deaths(draws, draw_fault_plan(draws, _some_kinds(draws), reach), reach)
    return Scenario(seed, name, _coming_back(system.main), faults, about)


def _with_deaths(draws: Draws, plan: FaultPlan, reach: Range) -> FaultPlan:
    """*plan*, in which each life whose last commits are lost ends by a death, and the store has
    never promised to keep them: of a disk that lies nothing holds."""
    faults: list[Fault] = []
    for each in plan.faults:
        if isinstance(each, SuffixLost):
            each = attrs.evolve(each, allowed=True)
            if not plan.picked(Died, each.life):
                faults.append(Died(step=draws.number(1, reach.max_step), life=each.life))
        faults.append(each)
    return FaultPlan(*faults)


def _some_kinds(draws: Draws) -> tuple[Any, ...]:
    """A part of the kinds: what only happens where another does not is found sooner."""
    kept = tuple(each for each in KINDS if perhaps(draws))
    return kept or KINDS


def _flow(draws: Draws) -> tuple[System, str]:
    """A flow, with what must come out of it."""
    flow = draw_flow(draws, draws.number(1, 8), "drawn", policies=PATIENT)
    items = range(draws.number(1, 6))
    given: dict[str, Any] = {"ordered": perhaps(draws, 3), "window": chosen(draws, (1024, 1, 2))}
    expected = plain(flow, items)

    async def main(world: World) -> None:
        report = await flow.run(
            items, store=world.store, run_id="run", results="store", tune=False, **given
        )
        values = Counter(str(each.value) for each in world.results("run") if each.ok)
        assert values == expected.values, _difference(values, expected.values)
        counts = dict(report.counts)
        assert (counts["fed"], counts["held"]) == (len(items), 0), counts
        assert expected.counts is None or counts == expected.counts, (counts, expected.counts)

    paths = tuple(f"/drawn/{each.name}" for each in steps_of(flow.row))
    return System(main, paths), f"{given}, items = {items}\n{flow!r}"


def _difference(values: Counter[str], expected: Counter[str]) -> str:
    return f"too many: {dict(values - expected)}, missing: {dict(expected - values)}"


def _coming_back(main: Main) -> Main:
    """*main*, started again by its host when it has lost its run or its store, or was refused what
    that gave."""

    @functools.wraps(main)
    async def hosted(world: World) -> None:
        try:
            await main(world)
        except* (LeaseLost, RunInUseError, StoreCorrupt, StoreUnavailable):
            await trio.sleep(LEASE)
            world.crash()

    return hosted


def play(one: Scenario) -> Outcome:
    """Let it happen."""
    lives = Lives(one.main, one.seed, one.faults, MAX_STEPS, None, booked=True)
    error = lives.live()
    violation = None
    if error is not None:
        violation = f"{type(error).__name__}: {error}"
    elif lives.seconds > _longest(one.faults):
        violation = f"liveness: it took {lives.seconds:,.0f} virtual seconds"
    else:
        violation = _too_many_lives(one.faults, lives.last.number)
    if violation is not None:
        again = line_for(one.main, one.seed, one.faults, MAX_STEPS)
        violation = f"{violation}\n  {one.about}\n  {again}"
    return Outcome(one, lives.steps, lives.last.number, violation)


def _longest(faults: FaultPlan) -> float:
    """Virtual seconds that the lives may take. What is kept until some time is kept by the clock on
    the wall: if that is set back before the process dies, the next life waits as much longer."""
    back = sum(
        -each.seconds for each in faults.faults if isinstance(each, ClockJumps) and each.seconds < 0
    )
    return MAX_SECONDS + 2 * back


def _too_many_lives(faults: FaultPlan, lives: int) -> str | None:
    """A life ends by a fault that is planned for it, and by nothing else."""
    ends = Died, MainCancelled, RunTaken, CommitHangs, HandlerHangs, LoadStale, LoadRepeated
    most = 1 + sum(isinstance(each, ends) for each in faults.faults)
    return None if lives <= most else f"liveness: {lives} lives, {most} were planned"
