"""The supervisor: starts children left to right, stops them right to left, restarts.

    child's task ── child_started / child_ended ──► lane ──► serve() ──► what is to be done

Everything a supervisor hears goes through its lane and is handled one at a time, in
its own task, without waiting. What takes time is a *step* of its agenda (start this
child, stop that one): it is begun, and the event that ends it begins the next. Whom
to restart, in which order and how soon is decided by pure functions.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from actorflow.core.events import ActorRestarting
from actorflow.errors import NotRunningError, RestartsExhausted, shown
from actorflow.policies.supervision import (
    ChildSpec,
    RestartBudget,
    RestartDelay,
    affected,
    auto_shutdown,
    restart_wanted,
)
from actorflow.runtime.cell import Ending
from actorflow.runtime.child import Child, State, Step
from actorflow.runtime.effects import deliver_down
from actorflow.runtime.kernel import Kernel

__all__ = ["SupervisorCell"]

logger = logging.getLogger("actorflow")


class SupervisorCell:
    """A supervisor in the tree. It has no mailbox: nobody can send to it.

    Args:
        path: Its path.
        kernel: The system's services.
        parent: Its own supervisor.
        plan: Strategy, budget, and what to do when that is exhausted.
        make: Makes the node of a child: ``make(supervisor, spec)``.
    """

    mailbox: Any = None

    def __init__(
        self, path: str, kernel: Kernel, parent: Any, plan: Any, make: Callable[..., Any]
    ) -> None:
        self.path = path
        self.kernel = kernel
        self.parent = parent
        self.plan = plan
        self.children: dict[str, Child] = {}
        self.incarnation = 0
        self.ended: Ending | None = None
        self.gone: trio.Event | None = None
        self.watchers: dict[Any, None] | None = None
        self.spec: Any = None
        self._make = make
        self._reset()

    def _reset(self) -> None:
        plan = self.plan
        self.budget: RestartBudget | None = None
        if plan.max_restarts is not None:
            self.budget = RestartBudget(plan.max_restarts, plan.window)
        self._lane: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._task: Task | None = None
        self._agenda: deque[tuple[Step, Child]] = deque()
        self._doomed: set[Child] = set()  # Whom the agenda will stop.
        self._step: tuple[Step, Child] | None = None
        self._ending: Ending | None = None
        self._deadline = math.inf
        self._announced = False

    # Heard from other tasks: noted, and handled in ours --------------------------------

    def child_started(self, node: Any) -> None:
        self._post(self._on_started, node)

    def child_ended(self, node: Any, ending: Ending) -> None:
        self._post(self._on_ended, node, ending)

    def adopt(self, spec: Any, node: Any, settled: Callable[..., None] | None = None) -> None:
        """Start *node* as one more child; *settled* hears of its first start."""
        child = self.children[spec.id] = Child(spec, node, self._delay(spec), settled)
        self._post(self._on_adopted, child)

    def _delay(self, spec: ChildSpec) -> RestartDelay:
        return RestartDelay(spec.backoff or self.plan.backoff, spec.window or self.plan.window)

    def release(self, node: Any) -> None:
        """Stop a child for good."""
        self._post(self._on_released, node)

    def resume(self, node: Any) -> None:
        """Start a parked child again."""
        self._post(self._on_resumed, node)

    def ask_to_stop(self, deadline: float) -> None:
        """Stop the children right to left until *deadline*, then end."""
        self._post(self._end, Ending("stopped"), deadline)

    def kill(self) -> None:
        """Stop the children right to left without grace, then end."""
        self._post(self._end, Ending("stopped"), -math.inf)

    def _post(self, heard: Callable[..., None], *args: Any) -> None:
        self._lane.append((heard, args))
        if self._task is not None:
            task, self._task = self._task, None
            reschedule(task)

    # Our own task ---------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """One incarnation, as a child of another supervisor."""
        ending = Ending("stopped")
        try:
            ending = await self.serve()
        finally:
            self.parent.child_ended(self, ending)

    @trio.lowlevel.enable_ki_protection
    async def serve(self) -> Ending:
        """Start the children and look after them until told to end."""
        async with trio.open_nursery() as self._nursery:
            for spec in self.plan.children:
                known = self.children.pop(spec.id, None)  # Back in, in the order of the plan.
                child = Child(spec, None if known is None else known.node, self._delay(spec))
                self.children[spec.id] = child
                self._agenda.append((Step.START, child))
            self._advance()
            while self._ending is None or self._step is not None or self._busy():
                if not self._lane:
                    self._task = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._unpark)
                heard, args = self._lane.popleft()
                heard(*args)
                self._advance()
        return self._ending

    def _unpark(self, _: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def _busy(self) -> bool:
        return any(
            child.state in (State.STARTING, State.RUNNING, State.STOPPING)
            for child in self.children.values()
        )

    def _advance(self) -> None:
        """Begin steps of the agenda until one takes time."""
        while self._step is None and self._agenda:
            step, child = self._agenda.popleft()
            self._doomed.discard(child)
            if step is Step.START:
                self._begin(child)
                self._step = step, child
            elif self._begin_stop(child):
                self._step = step, child
        if self._step is None and not self._announced and self._ending is None:
            self._announced = True
            self.parent.child_started(self)

    def _plan_stop(self, child: Child) -> None:
        self._agenda.append((Step.STOP, child))
        self._doomed.add(child)

    def _begin(self, child: Child) -> None:
        """Start a new incarnation of *child*; `_on_started` or `_on_ended` follows."""
        if child.node is None or child.node.ended is not None:
            child.node = self._make(self, child.spec)
        child.state = State.STARTING
        child.entry = None
        child.node.prepare()
        assert self._nursery is not None
        self._nursery.start_soon(child.node.live, name=child.node.path)

    def _begin_stop(self, child: Child) -> bool:
        """Tell *child* to stop, or to do so sooner; `False` if it is down already."""
        now = self.kernel.now()
        supervises = isinstance(child.node, SupervisorCell)
        until = min(math.inf if supervises else now + child.spec.shutdown, self._deadline)
        if child.entry is not None and child.state is State.STOPPING:
            until = min(until, child.entry[0])
        self._forget_entry(child)
        if child.state not in (State.STARTING, State.RUNNING, State.STOPPING):
            child.state = State.DOWN
            if child.leaving:
                self._bury(child, Ending("stopped"))
            return False
        child.state = State.STOPPING
        if until <= now:
            child.node.kill()
        else:
            child.node.ask_to_stop(until)
            if until < math.inf:
                child.entry = self.kernel.heap.at(until, lambda _: child.node.kill())
        return True

    def _forget_entry(self, child: Child) -> None:
        if child.entry is not None:
            self.kernel.heap.settle(child.entry)
            child.entry = None

    # What was heard -------------------------------------------------------------------

    def _child(self, node: Any) -> Child | None:
        child = self.children.get(node.id)
        return child if child is not None and child.node is node else None

    def _step_done(self, child: Child) -> None:
        if self._step is not None and self._step[1] is child:
            self._step = None

    def _on_started(self, node: Any) -> None:
        child = self._child(node)
        if child is None or child.state is not State.STARTING:
            return
        child.state, child.lived = State.RUNNING, True
        self._step_done(child)
        if child.settled is not None:
            child.settled(None)
            child.settled = None

    def _on_adopted(self, child: Child) -> None:
        if self._ending is not None:
            self._bury(child, Ending("stopped"))
        else:
            self._begin(child)

    def _on_released(self, node: Any) -> None:
        child = self._child(node)
        if child is None:
            return
        child.leaving = True
        if child.state is State.BACKOFF and self.plan.strategy != "one_for_one":
            child.state = State.DOWN  # The others of its group still come back then.
            self._bury(child, Ending("stopped"))
        elif child.state is not State.STOPPING:
            self._begin_stop(child)

    def _on_resumed(self, node: Any) -> None:
        child = self._child(node)
        if child is not None and child.state is State.PARKED and self._ending is None:
            if child.budget is not None:
                child.budget.clear()
            self._begin(child)

    def _on_ended(self, node: Any, ending: Ending) -> None:
        child = self._child(node)
        if child is None:
            return
        was, child.state = child.state, State.DOWN
        self._forget_entry(child)
        self._step_done(child)
        doomed = child in self._doomed  # Its step will find it down.
        if was is State.STOPPING or doomed or self._ending is not None:
            if child.leaving or (self._ending is None and child.spec.restart == "temporary"):
                self._bury(child, ending)
        elif was is State.STARTING and child.node.incarnation == 1 and not child.lived:
            self._failed_start(child, ending)
        elif ending.escalates and self.plan.on_exhausted == "end":
            self._bury(child, ending)
        elif ending.escalates:
            self._end(Ending("crash", ending.error), math.inf)
        elif ending.kind == "stopped" or not restart_wanted(
            child.spec.restart, ending.kind == "normal"
        ):
            if ending.kind == "crash":
                logger.warning("%s: ends after %r", node.path, ending.error)
            self._bury(child, ending)
            self._maybe_shut_down(child)
        else:
            self._restart(child, ending)

    def _failed_start(self, child: Child, ending: Ending) -> None:
        """The very first start failed: the caller hears why, and nothing stays registered."""
        waiting, error = child.settled, ending.error
        self._bury(child, ending)
        if waiting is None and error is not None:
            self.kernel.report(child.node.path, "on_start", error)
        if waiting is None and child.spec in self.plan.children:
            self._end(Ending("crash", error), math.inf)

    # Decisions carried out ------------------------------------------------------------

    def _restart(self, child: Child, ending: Ending) -> None:
        now = self.kernel.now()
        delay = 0.0
        if not (ending.in_turn and self.plan.forgives_turns):
            for budget in (child.budget, self.budget):
                if budget is not None and budget.record(now):
                    self._exhausted(child, budget, ending)
                    return
            try:
                delay = child.delay.next(now, self.kernel.ports.draw())
            except Exception as mistake:  # A backoff of the user's own.
                self._give_up(child, "backoff", mistake)
                return
        what = "a normal end" if ending.error is None else shown(ending.error)
        logger.warning("%s: starts again in %.3g s after %s", child.node.path, delay, what)
        if self.kernel.observers:
            self.kernel.emit(
                ActorRestarting(child.node.path, child.node.incarnation, ending.error, delay)
            )
        self.kernel.counters["restarts"] += 1
        temporary = [key for key, it in self.children.items() if it.spec.restart == "temporary"]
        stops, starts = affected(self.plan.strategy, list(self.children), child.spec.id, temporary)
        for other in map(self.children.__getitem__, stops):
            if other.state is State.BACKOFF:  # It comes back with this group, not before.
                self._forget_entry(other)
                other.state = State.DOWN
            self._plan_stop(other)
        group = [self.children[each] for each in starts]
        # Who was still to start, starts with the group: it may depend on this one.
        pending = [each for each in self._agenda if each[0] is Step.STOP or each[1] not in group]
        self._agenda = deque(pending)
        if delay > 0:
            child.state = State.BACKOFF
            child.entry = self.kernel.heap.at(now + delay, self._backoff_over, (child, group))
        else:
            self._start_group(group)

    def _backoff_over(self, wait: tuple[Child, list[Child]]) -> None:
        self._post(self._on_backoff_over, *wait)

    def _on_backoff_over(self, child: Child, group: list[Child]) -> None:
        if child.entry is not None and child.entry[2] is None:  # Done, and not overtaken since.
            self._start_group(group)

    def _start_group(self, group: Iterable[Child]) -> None:
        if self._ending is not None:
            return
        wanted = [child for child in group if not child.leaving]
        if self.plan.strategy == "one_for_one":
            for child in wanted:
                self._begin(child)
        else:
            self._agenda.extend((Step.START, child) for child in wanted)

    def _exhausted(self, child: Child, budget: RestartBudget, ending: Ending) -> None:
        """The budget is spent: say whose, and act on it."""
        path = child.node.path if budget is child.budget else self.path
        error: BaseException = RestartsExhausted(
            path, budget.max_restarts, budget.window, ending.error
        )
        if not budget.max_restarts and isinstance(ending.error, RestartsExhausted):
            error = ending.error  # It says already who exhausted what.
        else:
            error.__cause__ = ending.error
        self._give_up(child, "restarts exhausted", error)

    def _give_up(self, child: Child, why: str, error: BaseException) -> None:
        """*child* cannot be restarted: what then is the plan's choice."""
        self.kernel.report(child.node.path, why, error)
        match self.plan.on_exhausted:
            case "park":
                child.state = State.PARKED
            case "end":
                self._bury(child, Ending("crash", error))
            case "stop":
                self._end(Ending("stopped", error), math.inf)
            case _:
                self._end(Ending("crash", error), math.inf)

    def _maybe_shut_down(self, child: Child) -> None:
        others = any(
            each.spec.significant and each.state is not State.DOWN
            for each in self.children.values()
        )
        if auto_shutdown(
            self.plan.auto_shutdown,
            significant=child.spec.significant,
            by_itself=True,
            others_alive=others,
        ):
            self._end(Ending("normal"), math.inf)

    def _bury(self, child: Child, ending: Ending) -> None:
        """*child* is gone for good."""
        if child.spec not in self.plan.children or child.spec.restart == "temporary":
            self.children.pop(child.spec.id, None)
        child.node.finish(ending)
        if child.settled is not None:
            child.settled(ending.error or NotRunningError(f"{child.node.path} was stopped"))
            child.settled = None

    def _end(self, ending: Ending, deadline: float) -> None:
        """Stop everybody, right to left, then end with *ending*; the first ending counts."""
        sooner = deadline < self._deadline
        self._deadline = min(self._deadline, deadline)
        if self._ending is None:
            self._ending = ending
            self._agenda.clear()
            self._doomed.clear()
            for child in reversed(self.children.values()):
                self._plan_stop(child)
            if self._step is not None and self._step[0] is Step.START:
                self._step = None
        elif sooner:
            for child in self.children.values():
                if child.state is State.STOPPING:
                    self._begin_stop(child)

    # As a node of the tree --------------------------------------------------------------

    def prepare(self) -> None:
        """A new incarnation is about to start."""
        if self.incarnation and self.plan.dynamic:
            for child in list(self.children.values()):
                self._bury(child, Ending("stopped"))
        if self.incarnation:
            self._reset()  # Before the first there may be children that wait to be started.
        self.incarnation += 1

    def finish(self, ending: Ending) -> None:
        """The supervisor is gone for good, and so are the children it still knows."""
        self.ended = ending
        self.finish_children()
        for watcher in self.watchers or ():
            deliver_down(watcher, self)
        self.watchers = None
        self.kernel.farewell(self)

    def finish_children(self) -> None:
        """Bury all children, none of which is alive."""
        for child in reversed(list(self.children.values())):
            if child.node is not None and child.node.ended is None:
                child.node.finish(Ending("stopped"))
            if child.settled is not None:
                child.settled(NotRunningError(f"{self.path} was stopped"))
        self.children.clear()

    @property
    def id(self) -> str:
        """Under which its own supervisor knows it."""
        return self.path.rpartition("/")[2]
