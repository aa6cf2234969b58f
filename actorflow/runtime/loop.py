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


async def _settle_pending(cell: Cell) -> Ending | None:
    """Settle the turn whose scope has fired, now that this scope has been left."""
    value, error = cell.pending
    cell.pending, cell.timed_out = None, False
    return await settle(cell, value, error)


async def _lap(cell: Cell) -> Ending | None:
    """Turns inside one scope; `None` asks for another lap."""
    fast, work, left = _is_fast(cell), cell.work, TURNS_PER_SLICE
    error: BaseException | None
    value: Any = None
    resumed: Envelope | None = None
    if cell.pending is not None and (ending := await _settle_pending(cell)) is not None:
        return ending
    while True:
        if cell.alert and resumed is None:
            ending = _told_to_end(cell)
            if ending is not None or cell.spawning:
                return ending
            fast = _is_fast(cell)
        kind, value, trap = burst(cell, resumed, value) if fast else (NOTHING, None, 0)
        resumed, swift, error = None, True, None
        if kind < SUSPENDED:
            if work is not None:
                work.inline -= trap
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
        if kind == SUSPENDED:
            left = TURNS_PER_SLICE
            if cell.mailbox.idle and cell.mailbox.queue:
                cell.mailbox.wake()  # What this worker cannot take now, another may.
            try:
                value = await drive(value, trap, cell, cell.lease)
            except BaseException as raised:
                error = classify(cell, raised)
            swift = swift and not (cell.killed or cell.timed_out)
            if swift and error is None and cell.token is None and cell.stuck is None:
                resumed = cell.lease
                continue
            if _cut_off(cell, value, error):
                return Ending("stopped") if cell.killed else None
        elif kind > SUSPENDED:
            if kind == FAILED:
                error = classify(cell, value)
            if work is not None:
                work.hand_over(trap, cell.now)
        if kind >= SUSPENDED and (ending := await settle(cell, value, error)) is not None:
            return ending
        left -= 1
        if kind == SLICE_OVER or left <= 0:
            await trio.lowlevel.checkpoint()
            left = TURNS_PER_SLICE


def _is_fast(cell: Cell) -> bool:
    """Whether its turns may take the fast branch, which tells nobody of items."""
    return cell.kernel.fast and not (cell.kernel.watched and cell.work is not None)


def _cut_off(cell: Cell, value: Any, error: BaseException | None) -> bool:
    """A turn has waited that does not go on by the fast branch; whether its scope has fired."""
    if cell.work is not None:
        cell.work.slowly += 1
    if cell.timed_out and not cell.killed:
        cell.pending = value, error
    return cell.killed or cell.timed_out
