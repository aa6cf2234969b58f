"""Runs that begin with what the checkpoints of another have, from every stage of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import (
    Batch,
    CompilationError,
    ConfigurationError,
    Deadline,
    Fixed,
    Graph,
    Pipeline,
    ResumeError,
    Retry,
    RunDiff,
    RunExistsError,
    RunNotFoundError,
    StoreCorrupt,
    StoreError,
    Turn,
    stage,
)
from actorflow.durability import checkpointer
from actorflow.durability.memory import MemoryStore
from actorflow.durability.store import Change
from actorflow.flows.checkpoints import Moment, Root
from actorflow.flows.picking import _latest
from actorflow.testing import new_session
from tests.flows.flowing import Boom, counted, pipeline
from tests.flows.forked import ITEMS, World, plain, shop
from tests.flows.lives import Disk, conserved, item_counts

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture
def world() -> World:
    return World()


# Forking ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fetch", "price", "stock", "price+stock", "total", "save"])
async def test_a_finished_run_forked_from_any_stage_gives_what_a_fresh_run_gives(
    world: World, name: str
) -> None:
    flow = shop(world)
    _, fresh = await world.run(flow, ITEMS)
    world.lines.clear()

    new = await world.runs(flow).fork("a", from_stage=name)
    counts, values = await world.run(flow, run_id=new)

    assert new == "a.fork-1"
    assert counts == counted(fed=4, done=4)
    assert plain(values) == plain(fresh)
    again = {line.split()[0] for line in world.lines}
    behind = ["fetch", "price", "stock", "total", "save"]
    # One branch is not before the other, and no checkpoint has both where they meet.
    begins = {"price": "fetch", "stock": "fetch", "price+stock": "price"}.get(name, name)
    assert again == set(behind[behind.index(begins) :])
    assert await world.runs(flow).diff("a", new) == RunDiff(
        changed={}, only_a=(), only_b=(), same=4
    )


@pytest.mark.parametrize("name", ["fetch", "total", "save"])
async def test_a_run_that_was_killed_is_forked_from_what_it_had(world: World, name: str) -> None:
    flow = shop(world)
    killed = world.store()
    with trio.move_on_after(2.5):  # It is in `total`.
        async with flow.open(store=killed, run_id="a") as run:
            await run.feed(ITEMS)
            await trio.sleep(2.2)
            killed.die()
            run.cancel()

    new = await world.runs(flow).fork("a", from_stage=name)
    counts, values = await world.run(flow, run_id=new)

    assert counts == counted(fed=4, done=4)
    _, fresh = await world.run(flow, ITEMS, run_id="fresh")
    assert plain(values) == plain(fresh)


async def test_forking_leaves_the_parked_run_as_it_was_and_it_goes_on(world: World) -> None:
    flow = shop(world)
    await world.parked(flow, ITEMS, 1.5)
    before = world.everything("a")

    new = await world.runs(flow).fork("a")

    assert world.everything("a") == before
    _, values = await world.run(flow, run_id=new)
    assert world.everything("a") == before
    counts, own = await world.run(flow)
    assert counts == counted(fed=4, done=4)
    assert plain(own) == plain(values)


async def test_a_run_is_forked_while_it_runs(world: World) -> None:
    flow = shop(world)
    found: list[Any] = []
    async with flow.open(store=world.store(), run_id="a", sink=found.append) as run:
        await run.feed(ITEMS)
        await trio.sleep(1.5)
        new = await world.runs(flow).fork("a", from_stage="fetch", new_id="beside")
        counts, values = await world.run(flow, run_id=new)
        await run.finish()

    assert counts == counted(fed=4, done=4)
    assert plain(found) == plain(values)


async def test_mended_code_is_of_another_version_and_has_what_failed(world: World) -> None:
    world.failing = {"total"}
    counts, _ = await world.run(shop(world), ITEMS)
    assert counts == counted(fed=4, dead=4)
    world.failing.clear()
    world.lines.clear()
    mended = shop(world, version=2)

    new = await world.runs(mended).fork("a", from_stage="total")
    counts, values = await world.run(mended, run_id=new)

    assert counts == counted(fed=4, done=4)
    assert world.lines[0] == "total 0 1"
    assert [each["total"] for each in plain(values)] == [5, 7, 9, 11]
    assert (await world.runs(mended).get(new)).version == mended.version


async def test_items_that_died_before_the_stage_are_left_out_and_those_behind_it_taken(
    world: World,
) -> None:
    def picky(name: str, bad: int) -> Any:
        async def run(value: int) -> int:
            await trio.sleep(1)
            if value == bad:
                raise Boom(name)
            return value

        run.__name__ = name
        return run

    flow = pipeline([picky("one", 1), picky("two", 2), picky("three", 3)], name="f")
    counts, _ = await world.run(flow, range(5))
    assert counts == counted(fed=5, done=2, dead=3)
    mended = pipeline([picky("one", -1), picky("two", -1), picky("three", -1)], name="f")

    new = await world.runs(mended).fork("a", from_stage="two")
    counts, values = await world.run(mended, run_id=new)

    assert counts == counted(fed=4, done=4)
    assert sorted(values) == [0, 2, 3, 4]
    found = await world.runs(mended).diff("a", new)
    assert found.only_a == (1,)
    assert set(found.changed) == {2, 3}


async def test_the_items_of_a_batch_are_taken_together(world: World) -> None:
    def flow(more: int) -> Pipeline[Any, Any]:
        @stage(batch=Batch(3))
        async def insert(rows: list[int]) -> int:
            await trio.sleep(1)
            return sum(rows) + more

        return pipeline([world.adds("first"), insert, world.adds("last")], name="f")

    _, fresh = await world.run(flow(0), range(7))

    for name, more in (("first", 0), ("insert", 100), ("last", 0)):
        new = await world.runs(flow(more)).fork("a", from_stage=name)
        counts, values = await world.run(flow(more), run_id=new)
        assert counts == counted(fed=7, done=7)
        assert sorted(values) == [value + more for value in sorted(fresh)]


async def test_a_checkpoint_with_a_batch_at_work_is_forked_as_it_is(world: World) -> None:
    @stage(batch=Batch(3))
    async def insert(rows: list[int]) -> int:
        world.lines.append(str(rows))
        await trio.sleep(1)
        return sum(rows)

    flow = pipeline([insert, world.adds("last")], name="f")
    await world.parked(flow, [1, 2, 3, 4], 0.5)
    world.lines.clear()

    new = await world.runs(flow).fork("a")
    assert sorted(item_counts(world.disk, new)[1].values()) == ["/f/insert", "/f/insert//gather"]
    counts, values = await world.run(flow, run_id=new)

    assert counts == counted(fed=4, done=4)
    assert world.lines[0] == "[1, 2, 3]"
    assert sorted(values) == [5, 7]


async def test_pieces_of_an_item_are_taken_as_they_are(world: World) -> None:
    async def words(text: str) -> Any:
        for word in text.split():
            yield word
        await trio.sleep(1)

    async def loud(word: str) -> str:
        await trio.sleep(1 + len(word))
        return word.upper()

    async def last(word: str) -> str:
        return word

    flow = pipeline([stage(words, atomic=True), stage(loud, workers=9), last])
    _, fresh = await world.run(flow, ["a bb", "cc d e"])

    new = await world.runs(flow).fork("a", from_stage="loud")
    counts, values = await world.run(flow, run_id=new)

    assert counts == counted(fed=2, done=2)
    assert sorted(values) == sorted(fresh) == ["A", "BB", "CC", "D", "E"]


async def test_pieces_of_which_one_has_come_out_are_taken_from_before_that(world: World) -> None:
    async def words(text: str) -> Any:
        for word in text.split():
            yield word

    async def loud(word: str) -> str:
        await trio.sleep(len(word))
        return word.upper()

    flow = pipeline([stage(words, atomic=True), stage(loud, workers=9)], name="f")
    await world.parked(flow, ["a bbbb"], 2)  # One is out.

    new = await world.runs(flow).fork("a", from_stage="loud")
    _, values = await world.run(flow, run_id=new)

    assert sorted(values) == ["A", "BBBB"]


@pytest.mark.parametrize("name", ["words", "loud"])
async def test_a_generator_of_which_something_has_ended_is_past_its_stage(
    world: World, name: str
) -> None:
    async def words(text: str) -> Any:
        await trio.sleep(1)
        for word in text.split():
            yield word
            await trio.sleep(1)

    async def loud(word: str) -> Any:
        world.lines.append(word)
        if False:
            yield word

    flow = pipeline([words, loud], name="f")
    await world.parked(flow, ["a bb cc"], 2.5)
    assert world.lines == ["a", "bb"]
    world.lines.clear()

    new = await world.runs(flow).fork("a", from_stage=name)
    await world.run(flow, run_id=new, sink=None)

    assert world.lines == ["a", "bb", "cc"]


async def test_keys_that_were_taken_then_stay_taken(world: World) -> None:
    pages = {"/": ["/a", "/b"], "/a": ["/", "/b"], "/b": ["/c"], "/c": []}

    async def fetch(url: str) -> str:
        world.lines.append(url)
        await trio.sleep(1)
        return url

    async def links(url: str) -> Any:
        for link in pages[url]:
            yield link

    async def save(url: str) -> str:
        await trio.sleep(1)
        return url

    flow: Graph[Any, Any] = (
        Graph("crawl").add(fetch, links, save).connect(fetch, links).connect(fetch, save)
    )
    flow.connect(links, fetch, feedback=True, dedupe=lambda url: url)
    await world.parked(flow, ["/"], 1.5)
    world.lines.clear()

    new = await world.runs(flow).fork("a")
    _, values = await world.run(flow, run_id=new)

    assert sorted(world.lines) == ["/a", "/b", "/c"]
    assert sorted(values) == ["/", "/a", "/b", "/c"]


async def test_items_keep_their_ids_facts_and_priorities(world: World) -> None:
    async def second(value: int, ctx: Turn) -> Any:
        world.lines.append(f"{value} {ctx.metadata['who']}")
        await trio.sleep(1)
        return value

    flow = pipeline([world.adds("first", workers=9), stage(second, priorities=True)], name="f")
    async with flow.open(store=world.store(), run_id="a", results="store") as run:
        await run.feed([0], ids=["zero"], context={"who": "me"})
        await trio.sleep(5)  # It has ended.
        await run.feed([10], ids=["low"], context={"who": "you"})
        await run.feed([20], ids=[("a", 1)], priority=1, context={"who": "all"})
        await trio.sleep(0.5)
        at = run._keeper.hold.checkpointer.commits  # type: ignore[union-attr]
        await run.stop()
    world.lines.clear()

    new = await world.runs(flow).fork("a", at=at)
    await world.run(flow, run_id=new)

    assert world.lines == ["first 10 1", "first 20 1", "21 all", "11 you"]
    found = {each["id"]: each["value"] for each in Disk(world.disk).results(new)}
    assert found == {"low": 11, ("a", 1): 21}


async def test_attempts_begin_anew_and_a_retry_does_not_wait_any_more(world: World) -> None:
    world.failing = {"first"}
    flow = pipeline([world.adds("first", policies=[Retry(3, backoff=Fixed(1000))])], name="f")
    await world.parked(flow, [1], 5)
    world.failing.clear()
    world.lines.clear()

    new = await world.runs(flow).fork("a", from_stage="first")
    with trio.fail_after(10):
        _, values = await world.run(flow, run_id=new)

    assert world.lines == ["first 1 1"]
    assert values == [2]


async def test_a_stage_of_several_steps_begins_anew(world: World) -> None:
    from actorflow import Steps

    world.failing = {"two"}
    retry = Retry(3, backoff=Fixed(1000))
    steps = Steps(world.adding("one"), world.adding("two"))
    flow = pipeline([stage(steps, name="both", policies=[retry])], name="f")
    await world.parked(flow, [1], 5)
    world.failing.clear()
    world.lines.clear()

    new = await world.runs(flow).fork("a")
    _, values = await world.run(flow, run_id=new)

    assert world.lines == ["one 1 1", "two 2 1"]
    assert values == [3]


async def test_what_is_left_until_a_deadline_is_left_again(world: World) -> None:
    flow = pipeline([world.adds("first"), world.adds("last")], name="f", policies=[Deadline(10)])
    await world.run(flow, [1])
    await trio.sleep(1000)

    new = await world.runs(flow).fork("a", from_stage="first")
    counts, values = await world.run(flow, run_id=new)

    assert counts == counted(fed=1, done=1)
    assert values == [3]


async def test_values_that_had_come_out_are_written_in_the_order_of_feeding(world: World) -> None:
    blocked = trio.Event()

    async def sink(values: Any) -> None:
        await blocked.wait()

    async def turn(value: int) -> int:
        await trio.sleep(10 - value)
        return value

    flow = pipeline([stage(turn, workers=4)], name="f")
    with trio.move_on_after(9.5):
        async with flow.open(store=world.store(), run_id="a", sink=sink, ordered=True) as run:
            await run.feed([0, 1, 2, 3])
            await trio.sleep(8.5)
            await run.stop()

    new = await world.runs(flow).fork("a")
    assert item_counts(world.disk, new)[0][:2] == [4, 2]
    counts, values = await world.run(flow, run_id=new, ordered=True)

    assert counts == counted(fed=4, done=4)
    assert values == [0, 1, 2, 3]


async def test_a_fork_reads_nothing_also_if_it_is_given_something(world: World) -> None:
    flow = pipeline([world.adds("first"), world.adds("last")], name="f")
    await world.run(flow, [1, 2, 3])

    new = await world.runs(flow).fork("a", from_stage="last")
    counts, values = await world.run(flow, [7, 8, 9], run_id=new)

    assert counts == counted(fed=3, done=3)
    assert sorted(values) == [3, 4, 5]


async def test_a_fork_can_be_fed_and_forked_again(world: World) -> None:
    flow = pipeline([world.adds("first"), world.adds("last")], name="f")
    await world.parked(flow, [1, 2, 3], 1.5)
    runs = world.runs(flow)

    new = await runs.fork("a", from_stage="first")
    found: list[Any] = []
    async with flow.open(store=world.store(), run_id=new, sink=found.append) as run:
        await run.feed([10])
        await run.finish()
    assert sorted(found) == [3, 4, 5, 12]

    again = await runs.fork(new, from_stage="last")
    assert again == "a.fork-1.fork-1"
    _, values = await world.run(flow, run_id=again)
    assert sorted(values) == [3, 4, 5, 12]


async def test_one_checkpoint_may_be_all_that_counts(world: World) -> None:
    flow = pipeline([world.adds("first", workers=1), world.adds("last")], name="f")
    async with flow.open(store=world.store(), run_id="a", keep=50) as run:
        await run.feed([1, 2])
        await trio.sleep(1.5)
        at = run._keeper.hold.checkpointer.commits  # type: ignore[union-attr]
        await run.finish()
    runs = world.runs(flow)

    whole = await runs.fork("a", at=at)
    assert conserved(world.disk, whole) == counted(fed=2, held=2)
    assert sorted(item_counts(world.disk, whole)[1].values()) == ["/f/first", "/f/last"]
    with pytest.raises(ResumeError, match=r"1 item is in no kept checkpoint at 'first'"):
        await runs.fork("a", from_stage="first", at=at)


def test_items_are_taken_from_moments_that_agree() -> None:
    def moment(number: int, *roots: Root) -> Moment:
        return Moment(number, 0.0, frozenset(roots), (), {})

    apart, pair, late, alone = moment(1, 3), moment(2, 1, 2), moment(3, 2, 3), moment(4, 3)
    fitting: dict[Root, list[Moment]] = {
        1: [pair],
        2: [pair, late],
        3: [apart, late, alone],
    }

    found = _latest(fitting)

    # `late` would have 2 as well, which goes with 1; and 3 goes on alone behind it.
    assert found == {1: pair, 2: pair, 3: alone}


# What cannot be forked -------------------------------------------------------------------


async def test_an_item_that_no_checkpoint_has_there_is_told_and_nothing_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", 0)  # Each cut is a full one.
    nodes = [world.adds(name, workers=9) for name in ("first", "next", "last")]
    flow = pipeline(nodes, name="f")
    await world.parked(flow, [0] * 6, 1.5, keep=1)

    with pytest.raises(ResumeError) as caught:
        await world.runs(flow).fork("a", from_stage="first")

    text = str(caught.value)
    assert text.startswith(
        "run 'a': 6 items are in no kept checkpoint at 'first' or before it (0, 1, 2, ...); kept"
    )
    assert text.endswith(
        ": give the run a larger keep=, or fork with from_stage='next', or say at= for what one "
        "checkpoint has"
    )
    assert [row.run for row in await world.runs(flow).list()] == ["a"]


async def test_stages_that_are_gone_are_named(world: World) -> None:
    nodes = [world.adds("first", workers=2), world.adds("old"), world.adds("last")]
    flow = pipeline(nodes, name="f")
    await world.parked(flow, [1, 2], 1.5)
    other = pipeline([world.adds("first"), world.adds("last")], name="f")

    with pytest.raises(CompilationError, match="2 messages are at 'old', which it has no more"):
        await world.runs(other).fork("a")

    new = await world.runs(other).fork("a", from_stage="first")
    _, values = await world.run(other, run_id=new)
    assert sorted(values) == [3, 4]


async def test_what_waits_for_others_is_refused_where_nobody_waits(world: World) -> None:
    slow = pipeline([stage(world.adds("last"), batch=Batch(3, seconds=100))], name="f")
    await world.parked(slow, [1, 2], 1)
    other = pipeline([world.adds("last")], name="f")

    with pytest.raises(CompilationError, match="wait for others before 'last', which takes each"):
        await world.runs(other).fork("a")


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"run_id": "none"}, RunNotFoundError, "run 'none': there is none"),
        ({"run_id": ""}, ConfigurationError, r"fork\(\) run_id must be"),
        ({"from_stage": "nope"}, CompilationError, "no stage is named 'nope'"),
        ({"at": 0}, ConfigurationError, r"fork\(\) at must be a whole number"),
        ({"at": 99}, ConfigurationError, r"fork\(\) at must be the number of a kept one, 1 to \d"),
        ({"new_id": "a"}, RunExistsError, "run 'a': there is one already"),
        ({"new_id": ""}, ConfigurationError, r"fork\(\) new_id must be"),
        ({}, ResumeError, r"checkpoint \d+ holds no item; say another at= or from_stage="),
        ({"run_id": "empty"}, ResumeError, "it has no checkpoint yet"),
        ({"run_id": "actors"}, ConfigurationError, "a run of a flow, not an actor system"),
    ],
)
async def test_what_cannot_be_forked_is_said(
    world: World, wrong: dict[str, Any], error: type[Exception], words: str
) -> None:
    flow = pipeline([world.adds("first")], name="f")
    await world.run(flow, [1])
    store = world.store()
    store.open(new_session())
    store.acquire("empty", 1.0)
    store.acquire("actors", 1.0)
    store.commit(Change(run="actors", epoch=1, version="system", status="parked"))
    store.close()
    before = [row.run for row in await world.runs(flow).list()]

    with pytest.raises(error, match=words):
        await world.runs(flow).fork(**{"run_id": "a", **wrong})

    assert [row.run for row in await world.runs(flow).list()] == before


async def test_a_checkpoint_that_cannot_be_read_is_told(world: World) -> None:
    flow = pipeline([world.adds("first")], name="f")
    store = world.store()
    store.open(new_session())
    store.acquire("a", 1.0)
    store.commit(Change(run="a", epoch=1, number=1, cut=b"no cut", status="parked"))
    store.close()

    with pytest.raises(StoreCorrupt, match="checkpoint 1 of run 'a' cannot be read"):
        await world.runs(flow).fork("a")


async def test_a_fork_that_cannot_be_written_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = pipeline([world.adds("first")], name="f")
    await world.parked(flow, [1], 0.5)

    def refuse(self: MemoryStore, change: Change) -> None:
        raise StoreError(self.url, "is full")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "commit", refuse)
        with pytest.raises(StoreError, match="is full"):
            await world.runs(flow).fork("a")

    assert [row.run for row in await world.runs(flow).list()] == ["a"]


async def test_a_run_without_a_source_needs_a_store(world: World) -> None:
    flow = pipeline([world.adds("first")], name="f")

    with pytest.raises(ConfigurationError, match="source must be"):
        await flow.run()


@pytest.mark.parametrize(("name", "runs"), [("a", "abc"), ("b", "bc"), ("c", "c")])
async def test_in_a_circle_what_leads_back_is_not_before(name: str, runs: str) -> None:
    ran: list[str] = []

    def passing(name: str) -> Any:
        async def work(value: int) -> int:
            ran.append(name)
            await trio.sleep(1)
            return value

        return stage(work, name=name)

    flow = Graph[Any, Any]("f").add(*map(passing, "abc")).connect("a", "b").connect("b", "c")
    flow.connect("c", "a", feedback=True, when=lambda value: False)
    store = MemoryStore(blocking=False)
    await flow.run([1], store=store, run_id="run", keep=20)
    ran.clear()
    new = await flow.runs(store).fork("run", from_stage=name)
    await flow.run(store=store, run_id=new)

    assert "".join(ran) == runs
