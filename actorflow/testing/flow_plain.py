"""What comes out of a generated flow, said by a plain function, one value at a time.

No queue, no worker, no fault: what a flow gives over any number of crashes must be this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeAlias

import attrs

from actorflow.testing.flow_handlers import heads, lot
from actorflow.testing.flow_plans import (
    Choice,
    DrawnGraph,
    DrawnPipeline,
    Fork,
    Net,
    Node,
    Row,
    Step,
    drawn,
    steps_of,
)

__all__ = ["Plain", "plain"]

#: A value, and how often it has gone back.
Value: TypeAlias = "tuple[Any, int]"


@attrs.frozen
class Plain:
    """What comes out.

    Attributes:
        values: What comes out, as text, and how often.
        counts: As the report of a run has them; `None` of a flow with batches, whose items
            share their fate.
    """

    values: Counter[str]
    counts: dict[str, int] | None


def plain(flow: DrawnPipeline | DrawnGraph, items: Iterable[Any]) -> Plain:
    """What *flow* makes of *items*.

    Args:
        flow: What `flows()` gave.
        items: What it is fed.

    Raises:
        ConfigurationError: It is another flow.
    """
    row = drawn("plain()", flow).row
    values: Counter[str] = Counter()
    counts = {"fed": 0, "done": 0, "skipped": 0, "dead": 0, "held": 0}
    for item in items:
        interpreter = _Interpreter()
        out = interpreter.row(row, (item, 0))
        values.update(str(value) for value, _ in out)
        counts["fed"] += 1
        counts["dead" if interpreter.died else "done" if out else "skipped"] += 1
    batched = any(step.does == "gather" for step in steps_of(row))
    return Plain(values, None if batched else counts)


class _Interpreter:
    """Does what a flow does, to one item.

    Attributes:
        died: Whether a piece has died that somebody waits for.
    """

    def __init__(self) -> None:
        self.died = False

    def row(self, row: Row, value: Value) -> list[Value]:
        values = [value]
        for node in row:
            values = [out for each in values for out in self.node(node, each)]
        return values

    def node(self, node: Node, value: Value) -> list[Value]:
        match node:
            case Step():
                return self.step(node, value)
            case Net():
                fed = {end for _, end, _ in node.ahead}
                starts = [each for each in range(len(node.steps)) if each not in fed]
                return [out for start in starts for out in self.net(node, start, value)]
            case Choice():
                body = node.odd if lot(node.name, value[0], 2) else node.even
                return self.row(body, (f"{node.name}({value[0]})", value[1]))
            case Fork():
                return self.fork(node, value)

    def fork(self, fork: Fork, value: Value) -> list[Value]:
        before, self.died = self.died, False
        found = [self.row(branch, value) for branch in fork.branches]
        if not fork.join:
            self.died = before
            return [value]
        died, self.died = self.died, self.died or before
        if died:
            return []
        joined = [
            [each for each, _ in values]
            if _many(branch) or len(values) > 1
            else values[0][0]
            if values
            else None
            for branch, values in zip(fork.branches, found, strict=True)
        ]
        depths = [depth for values in found for _, depth in values if depth != value[1]]
        return [(joined, depths[-1] if depths else value[1])]

    def net(self, net: Net, here: int, value: Value) -> list[Value]:
        before = self.died
        ends = _ends(net)
        values = self.step(net.steps[here], value)
        if not _reaches(net, here, ends):  # Then nobody waits for it.
            self.died = before
        out: list[Value] = []
        for each, depth in values:
            for start, end, asks in net.ahead:
                if start == here and (not asks or heads(each)):
                    out += self.net(net, end, (each, depth))
            for start, end, most in net.back:
                if start == here and depth < most:
                    out += self.net(net, end, (each, depth + 1))
            if here in ends:
                out.append((each, depth))
        return out

    def step(self, step: Step, value: Value) -> list[Value]:
        name, (term, depth) = step.name, value
        match step.does:
            case "several":
                return [(f"{name}{at}({term})", depth) for at in range(lot(name, term, 4))]
            case "some" if not lot(name, term, 4):
                return []
            case "failing" if not lot(name, term, 6):
                self.died = True
                return []
            case "remote":
                return [(f"remote({term})", depth)]
            case "gather":
                return [(f"{name}({term})", 0)]
        return [(f"{name}({term})", depth)]


def _ends(net: Net) -> list[int]:
    """Stages that values come out of."""
    ahead = {start for start, _, _ in net.ahead}
    every = range(len(net.steps))
    both = ahead | {start for start, _, _ in net.back}
    return [each for each in every if each not in both] or [e for e in every if e not in ahead]


def _reaches(net: Net, here: int, ends: list[int]) -> bool:
    found = {here}
    edges = [*net.ahead, *net.back]
    for _ in edges:
        found |= {end for start, end, _ in edges if start in found}
    return not found.isdisjoint(ends)


def _many(row: Row) -> bool:
    return any(step.does in ("several", "gather") for step in steps_of(row))
