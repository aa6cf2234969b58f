"""`Graph`: stages and edges, as a flow.

graph = Graph("crawl").add(fetch, links, save)
graph.connect(fetch, links).connect(fetch, save)
graph.connect(links, fetch, feedback=True, max_depth=3, dedupe=lambda url: url)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from actorflow import options
from actorflow.core.letters import DeadLetter
from actorflow.errors import CompilationError, ConfigurationError
from actorflow.flows.flow import Flow
from actorflow.flows.generic import In, Out
from actorflow.graph.graph import compile_graph
from actorflow.graph.nodes import Batch, Parallel, Route
from actorflow.graph.pipeline import compile_pipeline
from actorflow.graph.plan import Edge, Plan

__all__ = ["Graph"]


class Graph(Flow[In, Out]):
    """Stages and the edges between them; a value goes along every edge of its stage.

    A graph is fed at the stages that no edge leads to, all of them, and gives what comes out of
    the stages that no edge leads from; if there is none, of those that only lead back, whose
    values then come out and go back. It is compiled when it is used, so that stages and edges may
    be added until then.

    Args:
        name: Name of the flow; ``graph`` by default.
        policies: As in `Pipeline`.
        observers: As in `Pipeline`.
        on_failure: As in `Pipeline`.
        middleware: As in `Pipeline`.
        hooks: As in `Pipeline`.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        policies: Sequence[object] = (),
        observers: Iterable[Any] = (),
        on_failure: Callable[[DeadLetter], object] | Literal["halt"] | None = None,
        middleware: Sequence[Any] = (),
        hooks: Sequence[Any] = (),
    ) -> None:
        own = "graph" if name is None else options.name("Graph.name", name)
        super().__init__(
            own,
            policies=policies,
            observers=observers,
            on_failure=on_failure,
            middleware=middleware,
            hooks=hooks,
        )
        self._parts: dict[str, Plan] = {}
        self._edges: list[Edge] = []
        self._compiled: Plan | None = None

    def add(self, *nodes: Any) -> Self:
        """Add stages, functions or whole flows.

        Raises:
            CompilationError: One is none of these, or its name is taken.
        """
        for node in nodes:
            if isinstance(node, (Parallel, Route, Mapping)):
                kind = "Parallel" if isinstance(node, Parallel) else "Route"
                detail = f"a {kind} is no node; add a Pipeline([...], name=...) with it instead"
                raise CompilationError(self.name, detail)
            part = compile_pipeline([node], name=self.name)
            own = getattr(node, "plan", None)
            name = own.name if isinstance(own, Plan) else part.entry
            if name in self._parts:
                kind = "stage(fn" if own is None else f"{type(node).__name__}(..."
                detail = (
                    f"a node is named {name!r} already; rename one: {kind}, name={name + '-2'!r})"
                )
                raise CompilationError(self.name, detail, (name,))
            self._parts[name] = part
        self._compiled = None
        return self

    def connect(
        self,
        start: Any,
        end: Any,
        *,
        when: Callable[[Any], Any] | None = None,
        map: Callable[[Any], Any] | None = None,  # noqa: A002
        batch: Batch | None = None,
        feedback: bool = False,
        max_depth: int | None = None,
        dedupe: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Let what *start* gives go to *end*.

        Args:
            start: A node, or its name.
            end: A node, or its name.
            when: A plain function: whether a value goes this way. If it raises, or *map* or
                *dedupe* does, the turn of *start* has failed, and its policies decide.
            map: A plain function: what is made of it on the way.
            batch: Values go on as lists.
            feedback: The edge leads back: it closes a circle, and never waits for room.
            max_depth: Most feedback edges that one value takes; further ones are dropped. How many
                it has taken is ``ctx.metadata["depth"]``, which is not there before the first.
            dedupe: A plain function: gives a key of the value, which can be written. Of each key
                only the first enters *end* on this edge; what enters it otherwise, from outside or
                on another edge, counts as well. A run keeps all keys to its end.

        Raises:
            CompilationError: One of them is not in the graph, or the edge is there already.
            ConfigurationError: An option is wrong.
        """
        edge = Edge(
            self._name_of(start),
            self._name_of(end),
            when=_function("when", when),
            map=_function("map", map),
            batch=_batch(batch),
            feedback=options.flag("connect() feedback", feedback),
            max_depth=options.optional(options.count, "connect() max_depth", max_depth),
            dedupe=_function("dedupe", dedupe),
        )
        if not feedback and (max_depth is not None or dedupe is not None):
            option = "max_depth" if max_depth is not None else "dedupe"
            given = max_depth if max_depth is not None else dedupe
            raise ConfigurationError(f"connect() {option}", given, "used with feedback=True")
        if any((each.start, each.end) == (edge.start, edge.end) for each in self._edges):
            detail = f"{edge.start!r} and {edge.end!r} are connected already"
            raise CompilationError(self.name, detail, (edge.start, edge.end))
        self._edges.append(edge)
        self._compiled = None
        return self

    @property
    def plan(self) -> Plan:  # type: ignore[override]
        """The stages and what feeds what.

        Raises:
            CompilationError: They cannot be put together.
        """
        if self._compiled is None:
            self._compiled = compile_graph(self.name, self._parts, self._edges)
        return self._compiled

    def _name_of(self, node: Any) -> str:
        own = getattr(node, "plan", None)
        name = own.name if isinstance(own, Plan) else getattr(node, "name", None)
        name = name or getattr(node, "__name__", node)
        if name not in self._parts:
            known = ", ".join(map(repr, self._parts)) or "nothing yet"
            detail = f"no node is named {name!r}; add() it first; it has {known}"
            raise CompilationError(self.name, detail)
        return str(name)


def _function(option: str, value: Any) -> Any:
    return options.optional(options.plain_function, f"connect() {option}", value)


def _batch(value: Any) -> Batch | None:
    if value is not None and not isinstance(value, Batch):
        raise ConfigurationError("connect() batch", value, "Batch(size, seconds=None)")
    return value
