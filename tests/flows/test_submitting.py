"""An item that is submitted to a run has a future, which gives its value and takes it back."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    Batch,
    Fixed,
    Future,
    FutureCancelled,
    Graph,
    InsideTurn,
    MailboxFull,
    NotRunningError,
    RateLimit,
    Retry,
    Run,
    StageError,
    StoreError,
    Turn,
    stage,
)
from actorflow.core.envelope import Envelope
from actorflow.durability.memory import MemoryDisk, MemoryStore
from tests.flows.flowing import Boom, Gate, counted, counts_add_up, double, increment, pipeline
from tests.flows.lives import Held, Killable


async def fail(value: object) -> None:
    raise Boom(value)


class FirstAtOnce:
    """The first retry at once, others in a minute."""

    def delay(self, attempt: int, draw: float) -> float:
        return 0.0 if attempt == 1 else 60.0


def count_to(value: int) -> Iterator[int]:
    yield from range(value)


async def skip(value: int, ctx: Turn) -> None:
    ctx.skip()


# What comes of it -----------------------------------------------------------------------


async def test_the_future_of_an_item_gives_what_comes_out_of_the_last_stage() -> None:
    async with pipeline([increment, double]).open() as run:
        futures = [await run.submit(number) for number in range(5)]
        assert [await each.result() for each in futures] == [2, 4, 6, 8, 10]
        assert [each.id for each in futures] == [0, 1, 2, 3, 4]

    assert run.report is not None
    assert run.report.counts == counted(fed=5, done=5)


async def test_an_item_of_a_flow_with_a_generator_gives_a_list() -> None:
    async with pipeline([count_to, double]).open() as run:
        futures = [await run.submit(number) for number in (3, 1, 0)]
        assert [sorted(await each.result()) for each in futures] == [[0, 2, 4], [0], []]


async def test_a_skipped_item_gives_none() -> None:
    async with pipeline([skip]).open() as run:
        assert await (await run.submit(1)).result() is None


async def test_an_item_that_fails_raises_the_handlers_own_error() -> None:
    async with pipeline([increment, fail]).open() as run:
        future = await run.submit(1)
        with pytest.raises(Boom, match="2"):
            await future.result()

    assert run.report is not None
    assert run.report.counts == counted(fed=1, dead=1)
    assert [each.id for each in run.report.dead] == [0]


async def test_an_item_that_is_given_up_without_an_error_raises_a_stage_error() -> None:
    gate = Gate()
    async with pipeline([stage(gate, capacity=1, overflow="drop_new")]).open() as run:
        futures = []
        for number in range(4):
            futures.append(await run.submit(number))
            await wait_all_tasks_blocked()
        with pytest.raises(StageError, match="given up"):
            await futures[3].result()
        gate.open()


async def test_a_stage_that_refuses_when_full_refuses_submit() -> None:
    gate = Gate()
    async with pipeline([stage(gate, capacity=1, overflow="fail")]).open() as run:
        for number in range(2):
            await run.submit(number)
            await wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            await run.submit(2)
        gate.open()

    assert run.report is not None
    assert run.report.counts == counted(fed=2, done=2)


async def test_submit_may_name_stage_and_priority() -> None:
    gate, order = Gate(), list[int]()

    async def note(value: int) -> int:
        order.append(value)
        if value == 0:
            await gate(0)
        return value

    async with pipeline([increment, note]).open() as run:
        futures = [await run.submit(0, stage="note")]
        await wait_all_tasks_blocked()
        for number, priority in ((1, 100), (2, 200), (3, 1)):
            futures.append(await run.submit(number, stage="note", priority=priority))
        gate.open()
        await run.wait(futures)

    assert order == [0, 3, 1, 2]


async def test_results_come_beside_futures() -> None:
    async with pipeline([double]).open() as run:
        results = run.results()
        await run.feed([1, 2])
        future = await run.submit(3)
        assert await future.result() == 6
        assert [(await anext(results)).value for _ in range(3)] == [2, 4, 6]


async def test_a_run_has_the_verbs_of_an_executor(autojump_clock: MockClock) -> None:
    async def wait(value: int) -> int:
        await trio.sleep(value)
        return value

    async with pipeline([stage(wait, workers=5)]).open() as run:
        futures = [await run.submit(number) for number in (3, 1, 2)]
        done, _ = await run.wait(futures, return_when="first_completed")
        assert done == {futures[1]}
        assert [await each.result() async for each in run.as_completed(futures)] == [1, 2, 3]


async def test_submit_waits_for_the_rate_of_the_flow(autojump_clock: MockClock) -> None:
    async with pipeline([double], policies=[RateLimit(1)]).open() as run:
        futures = [await run.submit(number) for number in range(3)]
        await run.wait(futures)

    assert trio.current_time() == pytest.approx(2)


# The end --------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stop", "cancel", "drain"])
async def test_a_run_that_ends_first_fails_its_futures(
    ending: str, autojump_clock: MockClock
) -> None:
    gate = Gate()
    async with pipeline([gate]).open() as run:
        futures = [await run.submit(number) for number in range(3)]
        await wait_all_tasks_blocked()
        if ending == "cancel":
            run.cancel()
        else:
            await getattr(run, ending)()
    for each in futures:
        with pytest.raises(FutureCancelled, match="its run has ended before it"):
            await each.result()
    with pytest.raises(NotRunningError):
        await run.submit(3)


async def test_a_run_that_fails_is_the_cause_of_what_its_futures_raise() -> None:
    gate = Gate()

    async def halting(value: int) -> int:
        if value == 0:
            raise Boom
        return int(await gate(value))

    async with pipeline([stage(halting, workers=2, on_failure="halt")]).open() as run:
        await run.pause("halting")
        failed, other = await run.submit(0), await run.submit(1)
        await run.resume("halting")
        assert isinstance(await failed.exception(), Boom)
        with pytest.raises(FutureCancelled) as caught:
            await other.result()
        assert isinstance(caught.value.__cause__, StageError)
        with pytest.raises(StageError):
            await run.finish()


async def test_an_item_may_not_be_submitted_by_a_turn_of_its_run() -> None:
    found: list[BaseException] = []

    async def handler(value: int) -> None:
        try:
            await runs[0].submit(1)
        except InsideTurn as error:
            found.append(error)

    runs: list[Run[Any, Any]] = []
    async with pipeline([handler]).open() as run:
        runs.append(run)
        await (await run.submit(0)).result()

    assert [str(each) for each in found] == [
        "run.submit() inside a turn could wait for the turn itself; use ctx.emit()"
    ]


# Taking back ----------------------------------------------------------------------------


async def test_an_item_is_taken_back_wherever_it_waits() -> None:
    gate = Gate()
    nodes = [stage(increment, name="first"), stage(gate, name="second")]
    async with pipeline(nodes).open() as run:
        futures = [await run.submit(number) for number in range(3)]
        await wait_all_tasks_blocked()
        assert run.stats().stages["second"].pending == 2
        assert futures[2].cancel()
        assert futures[2].cancelled()
        await run.pause("first")
        last = await run.submit(9)
        assert last.cancel()
        await run.resume("first")
        gate.open()
        assert [await each.result() for each in futures[:2]] == [1, 2]

    assert run.report is not None
    assert run.report.counts == counted(fed=4, done=2, skipped=2)
    assert run.report.stages["second"].skipped == 1


async def test_an_item_that_waits_among_others_of_other_priority_is_taken_back() -> None:
    async with pipeline([double]).open() as run:
        await run.pause("double")
        futures = [await run.submit(number, priority=number % 3) for number in range(9)]
        assert all(each.cancel() for each in futures[2:7])
        await run.resume("double")
        left = [*futures[:2], *futures[7:]]
        assert [await each.result() for each in left] == [0, 2, 14, 16]

    assert run.report is not None
    assert run.report.counts == counted(fed=9, done=4, skipped=5)


async def test_an_item_that_waits_behind_its_key_is_taken_back() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=3, key=lambda value: "all")]).open() as run:
        futures = [await run.submit(number) for number in range(4)]
        await wait_all_tasks_blocked()
        assert gate.inside == [0]
        assert futures[1].cancel()
        gate.open()
        assert [await each.result() for each in futures[2:]] == [2, 3]


async def test_a_key_is_free_again_when_its_holder_is_taken_back(
    autojump_clock: MockClock,
) -> None:
    async def first_fails(value: int) -> int:
        if value == 0:
            raise Boom
        return value

    retried = stage(first_fails, key=lambda value: 1, policies=[Retry(9, backoff=Fixed(3600))])
    async with pipeline([retried]).open() as run:
        first, second = await run.submit(0), await run.submit(1)
        await trio.sleep(1)
        assert (first.attempts, second.done()) == (1, False)
        assert first.cancel()
        assert await second.result() == 1
        assert trio.current_time() == 1


async def test_a_mailbox_from_which_all_was_taken_back_is_as_new(
    autojump_clock: MockClock,
) -> None:
    gate = Gate()

    async def work(value: int) -> None:
        if value == 0:
            await gate(value)
        raise Boom

    retry = Retry(9, backoff=FirstAtOnce())
    node = stage(work, capacity=8, policies=[retry], key=lambda n: "same" if n > 3 else None)
    async with pipeline([node]).open() as run:
        box = run.stages["work"].mailbox
        futures = [await run.submit(number) for number in (1, 2, 4, 5, 6)]
        await trio.sleep(1)  # They wait for a retry, or behind one.
        first = await run.submit(0)
        futures += [await run.submit(number) for number in (3, 2)]
        await trio.sleep(1)
        await run.pause("work")
        gate.open()
        await trio.sleep(1)  # The first one waits in the lane for its second attempt.
        assert first.attempts == 1
        assert all(each.cancel() for each in (first, *reversed(futures)))
        await run.resume("work")

        assert (len(box), box.limit, box.waiting, box.reserved) == (0, 8, 0, 0)
        assert box.held_keys == {}
        assert run.stats().counts == counted(fed=8, skipped=8)


async def test_a_running_item_is_cut_short_and_goes_nowhere() -> None:
    gate, seen = Gate(), list[int]()
    async with pipeline([stage(gate), seen.append]).open() as run:
        future = await run.submit(1)
        await wait_all_tasks_blocked()
        assert not future.cancel()
        assert isinstance(await future.exception(), FutureCancelled)

    assert seen == []
    assert run.report is not None
    assert run.report.counts == counted(fed=1, skipped=1)


async def test_an_item_whose_commit_waits_goes_no_further_than_the_next_stage() -> None:
    gate, seen = Gate(), list[int]()

    async def second(value: int) -> int:
        seen.append(value)
        return int(await gate(value))

    async with pipeline([increment, stage(second, capacity=1)]).open() as run:
        futures = [await run.submit(number) for number in range(4)]
        await wait_all_tasks_blocked()  # One runs, one waits, the third waits to be put there.
        assert not futures[2].cancel()
        gate.open()
        assert isinstance(await futures[2].exception(), FutureCancelled)
        assert await futures[3].result() == 4

    assert seen == [1, 2, 4]
    assert run.report is not None
    assert run.report.counts == counted(fed=4, done=3, skipped=1)


async def test_a_generator_that_is_cut_short_leaves_no_item_behind() -> None:
    gate = Gate()

    async def numbers(value: int) -> Any:
        yield 1
        await gate(value)
        yield 2

    async with pipeline([numbers, double]).open() as run:
        future = await run.submit(0)
        await wait_all_tasks_blocked()
        assert not future.cancel()
        assert isinstance(await future.exception(), FutureCancelled)
        assert run.stats().counts["held"] == 0


async def test_an_item_in_a_batch_is_not_taken_out_of_it() -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    async with pipeline([stage(total, batch=Batch(2))]).open() as run:
        futures = [await run.submit(number) for number in (1, 2)]
        assert [each.cancel() for each in futures] == [False, False]
        assert [await each.result() for each in futures] == [3, None]


async def test_a_cancelled_item_does_not_halt_the_run() -> None:
    async def hang(value: int) -> int:
        if value == 0:
            await trio.sleep_forever()
        return value

    async with pipeline([stage(hang, on_failure="halt")]).open() as run:
        hung = await run.submit(0)
        await wait_all_tasks_blocked()
        hung.cancel()
        assert await (await run.submit(1)).result() == 1


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
async def test_items_that_are_cancelled_at_any_time_are_each_accounted_for_once(
    seed: int, autojump_clock: MockClock
) -> None:
    rng = random.Random(seed)

    async def work(value: int) -> int:
        for _ in range(rng.randrange(3)):
            await trio.sleep(rng.random())
        if rng.random() < 0.3:
            raise Boom
        return value

    retry = Retry(3, backoff=Fixed(0.5))
    nodes = [
        stage(work, name="first", workers=2, capacity=3, policies=[retry]),
        stage(work, name="second", workers=3, capacity=2, policies=[retry], key=lambda n: n % 4),
        stage(work, name="third", capacity=0),
    ]
    futures: list[Future[int]] = []
    async with pipeline(nodes).open(window=30) as run:

        async def cancel_some() -> None:
            while len(futures) < 150:
                await trio.sleep(rng.random())
                for _ in range(rng.randrange(4)):
                    if futures:
                        rng.choice(futures[-20:]).cancel()
                assert counts_add_up(run)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_some)
            for number in range(150):
                future = await run.submit(number, priority=rng.choice([50, 100]))
                futures.append(future)  # Others look at those there are.
        await run.wait(futures)
        counts = run.stats().counts

    ends = {
        "done": sum(not each.failed() and not each.cancelled() for each in futures),
        "dead": sum(each.failed() for each in futures),
        "skipped": sum(each.cancelled() for each in futures),
    }
    for each in futures:
        await each.exception()
    assert counts == counted(fed=150, **ends)
    assert min(ends.values()) > 0


# Memory ---------------------------------------------------------------------------------


async def test_a_run_keeps_no_future_and_no_result_of_an_item_that_has_ended() -> None:
    class Result:
        pass

    async def make(value: int) -> Result:
        return Result()

    def envelopes() -> int:
        gc.collect()
        return sum(type(each) is Envelope for each in gc.get_objects())

    before = envelopes()
    async with pipeline([make]).open(window=10) as run:
        futures = [await run.submit(number) for number in range(100)]
        results = [weakref.ref(await each.result()) for each in futures]
        futures.clear()
        assert envelopes() <= before
        assert [each() for each in results] == [None] * 100


# Durable runs ---------------------------------------------------------------------------


async def test_a_future_of_a_durable_run_waits_for_the_disk(disk: Callable[[], Any]) -> None:
    async with pipeline([double], name="kept").open(store=disk()) as run:
        future = await run.submit(4)
        assert await future.result() == 8
        assert run._kernel.journal.committed > 0


async def test_submit_to_a_durable_run_returns_when_the_disk_has_the_item() -> None:
    store, returned = Held(MemoryDisk()), trio.Event()

    async def submit() -> None:
        await run.submit(4)
        returned.set()

    async with pipeline([double], name="kept").open(store=store) as run:
        await wait_all_tasks_blocked()
        store.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            await wait_all_tasks_blocked()
            assert not returned.is_set()
            store.let_go()
            await returned.wait()


async def test_values_that_reach_the_disk_make_room_for_other_items() -> None:
    store = Held(MemoryDisk())
    async with pipeline([double], name="kept").open(store=store, window=2) as run:
        futures = [await run.submit(number) for number in range(2)]
        await run.wait(futures)
        store.hold()
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(run.submit, number)
            await wait_all_tasks_blocked()
            assert run.stats().counts == counted(fed=4, done=4)
            store.let_go()

    assert run.report is not None
    assert run.report.counts == counted(fed=6, done=6)


async def test_a_submitted_item_survives_the_process(disk: Callable[[], Any]) -> None:
    gate, store = Gate(), disk()
    flow = pipeline([stage(gate, name="work")], name="kept")
    async with flow.open(store=store) as run:
        futures = [await run.submit(number) for number in range(3)]
        await wait_all_tasks_blocked()
        assert futures[1].cancel()
        await run.stop()
    for each in futures:
        assert each.cancelled()

    gate.open()
    async with flow.open(store=disk()) as run:
        report = await run.finish()
    assert report.counts == counted(fed=3, done=2, skipped=1)


async def test_a_slow_disk_holds_back_the_future_and_not_the_work() -> None:
    gate, store = Gate(), Held(MemoryDisk())
    async with pipeline([gate], name="kept").open(store=store) as run:
        future = await run.submit(4)
        await wait_all_tasks_blocked()
        store.hold()
        gate.open()
        await wait_all_tasks_blocked()
        assert run.stats().counts == counted(fed=1, done=1)
        assert not future.done()
        store.let_go()
        assert await future.result() == 4


async def test_a_future_whose_value_does_not_reach_the_disk_is_lost() -> None:
    gate, store = Gate(), Killable(MemoryStore(disk=MemoryDisk()))

    async def live() -> None:
        flow = pipeline([gate], name="kept")
        async with flow.open(store=store, on_store_failure="stop") as run:
            futures.append(await run.submit(4))
            await wait_all_tasks_blocked()
            store.die()
            gate.open()
            assert isinstance(await futures[0].exception(), FutureCancelled)

    futures: list[Future[int]] = []
    with pytest.raises(StoreError):
        await live()


async def test_an_item_that_has_split_is_not_taken_back_by_one_of_its_pieces() -> None:
    gate, ran = Gate(), list[tuple[str, int]]()

    async def first(value: int) -> int:
        return value

    async def left(value: int) -> int:
        ran.append(("left", value))
        return int(await gate(value))

    async def right(value: int) -> int:
        ran.append(("right", value))
        return int(await gate(value))

    graph: Graph[int, int] = Graph("split").add(first, left, right)
    graph.connect(first, left).connect(first, right)
    async with graph.open() as run:
        await run.submit(0)
        split = await run.submit(1)
        await wait_all_tasks_blocked()
        assert split.cancel() is False
        gate.open()
        await run.finish()

    assert sorted(ran) == [("left", 0), ("left", 1), ("right", 0), ("right", 1)]
