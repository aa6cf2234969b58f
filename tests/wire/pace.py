"""How long is long on this machine: by what a plain loop takes here, in seconds of CPU."""

from __future__ import annotations

import time

__all__ = ["SOON", "pace"]

#: Several times what the slowest takes, in loops; without its guard that takes minutes.
SOON = 400


def pace() -> float:
    """What a million rounds of a plain loop take now, as whoever shares the machine slows all."""
    started = time.process_time()
    sum(number & 7 for number in range(1_000_000))
    return time.process_time() - started
