"""Plans of flows, as data: drawn, built, printed (`flow_scripts`), interpreted (`flow_plain`).

row ──► Step   a stage
    ──► Fork   Parallel, joined or not
    ──► Choice a stage that sends, and a Route
    ──► Net    a Graph, with conditions and perhaps an edge back
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs

from actorflow.errors import ConfigurationError
from actorflow.flows.graph import Graph
from actorflow.flows.pipeline import Pipeline
from actorflow.graph.nodes import Parallel, Route
from actorflow.graph.stage import Stage, stage
from actorflow.testing import flow_handlers
from actorflow.testing.flow_scripts import called, listed, mapped

__all__ = [
    "Choice",
    "DrawnGraph",
    "DrawnPipeline",
    "Fork",
    "Net",
    "Node",
    "Row",
    "Step",
    "drawn",
    "flow_script",
    "steps_of",
]


@attrs.frozen
class Step:
    """A stage.

    Attributes:
        name: Of the stage.
        does: Name of its handler in `flow_handlers`.
        options: Of the stage.
    """

    name: str
    does: str
    options: tuple[tuple[str, Any], ...] = ()


@attrs.frozen
class Fork:
    """Branches side by side."""

    name: str
    branches: tuple[Row, ...]
    join: bool


@attrs.frozen
class Choice:
    """One of two ways."""

    name: str
    even: Row
    odd: Row


@attrs.frozen
class Net:
    """A graph.

    Attributes:
        name: Of the graph.
        steps: Its stages.
        ahead: From which to which, and whether only values of `heads` go there.
        back: From which to which, and how often at most.
    """

    name: str
    steps: tuple[Step, ...]
    ahead: tuple[tuple[int, int, bool], ...]
    back: tuple[tuple[int, int, int], ...]


Node: TypeAlias = "Step | Fork | Choice | Net"
Row: TypeAlias = "tuple[Node, ...]"


def steps_of(row: Row) -> Iterator[Step]:
    """All stages with a handler, at any depth."""
    for node in row:
        match node:
            case Step():
                yield node
            case Net():
                yield from node.steps
            case Fork():
                for branch in node.branches:
                    yield from steps_of(branch)
            case Choice():
                yield Step(node.name, "odd_or_even")
                yield from steps_of(node.even + node.odd)


# Building -----------------------------------------------------------------------------------------


def _stage(step: Step) -> Stage[Any, Any]:
    handler = getattr(flow_handlers, step.does)
    declared: Stage[Any, Any] = stage(handler, name=step.name, **dict(step.options))
    return declared


def _nodes(row: Row) -> list[Any]:
    nodes: list[Any] = []
    for node in row:
        match node:
            case Step():
                nodes.append(_stage(node))
            case Fork():
                rows = [_nodes(branch) for branch in node.branches]
                nodes.append(Parallel(rows, join=node.join, name=node.name))
            case Choice():
                table = {"even": _nodes(node.even), "odd": _nodes(node.odd)}
                nodes += [stage(flow_handlers.odd_or_even, name=node.name), Route(table)]
            case Net():
                nodes.append(_connected(Graph(node.name), node))
    return nodes


def _connected(graph: Graph[Any, Any], net: Net) -> Graph[Any, Any]:
    graph.add(*map(_stage, net.steps))
    names = [each.name for each in net.steps]
    for start, end, asks in net.ahead:
        graph.connect(names[start], names[end], when=flow_handlers.heads if asks else None)
    for start, end, most in net.back:
        graph.connect(names[start], names[end], feedback=True, max_depth=most)
    return graph


class DrawnPipeline(Pipeline[Any, Any]):
    """A pipeline that prints as the Python that makes it again.

    Args:
        row: What it is made of.
        name: Of the flow.
        **given: Other arguments of `Pipeline`.

    Attributes:
        row: What it is made of.
        given: Those arguments.
    """

    def __init__(self, row: Row, name: str, **given: Any) -> None:
        self.row, self.given = row, given
        super().__init__(_nodes(row), name=name, **given)

    def __repr__(self) -> str:
        return called("Pipeline", [listed(_sources(self.row))], name=self.name, **self.given)


class DrawnGraph(Graph[Any, Any]):
    """The same of a graph.

    Args:
        net: What it is made of.
        **given: Other arguments of `Graph`.

    Attributes:
        net: What it is made of.
        row: That alone.
        given: Those arguments.
    """

    def __init__(self, net: Net, **given: Any) -> None:
        self.net = net
        self.row: Row = (net,)
        self.given = given
        super().__init__(net.name, **given)
        _connected(self, net)

    def __repr__(self) -> str:
        return _graph_source(self.net, **self.given)


def drawn(call: str, flow: object) -> DrawnPipeline | DrawnGraph:
    """The *flow* that *call* was given.

    Raises:
        ConfigurationError: It was not drawn, so that nobody knows what its handlers do.
    """
    if not isinstance(flow, (DrawnPipeline, DrawnGraph)):
        raise ConfigurationError(f"{call} flow", flow, "a flow that flows() has drawn")
    return flow


# Printing -----------------------------------------------------------------------------------------


def flow_script(flow: Any) -> str:
    """A program that makes a flow of `flows()` again, and calls it ``flow``.

    Args:
        flow: What the strategy gave.

    Raises:
        ConfigurationError: It is another one.
    """
    text = repr(drawn("flow_script()", flow))
    words = set(re.findall(r"\b[a-zA-Z_]+\b(?!')", text))
    ours = ", ".join(sorted(words.intersection(flow_handlers.__all__)))
    public = {"Batch", "Fixed", "Graph", "Parallel", "Pipeline", "Retry", "Route", "Timeout"}
    theirs = ", ".join([*sorted(words & public), "stage"])
    return (
        f"from actorflow import {theirs}\n"
        f"from actorflow.testing.flow_handlers import {ours}\n\n"
        f"flow = {text}\n"
    )


def _sources(row: Row) -> list[str]:
    """Each node as the Python that makes it."""
    sources: list[str] = []
    for node in row:
        match node:
            case Step():
                sources.append(_stage_source(node))
            case Fork():
                rows = listed([listed(_sources(branch)) for branch in node.branches])
                others = {} if node.join else {"join": False}
                sources.append(called("Parallel", [rows], name=node.name, **others))
            case Choice():
                bodies = {"even": node.even, "odd": node.odd}
                table = mapped({side: listed(_sources(body)) for side, body in bodies.items()})
                sources += [_stage_source(Step(node.name, "odd_or_even")), f"Route({table})"]
            case Net():
                sources.append(_graph_source(node))
    return sources


def _stage_source(step: Step) -> str:
    return called("stage", [step.does], name=step.name, **dict(step.options))


def _graph_source(net: Net, **given: Any) -> str:
    text = called("Graph", [repr(net.name)], **given)
    text += called(".add", list(map(_stage_source, net.steps)))
    for start, end, asks in net.ahead:
        when = ", when=heads" if asks else ""
        text += f".connect({net.steps[start].name!r}, {net.steps[end].name!r}{when})"
    for start, end, most in net.back:
        ends = f"{net.steps[start].name!r}, {net.steps[end].name!r}"
        text += f".connect({ends}, feedback=True, max_depth={most})"
    return text
