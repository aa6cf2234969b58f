"""Time inside a turn that is not the handler's: it waits for somebody else."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from actorflow.runtime.cell import Cell

__all__ = ["off_the_clock"]


async def off_the_clock(cell: Cell, wait: Callable[[], Awaitable[object]]) -> None:
    """Await ``wait()`` without its time counting towards the timeout of the turn.

    A deadline of the message itself still holds.
    """
    envelope = cell.lease
    assert envelope is not None
    await trio.lowlevel.checkpoint()  # Its first wait notes when a turn must end: have that noted.
    began, ends_at = cell.now(), cell.ends_at
    cell.ends_at = math.inf if envelope.deadline is None else envelope.deadline
    try:
        await wait()
    finally:
        ends_at += cell.now() - began
        if envelope.deadline is not None:  # It may be a new one: the message may be called off.
            ends_at = min(ends_at, envelope.deadline)
        cell.ends_at = ends_at
        if ends_at != math.inf:
            cell.look_at_the_time()
