"""What every flow can do: the verbs, whatever its stages were put together by.

value  = await flow.invoke(url)              one item, its value
values = await flow.map(urls)                all values, in the order of the input
report = await flow.run(urls, sink=...)      counts; values go to the sink
async with flow.stream(urls) as results: ... as they come
async with flow.open() as run: ...           live
"""

from __future__ import annotations

import functools
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Literal, Self, Unpack, overload

import attrs
import trio

from actorflow import options
from actorflow.core.letters import DeadLetter
from actorflow.durability.urls import as_store
from actorflow.errors import ConfigurationError, StageError
from actorflow.flows.entries import Entries
from actorflow.flows.generic import In, Out
from actorflow.flows.results import Chunk, ItemResult, Report, with_report
from actorflow.flows.run import Run
from actorflow.flows.runs import Runs
from actorflow.flows.settings import RUN_OPTIONS, RunOptions, run_settings
from actorflow.flows.sources import Source, as_source
from actorflow.flows.standing import only, standing_run, standing_runs
from actorflow.flows.taps import ResultStream
from actorflow.graph import render
from actorflow.graph.nodes import Route
from actorflow.graph.pipeline import compile_pipeline
from actorflow.graph.plan import Plan, check_sends
from actorflow.graph.rules import failure_hook
from actorflow.graph.stage import stage
from actorflow.observe.observers import check_observers
from actorflow.options import known_names
from actorflow.policies.kinds import check_policies
from actorflow.stages.around import check_middleware
from actorflow.stages.build import chain_of
from actorflow.stages.hooks import check_hooks
from actorflow.stages.remote import check_remote

__all__ = ["Flow"]

#: Dead letters that a run survives which only `invoke` feeds: its callers are told of each.
NO_END = 1 << 62


