"""Stages that pass a `Context`: what they may read and write, and what becomes of what they return.

    Context in ──► input schema ──► handler, which sees its `reads` ──► patch, Context or Send
                                                                          │
    Context on ◄── output schema ◄── its `writes`, and no others ◄────────┘

A mapping that comes in becomes a Context. A generator gives chunks: they are streamed while
it runs, and together they are one value of the Context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from actorflow.core.context import Context
from actorflow.core.schemas import validate
from actorflow.errors import ConfigurationError, MissingKey, UndeclaredKey
from actorflow.graph.nodes import UNCHANGED, Send
from actorflow.graph.stage import Stage
from actorflow.runtime.cell import Cell
from actorflow.runtime.effects import Addressed

__all__ = ["checked", "chunks_key", "context_in", "context_out", "contextual", "given_context"]


Call = Callable[[Any, Any], Any]


def contextual(stage: Stage[Any, Any], call: Call, cell: Cell) -> Call:
    """*call*, which takes a value and a turn, for a *stage* that works on a `Context`; what *cell*
    calls, with a turn if *call* needs one."""
    sees_all = stage.reads is None and stage.input_schema is None

    async def on_context(body: Any, turn: Any = None) -> Any:
        before = body if type(body) is Context else context_in(stage, body)
        view = before.fork(stage.name) if sees_all else _view(stage, before)
        try:
            value = await call(view, turn)
        except MissingKey as error:
            if error.key in before and type(error.key) is str:
                raise UndeclaredKey(stage.name, "reads", error.key, stage.reads or ()) from error
            raise
        if cell.turn is not None and (effects := cell.turn.effects) is not None:
            made = partial(context_out, stage, before, view)
            effects.emits = [_addressed(each, made) for each in effects.emits]
            if effects.skipped:
                return value
        after = context_out(stage, before, view, value)
        if type(after) is Send and not getattr(cell.target, "routed", False):
            wanted = "a patch, as no Route or dict of routes follows that a Send could name"
            raise ConfigurationError(f"what stage {stage.name!r} returns", value, wanted)
        return after

    return on_context


def given_context(stage: Stage[Any, Any], call: Call) -> Call:
    """*call* with a Context also for what was fed as a mapping, so that what stands around the
    handlers gets one at every stage."""

    async def with_context(body: Any, turn: Any) -> Any:
        return await call(context_in(stage, body), turn)

    return with_context


def checked(stage: Stage[Any, Any], call: Call) -> Call:
    """*call* with the schemas of a *stage* that works on plain mappings."""

    async def with_schemas(body: Any, turn: Any) -> Any:
        body = _checked(stage, stage.input_schema, body, "input")
        value = await call(body, turn)
        if (effects := turn.effects) is not None:
            made = partial(checked_output, stage)
            effects.emits = [_addressed(each, made) for each in effects.emits]
        return value if turn.skips else checked_output(stage, value)

    return with_schemas


def checked_output(stage: Stage[Any, Any], value: Any) -> Any:
    """*value*, which *stage* gives, as its output schema has it.

    Raises:
        SchemaError: It does not fit.
        ConfigurationError: It is no mapping.
    """
    return _checked(stage, stage.output_schema, value, "output")


def _checked(stage: Stage[Any, Any], schema: Any, value: Any, side: str) -> Any:
    if schema is None:
        return value
    if not isinstance(value, Mapping):
        option = f"what stage {stage.name!r} {'gets' if side == 'input' else 'returns'}"
        raise ConfigurationError(option, value, f"a mapping, as {side}_schema looks at one")
    changes = validate(schema, value, where=stage.name, side=side)
    return {**value, **changes} if changes else value


def _addressed(value: Any, made: Callable[[Any], Any]) -> Any:
    """What `ctx.emit` sends on: *made* of it as if it had been returned."""
    return Addressed(value.to, made(value.value)) if type(value) is Addressed else made(value)


def context_in(stage: Stage[Any, Any], body: Any) -> Context:
    """*body* as the Context that *stage* gets.

    Raises:
        ConfigurationError: It is no mapping.
    """
    if type(body) is Context:
        return body
    if isinstance(body, Mapping):
        return Context(body)
    wanted = "a mapping or a Context, as the stage works on one"
    raise ConfigurationError(f"what stage {stage.name!r} gets", body, wanted)


def _view(stage: Stage[Any, Any], before: Context) -> Context:
    """What the handler sees of *before*: what it reads, as its input schema makes it.

    Raises:
        SchemaError: It is not what the stage wants.
    """
    view = before if stage.reads is None else before.only((*stage.reads, *(stage.writes or ())))
    if stage.input_schema is not None:
        changes = validate(stage.input_schema, before, where=stage.name)
        view = view.update(changes) if changes else view
    return view.fork(stage.name)  # What it writes from now on is the handler's.


def context_out(stage: Stage[Any, Any], before: Context, view: Context, value: Any) -> Any:
    """What goes on when the handler of *stage*, which saw *view* of *before*, returned *value*.

    Raises:
        ConfigurationError: It is neither a Context, a mapping nor a `Send`.
        UndeclaredKey: It writes what the stage does not say it writes.
        SchemaError: It is not what the stage promises.
    """
    if type(value) is not Context or value.name != view.name:
        if type(value) is Send:
            patch: Any = {} if value.patch is UNCHANGED else value.patch
            return Send(value.route, context_out(stage, before, view, patch))
        if not isinstance(value, Mapping):
            wanted = "a Context, a mapping with what is new, or Send"
            raise ConfigurationError(f"what stage {stage.name!r} returns", value, wanted)
        value = view.update(value)  # A mapping, or a Context that was made afresh.
    if stage.writes is not None and (more := value.written.difference(stage.writes)):
        raise UndeclaredKey(stage.name, "writes", min(more), stage.writes)
    after = before.merge([value])
    if stage.output_schema is not None:
        changes = validate(stage.output_schema, after, where=stage.name, side="output")
        after = after.update(changes) if changes else after
    return after


def chunks_key(stage: Stage[Any, Any]) -> str | None:
    """Where the chunks of a generator end up: under the one key that it writes; under one named
    after the stage if it does not say; nowhere if it writes nothing."""
    if stage.writes is None:
        return f"{stage.name}_chunks"
    return stage.writes[0] if stage.writes else None
