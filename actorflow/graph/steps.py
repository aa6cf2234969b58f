"""Several functions as one stage, each given what the one before it returned.

    Steps(fetch, parse, save, limits={"fetch": 2})

    value ──► fetch ──► parse ──► save ──► the next stage        one worker, one message

A stage of its own for each function gives more: mailboxes between them, workers of
their own. Steps are for what belongs together and is too small for that.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Literal

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.graph.handler import (
    Handler,
    function_name,
    inspect_handler,
    require_importable,
    wanted_of,
)

__all__ = ["Step", "Steps"]


@attrs.frozen
class Step:
    """One function of a stage.

    Attributes:
        name: Name of the function.
        fn: The function.
        handler: How it is called.
    """

    name: str
    fn: Callable[..., Any]
    handler: Handler


class Steps:
    """Functions that a stage runs one after the other, each on the value of the one before.

    Args:
        *functions: Coroutine functions and plain functions; plain ones run where the stage says,
            in a thread by default. Each gets the `Turn` if it asks for it. Their names are
            different. One that calls ``ctx.skip()`` is the last to run.
        limits: How many workers of the stage may be inside a step at a time, by its name; others
            wait in the order they came.
        retry: What is tried again when a step fails, under the stage's `Retry`. ``"step"``: that
            step, on the value it had got; attempts count for each step, and after a restart
            from a checkpoint the message goes on there too. ``"stage"``: all steps, on the
            value as it came in.

    Raises:
        ConfigurationError: A function cannot be a step, two have one name, or an option is wrong.
    """

    def __init__(
        self,
        *functions: Callable[..., Any],
        limits: Mapping[str, int] | None = None,
        retry: Literal["step", "stage"] = "step",
    ) -> None:
        if not functions:
            raise ConfigurationError("Steps()", functions, "given at least one function")
        names: list[str] = []
        for position, fn in enumerate(functions):
            place = f"Steps()[{position}]"
            name = _name_of(place, fn)
            if name in names:
                wanted = "a function with a name of its own (define one that calls it)"
                raise ConfigurationError(place, name, wanted)
            names.append(name)
        self.functions = functions
        self.names = tuple(names)
        self.limits = options.counts("Steps.limits", limits)
        options.known_names("Steps.limits", self.limits, self.names)
        self.retry = options.choice("Steps.retry", retry, ("step", "stage"))
        self.__name__ = "+".join(names)

    def inspect(self, place: str, *, unpack: bool) -> tuple[Step, ...]:
        """The steps, as the stage called *place* calls them; *unpack* is about the first.

        Raises:
            ConfigurationError: One of them cannot be called so, or gives many values.
        """
        found: list[Step] = []
        for name, fn in zip(self.names, self.functions, strict=True):
            own = f"{place} step {name!r}"
            handler = inspect_handler(own, fn, unpack=unpack and not found)
            if handler.kind in ("generator", "async_generator"):
                wanted = "a function that gives one value; a generator is a stage of its own"
                raise ConfigurationError(own, fn, wanted)
            found.append(Step(name, fn, handler))
        return tuple(found)

    def __call__(self, value: Any, ctx: Any = None) -> Coroutine[Any, Any, Any]:
        """Run the steps right here, for tests: no threads, no limits, no retries."""
        return _walk(self.inspect("Steps()", unpack=False), value, ctx)

    def __repr__(self) -> str:
        return f"<Steps {self.__name__}>"


def check_processes(place: str, steps: tuple[Step, ...]) -> None:
    """Raise unless each plain one of *steps* can run in a worker process.

    Raises:
        ConfigurationError: One is not found by its name there, or asks for the `Turn`.
    """
    for step in steps:
        if step.handler.kind == "coroutine":
            continue
        own = f"{place} step {step.name!r}"
        require_importable(own, step.fn)
        if step.handler.ctx_parameter is not None:
            wanted = (
                "'loop' or 'thread', as a Turn cannot go to another process "
                f"(parameter {step.handler.ctx_parameter!r})"
            )
            raise ConfigurationError(f"{own}.runs_in", "process", wanted)


@types.coroutine
def _walk(steps: tuple[Step, ...], value: Any, ctx: Any) -> Generator[Any, Any, Any]:
    for step in steps:
        name = step.handler.ctx_parameter
        value = step.fn(value, **({} if name is None else {name: ctx}))
        if inspect.isawaitable(value):
            value = yield from value.__await__()
    return value


def _name_of(place: str, fn: Any) -> str:
    wanted = wanted_of(fn, "a function")
    if wanted is None and hasattr(fn, "ctx_parameter"):
        wanted = f"a function, as the options of a stage would be lost; write {fn.name}.fn"
    if wanted:
        raise ConfigurationError(place, fn, wanted)
    return function_name(fn)
