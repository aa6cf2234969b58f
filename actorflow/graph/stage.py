"""The declaration of a stage: a function, its options, and how it is called.

    @stage(workers=8, timeout=10)
    async def fetch(url: str, ctx: Turn) -> Page: ...

A declaration is a value. It runs nothing and stays callable as the plain function,
so ``await fetch("http://...")`` in a test is the function and no more. All options
are checked here, so that a run never meets a wrong one.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
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
from actorflow.graph.steps import Step, Steps, check_processes
from actorflow.policies.cache import Cache
from actorflow.policies.ratelimit import RateLimit

__all__ = ["Stage", "stage"]

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


@attrs.frozen(eq=False, slots=False, repr=False, kw_only=True)
class Stage(Generic[In, Out]):
    """One step of a flow, as `stage` declares it. Two declarations are never equal.

    `In` is the type of the handler's first parameter; `Out` is what it gives: the
    awaited value of a coroutine function, one yield of a generator.

    Attributes:
        fn: The handler, or `Steps`.
        steps: The functions of `Steps`; of any other handler there are none.
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
        key: Gives the key of a value (of a batch: of its list); of each key one message is worked
            on at a time, in order, over retries too. `None` is no order between workers.
        unpack: Spread a tuple or list over the parameters, a dict over their names. Never
            guessed from the value.
        skip_if: Given the value, plain or async: if true, the item is skipped here.
        reads: Keys of its `Context` that the handler sees; `None` is all of them.
        writes: Keys that it may write; `None` is any.
        input_schema: What the data it gets must be like: an attrs class, a dataclass, a TypedDict
            or a pydantic model.
        output_schema: What the data must be like that it gives.
        contextual: Whether it works on a `Context`: its first parameter is annotated so, or it
            says what it reads or writes. It then returns one, or a mapping with what is new.
        batch: Give the handler lists of values instead of one at a time; see `Batch`.
        isolation: ``"copy"`` keeps a retry safe from a handler that changes what it got;
            ``"share"`` promises that this one never does.
        atomic: Keep what a generator yields until it has ended, so that all of it goes on
            or nothing.
        on_success: Called with what the handler returned once it has gone on; with `None` for
            a generator that has ended. Hooks are plain or async, change nothing, and may fail:
            that is logged and counted. An async one has `HOOK_SECONDS` (5).
        on_failure: Called with the dead letter when a message is given up, or ``"halt"`` to end
            the run then.
        on_skip: Called with the value of a message that came to nothing here.
        limits: Sections of the handler, ``async with ctx.limit("db")``, by name, and how many
            workers of the stage may be inside at a time.
        rates: The same with ``ctx.rate("api")`` and a `RateLimit`.
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
    contextual: bool
    steps: tuple[Step, ...]
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
    reads: tuple[str, ...] | None
    writes: tuple[str, ...] | None
    input_schema: Any
    output_schema: Any
    isolation: Literal["copy", "share"]
    atomic: bool
    on_success: Callable[..., Any] | None
    on_failure: Callable[..., Any] | Literal["halt"] | None
    on_skip: Callable[..., Any] | None
    limits: Mapping[str, int]
    rates: Mapping[str, RateLimit]
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

    @property
    def many(self) -> bool:
        """Whether one message may give several values. What a generator of a flow of contexts
        yields are parts of its one value."""
        return "generator" in self.kind and not self.contextual

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
    unpack = settled["unpack"]
    if isinstance(fn, Steps):
        steps = fn.inspect(place, unpack=unpack)
        handler = Handler("coroutine", None, steps[0].handler.takes_context)
        settled["runs_in"] = _where_steps_run(place, steps, settled["runs_in"])
    else:
        steps, handler = (), inspect_handler(place, fn, unpack=unpack)
        settled["runs_in"] = _where_it_runs(place, fn, handler, settled["runs_in"])
    many = "generator" in handler.kind
    if many and (caches := [each for each in settled["policies"] if isinstance(each, Cache)]):
        wanted = "for a handler that gives one value, not for a generator"
        raise ConfigurationError(f"{place} Cache", caches[0], wanted)
    declared = settled["reads"] is not None or settled["writes"] is not None
    contextual = declared or handler.takes_context
    if many and len(settled["writes"] or ()) > 1:
        wanted = "one key, under which all that the generator yields will stand"
        raise ConfigurationError(f"{place}.writes", settled["writes"], wanted)
    if settled["batch"] is not None and (contextual or settled["input_schema"] is not None):
        wanted = "left out, as the stage works on one mapping at a time, and a batch is a list"
        raise ConfigurationError(f"{place}.batch", settled["batch"], wanted)
    return Stage(
        fn=fn,
        kind=handler.kind,
        ctx_parameter=handler.ctx_parameter,
        contextual=contextual,
        steps=steps,
        **settled,
    )


def _where_steps_run(place: str, steps: tuple[Step, ...], wish: str | None) -> str:
    """`runs_in` for the plain ones of *steps*, resolved and possible."""
    if wish == "process":
        check_processes(place, steps)
    plain = any(each.handler.kind == "function" for each in steps)
    return wish or ("thread" if plain else "loop")


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
