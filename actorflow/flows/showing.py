"""Keep displays and logs up to date while a run goes on, by the run's own clock.

Each has a task beside the stages. It is called in that task and must return at once; what
it raises is logged and counted, and changes nothing. A display that has failed is left
alone, one that takes figures every so often is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio

from actorflow.flows.results import RunStats
from actorflow.runtime.kernel import Kernel

__all__ = ["show_progress", "tell_stats"]

logger = logging.getLogger("actorflow")

#: Seconds between two updates of a display.
REFRESH_SECONDS = 0.2


@trio.lowlevel.enable_ki_protection
async def show_progress(run: Any, kernel: Kernel, display: Any) -> None:
    """Keep *display* up to date until the run is over; one that fails is left alone."""
    show, most = display.on_start, _most_items(display)
    try:
        while _shown(kernel, show, run.figures(most)):
            show = display.on_update
            with trio.move_on_after(REFRESH_SECONDS):
                await run.over.wait()
                break
    finally:
        _shown(kernel, display.on_finish, run.figures(most))


def _most_items(display: Any) -> int:
    """How many items *display* wants to see."""
    most = getattr(display, "items", 0)
    return most if type(most) is int else 0


def _shown(kernel: Kernel, show: Callable[[RunStats], None], stats: RunStats) -> bool:
    """Whether the display took *stats*; whatever it raises is no affair of the run."""
    try:
        show(stats)
    except BaseException:
        kernel.counters["observer_errors"] += 1
        logger.exception("the progress display failed and is left alone")
        return False
    return True


@trio.lowlevel.enable_ki_protection
async def tell_stats(run: Any, kernel: Kernel, observer: Any, scope: trio.CancelScope) -> None:
    """Give *observer* the figures every so often, and once more at the end.

    Args:
        run: The run.
        kernel: Its services.
        observer: Has `on_stats`, and `every` in seconds.
        scope: Cancelled when it is an observer no more.
    """
    with scope:
        try:
            while not run.over.is_set():
                with trio.move_on_after(observer.every):
                    await run.over.wait()
                    break
                _told(run, kernel, observer)
        finally:
            if not scope.cancel_called:
                _told(run, kernel, observer)


def _told(run: Any, kernel: Kernel, observer: Any) -> None:
    try:
        observer.on_stats(run.stats())
    except BaseException as error:  # On purpose: no observer may end a run.
        kernel.blame(observer, error, "on_stats")
