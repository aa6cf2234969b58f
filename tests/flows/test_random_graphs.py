"""Random flows against a plain interpreter, with kills: the same values, and nothing lost.

A value is a term that says what was done to it, such as ``b(a0(7))``, so that two that
are equal have gone the same way. Beside it goes its metadata, which some stages change and
some put into the term.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any, TypeAlias
from unittest.mock import patch

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import (
    Batch,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Route,
    Send,
    Stage,
    Turn,
    stage,
)
from actorflow.durability import cut
from actorflow.durability.memory import MemoryDisk
from actorflow.runtime.kernel import Kernel
from tests.flows.flowing import Boom
from tests.flows.lives import SECONDS, Life, Mortal, TapeSink, live

RETRY = Retry(60, backoff=Fixed(0.0))

#: Tries nothing again, and takes no message for poison that was there when a process died.
PATIENT = Retry(60, never_on=(Boom,))

KINDS = ["one", "one", "many", "skip", "fail", "flaky", "note", "tell"]

#: A term and its metadata.
Value: TypeAlias = "tuple[Any, dict[str, Any]]"


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


@attrs.frozen
class Mesh:
    """A graph: ahead from a lower number to a higher one, perhaps under a condition; and back."""

    leaves: list[Leaf]
    ahead: list[tuple[int, int, bool]]
    back: list[tuple[int, int, int]]


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


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    count = draw(st.integers(1, 3))
    pairs = [(start, end) for end in range(count) for start in range(end)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    ahead = [(start, end, draw(st.booleans())) for start, end in chosen]
    back = []
    for start, end in draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=1)):
        if leads(ahead, end, start):
            back.append((start, end, draw(st.integers(1, 2))))
    return Mesh([draw(leaves) for _ in range(count)], ahead, back)


def leads(edges: list[tuple[int, int, Any]], start: int, end: int) -> bool:
    found = {start}
    for _ in edges:
        found |= {there for here, there, _ in edges if here in found}
    return end in found


batches = st.builds(
    Leaf, kind=st.just("batch"), capacity=st.integers(1, 3), batch=st.integers(1, 4)
)
simple = st.recursive(leaves, nodes, max_leaves=6)
meshed = st.recursive(st.one_of(leaves, meshes()), nodes, max_leaves=6)
# How deep a batch has gone back depends on what it was made of.
flows = st.one_of(
    st.lists(st.one_of(simple, batches), min_size=1, max_size=3),
    st.lists(meshed, min_size=1, max_size=3),
)
ends = st.lists(
    st.tuples(st.sampled_from(["before", "landed", "step"]), st.integers(0, 12)), max_size=4
)


def draw(name: str, value: Any, sides: int) -> int:
    """The same chance every time."""
    return zlib.crc32(f"{name} {value}".encode()) % sides


class Interpreter:
    """Does what the flow does, one value at a time.

    Attributes:
        died: Whether a piece has died that somebody waits for.
    """

    def __init__(self) -> None:
        self.died = False

    def row(self, listed: list[Any], place: str, value: Value) -> list[Value]:
        values = [value]
        for number, node in enumerate(listed):
            where = f"{place}{number}"
            values = [each for value in values for each in self.node(node, where, value)]
        return values

    def node(self, node: Any, name: str, value: Value) -> list[Value]:
        term, facts = value
        if isinstance(node, Leaf):
            return self.leaf(node, name, value)
        if isinstance(node, Mesh):
            fed = {end for _, end, _ in node.ahead}
            starts = [each for each in range(len(node.leaves)) if each not in fed]
            return [out for start in starts for out in self.mesh(node, name, start, value)]
        if isinstance(node, Choice):
            chosen = draw(name, term, len(node.bodies))
            return self.row(node.bodies[chosen], f"{name}.{chosen}.", (f"{name}({term})", facts))
        before, self.died = self.died, False
        if not node.join:
            for slot, branch in enumerate(node.branches):
                self.row(branch, f"{name}.{slot}.", value)
            self.died = before
            return [value]
        found = [
            self.row(branch, f"{name}.{slot}.", value) for slot, branch in enumerate(node.branches)
        ]
        died, self.died = self.died, self.died or before
        joined = [
            [term for term, _ in values]
            if many(branch) or len(values) > 1
            else values[0][0]
            if values
            else None
            for branch, values in zip(node.branches, found, strict=True)
        ]
        changed = dict(facts)
        for _, theirs in (each for values in found for each in values):
            changed |= {key: fact for key, fact in theirs.items() if facts.get(key) != fact}
        return [] if died else [(joined, changed)]

    def mesh(self, mesh: Mesh, name: str, here: int, value: Value) -> list[Value]:
        out: list[Value] = []
        before = self.died
        values = self.leaf(mesh.leaves[here], f"{name}n{here}", value)
        edges = [*mesh.ahead, *mesh.back]
        if not any(leads(edges, here, end) for end in exits(mesh)):  # Then nobody waits for it.
            self.died = before
        for term, facts in values:
            for start, end, asks in mesh.ahead:
                if start == here and not (asks and draw(f"{name}e{end}", term, 2)):
                    out += self.mesh(mesh, name, end, (term, facts))
            for start, end, most in mesh.back:
                depth = facts.get("depth", 0)
                if start == here and depth < most:
                    out += self.mesh(mesh, name, end, (term, {**facts, "depth": depth + 1}))
            if here in exits(mesh):
                out.append((term, facts))
        return out

    def leaf(self, leaf: Leaf, name: str, value: Value) -> list[Value]:
        term, facts = value
        match leaf.kind:
            case "many":
                return [
                    (f"{name}{index}({term})", {**facts, "last": index})
                    for index in range(draw(name, term, 4))
                ]
            case "skip" if not draw(name, term, 4):
                return []
            case "fail" if not draw(name, term, 6):
                self.died = True
                return []
            case "note":
                key = f"by {draw(name, term, 2)}"
                facts = {**facts, key: [name, *facts.get(key, ())]}
            case "tell":
                return [(f"{name}({term}, {told(facts)})", facts)]
            case "batch":
                facts = {}
        return [(f"{name}({term})", facts)]


def exits(mesh: Mesh) -> list[int]:
    ahead = {start for start, _, _ in mesh.ahead}
    both = ahead | {start for start, _, _ in mesh.back}
    every = range(len(mesh.leaves))
    return [each for each in every if each not in both] or [e for e in every if e not in ahead]


def told(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {facts[key]}" for key in sorted(facts))


def many(listed: list[Any]) -> bool:
    """Whether a branch has a generator, wherever."""
    for node in listed:
        if isinstance(node, Leaf):
            found = node.kind == "many"
        elif isinstance(node, Choice):
            found = any(map(many, node.bodies))
        else:
            found = many(node.leaves) if isinstance(node, Mesh) else any(map(many, node.branches))
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
        if isinstance(node, Mesh):
            return [self.mesh(node, name)]
        if isinstance(node, Choice):
            table = {
                str(each): self.row(body, f"{name}.{each}.")
                for each, body in enumerate(node.bodies)
            }

            async def choose(value: Any) -> Send:
                return Send(str(draw(name, value, len(node.bodies))), f"{name}({value})")

            return [stage(choose, name=name, policies=[RETRY]), Route(table)]
        rows = [self.row(each, f"{name}.{slot}.") for slot, each in enumerate(node.branches)]
        return [Parallel(rows, join=node.join, name=f"{name}+")]

    def mesh(self, mesh: Mesh, name: str) -> Graph[Any, Any]:
        graph: Graph[Any, Any] = Graph(name)
        graph.add(*(self.leaf(each, f"{name}n{at}") for at, each in enumerate(mesh.leaves)))
        for start, end, asks in mesh.ahead:
            when = self.condition(f"{name}e{end}") if asks else None
            graph.connect(f"{name}n{start}", f"{name}n{end}", when=when)
        for start, end, most in mesh.back:
            graph.connect(f"{name}n{start}", f"{name}n{end}", feedback=True, max_depth=most)
        return graph

    @staticmethod
    def condition(name: str) -> Any:
        return lambda value: not draw(name, value, 2)

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
                ctx.metadata["last"] = index
                yield f"{name}{index}({value})"

        async def batched(values: list[Any], ctx: Turn) -> Any:
            await work(values, ctx)
            for value in values:
                yield f"{name}({value})"

        async def one(value: Any, ctx: Turn) -> Any:
            await work(value, ctx)
            if leaf.kind == "skip" and not draw(name, value, 4):
                return ctx.skip()
            if leaf.kind == "note":
                ctx.metadata.setdefault(f"by {draw(name, value, 2)}", []).insert(0, name)
            more = f", {told(ctx.metadata)}" if leaf.kind == "tell" else ""
            return f"{name}({value}{more})"

        return stage(
            {"many": several, "batch": batched}.get(leaf.kind, one),
            name=name,
            workers=leaf.workers,
            capacity=leaf.capacity,
            batch=Batch(leaf.batch) if leaf.batch else None,
            policies=[PATIENT if leaf.kind == "fail" else RETRY],
        )


@given(
    rows=flows,
    items=st.integers(1, 8),
    urgent=st.lists(st.integers(99, 101), max_size=3),
    ordered=st.booleans(),
    ends=ends,
    slice_=st.sampled_from([1, cut.SLICE]),
    fast=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_flow_gives_what_a_plain_interpreter_gives_over_any_kills(
    rows: list[Any],
    items: int,
    urgent: list[int],
    ordered: bool,
    ends: list[tuple[str, int]],
    slice_: int,
    fast: bool,
) -> None:
    world, disk, tape, reports = World(), MemoryDisk(), list[Any](), list[Any]()
    flow: Pipeline[Any, Any] = Pipeline(world.row(rows, "s"), name="flow")

    async def feed(run: Any) -> None:
        if not urgent:
            await run.feed_from(range(items))
            return
        for item in range(run.stats().counts["fed"], items):
            await run.feed([item], priority=urgent[item % len(urgent)])

    async def one_life(commits: int | None, landed: bool, steps: int | None) -> None:
        world.life = Life(Mortal(disk, commits, landed=landed), steps)
        with trio.fail_after(6 * SECONDS):
            sink = TapeSink(tape)
            reports.append(
                await live(flow, world.life, feed, run_id="run", sink=sink, ordered=ordered)
            )

    with patch.object(cut, "SLICE", slice_), patch.object(Kernel, "fast", fast):
        for kind, count in ends:
            steps, commits = (count + 1, None) if kind == "step" else (None, count)
            trio.run(one_life, commits, kind == "landed", steps)
        trio.run(one_life, None, False, None)

    expected: Counter[Any] = Counter()
    counts = {"fed": items, "done": 0, "skipped": 0, "dead": 0, "held": 0}
    for item in range(items):
        plain = Interpreter()
        out = plain.row(rows, "s", (item, {}))
        expected.update(str(term) for term, _ in out)
        counts["dead" if plain.died else "done" if out else "skipped"] += 1
    assert Counter(map(str, tape)) == expected
    if any(isinstance(each, Leaf) and each.batch for each in rows):
        assert (reports[-1].counts["fed"], reports[-1].counts["held"]) == (items, 0)
    else:  # The items of a batch share their fate.
        assert reports[-1].counts == counts
