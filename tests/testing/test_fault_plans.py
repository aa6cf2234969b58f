"""Fault plans that Hypothesis draws: all kinds, shrinking to little, printing as Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from actorflow import ConfigurationError
from actorflow.testing import FAULT_KINDS, Fault, FaultPlan, World, fault_plans, faults, simulate
from actorflow.testing.draws import Seeded
from actorflow.testing.fault_strategies import ENDS, SURVIVED, Range, draw_fault_plan
from actorflow.testing.faults import (
    ClockJumps,
    CommitFails,
    CommitSlow,
    CommitTorn,
    Died,
    HandlerCrashes,
    HandlerSlow,
    SuffixLost,
)
from tests.programs import names_in_tables
from tests.testing.systems import forked

NAMES = {name: getattr(faults, name) for name in faults.__all__}
EVERYTHING = fault_plans(kinds=FAULT_KINDS, paths=["/forked/left", "/forked/right"])
FIND = settings(max_examples=300, database=None, derandomize=True, deadline=None)


def has(kind: type[Fault], **wanted: Any) -> Any:
    def condition(plan: FaultPlan) -> bool:
        return any(
            type(each) is kind and all(getattr(each, key) == value for key, value in wanted.items())
            for each in plan.faults
        )

    return condition


def test_there_is_no_fault_that_cannot_be_drawn() -> None:
    kinds = {each for each in NAMES.values() if each not in (Fault, FaultPlan)}

    assert set(FAULT_KINDS) == kinds


def test_the_page_on_testing_has_every_fault() -> None:
    named = {name.partition("(")[0] for name in names_in_tables("testing.md")}

    assert {kind.__name__ for kind in FAULT_KINDS} <= named


@pytest.mark.parametrize("kind", FAULT_KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_shrinks_to_one_early_fault(kind: type[Fault]) -> None:
    kinds = {kind, Died}
    plans = fault_plans(kinds=kinds, paths=["/a", "/b"])
    (fault,) = find(plans, has(kind), settings=FIND).faults

    numbers = [
        getattr(fault, name, None) or 1
        for name in ("step", "commit", "first", "turn", "call", "commits", "life")
    ]
    assert numbers == [1] * 7


def test_few_faults_are_simpler_than_many() -> None:
    assert find(fault_plans(), lambda plan: True, settings=FIND) == FaultPlan()
    two = find(fault_plans(kinds=[CommitTorn]), lambda plan: len(plan) > 1, settings=FIND)
    assert two == FaultPlan(CommitTorn(1), CommitTorn(1))


@given(plan=EVERYTHING)
def test_what_it_prints_makes_it_again(plan: FaultPlan) -> None:
    assert eval(repr(plan), dict(NAMES)) == plan


@given(plan=fault_plans(kinds=FAULT_KINDS, paths=["/a"], max_life=2, max_faults=3))
def test_a_later_life_follows_one_that_has_ended(plan: FaultPlan) -> None:
    assert len(plan) <= 3
    for at, fault in enumerate(plan.faults):
        ended = sum(isinstance(each, ENDS) for each in plan.faults[:at])
        assert fault.life <= min(2, 1 + ended)


@given(plan=fault_plans())
def test_by_default_they_are_what_a_durable_system_survives(plan: FaultPlan) -> None:
    assert {type(each) for each in plan.faults} <= set(SURVIVED)


@given(plan=fault_plans(paths=["/forked/left"]))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_durable_flow_survives_them(plan: FaultPlan) -> None:
    simulate(forked_patiently, faults=plan)


async def forked_patiently(world: World) -> None:
    """Without the handlers of which some have no second attempt."""
    if world.life < 100:
        await forked(world)


def test_kinds_and_reach_are_chosen() -> None:
    few = fault_plans(kinds=[ClockJumps, CommitSlow], max_step=5, max_commit=2)
    plan = find(few, has(CommitSlow, seconds=20.0), settings=FIND)

    assert plan == FaultPlan(CommitSlow(1, 20.0))
    with pytest.raises(NoSuchExample):
        find(few, has(CommitSlow, commit=3), settings=settings(FIND, max_examples=100))


def test_a_seed_draws_the_same_plan() -> None:
    reach = Range(paths=("/a",))
    plans = [draw_fault_plan(Seeded(seed), FAULT_KINDS, reach) for seed in range(300)]

    assert plans == [draw_fault_plan(Seeded(seed), FAULT_KINDS, reach) for seed in range(300)]
    assert {type(each) for plan in plans for each in plan.faults} == set(FAULT_KINDS)


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"max_faults": 0}, "fault_plans() max_faults"),
        ({"max_step": "x"}, "fault_plans() max_step"),
        ({"paths": "/a"}, "several, such as ['/a']"),
        ({"kinds": [int]}, "one or more of Died, CommitFails"),
        ({"kinds": []}, "one or more of Died, CommitFails"),
        ({"kinds": [HandlerSlow, HandlerCrashes]}, "the paths of the handlers"),
    ],
)
def test_a_wrong_argument_is_named(given_: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        fault_plans(**given_)

    assert text in str(wrong.value)


def test_kinds_may_be_mixed_with_other_strategies() -> None:
    both = st.tuples(fault_plans(kinds=[CommitFails]), fault_plans(kinds=[SuffixLost]))
    one, other = find(both, lambda pair: bool(len(pair[0]) and len(pair[1])), settings=FIND)

    assert (one, other) == (FaultPlan(CommitFails(1)), FaultPlan(SuffixLost(1)))
