"""Generate flows, for Hypothesis and by a seed.

    @given(flow=flows())
    def test_my_middleware_changes_nothing(flow):
        assert trio.run(flow.map, [1, 2, 3]) == ...

A flow shrinks towards one plain stage, and prints as the Python that makes it again;
`flow_script` is the whole program. Stages are called ``a``, ``b`` and so on, as they are drawn.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.graph.nodes import Batch
from actorflow.testing.draws import Draws, chosen, one_more, perhaps, strategy_of
from actorflow.testing.flow_handlers import AGAIN, LATER, by_value
from actorflow.testing.flow_plans import (
    Choice,
    DrawnGraph,
    DrawnPipeline,
    Fork,
    Net,
    Node,
    Row,
    Step,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["draw_flow", "flows"]

NAMES = string.ascii_lowercase

#: What stages do, the simplest first.
DEEDS = ("mark", "several", "some", "flaky", "slow", "failing", "threaded", "remote")

CAPACITIES = (256, 0, 1, 2)


def flows(
    *, max_stages: int = 8, name: str = "drawn", **flow_options: Any
) -> SearchStrategy[DrawnPipeline | DrawnGraph]:
    """Flows over a few named handlers: generators, batches, retries, branches, routes and graphs,
    with workers, capacities and keys.

    `plain` says what comes out of one, whatever happens to it.

    Args:
        max_stages: Most stages that one is made of; 26 at most.
        name: Of the flow, and the first part of its paths.
        **flow_options: For the flow, such as ``policies`` or ``middleware``.

    Raises:
        MissingExtra: hypothesis is not installed.
        ConfigurationError: *max_stages* or *name* is wrong.
    """
    if options.count("flows() max_stages", max_stages) > len(NAMES):
        raise ConfigurationError("flows() max_stages", max_stages, "26 at most")
    options.name("flows() name", name)
    return strategy_of("flows", lambda draws: draw_flow(draws, max_stages, name, **flow_options))


def draw_flow(
    draws: Draws, max_stages: int, name: str, **flow_options: Any
) -> DrawnPipeline | DrawnGraph:
    """A flow."""
    grower = _Grower(draws, max_stages, batches=perhaps(draws, 6))
    if max_stages > 1 and not grower.batches and perhaps(draws, 10):
        return DrawnGraph(grower.net(name), **flow_options)
    return DrawnPipeline(grower.row(top=True), name, **flow_options)


@attrs.define
class _Grower:
    """Draws a flow from the front to the end.

    Attributes:
        left: How many stages it may still have.
        batches: Whether it may have batches, and then no way back: how often a batch has gone
            back depends on what it was made of, which is chance.
        used: Names so far.
    """

    draws: Draws
    left: int
    batches: bool
    used: int = 0

    def name(self) -> str:
        self.used += 1
        self.left -= 1
        return NAMES[self.used - 1]

    def row(self, *, top: bool = False) -> Row:
        nodes: list[Node] = []
        while self.left > 0:
            following = one_more(self.draws, 3, lambda: self.node(top))
            if following is None:
                break
            nodes.append(following)
        return tuple(nodes) or (Step(self.name(), "mark"),)

    def node(self, top: bool) -> Node:
        kind = self.draws.number(0, 8)
        if kind < 5 or self.left < 3:
            return self.step(batch=top and self.batches and perhaps(self.draws, 3))
        name = self.name()
        if kind == 5:
            return self.net(name)
        if kind == 6:
            self.left -= 1  # For the other side.
            even = self.row()
            self.left += 1
            return Choice(name, even, self.row())
        branches = [self.row()]
        while self.left > 0 and len(branches) < 3:
            following = one_more(self.draws, 2, self.row)
            if following is None:
                break
            branches.append(following)
        return Fork(name, tuple(branches), join=not perhaps(self.draws, 3))

    def step(self, *, batch: bool = False) -> Step:
        name, draws = self.name(), self.draws
        does = "gather" if batch else chosen(draws, DEEDS)
        given: dict[str, Any] = {}
        if batch:
            given["batch"] = Batch(draws.number(1, 4))
        if does == "remote":
            given["runs_in"] = "process"
        if perhaps(draws, 3):
            given["workers"] = draws.number(2, 3)
        if perhaps(draws, 3):
            given["capacity"] = chosen(draws, (1, 2, 3) if batch else CAPACITIES)
        if not batch and perhaps(draws, 4):
            given["key"] = by_value
        if does == "flaky" or perhaps(draws, 6):
            given["policies"] = [chosen(draws, (AGAIN, LATER))]
        return Step(name, does, tuple(given.items()))

    def net(self, name: str) -> Net:
        draws = self.draws
        steps = [self.step()]
        while self.left > 0 and len(steps) < 3:
            following = one_more(draws, 3, self.step)
            if following is None:
                break
            steps.append(following)
        ahead = tuple(
            (start, end, perhaps(draws, 3))
            for end in range(len(steps))
            for start in range(end)
            if draws.number(0, 2)
        )
        back: tuple[tuple[int, int, int], ...] = ()
        if not self.batches and perhaps(draws, 3):
            end = draws.number(0, len(steps) - 1)
            start = draws.number(end, len(steps) - 1)
            if leads(ahead, end, start):
                back = ((start, end, draws.number(1, 2)),)
        return Net(name, tuple(steps), ahead, back)


def leads(edges: tuple[tuple[int, int, Any], ...], start: int, end: int) -> bool:
    """Whether there is a way from *start* to *end*."""
    found = {start}
    for _ in edges:
        found |= {there for here, there, _ in edges if here in found}
    return end in found
