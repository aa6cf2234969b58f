"""Turn a declared handler into what a worker calls: ``call(body)`` or ``call(body, turn)``.

The plain coroutine function is called as it is. Every other kind (threads, worker
processes, generators, `unpack`, `skip_if`) is wrapped in a coroutine of ours, once,
when the worker starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import trio

from actorflow.errors import MailboxFull
from actorflow.graph.stage import Stage
from actorflow.runtime.cell import Cell
from actorflow.runtime.commit import commit_emission
from actorflow.runtime.offload import in_process, in_thread
from actorflow.runtime.settle import choose, make_room, rooms_ahead, unwritable
from actorflow.runtime.turn import Turn
from actorflow.stages.remote import address_of, pack, perform, result_of, spread_over

__all__ = ["Call", "call_for"]

#: Emissions of one generator between two checkpoints.
EMITS_PER_CHECKPOINT = 64

_END: Any = object()


@attrs.frozen
class Call:
    """How a worker runs its handler.

    Attributes:
        call: The callable.
        wants_turn: Whether it takes the `Turn` as its second argument.
        coroutines: Whether it gives a coroutine; else it gives the value.
    """

    call: Callable[..., Any]
    wants_turn: bool
    coroutines: bool


def call_for(stage: Stage[Any, Any], cell: Cell) -> Call:
    """The call of *stage*'s handler by the worker *cell*."""
    fn, needs_turn = _plain_call(stage)
    if stage.kind == "coroutine":
        call = Call(fn, needs_turn, True)
    elif stage.kind == "function" and stage.runs_in == "loop":
        call = Call(fn, needs_turn, False)
    elif stage.kind == "function":
        call = Call(_offloaded(stage, fn, needs_turn, cell), True, True)
    else:
        call = Call(_generated(stage, fn, needs_turn, cell), True, True)
    return call if stage.skip_if is None else Call(_unless(stage.skip_if, call), True, True)


def _plain_call(stage: Stage[Any, Any]) -> tuple[Callable[..., Any], bool]:
    """The handler as ``fn(body)`` or ``fn(body, turn)``, and whether it takes the turn."""
    fn, name = stage.fn, stage.ctx_parameter
    if stage.unpack:
        return (
            (lambda body: spread_over(fn, body, {}), False)
            if name is None
            else (lambda body, turn: spread_over(fn, body, {name: turn}), True)
        )
    if name is None:
        return fn, False
    parameters = list(inspect.signature(fn).parameters.values())
    second = parameters[1] if len(parameters) > 1 else None
    if second and second.name == name and second.kind is second.POSITIONAL_OR_KEYWORD:
        return fn, True
    return (lambda body, turn: fn(body, **{name: turn})), True


def _offloaded(
    stage: Stage[Any, Any], fn: Callable[..., Any], needs_turn: bool, cell: Cell
) -> Callable[..., Any]:
    if stage.runs_in == "process":
        return _remote(stage, cell, "spread" if stage.unpack else "value")

    async def thread(body: Any, turn: Turn) -> Any:
        return await in_thread(cell, _plainly, fn, *((body, turn) if needs_turn else (body,)))

    return thread


def _plainly(fn: Callable[..., Any], *args: Any) -> Any:
    value = fn(*args)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{fn!r} gave a coroutine; write `async def`, or await it")
    return value


def _remote(stage: Stage[Any, Any], cell: Cell, how: str) -> Callable[..., Any]:
    """A call of the handler in a worker process; see `remote.perform` for *how*."""
    address = address_of(stage.fn)

    async def process(body: Any, turn: Turn) -> Any:
        return result_of(await in_process(cell, perform, address, how, pack(body)))

    return process


def _generated(
    stage: Stage[Any, Any], fn: Callable[..., Any], needs_turn: bool, cell: Cell
) -> Callable[..., Any]:
    exhaust = None  # In a process a generator cannot be taken piece by piece.
    if stage.runs_in == "process":
        exhaust = _remote(stage, cell, "spread values" if stage.unpack else "values")

    async def generate(body: Any, turn: Turn) -> None:
        args = (body, turn) if needs_turn else (body,)
        close = None
        if exhaust is not None:
            advance = _advance_list(await exhaust(body, turn))
        elif stage.kind == "async_generator":
            stream = fn(*args)
            advance, close = _advance_async(stream), stream.aclose
        else:
            advance = _advance_sync(stage, cell, fn(*args))
        try:
            await _emit_all(stage, cell, turn, advance)
        finally:
            if close is not None:
                await close()
        turn.skip()  # What it had to give has been given.

    return generate


async def _emit_all(
    stage: Stage[Any, Any], cell: Cell, turn: Turn, advance: Callable[[], Awaitable[Any]]
) -> None:
    """Send each value on in a small commit of its own; a re-run drops what was sent before."""
    assert cell.lease is not None
    already, count = cell.lease.emitted, 0
    while (value := await advance()) is not _END:
        count += 1
        if count <= already:
            continue
        if stage.atomic:
            turn.emit(value)
            continue
        await _emit(cell, value)
        if not count % EMITS_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()


async def _emit(cell: Cell, value: Any) -> None:
    """One emission. The time that it waits for room is not the handler's."""
    target: Any = cell.target
    error: Exception | None = unwritable(cell)
    if error is None and target.forked:
        error = choose(cell, [value])
    if error is not None:
        raise error
    rooms = rooms_ahead(cell)
    for each in rooms:
        if each.overflow == "fail" and each.free() <= 0:
            raise MailboxFull(each.path, each.capacity)
    if not all(each.has_room() for each in rooms):
        began, ends_at = cell.kernel.now(), cell.ends_at
        cell.ends_at = float("inf")
        await make_room(cell, rooms)
        journal = cell.mailbox.journal
        if journal is not None and journal.careful is not None:
            await journal.careful.again(cell.lease, cell.mailbox)
        if ends_at != float("inf"):
            cell.ends_at = ends_at + cell.kernel.now() - began
            cell.look_at_the_time()
    try:
        commit_emission(cell, value)
    except BaseException as error:  # No fault of the handler, whose turn this still is.
        ledger: Any = cell.mailbox.ledger
        ledger.halt(error)
        raise


def _advance_list(values: list[Any]) -> Callable[[], Awaitable[Any]]:
    waiting = iter(values)

    async def advance() -> Any:
        return next(waiting, _END)

    return advance


def _advance_async(stream: Any) -> Callable[[], Awaitable[Any]]:
    async def advance() -> Any:
        return await anext(stream, _END)

    return advance


def _advance_sync(
    stage: Stage[Any, Any], cell: Cell, iterator: Iterator[Any]
) -> Callable[[], Awaitable[Any]]:
    if stage.runs_in == "loop":

        async def in_loop() -> Any:
            return next(iterator, _END)

        return in_loop

    async def step() -> Any:
        return await in_thread(cell, next, iterator, _END)

    return step


def _unless(skip_if: Callable[..., Any], call: Call) -> Callable[..., Any]:
    """*call*, but skipping the values for which *skip_if* is true."""

    async def guarded(body: Any, turn: Turn) -> Any:
        skipped = skip_if(body)
        if inspect.isawaitable(skipped):
            skipped = await skipped
        if skipped:
            turn.skip()
            return None
        value = call.call(body, turn) if call.wants_turn else call.call(body)
        return await value if call.coroutines else value

    return guarded
