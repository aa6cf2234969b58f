"""What is true of every run that is forked: its items give what they give in any other run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import trio
from hypothesis import event, given, settings
from hypothesis import strategies as st

from actorflow import Pipeline, ResumeError, Stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.flows.flow import Flow
from tests.flows.lives import SECONDS, Disk, Life, Mortal
from tests.flows.test_random_graphs import Interpreter, Leaf, World, ends, flows

#: Rounds of the loop in which the store has written a checkpoint.
WAITS = 6


class Slow(World):
    """Handlers that take long enough for a checkpoint to see them."""

    def leaf(self, leaf: Leaf, name: str) -> Stage[Any, Any]:
        return super().leaf(attrs.evolve(leaf, waits=leaf.waits + WAITS), name)


def expected(rows: list[Any], items: Any) -> Counter[str]:
    """What *items* give, by the plain interpreter."""
    found: Counter[str] = Counter()
    for item in items:
        found.update(str(term) for term, _ in Interpreter().row(rows, "s", (item, {})))
    return found


def held(disk: MemoryDisk, run: str) -> list[int]:
    """The ids of the items of a run that has not begun."""
    facts = Disk(disk).facts(run)
    return [facts.get(f"name/{number}", number) for number in range(facts["run"]["counts"][0])]


async def begun(flow: Flow[Any, Any], world: World, disk: MemoryDisk, items: int, end: Any) -> None:
    """A run of *items* that ends as *end* says, if it is not at its end before."""
    kind, count = end
    world.life = Life(Mortal(disk), None)
    if kind == "step":
        world.life.steps = count * 5 + 1
    store = world.life.store
    store.blocking = False
    with trio.move_on_after(SECONDS):
        try:
            async with flow.open(store=store, run_id="run", results="store") as world.life.run:
                await world.life.run.feed(range(items))
                await world.life.run.finish()
        except Exception as error:  # It was killed.
            event(type(error).__name__)


@given(
    rows=flows,
    items=st.integers(1, 6),
    end=st.sampled_from([("none", 0)]) | ends.filter(bool).map(lambda found: found[0]),
    stage=st.integers(0, 30),
    at=st.none() | st.integers(1, 12),
    everything=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_forked_items_give_what_they_give_in_any_other_run(
    rows: list[Any], items: int, end: Any, stage: int, at: int | None, everything: bool
) -> None:
    world, disk, tape = Slow(), MemoryDisk(), list[Any]()
    flow: Pipeline[Any, Any] = Pipeline(world.row(rows, "s"), name="flow")
    names = [each.name for each in flow.plan.stages]
    name = None if everything else names[stage % len(names)]

    async def main() -> list[int]:
        await begun(flow, world, disk, items, end)
        store = MemoryStore(disk=disk, blocking=False)
        last = Disk(disk).state("run")
        number = at if at is None or last is None else min(at, last.number)
        try:
            new = await flow.runs(store).fork("run", from_stage=name, at=number)
        except ResumeError:
            event("refused")
            return []
        event("forked")
        found = held(disk, new)
        world.life = Life(Mortal(disk), None)
        with trio.fail_after(SECONDS):
            report = await flow.run(store=store, run_id=new, sink=tape.append)
        assert report.counts["held"] == 0
        assert report.counts["fed"] == len(found)
        return found

    found = trio.run(main)

    wanted, given_ = expected(rows, found), Counter(map(str, tape))
    batches = any(isinstance(each, Leaf) and each.batch for each in rows)
    if name is not None and not (batches and len(found) < items):
        assert given_ == wanted
    else:  # A part of them may have come out before, or be in a batch with others.
        assert given_ <= expected(rows, range(items))
