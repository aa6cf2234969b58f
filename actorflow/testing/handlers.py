"""Let handlers crash, be cancelled, come late or never end: pumps around what an actor calls.

A pump hands on what the handler waits for, and counts: at the planned wait it throws, or fires
a cancel scope. An error is thrown only where the handler's own code waits for what may raise; a
scope fires wherever it is open.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any

import trio

from actorflow.runtime.mailbox import Mailbox
from actorflow.testing.faults import (
    Fault,
    HandlerCancelled,
    HandlerCrashes,
    HandlerHangs,
    HandlerSlow,
)

__all__ = ["HandlerCrash", "HandlerFaults"]

OF_HANDLERS = HandlerCancelled, HandlerCrashes, HandlerHangs, HandlerSlow

#: Whose waits end with a place, a lock, a value or all children in one's hands, or else by a
#: cancellation, which gives them back. Any other error would lose them.
HAND_OVER = (
    Mailbox,
    trio.CapacityLimiter,
    trio.Condition,
    trio.Lock,
    trio.MemoryReceiveChannel,
    trio.MemorySendChannel,
    trio.Nursery,
    trio.Semaphore,
    trio.lowlevel.ParkingLot,
)


class HandlerCrash(BaseException):
    """A crash of an actor that the laboratory has planned."""


class HandlerFaults:
    """What happens to the handlers of one life.

    Args:
        note: Told what happens, for the trace.
        fire: Told of each fault that happens.

    Attributes:
        seen: The paths that there were.
    """

    def __init__(self, note: Callable[[str], None], fire: Callable[[Fault], object]) -> None:
        self.seen: set[str] = set()
        self._fire = fire
        self._faults: list[tuple[int, Any]] = []
        self._paths: set[str] = set()
        self._note = note
        self._turns: dict[str, int] = {}

    def plan(self, fault: Fault) -> None:
        """Let *fault* happen, if it is one of handlers; counted from the next turn there."""
        if isinstance(fault, OF_HANDLERS):
            begun = self._turns.get(fault.path, 0)
            self._faults.append((begun + fault.turn, fault))
            self._paths.add(fault.path)

    def watch(self, paths: Iterable[str]) -> None:
        """Let the handlers there be such that something can be planned while they run."""
        self._paths.update(paths)

    def begin(self, cell: Any) -> None:
        """An incarnation of *cell* begins: its handler is pumped if a fault may come to it."""
        self.seen.add(cell.path)
        for path in sorted(self._paths):
            if cell.path == path or cell.path.startswith(f"{path}/"):
                cell.call = functools.partial(self._turn, path, cell.call, cell.coroutines)
                cell.coroutines = True

    async def _turn(
        self, path: str, call: Callable[[Any], Any], coroutines: bool, body: Any
    ) -> Any:
        turn = self._turns[path] = self._turns.get(path, 0) + 1
        crash = cancel = None
        for number, fault in self._faults:
            if (fault.path, number) != (path, turn):
                continue
            if isinstance(fault, HandlerCrashes):
                crash = fault
            elif isinstance(fault, HandlerCancelled):
                cancel = fault
            else:
                seconds = fault.seconds if isinstance(fault, HandlerSlow) else math.inf
                self._fire(fault)
                self._note(f"handler {path} turn {turn} waits {seconds:g} s")
                await trio.sleep(seconds)
        if crash is not None and crash.resume == 0:
            self._crash(turn, crash)
        value = call(body)
        if not coroutines:
            return value
        if crash is not None:
            value = _crashing(value, crash.resume, functools.partial(self._crash, turn, crash))
        if cancel is not None:
            tell = functools.partial(self._tell_cut_off, turn, cancel)
            return await _cut_off(value, cancel.wait, tell)
        return await value

    def _crash(self, turn: int, fault: HandlerCrashes) -> None:
        self._fire(fault)
        self._note(f"handler {fault.path} turn {turn} crashes")
        raise HandlerCrash(f"{fault.path}, turn {turn}")

    def _tell_cut_off(self, turn: int, fault: HandlerCancelled) -> None:
        self._fire(fault)
        self._note(f"handler {fault.path} turn {turn} is cancelled")


@types.coroutine
def _crashing(
    coroutine: Coroutine[Any, Any, Any], resume: int, crash: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Run *coroutine*, into which *crash* is thrown when it goes on after its *resume*-th wait."""
    waits = 0
    step: Any = coroutine.send
    value: Any = None
    while True:
        try:
            trap = step(value)
        except StopIteration as stop:
            return stop.value
        own = _is_own(coroutine)
        waits += own
        try:
            value = yield trap
            step = coroutine.send
            if own and waits == resume:
                crash()
        except BaseException as error:
            step, value = coroutine.throw, error


async def _cut_off(awaitable: Any, wait: int, tell: Callable[[], None]) -> Any:
    """Run *awaitable* in a scope that fires at its *wait*-th wait; what then comes out is let out
    past that scope, so that a `Cancelled` is a stray."""
    with trio.CancelScope() as scope:
        try:
            return await _firing(awaitable, wait, scope, tell)
        except BaseException as error:
            raised = error
    try:
        raise raised
    finally:
        del raised


@types.coroutine
def _firing(
    coroutine: Any, wait: int, scope: trio.CancelScope, tell: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Run *coroutine*, and cancel *scope* at its *wait*-th wait."""
    waits = 0
    step: Any = coroutine.send
    value: Any = None
    while True:
        try:
            trap = step(value)
        except StopIteration as stop:
            return stop.value
        waits += 1
        if waits == wait:
            tell()
            scope.cancel()
        try:
            value = yield trap
            step = coroutine.send
        except BaseException as error:
            step, value = coroutine.throw, error


def _is_own(waiting: Any) -> bool:
    """Whether what *waiting* waits for is awaited by code of the handler's own, and may raise."""
    own = False
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is None:
            return True  # An asynchronous generator or an `__await__`, into which nobody sees.
        if isinstance(frame.f_locals.get("self"), HAND_OVER):
            return False
        own = own or not _is_ours(frame.f_globals.get("__name__", ""))
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return own


def _is_ours(module: str) -> bool:
    """Whether *module* is the runtime or what it runs on; the laboratory stands for handlers."""
    house = module.startswith("actorflow.") and not module.startswith("actorflow.testing.")
    return house or module == __name__ or module.partition(".")[0] in ("trio", "outcome")
