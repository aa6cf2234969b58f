"""Virtual time: trio's `MockClock`, which jumps as soon as nothing can run.

What is asked in each round of the event loop is answered here at once: a life of a few
milliseconds asks some hundred times.
"""

from __future__ import annotations

from collections.abc import Callable

from trio.testing import MockClock

__all__ = ["virtual_clock"]

#: How long the loop may sleep for a deadline that only a jump can reach.
FOR_EVER = 999_999_999.0


def virtual_clock(idle: Callable[[], object], moved: Callable[[], object]) -> MockClock:
    """A clock at 0 that jumps.

    Args:
        idle: Called when the loop has nothing to run, before the clock jumps,
        moved: and when it has.
    """
    clock = MockClock(autojump_threshold=0)
    jump, now = clock.jump, 0.0

    def jump_on(seconds: float) -> None:
        nonlocal now
        jump(seconds)
        now += seconds
        moved()

    def current_time() -> float:
        return now

    def deadline_to_sleep_time(deadline: float) -> float:
        idle()
        return FOR_EVER if deadline > now else 0.0

    # The class is final, but what it promises is kept by any three functions like these.
    vars(clock).update(
        jump=jump_on, current_time=current_time, deadline_to_sleep_time=deadline_to_sleep_time
    )
    return clock
