"""Random flows of contexts against a plain interpreter, with kills.

Each stage writes what it saw: under its own name the names of all that it could read, so
that two Contexts that are equal have gone the same way. Some write under a name that others
write too, which cannot be merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import (
    Context,
    MergeConflictError,
    Parallel,
    Pipeline,
    Route,
    Send,
    Turn,
    stage,
)
from actorflow.durability import cut
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom
from tests.flows.lives import SECONDS, Life, Mortal, TapeSink, live
from tests.flows.test_random_graphs import PATIENT, RETRY, draw, ends

KINDS = ["one", "one", "chunks", "skip", "fail", "flaky", "shared", "removes"]


@attrs.frozen
class Leaf:
    """A stage.

    Attributes:
        says: Whether it declares what it reads (what the item had) and writes (its own key).
    """

    kind: str
    says: bool = False
    workers: int = 1
    capacity: int = 2
    waits: int = 0


@attrs.frozen
class Fork:
    branches: list[list[Any]]


@attrs.frozen
class Choice:
    bodies: list[list[Any]]


leaves = st.builds(
    Leaf,
    kind=st.sampled_from(KINDS),
    says=st.booleans(),
    workers=st.integers(1, 3),
    capacity=st.integers(0, 3),
    waits=st.integers(0, 2),
)


def nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    rows = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(Fork, st.lists(rows, min_size=2, max_size=3)),
        st.builds(Choice, st.lists(rows, min_size=1, max_size=2)),
    )


class Ends(Exception):
    """The item ends here.

    Attributes:
        dead: Whether it died.
    """

    def __init__(self, dead: bool) -> None:
        self.dead = dead


def changed(leaf: Leaf, name: str, sees: Mapping[str, Any]) -> dict[str, Any] | None:
    """What *leaf* writes when it *sees* that; `None` if it skips.

    Raises:
        Ends: It fails for good.
    """
    chance = draw(name, sees["item"], 4)
    if leaf.kind == "skip" and not chance:
        return None
    if leaf.kind == "fail" and not chance:
        raise Ends(dead=True)
    if leaf.kind == "chunks":
        return {name if leaf.says else f"{name}_chunks": [*range(chance)]}
    written = {name: sorted(sees)}
    if leaf.kind == "shared" and not leaf.says:
        written["shared"] = [name]
    return written


class Interpreter:
    """Does what the flow does to what an item has.

    Args:
        folds: Whether stages that say what they read and write run side by side: then one that
            fails decides, and not one before it that skips.
    """

    def __init__(self, folds: bool) -> None:
        self.folds = folds

    def row(self, listed: list[Any], place: str, has: dict[str, Any]) -> dict[str, Any]:
        skipped: Ends | None = None
        for number, node in enumerate(listed):
            beside = self.folds and isinstance(node, Leaf) and node.says
            if skipped is not None and not beside:
                raise skipped
            try:
                has = self.node(node, f"{place}{number}", has)
            except Ends as end:
                if end.dead or not beside:
                    raise
                skipped = end
        if skipped is not None:
            raise skipped
        return has

    def node(self, node: Any, name: str, has: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node, Leaf):
            sees = {key: has[key] for key in has if not node.says or key in ("item", name)}
            fresh = changed(node, name, sees)
            if fresh is None:
                raise Ends(dead=False)
            if node.kind == "removes" and not node.says:
                has = {key: value for key, value in has.items() if key != "extra"}
            return {**has, **fresh}
        if isinstance(node, Choice):
            chosen = draw(name, has["item"], len(node.bodies))
            return self.row(node.bodies[chosen], f"{name}.{chosen}.", {**has, name: chosen})
        found = [
            self.branch(branch, f"{name}.{slot}.", has) for slot, branch in enumerate(node.branches)
        ]
        merged = dict(has)
        written: list[str] = []
        for after in found:
            own = [key for key in after if key not in has or after[key] is not has[key]]
            gone = [key for key in has if key not in after]
            if {*own, *gone} & {*written}:
                raise Ends(dead=True)
            written += [*own, *gone]
            merged |= {key: after[key] for key in own}
            merged = {key: value for key, value in merged.items() if key not in gone}
        return merged

    def branch(self, listed: list[Any], place: str, has: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.row(listed, place, has)
        except Ends as end:
            if end.dead:
                raise
            return has


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
                str(at): self.row(each, f"{name}.{at}.") for at, each in enumerate(node.bodies)
            }

            async def choose(context: Context) -> Send:
                chosen = draw(name, context["item"], len(node.bodies))
                return Send(str(chosen), {name: chosen})

            return [stage(choose, name=name, policies=[RETRY]), Route(table)]
        rows = [self.row(each, f"{name}.{at}.") for at, each in enumerate(node.branches)]
        return [Parallel(rows, name=f"{name}+")]

    def leaf(self, leaf: Leaf, name: str) -> Any:
        async def work(context: Context, ctx: Turn) -> None:
            assert self.life is not None
            self.life.step()
            for _ in range(leaf.waits):
                await trio.lowlevel.checkpoint()
            if leaf.kind == "flaky" and ctx.attempt == 1 and not draw(name, context["item"], 2):
                raise Boom

        async def one(context: Context, ctx: Turn) -> Any:
            await work(context, ctx)
            try:
                written = changed(leaf, name, context)
            except Ends as end:
                raise Boom from end
            if written is None:
                return ctx.skip()
            if leaf.kind == "removes" and not leaf.says and "extra" in context:
                return context.remove("extra").update(written)
            return written

        async def chunks(context: Context, ctx: Turn) -> Any:
            await work(context, ctx)
            for each in range(draw(name, context["item"], 4)):
                yield each

        fn: Callable[..., Any] = chunks if leaf.kind == "chunks" else one
        return stage(
            fn,
            name=name,
            workers=leaf.workers,
            capacity=leaf.capacity,
            reads=["item"] if leaf.says else None,
            writes=[name] if leaf.says else None,
            policies=[PATIENT if leaf.kind == "fail" else RETRY],
        )


@given(
    rows=st.lists(st.recursive(leaves, nodes, max_leaves=6), min_size=1, max_size=4),
    items=st.integers(1, 6),
    folds=st.booleans(),
    ends=ends,
    slice_=st.sampled_from([1, cut.SLICE]),
)
@settings(max_examples=120, deadline=None)
def test_a_flow_of_contexts_gives_what_a_plain_interpreter_gives_over_any_kills(
    rows: list[Any], items: int, folds: bool, ends: list[tuple[str, int]], slice_: int
) -> None:
    world, disk, tape, reports = World(), MemoryDisk(), list[Any](), list[Any]()
    flow: Pipeline[Any, Any] = Pipeline(world.row(rows, "s"), name="flow", auto_parallel=folds)

    async def feed(run: Any) -> None:
        await run.feed_from([{"item": item, "extra": [item]} for item in range(items)])

    async def one_life(commits: int | None, landed: bool, steps: int | None) -> None:
        world.life = Life(Mortal(disk, commits, landed=landed), steps)
        with trio.fail_after(SECONDS):
            reports.append(await live(flow, world.life, feed, run_id="run", sink=TapeSink(tape)))

    with patch.object(cut, "SLICE", slice_):
        for kind, count in ends:
            steps, commits = (count + 1, None) if kind == "step" else (None, count)
            trio.run(one_life, commits, kind == "landed", steps)
        trio.run(one_life, None, False, None)

    expected: Counter[str] = Counter()
    counts = {"fed": items, "done": 0, "skipped": 0, "dead": 0, "held": 0}
    for item in range(items):
        try:
            out = Interpreter(folds).row(rows, "s", {"item": item, "extra": [item]})
            counts["done"] += 1
            expected[shown(out)] += 1
        except Ends as end:
            counts["dead" if end.dead else "skipped"] += 1
    assert Counter(map(shown, tape)) == expected
    assert reports[-1].counts == counts
    kinds = {each.type for each in reports[-1].errors}
    assert kinds <= {"Boom", MergeConflictError.__name__, "sibling_failed"}


def shown(context: Mapping[str, Any]) -> str:
    return str(sorted(context.items()))
