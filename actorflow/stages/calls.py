"""Turn a declared handler into what a worker calls: ``call(body)`` or ``call(body, turn)``.

The plain coroutine function is called as it is. Every other kind (threads, worker
processes, generators, `unpack`, steps), and all that may stand around a handler, is
wrapped in a coroutine of ours, once, when the worker starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from actorflow.core.letters import Failed
from actorflow.errors import MailboxFull
from actorflow.graph.handler import Handler
from actorflow.graph.joining import is_wiring
from actorflow.graph.stage import Stage
from actorflow.runtime.bodies import as_sent
from actorflow.runtime.cell import Cell
from actorflow.runtime.commit import commit_emission
from actorflow.runtime.effects import MAX_EMITS
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.offload import in_process, in_thread
from actorflow.runtime.pieces import commit_failed_piece
from actorflow.runtime.settle import choose, make_room, rooms_ahead, unwritable
from actorflow.runtime.turn import Turn
from actorflow.stages.around import Around, unless, within
from actorflow.stages.contextual import (
    checked,
    checked_output,
    chunks_key,
    contextual,
    given_context,
)
from actorflow.stages.hooks import is_hooked, with_hooks
from actorflow.stages.remote import address_of, pack, perform, result_of, spread_over, unpacked
from actorflow.stages.steps import StepsCall

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
    """The call of *stage*'s handler by the worker *cell*, with all that stands around it."""
    call = _handler_call(stage, cell)
    if stage.contextual:
        call = Call(contextual(stage, _awaited(call), cell), call.wants_turn, True)
    elif stage.input_schema is not None or stage.output_schema is not None:
        call = _turned(checked(stage, _awaited(call)))
    inner = call
    if is_wiring(stage):
        return call
    if "generator" not in stage.kind and cell.kernel.middleware:
        call = _turned(within(cell.kernel.middleware, _awaited(call)))
    memory = getattr(cell.parent, "memory", None)
    if memory is not None:
        call = _turned(memory.around(cell, _awaited(call)))
    if stage.skip_if is not None:
        call = _turned(unless(stage.skip_if, _awaited(call)))
    if is_hooked(stage, cell.kernel):
        call = _turned(with_hooks(stage, cell, _awaited(call)))
    if stage.contextual and call.call is not inner.call:
        call = _turned(given_context(stage, _awaited(call)))
    return call


def _turned(around: Around) -> Call:
    return Call(around, True, True)


def _awaited(call: Call) -> Around:
    """*call* as a coroutine function of a value and a turn."""
    fn = call.call
    if call.coroutines:
        return fn if call.wants_turn else lambda body, _: fn(body)

    async def at_once(body: Any, turn: Turn) -> Any:
        return fn(body, turn) if call.wants_turn else fn(body)

    return at_once


def _handler_call(stage: Stage[Any, Any], cell: Cell) -> Call:
    """The call of the handler itself."""
    place = stage.runs_in
    if stage.steps:
        steps = [
            _awaited(_call_of(each.fn, each.handler, place, stage.unpack and not index, cell))
            for index, each in enumerate(stage.steps)
        ]
        return _turned(StepsCall(stage, cell, steps, cell.parent.sections.steps))  # type: ignore[attr-defined]
    handler = Handler(stage.kind, stage.ctx_parameter)
    if "generator" in stage.kind:
        return _turned(_generated(stage, handler, cell))
    return _call_of(stage.fn, handler, place, stage.unpack, cell)


def _call_of(
    fn: Callable[..., Any], handler: Handler, place: str, unpack: bool, cell: Cell
) -> Call:
    """The call of a function that gives one value."""
    plain, needs_turn = _plain_call(fn, handler.ctx_parameter, unpack)
    if handler.kind == "coroutine":
        return Call(plain, needs_turn, True)
    if place == "loop":
        return Call(plain, needs_turn, False)
    if place == "process":
        return _turned(_remote(fn, cell, "spread" if unpack else "value"))

    async def thread(body: Any, turn: Turn) -> Any:
        return await in_thread(cell, _plainly, plain, *((body, turn) if needs_turn else (body,)))

    return _turned(thread)


def _plain_call(
    fn: Callable[..., Any], name: str | None, unpack: bool
) -> tuple[Callable[..., Any], bool]:
    """*fn* as ``fn(body)`` or ``fn(body, turn)``, and whether it takes the turn, as *name*."""
    if unpack:
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


def _plainly(fn: Callable[..., Any], *args: Any) -> Any:
    value = fn(*args)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{fn!r} gave a coroutine; write `async def`, or await it")
    return value


def _remote(fn: Callable[..., Any], cell: Cell, how: str) -> Callable[..., Any]:
    """A call of *fn* in a worker process; see `remote.perform` for *how*."""
    address = address_of(fn)

    async def process(body: Any, turn: Turn) -> Any:
        return result_of(await in_process(cell, perform, address, how, pack(body)))

    return process


def _generated(stage: Stage[Any, Any], handler: Handler, cell: Cell) -> Around:
    """The call of a generator; middleware is around what makes its stream."""
    stream_of = _stream_of(stage, handler, cell)
    if cell.kernel.middleware:
        stream_of = within(cell.kernel.middleware, stream_of)

    async def generate(body: Any, turn: Turn) -> Any:
        stream = await stream_of(body, turn)
        turn.resumes = None if stage.contextual else False  # Only what it reads itself counts.
        try:
            if stage.contextual:
                return await _hand_out_all(stage, cell, turn, _advance(stage, cell, stream))
            await _emit_all(stage, cell, turn, _advance(stage, cell, stream))
        finally:
            if inspect.isasyncgen(stream):
                await stream.aclose()
        turn.skip()  # What it had to give has been given.
        assert turn.effects is not None
        assert cell.lease is not None
        turn.effects.given = cell.lease.emitted
        return None

    return generate


