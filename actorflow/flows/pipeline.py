"""`Pipeline`: nodes in a row, as a flow.

flow = Pipeline([fetch, Parallel([spell, price]), save], name="shop")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from actorflow.core.letters import DeadLetter
from actorflow.flows.flow import Flow
from actorflow.flows.generic import In, Out
from actorflow.graph.pipeline import Node, compile_pipeline
from actorflow.graph.stage import stage

__all__ = ["Pipeline"]


class Pipeline(Flow[In, Out]):
    """Stages in a row; a value that can be run any number of times, also at once.

    Args:
        nodes: Stages, plain functions, flows, `Parallel` and `Route`, in order; a dict is short for
            a `Route`.
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
        auto_parallel: Whether stages of contexts that need nothing of each other, by what they
            declare to read and write, run side by side. `explain` shows it.

    Raises:
        CompilationError: The nodes cannot be put together.
        ConfigurationError: An option is wrong.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        name: str | None = None,
        policies: Sequence[object] = (),
        observers: Iterable[Any] = (),
        on_failure: Callable[[DeadLetter], object] | Literal["halt"] | None = None,
        middleware: Sequence[Any] = (),
        hooks: Sequence[Any] = (),
        auto_parallel: bool = True,
    ) -> None:
        self.plan = compile_pipeline(nodes, name=name, auto_parallel=auto_parallel)
        super().__init__(
            self.plan.name,
            policies=policies,
            observers=observers,
            on_failure=on_failure,
            middleware=middleware,
            hooks=hooks,
        )

    @classmethod
    def of(
        cls, *functions: Callable[..., Any], workers: int = 1, name: str | None = None
    ) -> Pipeline[Any, Any]:
        """A pipeline of plain functions, each with *workers* workers."""
        return cls([stage(each, workers=workers) for each in functions], name=name)

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}: {' -> '.join(each.name for each in self.plan.stages)}>"
