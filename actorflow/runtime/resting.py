"""How a turn waits for an answer where a gate lets only some run: it makes room for the others.

A turn whose only task waits for what another entry answers for runs nothing. Any other may
still run something: the gate counts it as if it did, and lets the others run all the same.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actorflow.runtime.cell import Cell
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.reply import excuse

__all__ = ["answered"]


async def answered(
    careful: Any, cell: Cell, box: Mailbox, wait: Callable[[], Awaitable[Any]]
) -> Any:
    """What *wait* gives: the turn of *cell* waits for the answer of the owner of *box*.

    The time that this takes is not the turn's.
    """
    await trio.lowlevel.checkpoint()  # The turn has its time only when it has waited once.
    suspect = careful.suspect(cell.lease)
    if suspect is None:
        return await wait()
    rests = careful.watches(box) and _waits_alone(cell)
    if not suspect.asks:
        suspect.began, suspect.ends_at = cell.kernel.now(), cell.ends_at
        cell.ends_at = math.inf
    suspect.asks += 1
    careful.rests(suspect.envelope, keeps=not rests)
    try:
        return await wait()
    finally:
        suspect.asks -= 1
        if rests:  # Who is told of a timeout goes on as well.
            with trio.CancelScope(shield=not cell.killed):
                await careful.again(suspect.envelope)
        elif not suspect.asks:
            careful.goes_on(suspect)
        if not suspect.asks and suspect.ends_at != math.inf:
            _go_on(cell, suspect)


def _waits_alone(cell: Cell) -> bool:
    """Whether this task is all that works on the turn."""
    task = trio.lowlevel.current_task()
    return task is cell.task and len(task.child_nurseries) <= cell.nested


def _go_on(cell: Cell, suspect: Any) -> None:
    """The turn ends as much later as it has waited."""
    excuse(suspect.envelope)
    deadline = suspect.envelope.deadline
    later = suspect.ends_at + cell.kernel.now() - suspect.began
    cell.ends_at = later if deadline is None else min(later, deadline)
    cell.look_at_the_time()
