"""Each fault does what it says, seen by its effect."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorSystem,
    ConfigurationError,
    LeaseLost,
    Pipeline,
    Retry,
    StoreUnavailable,
    TurnTimeout,
    stage,
)
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
    FaultPlan,
    HandlerCancelled,
    HandlerCrash,
    HandlerCrashes,
    HandlerHangs,
    HandlerSlow,
    LawBroken,
    LoadRepeated,
    LoadStale,
    MainCancelled,
    RunTaken,
    Simulation,
    SuffixLost,
    WorkerProcessDies,
    World,
    simulate,
)
from tests.testing.systems import LINEAR, PRICED, linear

EVERY = [
    Died(step=3),
    Died(commit=4, when="torn", life=2),
    MainCancelled(step=5),
    ClockJumps(step=1, seconds=-0.5),
    CommitFails(3, times=2, reason="full"),
    CommitTorn(1),
    CommitSlow(2, 1.5, life=3),
    CommitHangs(2),
    CommitUnreported(2),
    CommitRepeated(2),
    LoadRepeated(1, life=2),
    LoadStale(2, life=2),
    DiskFull(2, 5),
    RunTaken(3),
    SuffixLost(2),
    HandlerCrashes("/linear/add", 2, resume=1),
    HandlerCancelled("/linear/add", 1, wait=2),
    HandlerSlow("/linear/add", 2, 3.0),
    HandlerHangs("/linear/add", 1),
    WorkerProcessDies(1),
]


def noted(run: Simulation[Any], text: str) -> list[float]:
    """When something was written down."""
    return [event.at for event in run.trace if event.what.startswith(text)]


# As values ---------------------------------------------------------------------------------------


def test_a_plan_prints_as_the_source_that_makes_it() -> None:
    plan = FaultPlan(*EVERY)

    assert eval(repr(plan)) == plan
    assert repr(FaultPlan(Died(step=3), CommitFails(3, times=2))) == (
        "FaultPlan(Died(step=3), CommitFails(3, times=2))"
    )
    assert hash(eval(repr(plan))) == hash(plan)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert len(plan) == len(EVERY)


def test_a_plan_and_its_faults_are_frozen() -> None:
    plan = FaultPlan(CommitTorn(1))

    with pytest.raises(AttributeError, match="frozen"):
        plan.faults = ()
    with pytest.raises(AttributeError):
        plan.faults[0].life = 2  # type: ignore[misc]


@pytest.mark.parametrize("given", [{}, {"step": 1, "commit": 1}])
def test_a_death_is_at_a_step_or_at_a_commit(given: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="either a step or a commit"):
        Died(**given)  # type: ignore[arg-type]


def test_what_is_no_fault_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a fault, such as"):
        simulate(linear, faults=["disk full"])  # type: ignore[list-item]


# Of the process ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "death",
    [
        Died(step=50),
        Died(commit=3),
        Died(commit=3, when="torn"),
        Died(commit=3, when="after"),
    ],
)
def test_a_process_that_dies_lives_again_on_what_the_disk_has(death: Fault) -> None:
    run = simulate(linear, faults=[death])

    assert run.result == PRICED
    assert run.lives == 2
    assert noted(run, "the process dies")


@pytest.mark.parametrize(("when", "commits"), [("before", 1), ("torn", 1), ("after", 2)])
def test_a_commit_at_which_the_process_dies_is_on_disk_or_not(when: Any, commits: int) -> None:
    async def main(world: World) -> int:
        if world.life == 2:
            return world._disk._runs["linear"].number
        await LINEAR.run([1, 2, 3], store=world.store, run_id="linear")
        raise AssertionError

    assert simulate(main, faults=[Died(commit=2, when=when)]).result == commits


def test_what_still_runs_in_a_dead_process_changes_nothing() -> None:
    async def main(world: World) -> list[str]:
        seen: list[str] = world.outside.setdefault("seen", [])
        seen.append(f"life {world.life}")
        if world.life == 2:
            return seen
        store = world.store
        try:
            world.crash()
        finally:
            seen.append("ghost")
            world.history.effect("ghost")
            world.clock.jump(99)
            world.mine = "ghost"  # type: ignore[attr-defined]
            with pytest.raises(Exception, match="its process is dead"):
                store.commit(None)  # type: ignore[arg-type]
            with pytest.raises(Exception, match="its process is dead"):
                world.store.open(None)  # type: ignore[arg-type]

    run = simulate(main)

    assert run.result == ["life 1", "life 2"]
    assert not run.history


def test_attributes_of_the_users_own_survive_as_they_were() -> None:
    async def main(world: Any) -> list[int]:
        if world.life == 1:
            world.charged = [1]
            world.crash()
        world.charged.append(2)
        charged: list[int] = world.charged
        return charged

    assert simulate(main).result == [1, 2]


def test_a_main_that_is_cancelled_ends_in_order_and_is_begun_again() -> None:
    async def main(world: World) -> str:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            world.outside["ended"] = "in order"
            raise
        return str(world.outside.get("ended"))

    assert simulate(main, faults=[MainCancelled(step=4)]).result == "in order"


@pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
def test_the_clock_on_the_wall_jumps_both_ways(seconds: float) -> None:
    async def main(world: World) -> float:
        before = world.clock.time()
        await trio.sleep(1)
        return world.clock.time() - before

    run = simulate(main, faults=[ClockJumps(step=4, seconds=seconds)])

    assert run.result == 1 + seconds
    assert noted(run, "the clock jumps")


# Of the store ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "tries"),
    [(CommitFails(2, times=3), 3), (DiskFull(2, 4), 3), (CommitTorn(2), 1)],
)
def test_a_commit_that_fails_is_tried_again(fault: Fault, tries: int) -> None:
    run = simulate(linear, faults=[fault])

    assert run.result == PRICED
    numbers = [event.what.split()[-1] for event in run.trace if "store commit" in event.what]
    assert numbers.count("2") == tries + 1


def test_a_commit_whose_answer_is_lost_is_not_made_twice() -> None:
    run = simulate(linear, faults=[CommitUnreported(2)])

    assert run.result == PRICED
    numbers = [event.what.split()[-1] for event in run.trace if "store commit" in event.what]
    assert numbers == sorted(set(numbers), key=int)


def test_a_slow_commit_is_waited_for() -> None:
    run = simulate(linear, faults=[CommitSlow(2, 30.0)])

    assert run.result == PRICED
    assert run.virtual_seconds > 30


def test_a_commit_that_hangs_ends_the_run_at_its_deadline() -> None:
    with pytest.raises(StoreUnavailable, match="no answer within 60 s") as caught:
        simulate(linear, faults=[CommitHangs(2)])

    assert caught.value.__notes__ == [
        "again: simulate(linear, seed=0, faults=FaultPlan(CommitHangs(2)))"
    ]


def test_a_commit_that_is_too_slow_lands_all_the_same() -> None:
    async def main(world: World) -> int:
        with pytest.raises(StoreUnavailable):
            await LINEAR.run([1], store=world.store, run_id="r", store_deadline=5.0)
        before = world._disk._runs["r"].number
        await trio.sleep(60)
        return world._disk._runs["r"].number - before

    assert simulate(main, faults=[CommitSlow(2, 30.0)]).result == 1


def test_a_run_that_another_process_takes_is_lost_at_the_next_commit() -> None:
    async def main(world: World) -> str:
        if world.life == 1:
            with pytest.raises(LeaseLost):
                await LINEAR.run([1, 2], store=world.store, run_id="r")
        report = await LINEAR.run([1, 2], store=world.store, run_id="r")
        return f"done {report.counts['done']}"

    assert simulate(main, faults=[RunTaken(2)]).result == "done 2"


def test_a_disk_that_loses_what_it_said_it_had_breaks_durable_accept() -> None:
    async def main(world: World) -> None:
        async with LINEAR.open(store=world.store, run_id="r") as run:
            if world.life == 1:
                await run.feed([1, 2, 3])
                world.crash()

    with pytest.raises(LawBroken, match="durable accept"):
        simulate(main, faults=[SuffixLost(1)])

    assert simulate(main).lives == 2


# Of handlers -------------------------------------------------------------------------------------


class Counter(Actor):
    count: int = 0

    async def receive(self, message: Any, ctx: Any) -> int:
        await trio.sleep(1)
        await trio.sleep(1)
        self.count += 1
        return self.count


async def counting() -> tuple[list[Any], int, float]:
    """What three asks came to, how often the actor was restarted, and when all was done."""
    async with ActorSystem("s") as system:
        counter = await system.spawn(Counter(), name="counter", policies=[Retry(2)])
        answers = [await counter.ask("one", timeout=60) for _ in range(3)]
        return answers, system.stats()["restarts"], trio.current_time()


@pytest.mark.parametrize("resume", [0, 1, 2])
def test_a_handler_crashes_at_its_turn_and_await(resume: int) -> None:
    crash = HandlerCrashes("/s/counter", 2, resume=resume)

    run = simulate(counting, faults=[crash])

    answers, restarts, _ = run.result
    assert restarts == 1
    assert answers == [1, 1, 2]  # Its state began anew, as a restart has it.
    assert noted(run, "handler /s/counter turn 2 crashes")[0] >= 2 + resume


def test_an_await_that_is_not_there_crashes_nobody() -> None:
    assert simulate(counting, faults=[HandlerCrashes("/s/counter", 2, resume=3)]).result[1] == 0


def test_a_turn_that_is_slow_begins_later() -> None:
    slow = simulate(counting, faults=[HandlerSlow("/s/counter", 2, 10.0)]).result

    assert slow[0] == [1, 2, 3]
    assert slow[2] >= 16


def test_a_handler_that_never_ends_is_ended_by_its_timeout() -> None:
    @stage(timeout=5.0, policies=[Retry(2)])
    async def echo(value: int) -> int:
        return value

    async def main() -> list[int]:
        return await Pipeline([echo], name="f").map([1, 2])

    run = simulate(main, faults=[HandlerHangs("/f/echo", 1)])

    assert run.result == [1, 2]
    assert 5 <= run.virtual_seconds < 60
    assert noted(run, "handler /f/echo turn 1 waits inf s")


def test_a_handler_that_never_ends_fails_without_a_retry() -> None:
    @stage(timeout=5.0)
    async def echo(value: int) -> int:
        return value

    async def main() -> Any:
        return (await Pipeline([echo], name="f").map([1], return_exceptions=True))[0].__cause__

    assert type(simulate(main, faults=[HandlerHangs("/f/echo", 1)]).result) is TurnTimeout


@stage(runs_in="process", policies=[Retry(2)])
def apart(value: int) -> int:
    return value * 2


def test_a_worker_process_that_dies_costs_one_attempt() -> None:
    async def main() -> list[int]:
        return await Pipeline([apart]).map([1, 2])

    run = simulate(main, faults=[WorkerProcessDies(1)])

    assert run.result == [2, 4]
    assert noted(run, "worker process of call 1 dies")


def test_faults_of_a_plan_go_together() -> None:
    plan = FaultPlan(
        CommitFails(1),
        HandlerCrashes("/linear/double", 1),
        Died(commit=4),
        CommitSlow(2, 3.0, life=2),
        ClockJumps(step=20, seconds=-math.pi, life=2),
    )

    run = simulate(linear, seed=3, faults=plan)

    assert run.result == PRICED
    assert run.lives == 2
    assert issubclass(HandlerCrash, BaseException)
