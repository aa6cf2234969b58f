"""The run that stays open for `invoke`, so that one value does not cost a whole run.

    invoke(value) ──► feed ──► the standing run ──► its results ──► invoke returns

To open a run takes longer than most values do. So the first `invoke` of a flow opens one,
which is there for all that follow, until the trio run ends, the flow is closed, or nobody
has it any more. That also makes the policies of a flow hold over all its values: a
circuit that opened stays open, a rate counts them all.

It lives in a task of the trio run's own, as it belongs to no caller: what a handler finds in
context variables is not the caller's.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import trio

from actorflow.core.envelope import Envelope
from actorflow.errors import NotRunningError
from actorflow.flows.results import ItemResult
from actorflow.flows.run import Run
from actorflow.flows.taps import NO_RESULT, Tap
from actorflow.runtime.cell import turn_here
from actorflow.runtime.withdraw import cut_short, withdraw

__all__ = ["Standing", "only", "standing_run", "standing_runs"]

logger = logging.getLogger("actorflow")

#: Seconds that branches have to end which nobody waits for, when the run is closed.
ASIDE_SECONDS = 30.0

Runs = weakref.WeakKeyDictionary[Any, "Standing"]

_RUNS: trio.lowlevel.RunVar[Runs] = trio.lowlevel.RunVar("actorflow.standing")


async def standing_run(flow: Any, make: Callable[[], Run[Any, Any]]) -> Standing | None:
    """The standing run of *flow*; `None` in a turn, which could be waiting for itself there, be
    it through other flows.

    Args:
        flow: Whose it is.
        make: Makes the run, if there is none that takes items.

    Raises:
        ActorFlowError: It cannot begin.
    """
    if turn_here() is not None:
        return None
    runs = standing_runs()
    found = runs.get(flow)
    if found is not None and found.plan is not flow.plan:
        found.retire()  # A graph that has grown since.
        found = None
    if found is None or not found.serves:
        found = runs[flow] = Standing(make(), flow)
        trio.lowlevel.spawn_system_task(found.serve, name=f"actorflow: invoke of {flow.name}")
    await found.begun()
    return found


def standing_runs() -> Runs:
    """All of this trio run."""
    try:
        return _RUNS.get()
    except LookupError:
        runs: Runs = weakref.WeakKeyDictionary()
        _RUNS.set(runs)
        return runs


class Standing:
    """A run that stays open.

    Args:
        run: The run, not begun.
        flow: Whose it is; when nobody has it any more, the run ends.
    """

    def __init__(self, run: Run[Any, Any], flow: Any) -> None:
        self._run = run
        self.plan = run.plan
        self.kernel = run.kernel
        self._retired = False
        self._ready, self._closing, self._ended = trio.Event(), trio.Event(), trio.Event()
        self._error: BaseException | None = None
        self._callers = _Callers(run)
        token = trio.lowlevel.current_trio_token()
        self._flow = weakref.ref(flow, lambda _: _soon(token, self._closing.set))

    @property
    def serves(self) -> bool:
        """Whether it takes items, or soon will."""
        return not (self._ended.is_set() or self._run.failed or self._closing.is_set())

    async def serve(self) -> None:
        """Be open until told otherwise. What goes wrong is told to whoever calls."""
        try:
            async with self._run:
                self._run.add_tap(self._callers)
                self._ready.set()
                await self._closing.wait()
                if self.plan.asides and not self._callers.waiting:
                    await self._run.drain(ASIDE_SECONDS)  # Their values have been returned.
                self._run.cancel()
        except trio.Cancelled:
            raise
        except BaseException as error:
            self._error = error
            logger.debug("the standing run of %s has ended: %r", self.kernel.name, error)
        finally:
            self._ready.set()
            self._ended.set()

    async def begun(self) -> None:
        """Wait until it takes items.

        Raises:
            BaseException: Why it cannot.
        """
        if not self._ready.is_set():
            await self._ready.wait()
        if self._error is not None:
            raise self._error

    def retire(self) -> None:
        """End when the last call has its results; nobody else calls."""
        self._retired = True
        if self._ready.is_set() and not self._callers.waiting:
            self._closing.set()

    async def close(self) -> None:
        """End it; what is inside is cancelled, but what nobody waits for has time to end."""
        self._closing.set()
        with trio.CancelScope(shield=True):
            await self._ended.wait()

    async def call(self, value: Any, headers: Mapping[str, Any] | None) -> list[ItemResult[Any]]:
        """Run one item; all its results.

        Raises:
            NotRunningError: The run has failed meanwhile; its error is the cause.
        """
        call = _Call(headers)
        await self._run.take_in(value, functools.partial(self._callers.note, call))
        try:
            await call.end()
        except trio.Cancelled:
            self._callers.cancel(call)
            raise
        finally:
            if self._retired:
                self.retire()
        if not call.whole:
            text = f"the standing run of flow {self.kernel.name!r} has ended"
            raise NotRunningError(text) from self._callers.error
        if any(each.status == "failed" for each in call.results):
            self._run.keep_few_letters()
        return call.results


async def only(
    run: Run[Any, Any], value: Any, headers: Mapping[str, Any] | None
) -> list[ItemResult[Any]]:
    """Run one item and no other; all its results.

    Raises:
        ActorFlowError: Why the run could not go on.
    """
    callers, call = _Callers(run), _Call(headers)
    run.add_tap(callers)
    await run.take_in(value, functools.partial(callers.note, call))
    await run.finish()
    return call.results


class _Call:
    """One call of `invoke`.

    Attributes:
        results: What has come out so far.
        whole: Whether that is all.
    """

    __slots__ = ("_over", "_task", "envelope", "headers", "results", "whole")

    def __init__(self, headers: Mapping[str, Any] | None) -> None:
        self.headers = headers
        self.results: list[ItemResult[Any]] = []
        self.envelope: Envelope | None = None
        self.whole = self._over = False
        self._task: trio.lowlevel.Task | None = None

    async def end(self) -> None:
        """Wait until nothing more will come."""
        if self._over:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._forsaken)

    def _forsaken(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def over(self) -> None:
        """Nothing more will come."""
        self._over = True
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)


class _Callers(Tap):
    """Gives each result to the call that waits for it."""

    __slots__ = ("_calls", "_run")

    def __init__(self, run: Run[Any, Any]) -> None:
        self._run = run
        self._calls: dict[int, _Call] = {}
        super().__init__(
            run.plan.exits[0], ordered=False, values_only=False, first=0, on_taken=lambda: None
        )

    @property
    def waiting(self) -> int:
        """How many calls have no results yet."""
        return len(self._calls)

    def note(self, call: _Call, envelope: Envelope) -> None:
        """The item of *call* is about to be in the run."""
        call.envelope = envelope
        if call.headers is not None:
            envelope.headers = dict(call.headers)
        self._calls[envelope.root] = call

    def push(self, number: int, result: Any, ended: bool) -> None:
        """One result of item *number*, or `NO_RESULT`; *ended*: it was its last."""
        call = self._calls.get(number)
        if call is None:
            return
        if result is not NO_RESULT:
            call.results.append(result)
        if ended:
            del self._calls[number]
            call.whole = True
            call.over()

    def cancel(self, call: _Call) -> None:
        """Nobody waits for *call* any more: its item is taken back, or its turn cut short."""
        envelope = call.envelope
        if envelope is None or self._calls.pop(envelope.root, None) is None:
            return
        for stage in self._run.stages.values():
            if withdraw(stage.mailbox, envelope):
                return
            for cell in stage.cells:
                if cell.lease is envelope:
                    cut_short(cell)

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        super().close(error)
        left, self._calls = self._calls, {}
        for call in left.values():
            call.over()


def _soon(token: Any, fn: Callable[[], None]) -> None:
    try:
        token.run_sync_soon(fn)
    except trio.RunFinishedError:
        logger.debug("the trio run has ended already")
