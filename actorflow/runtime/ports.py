"""The doors to the world: time, chance and numbers, so that a test can hold them.

Runtime code reads no clock and draws no number but through these. A simulation
hands in its own ports and replays a run exactly.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator

import attrs
import trio

__all__ = ["Ports", "real_ports"]


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
    """

    now: Callable[[], float]
    wall: Callable[[], float]
    draw: Callable[[], float]
    ids: Iterator[int]


def real_ports(seed: int | None = None) -> Ports:
    """The ports of a system on the running trio clock; *seed* fixes the draws."""
    clock = trio.lowlevel.current_clock()
    now = clock.current_time
    return Ports(
        now=now,
        wall=(lambda: VIRTUAL_EPOCH + now()) if hasattr(clock, "jump") else time.time,
        draw=random.Random(seed).random,
        ids=itertools.count(1),
    )
