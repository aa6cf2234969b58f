"""Case 6: fed = done + skipped + dead + held, whatever happens.

*Failed* items and *dead-lettered* ones are the same here: each has its letter. What is *held* is
in the snapshot, if there is a store. Faults are drawn at random: what each attempt of each item
does, when the run is ended and how, and which commit of the store is its last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import Fixed, Report, Retry, Run, Turn, stage
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import Boom, counts_add_up, nothing_left, pipeline
from tests.flows.lives import Disk, Life, Mortal, TapeSink, conserved, live

ATTEMPTS = 3

#: What an attempt may do. "hang" is ended by the timeout of the stage.
DEEDS = ["done", "done", "done", "raise", "exit", "hang", "skip", "give up"]

Fate = tuple[str, ...]

fates = st.lists(st.tuples(*[st.sampled_from(DEEDS)] * ATTEMPTS).map(Fate), min_size=1, max_size=12)

#: How and when a run is ended: `None` is when all is done.
endings = st.none() | st.tuples(
    st.sampled_from(["stop", "drain", "cancel"]), st.sampled_from([0.0, 0.5, 1.0, 2.5, 4.0])
)


def end_of(fate: Fate) -> str:
    """How an item ends that nobody disturbs."""
    for deed in fate:
        if deed in ("done", "skip"):
            return "done" if deed == "done" else "skipped"
        if deed == "give up":
            return "dead"
    return "dead"


def handler(fates: list[Fate]) -> Any:
    async def act(item: int, ctx: Turn) -> int:
        await trio.lowlevel.checkpoint()
        match fates[item][ctx.attempt - 1]:
            case "raise":
                raise Boom
            case "exit":
                raise SystemExit(1)
            case "hang":
                await trio.sleep_forever()
            case "skip":
                ctx.skip()
            case "give up":
                ctx.fail("no use")
        return item

    return act


def declared(fates: list[Fate], **given: Any) -> Any:
    async def last(item: int) -> int:
        await trio.lowlevel.checkpoint()
        return item

    again = [Retry(ATTEMPTS, backoff=Fixed(given.pop("delay", 1.0)))]
    first = stage(handler(fates), name="act", policies=again, capacity=2, **given)
    return pipeline([first, stage(last, capacity=1)], name="law")


@attrs.define
class Watch:
    """Looks at the account whenever anything is decided about an item."""

    run: Run[Any, Any] | None = None
    looked: int = 0

    def on_event(self, event: object) -> None:
        if self.run is not None:
            self.looked += 1
            assert counts_add_up(self.run)


@settings(max_examples=120, deadline=None)
@given(fates=fates, workers=st.integers(1, 3), ending=endings)
def test_every_item_is_in_exactly_one_place(
    fates: list[Fate], workers: int, ending: tuple[str, float] | None
) -> None:
    written: list[int] = []

    async def main() -> Report:
        flow = declared(fates, timeout=1.0, workers=workers)
        watch = Watch()
        with trio.fail_after(1000):
            async with (
                nothing_left(),
                flow.open(sink=written.append, observers=[watch]) as watch.run,
            ):
                run: Run[Any, Any] = watch.run
                run.start_feeding(range(len(fates)))
                if ending is None:
                    await run.over.wait()
                    await run.finish()
                else:
                    await trio.sleep(ending[1])
                    if ending[0] == "cancel":
                        run.cancel()
                    else:
                        await (run.stop() if ending[0] == "stop" else run.drain(1.0))
        assert run.report is not None
        assert watch.looked > 0
        assert run.report.observer_failures == 0
        return run.report

    report = trio.run(main, clock=MockClock(autojump_threshold=0))

    counts, expected = report.counts, Counter(map(end_of, fates))
    assert counts["fed"] == sum(counts[each] for each in ("done", "skipped", "dead", "held"))
    assert counts["dead"] == len(report.dead)
    assert len(written) == len(set(written)) == counts["done"]
    for name in ("done", "skipped", "dead"):
        assert counts[name] == expected[name] if ending is None else counts[name] <= expected[name]
    for letter in report.dead:
        assert end_of(fates[letter.body]) == "dead"
        assert letter.error is not None


@settings(max_examples=40, deadline=None)
@given(
    fates=fates,
    lives=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=3),
)
def test_with_a_store_what_is_held_is_in_the_snapshot_after_every_kill(
    fates: list[Fate], lives: list[tuple[int, bool]]
) -> None:
    """In real time nobody hangs: such an attempt raises."""
    fates = [tuple("raise" if deed == "hang" else deed for deed in fate) for fate in fates]
    disk, tape = MemoryDisk(), list[int]()

    async def feed(run: Run[Any, Any]) -> None:
        known = run.stats().counts["fed"]
        await run.feed(range(known, len(fates)), ids=map(str, range(known, len(fates))))

    async def main() -> Report | None:
        flow = declared(fates, delay=0.0)
        with trio.fail_after(50):
            for commits, landed in lives:
                life = Life(Mortal(disk, commits, landed=landed))
                await live(flow, life, feed, run_id="law", sink=TapeSink(tape))
                on_disk: Mapping[str, int] = conserved(disk, "law")
                assert on_disk["held"] <= len(fates)
                assert len(Disk(disk).dead("law")) == on_disk["dead"]
            return await live(flow, Life(Mortal(disk)), feed, run_id="law", sink=TapeSink(tape))

    report = trio.run(main)

    assert report is not None
    assert report.counts["held"] == 0
    assert conserved(disk, "law") == report.counts
    assert report.counts["fed"] == len(fates)
    # A kill may cost an attempt, so that an item may miss the one that would have done.
    assert all("done" in fates[item] for item in tape)
    assert len(tape) == len(set(tape)) == report.counts["done"]
