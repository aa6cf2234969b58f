"""Drawn systems under drawn faults: nothing is lost, doubled or stuck."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
import trio

from actorflow import Pipeline
from actorflow.testing import FaultPlan, World
from actorflow.testing.faults import CommitFails, Died
from tests.scenarios.__main__ import main
from tests.scenarios.drawing import KINDS, Scenario, play, scenario
from tests.scenarios.running import Summary, run_scenarios
from tests.scenarios.systems import SYSTEMS


def test_three_hundred_scenarios_break_nothing() -> None:
    summary = run_scenarios(300, seed=1)

    assert summary.violations == []
    assert summary.count == 300
    assert summary.lives > 350
    assert set(summary.faults) == {each.__name__ for each in KINDS}
    assert set(summary.systems) == {"flow", "story", *SYSTEMS}


@pytest.mark.slow
def test_five_thousand_scenarios_break_nothing() -> None:
    summary = run_scenarios(5_000, seed=1_000_000, processes=2)

    assert summary.violations == []
    assert summary.count == 5_000


def test_a_seed_is_always_the_same_scenario() -> None:
    for seed in range(40):
        one, again = scenario(seed), scenario(seed)
        assert (one.faults, one.about) == (again.faults, again.about)
        assert play(one).steps == play(again).steps


def test_the_command_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--count", "20", "--seed", "7", "--processes", "1"])

    out = capsys.readouterr().out
    assert code == 0
    assert out.startswith("20 scenarios, seeds 7-26: ")
    assert ", 0 violations, " in out
    assert len(out.splitlines()) == 1


def made(main_: Any, *faults: Any) -> Scenario:
    return Scenario(5, "made", main_, FaultPlan(*faults), "a made-up one")


def test_what_is_lost_is_a_violation() -> None:
    async def forgets(world: World) -> None:
        world.history.acknowledge("order 1")

    violation = play(made(forgets)).violation

    assert violation is not None
    assert "durable accept: 'order 1' was acknowledged and never completed" in violation
    assert "simulate(forgets, seed=5" in violation


def test_what_never_comes_to_its_end_is_a_violation() -> None:
    async def waits(world: World) -> None:
        await trio.sleep_forever()

    async def takes_a_day(world: World) -> None:
        await trio.sleep(86_400)

    async def dies_unasked(world: World) -> None:
        if world.life < 3:
            world.crash()

    stuck, slow, mortal = (play(made(each)) for each in (waits, takes_a_day, dies_unasked))

    assert "SimulationStuck" in str(stuck.violation)
    assert "liveness: it took 86,400 virtual seconds" in str(slow.violation)
    assert "liveness: 3 lives, 1 were planned" in str(mortal.violation)


def test_a_charge_without_a_key_is_found() -> None:
    async def pay(amount: int, ctx: Any) -> int:
        ctx.deps.history.effect(amount)  # No key: each attempt charges.
        await trio.sleep(0.01)
        return amount

    async def shop(world: World) -> None:
        flow: Pipeline[int, int] = Pipeline([pay], name="shop")
        await flow.run([1, 2], store=world.store, run_id="shop", deps=world)

    found = [play(made(shop, Died(step=step))).violation for step in range(20, 120)]

    assert any("effects: 1 was done 2 times" in str(each) for each in found)


def test_a_summary_adds_up() -> None:
    one = Summary(3, 2, 10, 3, Counter({"Died": 1}), Counter({"bank": 2}), [("a", "b")], 1.0)
    other = attrs.evolve(one, count=1, faults=Counter({CommitFails.__name__: 2}))
    one.add(other)

    assert str(one) == (
        "3 scenarios, seeds 3-5: 20 steps, 6 lives, 3 faults (CommitFails 2, Died 1), "
        "2 violations, 1 s"
    )
