"""The life of an incarnation: take turns until told to end, then say how it ended.

    burst ──► nothing fast ──► next_lease ──► begin ──► drive ──► settle ──► commit
      ▲                             │                                          │
      └──────────── park ◄──────────┴──────────────────────────────────────────┘

A *lap* is what happens inside one cancel scope. A scope that has fired (a timeout, a
kill) is left before anything else is awaited, and the next lap has a fresh one.
"""

from __future__ import annotations

from typing import Any

import trio

from actorflow.core.envelope import Envelope
from actorflow.runtime.burst import (
    FAILED,
    NOTHING,
    SLICE_OVER,
    SUSPENDED,
    TURNS_PER_SLICE,
    begin,
    burst,
)
from actorflow.runtime.cell import Cell, Ending
from actorflow.runtime.drive import classify, drive
from actorflow.runtime.lease import Again, give_back, next_lease
from actorflow.runtime.offload import wait_for_stuck
from actorflow.runtime.settle import settle

__all__ = ["laps"]


async def laps(cell: Cell) -> Ending | None:
    """Take turns; answers how the incarnation ended, or `None` if it wants a nursery."""
    while True:
        ending = None
        with trio.CancelScope() as cell.scope:
            if cell.stuck and cell.lease is None:
                await wait_for_stuck(cell)  # Of an incarnation that was killed.
            ending = await _lap(cell)
        cell.scope = None
        if cell.killed:
            ending = Ending("stopped")
        if ending is not None:
            if cell.lease is not None:
                give_back(cell)
            return ending
        if cell.spawning:
            return None


def _told_to_end(cell: Cell) -> Ending | None:
    """Heed what others have told the cell between two turns."""
    cell.alert = False
    if cell.stopping:
        return Ending("normal")
    return None if cell.stop_by is None else Ending("stopped")


async def _lap(cell: Cell) -> Ending | None:
    """Turns inside one scope; `None` asks for another lap."""
    fast = cell.kernel.fast
    left = TURNS_PER_SLICE
    error: BaseException | None
    value: Any = None
    resumed: Envelope | None = None
    if cell.pending is not None:
        value, error = cell.pending
        cell.pending, cell.timed_out = None, False
        ending = await settle(cell, value, error)
        if ending is not None:
            return ending
    while True:
        if cell.alert and resumed is None:
            ending = _told_to_end(cell)
            if ending is not None or cell.spawning:
                return ending
        kind, value, trap = burst(cell, resumed, value) if fast else (NOTHING, None, None)
        resumed, swift = None, True
        left -= 1
        if kind == NOTHING:
            if cell.alert:
                continue  # The turn that was resumed is done; now the flags are looked at.
            lease = next_lease(cell)
            if lease is None:
                await cell.park()
                left = TURNS_PER_SLICE
                continue
            if not isinstance(lease, Again):
                kind, value, trap = begin(cell, lease)
            swift = False
        error = None
        if kind == SUSPENDED:
            left = TURNS_PER_SLICE
            if cell.mailbox.idle and cell.mailbox.queue:
                cell.mailbox.wake()  # What this worker cannot take now, another may.
            assert cell.lease is not None
            try:
                value = await drive(value, trap, cell, cell.lease)
            except BaseException as raised:
                error = classify(cell, raised)
            if cell.killed:
                return Ending("stopped")
            if cell.timed_out:
                cell.pending = value, error
                return None
            if swift and error is None and cell.token is None and cell.stuck is None:
                resumed = cell.lease
                continue
        elif kind == FAILED:
            error = classify(cell, value)
        if kind >= SUSPENDED:
            ending = await settle(cell, value, error)
            if ending is not None:
                return ending
        if kind == SLICE_OVER or left <= 0:
            await trio.lowlevel.checkpoint()
            left = TURNS_PER_SLICE
