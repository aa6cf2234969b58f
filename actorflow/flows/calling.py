"""What is called, and where: the message of an `Executor` and the handler of its one stage.

coroutine function     in the event loop
plain function         in a thread; in a worker process, or in the loop, if the executor
                       says so
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from actorflow.errors import ConfigurationError
from actorflow.graph.handler import function_name, kind_of, require_importable, wanted_of
from actorflow.graph.stage import Stage
from actorflow.runtime.turn import Turn
from actorflow.stages import remote

__all__ = ["Call", "Callee", "RunsIn", "callee", "perform"]

RunsIn: TypeAlias = Literal["loop", "thread", "process"]


@attrs.frozen(eq=False)
class Callee:
    """A function, and where it runs.

    Attributes:
        fn: The function.
        place: ``"coroutine"`` is the loop, of a function that must be awaited.
        address: Where a worker process finds it.
    """

    fn: Callable[..., Any]
    place: Literal["coroutine", "loop", "thread", "process"]
    address: bytes = b""


@attrs.frozen(eq=False, repr=False)
class Call:
    """A function with its arguments: what an executor has in its queue, and what the `key=` of
    one of its policies is given."""

    callee: Callee
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def fn(self) -> Callable[..., Any]:
        """The function."""
        return self.callee.fn

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={each!r}" for name, each in self.kwargs.items())]
        return f"{function_name(self.fn)}({', '.join(given)})"


def callee(verb: str, fn: Any, runs_in: RunsIn) -> Callee:
    """*fn* as something to call.

    Args:
        verb: What the caller has called; it opens the errors.
        fn: A coroutine function, a plain function, a partial, a callable object.
        runs_in: Where plain functions run.

    Raises:
        ConfigurationError: It cannot be called, is a generator, or no worker process finds it.
    """
    if isinstance(fn, Stage):
        fn = fn.fn
    wanted = wanted_of(fn, f"a function and its arguments, such as {verb[:-1]}fetch, url)")
    if wanted:
        raise ConfigurationError(verb, fn, wanted)
    kind = kind_of(fn)
    if kind == "coroutine":
        return Callee(fn, "coroutine")
    if kind != "function":
        wanted = "a function that gives one value; a generator makes a stage of a flow"
        raise ConfigurationError(verb, fn, wanted)
    if runs_in != "process":
        return Callee(fn, runs_in)
    require_importable("Executor", fn)
    return Callee(fn, runs_in, remote.address_of(fn))


async def perform(call: Call, ctx: Turn) -> Any:
    """Do what *call* says."""
    called = call.callee
    if called.place == "coroutine":
        return await called.fn(*call.args, **call.kwargs)
    if called.place == "thread":
        return await ctx.to_thread(_plainly, call)
    if called.place == "process":
        load = remote.pack((call.args, call.kwargs))
        return remote.result_of(await ctx.to_process(remote.perform, called.address, "call", load))
    value = called.fn(*call.args, **call.kwargs)
    return await value if inspect.isawaitable(value) else value


def _plainly(call: Call) -> Any:
    value = call.callee.fn(*call.args, **call.kwargs)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{call.callee.fn!r} gave a coroutine; write `async def`, or await it")
    return value
