"""The doors to the world: time, chance and numbers, so that a test can hold them.

Runtime code reads no clock and draws no number but through these. A simulation
hands in its own ports and replays a run exactly.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

__all__ = ["Ports", "dump_chance", "load_chance", "real_ports"]


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
    """

    now: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    ids: Iterator[int]
    chance: random.Random | None = None


def real_ports(seed: int | None = None) -> Ports:
    """The ports of a system on the running trio clock; *seed* fixes the draws."""
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