class Flow(Generic[In, Out]):
    """A compiled flow; a value that can be run any number of times, also at once.

    Args:
        name: Name of the flow: the first part of every path.
        policies: For stages that name none of their kind, except `RateLimit`, `Bulkhead` and
            `Deadline`, which bound each item from feeding to its end.
        observers: Objects with `on_event`.
        on_failure: For stages that say nothing: called with each dead letter, or ``"halt"`` to
            end the run at the first one.
        middleware: Async functions of (call, value, ctx) around each attempt of each stage's
            handler, the first outermost; see `actorflow.middleware`.
        hooks: Objects with ``before_stage(stage, item_id, value)`` or ``after_stage(stage,
            item_id, value, result, error)``, plain or async: told of each attempt, before it
            begins and when it is decided what becomes of it. They change nothing.

    Raises:
        ConfigurationError: An option is wrong.
    """

    #: The stages and what feeds what.
    plan: Plan

    def __init__(
        self,
        name: str,
        *,
        policies: Sequence[object] = (),
        observers: Iterable[Any] = (),
        on_failure: Callable[[DeadLetter], object] | Literal["halt"] | None = None,
        middleware: Sequence[Any] = (),
        hooks: Sequence[Any] = (),
    ) -> None:
        self._name = name
        self.policies = check_policies(f"flow {name!r}", policies)
        self.observers = check_observers(f"flow {name!r}.observers", observers)
        option = f"flow {name!r}.on_failure"
        self.on_failure: Any = options.optional(failure_hook, option, on_failure)
        self.middleware = check_middleware(f"flow {name!r}.middleware", middleware)
        self.hooks = check_hooks(f"flow {name!r}.hooks", hooks)

    @property
    def name(self) -> str:
        """Name of the flow."""
        return self._name

    @property
    def version(self) -> str:
        """Fingerprint of names, order and all that decides what a stored message means."""
        return self.plan.version

    # Running --------------------------------------------------------------------------

    def open(self, **run_options: Unpack[RunOptions]) -> Run[In, Out]:
        """A live run, as an async context manager.

        Args:
            **run_options: ``sink``, ``run_id``, ``ordered=False``, ``window=1024`` (items
                between the oldest unfinished or untaken one and the newest),
                ``concurrency=None`` (items inside), ``progress=None``, ``observers=()``,
                ``max_dead=10_000``, ``on_failure=None``, ``deps=None``, ``seed=None``,
                ``total=None``, ``system=None`` (the `ActorSystem` to live in); ``store=None``
                (a URL such as ``sqlite:///run.db``), and with it ``resume="auto"``,
                ``results="discard"``, ``interval=None``, ``store_deadline=60.0``,
                ``on_store_failure="hold"``, ``migrate=None``, ``lease=30.0``, ``tune=True``,
                ``keep=5`` (checkpoints that `runs` can go back to).

        Raises:
            ConfigurationError: An option is unknown or out of range.
        """
        own = check_observers("run option observers", run_options.pop("observers", ()))
        _known(run_options)
        given = {"on_failure": self.on_failure, **run_options}
        given["observers"] = (*self.observers, *own)
        settings = run_settings(self.name, self.policies, **given)
        around = attrs.evolve(settings, middleware=self.middleware, hooks=self.hooks)
        return Run(self.plan, around)

    async def run(
        self,
        source: Source[In] | Iterable[In] | AsyncIterable[In] | None = None,
        *,
        start: str | Mapping[str, Any] | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Report:
        """Run all of *source* through the flow; values go to ``sink=`` or are dropped.

        Args:
            source: What is fed. With ``store=`` it may be left out: the run goes on with what it
                holds, and reads nothing.
            start: Name of the stage that is fed, if it is not the first; or, instead of *source*,
                what is fed to each stage by its name. They are fed one after the other.
            **run_options: As for `open`.

        Raises:
            ConfigurationError: There is nothing to feed, or twice.
            ActorFlowError: Why the run could not go on.
            Exception: What the source or the sink raised.
        """
        holds = source is None and start is None and run_options.get("store") is not None
        starts = [] if holds else _starts(source, start)
        if len(starts) == 1:
            run_options = _counted(starts[0][1], run_options)
        async with self.open(**run_options) as run:
            for stage, given in starts if run.report is None else ():
                await run.feed_from(given, stage=stage)
            return await run.finish()

    def run_sync(
        self,
        source: Source[In] | Iterable[In] | AsyncIterable[In] | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Report:
        """`run`, for code outside trio."""

        async def main() -> Report:
            return await self.run(source, **run_options)

        return trio.run(main)

    @overload
    def stream(
        self,
        source: Source[In] | Iterable[In] | AsyncIterable[In],
        *,
        chunks: Literal[False] = False,
        **run_options: Unpack[RunOptions],
    ) -> AbstractAsyncContextManager[ResultStream[ItemResult[Out]]]: ...

    @overload
    def stream(
        self,
        source: Source[In] | Iterable[In] | AsyncIterable[In],
        *,
        chunks: bool,
        **run_options: Unpack[RunOptions],
    ) -> AbstractAsyncContextManager[ResultStream[ItemResult[Out] | Chunk]]: ...

    @asynccontextmanager
    async def stream(
        self,
        source: Source[In] | Iterable[In] | AsyncIterable[In],
        *,
        chunks: bool = False,
        **run_options: Unpack[RunOptions],
    ) -> AsyncIterator[ResultStream[Any]]:
        """Results as they come: one per output, one per failed or skipped item.

        The input is read as results are taken. Leaving early cancels the rest. What handlers feed
        with `ctx.feed` has results too, and numbers between those of *source*.

        Args:
            source: What is fed.
            chunks: In a flow of contexts, give what generators yield as well, as `Chunk`s.
            **run_options: As for `open`.
        """
        async with self._streamed(source, chunks, run_options) as (_, results):
            yield results

    @asynccontextmanager
    async def _streamed(
        self, source: Any, chunks: bool, run_options: RunOptions
    ) -> AsyncIterator[tuple[Run[In, Out], ResultStream[Any]]]:
        given = as_source(source)
        opened = self.open(**_counted(given, run_options))
        opened.keep_results(chunks=chunks)
        async with opened as run:
            results = run.results(chunks=chunks)
            run.start_feeding(given)
            yield run, results
            if run.over.is_set() and not run.failed:
                await run.finish()
            else:
                run.cancel()

    async def map(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        return_exceptions: bool = False,
        **run_options: Unpack[RunOptions],
    ) -> list[Any]:
        """All values in the order of the input: the only call that keeps all of them.

        There is one entry per item: its value; a list, if a stage of the flow is a generator or
        the item gave several; or `None` for one that was skipped. What a batch gave stands at its
        first item; its others have `None`, or an empty list in a flow with generators. What
        handlers feed with `ctx.feed` has no entry.

        Raises:
            ExceptionGroup: Of `StageError`s, unless *return_exceptions* puts them in place.
        """
        many = any(each.many for each in self.plan.stages)
        async with self._streamed(items, False, run_options) as (run, results):
            entries = Entries(many=many, inner=run.note_inner())
            async for result in results:
                entries.add(result)
            values, failures = entries.values(run.stats().counts["fed"])
        if failures and not return_exceptions:
            text = f"flow {self.name!r}: {len(failures)} items failed"
            raise with_report(ExceptionGroup(text, failures), run.report)
        return values

    async def invoke(
        self, value: In, *, context: Mapping[str, Any] | None = None, deps: Any = None
    ) -> Out:
        """Run one item and return its value.

        The first call in a trio run opens a run of the flow that stays there for all that follow,
        so that policies hold over all of them; it ends with the trio run, with `aclose`, or when
        nobody has the flow any more. With *deps* each call has a run of its own.

        Args:
            value: The item; in a flow of contexts, a mapping.
            context: What handlers find in ``ctx.metadata``, a copy for this item.
            deps: What they find as ``ctx.deps``.

        Raises:
            StageError: It failed, or gave no value or several; the handler's own error is
                the cause.
        """
        values = await self.invoke_all(value, context=context, deps=deps)
        if len(values) == 1:
            return values[0]
        last = self.plan.exits[0]
        detail = (
            f"gave {len(values)} values; use invoke_all()" if values else "gave no value (skipped)"
        )
        raise StageError(last, 0, 1, detail)

    async def invoke_all(
        self, value: In, *, context: Mapping[str, Any] | None = None, deps: Any = None
    ) -> list[Out]:
        """Run one item and return all its values; see `invoke`.

        Raises:
            StageError: It failed; the handler's own error is the cause.
        """
        standing, plan = None, self.plan
        # One item that fails must not end the others; one that waits for more needs the end.
        alone = plan.halts or plan.batches or self.on_failure == "halt"
        if deps is None and not alone:
            standing = await standing_run(self, functools.partial(self.open, max_dead=NO_END))
        if standing is None:
            async with self.open(deps=deps) as run:
                results = await only(run, value, context)
        else:
            results = await standing.call(value, context)
        for result in results:
            if result.status == "failed":
                raise result.stage_error()
        return [result.value for result in results if result.ok]

    async def aclose(self) -> None:
        """End the run that `invoke` has left open; what is inside is cancelled."""
        standing = standing_runs().pop(self, None)
        if standing is not None:
            await standing.close()
        else:
            await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        """`aclose` at the end of the block."""
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def run_step(self, name: str, value: Any) -> Any:
        """Run one stage alone on *value*, with its policies: what it would hand on. Of a stage
        that chooses a route that is what it sends there; of a generator of values, all of them.

        Raises:
            CompilationError: No stage has that name.
            StageError: It failed.
        """
        alone: Flow[Any, Any] = Flow(
            self.name,
            policies=self.policies,
            observers=self.observers,
            on_failure=self.on_failure,
            middleware=self.middleware,
            hooks=self.hooks,
        )
        step = self.plan.stage(name)
        routed = any(
            edge.start == name and (edge.otherwise or edge.route is not None)
            for edge in self.plan.edges
        )
        behind = [Route({}, default=stage(_same, name=f"{name}+sent", runs_in="loop"))]
        alone.plan = compile_pipeline([step, *(behind if routed else ())], name=self.name)
        async with alone:
            return await (alone.invoke_all(value) if step.many else alone.invoke(value))

    # Looking --------------------------------------------------------------------------

    def runs(self, store: Any) -> Runs:
        """The runs of a store: to compare them, and to begin one with what another had.

        Args:
            store: A URL such as ``sqlite:///run.db``, or a store that nobody has open.

        Raises:
            ConfigurationError: No store is named so.
        """
        return Runs(self.plan, as_store("runs() store", store))

    def check(self) -> None:
        """Do all that a run does before its first item, and start nothing.

        What can be seen at once was checked when the flow was made; here come the policies
        of flow and stages together, whether routes follow what is sent to them, and whether
        worker processes can be had and will find their handlers.

        Raises:
            ActorFlowError: The flow cannot work: `CompilationError`, `ConfigurationError`,
                `MissingExtra`.
        """
        settings = run_settings(self.name, self.policies)
        shared: dict[str, Any] = {}
        check_sends(self.plan)
        for each in self.plan.stages:
            chain_of(each, settings.stage_defaults, shared)
            if each.runs_in == "process":
                check_remote(each)

    def explain(self) -> str:
        """The stages and their options as a table."""
        return self.plan.explain()

    def to_text(self) -> str:
        """The flow as a drawing in characters."""
        return render.to_text(self.plan)

    def to_mermaid(self) -> str:
        """The flow as a Mermaid drawing."""
        return render.to_mermaid(self.plan)

    def to_dot(self) -> str:
        """The flow as a Graphviz drawing."""
        return render.to_dot(self.plan)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {len(self.plan.stages)} stages>"


def _same(value: Any) -> Any:
    return value


def _starts(source: Any, start: Any) -> list[tuple[str | None, Source[Any]]]:
    """Which stages are fed, the first for `None`, and with what."""
    if not isinstance(start, Mapping):
        return [(options.optional(options.name, "run() start", start), as_source(source))]
    if source is not None:
        raise ConfigurationError("run() source", source, "None, as start= says what is fed")
    if not start:
        raise ConfigurationError("run() start", start, "items for one stage at least")
    return [
        (stage, as_source(each, option=f"run() start[{stage!r}]")) for stage, each in start.items()
    ]


def _counted(source: Source[Any], run_options: RunOptions) -> RunOptions:
    """*run_options*, with the number of items if only the source knows it."""
    return {"total": getattr(source, "total", None), **run_options}


def _known(given: Mapping[str, Any]) -> None:
    known_names("run", given, RUN_OPTIONS)
