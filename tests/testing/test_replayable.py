"""What cannot be done again is said, and the numbers of an exploration are true."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

import pytest
import trio

from actorflow import Pipeline, stage
from actorflow.testing import (
    Died,
    FaultPlan,
    NotReplayable,
    SimulationStuck,
    World,
    crash_points,
    simulate,
)
from tests.testing import buggy, systems

# Another way each time -----------------------------------------------------------------------


async def by_the_clock() -> None:
    await trio.sleep(time.perf_counter())


async def by_an_id() -> None:
    for _ in range(uuid.uuid4().int % 1_000):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("main", [by_the_clock, by_an_id])
def test_a_main_that_no_seed_replays_is_refused(main: Any) -> None:
    with pytest.raises(NotReplayable, match=r"undisturbed it went another way when it was run ag"):
        crash_points(main)


SEEN: set[int] = set()


@stage
async def once(value: int, ctx: Any) -> int:
    if value not in SEEN:
        SEEN.add(value)
        ctx.deps.effect(value)
    return value


async def remembering(world: World) -> None:
    flow = Pipeline([once], name="once")
    await flow.run([1, 2], store=world.store, run_id="r", deps=world.history)


def test_what_a_module_remembers_over_deaths_is_found() -> None:
    SEEN.clear()

    with pytest.raises(NotReplayable, match=r"its history: .*kept in the process outside of main"):
        crash_points(remembering)


def test_what_ends_otherwise_when_it_is_run_again_is_found() -> None:
    runs = itertools.count()

    async def main() -> None:
        assert not next(runs)

    with pytest.raises(NotReplayable, match="undisturbed it came to its end, and again to Assert"):
        crash_points(main)


@pytest.mark.parametrize("shared", [False, True])
def test_a_first_life_that_goes_another_way_is_a_violation_of_its_own(shared: bool) -> None:
    runs = itertools.count()

    async def main() -> None:
        if next(runs) > 1:
            await trio.sleep(1)
        for _ in range(5):
            await trio.lowlevel.checkpoint()

    report = crash_points(main, shared_past=shared)

    assert report.violations
    assert all(each.error.startswith("NotReplayable: ") for each in report.violations)
    assert "outside of main" in report.violations[0].error


def test_a_point_that_is_no_more_does_not_count() -> None:
    runs = itertools.count()

    async def main() -> None:
        for _ in range(5 if next(runs) > 1 else 20):
            await trio.lowlevel.checkpoint()

    report = crash_points(main)

    assert report.points < report.steps
    assert any("was not reached" in each.error for each in report.violations)


# Pairs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"cancel": True}, {"shared_past": True}])
def test_both_deaths_of_each_pair_happen(given: Any) -> None:
    lives: list[int] = []

    async def main(world: World) -> None:
        lives.append(world.life)
        await systems.linear(world)

    report = crash_points(main, steps=1, pairs=60, **given).check()

    assert (report.points, report.pairs) == (61, 60)
    assert lives.count(3) == 60


def test_a_pair_whose_first_death_breaks_something_is_none() -> None:
    async def main(world: World) -> None:
        await systems.linear(world)
        assert world.life == 1

    report = crash_points(main, steps=3, pairs=20)

    assert (report.points, report.pairs) == (3, 0)
    assert len({each.faults for each in report.violations}) == len(report.violations) > 3


def test_pairs_are_the_same_in_several_processes() -> None:
    alone = crash_points(buggy.CHARGES_TWICE, steps=4, pairs=20)
    spread = crash_points(buggy.CHARGES_TWICE, steps=4, pairs=20, processes=2)

    assert alone.violations
    assert spread.violations == alone.violations
    assert (spread.points, spread.pairs) == (alone.points, alone.pairs)


# Bounds --------------------------------------------------------------------------------------


async def working_long(world: World) -> None:
    await systems.linear(world)
    if world.life == 2:
        for _ in range(30_000):
            await trio.lowlevel.checkpoint()


def test_a_long_recovery_is_no_livelock() -> None:
    crash_points(working_long, steps=1).check()


def test_a_bound_that_was_hit_is_in_the_line() -> None:
    (found,) = crash_points(working_long, steps=1, max_steps=2_000).violations

    assert found.line.endswith(", max_steps=2000)")
    with pytest.raises(SimulationStuck, match=r"more than max_steps \(2,000\)"):
        eval(found.line, {**globals(), "FaultPlan": FaultPlan, "Died": Died})
    simulate(working_long, faults=found.faults)


async def sleeping_long(world: World) -> None:
    await systems.linear(world)
    if world.life == 2:
        await trio.sleep(72_000)


def test_a_recovery_that_is_not_within_is_a_violation() -> None:
    crash_points(sleeping_long, steps=2).check()
    crash_points(systems.linear, steps=2, within=60).check()

    for shared in (False, True):
        report = crash_points(sleeping_long, steps=2, within=60, shared_past=shared)
        assert len(report.violations) == 2
        assert "liveness: 72000" in report.violations[0].error
        assert report.violations[0].line.endswith(", within=60)")
