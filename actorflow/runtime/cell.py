"""One actor as the runtime sees it: a name, a mailbox, a lease, a task.

A cell outlives its incarnations: mailbox, watchers, stash and policies stay when
the actor is restarted; the task, the scope and the behaviour's state do not.
Nothing here waits but `park`, and nothing here decides.
"""

from __future__ import annotations

import contextvars
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from actorflow.core.envelope import Envelope
from actorflow.core.timings import Timings
from actorflow.runtime.due import Entry
from actorflow.runtime.inplace import KeptFields
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox

__all__ = ["CURRENT", "THREADS_TURN", "Cell", "Ending", "Parent", "known_turn_here", "turn_here"]

#: The cell whose task this is, or whose handler started this task.
CURRENT: contextvars.ContextVar[Cell | None] = contextvars.ContextVar("actorflow", default=None)

#: In a thread: the turn that what it does was called in.
THREADS_TURN: contextvars.ContextVar[Any] = contextvars.ContextVar("actorflow.turn", default=None)


class Ending:
    """How an incarnation ended.

    Attributes:
        kind: "normal" (asked to by itself), "stopped" (asked to by its supervisor),
            "crash".
        error: What crashed it.
        in_turn: Whether a message paid for the crash with an attempt.
        escalates: Whether a policy wants the supervisor to fail in its place.
    """

    __slots__ = ("error", "escalates", "in_turn", "kind")

    def __init__(
        self,
        kind: str,
        error: BaseException | None = None,
        *,
        in_turn: bool = False,
        escalates: bool = False,
    ) -> None:
        self.kind = kind
        self.error = error
        self.in_turn = in_turn
        self.escalates = escalates


class Parent(Protocol):
    """Who supervises a cell. Both calls are made in the child's task and never wait."""

    def child_started(self, child: Any) -> None: ...

    def child_ended(self, child: Any, ending: Ending) -> None: ...


