"""Run a system in virtual time, with a scheduler, chance and faults that follow a seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Generic, TypeVar

import attrs
import trio

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing.faults import Fault, FaultPlan
from actorflow.testing.handlers import OF_HANDLERS
from actorflow.testing.history import Noted
from actorflow.testing.laws import (
    LawBroken,
    StoredResults,
    broken_promises,
    other_results,
    stored_results,
)
from actorflow.testing.life import Life, Mark, wants_world
from actorflow.testing.lines import MAX_STEPS, line_for
from actorflow.testing.move_laws import broken_laws
from actorflow.testing.moves import Move
from actorflow.testing.trace import Trace
from actorflow.testing.world import World

__all__ = ["MAX_STEPS", "Lives", "Simulation", "Unfired", "check_call", "line_for", "simulate"]

T = TypeVar("T")

#: Most lives of a simulation.
MAX_LIVES = 1_000


@attrs.frozen(kw_only=True)
class Simulation(Generic[T]):
    """How a simulation went.

    Attributes:
        result: What `main` returned.
        trace: What happened, step by step; ``trace.digest`` is one number for it.
        steps: Steps of the scheduler, in all lives.
        seed: Of the simulation.
        virtual_seconds: How long it took, in virtual time.
        history: What the outside was told and has seen.
        moves: What has happened to messages, over all lives; `LAWS` are checked on it. As the
            trace, it is as long as the lives, which `max_steps` bounds.
        lives: How many lives there were: one more than deaths.
        unfired: The faults that did not happen, as there was no such step, commit or turn.
    """

    result: T
    trace: Trace
    steps: int
    seed: int
    virtual_seconds: float
    history: tuple[Noted, ...]
    moves: tuple[Move, ...] = attrs.field(repr=False)
    lives: int
    unfired: tuple[Fault, ...] = ()


class Unfired(AssertionError):
    """Faults that were planned did not happen.

    Attributes:
        faults: Those.
        paths: Those of actors and stages that there were.
    """

    def __init__(self, faults: Collection[Fault], paths: Collection[str]) -> None:
        text = f"did not happen: {', '.join(map(repr, faults))}"
        if any(isinstance(each, OF_HANDLERS) for each in faults):
            known = sorted(paths)
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            text += f"; the paths that there were: {', '.join(known[:20]) or 'none'}{more}"
        super().__init__(text)
        self.faults = tuple(faults)
        self.paths = frozenset(paths)


def simulate(
    main: Callable[..., Awaitable[T]],
    *,
    seed: int = 0,
    faults: FaultPlan | Fault | Iterable[Fault] | None = None,
    max_steps: int = MAX_STEPS,
    all_fire: bool = False,
    within: float | None = None,
    same_results: bool = False,
) -> Simulation[T]:
    """Run ``main()`` or ``main(world)`` in virtual time; the same *seed* gives the same trace, in
    every process.

    Scheduling, ids, jitter, the times that a commit takes and the module `random` follow the
    seed. Handlers in threads and worker processes are called in the loop, after a drawn virtual
    time; the thread of a store likewise, be it `world.store` or another. What starts threads of
    its own (`trio.to_thread`) or waits for a socket leaves virtual time: that is
    `SimulationStuck` if nothing else can happen meanwhile, and cannot be replayed if something
    can.

    When the process dies, by plan or `world.crash()`, `main` begins anew in another life, on
    what the disk of `world.store` has; a `SqliteStore` dies with the process as well. The laws
    are checked at each death and in the end.

    Args:
        main: An async function of nothing or of the `World`.
        seed: A whole number.
        faults: What goes wrong.
        max_steps: Most steps of the scheduler in one life.
        all_fire: Whether each fault must happen. `Simulation.unfired` has those that did not.
        within: Most virtual seconds that *main* may take to its end after the last fault is over,
            or since its last life has begun if none is in that.
        same_results: Runs must have the results in the store, at the end, that they have there
            undisturbed, as for `crash_points`.

    Raises:
        Unfired: One did not, with *all_fire*.
        SimulationStuck: It does not come to its end.
        LawBroken: A law does not hold.
        Exception: What *main* raised. All have a note with the line that does the same again.
        ConfigurationError: An argument is wrong.
    """
    plan = FaultPlan.of(faults)
    check_call("simulate()", main, seed, within)
    options.count("simulate() max_steps", max_steps)
    options.flag("simulate() all_fire", all_fire)
    options.flag("simulate() same_results", same_results)
    wanted = _undisturbed_results(main, seed, max_steps) if same_results else None
    lives = Lives(main, seed, plan, max_steps, Trace(), within=within)
    error = lives.live() or (None if wanted is None else _other_results(lives, wanted))
    unfired = tuple(each for each in plan.faults if each not in lives.fired)
    if error is None and unfired and all_fire:
        error = Unfired(unfired, lives.paths)
    if error is not None:
        flags = {"all_fire": all_fire or None, "same_results": same_results or None}
        error.add_note(f"again: {line_for(main, seed, plan, max_steps, within=within, **flags)}")
        raise error
    return _went(lives, seed, unfired)


def _undisturbed_results(main: Any, seed: int, max_steps: int) -> StoredResults:
    """What runs have in the store if nothing goes wrong.

    Raises:
        Exception: What *main* raises then.
    """
    lives = Lives(main, seed, FaultPlan(), max_steps, None)
    error = lives.live()
    if error is not None:
        error.add_note(f"again: {line_for(main, seed, FaultPlan(), max_steps)}")
        raise error
    return stored_results(lives.world._disk)


def _other_results(lives: Lives, wanted: StoredResults) -> LawBroken | None:
    """What is in the store that is not as *wanted*, if anything is."""
    texts = other_results(wanted, stored_results(lives.world._disk))
    return LawBroken("; ".join(texts)) if texts else None


def _went(lives: Lives, seed: int, unfired: tuple[Fault, ...]) -> Simulation[Any]:
    assert lives.trace is not None
    return Simulation(
        result=lives.last.result,
        trace=lives.trace,
        steps=lives.steps,
        seed=seed,
        virtual_seconds=lives.seconds,
        history=tuple(lives.world.history),
        moves=tuple(lives.world.moves),
        lives=lives.last.number,
        unfired=unfired,
    )


def check_call(call: str, main: Any, seed: object, within: object) -> None:
    """What is called *call* can be: not in an event loop, and with these."""
    if trio.lowlevel.in_trio_run():
        raise ConfigurationError(call, main, "called outside of trio.run, as it runs a loop itself")
    if type(seed) is not int:
        raise ConfigurationError(f"{call} seed", seed, "a whole number")
    options.optional(options.seconds, f"{call} within", within)
    wants_world(main, call)


class Lives:
    """The lives of one system in one world, up to the one that nothing ends but itself.

    Args:
        main: What lives.
        seed: Of all chance.
        plan: What goes wrong.
        max_steps: Most steps of a life.
        trace: Where all is written down, if it is.
        world: Where they begin, if that is not a new world,
        lived: and so many lives have been there.
        takes_world: Whether *main* takes the world, if that is known.
        within: Most virtual seconds from the last fault to the end.
        booked: Whether the books are looked at after each step; with a trace they are.

    Attributes:
        world: What they live in.
        last: The last of them, or the one that lives now.
        lived: How many there have been.
        steps: Steps of all.
        seconds: Virtual seconds of all.
        trace: Of all, if there is one.
        watch: Told of each step and commit of the first; see `Life`.
        fired: The faults that have happened.
        paths: Of all actors and stages that there were.
        ends: How far each life came.
    """

    last: Life

    def __init__(
        self,
        main: Callable[..., Awaitable[Any]],
        seed: int,
        plan: FaultPlan,
        max_steps: int,
        trace: Trace | None,
        *,
        world: World | None = None,
        lived: int = 0,
        takes_world: bool | None = None,
        within: float | None = None,
        booked: bool = False,
    ) -> None:
        self._booked = booked
        self._within = within
        self._main = main
        self._takes_world = wants_world(main) if takes_world is None else takes_world
        self._plan = plan
        self._max_steps = max_steps
        self.world = World(seed) if world is None else world
        self.lived = lived
        self.trace = trace
        self.steps = 0
        self.seconds = 0.0
        self.watch: Callable[[str], None] | None = None
        self.fired: set[Fault] = set()
        self.paths: set[str] = set()
        self.ends: dict[int, Mark] = {}

    def live(self) -> BaseException | None:
        """Live them all; what went wrong, if anything did."""
        for number in range(self.lived + 1, MAX_LIVES + 1):
            life = Life(
                self.world,
                number,
                self._plan,
                self._max_steps,
                self.trace,
                self.watch,
                booked=self._booked,
            )
            self.last, self.lived, self.watch = life, number, None
            life.live(self._main, takes_world=self._takes_world)
            self.steps += life.steps.count
            self.seconds += life.seconds
            if life.end is not None:
                self.ends[number] = life.end
            self.fired |= life.fired
            self.paths |= life.handlers.seen
            if life.error is not None:
                return life.error
            broken = self.world._broken() + ([] if life.broken is None else [life.broken])
            if not (life.dead or life.cut_short):
                self.world._over()
                broken += broken_promises(self.world.history) + self._late(life)
                broken += broken_laws(self.world.moves)
            if broken:
                return LawBroken("; ".join(broken))
            if not (life.dead or life.cut_short):
                return None
        return LawBroken(f"still dying in life {MAX_LIVES:,}")

    def _late(self, life: Life) -> list[str]:
        """What is to be said of the time that the last *life* took."""
        seconds = life.seconds - life.struck
        if self._within is None or seconds <= self._within:
            return []
        return [f"liveness: {seconds:g} s after the last fault, {self._within:g} s are allowed"]
