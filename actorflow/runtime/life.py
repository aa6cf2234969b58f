"""One incarnation from its start to its end, in one task.

    begin ──► on_start ──► (parked) ──► laps ──► on_stop ──► the supervisor is told

An idle actor that has never had a message is one parked task and no scope. Whatever
happens, the supervisor hears of the end, and nothing raised in here reaches the
nursery, except a cancellation that is not ours.
"""

from __future__ import annotations

import math
from typing import Any

import trio

from actorflow.core.envelope import Envelope
from actorflow.core.events import ActorStarted
from actorflow.runtime.cell import CURRENT, Cell, Ending
from actorflow.runtime.commit import commit_start, commit_stop
from actorflow.runtime.drive import classify, drive
from actorflow.runtime.lease import give_back
from actorflow.runtime.loop import laps
from actorflow.runtime.settle import make_room, settle, targets_of

__all__ = ["START_SECONDS", "live"]

#: Longest time `on_start` may take before it counts as failed, in seconds.
START_SECONDS = 60.0

#: What `on_stop` has at least, also after a kill and with `shutdown` used up, in seconds.
STOP_SECONDS_LEAST = 0.05


@trio.lowlevel.enable_ki_protection
async def live(cell: Cell) -> None:
    """Run one incarnation. Ctrl-C goes to the main task, never into a handler."""
    ending = Ending("stopped")
    cell.task = trio.lowlevel.current_task()
    CURRENT.set(cell)
    mailbox = cell.mailbox
    mailbox.readers.append(cell)
    try:
        try:
            cell.behaviour.begin(cell)
            if cell.kernel.ports.simulation is not None:
                cell.kernel.ports.simulation.begin(cell)
            starter = cell.behaviour.starter(cell)
            failure = None if starter is None else await _start(cell, starter)
        except BaseException as error:  # A factory of the user's may raise anything.
            failure = Ending("crash", classify(cell, error) or error)
        if failure is not None:
            ending = Ending("stopped") if cell.killed else failure
            return
        if cell.kernel.observers:
            cell.kernel.emit(ActorStarted(cell.path, cell.incarnation))
        if cell.kept is not None:
            cell.kept.note(None)
        cell.parent.child_started(cell)
        if not (cell.alert or mailbox.queue or mailbox.due or mailbox.capacity == 0):
            mailbox.idle.append(cell)
            await trio.lowlevel.wait_task_rescheduled(cell.unpark)
        try:
            ending = await _work(cell)
        except trio.Cancelled:
            raise
        except BaseException as error:
            ending = await _wrecked(cell, error)
        stopper = cell.behaviour.stopper(cell)
        if stopper is not None:
            await _stop(cell, stopper, ending)
    finally:
        mailbox.readers.remove(cell)
        mailbox.wake_for_work()  # It may have been woken for a message that it did not take.
        cell.task = cell.scope = None
        cell.parent.child_ended(cell, ending)


async def _work(cell: Cell) -> Ending:
    """Take turns; with a nursery for the actor's own children once it wants one."""
    ending = await laps(cell)
    if ending is not None:
        for newborn in cell.spawning or ():  # Of the last turn; they never live.
            newborn.finish(Ending("stopped"))
        cell.spawning = None
        return ending
    cell.nested = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cell.children.serve)
        for newborn in cell.spawning or ():
            cell.children.adopt(newborn.spec, newborn)
        cell.spawning = None
        ending = await laps(cell)
        assert ending is not None
        cell.children.ask_to_stop(math.inf if cell.stop_by is None else cell.stop_by)
    cell.children.finish_children()
    cell.children, cell.nested = None, False
    return ending


async def _wrecked(cell: Cell, error: BaseException) -> Ending:
    """A handler has left a scope or nursery of its own open, and ours could not be left in
    order: the task is of no more use, so this is a crash. The message pays, if there is one."""
    if cell.lease is not None:
        if cell.killed:
            give_back(cell)
        else:
            with trio.CancelScope() as cell.scope:
                await settle(cell, None, error)
    cell.scope = None
    if cell.nested:
        cell.children.finish_children()
        cell.children, cell.nested = None, False
    asked = cell.killed or cell.stop_by is not None
    if asked:
        cell.kernel.report(cell.path, "left a scope or nursery open", error)
    return Ending("stopped") if asked else Ending("crash", error)


async def _start(cell: Cell, starter: Any) -> Ending | None:
    """`on_start`: a turn without a message; an `Ending` if it failed."""
    error = await _hook(cell, starter, START_SECONDS, commit=True)
    return None if error is None else Ending("crash", error)


async def _stop(cell: Cell, stopper: Any, ending: Ending) -> None:
    """`on_stop`, shielded; what it raises is reported.

    It has what is left of the actor's `shutdown`, all of it if nobody asked for the end,
    but at least `STOP_SECONDS_LEAST`. A kill that comes meanwhile leaves it just that.
    """
    now = cell.kernel.now()
    seconds = cell.shutdown
    if cell.stop_by is not None:
        seconds = min(seconds, cell.stop_by - now)
    cell.killed = cell.timed_out = False
    cell.stop_least = now + STOP_SECONDS_LEAST
    error = await _hook(cell, stopper, max(seconds, STOP_SECONDS_LEAST), commit=False)
    cell.stop_least = None
    if error is not None:
        cell.kernel.report(cell.path, "on_stop", error)


async def _hook(cell: Cell, hook: Any, seconds: float, *, commit: bool) -> BaseException | None:
    """Run `on_start` or `on_stop` like a turn; answers what it failed with."""
    kernel = cell.kernel
    # What it sends may have to be kept, under an id that no other message ever has.
    root = f"start-{cell.incarnation}" if kernel.journal is None else next(kernel.ids)
    envelope = cell.lease = Envelope(None, root)
    cell.turn = cell.turn_type(cell, envelope)
    timeout, cell.timeout = cell.timeout, seconds
    error: BaseException | None = None
    try:
        with trio.CancelScope() as cell.scope:
            if cell.killed:
                cell.scope.cancel()
            try:
                coroutine = hook(cell.turn)
                try:
                    trap = coroutine.send(None)
                except StopIteration:
                    pass
                else:
                    await drive(coroutine, trap, cell, envelope)
            except BaseException as raised:
                error = classify(cell, raised) or raised
            if error is None and commit and cell.kept is not None:
                error = cell.kept.pack(cell, None)
            if error is None and commit:
                error = await make_room(cell, targets_of(cell))
    finally:
        cell.scope, cell.timeout, cell.timed_out = None, timeout, False
    if error is None and not commit:
        commit_stop(cell)
    elif error is None and not cell.killed:
        commit_start(cell)
    cell.lease = None
    cell.roll_back()
    return error
