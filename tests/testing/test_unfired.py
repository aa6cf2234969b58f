"""A fault that can never happen is refused, and one that did not happen is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actorflow import ConfigurationError
from actorflow.testing import (
    ClockJumps,
    CommitFails,
    CommitHangs,
    CommitRepeated,
    CommitSlow,
    CommitTorn,
    CommitUnreported,
    Died,
    DiskFull,
    Fault,
    HandlerCancelled,
    HandlerCrashes,
    HandlerHangs,
    HandlerSlow,
    LoadRepeated,
    LoadStale,
    MainCancelled,
    RunTaken,
    SuffixLost,
    Unfired,
    WorkerProcessDies,
    World,
    simulate,
)
from tests.testing import systems

WRONG: list[tuple[Callable[[], Fault], str]] = [
    (lambda: Died(step=0), "Died step must be a whole number, 1 or more, got 0"),
    (lambda: Died(step=1, life=0), "Died life must be a whole number, 1 or more, got 0"),
    (lambda: Died(commit=True), "Died commit must be a whole number, 1 or more, got True"),
    (
        lambda: Died(commit=1, when="soon"),  # type: ignore[arg-type]
        "Died when must be one of 'before', 'torn', 'after', got 'soon'",
    ),
    (lambda: MainCancelled(step=-1), "MainCancelled step must be"),
    (lambda: ClockJumps(step=0, seconds=1.0), "ClockJumps step must be"),
    (lambda: ClockJumps(step=1, seconds=float("inf")), "ClockJumps seconds must be a number"),
    (lambda: CommitFails(0), "CommitFails commit must be"),
    (lambda: CommitFails(1, times=0), "CommitFails times must be"),
    (lambda: CommitFails(1, reason="bad"), "CommitFails reason must be one of 'full'"),
    (lambda: CommitTorn(0), "CommitTorn commit must be"),
    (lambda: CommitSlow(1, -1.0), "CommitSlow seconds must be"),
    (lambda: CommitHangs(0), "CommitHangs commit must be"),
    (lambda: CommitUnreported(0), "CommitUnreported commit must be"),
    (lambda: CommitRepeated(0), "CommitRepeated commit must be"),
    (lambda: LoadRepeated(0), "LoadRepeated cuts must be"),
    (lambda: LoadStale(0), "LoadStale cuts must be"),
    (lambda: DiskFull(3, 2), "DiskFull last must be 3 or more, got 2"),
    (lambda: RunTaken(0), "RunTaken commit must be"),
    (lambda: SuffixLost(0), "SuffixLost commits must be"),
    (lambda: SuffixLost(1, allowed=1), "SuffixLost allowed must be"),  # type: ignore[arg-type]
    (
        lambda: HandlerCrashes("shop/charge", 1),
        "HandlerCrashes path must be a path, such as '/shop/charge', got 'shop/charge'",
    ),
    (lambda: HandlerCrashes("/shop/", 1), "HandlerCrashes path must be"),
    (lambda: HandlerCrashes("/shop", 0), "HandlerCrashes turn must be"),
    (lambda: HandlerCrashes("/shop", 1, resume=-1), "HandlerCrashes resume must be"),
    (lambda: HandlerCancelled("/shop", 1, wait=0), "HandlerCancelled wait must be"),
    (lambda: HandlerSlow("/shop", 1, float("nan")), "HandlerSlow seconds must be"),
    (lambda: HandlerHangs("", 1), "HandlerHangs path must be"),
    (lambda: WorkerProcessDies(0), "WorkerProcessDies call must be"),
]


@pytest.mark.parametrize(("make", "text"), WRONG, ids=[text[:40] for _, text in WRONG])
def test_a_fault_that_can_never_happen_is_refused(make: Callable[[], Fault], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()

    assert str(caught.value).startswith(text)


LATE: list[Fault] = [
    Died(step=10**6),
    Died(commit=10**6, when="after"),
    MainCancelled(step=10**6),
    ClockJumps(step=10**6, seconds=1.0),
    CommitFails(10**6),
    CommitSlow(10**6, 1.0),
    LoadStale(1),
    LoadStale(1, life=2),
    SuffixLost(1),
    RunTaken(10**6),
    HandlerCrashes("/linear/double", 9),
    HandlerCrashes("/nobody", 1),
    HandlerCancelled("/linear/double", 1, wait=99),
    WorkerProcessDies(1),
]


@pytest.mark.parametrize("fault", LATE, ids=str)
def test_a_fault_that_did_not_happen_is_named(fault: Fault) -> None:
    run = simulate(systems.linear, faults=[fault, ClockJumps(step=2, seconds=1.0)])

    assert run.unfired == (fault,)
    with pytest.raises(Unfired, match="did not happen: ") as caught:
        simulate(systems.linear, faults=[fault], all_fire=True)
    assert caught.value.faults == (fault,)
    assert repr(fault) in str(caught.value)


def test_the_paths_that_there_were_are_named_for_a_handler() -> None:
    with pytest.raises(Unfired) as caught:
        simulate(systems.linear, faults=[HandlerCrashes("/lin/double", 1)], all_fire=True)

    assert "the paths that there were: " in str(caught.value)
    assert "/linear/double" in str(caught.value)
    assert any(path.startswith("/linear/add") for path in caught.value.paths)


HAPPEN: list[Fault] = [
    Died(step=40),
    *(Died(commit=3, when=when) for when in ("before", "torn", "after")),
    MainCancelled(step=40),
    CommitFails(2, times=2),
    CommitTorn(2),
    CommitSlow(2, 1.0),
    CommitUnreported(2),
    CommitRepeated(2),
    DiskFull(2, 3),
    HandlerCrashes("/linear/double", 1),
    HandlerCrashes("/linear/rest", 1, resume=1),
    HandlerSlow("/linear/rest", 1, 1.0),
]


@pytest.mark.parametrize("fault", HAPPEN, ids=str)
def test_what_happens_is_not_named(fault: Fault) -> None:
    async def main(world: World) -> Any:
        try:
            return await systems.linear(world)
        except AssertionError:
            return None

    assert simulate(main, faults=[fault], all_fire=True).unfired == ()


def test_a_second_fault_is_in_the_life_it_is_planned_for() -> None:
    plan = [Died(step=40), Died(step=5, life=2), Died(step=5, life=4)]

    assert simulate(systems.linear, faults=plan).unfired == (plan[2],)
    assert simulate(systems.linear, faults=[SuffixLost(1, allowed=True), plan[0]]).unfired == ()


def test_one_fault_is_a_plan_too() -> None:
    assert simulate(systems.linear, faults=Died(step=40)).lives == 2
    with pytest.raises(ConfigurationError, match="faults must be a FaultPlan, or faults, got 3"):
        simulate(systems.linear, faults=3)  # type: ignore[arg-type]
