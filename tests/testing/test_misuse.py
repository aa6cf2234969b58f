"""What is called wrong says so, and what is printed can be called."""

from __future__ import annotations

import functools
import logging
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import trio

from actorflow import ConfigurationError, Pipeline
from actorflow.testing import (
    Died,
    FaultPlan,
    LawBroken,
    MainCancelled,
    MemoryWorld,
    StageHarness,
    World,
    crash_points,
    fault_plans,
    flow_script,
    new_session,
    simulate,
    store_agreement,
    store_conformance,
    supervision_trees,
)
from actorflow.testing import plain as plain_of
from actorflow.testing.lines import line_for, said
from tests.testing import buggy, systems

#: What a type checker would refuse.
ANY = functools.partial(cast, Any)


async def fine() -> int:
    await trio.sleep(1)
    return 5


# Arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["x", 1.5, None, True])
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"simulate\(\) seed must be a whole number, got"):
        simulate(fine, seed=seed)
    with pytest.raises(ConfigurationError, match=r"crash_points\(\) seed must be a whole number"):
        crash_points(fine, seed=seed)


def plain() -> int:
    return 3


async def generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("main", [plain, generator, lambda: generator(), None, 3])
def test_a_main_that_is_no_async_function_is_refused(main: Any) -> None:
    for call in simulate, crash_points:
        with pytest.raises(ConfigurationError, match="an async function of nothing, or of the wo"):
            call(main)


@pytest.mark.parametrize("main", [generator, None])
def test_the_error_names_the_call_that_was_made(main: Any) -> None:
    for call, name in (simulate, "simulate"), (crash_points, "crash_points"):
        with pytest.raises(ConfigurationError, match=rf"^{name}\(\) main must be"):
            call(main)


def test_a_simulation_within_a_loop_is_refused() -> None:
    async def inside() -> None:
        for call, name in (simulate, "simulate"), (crash_points, "crash_points"):
            with pytest.raises(ConfigurationError, match=rf"{name}\(\) must be called outside of"):
                call(fine)

    trio.run(inside)


@pytest.mark.parametrize("option", ["cancel", "shared_past", "same_results"])
def test_a_flag_of_crash_points_is_true_or_false(option: str) -> None:
    given: Any = {option: "x"}
    with pytest.raises(ConfigurationError, match=rf"\(\) {option} must be True or False, got 'x'"):
        crash_points(fine, **given)


def test_progress_is_called_with_how_far_it_has_come() -> None:
    for wrong in (3, lambda: None):
        given: Any = {"progress": wrong}
        with pytest.raises(ConfigurationError, match="progress must be a function of a CrashProg"):
            crash_points(fine, **given)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Died(step=1, when="torn"), "Died when must be left out with step=, as it says where"),
    (lambda: FaultPlan.of(ANY("Died")), "faults must be a FaultPlan, or faults, got 'Died'"),
    (lambda: fault_plans(kinds=ANY(Died)), "kinds must be a list of one or more of Died, Commit"),
    (lambda: new_session(lease=-1), r"new_session\(\) lease must be a number of seconds, above 0"),
    (lambda: StageHarness(ANY(None)), "StageHarness handler must be a stage, or the function of"),
    (
        lambda: supervision_trees(on_exhausted=ANY("escalate")),
        "on_exhausted must be a list of one or more of 'escalate', .*, got 'escalate'",
    ),
    (
        lambda: supervision_trees(on_exhausted=ANY(["x"])),
        r"on_exhausted must be a list of one or more of .*, got \['x'\]",
    ),
    (
        lambda: store_conformance(ANY(MemoryWorld())),
        r"store_conformance\(\) factory must be what makes a StoreWorld when it is called, such as",
    ),
    (lambda: store_agreement(ANY(3)), r"store_agreement\(\) factory must be what makes a StoreWo"),
    (
        lambda: store_conformance(MemoryWorld, examples=0),
        r"store_conformance\(\) examples must be a whole number, 1 or more",
    ),
    (
        lambda: plain_of(ANY(Pipeline([str], name="p")), [1]),
        r"plain\(\) flow must be a flow that flows\(\) has drawn, got <Pipeline",
    ),
    (
        lambda: flow_script(3),
        r"flow_script\(\) flow must be a flow that flows\(\) has drawn, got 3",
    ),
]


