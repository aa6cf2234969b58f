"""The doors to the world: time, chance and numbers, so that a test can hold them.

Runtime code reads no clock and draws no number but through these. A simulation
(`actorflow.testing.simulate`) sets `SIMULATION` for its event loop: then all doors here
lead to it, and a run is replayed exactly.
"""

from __future__ import annotations

import itertools
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs
import trio

__all__ = [
    "SIMULATION",
    "Ports",
    "dump_chance",
    "load_chance",
    "random_bytes",
    "real_ports",
    "simulation",
    "stopwatch",
    "to_thread",
    "wall_time",
]

T = TypeVar("T")

#: What an event loop is simulated by; not set where the world is the real one.
SIMULATION: trio.lowlevel.RunVar[Any] = trio.lowlevel.RunVar("actorflow.simulation", None)

#: What the wall clock says at the beginning of virtual time, with which it moves.
VIRTUAL_EPOCH = 1_700_000_000.0


@attrs.frozen(kw_only=True)
class Ports:
    """Where a system gets time, chance and ids.

    Attributes:
        now: Monotonic seconds, on the clock that trio's deadlines use.
        wall: Seconds since the epoch.
        draw: A number from ``[0, 1)``.
        ids: The numbers of messages that come from outside.
        chance: What draws, if a seed fixed it: then a cut has where it has got to.
        simulation: What stands for the world, if that is not the real one.
    """

    now: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    ids: Iterator[int]
    chance: random.Random | None = None
    simulation: Any = None


def real_ports(seed: int | None = None) -> Ports:
    """The ports of a system on the running trio clock; *seed* fixes the draws."""
    simulated = simulation()
    if simulated is not None:
        ports: Ports = simulated.ports(seed)
        return ports
    clock = trio.lowlevel.current_clock()
    now = clock.current_time
    chance = random.Random(seed)
    return Ports(
        now=now,
        wall=(lambda: VIRTUAL_EPOCH + now()) if hasattr(clock, "jump") else time.time,
        draw=chance.random,
        ids=itertools.count(1),
        chance=None if seed is None else chance,
    )


def simulation() -> Any:
    """What the running event loop is simulated by; `None` in the real world or outside of trio."""
    try:
        return SIMULATION.get()
    except RuntimeError:
        return None


def wall_time() -> float:
    """Seconds since the epoch, for whoever has no ports."""
    simulated = simulation()
    return time.time() if simulated is None else float(simulated.wall())


def stopwatch(clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """What measures how long something holds the loop: *clock*, unless nothing does because time
    is virtual."""
    simulated = simulation()
    if simulated is None:
        return clock
    now: Callable[[], float] = simulated.now
    return now


def random_bytes(count: int) -> bytes:
    """*count* bytes that nobody else has; of a seed in a simulation."""
    simulated = simulation()
    return secrets.token_bytes(count) if simulated is None else bytes(simulated.bytes(count))


async def to_thread(fn: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run ``fn(*args)`` in a thread, with *options* as `trio.to_thread.run_sync` has them; in a
    simulation here, after a virtual time."""
    simulated = simulation()
    if simulated is None:
        return await trio.to_thread.run_sync(fn, *args, **options)
    value: T = await simulated.offload(fn, *args)
    return value


def dump_chance(ports: Ports) -> Any:
    """Where the draws of a seed have got to, as plain values; `None` without one."""
    if ports.chance is None:
        return None
    version, state, gauss = ports.chance.getstate()
    return [version, list(state), gauss]


def load_chance(ports: Ports, state: Any) -> None:
    """Go on drawing from what `dump_chance` gave."""
    if ports.chance is not None and state is not None:
        version, words, gauss = state
        ports.chance.setstate((version, tuple(words), gauss))
