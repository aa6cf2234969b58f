"""Which stages of contexts can run side by side, though they were written one behind the other.

    [fetch, price, stock, page]      price  reads id, writes price
                                     stock  reads id, writes stock
    fetch ─┬─► price ─┬─► page
           └─► stock ─┘

Only what stages declare counts: one that does not say what it reads and what it writes
stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from actorflow.graph.nodes import Parallel, Route
from actorflow.graph.stage import Stage

__all__ = ["fold"]


def fold(nodes: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """*nodes* with their positions; those that need nothing of each other as one `Parallel`."""
    group: list[Stage[Any, Any]] = []
    began = 0
    for position, node in enumerate(nodes):
        routes = position + 1 < len(nodes) and isinstance(nodes[position + 1], (Mapping, Route))
        if _says_all(node) and not routes and all(_apart(each, node) for each in group):
            began = began if group else position
            group.append(node)
            continue
        yield from _group(began, group)
        group = []
        if _says_all(node) and not routes:
            began, group = position, [node]
        else:
            yield position, node
    yield from _group(began, group)


def _group(position: int, group: list[Stage[Any, Any]]) -> Iterator[tuple[int, Any]]:
    if len(group) == 1:
        yield position, group[0]
    elif group:
        folded = Parallel(group)
        folded.strict = True
        yield position, folded


def _says_all(node: Any) -> bool:
    return isinstance(node, Stage) and node.reads is not None and node.writes is not None


def _apart(one: Stage[Any, Any], other: Stage[Any, Any]) -> bool:
    """Whether neither needs what the other writes."""
    reads, writes = set(one.reads or ()), set(one.writes or ())
    theirs, wrote = set(other.reads or ()), set(other.writes or ())
    return not (writes & theirs or reads & wrote or writes & wrote)