@pytest.mark.parametrize(("call", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_what_is_given_wrong_is_named(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        call()


# The line ------------------------------------------------------------------------------------


class Method:
    async def run(self) -> int:
        return 4

    async def __call__(self) -> int:
        return 4


def test_a_line_writes_out_a_partial() -> None:
    main = functools.partial(buggy.shop, hasty=True)

    assert line_for(main, 1, FaultPlan()) == (
        "simulate(functools.partial(shop, hasty=True), seed=1)"
    )


def test_a_line_says_what_cannot_be_written_as_one() -> None:
    plan = FaultPlan()
    lambda_line = line_for(lambda: fine(), 1, plan)
    held = functools.partial(print, object())

    assert re.fullmatch(
        r"simulate\(main, seed=1\)  # main is the lambda at .*test_misuse\.py:\d+", lambda_line
    )
    assert line_for(Method().run, 1, plan) == (
        "simulate(main, seed=1)  # main is the method Method.run"
    )
    assert line_for(Method(), 1, plan) == "simulate(main, seed=1)  # main is a Method"
    assert line_for(held, 1, plan).startswith("simulate(main, seed=1)  # main is functools.partial")


# Where an error is from -----------------------------------------------------------------------


async def asserting(world: World) -> None:
    await systems.linear(world)
    if world.life == 2:
        raise AssertionError


async def arguing(world: World) -> None:
    await systems.linear(world)
    if world.life == 2:
        raise ValueError("no")


async def grouping(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asserting, world)


def test_a_plain_assert_says_its_line() -> None:
    alone, group = (crash_points(main, steps=1).violations[0] for main in (asserting, grouping))
    place = r"\(tests/testing/test_misuse\.py:\d+\)"

    assert re.fullmatch(rf"AssertionError: raise AssertionError {place}", alone.error)
    assert re.fullmatch(
        rf"ExceptionGroup: .*: AssertionError: raise AssertionError {place}", group.error
    )
    assert alone.where in alone.error
    assert said(LawBroken("of nobody")) == "LawBroken: of nobody"


def test_a_violation_says_where_it_is_from() -> None:
    found = crash_points(arguing, steps=1).violations[0]

    assert found.error == "ValueError: no"
    assert re.fullmatch(r"tests/testing/test_misuse\.py:\d+", found.where)
    assert str(found) == f"ValueError: no ({found.where})\n    {found.line}"


# Chance, and noise ----------------------------------------------------------------------------


async def drawing() -> list[float]:
    await trio.sleep(random.random())
    return [random.random() for _ in range(3)]


def test_the_module_random_follows_the_seed_and_goes_on_as_before() -> None:
    random.seed(7)
    expected = [random.random() for _ in range(2)]
    random.seed(7)

    first, drawn = simulate(drawing, seed=1), random.random()
    random.random()
    second, other = simulate(drawing, seed=1), simulate(drawing, seed=2)

    assert drawn == expected[0]
    assert first.result == second.result != other.result
    assert first.trace.digest == second.trace.digest


async def loud(world: World) -> None:
    log = logging.getLogger("tests.loud")
    log.error("alive")
    try:
        await systems.linear(world)
    finally:
        log.error("ended")


def test_a_ghost_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    simulate(loud, faults=Died(step=60))

    assert [record.message for record in caplog.records] == ["alive", "alive", "ended"]
    caplog.clear()
    simulate(loud, faults=MainCancelled(step=60))
    assert len([each for each in caplog.records if each.message == "ended"]) == 2


# Liveness ------------------------------------------------------------------------------------


async def slow_to_recover(world: World) -> None:
    await systems.linear(world)
    await trio.sleep(3_600 if world.life == 2 else 1)


def test_a_recovery_that_takes_too_long_is_found() -> None:
    plan = Died(step=20)
    simulate(slow_to_recover, faults=plan)
    simulate(slow_to_recover, within=60)
    simulate(slow_to_recover, faults=plan, within=4_000)

    with pytest.raises(LawBroken, match=r"liveness: 3600\.\d+ s after the last fault, 60 s") as it:
        simulate(slow_to_recover, faults=plan, within=60)

    assert it.value.__notes__[0].endswith("faults=FaultPlan(Died(step=20)), within=60)")