def _stream_of(stage: Stage[Any, Any], handler: Handler, cell: Cell) -> Around:
    if stage.runs_in == "process":  # There a generator cannot be taken piece by piece.
        remote = _remote(stage.fn, cell, "spread values" if stage.unpack else "values")

        async def values(body: Any, turn: Turn) -> Any:
            return unpacked(await remote(body, turn))

        return values
    plain, needs_turn = _plain_call(stage.fn, handler.ctx_parameter, stage.unpack)

    async def make(body: Any, turn: Turn) -> Any:
        return plain(body, turn) if needs_turn else plain(body)

    return make


async def _emit_all(
    stage: Stage[Any, Any], cell: Cell, turn: Turn, advance: Callable[[], Awaitable[Any]]
) -> None:
    """Send each value on in a small commit of its own; a re-run drops what was sent before."""
    assert cell.lease is not None
    already, count = cell.lease.emitted, 0
    while (value := await advance()) is not _END and not turn.skips:
        if not count and turn.resumes:
            count = already  # It goes on behind them by itself.
        count += 1
        if count <= already:
            continue
        if stage.output_schema is not None and not stage.atomic and type(value) is not Failed:
            value = checked_output(stage, value)
        if stage.atomic:
            if type(value) is Failed:
                turn.note(commit_failed_piece, value.error, MAX_EMITS + count)
            else:
                turn.emit(value)
            continue
        await _emit(cell, value)
        if not count % EMITS_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()


async def _hand_out_all(
    stage: Stage[Any, Any], cell: Cell, turn: Turn, advance: Callable[[], Awaitable[Any]]
) -> dict[str, Any]:
    """Give each value to whoever takes chunks, and all of them to the Context; a re-run hands
    out only what was not yet."""
    assert cell.lease is not None
    ledger: Any = cell.mailbox.ledger
    already, count, key = cell.lease.emitted, 0, chunks_key(stage)
    values: list[Any] = []
    while (value := await advance()) is not _END and not turn.skips:
        count += 1
        if type(value) is Failed:
            if count > already:
                _note_emitted(cell, count)
                commit_failed_piece(cell, value.error, MAX_EMITS + count)
            continue
        if key is not None:
            values.append(as_sent(cell, value))
        if ledger.chunks is not None and count > already:
            await _wait_for_room(cell, [ledger.chunks])
            _note_emitted(cell, count)
            ledger.chunk(cell.lease, stage.name, as_sent(cell, value))
        if not count % EMITS_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()
    return {} if key is None else {key: values}


def _note_emitted(cell: Cell, count: int) -> None:
    assert cell.lease is not None
    cell.lease.emitted = count
    if cell.mailbox.journal is not None:
        cell.mailbox.journal.note(cell.lease, cell.mailbox)


async def _emit(cell: Cell, value: Any) -> None:
    """One emission."""
    target: Any = cell.target
    if type(value) is Failed:
        commit_failed_piece(cell, value.error)
        return
    error: BaseException | None = unwritable(cell)
    if error is None and target.forked:
        error = choose(cell, [value])
    if error is not None:
        raise error
    rooms = rooms_ahead(cell)
    for each in rooms:
        if each.overflow == "fail" and each.free() <= 0:
            raise MailboxFull(each.path, each.capacity)
    await _wait_for_room(cell, rooms)
    try:
        commit_emission(cell, value)
    except BaseException as error:  # No fault of the handler, whose turn this still is.
        ledger: Any = cell.mailbox.ledger
        ledger.halt(error)
        raise


async def _wait_for_room(cell: Cell, rooms: list[Mailbox]) -> None:
    """Wait until each of *rooms* has room. The time that this takes is not the handler's."""
    if all(each.has_room() for each in rooms):
        return
    if cell.timeout is not None and cell.ends_at == float("inf"):
        await trio.lowlevel.checkpoint()  # The first wait of a turn notes when it must end.
    began, ends_at = cell.kernel.now(), cell.ends_at
    cell.ends_at = float("inf")
    await make_room(cell, rooms)
    assert cell.lease is not None
    deadline = cell.lease.deadline
    if deadline is not None and cell.kernel.now() >= deadline:  # It ends here, as by a timeout.
        for each in rooms:
            each.room_made()
        cell.ends_at = cell.kernel.now()
        cell.look_at_the_time()
        await trio.sleep_forever()
    journal = cell.mailbox.journal
    if journal is not None and journal.careful is not None:
        await journal.careful.again(cell.lease)
    if ends_at != float("inf"):
        later = ends_at + cell.kernel.now() - began
        cell.ends_at = later if deadline is None else min(later, deadline)
        cell.look_at_the_time()


def _advance(stage: Stage[Any, Any], cell: Cell, stream: Any) -> Callable[[], Awaitable[Any]]:
    """What gives the next value of *stream*, or `_END`."""
    if hasattr(stream, "__aiter__"):
        values = aiter(stream)

        async def later() -> Any:
            return await anext(values, _END)

        return later
    waiting = iter(stream)

    async def here() -> Any:
        return next(waiting, _END)

    async def in_a_thread() -> Any:
        return await in_thread(cell, next, waiting, _END)

    return in_a_thread if stage.runs_in == "thread" else here
