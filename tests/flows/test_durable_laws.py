"""What is true of every durable flow: killed at any moments, it gives what it would have given."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import Fixed, Pipeline, RateLimit, Retry, Stage, Turn, stage
from actorflow.durability import cut
from actorflow.durability.memory import MemoryDisk
from actorflow.errors import RunNotFoundError
from tests.flows.flowing import Boom
from tests.flows.lives import Life, Mortal, TapeSink, conserved, live

#: Real seconds after which a life that has not ended never will.
SECONDS = 4

#: More than a message can need over all lives, so that how often it was killed does not matter.
ATTEMPTS = 60


@attrs.frozen
class Recipe:
    """One stage, as data: what the real handler and the plain loop both go by."""

    kind: str  # "one", "many", "thread", "skip" or "fail" for some values
    arg: int
    fails: int
    delay: float
    workers: int
    capacity: int
    keyed: bool
    effects: bool
    gated: bool
    waits: int

    def outputs(self, value: int) -> list[int] | None:
        """`None` for a value that dies."""
        if self.kind == "many":
            return [value * 10 + index for index in range(self.arg % 4)]
        if self.kind == "skip" and value % 3 == self.arg % 3:
            return []
        if self.kind == "fail" and value % 4 == self.arg % 4:
            return None
        return [value + self.arg]


recipes = st.builds(
    Recipe,
    kind=st.sampled_from(["one", "one", "many", "thread", "skip", "fail"]),
    arg=st.integers(0, 7),
    fails=st.integers(0, 2),
    delay=st.sampled_from([0.0, 0.002]),
    workers=st.integers(1, 3),
    capacity=st.integers(1, 3),
    keyed=st.booleans(),
    effects=st.booleans(),
    gated=st.booleans(),
    waits=st.integers(0, 2),
)


@attrs.frozen
class Plan:
    """A flow, what it is fed, and the ends of its lives.

    Attributes:
        slice: Messages whose rows are made at a time before a cut.
        ends: Of each life but the last: ``(kind, after how many)``.
    """

    stages: list[Recipe]
    items: int
    body: str
    source: str
    ordered: bool
    results: bool
    pauses: int
    slice: int
    ends: list[tuple[str, int]]


#: How it is fed.
SOURCES = ["list", "feed", "ids", "priorities"]

plans = st.builds(
    Plan,
    stages=st.lists(recipes, min_size=1, max_size=3),
    items=st.integers(1, 15),
    body=st.sampled_from(["int", "dict"]),
    source=st.sampled_from(SOURCES),
    ordered=st.booleans(),
    results=st.booleans(),
    pauses=st.integers(0, 3),
    slice=st.sampled_from([1, 3, cut.SLICE]),
    ends=st.lists(
        st.tuples(st.sampled_from(["before", "landed", "step"]), st.integers(0, 8)), max_size=5
    ),
)


def wrap(plan: Plan, value: int, origin: int) -> Any:
    return {"value": value, "origin": origin} if plan.body == "dict" else value * 1000 + origin


def unwrap(body: Any) -> tuple[int, int]:
    """Value and origin."""
    if isinstance(body, dict):
        return body["value"], body["origin"]
    value, origin = divmod(body, 1000)
    return value, origin


class World:
    """The handlers of one example, over all its lives."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.life: Life | None = None
        self.headers: list[bool] = []
        self.clean: list[bool] = []

    def work(self, recipe: Recipe, body: Any, ctx: Turn) -> list[Any]:
        assert self.life is not None
        value, origin = unwrap(body)
        self.headers.append(ctx.metadata.setdefault("origin", origin) == origin)
        if isinstance(body, dict):
            self.clean.append("spoilt" not in body)
            body["spoilt"] = True  # Neither a retry nor a cut sees that.
        if value % 3 == recipe.arg % 3 and ctx.attempt <= recipe.fails:
            raise Boom
        outputs = recipe.outputs(value)
        if outputs is None:
            ctx.fail("this one always")
        return [wrap(self.plan, each, origin) for each in outputs]

    def stage(self, recipe: Recipe, name: str) -> Stage[Any, Any]:
        options: dict[str, Any] = {
            "name": name,
            "workers": recipe.workers,
            "capacity": recipe.capacity,
            "policies": [Retry(ATTEMPTS, backoff=Fixed(recipe.delay))],
            "effects": recipe.effects,
        }
        if recipe.keyed:
            options["key"] = lambda body: unwrap(body)[1] % 2

        if recipe.gated:
            options["policies"].append(RateLimit(2000, burst=2))

        async def pause() -> None:
            for _ in range(recipe.waits):
                await trio.lowlevel.checkpoint()
            if self.life is not None:
                self.life.step()

        async def many(body: Any, ctx: Turn) -> AsyncIterator[Any]:
            for each in self.work(recipe, body, ctx):
                yield each
                await pause()
                # A generator that fails after a part of its emissions.
                if ctx.attempt <= recipe.fails and unwrap(each)[0] % 2:
                    raise Boom

        def thread(body: Any, ctx: Turn) -> Any:
            outputs = self.work(recipe, body, ctx)
            trio.from_thread.run_sync(self.life.step)  # type: ignore[union-attr]
            return outputs[0]

        async def one(body: Any, ctx: Turn) -> Any:
            outputs = self.work(recipe, body, ctx)
            await pause()
            return outputs[0] if outputs else ctx.skip()

        return stage({"many": many, "thread": thread}.get(recipe.kind, one), **options)

    def expected(self) -> tuple[Counter[tuple[int, int]], dict[str, int]]:
        """What comes out and the counts, by a plain loop."""
        out: Counter[tuple[int, int]] = Counter()
        counts = {"fed": self.plan.items, "done": 0, "skipped": 0, "dead": 0, "held": 0}
        for origin in range(self.plan.items):
            values, died = [origin], False
            for recipe in self.plan.stages:
                following: list[int] = []
                for value in values:
                    outputs = recipe.outputs(value)
                    died = died or outputs is None
                    following += outputs or []
                values = following
            out.update((value, origin) for value in values)
            counts["dead" if died else "done" if values else "skipped"] += 1
        return out, counts

    async def feed(self, run: Any) -> None:
        """Feed what earlier lives have not been able to."""
        plan = self.plan
        bodies = [wrap(plan, number, number) for number in range(plan.items)]
        if plan.source == "list":
            await run.feed_from(bodies)
            return
        for number in range(run.stats().counts["fed"], plan.items):
            given: dict[str, Any] = {}
            if plan.source == "ids":
                given["ids"] = [f"item-{number}"]
            if plan.source == "priorities":
                given["priority"] = 100 - number % 3
            await run.feed([bodies[number]], **given)
            assert conserved(DISKS[-1], "run")["fed"] > number  # It is on the disk.


