"""The declaration of a stage: a function, its options, and how it is called.

    @stage(workers=8, timeout=10)
    async def fetch(url: str, ctx: Turn) -> Page: ...

A declaration is a value. It runs nothing and stays callable as the plain function,
so ``await fetch("http://...")`` in a test is the function and no more. All options
are checked here, so that a run never meets a wrong one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import WRAPPER_ASSIGNMENTS
from typing import Any, Concatenate, Generic, Literal, Protocol, TypeVar, Unpack, overload

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.graph.handler import (
    Handler,
    Kind,
    function_name,
    inspect_handler,
    require_importable,
    wanted_of,
)
from actorflow.graph.nodes import Batch
from actorflow.graph.rules import RULES, StageOptions, checked

__all__ = ["Stage", "stage"]

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


@attrs.frozen(eq=False, slots=False, repr=False, kw_only=True)
class Stage(Generic[In, Out]):
    """One step of a flow, as `stage` declares it. Two declarations are never equal.

    `In` is the type of the handler's first parameter; `Out` is what it gives: the
    awaited value of a coroutine function, one yield of a generator.

    Attributes:
        fn: The handler.
        kind: How it is called: ``"coroutine"``, ``"function"``, ``"async_generator"`` or
            ``"generator"``.
        ctx_parameter: Name of its parameter that takes the `Turn`, or `None`: the one
            called ``ctx`` or annotated `Turn`, anywhere after the value.
        name: Name in paths, reports and drawings; the function's own by default.
        workers: Messages worked on at a time; at least 1.
        policies: What happens when a message fails, and what must be free before it begins.
            The order means nothing.
        timeout: Seconds one attempt may take; `None` is no limit.
        runs_in: ``"loop"``, ``"thread"`` or ``"process"``. By default coroutine functions
            and async generators run in the loop, plain functions and generators in a
            thread; ``"loop"`` calls a plain function in the loop, for quick ones.
        capacity: Most messages that wait for a worker; 0 hands each over in person.
        overflow: What a full mailbox does with one more: ``"block"`` makes the sender
            wait, ``"fail"`` raises `MailboxFull`, ``"drop_new"`` and ``"drop_old"`` make a
            dead letter of one.
        key: Gives the key of a value; of each key one message is worked on at a time, in
            order, over retries too. `None` is no order between workers.
        unpack: Spread a tuple or list over the parameters, a dict over their names. Never
            guessed from the value.
        skip_if: Given the value, plain or async: if true, the item is skipped here.
        batch: Give the handler lists of values instead of one at a time; see `Batch`.
        isolation: ``"copy"`` keeps a retry safe from a handler that changes what it got;
            ``"share"`` promises that this one never does.
        atomic: Keep what a generator yields until it has ended, so that all of it goes on
            or nothing.
        on_failure: Called when a message is given up, or ``"halt"`` to end the run then.
        priorities: Whether the mailbox looks at priorities.
        version: Raise it when the meaning of the stage changes; a run stored under
            another version is not continued.
        max_waiting: Most messages that wait for a retry, in a stash or are held back;
            `None` is four times the capacity.
        crash_on: Exceptions that crash the worker, not only the message.
        effects: In a durable run, begin a message only once a checkpoint on the disk has it, so
            that neither `Turn.idempotency_key` nor what belongs to it can change any more.
    """

    fn: Callable[..., Any]
    kind: Kind
    ctx_parameter: str | None
    name: str
    workers: int
    policies: tuple[object, ...]
    timeout: float | None
    runs_in: Literal["loop", "thread", "process"]
    capacity: int
    overflow: Literal["block", "fail", "drop_new", "drop_old"]
    key: Callable[[Any], Any] | None
    unpack: bool
    skip_if: Callable[..., Any] | None
    batch: Batch | None
    isolation: Literal["copy", "share"]
    atomic: bool
    on_failure: Callable[..., Any] | Literal["halt"] | None
    priorities: bool
    version: int
    max_waiting: int | None
    crash_on: tuple[type[BaseException], ...]
    effects: bool

    def __attrs_post_init__(self) -> None:
        worn: dict[str, Any] = {
            each: getattr(self.fn, each) for each in WRAPPER_ASSIGNMENTS if hasattr(self.fn, each)
        }
        self.__dict__.update(worn, __wrapped__=self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler as the plain function it is."""
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Stage {self.name!r}>"


