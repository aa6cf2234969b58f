"""What stands around a handler, from the outside in.

    hooks ──► skip_if ──► cache ──► middleware ──► handler

All of it is inside the turn, so each attempt passes it and the timeout covers it. A stage
that uses none of these has its handler called as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.runtime.turn import Turn

__all__ = ["Around", "check_middleware", "unless", "within"]

#: A call of a handler with its value and its turn.
Around: TypeAlias = Callable[[Any, Turn], Awaitable[Any]]


def check_middleware(option: str, middleware: Any) -> tuple[Any, ...]:
    """*middleware* as a tuple, if it is a list of functions."""
    if isinstance(middleware, (str, bytes)) or not isinstance(middleware, Sequence):
        raise ConfigurationError(option, middleware, "a list of async functions")
    for index, each in enumerate(middleware):
        if isinstance(each, type) or not callable(each):
            wanted = "an async function of (call, value, ctx)"
            raise ConfigurationError(f"{option}[{index}]", each, wanted)
        options.function(f"{option}[{index}]", each, "call", "value", "ctx")
    return tuple(middleware)


def within(middleware: Sequence[Any], call: Around) -> Around:
    """*call* with *middleware* around it, the first of it outermost."""
    for each in reversed(middleware):
        call = _around(each, call)
    return call


def _around(middleware: Any, call: Around) -> Around:
    async def passed(body: Any, turn: Turn) -> Any:
        async def go_on(value: Any) -> Any:
            return await call(value, turn)

        result = middleware(go_on, body, turn)
        return await result if inspect.isawaitable(result) else result

    return passed


def unless(skip_if: Callable[..., Any], call: Around) -> Around:
    """*call*, but skipping the values for which *skip_if* is true."""

    async def guarded(body: Any, turn: Turn) -> Any:
        skipped = skip_if(body)
        if inspect.isawaitable(skipped):
            skipped = await skipped
        if skipped:
            turn.skip()
            return None
        return await call(body, turn)

    return guarded
