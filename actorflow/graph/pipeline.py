"""Compile a list of nodes, each feeding the next, to a `Plan`.

    [fetch, parse, checks, save]     checks = Pipeline([spell, price])
       │      │      │      │
       ▼      ▼      ▼      ▼
    fetch ► parse ► spell ► price ► save

Every node becomes a small plan, and plans are joined end to end; so a function, a
stage and a whole flow are treated alike. A mistake is named with flow and position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Protocol, TypeAlias

from actorflow import options
from actorflow.errors import CompilationError, ConfigurationError
from actorflow.graph.handler import wanted_of
from actorflow.graph.plan import Edge, Plan, check_names
from actorflow.graph.stage import Stage, stage

__all__ = ["Flow", "Node", "compile_pipeline"]


class Flow(Protocol):
    """Anything that has been compiled."""

    @property
    def plan(self) -> Plan: ...


Node: TypeAlias = Stage[Any, Any] | Callable[..., Any] | Flow


def compile_pipeline(nodes: Iterable[Node], *, name: str | None = None) -> Plan:
    """Put *nodes* one behind the other.

    Args:
        nodes: Stages, plain functions and flows, in order; at least one.
        name: Name of the flow; ``pipeline`` if not given.

    Raises:
        CompilationError: There is no node, one is none of these, or two stages have one name.
        ConfigurationError: *name* cannot be a name.
    """
    flow = "pipeline" if name is None else options.name("Pipeline.name", name)
    placed = [_part(flow, position, node) for position, node in enumerate(_listed(flow, nodes))]
    if not placed:
        raise CompilationError(flow, "it has no nodes; give it at least one stage or function")
    check_names(flow, ((each.name, place) for place, part in placed for each in part.stages))
    parts = [part for _, part in placed]
    edges: list[Edge] = []
    ends: tuple[str, ...] = ()
    for part in parts:
        edges += ((end, part.entry) for end in ends)
        edges += part.edges
        ends = part.exits
    return Plan(
        name=flow,
        stages=tuple(each for part in parts for each in part.stages),
        edges=tuple(edges),
        entry=parts[0].entry,
        exits=ends,
    )


def _listed(flow: str, nodes: Any) -> list[Any]:
    unordered = isinstance(nodes, (str, bytes, Mapping, Set))
    if unordered or not isinstance(nodes, Iterable):
        raise CompilationError(
            flow, f"nodes must be a list, such as [fetch, parse], got {nodes!r:.200}"
        )
    return list(nodes)


def _part(flow: str, position: int, node: Any) -> tuple[str, Plan]:
    """The node as a plan, and what messages call its place."""
    place = f"nodes[{position}]"
    inner = getattr(node, "plan", None)
    if isinstance(inner, Plan):
        return f"{place} (flow {inner.name!r})", inner
    if not isinstance(node, Stage):
        wanted = wanted_of(node, "a stage, a function or a flow")
        if wanted:
            raise CompilationError(flow, f"{place} must be {wanted}, got {node!r:.200}")
        try:
            node = stage(node)
        except ConfigurationError as error:
            raise CompilationError(flow, f"{place}: {error}") from error
    alone = Plan(name=node.name, stages=(node,), edges=(), entry=node.name, exits=(node.name,))
    return place, alone