class Cell:
    """The runtime's record of one actor or worker.

    Args:
        path: Path in the tree, such as ``/bank/alice``.
        kernel: The system's services.
        mailbox: Its own, or the one its stage's workers share.
        parent: Its supervisor.
    """

    __slots__ = (
        "alarm",
        "alert",
        "asking",
        "behaviour",
        "blocked",
        "call",
        "chain",
        "children",
        "chosen",
        "coroutines",
        "crash_on",
        "ended",
        "ends_at",
        "gate",
        "gone",
        "incarnation",
        "instance",
        "kept",
        "kernel",
        "killed",
        "lease",
        "mailbox",
        "nested",
        "now",
        "parent",
        "path",
        "pending",
        "save",
        "saved",
        "scope",
        "shutdown",
        "slice_ends",
        "spawning",
        "stash",
        "state",
        "stop_by",
        "stop_least",
        "stopping",
        "stuck",
        "target",
        "task",
        "throws",
        "timed_out",
        "timeout",
        "timers",
        "token",
        "turn",
        "turn_type",
        "watchers",
        "work",
    )

    def __init__(self, path: str, kernel: Kernel, mailbox: Mailbox, parent: Parent) -> None:
        self.path = path
        self.kernel = kernel
        self.now = kernel.now
        self.mailbox = mailbox
        self.parent = parent
        # What it does: set by the behaviour at each start.
        self.behaviour: Any = None
        self.instance: Any = None
        self.call: Any = None
        self.coroutines = True
        self.save: Callable[[dict[str, Any]], dict[str, Any]] = dict.copy
        self.turn_type: Any = None
        self.state: dict[str, Any] | None = None
        self.target: Any = None  # A stage's values go there: a mailbox, or a junction.
        self.chosen: list[Any] | None = None  # Ways that the values of this turn take.
        self.chain: Any = None
        self.gate: Any = None
        self.crash_on: tuple[type[BaseException], ...] = ()
        self.timeout: float | None = None
        self.shutdown = 5.0
        # The turn in progress.
        self.lease: Envelope | None = None
        self.token: Any = None
        self.turn: Any = None
        self.saved: dict[str, Any] | None = None
        self.pending: Any = None
        self.asking: list[Cell] | None = None
        self.blocked: Mailbox | None = None
        self.ends_at = math.inf
        self.slice_ends = 0.0
        self.alarm: Entry | None = None
        self.timed_out = False
        self.stuck: Any = None
        self.throws = 0
        # The incarnation.
        self.task: Task | None = None
        self.scope: trio.CancelScope | None = None
        self.alert = self.killed = self.stopping = False
        self.stop_by: float | None = None
        self.stop_least: float | None = None  # While `on_stop` runs: until when it may.
        self.incarnation = 0
        # What outlives it.
        self.ended: Ending | None = None
        self.gone: trio.Event | None = None
        self.watchers: dict[Cell, None] | None = None
        self.stash: deque[Envelope] | None = None
        self.kept: Any = None  # What a durable actor keeps beside its mail.
        self.timers: dict[Any, Any] | None = None
        self.children: Any = None  # The supervisor of what it has spawned,
        self.nested = False  # and whether that runs.
        self.spawning: list[Any] | None = None
        self.work: Timings | None = None  # What a worker of a stage has done.

    # Waiting --------------------------------------------------------------------------

    async def park(self) -> None:
        """Wait until there is something to do. No polling: an idle actor costs nothing."""
        mailbox = self.mailbox
        mailbox.idle.append(self)
        if mailbox.capacity == 0:
            mailbox.room_made()  # In a rendezvous a parked reader is the room.
        await trio.lowlevel.wait_task_rescheduled(self.unpark)

    def unpark(self, _: RaiseCancelT) -> Abort:
        self.mailbox.idle.remove(self)
        return Abort.SUCCEEDED

    def nudge(self) -> None:
        """Wake the cell if it is parked, so that it looks at its flags."""
        idle = self.mailbox.idle
        if self in idle:
            idle.remove(self)
            assert self.task is not None
            reschedule(self.task)

    # Being told -----------------------------------------------------------------------

    def ask_to_stop(self, deadline: float) -> None:
        """End after the turn in progress; `on_stop` has until *deadline*."""
        self.stop_by = deadline if self.stop_by is None else min(self.stop_by, deadline)
        self.alert = True
        self.nudge()
        self._hurry_children()

    def kill(self) -> None:
        """End now: the turn in progress is cancelled and its attempt given back."""
        if self.killed:
            return
        self.killed = self.alert = True
        self.stop_by = -math.inf
        self.nudge()
        if self.stop_least is not None:
            self._hurry_hook(self.stop_least)
        elif self.scope is not None:
            self.scope.cancel()
        self._hurry_children()

    def _hurry_hook(self, until: float) -> None:
        """`on_stop` runs, and has suspended: its turn now ends at *until* at the latest."""
        self.ends_at = min(self.ends_at, until)
        self.look_at_the_time()

    def _hurry_children(self) -> None:
        """Past its last turn an actor waits for its children: they hear of the sooner end."""
        if self.nested and self.scope is None and self.stop_by is not None:
            self.children.ask_to_stop(self.stop_by)

    # The turn's time ------------------------------------------------------------------

    def suspended(self, deadline: float | None, now: float) -> None:
        """The handler has suspended for the first time: note when its turn must end."""
        ends_at = math.inf if self.timeout is None else now + self.timeout
        if deadline is not None and deadline < ends_at:
            ends_at = deadline
        self.ends_at = ends_at
        alarm = self.alarm
        if alarm is None or alarm[0] > ends_at:
            self.look_at_the_time()

    def look_at_the_time(self) -> None:
        """Have the alarm look at `ends_at` when that has come."""
        alarm = self.alarm
        if alarm is not None:
            if alarm[0] <= self.ends_at:
                return  # It will look again by then.
            self.kernel.heap.settle(alarm)
        self.alarm = self.kernel.heap.at(self.ends_at, self._on_alarm)

    def _on_alarm(self, _: Any) -> None:
        self.alarm = None
        if self.ends_at == math.inf:
            return
        if self.kernel.now() < self.ends_at:
            self.alarm = self.kernel.heap.at(self.ends_at, self._on_alarm)
            return
        self.timed_out = True
        if self.scope is not None:
            self.scope.cancel()

    def roll_back(self) -> None:
        """The turn has not happened: the fields go back and its `Turn` ends."""
        if self.saved is not None and self.state is not None:
            if type(self.saved) is KeptFields:
                self.kernel.tell_changed(self.path, self.saved.changed())
            self.state.clear()
            self.state.update(self.saved)
            self.saved = None
        if self.turn is not None:
            if self.turn.effects is not None:
                for newborn in self.turn.effects.newborn:
                    newborn.finish(Ending("stopped"))
            self.turn.close()
            self.turn = None

    def __repr__(self) -> str:
        return f"<Cell {self.path}>"


def turn_here() -> Any | None:
    """The turn this task works for, or `None` outside.

    A task that a handler started belongs to the turn while the handler's nursery is
    open, which is seen by walking up from nursery to task: a task that was put into
    somebody else's nursery is outside. In a thread that the runtime called something in, it is
    the turn that the call belongs to, be that over or not.
    """
    cell = CURRENT.get()
    if cell is None or cell.lease is None:
        return None
    try:
        task: Task | None = trio.lowlevel.current_task()
    except RuntimeError:
        if (turn := THREADS_TURN.get()) is None:
            raise  # A thread of the handler's own; there nothing is safe to call.
        return turn
    while task is not cell.task:
        nursery = None if task is None else task.parent_nursery
        if nursery is None:
            return None
        task = nursery.parent_task
    if cell.turn is None:
        cell.turn = cell.turn_type(cell, cell.lease)
    return cell.turn


def known_turn_here() -> Any | None:
    """As `turn_here`, and `None` in a thread of the handler's own."""
    try:
        return turn_here()
    except RuntimeError:
        return None
