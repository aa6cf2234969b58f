"""What is true of every run, under any policies, whoever changes it, however it is ended.

Each item is accounted for exactly once, nothing comes out twice, what came out was
written, what came out in a keyed stage was worked on alone and in order, no task is left.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import (
    Bulkhead,
    CircuitBreaker,
    Deadline,
    Fixed,
    ItemResult,
    RateLimit,
    Report,
    Retry,
    Run,
    Stage,
    Turn,
    stage,
)
from actorflow.runtime.kernel import Kernel
from tests.flows.flowing import Boom, counts_add_up, nothing_left, pipeline

#: Virtual seconds, after which a run that has not ended never will.
TIME_LIMIT = 50_000

#: A piece of an item: the item's number and which of its pieces, by the way down to it.
Piece = tuple[int, ...]


@attrs.frozen
class Habit:
    """What the handler of one stage does; all of it depends on the piece and the attempt only."""

    kind: str
    waits: tuple[float, ...]
    bad: int
    fails: int
    crash: bool
    many: int

    def unlucky(self, piece: Piece, attempt: int) -> bool:
        return self.bad > 0 and sum(piece) % self.bad == 0 and attempt <= self.fails

    def wait(self, piece: Piece, attempt: int) -> float:
        return self.waits[(sum(piece) + attempt) % len(self.waits)]

    def error(self) -> BaseException:
        return SystemExit("crash") if self.crash else Boom("failure")


habits = st.builds(
    Habit,
    kind=st.sampled_from(["one", "one", "many", "skip"]),
    waits=st.sampled_from([(0.0,), (0.0, 1.0), (0.5,), (0.0, 0.0, 7.0)]),
    bad=st.sampled_from([0, 2, 3, 1]),
    fails=st.integers(0, 3),
    crash=st.booleans(),
    many=st.integers(0, 5),
)


@attrs.frozen
class Setting:
    """How a stage is declared."""

    workers: int
    capacity: int
    overflow: str
    keyed: bool
    timeout: float | None
    max_waiting: int | None
    policies: tuple[Any, ...]


def policies() -> st.SearchStrategy[tuple[Any, ...]]:
    none = st.none()
    return st.tuples(
        none
        | st.builds(
            lambda attempts, delay, position: Retry(
                attempts, backoff=Fixed(delay), position=position
            ),
            st.integers(1, 5),
            st.sampled_from([0.0, 1.0, 20.0]),
            st.sampled_from(["head", "tail"]),
        ),
        none | st.sampled_from([RateLimit(2), RateLimit(3, burst=4), RateLimit(5, key=sum)]),
        none | st.integers(1, 3).map(Bulkhead),
        none
        | st.sampled_from(
            [
                CircuitBreaker(2, recovery_timeout=5),
                CircuitBreaker(1, recovery_timeout=5, when_open="reject"),
                CircuitBreaker(2, recovery_timeout=5, key=sum),
            ]
        ),
        none | st.sampled_from([Deadline(3), Deadline(60)]),
    ).map(lambda each: tuple(policy for policy in each if policy is not None))


declared = st.builds(
    Setting,
    workers=st.integers(1, 4),
    capacity=st.integers(0, 3),
    overflow=st.sampled_from(["block"] * 6 + ["fail", "drop_new", "drop_old"]),
    keyed=st.booleans(),
    timeout=st.sampled_from([None, None, 5.0]),
    max_waiting=st.sampled_from([None, 1, 2]),
    policies=policies(),
)


class Stagehand:
    """One stage of the flow, and what its handlers have seen.

    Attributes:
        inside: How many of each key are worked on.
        begun: Per key, the pieces whose first attempt has begun, in order.
    """

    def __init__(self, name: str, habit: Habit, setting: Setting) -> None:
        self.name = name
        self.habit = habit
        self.setting = setting
        self.inside: Counter[int] = Counter()
        self.begun: dict[int, list[Piece]] = defaultdict(list)

    def declare(self) -> Stage[Any, Any]:
        setting = self.setting
        fn: Callable[..., Any] = self.many if self.habit.kind == "many" else self.one
        make: Any = stage  # Its overloads want literals.
        declared: Stage[Any, Any] = make(
            fn,
            name=self.name,
            workers=setting.workers,
            capacity=setting.capacity,
            overflow=setting.overflow,
            key=self.key if setting.keyed else None,
            timeout=setting.timeout,
            max_waiting=setting.max_waiting,
            policies=setting.policies,
        )
        return declared

    def key(self, piece: Piece) -> int:
        return sum(piece) % 3

    async def one(self, piece: Piece, ctx: Turn) -> Piece:
        with self._watched(piece, ctx):
            await self._work(piece, ctx)
            if self.habit.kind == "skip" and sum(piece) % 2:
                ctx.skip()
            return piece

    async def many(self, piece: Piece, ctx: Turn) -> AsyncIterator[Piece]:
        with self._watched(piece, ctx):
            for index in range(self.habit.many):
                if index == 1:
                    await self._work(piece, ctx)
                yield (*piece, index)
            if self.habit.many < 2:
                await self._work(piece, ctx)

    async def _work(self, piece: Piece, ctx: Turn) -> None:
        wait = self.habit.wait(piece, ctx.attempt)
        if wait:
            await trio.sleep(wait)
        if self.habit.unlucky(piece, ctx.attempt):
            raise self.habit.error()

    def _watched(self, piece: Piece, ctx: Turn) -> Any:
        return _Watch(self, piece, ctx.attempt)


class _Watch:
    """While it lasts, a handler works on *piece*: alone in its key, if the stage has keys."""

    def __init__(self, hand: Stagehand, piece: Piece, attempt: int) -> None:
        self._hand, self._piece, self._key = hand, piece, hand.key(piece)
        self._attempt = attempt

    def __enter__(self) -> None:
        hand = self._hand
        hand.inside[self._key] += 1
        assert hand.inside[self._key] == 1 or not hand.setting.keyed
        if self._attempt == 1:
            hand.begun[self._key].append(self._piece)

    def __exit__(self, *error: object) -> None:
        self._hand.inside[self._key] -= 1


@attrs.frozen
class Plot:
    """What happens to the run from outside: after so many seconds, this."""

    after: float
    verb: str
    stage: int
    number: int

    async def act(self, run: Run[Any, Any]) -> None:
        await trio.sleep(self.after)
        name = list(run.stages)[self.stage % len(run.stages)]
        match self.verb:
            case "pause":
                await run.pause(name)
                await trio.sleep(self.number)
                await run.resume(name)
            case "resize":
                await run.resize(name, self.number)


plots = st.builds(
    Plot,
    after=st.sampled_from([0.0, 0.25, 3.0]),
    verb=st.sampled_from(["pause", "resize"]),
    stage=st.integers(0, 3),
    number=st.integers(1, 5),
)


@attrs.frozen
class Ending:
    """How the run is ended, and when."""

    verb: str
    after: float

    async def act(self, run: Run[Any, Any], scope: trio.CancelScope) -> None:
        await trio.sleep(self.after)
        match self.verb:
            case "all":
                await run.over.wait()
                await run.finish()
            case "finish" | "stop":
                await getattr(run, self.verb)()
            case "drain":
                await run.drain(4)
            case "cancel":
                run.cancel()
            case "cancelled":
                scope.cancel()
                await trio.lowlevel.checkpoint()


endings = st.builds(
    Ending,
    verb=st.sampled_from(["all"] * 4 + ["finish", "stop", "drain", "cancel", "cancelled"]),
    after=st.sampled_from([0.0, 0.3, 2.1, 9.7]),
)


@attrs.frozen
class Case:
    """One run: its stages, its options, what happens to it."""

    stages: Sequence[tuple[Habit, Setting]]
    items: int
    ordered: bool
    window: int
    concurrency: int | None
    fast: bool
    plots: Sequence[Plot]
    ending: Ending


cases = st.builds(
    Case,
    stages=st.lists(st.tuples(habits, declared), min_size=1, max_size=4).filter(
        lambda stages: stages[0][1].overflow != "fail"  # Its feeder would be refused.
    ),
    items=st.integers(0, 30),
    ordered=st.booleans(),
    window=st.sampled_from([1, 2, 5, 64]),
    concurrency=st.sampled_from([None, None, 1, 3]),
    fast=st.booleans(),
    plots=st.lists(plots, max_size=3),
    ending=endings,
)


@attrs.define
class Outcome:
    """What was seen of one run."""

    found: list[ItemResult[Piece]]
    written: list[Piece]
    report: Report


def play(case: Case, hands: list[Stagehand]) -> Outcome:
    flow = pipeline([hand.declare() for hand in hands])
    found: list[ItemResult[Piece]] = []
    written: list[Piece] = []

    async def take(results: Any, run: Run[Any, Any]) -> None:
        async for result in results:
            found.append(result)
            assert counts_add_up(run)

    async def main() -> Report:
        with trio.fail_after(TIME_LIMIT):
            async with nothing_left(), trio.open_nursery() as outside:
                with trio.CancelScope() as scope:
                    async with flow.open(
                        ordered=case.ordered,
                        window=case.window,
                        concurrency=case.concurrency,
                        sink=written.append,
                    ) as run:
                        outside.start_soon(take, run.results(), run)
                        for plot in case.plots:
                            outside.start_soon(plot.act, run)
                        run.start_feeding((number,) for number in range(case.items))
                        await case.ending.act(run, scope)
                outside.cancel_scope.deadline = trio.current_time() + 100
        assert run.report is not None
        assert counts_add_up(run)
        return run.report

    report = trio.run(main, clock=MockClock(autojump_threshold=0))
    return Outcome(found, written, report)


@settings(max_examples=250, deadline=None)
@given(case=cases)
def test_every_item_is_accounted_for_once_however_a_run_goes(case: Case) -> None:
    hands = [
        Stagehand(f"s{number}", habit, setting)
        for number, (habit, setting) in enumerate(case.stages)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "fast", case.fast)
        outcome = play(case, hands)

    counts = outcome.report.counts
    assert counts["fed"] == sum(counts[each] for each in ("done", "skipped", "dead", "held"))
    outputs = Counter(result.value for result in outcome.found if result.ok)
    assert not outputs or max(outputs.values()) == 1
    assert Counter(outcome.written) == outputs
    ended = {
        status: Counter(each.number for each in outcome.found if each.status == status)
        for status in ("failed", "skipped")
    }
    assert all(max(each.values(), default=1) == 1 for each in ended.values())
    assert len(ended["skipped"]) == counts["skipped"]
    assert len(ended["failed"]) >= counts["dead"]  # One piece failed, others may be held.
    if case.ending.verb == "all":
        assert (counts["fed"], counts["held"]) == (case.items, 0)
        assert len(ended["failed"]) == counts["dead"]
    for hand in hands:
        assert not +hand.inside
    if case.ordered:
        order = [result.number for result in outcome.found]
        assert order == sorted(order)
    first = hands[0]
    if first.setting.keyed and first.setting.overflow == "block":
        for begun in first.begun.values():
            assert begun == sorted(begun)
