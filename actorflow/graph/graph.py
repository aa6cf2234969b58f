"""Compile nodes and edges to a `Plan`, and refuse what could never end or never begin.

a ──► b ──► d          a value goes to every stage that an edge leads to
a ──► c ──► d
      c ╌╌► a          feedback: a circle on purpose
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import attrs

from actorflow.errors import CompilationError
from actorflow.graph.joining import as_they_are
from actorflow.graph.plan import Edge, Plan, check_names

__all__ = ["compile_graph"]


def compile_graph(flow: str, parts: Mapping[str, Plan], edges: Iterable[Edge]) -> Plan:
    """Put *parts* together.

    Args:
        flow: Name of the flow.
        parts: What was added, by name: plans of one stage, or of a whole flow.
        edges: Between the parts, by these names.

    Raises:
        CompilationError: There is no stage, two have one name, edges make a circle and none of
            them is marked ``feedback=True``, one is so marked and closes no circle, two tell keys
            apart in different ways for one stage, or batches lead to a stage of contexts.
    """
    if not parts:
        raise CompilationError(flow, "it has no stages; add at least one")
    named = [
        (stage.name, f"node {name!r}") for name, each in parts.items() for stage in each.stages
    ]
    check_names(flow, named)
    between = tuple(edges)
    ahead = [edge for edge in between if not edge.feedback]
    _refuse_circles(flow, parts, ahead)
    _refuse_idle_feedback(flow, between)
    _refuse_two_keys(flow, between)
    fed = {edge.end for edge in ahead}
    ends = [name for name in parts if all(edge.start != name for edge in between)]
    if not ends:  # Then what only leads back comes out as well.
        ends = [name for name in parts if all(edge.start != name for edge in ahead)]
    starts = [name for name in parts if name not in fed]
    stages = [stage for each in parts.values() for stage in each.stages]
    _refuse_batches_of_contexts(flow, parts, between)
    inner = [edge for each in parts.values() for edge in each.edges]
    outer = [
        attrs.evolve(edge, start=end, end=parts[edge.end].entry)
        for edge in between
        for end in parts[edge.start].exits
    ]
    if len(starts) == 1:
        entry = parts[starts[0]].entry
    else:
        first = as_they_are(f"before {'+'.join(sorted(starts))}"[:200])
        stages.insert(0, first)
        entry = first.name
        outer = [*(Edge(entry, parts[name].entry) for name in starts), *outer]
    return Plan(
        name=flow,
        stages=tuple(stages),
        edges=(*inner, *outer),
        entry=entry,
        exits=tuple(end for name in ends for end in parts[name].exits),
        joins=tuple(join for each in parts.values() for join in each.joins),
        loose=(frozenset(each.name for each in stages),),
    )


def _refuse_circles(flow: str, names: Iterable[str], edges: list[Edge]) -> None:
    """Take away what is fed by nothing until nothing is left, or only circles."""
    left = set(names)
    waits = {name: {edge.start for edge in edges if edge.end == name} for name in left}
    follows: dict[str, list[str]] = {name: [] for name in left}
    for edge in edges:
        follows[edge.start].append(edge.end)
    free = [name for name in left if not waits[name]]
    while free:
        name = free.pop()
        left.discard(name)
        for end in follows[name]:
            waits[end].discard(name)
            if not waits[end] and end in left:
                free.append(end)
    if left:
        circle = _from_the_front(_circle(min(left), waits, left), edges)
        detail = (
            f"{' -> '.join(map(repr, circle))} is a circle; if that is meant, mark the edge that "
            f"leads back: connect({circle[-2]!r}, {circle[-1]!r}, feedback=True)"
        )
        raise CompilationError(flow, detail, tuple(circle[:-1]))


def _circle(start: str, waits: Mapping[str, set[str]], left: set[str]) -> list[str]:
    """A circle among *left*, in the direction of its edges."""
    way = [start]
    while True:
        before = min(name for name in waits[way[-1]] if name in left)
        if before in way:
            circle = [*way[way.index(before) :], before]
            return circle[::-1]
        way.append(before)


def _from_the_front(circle: list[str], edges: list[Edge]) -> list[str]:
    """*circle*, turned so that its edge that was declared last closes it."""
    declared = {(edge.start, edge.end): number for number, edge in enumerate(edges)}
    pairs = list(itertools.pairwise(circle))
    last = max(range(len(pairs)), key=lambda at: declared[pairs[at]])
    turned = [start for start, _ in pairs[last + 1 :] + pairs[: last + 1]]
    return [*turned, turned[0]]


def _refuse_idle_feedback(flow: str, edges: tuple[Edge, ...]) -> None:
    for edge in edges:
        if edge.feedback and not _leads(edge.end, edge.start, edges):
            detail = (
                f"the edge {edge.start!r} -> {edge.end!r} is marked feedback=True and closes no "
                "circle; leave the mark out"
            )
            raise CompilationError(flow, detail, (edge.start, edge.end))


def _refuse_batches_of_contexts(
    flow: str, parts: Mapping[str, Plan], edges: tuple[Edge, ...]
) -> None:
    for edge in edges:
        entry = parts[edge.end].stage(parts[edge.end].entry)
        if edge.batch is not None and entry.contextual:
            detail = (
                f"the edge {edge.start!r} -> {edge.end!r} makes batches, and stage {entry.name!r} "
                "works on one Context at a time"
            )
            raise CompilationError(flow, detail, (edge.start, edge.end))


def _refuse_two_keys(flow: str, edges: tuple[Edge, ...]) -> None:
    """A stage knows one key of each value that enters it."""
    known: dict[str, Edge] = {}
    for edge in edges:
        if edge.dedupe is None:
            continue
        other = known.setdefault(edge.end, edge)
        if other.dedupe is not edge.dedupe:
            detail = (
                f"the edges {other.start!r} -> {edge.end!r} and {edge.start!r} -> {edge.end!r} "
                "have different functions for dedupe; give both the same one"
            )
            raise CompilationError(flow, detail, (other.start, edge.start, edge.end))


def _leads(start: str, end: str, edges: tuple[Edge, ...]) -> bool:
    """Whether edges that are no feedback lead from *start* to *end*."""
    seen, frontier = {start}, [start]
    while frontier:
        here = frontier.pop()
        if here == end:
            return True
        further = {each.end for each in edges if each.start == here and not each.feedback} - seen
        seen |= further
        frontier += further
    return False
