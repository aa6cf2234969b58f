"""Every crash point is gone to; what is wrong is found, and what is right is not."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from actorflow import ConfigurationError, Fixed, Pipeline, Retry, stage
from actorflow.flows.keeper import Keeper
from actorflow.runtime.journal import Journal
from actorflow.testing import (
    Died,
    FaultPlan,
    LawBroken,
    MainCancelled,
    World,
    crash_points,
    simulate,
)
from actorflow.testing.life import Mark
from actorflow.testing.points import Point, points_for, points_of, second_for
from tests.testing import buggy, systems

SYSTEMS = [systems.linear, systems.forked, systems.bank]


# Nothing is wrong with these -----------------------------------------------------------------


@pytest.mark.parametrize("main", SYSTEMS)
def test_nothing_is_lost_whenever_a_system_is_killed(main: Callable[..., Any]) -> None:
    threads = threading.active_count()

    report = crash_points(main).check()

    assert report.points == report.steps + 3 * report.commits
    assert report.lives == 2 + 2 * report.points
    assert threading.active_count() == threads


@pytest.mark.parametrize("main", SYSTEMS)
def test_nothing_is_lost_whenever_a_system_is_cancelled(main: Callable[..., Any]) -> None:
    report = crash_points(main, cancel=True).check()

    assert report.points == report.steps


@pytest.mark.parametrize("main", SYSTEMS)
def test_nothing_is_lost_when_what_recovers_is_killed_too(main: Callable[..., Any]) -> None:
    report = crash_points(main, steps=1, pairs=40, seed=2).check()

    assert (report.points, report.pairs) == (41, 40)
    assert report.lives > 41 * 2


# Something is wrong with these ---------------------------------------------------------------


def test_an_update_that_is_acknowledged_before_it_is_on_disk_is_found() -> None:
    report = crash_points(buggy.LOSES)

    assert any("acknowledged and never completed" in each.error for each in report.violations)
    with pytest.raises(AssertionError, match=r"crash points break something"):
        report.check()
    crash_points(buggy.KEEPS).check()


def test_an_effect_without_its_idempotency_key_is_found_twice() -> None:
    report = crash_points(buggy.CHARGES_TWICE)

    assert any("was done 2 times" in each.error for each in report.violations)
    crash_points(buggy.CHARGES_ONCE).check()


def test_a_violation_has_a_line_that_does_it_again() -> None:
    found = crash_points(buggy.LOSES, seed=3).violations[0]

    assert found.line == (
        f"simulate(functools.partial(shop, hasty=True), seed=3, faults={found.faults})"
    )
    assert str(found) == f"{found.error}\n    {found.line}"
    with pytest.raises(LawBroken, match=re.escape(found.error.removeprefix("LawBroken: "))):
        eval(found.line, {**vars(buggy), "simulate": simulate, **_faults()})


def _faults() -> dict[str, Any]:
    return {"FaultPlan": FaultPlan, "Died": Died, "MainCancelled": MainCancelled}


def test_seeds_alone_find_a_lost_update_by_its_schedule() -> None:
    def outcome(seed: int) -> str:
        try:
            simulate(buggy.counting, seed=seed)
        except AssertionError as error:
            return error.__notes__[0]
        return "right"

    outcomes = {outcome(seed): seed for seed in range(30)}

    assert "right" in outcomes
    assert {f"again: simulate(counting, seed={seed})" for seed in outcomes.values()} & set(outcomes)


def test_seeds_and_a_death_find_a_lost_order() -> None:
    found = 0
    for seed in range(20):
        steps = simulate(buggy.KEEPS, seed=seed).steps
        plan = [Died(step=random.Random(seed).randrange(1, steps))]
        simulate(buggy.KEEPS, seed=seed, faults=plan)
        try:
            simulate(buggy.LOSES, seed=seed, faults=plan)
        except LawBroken:
            found += 1

    assert found


# Bugs of the runtime, if it had them ----------------------------------------------------------


async def feeding(world: World) -> None:
    """Feeds by hand."""
    async with systems.LINEAR.open(store=world.store, run_id="r") as run:
        if run.report is None:
            await run.feed([1, 2])
            await trio.sleep(0.05)
            await run.feed([3])


async def telling(world: World) -> None:
    """Tells by hand."""
    await buggy.shop(world, hasty=False)


async def at_once(*_: Any) -> None:
    await trio.lowlevel.checkpoint()


def test_a_feed_that_returns_before_the_disk_has_it_breaks_durable_accept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crash_points(feeding).check()
    monkeypatch.setattr(Keeper, "settled", at_once)

    report = crash_points(feeding)

    assert any("durable accept: feed() acknowledged" in each.error for each in report.violations)


def test_a_tell_that_returns_before_the_disk_has_it_breaks_durable_accept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Journal, "settled", at_once)

    report = crash_points(telling)

    assert any("durable accept: tell() acknowledged" in each.error for each in report.violations)


@stage(policies=[Retry(2, backoff=Fixed(0.1))])
async def failing(value: int) -> int:
    raise ValueError(value)


async def failing_for_ever(world: World) -> None:
    """Fails three times in a run that has a second."""
    flow = Pipeline([failing], name="failing")
    async with flow.open(store=world.store, run_id="r") as run:
        await run.feed([1])
        await trio.sleep(0.45)
        run.cancel()


def test_a_retry_that_does_not_end_breaks_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(failing_for_ever)
    decide = Retry.decide

    def never_gives_up(self: Retry, attempt: int, *given: Any, **facts: Any) -> Any:
        return decide(self, 1, *given, **facts)

    monkeypatch.setattr(Retry, "decide", never_gives_up)

    with pytest.raises(LawBroken, match="attempts: a message in /failing/failing has"):
        simulate(failing_for_ever)


# Which points ---------------------------------------------------------------------------------


def test_points_are_every_step_and_every_commit_three_times() -> None:
    assert [each.first for each in points_for(2, 1, "all", 0, cancel=False, seed=0)] == [
        Died(step=1),
        Died(step=2),
        Died(commit=1),
        Died(commit=1, when="torn"),
        Died(commit=1, when="after"),
    ]
    assert points_for(2, 1, "all", 0, cancel=True, seed=0) == [
        Point(0, MainCancelled(step=1)),
        Point(1, MainCancelled(step=2)),
    ]


def test_a_sample_of_points_and_pairs_follows_the_seed() -> None:
    drawn = [points_for(50, 5, 10, 4, cancel=False, seed=seed) for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert [each.number for each in drawn[0]] == list(range(14))
    assert [each.pair for each in drawn[0]] == [0] * 10 + [1, 2, 3, 4]
    assert len({each.first for each in drawn[0][:10]}) == 10


def test_the_second_of_a_pair_is_in_the_life_that_it_ends() -> None:
    end = Mark(5, 1.0, 2, 0)
    drawn = [second_for(pair, end, cancel=False, seed=1) for pair in range(400)]

    assert drawn == [second_for(pair, end, cancel=False, seed=1) for pair in range(400)]
    assert set(drawn) == set(points_of(5, 2, 2, cancel=False))
    cut = {second_for(pair, end, cancel=True, seed=1) for pair in range(100)}
    assert cut == set(points_of(5, 2, 2, cancel=True))


def test_more_points_than_there_are_is_all_of_them() -> None:
    assert len(points_for(3, 0, 10, 0, cancel=False, seed=0)) == 3


def test_points_may_be_spread_over_processes() -> None:
    report = crash_points(systems.linear, steps=12, processes=2).check()

    assert report.points == 12
    assert report.lives == 26


def test_violations_of_other_processes_come_in_the_order_of_the_points() -> None:
    alone = crash_points(feeding_wrong, steps=12)
    spread = crash_points(feeding_wrong, steps=12, processes=2)

    assert alone.violations
    assert [each.line for each in spread.violations] == [each.line for each in alone.violations]


async def feeding_wrong(world: World) -> None:
    """Is wrong in every other life but the first."""
    await systems.linear(world)
    assert world.life == 1, "there is another life"


def test_a_main_that_others_cannot_import_stays_in_this_process() -> None:
    async def main() -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="which other processes can import"):
        crash_points(main, processes=2)


def test_a_main_that_is_wrong_undisturbed_says_so_itself() -> None:
    async def main() -> None:
        raise KeyError("undisturbed")

    with pytest.raises(KeyError, match="undisturbed") as caught:
        crash_points(main, seed=4)

    assert caught.value.__notes__ == ["again: simulate(main, seed=4)"]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"pairs": -1}, {"processes": 0}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        crash_points(systems.linear, **wrong)  # type: ignore[arg-type]


# One past for all -----------------------------------------------------------------------------


@pytest.mark.parametrize("main", SYSTEMS)
def test_a_shared_past_goes_the_way_of_each_that_is_killed(main: Callable[..., Any]) -> None:
    seen: dict[bool, list[Any]] = {True: [], False: []}

    async def watched(world: World) -> None:
        places = seen[shared]
        try:
            await main(world)
        finally:
            if world.life == 2:
                places.append(
                    (world.past, world.clock.time(), trio.current_time(), contents(world))
                )

    for shared in (True, False):
        report = crash_points(watched, steps=25, pairs=5, shared_past=shared).check()
        assert report.points == 30

    alive = [each for each in seen[False] if each in seen[True]]
    assert len(alive) >= 25


def contents(world: World) -> list[Any]:
    """What is on the disk, of all runs."""
    runs = sorted(world._disk._runs.items())
    return [(run, kept.number, kept.status, kept.cuts) for run, kept in runs]


def test_a_shared_past_finds_what_is_wrong_too() -> None:
    killed = crash_points(buggy.CHARGES_TWICE)
    shared = crash_points(buggy.CHARGES_TWICE, shared_past=True)

    assert shared.violations == killed.violations
    assert shared.lives < killed.lives
    assert crash_points(buggy.LOSES, shared_past=True).violations == (
        crash_points(buggy.LOSES).violations
    )


def test_a_shared_past_cannot_be_cancelled() -> None:
    with pytest.raises(ConfigurationError, match="False with cancel=True"):
        crash_points(systems.linear, cancel=True, shared_past=True)
