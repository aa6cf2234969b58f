"""`Executor`: functions called by supervised workers, each call with a future of its result.

    submit(fn, *args) ──► Call ──► run of a flow with one stage, "call" ──► Future

A call is a message and nothing more. So retries, breakers, rate limits, timeouts, threads,
worker processes and crashes are those of any stage, and the queue is a bounded mailbox.
"""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeAlias, TypeVar, overload

import trio

from actorflow import options
from actorflow.actors.system import ActorSystem
from actorflow.errors import ConfigurationError, NotRunningError
from actorflow.flows.awaiting import as_completed, wait
from actorflow.flows.calling import Call, RunsIn, callee, perform
from actorflow.flows.futures import Future
from actorflow.flows.mapping import Calls, Mapped
from actorflow.flows.pipeline import Pipeline
from actorflow.flows.results import ErrorSummary, RunStats
from actorflow.flows.run import Run
from actorflow.graph.stage import stage
from actorflow.policies.kinds import check_policies
from actorflow.policies.machine import Decider, Declaration, Policy
from actorflow.policies.ratelimit import RateLimit

__all__ = ["Executor"]

P = ParamSpec("P")
T = TypeVar("T")

Waiting: TypeAlias = Callable[..., Coroutine[Any, Any, T]]
Plain: TypeAlias = Callable[..., T]

#: More than an executor can ever hold: capacity, workers and retries are what bounds it.
NO_WINDOW = sys.maxsize