class _Declare(Protocol):
    """What ``@stage(...)`` puts on a function."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[In, ...], Coroutine[Any, Any, Out]], /
    ) -> Stage[In, Out]: ...
    @overload
    def __call__(
        self, fn: Callable[Concatenate[In, ...], AsyncIterator[Out]], /
    ) -> Stage[In, Out]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In, ...], Iterator[Out]], /) -> Stage[In, Out]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[In, ...], Out], /) -> Stage[In, Out]: ...


class _DeclareUnpacked(Protocol):
    """What ``@stage(unpack=True)`` puts on a function."""

    def __call__(self, fn: Callable[..., Any], /) -> Stage[Any, Any]: ...


@overload
def stage(
    fn: Stage[In, Out], *, unpack: Literal[False] = ..., **given: Unpack[StageOptions]
) -> Stage[In, Out]: ...
@overload
def stage(
    fn: Callable[Concatenate[In, ...], Coroutine[Any, Any, Out]],
    *,
    unpack: Literal[False] = ...,
    **given: Unpack[StageOptions],
) -> Stage[In, Out]: ...
@overload
def stage(
    fn: Callable[Concatenate[In, ...], AsyncIterator[Out]],
    *,
    unpack: Literal[False] = ...,
    **given: Unpack[StageOptions],
) -> Stage[In, Out]: ...
@overload
def stage(
    fn: Callable[Concatenate[In, ...], Iterator[Out]],
    *,
    unpack: Literal[False] = ...,
    **given: Unpack[StageOptions],
) -> Stage[In, Out]: ...
@overload
def stage(
    fn: Callable[Concatenate[In, ...], Out],
    *,
    unpack: Literal[False] = ...,
    **given: Unpack[StageOptions],
) -> Stage[In, Out]: ...
@overload
def stage(
    fn: Callable[..., Any], *, unpack: Literal[True], **given: Unpack[StageOptions]
) -> Stage[Any, Any]: ...
@overload
def stage(
    fn: None = None, *, unpack: Literal[False] = ..., **given: Unpack[StageOptions]
) -> _Declare: ...
@overload
def stage(
    fn: None = None, *, unpack: Literal[True], **given: Unpack[StageOptions]
) -> _DeclareUnpacked: ...
def stage(fn: Any = None, **given: Any) -> Any:
    """Declare a stage: as ``@stage``, as ``@stage(workers=8)`` or as ``stage(fn, workers=8)``.

    A stage that is given again keeps its options except those named, so
    ``stage(fetch, name="fetch-again")`` puts the same work into a flow twice.

    Args:
        fn: A coroutine function, a plain function, either kind of generator, a partial or
            a callable object. It takes one value, and the `Turn` if it asks for it.
        given: The options, as `Stage` describes them.

    Raises:
        ConfigurationError: *fn* cannot be a handler, or an option can never work.
    """
    if fn is None:
        return lambda decorated: _declare(decorated, given)
    return _declare(fn, given)


def _declare(fn: Any, given: dict[str, Any]) -> Stage[Any, Any]:
    if isinstance(fn, Stage):
        given = {each: getattr(fn, each) for each in RULES} | given
        fn = fn.fn
    wanted = wanted_of(fn, "a function, such as stage(fetch)")
    if wanted:
        raise ConfigurationError("stage()", fn, f"given {wanted}")
    own = function_name(fn)
    named = given.get("name")
    name = options.name(f"stage {own!r}.name", own if named is None else named)
    place = f"stage {name!r}"
    settled = checked(place, {**given, "name": name})
    handler = inspect_handler(place, fn, unpack=settled["unpack"])
    settled["runs_in"] = _where_it_runs(place, fn, handler, settled["runs_in"])
    return Stage(fn=fn, kind=handler.kind, ctx_parameter=handler.ctx_parameter, **settled)


def _where_it_runs(place: str, fn: Callable[..., Any], handler: Handler, wish: str | None) -> str:
    """`runs_in`, resolved and possible."""
    needs_loop = handler.kind in ("coroutine", "async_generator")
    if wish is None:
        return "loop" if needs_loop else "thread"
    if needs_loop and wish != "loop":
        wanted = (
            "'loop' or left out, as an `async def` handler needs the event loop "
            f"(`def {function_name(fn)}` could run in a {wish})"
        )
        raise ConfigurationError(f"{place}.runs_in", wish, wanted)
    if wish == "process":
        require_importable(place, fn)
        if handler.ctx_parameter:
            wanted = (
                "'loop' or 'thread', as a Turn cannot go to another process "
                f"(parameter {handler.ctx_parameter!r})"
            )
            raise ConfigurationError(f"{place}.runs_in", wish, wanted)
    return wish


stage.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter("fn", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)]
    + [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default)
        for option, (default, _) in RULES.items()
    ]
)
