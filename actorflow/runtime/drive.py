"""Run a handler by hand, so that one cancel scope can serve many turns.

A scope per message costs five times a turn. So each worker enters one scope before
its first handler starts and keeps it: most handlers never suspend and need none;
one that does has the end of its turn noted as a number, which the worker's alarm
looks at. (A scope opened at the first suspension would corrupt trio's scope stack.)

What a `Cancelled` out of a handler means, asked outside the handler:

    killed   timed out   outer scope cancelled    it is
    ------   ---------   ---------------------    -------------------------------------
    yes      -           -                        a stop: the attempt is given back
    no       yes         -                        the turn's timeout: a failed attempt
    no       no          yes                      not ours: it passes untouched
    no       no          no                       a stray: the turn fails

and a value returned although the scope has fired counts after a timeout and is
discarded after a stop.
"""

from __future__ import annotations

import logging
import math
import types
from collections.abc import Coroutine, Generator
from typing import Any

import outcome
import trio

from actorflow.errors import DeadlineExceeded, StrayCancelled, TurnTimeout
from actorflow.runtime.burst import SLICE_SECONDS
from actorflow.runtime.cell import Cell

__all__ = ["classify", "drive"]

logger = logging.getLogger("actorflow")

NEVER = math.inf

#: How many `Cancelled` a handler may catch after its end and go on waiting, before it is closed.
SWALLOWED_MAX = 100


@types.coroutine
def drive(
    coroutine: Coroutine[Any, Any, Any], trap: Any, cell: Cell, envelope: Any
) -> Generator[Any, Any, Any]:
    """Finish a handler that has yielded its first *trap*; answers what it returns."""
    began, work = cell.now(), cell.work
    if work is not None:
        work.since = began
    if envelope.deadline is not None:
        cell.suspended(envelope.deadline, began)
    elif cell.timeout is not None:  # What `suspended` does, without the call.
        cell.ends_at = ends_at = began + cell.timeout
        alarm = cell.alarm
        if alarm is None or alarm[0] > ends_at:
            cell.look_at_the_time()
    if cell.token is None and cell.gate is not None:
        cell.token = cell.gate.adopt(began)
    if cell.mailbox.journal is not None and envelope.attempt:
        cell.mailbox.journal.note(envelope, cell.mailbox)  # Leased, its attempt counted.
    swallowed = 0
    send = coroutine.send
    try:
        while True:
            try:
                value: Any = yield trap
            except BaseException as error:
                step: Any = coroutine.throw
                value = error
            else:
                step = send
                if (cell.killed or cell.timed_out) and _is_cancelled(value):
                    swallowed += 1
                    if swallowed > SWALLOWED_MAX:
                        if _close(coroutine, cell):
                            value.unwrap()
                        # Its nurseries can only be left from inside; few catch this too.
                        step = coroutine.throw
                        value = TurnTimeout(cell.mailbox.path, cell.timeout or 0.0)
            trap = step(value)
    except StopIteration as stop:
        return stop.value
    finally:
        cell.ends_at = NEVER
        now = cell.now()
        cell.slice_ends = now + SLICE_SECONDS
        if work is not None:
            took = now - began
            work.seconds += took
            if took > work.longest:
                work.longest = took
            work.left = left = work.left - 1
            if not left:
                work.show(took, now)


def _is_cancelled(value: Any) -> bool:
    """Whether *value*, which trio sends, will raise `Cancelled` where the handler waits."""
    return isinstance(value, outcome.Error) and isinstance(value.error, trio.Cancelled)


def _close(coroutine: Coroutine[Any, Any, Any], cell: Cell) -> bool:
    """End a handler that catches every `Cancelled`; `False` if its own nurseries are open."""
    assert cell.task is not None
    if len(cell.task.child_nurseries) > cell.nested:
        return False
    logger.error("%s: the handler swallows trio.Cancelled and goes on; it is closed", cell.path)
    try:
        coroutine.close()
    except RuntimeError:
        logger.exception("%s: the handler ignores being closed and is abandoned", cell.path)
    return True


def classify(cell: Cell, error: BaseException) -> BaseException | None:
    """What a failed turn failed with; `None` if it did not fail but was ended by us.

    Raises:
        trio.Cancelled: A scope around the worker is really cancelled.
    """
    if isinstance(error, BaseExceptionGroup):
        cancelled, rest = error.split(trio.Cancelled)
        if cancelled is None:
            return error
        if rest is not None:
            return rest  # As with a scope: what is left beside the cancellation counts.
    elif not isinstance(error, trio.Cancelled):
        return error
    if cell.killed:
        return None
    if cell.timed_out:
        deadline = None if cell.lease is None else cell.lease.deadline
        # Who asks a question again in this very moment has given it another deadline.
        if cell.timeout is None or (deadline is not None and cell.kernel.now() >= deadline):
            return _with_notes(DeadlineExceeded(cell.mailbox.path), error)
        return _with_notes(TurnTimeout(cell.mailbox.path, cell.timeout), error)
    if trio.current_effective_deadline() == -math.inf:
        raise error
    stray = StrayCancelled(cell.mailbox.path)
    stray.__cause__ = error
    return stray


def _with_notes(ours: BaseException, error: BaseException) -> BaseException:
    """*ours*, with what was noted on the `Cancelled` that it stands for, such as a step's name."""
    for note in getattr(error, "__notes__", ()):
        ours.add_note(note)
    return ours
