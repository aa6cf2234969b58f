"""How many crashes a second can be lived through in the laboratory?

Question: how many times a second, on one core, is a durable run killed and started again on
what its disk has, until it comes to its end?

Load: three stages, the first with a `Retry`, and a handful of items; the run is killed at every
step of its scheduler and at every commit (before, torn, after), with one seed after the
other until there are enough points. Every recovered run must have all items; the laws are
checked at each death and in the end.

    laboratory      ``shared_past=True``: the run that is killed is lived once for all its points
    killed          each point kills a run of its own, which is torn down: two lives a point
    simulated       whole simulations, with their trace, that nobody kills

Baseline: none; no other library of actors or pipelines has this. Times are those of the
processor, in the best of eight rounds, so that what else runs on the machine counts little.

    python -m benchmarks laboratory
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from actorflow import Pipeline, Retry, stage
from benchmarks.question import Figure, Question, Side, Target, checked

if TYPE_CHECKING:  # Each side imports all questions; memory is weighed without the laboratory.
    from actorflow.testing import World

__all__ = ["QUESTIONS"]

FEW = range(3)
POINTS = 2_000

#: Of which the best one counts.
ROUNDS = 8


@stage(policies=[Retry(3)])
async def add(value: int) -> int:
    return value + 1


@stage
async def double(value: int) -> int:
    await trio.lowlevel.checkpoint()
    return value * 2


@stage
async def take(value: int) -> int:
    return value - 1


FLOW = Pipeline([add, double, take], name="laboratory")


async def main(world: World) -> None:
    """Runs to its end, in as many lives as that takes."""
    report = await FLOW.run(FEW, store=world.store, run_id="run")
    checked("items done", len(FEW), report.counts["done"])


def laboratory(items: int) -> Mapping[str, float]:
    """Our own, at so many points at least."""
    return {
        "rate": _rate(items, lambda seed: _explored(seed, shared_past=True)),
        "killed": _rate(items // 2, lambda seed: _explored(seed, shared_past=False)),
        "simulated": _rate(items // 4, _simulated),
    }


def _rate(least: int, work: Callable[[int], int]) -> float:
    """How many a second, of the processor's time, if *work* is done with seed after seed: in the
    best of `ROUNDS` rounds, as whoever shares the processor only ever makes it slower."""
    best, seed = 0.0, 0
    for _ in range(ROUNDS):
        done, began = 0, time.process_time()
        while done < max(least // ROUNDS, 1):
            done += work(seed)
            seed += 1
        best = max(best, done / (time.process_time() - began))
    return best


def _explored(seed: int, *, shared_past: bool) -> int:
    from actorflow.testing import crash_points

    report = crash_points(main, seed=seed, shared_past=shared_past)
    checked("violations", (), report.violations)
    return report.points


def _simulated(seed: int) -> int:
    from actorflow.testing import simulate

    checked("lives", 1, simulate(main, seed=seed).lives)
    return 1


QUESTIONS = (
    Question(
        name="laboratory",
        ours=Side(name="actorflow", run=laboratory),
        figures=(
            Figure(
                key="rate",
                title="crash-and-recover runs, one past for all",
                unit="runs/s",
                targets=(Target(must=300),),
            ),
            Figure(key="killed", title="crash-and-recover runs, each killed", unit="runs/s"),
            Figure(key="simulated", title="simulated runs with a trace", unit="runs/s"),
        ),
        items=POINTS,
        quick_items=200,
    ),
)
