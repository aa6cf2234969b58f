"""What observers hear of items: the whole story of each, in order, and the same as the report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    ActorSystem,
    Batch,
    Fixed,
    JsonLinesSource,
    Parallel,
    Report,
    Retry,
    Route,
    Send,
    Turn,
    stage,
)
from actorflow.core.events import (
    ActorStarted,
    ItemAccepted,
    ItemDone,
    ItemEnded,
    ItemEvent,
    ItemFailed,
    ItemOut,
    ItemRetried,
    ItemReturned,
    ItemSkipped,
    ItemStarted,
    MessageDied,
)
from actorflow.observe.history import History
from actorflow.runtime.kernel import Kernel
from tests.flows.flowing import Boom, Gate, counted, increment, pipeline


class Ear:
    """Keeps the events that it wants."""

    def __init__(self, *wants: type[Any]) -> None:
        self.wants = wants or (ItemEvent,)
        self.heard: list[Any] = []

    def on_event(self, event: Any) -> None:
        self.heard.append(event)

    def story(self, number: int = 0) -> list[Any]:
        """What happened to one item, as type and the facts that it has besides."""
        common = {"item", "number", "message_id", "at", "error"}
        return [
            (type(each).__name__, each.at, *attrs.astuple(each, filter=_but(common)))
            for each in self.heard
            if each.number == number
        ]


def _but(names: set[str]) -> Any:
    return lambda attribute, _: attribute.name not in names


async def test_the_story_of_an_item(autojump_clock: MockClock) -> None:
    async def fetch(value: int, ctx: Turn) -> int:
        await trio.sleep(1)
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([stage(fetch, policies=[Retry(2, backoff=Fixed(10))]), increment], name="f")
    ear = Ear()
    began = trio.current_time()

    async with flow.open(observers=[ear]) as run:
        await run.feed([7], ids=["x"])
        await run.finish()

    assert {(each.item, each.number, each.message_id) for each in ear.heard} == {("x", 0, "0")}
    assert [(kind, at - began, *facts) for kind, at, *facts in ear.story()] == [
        ("ItemAccepted", 0, "fetch"),
        ("ItemStarted", 0, "fetch", "/f/fetch/1", 1),
        ("ItemRetried", 1, "fetch", "/f/fetch/1", 1, 10),
        ("ItemStarted", 11, "fetch", "/f/fetch/1", 2),
        ("ItemDone", 12, "fetch", "/f/fetch/1", 2, 1),
        ("ItemStarted", 12, "increment", "/f/increment/1", 1),
        ("ItemDone", 12, "increment", "/f/increment/1", 1, 1),
        ("ItemOut", 12, "increment"),
        ("ItemEnded", 12, "done"),
    ]
    (retried,) = [each for each in ear.heard if isinstance(each, ItemRetried)]
    assert isinstance(retried.error, Boom)


async def test_the_story_of_one_that_dies_and_one_that_is_skipped() -> None:
    async def some(value: int, ctx: Turn) -> int:
        if value:
            raise Boom
        ctx.skip()
        return value

    ear = Ear(ItemSkipped, ItemFailed, ItemEnded)
    report = await pipeline([some], name="f").run([0, 1], observers=[ear])

    assert report.counts == counted(fed=2, skipped=1, dead=1)
    assert [each[0] for each in ear.story(0)] == ["ItemSkipped", "ItemEnded"]
    failed, ended = (each for each in ear.heard if each.number == 1)
    assert (failed.stage, failed.reason, failed.attempts) == ("some", "failed", 1)
    assert isinstance(failed.error, Boom)
    assert (type(ended), ended.status) == (ItemEnded, "failed")


async def test_the_story_of_a_generator() -> None:
    async def several(value: int) -> Any:
        for number in range(3):
            yield number

    ear = Ear()
    await pipeline([several, increment]).run([0], observers=[ear])

    pieces = Counter((type(each).__name__, each.message_id) for each in ear.heard)
    assert pieces == Counter(
        [("ItemAccepted", "0"), ("ItemStarted", "0"), ("ItemDone", "0"), ("ItemEnded", "0")]
        + [
            (kind, f"0.{number}")
            for number in range(3)
            for kind in ("ItemStarted", "ItemDone", "ItemOut")
        ]
    )
    (done,) = [each for each in ear.heard if (type(each), each.message_id) == (ItemDone, "0")]
    assert done.values == 3
    assert isinstance(ear.heard[-1], ItemEnded)


async def test_a_batch_is_told_of_each_of_its_items() -> None:
    async def together(values: list[int]) -> int:
        return sum(values)

    ear = Ear(ItemStarted, ItemEnded)
    await pipeline([stage(together, batch=Batch(3))]).run(range(3), observers=[ear])

    assert [(type(each), each.number) for each in ear.heard] == [
        *((ItemStarted, number) for number in range(3)),
        *((ItemEnded, number) for number in range(3)),
    ]
    assert {each.status for each in ear.heard[3:]} == {"done"}


async def test_a_turn_that_the_run_ends_is_given_back() -> None:
    gate = Gate()
    ear = Ear(ItemStarted, ItemReturned, ItemEnded)

    async with pipeline([gate]).open(observers=[ear]) as run:
        await run.feed([0])
        await wait_all_tasks_blocked()
        report = await run.stop()

    assert report.counts == counted(fed=1, held=1)
    assert [type(each) for each in ear.heard] == [ItemStarted, ItemReturned]


async def test_a_line_that_cannot_be_read_is_accepted_and_fails(tmp_path: Any) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\nnot json\n")
    ear = Ear(ItemAccepted, ItemFailed, ItemEnded)

    await pipeline([increment]).run(JsonLinesSource(str(path)), observers=[ear])

    assert [(type(each), each.item) for each in ear.heard if each.number == 1] == [
        (ItemAccepted, f"{path}:2"),
        (ItemFailed, f"{path}:2"),
        (ItemEnded, f"{path}:2"),
    ]


# Who hears what -----------------------------------------------------------------------


async def test_an_observer_gets_what_it_wants_and_no_more() -> None:
    everything, some, nothing = Ear(object), Ear(MessageDied, ItemOut), Ear()
    nothing.wants = ()

    class Undeclared:
        def __init__(self) -> None:
            self.heard: list[Any] = []

        def on_event(self, event: Any) -> None:
            self.heard.append(event)

    undeclared = Undeclared()
    await pipeline([increment]).run([1, "no"], observers=[everything, some, nothing, undeclared])

    assert [type(each) for each in some.heard] == [ItemOut, MessageDied]
    assert nothing.heard == []
    assert everything.heard == undeclared.heard
    assert {ActorStarted, ItemStarted, ItemEnded} <= {type(each) for each in everything.heard}


@pytest.mark.parametrize(
    ("wants", "watched"),
    [
        ((), False),
        ((MessageDied, ActorStarted), False),
        ((ItemEnded,), True),
        ((ItemEvent,), True),
        ((object,), True),
        (None, True),
    ],
)
async def test_only_who_wants_to_hear_of_items_costs_the_fast_branch(
    wants: Any, watched: bool
) -> None:
    ear = Ear()
    ear.wants = wants

    assert pipeline([increment]).open(observers=[ear])._kernel.watched is watched


async def test_observers_come_and_go_while_a_run_goes_on() -> None:
    gate, ear = Gate(), Ear(ItemStarted, ItemDone, ItemOut)

    async with pipeline([increment, gate]).open() as run:
        await run.feed([0])
        await wait_all_tasks_blocked()
        run.observe(ear)
        assert run._kernel.watched
        await run.feed([1])
        await wait_all_tasks_blocked()
        gate.open()
        await wait_all_tasks_blocked()
        run.unobserve(ear)
        run.unobserve(ear)
        assert not run._kernel.watched
        await run.feed([2])
        await run.finish()

    assert {each.number for each in ear.heard} == {0, 1}
    assert [each[0] for each in ear.story(1)] == [
        *("ItemStarted", "ItemDone", "ItemStarted", "ItemDone", "ItemOut"),
    ]


async def test_an_observer_may_leave_in_the_middle_of_an_event() -> None:
    heard: list[str] = []

    class Once:
        wants = (ItemStarted,)

        def on_event(self, event: ItemEvent) -> None:
            heard.append("once")
            run.unobserve(self)

    async with pipeline([increment]).open(observers=[Once(), Ear()]) as run:
        await run.feed(range(5))
        report = await run.finish()

    assert heard == ["once"]
    assert report.counts == counted(fed=5, done=5)


async def test_a_system_hears_of_its_runs_but_not_of_their_items() -> None:
    ear = Ear(object)
    async with ActorSystem("shop", observers=[ear]) as system:
        own = Ear(ItemEnded)
        await pipeline([increment]).run([1, 2], system=system, observers=[own])

    assert not any(isinstance(each, ItemEvent) for each in ear.heard)
    assert any(isinstance(each, ActorStarted) for each in ear.heard)
    assert [each.number for each in own.heard] == [0, 1]


# Every story is that of the report -------------------------------------------------------


KINDS = ("plain", "waits", "flaky", "fails", "skips", "many", "emits", "none")


def node(kind: str, name: str) -> Any:
    async def one(value: int, ctx: Turn) -> int:
        if kind in ("waits", "flaky"):
            await trio.lowlevel.checkpoint()
        if kind == "flaky" and ctx.attempt < 1 + value % 3:
            raise Boom
        if kind == "fails" and value % 3 == 1:
            raise Boom
        if kind == "skips" and value % 2:
            ctx.skip()
        if kind == "emits":
            ctx.emit(value)
        return value

    async def many(value: int) -> Any:
        for _ in range(0 if kind == "none" else value % 4):
            yield value

    policies = [Retry(2, backoff=Fixed(0))] if kind in ("flaky", "fails") else []
    work = many if kind in ("many", "none") else one
    return stage(work, name=name, policies=policies, workers=2, capacity=2)


@attrs.frozen
class Split:
    branches: list[str]
    join: bool


@attrs.frozen
class Choice:
    bodies: list[str]


parts = st.one_of(
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.builds(Split, st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), st.booleans()),
    st.builds(Choice, st.lists(st.sampled_from(KINDS), min_size=1, max_size=2)),
)


def nodes_of(plan: list[Any]) -> list[Any]:
    nodes: list[Any] = []
    for place, part in enumerate(plan):
        if isinstance(part, str):
            nodes.append(node(part, f"{part}{place}"))
        elif isinstance(part, Split):
            rows = [[node(kind, f"{kind}{place}.{at}")] for at, kind in enumerate(part.branches)]
            nodes.append(Parallel(rows, join=part.join, name=f"join{place}"))
            if part.join:

                async def first(values: Any) -> int:
                    return next((each for each in values if isinstance(each, int)), 0)

                nodes.append(stage(first, name=f"first{place}"))
        else:
            count = len(part.bodies)

            async def choose(value: int, count: int = count) -> Any:
                return Send(str(value % count))

            table = {
                str(at): [node(kind, f"{kind}{place}.{at}")] for at, kind in enumerate(part.bodies)
            }
            nodes += [stage(choose, name=f"choose{place}", unpack=False), Route(table)]
    return nodes


@given(
    plan=st.lists(parts, min_size=1, max_size=3),
    items=st.integers(1, 12),
    history=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_events_tell_the_same_story_as_the_report(
    plan: list[Any], items: int, history: bool
) -> None:
    ear, known = Ear(object), History()

    async def main() -> Report:
        flow = pipeline(nodes_of(plan))
        return await flow.run(range(items), observers=[ear, known] if history else [ear])

    report = trio.run(main)

    told = [each for each in ear.heard if isinstance(each, ItemEvent)]
    check_stories(told, items)
    kinds = Counter(type(each) for each in told)
    ends = Counter(each.status for each in told if isinstance(each, ItemEnded))
    assert {"done": ends["done"], "skipped": ends["skipped"], "dead": ends["failed"]} == {
        name: report.counts[name] for name in ("done", "skipped", "dead")
    }
    assert kinds[ItemFailed] == len(report.dead)
    assert kinds[ItemRetried] == sum(each.retried for each in report.stages.values())
    for name, figures in report.stages.items():
        mine = [each for each in told if getattr(each, "stage", "") == name]
        skipped = sum(isinstance(each, ItemSkipped) for each in mine)
        retried = sum(isinstance(each, ItemRetried) for each in mine)
        assert (skipped, retried) == (figures.skipped, figures.retried)
    if history:
        counts = known.counts()
        assert (counts["done"], counts["skipped"], counts["failed"]) == (
            *(report.counts[name] for name in ("done", "skipped", "dead")),
        )


def check_stories(told: list[Any], items: int) -> None:
    """Each item begins once and ends once; each turn begins once and ends once."""
    stories: dict[int, list[Any]] = {number: [] for number in range(items)}
    for event in told:
        stories[event.number].append(event)
    for story in stories.values():
        assert isinstance(story[0], ItemAccepted)
        assert isinstance(story[-1], ItemEnded)
        assert sum(isinstance(each, (ItemAccepted, ItemEnded)) for each in story) == 2
        assert [each.at for each in story] == sorted(each.at for each in story)
        open_turns: dict[str, ItemStarted] = {}
        attempts: Counter[tuple[str, str]] = Counter()
        for event in story:
            if isinstance(event, ItemStarted):
                assert event.message_id not in open_turns
                open_turns[event.message_id] = event
                attempts[event.message_id, event.stage] += 1
                assert event.attempt == attempts[event.message_id, event.stage]
            elif isinstance(event, (ItemDone, ItemSkipped, ItemRetried)):
                began = open_turns.pop(event.message_id)
                assert (began.worker, began.stage, began.attempt) == (
                    *(event.worker, event.stage, event.attempt),
                )
            elif isinstance(event, ItemFailed):
                open_turns.pop(event.message_id, None)
        assert not open_turns


@pytest.mark.parametrize("fast", [True, False])
def test_who_listens_changes_nothing(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernel, "fast", fast)
    nodes = nodes_of(["waits", Split(["plain", "many"], True), "skips", "emits"])

    async def main(*observers: Any) -> list[Any]:
        flow = pipeline(nodes)
        async with flow.stream(range(40), ordered=True, observers=observers) as results:
            return [(each.number, each.status, each.value) async for each in results]

    assert trio.run(main) == trio.run(main, Ear(object), History())
