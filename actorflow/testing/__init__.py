"""The laboratory: what the house uses to test itself, for tests of your own.

`simulate` runs a system in virtual time, by a seed, and lets go wrong what a `FaultPlan` says;
`crash_points` kills it at every step and every commit, and lets it recover:

    from actorflow.testing import World, crash_points

    async def main(world: World) -> None:
        report = await flow.run(items, store=world.store, run_id="night")
        assert report.counts["done"] == len(items)

    def test_nothing_is_lost_whenever_it_is_killed():
        crash_points(main).check()

Some of it is for tests of one actor or stage (`Probe`, `StageHarness`, `StrictSystem`,
`assert_enqueued`, `virtual_run`); some finds what no example would (`supervision_trees`,
`assert_linearizable`).

`store_conformance` holds a store of your own to the promises that the runtime builds on:

    from actorflow.testing import store_conformance

    def test_my_store_keeps_its_promises():
        store_conformance(MyWorld)

where ``MyWorld`` is a `StoreWorld`: a disk, and what happens to the processes on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.testing.crash_points import CrashReport, crash_points
from actorflow.testing.enqueued import assert_enqueued, drain
from actorflow.testing.exploring import NotReplayable, Violation
from actorflow.testing.fault_strategies import FAULT_KINDS, fault_plans
from actorflow.testing.faults import (
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
    FaultPlan,
    HandlerCancelled,
    HandlerCrashes,
    HandlerHangs,
    HandlerSlow,
    LoadRepeated,
    LoadStale,
    MainCancelled,
    RunTaken,
    SuffixLost,
    WorkerProcessDies,
)
from actorflow.testing.flow_plain import Plain, plain
from actorflow.testing.flow_plans import flow_script
from actorflow.testing.flow_strategies import flows
from actorflow.testing.handlers import HandlerCrash
from actorflow.testing.harness import StageHarness
from actorflow.testing.history import History, Noted
from actorflow.testing.laws import LawBroken
from actorflow.testing.life import SimulationStuck
from actorflow.testing.linear import (
    Counterexample,
    assert_linearizable,
    find_counterexample,
)
from actorflow.testing.move_laws import LAWS
from actorflow.testing.moves import Move
from actorflow.testing.otp import Reference
from actorflow.testing.probe import Probe
from actorflow.testing.progress import CrashProgress
from actorflow.testing.recorder import Operation, Recorder
from actorflow.testing.schedule import ScheduleNotSeedable
from actorflow.testing.simulate import Simulation, Unfired, simulate
from actorflow.testing.store_checks import CHECKS
from actorflow.testing.store_conformance import store_agreement, store_conformance
from actorflow.testing.store_worlds import MemoryWorld, SqliteWorld, StoreWorld, new_session
from actorflow.testing.strategies import Mortal, supervision_trees
from actorflow.testing.systems import StrictSystem, virtual_run
from actorflow.testing.trace import Event, Trace
from actorflow.testing.world import ProcessDied, WallClock, World

if TYPE_CHECKING:
    from actorflow.testing.machine import SystemMachine, command

__all__ = [
    "CHECKS",
    "FAULT_KINDS",
    "LAWS",
    "ClockJumps",
    "CommitFails",
    "CommitHangs",
    "CommitRepeated",
    "CommitSlow",
    "CommitTorn",
    "CommitUnreported",
    "Counterexample",
    "CrashProgress",
    "CrashReport",
    "Died",
    "DiskFull",
    "Event",
    "Fault",
    "FaultPlan",
    "HandlerCancelled",
    "HandlerCrash",
    "HandlerCrashes",
    "HandlerHangs",
    "HandlerSlow",
    "History",
    "LawBroken",
    "LoadRepeated",
    "LoadStale",
    "MainCancelled",
    "MemoryWorld",
    "Mortal",
    "Move",
    "NotReplayable",
    "Noted",
    "Operation",
    "Plain",
    "Probe",
    "ProcessDied",
    "Recorder",
    "Reference",
    "RunTaken",
    "ScheduleNotSeedable",
    "Simulation",
    "SimulationStuck",
    "SqliteWorld",
    "StageHarness",
    "StoreWorld",
    "StrictSystem",
    "SuffixLost",
    "SystemMachine",
    "Trace",
    "Unfired",
    "Violation",
    "WallClock",
    "WorkerProcessDies",
    "World",
    "assert_enqueued",
    "assert_linearizable",
    "command",
    "crash_points",
    "drain",
    "fault_plans",
    "find_counterexample",
    "flow_script",
    "flows",
    "new_session",
    "plain",
    "simulate",
    "store_agreement",
    "store_conformance",
    "supervision_trees",
    "virtual_run",
]


def __getattr__(name: str) -> Any:
    if name in ("SystemMachine", "command"):  # They import Hypothesis.
        from actorflow.testing import machine

        return getattr(machine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
