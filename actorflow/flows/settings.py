"""The options of a run, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.flows.sinks import as_sink
from actorflow.graph.rules import failure_hook
from actorflow.observe.progress import make_display
from actorflow.policies import Bulkhead, Deadline, RateLimit
from actorflow.policies.chain import Chain

__all__ = ["RunSettings", "run_settings"]

#: Most items between the oldest unfinished one and the newest, by default.
WINDOW = 1024


@attrs.frozen(kw_only=True)
class RunSettings:
    """What a run goes by.

    Attributes:
        inside: Most items inside at a time, from `concurrency` and the flow's `Bulkhead`s.
        stage_defaults: The flow's policies for stages that name none of their kind.
        rate: The flow's rate limits, asked for each item fed; `None` if there are none.
        deadline: Seconds from feeding an item to its end; `None` is no limit.
        total: Items there will be, if that is known.
        on_failure: For stages that say nothing: called with each dead letter, or ``"halt"``.
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
) -> RunSettings:
    """Check the options of a run of *flow*.

    Raises:
        ConfigurationError: One of them can never work.
    """
    if type(ordered) is not bool:
        raise ConfigurationError("run option ordered", ordered, "True or False")
    bounds = [each.limit for each in policies if isinstance(each, Bulkhead)]
    if concurrency is not None:
        bounds.append(options.count("run option concurrency", concurrency))
    rates = [each for each in policies if isinstance(each, RateLimit)]
    for each in rates:
        if each.key is not None:
            wanted = "None, as the flow's own limit is asked before an item is read"
            raise ConfigurationError(f"flow {flow!r} RateLimit.key", each.key, wanted)
    deadlines = [each.seconds for each in policies if isinstance(each, Deadline)]
    return RunSettings(
        run_id=options.optional(options.name, "run option run_id", run_id),
        sink=None if sink is None else as_sink(sink),
        ordered=ordered,
        window=options.count("run option window", window),
        inside=min(bounds, default=None),
        display=make_display(progress),
        observers=tuple(observers),
        max_dead=options.count("run option max_dead", max_dead, least=0),
        deps=deps,
        seed=seed,
        stage_defaults=tuple(
            each for each in policies if not isinstance(each, (Bulkhead, RateLimit, Deadline))
        ),
        rate=Chain(rates, where=f"flow {flow!r}").gate if rates else None,
        deadline=min(deadlines, default=None),
        total=options.optional(options.count, "run option total", total, least=0),
        on_failure=options.optional(failure_hook, "run option on_failure", on_failure),
    )
