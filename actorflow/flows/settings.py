"""The options of a run, checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import attrs

from actorflow import options
from actorflow.actors.system import ActorSystem
from actorflow.core.events import Observer
from actorflow.core.letters import DeadLetter
from actorflow.durability.store import Store
from actorflow.durability.urls import as_store
from actorflow.errors import ConfigurationError
from actorflow.flows.sinks import Sink, as_sink
from actorflow.graph.rules import failure_hook
from actorflow.observe.observers import check_observers
from actorflow.observe.progress import make_display
from actorflow.observe.shown import Display
from actorflow.policies import Bulkhead, Deadline, RateLimit
from actorflow.policies.chain import Chain

__all__ = ["RUN_OPTIONS", "RunOptions", "RunSettings", "StoreSettings", "run_settings"]

#: Most items between the oldest unfinished one and the newest, by default.
WINDOW = 1024


class RunOptions(TypedDict, total=False):
    """The options of a run as a type checker knows them; `Flow.open` says what they mean."""

    sink: Sink[Any] | Callable[[Any], object] | None
    run_id: str | None
    ordered: bool
    window: int
    concurrency: int | None
    progress: bool | Literal["bar", "compact", "detailed", "full"] | Display | None
    observers: Iterable[Observer]
    max_dead: int
    deps: Any
    seed: int | None
    total: int | None
    on_failure: Callable[[DeadLetter], object] | Literal["halt"] | None
    system: ActorSystem | None
    context: Mapping[str, Any] | None
    store: str | Store | None
    resume: Literal["auto", "never", "must"]
    results: Literal["discard", "store"]
    interval: float | None
    store_deadline: float
    on_store_failure: Literal["hold", "stop"]
    migrate: Mapping[str, str] | None
    lease: float
    tune: bool
    keep: int


#: The names of all of them.
RUN_OPTIONS = tuple(RunOptions.__annotations__)


@attrs.frozen(kw_only=True)
class StoreSettings:
    """How a durable run uses its store.

    Attributes:
        store: A URL such as ``sqlite:///run.db``, or a store.
        resume: "auto" goes on with a run of this id if there is one, "never" refuses it, "must"
            refuses to begin one.
        keeps_results: Whether results are stored.
        interval: Least seconds between two checkpoints.
        deadline: Seconds for which a commit that fails is tried again.
        holds: Whether it is tried again, or fails the run at once.
        migrate: Names of stages that were renamed, old to new; given, another version of the
            flow may go on with the run.
        lease: Seconds after which a process that does not answer has lost the run.
        tune: Whether the interpreter's switch interval is made short.
        keep: How many of the last checkpoints can be put together again.
    """

    store: Any
    resume: Any = "auto"
    keeps_results: bool = False
    interval: float = 0.0
    deadline: float = 60.0
    holds: bool = True
    migrate: Mapping[str, str] | None = None
    lease: float = 30.0
    tune: bool = True
    keep: int = 5


#: What holds where nothing is said.
_USUAL = StoreSettings(store=None)

#: Options that say nothing without a store, and what they set.
_KEPT = {
    "resume": "resume",
    "results": "keeps_results",
    "store_deadline": "deadline",
    "on_store_failure": "holds",
    "migrate": "migrate",
    "lease": "lease",
    "tune": "tune",
    "keep": "keep",
}


@attrs.frozen(kw_only=True)
class RunSettings:
    """What a run goes by.

    Attributes:
        inside: Most items inside at a time, from `concurrency` and the flow's `Bulkhead`s.
        stage_defaults: The flow's policies for stages that name none of their kind.
        rate: The chain of the flow's rate limits, asked for each item fed; `None` if there are
            none.
        deadline: Seconds from feeding an item to its end; `None` is no limit.
        total: Items there will be, if that is known.
        on_failure: For stages that say nothing: called with each dead letter, or ``"halt"``.
        system: The actor system that the run lives in, or `None` for a tree of its own.
        kept: How its store is used, or `None` without one.
        middleware: The flow's, the outermost first.
        hooks: The flow's.
        context: What is attached to every item.
    """

    run_id: str | None
    sink: Any
    ordered: bool
    window: int
    inside: int | None
    display: Any
    observers: tuple[Any, ...]
    max_dead: int
    deps: Any
    seed: int | None
    stage_defaults: tuple[Any, ...]
    rate: Any
    deadline: float | None
    total: int | None
    on_failure: Any
    system: ActorSystem | None
    kept: StoreSettings | None
    middleware: tuple[Any, ...] = ()
    hooks: tuple[Any, ...] = ()
    context: Mapping[str, Any] | None = None


def run_settings(
    flow: str,
    policies: Sequence[Any],
    *,
    sink: Any = None,
    run_id: str | None = None,
    ordered: bool = False,
    window: int = WINDOW,
    concurrency: int | None = None,
    progress: Any = None,
    observers: Iterable[Any] = (),
    max_dead: int = 10_000,
    deps: Any = None,
    seed: int | None = None,
    total: int | None = None,
    on_failure: Any = None,
    system: ActorSystem | None = None,
    context: Mapping[str, Any] | None = None,
    store: Any = None,
    **kept: Any,
) -> RunSettings:
    """Check the options of a run of *flow*.

    Raises:
        ConfigurationError: One of them can never work.
    """
    if type(ordered) is not bool:
        raise ConfigurationError("run option ordered", ordered, "True or False")
    if not (system is None or isinstance(system, ActorSystem)):
        raise ConfigurationError("run option system", system, "an ActorSystem")
    if system is not None and seed is not None:
        raise ConfigurationError("run option seed", seed, "left to the ActorSystem(seed=...)")
    bounds = [each.limit for each in policies if isinstance(each, Bulkhead)]
    if concurrency is not None:
        bounds.append(options.count("run option concurrency", concurrency))
    rate = _rate_of(flow, policies)
    deadlines = [each.seconds for each in policies if isinstance(each, Deadline)]
    return RunSettings(
        run_id=options.optional(options.name, "run option run_id", run_id),
        sink=None if sink is None else as_sink(sink),
        ordered=ordered,
        window=options.count("run option window", window),
        inside=min(bounds, default=None),
        display=make_display(progress),
        observers=check_observers("run option observers", observers),
        max_dead=options.count("run option max_dead", max_dead, least=0),
        deps=deps,
        seed=seed,
        stage_defaults=tuple(
            each for each in policies if not isinstance(each, (Bulkhead, RateLimit, Deadline))
        ),
        rate=rate,
        deadline=min(deadlines, default=None),
        total=options.optional(options.count, "run option total", total, least=0),
        on_failure=options.optional(failure_hook, "run option on_failure", on_failure),
        system=system,
        context=facts("run option context", context),
        kept=_store_settings(store, **kept),
    )


def _store_settings(
    store: Any,
    *,
    resume: str = "auto",
    results: str = "discard",
    interval: float | None = None,
    store_deadline: float = 60.0,
    on_store_failure: str = "hold",
    migrate: Mapping[str, str] | None = None,
    lease: float = 30.0,
    tune: bool = True,
    keep: int = 5,
) -> StoreSettings | None:
    options.choice("run option on_store_failure", on_store_failure, ("hold", "stop"))
    if migrate is not None and not isinstance(migrate, Mapping):
        raise ConfigurationError("run option migrate", migrate, "new names of stages by their old")
    settings = StoreSettings(
        store=None if store is None else as_store("run option store", store),
        resume=options.choice("run option resume", resume, ("auto", "never", "must")),
        keeps_results=(
            options.choice("run option results", results, ("discard", "store")) == "store"
        ),
        interval=0.0 if interval is None else options.seconds("run option interval", interval),
        deadline=options.positive("run option store_deadline", store_deadline),
        holds=on_store_failure == "hold",
        migrate=migrate,
        lease=options.positive("run option lease", lease),
        tune=options.flag("run option tune", tune),
        keep=options.count("run option keep", keep),
    )
    if store is not None:
        return settings
    given = [] if interval is None else ["interval"]
    given += (
        name for name, part in _KEPT.items() if getattr(settings, part) != getattr(_USUAL, part)
    )
    if given:
        raise ConfigurationError("run option store", None, f"given with {given[0]}=")
    return None


def facts(option: str, context: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What is to be attached to items, checked.

    Raises:
        ConfigurationError: It is no mapping with texts for keys.
    """
    if context is None:
        return None
    if not isinstance(context, Mapping) or not all(isinstance(key, str) for key in context):
        raise ConfigurationError(option, context, "a mapping with texts for keys")
    return dict(context)


def _rate_of(flow: str, policies: Sequence[Any]) -> Any:
    """The flow's own rate limits, which admit items, or `None`."""
    rates = [each for each in policies if isinstance(each, RateLimit)]
    for each in rates:
        if each.key is not None:
            wanted = "None, as the flow's own limit is asked before an item is read"
            raise ConfigurationError(f"flow {flow!r} RateLimit.key", each.key, wanted)
    return Chain(rates, where=f"flow {flow!r}") if rates else None
