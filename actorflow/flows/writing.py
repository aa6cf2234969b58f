"""Write what comes out of a run into its sink, for as long as there is something to write.

    outlet ──► tap ──► Writer ──► sink

A value that has come out belongs to an item that counts as done, so it is written even
when the run is being ended: the writer goes on until its tap is closed and empty, or
until the moment it is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio

from actorflow.flows.taps import Tap

__all__ = ["Writer"]

logger = logging.getLogger("actorflow")

#: Longest time a sink may take to close, in seconds.
CLOSE_SECONDS = 30.0


class Writer:
    """Writes one tap into one sink.

    Args:
        sink: Where to; open, and closed by `close`. That of a durable run takes envelopes.
        tap: Where from.
        on_failure: Told what the sink raised.
    """

    def __init__(self, sink: Any, tap: Tap, on_failure: Callable[[BaseException], None]) -> None:
        self._sink = sink
        self._tap = tap
        self._on_failure = on_failure
        self._scope = trio.CancelScope(shield=True)
        self._closed = False

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Write until the tap is closed and empty."""
        try:
            with self._scope:
                while values := await self._tap.take():
                    await self._sink.write(values)
        except BaseException as error:
            self._on_failure(error)
        if self._scope.cancelled_caught:
            logger.warning("the sink was too slow: values of items that are done are not written")

    def end_by(self, moment: float) -> None:
        """Write no longer than until *moment* on trio's clock; one given before may be sooner."""
        self._scope.deadline = min(self._scope.deadline, moment)

    async def close(self, *, broken: bool) -> None:
        """Close the sink, once; neither a cancellation nor Ctrl-C cuts that short.

        Args:
            broken: An error is on its way to the caller, which nothing here may replace.

        Raises:
            Exception: What the sink raised: what it had taken may not be where it belongs.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with trio.move_on_after(CLOSE_SECONDS, shield=True) as patience:
                await self._sink.aclose()
        except Exception:
            if not broken:
                raise
            logger.exception("the sink failed to close")
        if patience.cancelled_caught:
            logger.error("the sink did not close within %g s and is left open", CLOSE_SECONDS)
