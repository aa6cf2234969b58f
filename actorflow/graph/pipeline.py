"""Compile a list of nodes, each feeding the next, to a `Plan`.

    [fetch, parse, checks, save]     checks = Pipeline([spell, price])
       │      │      │      │
       ▼      ▼      ▼      ▼
    fetch ► parse ► spell ► price ► save

    [fetch, Parallel([spell, price]), save]

    fetch ─┬─► spell ─┬─► spell+price ► save        spell+price waits for both
           └─► price ─┘

    [rank, Route({"gold": vip, "tin": queue}), save]

    rank ─┬─ gold ─► vip ───┬─► save
          └─ tin ──► queue ─┘

Every node becomes a small plan, and plans are joined end to end; so a function, a
stage, branches, routes and a whole flow are treated alike, to any depth. A mistake is
named with flow and position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Protocol, TypeAlias

import attrs

from actorflow import options
from actorflow.errors import CompilationError, ConfigurationError
from actorflow.graph.folding import fold
from actorflow.graph.handler import wanted_of
from actorflow.graph.joining import as_they_are, is_wiring, joining
from actorflow.graph.nesting import stages_of
from actorflow.graph.nodes import Parallel, Route
from actorflow.graph.plan import Edge, Join, Plan, check_names
from actorflow.graph.stage import Stage, stage

__all__ = ["Flow", "Node", "compile_pipeline"]


class Flow(Protocol):
    """Anything that has been compiled."""

    @property
    def plan(self) -> Plan: ...


Node: TypeAlias = (
    "Stage[Any, Any] | Callable[..., Any] | Flow | Parallel | Route | Mapping[str, Any]"
)


def compile_pipeline(
    nodes: Iterable[Node], *, name: str | None = None, auto_parallel: bool = True
) -> Plan:
    """Put *nodes* one behind the other.

    Args:
        nodes: Stages, plain functions, flows, `Parallel` and `Route`, in order; at least one. A
            dict is short for a `Route`.
        name: Name of the flow; ``pipeline`` if not given.
        auto_parallel: Whether stages of contexts that stand in a row and need nothing of each
            other, by what they declare to read and write, run side by side.

    Raises:
        CompilationError: There is no node, one is none of these, or two stages have one name.
        ConfigurationError: *name* cannot be a name.
    """
    flow = "pipeline" if name is None else options.name("Pipeline.name", name)
    compiler = _Compiler(flow, options.flag("auto_parallel", auto_parallel))
    whole = compiler.row(_listed(flow, "nodes", nodes), "nodes")
    check_names(flow, compiler.places)
    return Plan(
        name=flow,
        stages=tuple(whole.stages),
        edges=tuple(whole.edges),
        entry=whole.entry,
        exits=tuple(whole.ends),
        joins=tuple(whole.joins),
        loose=tuple(whole.loose),
    )


@attrs.define
class _Part:
    """Some stages with the edges between them.

    Attributes:
        entry: Name of the stage that gets what comes in.
        ends: Names of the stages whose values go on.
    """

    entry: str
    ends: list[str]
    stages: list[Stage[Any, Any]] = attrs.Factory(list)
    edges: list[Edge] = attrs.Factory(list)
    joins: list[Join] = attrs.Factory(list)
    loose: list[frozenset[str]] = attrs.Factory(list)

    def take(self, other: _Part) -> None:
        """Have what *other* has, beside it."""
        self.stages += other.stages
        self.edges += other.edges
        self.joins += other.joins
        self.loose += other.loose

    def many(self) -> bool:
        """Whether one value that goes in may come out as several."""
        return any(each.many for each in self.stages)


class _Compiler:
    """Compiles the nodes of one flow.

    Attributes:
        places: Every stage's name, and where it stands, such as ``nodes[2]``.
    """

    def __init__(self, flow: str, auto_parallel: bool) -> None:
        self.flow = flow
        self._folds = auto_parallel
        self.places: list[tuple[str, str]] = []

    def row(self, nodes: Sequence[Any], where: str) -> _Part:
        """*nodes* one behind the other."""
        if not nodes:
            what = "it has no nodes" if where == "nodes" else f"{where} is empty"
            detail = f"{what}; give it at least one stage or function"
            raise CompilationError(self.flow, detail)
        row: _Part | None = None
        for position, node in fold(nodes) if self._folds else enumerate(nodes):
            place = f"{where}[{position}]"
            if isinstance(node, Mapping):
                node = self._routes(node, place)
            if isinstance(node, Route):
                self._refuse_without_sender(row, place)
                assert row is not None
                self._route(row, node, place)
            elif isinstance(node, Parallel):
                if row is None:
                    row = self._before(node, place)
                self._parallel(row, node, place)
            else:
                part = self._leaf(node, place)
                if row is None:
                    row = part
                else:
                    row.edges += (Edge(end, part.entry) for end in row.ends)
                    row.take(part)
                    row.ends = part.ends
        assert row is not None
        return row

    def _routes(self, table: Mapping[str, Any], place: str) -> Route:
        try:
            return Route(table)
        except ConfigurationError as error:
            raise CompilationError(self.flow, f"{place}: {error}") from error

    def _branch(self, node: Any, where: str) -> _Part:
        """A node or a list of nodes."""
        listed = isinstance(node, (list, tuple))
        return self.row(node if listed else [node], where)

    def _leaf(self, node: Any, place: str) -> _Part:
        """A stage, a function or a whole flow."""
        inner = getattr(node, "plan", None)
        if isinstance(inner, Plan):
            self.places += ((each.name, f"{place} (flow {inner.name!r})") for each in inner.stages)
            return _Part(
                inner.entry,
                list(inner.exits),
                list(stages_of(self.flow, node, inner, place)),
                list(inner.edges),
                list(inner.joins),
                list(inner.loose),
            )
        if not isinstance(node, Stage):
            wanted = wanted_of(node, "a stage, a function or a flow")
            if wanted:
                raise CompilationError(self.flow, f"{place} must be {wanted}, got {node!r:.200}")
            try:
                node = stage(node)
            except ConfigurationError as error:
                raise CompilationError(self.flow, f"{place}: {error}") from error
        return self._alone(node, place)

    def _alone(self, node: Stage[Any, Any], place: str) -> _Part:
        self.places.append((node.name, place))
        return _Part(node.name, [node.name], [node])

    def _before(self, node: Parallel, place: str) -> _Part:
        """What gives a `Parallel` its values where there is no stage before it."""
        return self._alone(as_they_are(f"before {self._name(node, place)}"), place)

    def _name(self, node: Parallel, place: str) -> str:
        """Of the stage that joins, made of the first stages of the branches."""
        if node.name is not None:
            return node.name
        names = [_first_name(each) for each in node.branches]
        return "+".join(names)[:200]

    def _parallel(self, row: _Part, node: Parallel, place: str) -> None:
        branches = [
            self._branch(each, f"{place}.branches[{slot}]")
            for slot, each in enumerate(node.branches)
        ]
        if not node.join:
            for each in branches:
                row.edges += (Edge(end, each.entry) for end in row.ends)
                row.take(each)
            return  # The item itself goes on from where it was.
        self._refuse_conflicts(branches, place)
        name = self._name(node, place)
        many = tuple(each.many() for each in branches)
        for slot, each in enumerate(branches):
            row.edges += (Edge(end, each.entry, slot=slot, join=name) for end in row.ends)
            row.take(each)
            self._refuse_batches(each, place)
        row.edges += (Edge(end, name) for each in branches for end in each.ends)
        row.joins.append(Join(name, node.keys, many, node.strict))
        row.stages.append(joining(name, node.keys))
        self.places.append((name, place))
        row.ends = [name]

    def _refuse_without_sender(self, row: _Part | None, place: str) -> None:
        """What stands before a `Route` must be able to return `Send`."""
        made = None if row is None else next((e for e in row.ends if is_wiring(_of(row, e))), None)
        if row is None:
            detail = f"{place} is a Route; put the stage before it that returns Send(...)"
            raise CompilationError(self.flow, detail)
        if made is not None:
            detail = (
                f"{place} is a Route behind {made!r}, which returns no Send(...); put a stage "
                "between them that does"
            )
            raise CompilationError(self.flow, detail, (made,))
        ends = [] if row is None else [_of(row, end) for end in row.ends]
        for each in ends:
            if each.contextual and "generator" in each.kind:
                detail = (
                    f"{place} is a Route behind {each.name!r}, a generator of contexts: what it "
                    "yields is gathered and chooses no route; put a stage between them that "
                    "returns Send(...)"
                )
                raise CompilationError(self.flow, detail, (each.name,))

    def _refuse_conflicts(self, branches: list[_Part], place: str) -> None:
        """What two branches both say that they write cannot be put together."""
        writers: dict[str, dict[int, str]] = {}
        for slot, branch in enumerate(branches):
            for each in branch.stages:
                for key in each.writes or ():
                    writers.setdefault(key, {}).setdefault(slot, each.name)
        for key, names in writers.items():
            if len(names) > 1:
                listed = " and ".join(map(repr, names.values()))
                detail = f"{place}: {listed} both write {key!r}; let each write a key of its own"
                raise CompilationError(self.flow, detail, tuple(names.values()))

    def _refuse_batches(self, branch: _Part, place: str) -> None:
        """A batch mixes items, and a join keeps the branches of one item together."""
        batched = next((each for each in branch.stages if each.batch is not None), None)
        edge = next((each for each in branch.edges if each.batch is not None), None)
        if batched is not None or edge is not None:
            name = batched.name if batched else edge.end  # type: ignore[union-attr]
            detail = (
                f"{place} joins a branch with a batch, in stage {name!r}; put the batch before or "
                "behind the Parallel, or say join=False"
            )
            raise CompilationError(self.flow, detail, (name,))

    def _route(self, row: _Part, node: Route, place: str) -> None:
        bodies: list[tuple[str | None, _Part]] = [
            (route, self._branch(body, f"{place}[{route!r}]")) for route, body in node.table.items()
        ]
        if node.default is not None:
            bodies.append((None, self._branch(node.default, f"{place}.default")))
        ends: list[str] = []
        for route, body in bodies:
            row.edges += (
                Edge(end, body.entry, route=route, otherwise=route is None) for end in row.ends
            )
            row.take(body)
            ends += body.ends
        row.ends = ends


def _of(part: _Part, name: str) -> Stage[Any, Any]:
    return next(each for each in part.stages if each.name == name)


def _first_name(node: Any) -> str:
    if isinstance(node, (list, tuple)) and node:
        return _first_name(node[0])
    if isinstance(node, Parallel):
        return "+".join(map(_first_name, node.branches))
    name = getattr(node, "name", None) or getattr(node, "__name__", None) or type(node).__name__
    return str(name).strip("<>")


def _listed(flow: str, what: str, nodes: Any) -> list[Any]:
    unordered = isinstance(nodes, (str, bytes, Mapping, Set))
    if unordered or not isinstance(nodes, Iterable):
        raise CompilationError(
            flow, f"{what} must be a list, such as [fetch, parse], got {nodes!r:.200}"
        )
    return list(nodes)
