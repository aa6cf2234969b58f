"""What is left of a dead process, and what else could make the laboratory blind or deaf."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from typing import Any

import pytest
import trio

from actorflow import Actor, ActorSystem, ConfigurationError, Pipeline, Turn, actor, stage
from actorflow.durability.memory import MemoryStore
from actorflow.testing import (
    CommitSlow,
    CommitTorn,
    Died,
    HandlerSlow,
    LawBroken,
    Recorder,
    SimulationStuck,
    World,
    assert_linearizable,
    crash_points,
    disk,
    simulate,
)


@actor("tests.ghosts.box")
class Box(Actor):
    """Keeps what it is told last; answers with what it has."""

    has: Any = None

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message != "?":
            self.has = message
        return self.has


# What is outside of the process ---------------------------------------------------------


async def locked(world: World) -> None:
    world.outside.setdefault("lock", threading.Lock())
    world.history.effect("charge")
    await trio.sleep(1)


@pytest.mark.parametrize("shared", [False, True], ids=["each killed", "one past"])
def test_what_a_death_cannot_copy_is_named(shared: bool) -> None:
    """It had ended all counting of steps, so that nothing was found."""
    with pytest.raises(ConfigurationError, match=r"world\.outside\['lock'\] must be something"):
        simulate(locked, faults=Died(step=5))
    with pytest.raises(ConfigurationError, match=r"world\.outside\['lock'\] must be something"):
        crash_points(locked, shared_past=shared)


def test_an_attribute_that_a_death_cannot_copy_is_named_too() -> None:
    async def main(world: Any) -> None:
        world.provider = threading.Lock()
        await trio.sleep(1)
        world.crash()

    with pytest.raises(ConfigurationError, match=r"world\.provider must be something that"):
        simulate(main)


# Ghosts -----------------------------------------------------------------------------------


async def reconnects(world: World) -> None:
    while True:
        try:
            async with ActorSystem("s", store=world.store):
                await trio.sleep(1)
                return
        except Exception:
            world.outside["tries"] = world.outside.get("tries", 0) + 1


def test_a_client_that_tries_again_for_ever_ends_with_its_process() -> None:
    assert simulate(reconnects, faults=Died(step=5)).lives == 2


async def test_to_open_a_store_again_and_again_can_be_cancelled() -> None:
    class Broken(MemoryStore):
        def open(self, session: Any) -> None:
            raise OSError("no such host")

    tries = 0
    with trio.CancelScope() as scope:
        while True:
            try:
                async with ActorSystem("s", store=Broken()):
                    pass
            except OSError:
                tries += 1
                scope.cancel()
    assert tries == 1


def test_a_wait_that_a_ghost_shields_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[object] = []
    monkeypatch.setattr("actorflow.testing.life.keep_for_ever", left.append)

    async def main() -> None:
        done = trio.Event()

        async def sets() -> None:
            await trio.sleep(1)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sets)
            with trio.CancelScope(shield=True):
                await done.wait()

    report = crash_points(main).check()
    assert report.points > 5
    assert left == []  # It has ended, and so can be forgotten.


SPINS = """
from actorflow import Actor, ActorSystem
from actorflow.testing import SimulationStuck, simulate
import trio

class Spins(Actor):
    async def receive(self, message, ctx):
        while True:
            await trio.lowlevel.checkpoint()

async def main():
    async with ActorSystem("s") as system:
        await (await system.spawn(Spins)).ask(1, timeout=3)

try:
    simulate(main, max_steps=2_000)
except SimulationStuck as error:
    print("caught")
