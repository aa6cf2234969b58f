"""Middleware that comes with the house, and how to write one's own.

    async def m(call, value, ctx):
        ...                          before, in each attempt
        result = await call(value)   the next one, in the end the handler
        ...                          after; what it raises is the handler's error
        return result

    Pipeline([...], middleware=[outermost, innermost])

Around a generator `call` gives the stream and not yet its values: what it gives may be
wrapped in another stream.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio

from actorflow.runtime.turn import Turn

__all__ = ["Logging", "Middleware", "Timing"]

Middleware: TypeAlias = Callable[[Callable[[Any], Awaitable[Any]], Any, Turn], Any]
"""What may stand in ``Pipeline(middleware=[...])``."""


class Logging:
    """Log each attempt: when it begins, and how it ended.

    Args:
        logger: Where to; ``actorflow.stages`` by default.
        level: Level of all but failures, which are warnings.
        values: Whether to log the values too.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        level: int = logging.INFO,
        values: bool = False,
    ) -> None:
        self._logger = logger or logging.getLogger("actorflow.stages")
        self._level = level
        self._values = values

    async def __call__(self, call: Callable[[Any], Awaitable[Any]], value: Any, ctx: Turn) -> Any:
        about = f"{ctx.stage}: message {ctx.message_id}, attempt {ctx.attempt}"
        given = f": {value!r:.200}" if self._values else ""
        self._logger.log(self._level, "%s begins%s", about, given)
        try:
            result = await call(value)
        except Exception as error:
            self._logger.warning("%s failed: %r", about, error)
            raise
        given = f": {result!r:.200}" if self._values else ""
        self._logger.log(self._level, "%s is done%s", about, given)
        return result


class Timing:
    """Note in ``ctx.metadata`` how long the handlers of an item took.

    That is ``{"timings": {stage: [seconds, ...]}}``, one number for each time the item was in
    the stage. As all metadata, what a failed attempt notes is gone with it.

    Args:
        key: Where in the metadata.
    """

    def __init__(self, key: str = "timings") -> None:
        self._key = key

    async def __call__(self, call: Callable[[Any], Awaitable[Any]], value: Any, ctx: Turn) -> Any:
        began = trio.current_time()
        result = await call(value)
        timings = dict(ctx.metadata.get(self._key) or {})
        timings[ctx.stage] = [*timings.get(ctx.stage, ()), trio.current_time() - began]
        ctx.metadata[self._key] = timings
        return result
