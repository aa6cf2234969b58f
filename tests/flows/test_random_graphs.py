"""Random flows against a plain interpreter, with kills: the same values, and nothing lost.

A value is a term that says what was done to it, such as ``b(a0(7))``, so that two that
are equal have gone the same way.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any
from unittest.mock import patch

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import Batch, Fixed, Parallel, Pipeline, Retry, Route, Send, Stage, Turn, stage
from actorflow.durability import cut
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom
from tests.flows.lives import SECONDS, Life, Mortal, TapeSink, live

KINDS = ["one", "one", "many", "skip", "fail", "flaky"]


@attrs.frozen
class Leaf:
    """A stage: what it does depends on its name and the value alone."""

    kind: str
    workers: int = 1
    capacity: int = 2
    waits: int = 0
    batch: int = 0


@attrs.frozen
class Fork:
    branches: list[list[Any]]
    join: bool


@attrs.frozen
class Choice:
    bodies: list[list[Any]]


def nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    rows = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        st.builds(Fork, st.lists(rows, min_size=1, max_size=3), st.booleans()),
        st.builds(Choice, st.lists(rows, min_size=1, max_size=2)),
    )


leaves = st.builds(
    Leaf,
    kind=st.sampled_from(KINDS),
    workers=st.integers(1, 3),
    capacity=st.integers(0, 3),
    waits=st.integers(0, 2),
)
anything = st.recursive(leaves, nodes, max_leaves=6)
batches = st.builds(
    Leaf, kind=st.just("batch"), capacity=st.integers(1, 3), batch=st.integers(1, 4)
)
ends = st.lists(
    st.tuples(st.sampled_from(["before", "landed", "step"]), st.integers(0, 12)), max_size=4
)


def draw(name: str, value: Any, sides: int) -> int:
    """The same chance every time."""
    return zlib.crc32(f"{name} {value}".encode()) % sides


class Dead(Exception):
    """What the interpreter raises where a piece dies."""


class Interpreter:
    """Does what the flow does, one value at a time."""

    def __init__(self) -> None:
        self.died = False

    def row(self, listed: list[Any], place: str, value: Any) -> list[Any]:
        values = [value]
        for number, node in enumerate(listed):
            where = f"{place}{number}"
            values = [each for value in values for each in self.node(node, where, value)]
        return values

    def node(self, node: Any, name: str, value: Any) -> list[Any]:
        if isinstance(node, Leaf):
            return self.leaf(node, name, value)
        if isinstance(node, Choice):
            chosen = draw(name, value, len(node.bodies))
            return self.row(node.bodies[chosen], f"{name}.{chosen}.", f"{name}({value})")
        if not node.join:
            for slot, branch in enumerate(node.branches):
                self.row(branch, f"{name}.{slot}.", value)
            return [value]
        before, self.died = self.died, False
        joined = []
        for slot, branch in enumerate(node.branches):
            found = self.row(branch, f"{name}.{slot}.", value)
            joined.append(found if many(branch) else found[0] if found else None)
        died, self.died = self.died, self.died or before
        return [] if died else [joined]

    def leaf(self, leaf: Leaf, name: str, value: Any) -> list[Any]:
        match leaf.kind:
            case "many":
                return [f"{name}{index}({value})" for index in range(draw(name, value, 4))]
            case "skip" if not draw(name, value, 4):
                return []
            case "fail" if not draw(name, value, 6):
                self.died = True
                return []
        return [f"{name}({value})"]


def many(listed: list[Any]) -> bool:
    """Whether a branch may give several values."""
    for node in listed:
        if isinstance(node, Leaf):
            found = node.kind == "many"
        elif isinstance(node, Choice):
            found = any(map(many, node.bodies))
        else:
            found = any(map(many, node.branches))
        if found:
            return True
    return False


class World:
    """Builds the flow of a plan."""

    def __init__(self) -> None:
        self.life: Life | None = None

    def row(self, listed: list[Any], place: str) -> list[Any]:
        return [
            each
            for number, node in enumerate(listed)
            for each in self.node(node, f"{place}{number}")
        ]

    def node(self, node: Any, name: str) -> list[Any]:
        if isinstance(node, Leaf):
            return [self.leaf(node, name)]
        if isinstance(node, Choice):
            table = {
                str(each): self.row(body, f"{name}.{each}.")
                for each, body in enumerate(node.bodies)
            }

            async def choose(value: Any) -> Send:
                return Send(str(draw(name, value, len(node.bodies))), f"{name}({value})")

            return [stage(choose, name=name), Route(table)]
        rows = [self.row(each, f"{name}.{slot}.") for slot, each in enumerate(node.branches)]
        return [Parallel(rows, join=node.join, name=f"{name}+")]

    def leaf(self, leaf: Leaf, name: str) -> Stage[Any, Any]:
        async def work(value: Any, ctx: Turn) -> None:
            assert self.life is not None
            self.life.step()
            for _ in range(leaf.waits):
                await trio.lowlevel.checkpoint()
            if leaf.kind == "flaky" and ctx.attempt == 1 and not draw(name, value, 2):
                raise Boom
            if leaf.kind == "fail" and not draw(name, value, 6):
                raise Boom

        async def several(value: Any, ctx: Turn) -> Any:
            await work(value, ctx)
            for index in range(draw(name, value, 4)):
                yield f"{name}{index}({value})"

        async def batched(values: list[Any], ctx: Turn) -> Any:
            await work(values, ctx)
            for value in values:
                yield f"{name}({value})"

        async def one(value: Any, ctx: Turn) -> Any:
            await work(value, ctx)
            if leaf.kind == "skip" and not draw(name, value, 4):
                return ctx.skip()
            return f"{name}({value})"

        return stage(
            {"many": several, "batch": batched}.get(leaf.kind, one),
            name=name,
            workers=leaf.workers,
            capacity=leaf.capacity,
            batch=Batch(leaf.batch) if leaf.batch else None,
            policies=[] if leaf.kind == "fail" else [Retry(60, backoff=Fixed(0.0))],
        )


@given(
    rows=st.lists(st.one_of(anything, batches), min_size=1, max_size=3),
    items=st.integers(1, 10),
    ordered=st.booleans(),
    ends=ends,
    slice_=st.sampled_from([1, cut.SLICE]),
)
@settings(max_examples=120, deadline=None)
def test_a_flow_gives_what_a_plain_interpreter_gives_over_any_kills(
    rows: list[Any], items: int, ordered: bool, ends: list[tuple[str, int]], slice_: int
) -> None:
    world, disk, tape, reports = World(), MemoryDisk(), list[Any](), list[Any]()
    flow: Pipeline[Any, Any] = Pipeline(world.row(rows, "s"), name="flow")

    async def feed(run: Any) -> None:
        await run.feed_from(range(items))

    async def one_life(commits: int | None, landed: bool, steps: int | None) -> None:
        world.life = Life(Mortal(disk, commits, landed=landed), steps)
        with trio.fail_after(SECONDS):
            sink = TapeSink(tape)
            reports.append(
                await live(flow, world.life, feed, run_id="run", sink=sink, ordered=ordered)
            )

    with patch.object(cut, "SLICE", slice_):
        for kind, count in ends:
            steps, commits = (count + 1, None) if kind == "step" else (None, count)
            trio.run(one_life, commits, kind == "landed", steps)
        trio.run(one_life, None, False, None)

    expected: Counter[Any] = Counter()
    counts = {"fed": items, "done": 0, "skipped": 0, "dead": 0, "held": 0}
    for item in range(items):
        plain = Interpreter()
        out = plain.row(rows, "s", item)
        expected.update(map(str, out))
        counts["dead" if plain.died else "done" if out else "skipped"] += 1
    assert Counter(map(str, tape)) == expected
    if any(isinstance(each, Leaf) and each.batch for each in rows):
        assert (reports[-1].counts["fed"], reports[-1].counts["held"]) == (items, 0)
    else:  # The items of a batch share their fate.
        assert reports[-1].counts == counts