"""


def test_a_loop_that_was_left_behind_does_not_complain_when_the_interpreter_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPINS], capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout, done.stderr) == ("caught\n", "")


# Time, and garbage ------------------------------------------------------------------------


def test_deadlines_that_wake_nobody_are_no_standstill() -> None:
    """A commit is waited for with a shield, while the deadlines of a hundred callers pass."""

    async def caller(ref: Any, number: int) -> None:
        with trio.move_on_after(0.1 * number):
            await ref.tell(number)

    async def main(world: World) -> Any:
        async with ActorSystem("s", store=world.store) as system:
            ref = await system.spawn(Box(), name="box", durable=True)
            async with trio.open_nursery() as nursery:
                for number in range(1, 101):
                    nursery.start_soon(caller, ref, number)
            return await ref.ask("?", timeout=100)

    assert simulate(main, faults=CommitSlow(1, 30.0), all_fire=True).virtual_seconds > 30


def test_a_real_standstill_is_told() -> None:
    async def main() -> None:
        with trio.CancelScope(shield=True, deadline=1000):
            await trio.sleep_forever()
        await trio.Event().wait()

    with pytest.raises(SimulationStuck, match="1000 s: nothing can happen any more"):
        simulate(main)


def test_when_garbage_is_collected_changes_nothing() -> None:
    """Else the end of an async generator would take its steps at another time."""

    class Holds:
        me: Any = None
        values: Any = None

    async def values() -> Any:
        try:
            for number in range(3):
                yield number
        finally:
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        for _ in range(50):
            held = Holds()
            held.me, held.values = held, values()
            async for _number in held.values:
                break
            await trio.lowlevel.checkpoint()

    before, digests = gc.get_threshold(), set()
    try:
        for threshold in (700, 50, 333):
            gc.set_threshold(threshold, 10, 10)
            digests.add(simulate(main).trace.digest)
    finally:
        gc.set_threshold(*before)
    assert len(digests) == 1
    assert gc.isenabled()


@pytest.mark.parametrize("fault", [CommitSlow(1, 20.0), HandlerSlow("/s/box", 1, 20.0)], ids=str)
def test_the_bound_of_liveness_begins_when_the_fault_is_over(fault: Any) -> None:
    async def main(world: World, after: float = 0.0) -> None:
        async with ActorSystem("s", store=world.store) as system:
            ref = await system.spawn(Box(), name="box", durable=True)
            await ref.ask("tea", timeout=100)
            await trio.sleep(after)

    async def late(world: World) -> None:
        await main(world, 15.0)

    simulate(main, faults=fault, within=10, all_fire=True)
    with pytest.raises(LawBroken, match=r"liveness: 15\.\d+ s after the last fault, 10 s are"):
        simulate(late, faults=fault, within=10)


# Answers and results ----------------------------------------------------------------------


def register(state: Any, call: Any) -> tuple[Any, Any]:
    """A register: what is put, and what it then has."""
    state = state if call == "?" else call
    return state, state


def test_who_asks_while_the_process_dies_may_have_had_an_effect() -> None:
    async def main(world: World) -> None:
        recorder = world.outside.setdefault("recorder", Recorder())
        async with ActorSystem("s", store=world.store) as system:
            box = await system.spawn(Box(), name="box", durable=True)
            for value in ("tea", "?", "cake", "?"):
                await recorder.ask(box, value if value == "?" else f"{value} {world.life}")
        assert_linearizable(recorder, register, initial=None)

    crash_points(main).check()


async def counts_attempts(world: World) -> None:
    world.outside["lives"] = world.outside.get("lives", 0) + 1

    @stage(name="note")
    async def note(value: int) -> list[int]:
        return [value, world.outside["lives"]]

    await Pipeline([note], name="f").run([1, 2], store=world.store, run_id="r", results="store")


def test_the_line_of_other_results_gives_them_again() -> None:
    report = crash_points(counts_attempts, same_results=True)

    violation = report.violations[0]
    assert violation.line.endswith("same_results=True)")
    with pytest.raises(LawBroken, match="results: of run 'r' missing") as caught:
        eval(violation.line, {**globals(), "FaultPlan": type(violation.faults)})
    assert caught.value.__notes__ == [f"again: {violation.line}"]


def test_what_goes_wrong_undisturbed_has_a_line_too() -> None:
    async def fails() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError) as caught:
        simulate(fails, same_results=True)
    assert caught.value.__notes__ == ["again: simulate(fails, seed=0)"]


@pytest.mark.parametrize("fault", [Died(commit=2, when="torn"), CommitTorn(2)], ids=str)
def test_a_torn_commit_writes_a_part_which_the_store_takes_back(
    fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[int] = []
    put_back = disk.put_back

    def noted(on: Any, before: Any) -> None:
        cuts.append(sum(len(kept.cuts) for kept in on._runs.values()))
        put_back(on, before)
        cuts.append(sum(len(kept.cuts) for kept in on._runs.values()))

    monkeypatch.setattr(disk, "put_back", noted)
    simulate(counts_attempts, faults=fault, all_fire=True)
    assert cuts == [2, 1]
