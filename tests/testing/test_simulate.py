"""A simulation follows its seed, in every process, and says how to do it again."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from actorflow import ConfigurationError, Pipeline, Turn, stage
from actorflow.durability.sqlite import SqliteStore
from actorflow.runtime.ports import VIRTUAL_EPOCH
from actorflow.testing import (
    Died,
    FaultPlan,
    LawBroken,
    SimulationStuck,
    World,
    simulate,
)
from tests.testing import systems

HOUSE = Path(__file__).parents[2]

SYSTEMS = [systems.linear, systems.forked, systems.bank]

PLAN = FaultPlan(Died(step=40), Died(commit=3, when="after", life=2))


def digests_elsewhere(hash_seed: str) -> list[str]:
    """The digests of simulations with `PLAN` in another process."""
    code = (
        "from actorflow.testing import *\n"
        "from tests.testing import systems\n"
        "for main in systems.linear, systems.forked, systems.bank:\n"
        f"    print(simulate(main, seed=5, faults={PLAN}).trace.digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HOUSE,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


# Replay ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("main", SYSTEMS)
def test_replay_the_same_seed_gives_the_same_trace(main: Callable[..., Any]) -> None:
    first, second = simulate(main, seed=7, faults=PLAN), simulate(main, seed=7, faults=PLAN)

    assert list(first.trace) == list(second.trace)
    assert first.trace.digest == second.trace.digest
    assert first.history == second.history
    assert first.steps == second.steps


def test_replay_the_same_seed_gives_the_same_trace_in_every_process() -> None:
    here = [simulate(main, seed=5, faults=PLAN).trace.digest for main in SYSTEMS]

    assert digests_elsewhere("1") == here
    assert digests_elsewhere("4242") == here


@pytest.mark.parametrize("main", SYSTEMS)
def test_other_seeds_give_other_schedules(main: Callable[..., Any]) -> None:
    orders = {tuple(event.what for event in simulate(main, seed=seed).trace) for seed in range(12)}

    assert len(orders) == 12


def test_a_trace_tells_life_step_time_and_what() -> None:
    run = simulate(systems.linear, faults=[Died(step=30)])

    assert [event.step for event in run.trace if event.what == "the process dies"] == [30]
    assert any(event.what.startswith("/linear/double/1 #") for event in run.trace)
    assert any(event.what == "store commit 1 linear 1" for event in run.trace)
    assert {event.life for event in run.trace} == {1, 2}
    assert run.lives == 2
    assert run.trace[0].at == 0.0
    assert str(run.trace[0]) == "1.1 0.000000 <init> #1"
    assert run.trace[:2] == list(run.trace)[:2]


def test_chance_of_the_program_is_the_same_in_each_life() -> None:
    async def main(world: World) -> list[float]:
        drawn = [world.random.random() for _ in range(3)]
        world.outside.setdefault("drawn", drawn)
        if world.life == 1:
            world.crash()
        assert world.outside["drawn"] == drawn
        return drawn

    assert simulate(main, seed=1).result == simulate(main, seed=1).result
    assert simulate(main, seed=1).result != simulate(main, seed=2).result


# Time ------------------------------------------------------------------------------------------


def test_time_is_virtual() -> None:
    async def main() -> float:
        await trio.sleep(86_400)
        return trio.current_time()

    run = simulate(main)

    assert run.result == 86_400
    assert run.virtual_seconds == 86_400


def test_the_wall_clock_goes_on_over_lives_and_can_be_set() -> None:
    async def main(world: World) -> float:
        if world.life == 1:
            await trio.sleep(10)
            world.clock.jump(-3)
            world.crash()
        return world.clock.time()

    assert simulate(main).result == VIRTUAL_EPOCH + 7


async def in_a_thread(value: int, ctx: Turn) -> int:
    return int(await ctx.to_thread(int, value)) + int(await ctx.to_process(int, value))


@stage
def plain(value: int) -> int:
    return value + 1


@stage(runs_in="process")
def apart(value: int) -> int:
    return value * 2


def test_threads_and_worker_processes_run_in_virtual_time() -> None:
    async def main() -> list[int]:
        return await Pipeline([plain, in_a_thread, apart]).map([1, 2])

    run = simulate(main)

    assert run.result == [8, 12]
    assert 0 < run.virtual_seconds < 1
    assert run.trace.digest == simulate(main).trace.digest


def test_another_store_is_called_in_the_loop(tmp_path: Path) -> None:
    async def main() -> int:
        store = SqliteStore(str(tmp_path / "run.db"))
        report = await systems.LINEAR.run([1, 2], store=store, run_id="sqlite")
        return report.counts["done"]

    assert simulate(main).result == 2


def test_a_file_survives_the_death_of_the_process_too(tmp_path: Path) -> None:
    paths = (str(tmp_path / f"{number}.db") for number in itertools.count())

    async def main(world: World) -> int:
        path = world.outside.setdefault("path", "") or next(paths)
        world.outside["path"] = path
        report = await systems.LINEAR.run([1, 2], store=SqliteStore(path), run_id="sqlite")
        return report.counts["done"] * world.life

    steps = simulate(main).steps

    for step in range(4, steps - 8, 6):
        assert simulate(main, faults=[Died(step=step)]).result == 4


# What a simulation says ------------------------------------------------------------------------


def test_an_error_of_main_has_a_line_that_does_it_again() -> None:
    async def main(world: World) -> None:
        assert world.random.random() < 0, "never"

    with pytest.raises(AssertionError, match="never") as caught:
        simulate(main, seed=17, faults=[Died(step=2)], max_steps=500)

    assert caught.value.__notes__ == [
        "again: simulate(main, seed=17, faults=FaultPlan(Died(step=2)), max_steps=500)"
    ]


def test_too_many_steps_are_a_livelock() -> None:
    async def main() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(SimulationStuck, match=r"more than max_steps \(1,000\) steps"):
        simulate(main, max_steps=1_000)


def test_a_life_that_shields_its_livelock_is_left_behind() -> None:
    async def main() -> None:
        with trio.CancelScope(shield=True):
            for _ in range(300_000):
                await trio.lowlevel.checkpoint()

    with pytest.raises(SimulationStuck, match="livelock"):
        simulate(main, max_steps=1_000)


def test_waiting_for_nobody_is_found_at_once() -> None:
    async def main() -> None:
        await trio.Event().wait()

    with pytest.raises(SimulationStuck, match="nothing can happen any more"):
        simulate(main)


def test_a_law_that_does_not_hold_is_said() -> None:
    async def main(world: World) -> None:
        world.history.acknowledge("order 1")
        world.history.acknowledge("order 2")
        world.history.complete("order 2")
        world.history.effect("charge 2")
        world.history.effect("charge 2")

    with pytest.raises(LawBroken) as caught:
        simulate(main)

    assert str(caught.value) == (
        "durable accept: 'order 1' was acknowledged and never completed; "
        "effects: 'charge 2' was done 2 times"
    )


def test_main_takes_the_world_by_name_by_type_or_as_its_only_parameter() -> None:
    async def named(world: Any = None) -> bool:
        return isinstance(world, World)

    async def typed(it: World) -> bool:
        return isinstance(it, World)

    async def only(it: Any) -> bool:
        return isinstance(it, World)

    async def nothing(seed: int = 3) -> bool:
        return seed == 3

    assert all(simulate(main).result for main in (named, typed, only, nothing))


def test_a_main_of_two_things_is_refused() -> None:
    async def main(world: World, other: int) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="an async function of nothing, or of the world"):
        simulate(main)


def test_what_a_simulation_leaves_is_nothing() -> None:
    state = random.getstate()

    simulate(systems.linear)

    assert random.getstate() == state
    with pytest.raises(RuntimeError):
        trio.lowlevel.current_task()