class Executor:
    """Calls functions, at most *workers* at a time; an async context manager.

    Leaving the block waits for all calls. With an exception, those that have not begun are
    cancelled, and those that run are at their next checkpoint.

    Args:
        workers: Calls that run at a time.
        policies: What happens to a call that fails, and what must be free before it begins. A
            ``key=`` is given the call, with `fn`, `args` and `kwargs`.
        timeout: Seconds one attempt may take; `None` is no limit.
        runs_in: Where plain functions run: ``"thread"`` by default, ``"process"``, or ``"loop"``
            for quick ones. Coroutine functions run in the loop.
        capacity: Most calls that wait for a worker; `submit` then waits for room. With 0 each call
            is handed over in person. Those that wait for a retry are bounded too: 4 times that, and
            64 at least.
        limits: Sections of the functions, ``async with current_turn().limit("db")``, by name, and
            how many calls may be inside at a time.
        rates: The same with ``current_turn().rate("api")`` and a `RateLimit`.
        name: First part of the path in errors and logs.
        observers: Objects with `on_event`.
        system: The actor system to live in; `None` is a tree of its own.

    Raises:
        ConfigurationError: An option is out of range, or policies contradict.
    """

    def __init__(
        self,
        workers: int = 5,
        *,
        policies: Sequence[Declaration | Policy | Decider] = (),
        timeout: float | None = None,
        runs_in: RunsIn = "thread",
        capacity: int = 256,
        limits: Mapping[str, int] | None = None,
        rates: Mapping[str, RateLimit] | None = None,
        name: str = "executor",
        observers: Iterable[Any] = (),
        system: ActorSystem | None = None,
    ) -> None:
        self.name = options.name("Executor.name", name)
        self.workers = options.count("Executor.workers", workers)
        self.capacity = options.count("Executor.capacity", capacity, least=0)
        options.optional(options.seconds, "Executor.timeout", timeout, zero=False)
        options.choice("Executor.runs_in", runs_in, ("loop", "thread", "process"))
        check_policies("Executor", policies)
        self.runs_in = runs_in
        call = stage(
            perform,
            name="call",
            workers=workers,
            policies=policies,
            timeout=timeout,
            capacity=capacity,
            limits=limits,
            rates=rates,
            isolation="share",  # Arguments are passed as they are.
            priorities=False,
        )
        self._flow = Pipeline[Call, Any]([call], name=name, observers=observers)
        self._flow.check()
        self._system = system
        self._run: Run[Call, Any] | None = None

    # The block --------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._run is not None:
            raise NotRunningError(f"executor {self.name!r} has been used; make another one")
        self._run = self._flow.open(
            window=NO_WINDOW,
            max_dead=sys.maxsize,  # A failure is told by its future, however many there are.
            on_failure=lambda _: self.run.keep_few_letters(),
            system=self._system,
        )
        await self._run.__aenter__()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.run.__aexit__(kind, error, trace)

    async def shutdown(self, *, cancel: bool = False) -> None:
        """Take no more calls, and wait for those there are.

        Args:
            cancel: Take back those that wait, for a worker or for a retry; those that run end,
                and are not tried again.

        Raises:
            InsideTurn: This is a call of this executor.
            ActorFlowError: Why the executor could not go on.
        """
        self.run.refuse_inside("executor.shutdown()", "a task outside the executor")
        if cancel:
            self.run.take_back()
        await self.run.finish()

    @property
    def run(self) -> Run[Call, Any]:
        """The live run underneath, whose stage is called "call": to pause, resize and watch it.

        Raises:
            NotRunningError: It has not begun.
        """
        if self._run is None:
            raise NotRunningError(f"executor {self.name!r} has not begun; use `async with`")
        return self._run

    # Calls ------------------------------------------------------------------------------

    @overload
    async def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...
    @overload
    async def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...
    async def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have ``fn(*args, **kwargs)`` called, waiting for room in the queue.

        Args:
            fn: A coroutine function, a plain function, a partial or a callable object.
            *args: Passed on as they are, to every attempt.
            **kwargs: Likewise.

        Raises:
            NotRunningError: The executor has ended, has not begun, or ends while this waits.
            ConfigurationError: *fn* cannot be called so.
            InsideTurn: This is a call of this executor.
        """
        call = Call(callee("executor.submit()", fn, self.runs_in), args, kwargs)
        await trio.lowlevel.checkpoint()
        return self._offer(call) or await self._accept(call)

    @overload
    async def map(
        self, fn: Waiting[T], /, *iterables: Iterable[Any], return_exceptions: Literal[False] = ...
    ) -> list[T]: ...
    @overload
    async def map(
        self, fn: Waiting[T], /, *iterables: Iterable[Any], return_exceptions: Literal[True]
    ) -> list[T | Exception]: ...
    @overload
    async def map(
        self, fn: Plain[T], /, *iterables: Iterable[Any], return_exceptions: Literal[False] = ...
    ) -> list[T]: ...
    @overload
    async def map(
        self, fn: Plain[T], /, *iterables: Iterable[Any], return_exceptions: Literal[True]
    ) -> list[T | Exception]: ...
    async def map(
        self, fn: Callable[..., Any], /, *iterables: Iterable[Any], return_exceptions: bool = False
    ) -> list[Any]:
        """All results in the order of the input; each call takes one value of each iterable.

        All calls are made, also after one has failed. The shortest iterable ends it.

        Raises:
            ExceptionGroup: Of what the calls raised, unless *return_exceptions* puts that in place.
            NotRunningError, ConfigurationError, InsideTurn: As `submit`.
        """
        calls: Calls[Any] = self._calls("executor.map()", fn, iterables)
        values: list[Any] = []
        failures: list[Exception] = []
        try:
            while (future := await calls.next()) is not None:
                error = future.look()
                values.append(future.take() if error is None else error)
                if error is not None:
                    failures.append(error)
        finally:
            calls.close()
        if failures and not return_exceptions:
            text = f"executor {self.name!r}: {len(failures)} of {len(values)} calls failed"
            raise ExceptionGroup(text, failures)
        return values

    @overload
    def map_iter(self, fn: Waiting[T], /, *iterables: Iterable[Any]) -> AsyncIterator[T]: ...
    @overload
    def map_iter(self, fn: Plain[T], /, *iterables: Iterable[Any]) -> AsyncIterator[T]: ...
    def map_iter(self, fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> AsyncIterator[Any]:
        """Results in the order of the input, as they are taken.

        The input is read as far ahead as the queue has room. The first failure, in that order,
        is raised. That, leaving the loop or `aclose` cancels the calls that are ahead.

        Raises:
            NotRunningError, ConfigurationError, InsideTurn: As `submit`.
        """
        return Mapped(self._calls("executor.map_iter()", fn, iterables))

    # Futures ----------------------------------------------------------------------------

    as_completed = staticmethod(as_completed)
    wait = staticmethod(wait)

    # Watching ---------------------------------------------------------------------------

    def stats(self) -> RunStats:
        """The executor at this moment; calls that were cancelled count as skipped."""
        return self.run.stats()

    def errors(self) -> ErrorSummary:
        """What ended calls, by type, with examples."""
        return self.run.errors()

    # Inside -----------------------------------------------------------------------------

    def _ready(self, verb: str) -> None:
        run = self.run
        run.refuse_inside(verb, "the function itself, or another executor")
        if run.ending:
            raise NotRunningError(f"executor {self.name!r} has ended; make another one")

    def _offer(self, call: Call) -> Future[Any] | None:
        self._ready("executor.submit()")
        return self.run.offer(call)

    async def _accept(self, call: Call) -> Future[Any]:
        try:
            return await self.run.accept(call)
        except NotRunningError as error:
            text = f"executor {self.name!r} ended while submit() waited for room"
            raise NotRunningError(text) from error

    def _calls(
        self, verb: str, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...]
    ) -> Calls[Any]:
        if not iterables:
            raise ConfigurationError(f"{verb} iterables", iterables, "one iterable or more")
        called = callee(verb, fn, self.runs_in)
        self._ready(verb)
        option = f"{verb} iterables"
        inputs = [_iterated(f"{option}[{slot}]", each) for slot, each in enumerate(iterables)]
        return Calls(
            called,
            zip(*inputs, strict=False),
            self._offer,
            self._accept,
            most=self.workers + self.capacity,
            batch=self.workers,
        )


def _iterated(option: str, iterable: Any) -> Iterator[Any]:
    """An iterator of *iterable*, which is read as calls are made.

    Raises:
        ConfigurationError: It cannot be read so.
    """
    try:
        return iter(iterable)
    except TypeError:
        wanted = "an iterable"
        if hasattr(iterable, "__aiter__"):
            wanted = (
                "an iterable that is not async; read that with `async for` and submit() each, or "
                "give it to Pipeline([fn]).map(...)"
            )
        raise ConfigurationError(option, iterable, wanted) from None