DISKS: list[MemoryDisk] = []


def ends(plan: Plan) -> Iterator[tuple[int | None, bool, int | None]]:
    for kind, count in plan.ends:
        if kind == "step":
            yield None, False, count + 1
        else:
            yield count, kind == "landed", None
    yield None, False, None


@given(plans)
@settings(max_examples=60, deadline=None)
def test_a_run_killed_at_any_moments_gives_what_it_would_have_given(plan: Plan) -> None:
    world, disk, tape = World(plan), MemoryDisk(), list[Any]()
    DISKS[:] = [disk]
    flow: Pipeline[Any, Any] = Pipeline(
        [world.stage(each, f"s{number}") for number, each in enumerate(plan.stages)], name="flow"
    )
    reports: list[Any] = []

    async def one_life(commits: int | None, landed: bool, steps: int | None) -> None:
        world.life = Life(Mortal(disk, commits, landed=landed), steps)
        with trio.fail_after(SECONDS):
            report = await live(
                flow,
                world.life,
                world.feed,
                run_id="run",
                sink=TapeSink(tape, pauses=plan.pauses),
                ordered=plan.ordered,
                results="store" if plan.results else "discard",
            )
        try:
            conserved(disk, "run")
        except RunNotFoundError:
            assert report is None
        reports.append(report)

    with patch.object(cut, "SLICE", plan.slice):
        for end in ends(plan):
            trio.run(one_life, *end)

    out, counts = world.expected()
    assert Counter(map(unwrap, tape)) == out
    assert reports[-1].counts == counts
    assert len(reports[-1].dead) == sum(
        each.stage_or_actor.startswith("s") for each in reports[-1].dead
    )
    assert all(world.headers)
    assert all(world.clean)
    if plan.ordered:
        origins = [unwrap(body)[1] for body in tape]
        assert origins == sorted(origins)
