"""Durable runs: policies over kills, what cannot be kept or read, and effects."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Actor,
    ActorSystem,
    Chunk,
    CircuitBreaker,
    Context,
    Deadline,
    EncodeError,
    Fixed,
    Pipeline,
    RateLimit,
    Retry,
    Turn,
    actor,
    message,
    stage,
)
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.flows.keeping import KeepingLedger
from actorflow.wire.registry import REGISTRY
from tests.flows.flowing import Boom, Gate, counted, double, increment, pipeline
from tests.flows.lives import (
    SECONDS,
    Held,
    Life,
    Mortal,
    Slow,
    TapeSink,
    conserved,
    fed_and_killed,
    finished,
    live,
)


@actor("tests.flows.durable.purse")
class Purse(Actor):
    total: int = 0

    async def receive(self, message: int, ctx: Turn) -> int:
        self.total += message
        return self.total


#: Seconds in which what should not happen would have happened.
QUIET = 0.05


async def echo(value: Any) -> Any:
    return value


# Policies and clocks ---------------------------------------------------------------------


async def test_an_open_circuit_stays_open(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    calls: list[int] = []

    async def work(value: int) -> int:
        calls.append(value)
        if len(calls) == 1:
            raise Boom
        return value

    flow = pipeline(
        [stage(work, policies=[CircuitBreaker(1, 100.0), Retry(5, backoff=Fixed(0))])], name="f"
    )
    await fed_and_killed(flow, disk(), [1])
    await fed_and_killed(flow, disk(), [], idle=QUIET)
    assert calls == [1]

    later(101.0)
    report = await finished(flow, disk())

    assert calls == [1, 1]
    assert report.counts == counted(fed=1, done=1)


async def test_a_rate_goes_on_counting(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    calls: list[int] = []

    async def work(value: int) -> int:
        calls.append(value)
        return value

    flow = pipeline([stage(work, policies=[RateLimit(1, per=100.0)])], name="f")
    await fed_and_killed(flow, disk(), [1, 2])
    await fed_and_killed(flow, disk(), [], idle=QUIET)
    assert calls == [1]
    later(101.0)
    await finished(flow, disk())

    assert calls == [1, 2]


async def test_the_delay_of_a_retry_goes_on_while_nobody_runs(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    attempts: list[int] = []

    async def work(value: int, ctx: Turn) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([stage(work, policies=[Retry(3, backoff=Fixed(100))])], name="f")
    await fed_and_killed(flow, disk(), [1])
    await fed_and_killed(flow, disk(), [], idle=QUIET)
    assert attempts == [1]
    later(101.0)
    await finished(flow, disk())

    assert attempts == [1, 2]


@pytest.mark.parametrize("where", ["stage", "flow"])
async def test_a_deadline_goes_on_while_nobody_runs(
    disk: Callable[[], Any], later: Callable[[float], None], where: str
) -> None:
    gate = Gate()
    limit = [Deadline(100)]

    def flow(handler: Any) -> Pipeline[Any, Any]:
        one = stage(handler, name="a", policies=limit if where == "stage" else ())
        return pipeline([one], name="f", policies=limit if where == "flow" else ())

    await fed_and_killed(flow(gate), disk(), [1])
    later(101.0)
    report = await finished(flow(echo), disk())

    assert [each.reason for each in report.dead] == ["expired"]


async def test_a_key_is_held_by_its_retry_over_a_kill(
    disk: Callable[[], Any], later: Callable[[float], None]
) -> None:
    done: list[int] = []

    async def work(value: int, ctx: Turn) -> int:
        if value == 0 and ctx.attempt == 1:
            raise Boom
        done.append(value)
        return value

    flow = pipeline(
        [stage(work, key=lambda _: "all", workers=2, policies=[Retry(3, backoff=Fixed(100))])],
        name="f",
    )
    await fed_and_killed(flow, disk(), [0, 1, 2])
    await fed_and_killed(flow, disk(), [], idle=QUIET)
    assert done == []
    later(101.0)
    await finished(flow, disk())

    assert done == [0, 1, 2]


async def test_attempts_are_counted_over_kills(disk: Callable[[], Any]) -> None:
    attempts: list[int] = []

    async def work(value: int, ctx: Turn) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            await trio.sleep_forever()
        return value

    flow = pipeline([stage(work, policies=[Retry(9)])], name="f")
    store = disk()
    async with flow.open(store=store, run_id="run") as run:
        await run.pause("work")
        await run.feed([1])  # A cut has it before it is leased.
        await run.resume("work")
        await wait_all_tasks_blocked()
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()
    await fed_and_killed(flow, disk(), [], until=lambda: len(attempts) == 2)
    await finished(flow, disk())

    assert attempts == [1, 2, 3]


# What cannot be kept or read -------------------------------------------------------------


class Odd:
    """Nothing that the codec knows."""


async def test_an_item_that_cannot_be_written_is_an_error_when_fed_and_nothing_of_it_is_kept(
    disk: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    tape: list[Any] = []
    async with pipeline([echo], name="f").open(
        store=disk(), run_id="run", sink=TapeSink(tape)
    ) as run:
        with pytest.raises(EncodeError) as caught:
            await run.feed([1, {"a": [Odd()]}, 2], ids=["x", "y", "z"])
        assert caught.value.where == "body['a'][0]"
        assert str(caught.value).startswith("body['a'][0]: cannot write ")
        assert str(caught.value).endswith("; accepted before it: 1, ['x']")
        with pytest.raises(EncodeError, match="; accepted before it: none"):
            await run.feed([[Odd()]])
        with pytest.raises(EncodeError, match="half a surrogate pair"):
            await run.submit("\ud800")
        with pytest.raises(EncodeError, match=r"; accepted before it: 2, \[1, 2\]"):
            await run.feed(each for each in (3, 4, Odd(), 5))
        with pytest.raises(EncodeError):
            await run.feed([6], context={"odd": Odd()})
        report = await run.finish()

    assert tape == [1, 3, 4]
    assert report.counts == counted(fed=3, done=3)
    assert not caplog.records


async def test_what_a_source_gives_that_cannot_be_written_is_a_dead_letter_and_the_rest_goes_on(
    disk: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    tape: list[Any] = []

    report = await pipeline([echo], name="f").run(
        [1, Odd(), 2], store=disk(), run_id="run", sink=TapeSink(tape)
    )

    assert tape == [1, 2]
    assert [type(each.error) for each in report.dead] == [EncodeError]
    assert not caplog.records


async def test_a_value_between_stages_that_cannot_be_written_is_a_dead_letter(
    disk: Callable[[], Any],
) -> None:
    tape: list[Any] = []

    async def odd(value: int) -> Any:
        return Odd() if value == 2 else value

    report = await pipeline([odd, echo], name="f").run(
        [1, 2, 3], store=disk(), run_id="run", sink=TapeSink(tape)
    )

    assert sorted(tape) == [1, 3]
    assert report.counts == counted(fed=3, done=2, dead=1)
    assert [type(each.error) for each in report.dead] == [EncodeError]


@pytest.mark.parametrize("options", [{"sink": True}, {"results": "store"}], ids=str)
async def test_a_result_that_cannot_be_written_is_a_dead_letter(
    disk: Callable[[], Any], options: dict[str, Any]
) -> None:
    tape: list[Any] = []

    async def odd(value: int) -> Any:
        return Odd() if value == 2 else value

    if "sink" in options:
        options = {"sink": TapeSink(tape)}
    report = await pipeline([odd], name="f").run([1, 2, 3], store=disk(), run_id="run", **options)

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert [type(each.error) for each in report.dead] == [EncodeError]


async def test_metadata_that_cannot_be_written_fails_its_item(disk: Callable[[], Any]) -> None:
    async def odd(value: int, ctx: Turn) -> int:
        if value == 2:
            ctx.metadata["odd"] = Odd()
        return value

    report = await pipeline([odd, echo], name="f").run([1, 2, 3], store=disk(), run_id="run")

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert [type(each.error) for each in report.dead] == [EncodeError]


async def test_an_id_that_cannot_be_written_is_refused_when_fed(disk: Callable[[], Any]) -> None:
    async with pipeline([echo], name="f").open(store=disk(), run_id="run") as run:
        with pytest.raises(EncodeError):
            await run.feed([1], ids=[Odd()])
        assert await run.feed([1], ids=["one"]) == ["one"]
        report = await run.finish()

    assert report.counts["done"] == report.counts["fed"]


async def test_what_a_source_has_in_hand_and_cannot_be_written_breaks_no_cut() -> None:
    disk = MemoryDisk()
    gate = Gate()
    async with pipeline([stage(gate, capacity=1)], name="f").open(
        store=MemoryStore(disk=disk), run_id="run"
    ) as run:
        async with trio.open_nursery() as nursery:
            odd: Any = [1, 2, Odd(), Odd(), Odd(), Odd(), 7]
            nursery.start_soon(run.feed_from, Slow(odd))
            await wait_all_tasks_blocked(0.02)
            await run._keeper.settled()  # type: ignore[union-attr]
            gate.open()
        report = await run.finish()

    assert report.counts == counted(fed=7, done=3, dead=4)


async def test_messages_of_an_unknown_tag_are_parked_and_the_rest_goes_on(
    disk: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @message(tag="tests.flows.durable.gone")
    class Gone:
        number: int

    gate = Gate()
    await fed_and_killed(pipeline([stage(gate, name="a")], name="f"), disk(), [Gone(1), 2, Gone(3)])
    monkeypatch.delitem(REGISTRY.by_tag, "tests.flows.durable.gone")
    tape: list[Any] = []

    report = await finished(
        pipeline([stage(echo, name="a")], name="f"), disk(), sink=TapeSink(tape)
    )

    assert tape == [2]
    assert report.counts == counted(fed=3, done=1, dead=2)
    assert [each.reason for each in report.dead] == ["unknown_schema"] * 2


# Effects ---------------------------------------------------------------------------------


async def test_the_idempotency_key_is_the_same_in_every_life(disk: Callable[[], Any]) -> None:
    keys: list[str] = []
    open_now: list[bool] = []

    async def split(value: int) -> AsyncIterator[int]:
        yield value
        yield value + 1

    async def charge(value: int, ctx: Turn) -> int:
        keys.append(ctx.idempotency_key("charge"))
        if not open_now:
            await trio.sleep_forever()
        return value

    flow = pipeline([split, stage(charge, workers=2, policies=[Retry(9)])], name="f")
    await fed_and_killed(flow, disk(), [1])
    await fed_and_killed(flow, disk(), [], until=lambda: len(keys) == 4)
    open_now.append(True)
    await finished(flow, disk())

    assert (
        sorted(keys[-2:])
        == sorted(keys[:2])
        == [
            "run:0.0:/f/charge:charge",
            "run:0.1:/f/charge:charge",
        ]
    )


async def test_an_effect_runs_only_for_what_the_disk_has() -> None:
    store = Held(MemoryDisk())
    calls: list[int] = []

    async def charge(value: int) -> int:
        calls.append(value)
        return value

    flow = pipeline([increment, stage(charge, effects=True)], name="f")
    async with flow.open(store=store, run_id="run") as run:
        store.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.feed, [1])
            await wait_all_tasks_blocked(0.02)
            assert calls == []
            store.let_go()
        await run.finish()

    assert calls == [2]


@pytest.mark.parametrize("steps", range(1, 14, 2))
async def test_an_effect_with_its_key_is_applied_once_over_all_kills(steps: int) -> None:
    disk, table, drawn = MemoryDisk(), sqlite3.connect(":memory:"), iter(range(10_000))
    table.execute("create table charges (key text primary key, amount integer)")
    life = Life(Mortal(disk), steps)

    async def price(value: int) -> int:
        return value * 10_000 + next(drawn)  # Another price at every run, as in real life.

    async def charge(amount: int, ctx: Turn) -> int:
        key = ctx.idempotency_key("charge")
        table.execute("insert or ignore into charges values (?, ?)", (key, amount))
        life.step()
        await trio.lowlevel.checkpoint()
        return amount

    tape: list[int] = []
    flow = pipeline([price, stage(charge, effects=True, workers=2, policies=[Retry(50)])], name="f")

    async def feed(run: Any) -> None:
        await run.feed_from([1, 2, 3, 4, 5])

    with trio.fail_after(SECONDS):
        while await live(flow, life, feed, run_id="run", sink=TapeSink(tape)) is None:
            life = Life(Mortal(disk), steps + 1)
    charges = table.execute("select amount from charges").fetchall()
    table.close()

    assert Counter(amount // 10_000 for amount in tape) == Counter([1, 2, 3, 4, 5])
    assert sorted(amount for (amount,) in charges) == sorted(tape)


async def test_an_account_that_is_wrong_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(KeepingLedger, "_result", wrong)
    with trio.fail_after(SECONDS), pytest.raises(ValueError, match="wrong"):
        await pipeline([echo], name="f").run([1], store=Mortal(MemoryDisk()), results="store")


async def test_an_actor_of_another_system_answers_when_its_own_disk_has_it() -> None:
    store = Held(MemoryDisk())
    answers: list[Any] = []

    async def pay(value: int, ctx: Turn) -> int:
        answers.append(await ctx.ask(ctx.deps, value))
        return value

    async with ActorSystem("bank", store=store) as system:
        purse = await system.spawn(Purse(), name="purse", durable=True)
        await purse.ask(1)
        flow = pipeline([pay], name="f")
        async with flow.open(store=Mortal(MemoryDisk()), run_id="run", deps=purse) as run:
            store.hold()
            await run.feed([2])
            await wait_all_tasks_blocked(0.02)
            assert answers == []
            store.let_go()
            await run.finish()

    assert answers == [3]


async def test_a_piece_that_came_out_in_an_earlier_life_makes_its_item_done() -> None:
    disk, tape = MemoryDisk(), list[int]()
    open_now: list[bool] = []

    async def split(value: int) -> AsyncIterator[int]:
        yield 0
        yield 1

    async def last(value: int, ctx: Turn) -> Any:
        if value and not open_now:
            await trio.sleep_forever()
        return ctx.skip() if value else value

    flow = pipeline([split, stage(last, workers=2)], name="f")
    await fed_and_killed(flow, Mortal(disk), [5], sink=TapeSink(tape), until=lambda: tape == [0])
    open_now.append(True)
    report = await finished(flow, Mortal(disk), sink=TapeSink(tape))

    assert report.counts == counted(fed=1, done=1)
    assert tape == [0]


async def test_a_generator_goes_on_behind_what_the_disk_has_of_it() -> None:
    disk, tape = MemoryDisk(), list[int]()
    emitted = [trio.Event(), trio.Event()]
    may_go_on = [trio.Event(), trio.Event()]

    async def split(value: int) -> AsyncIterator[int]:
        for index in range(2):
            yield index
            emitted[index].set()
            await may_go_on[index].wait()
        yield 2

    flow = pipeline([stage(split, policies=[Retry(9)]), stage(echo, name="echo")], name="f")
    store = Mortal(disk)
    async with flow.open(store=store, run_id="run", sink=TapeSink(tape)) as run:
        await run.feed([5])
        for index in range(2):  # A cut has the item with one emission, and the next with two.
            await emitted[index].wait()
            await wait_all_tasks_blocked(0.01)
            await run._keeper.settled()  # type: ignore[union-attr]
            if not index:
                may_go_on[index].set()
        store.die()
        run.cancel()
    may_go_on[1].set()
    report = await finished(flow, Mortal(disk), sink=TapeSink(tape))

    assert tape == [0, 1, 2]
    assert report.counts == counted(fed=1, done=1)


async def test_what_came_out_in_order_is_written_in_order_by_the_next_life() -> None:
    disk, tape = MemoryDisk(), list[int]()
    gate = Gate()

    class Stuck(TapeSink):
        async def write(self, values: Any) -> None:
            await trio.sleep_forever()

    async def work(value: int) -> int:
        return value if value else await gate(value)

    flow = pipeline([stage(work, workers=3)], name="f")
    store = Mortal(disk)
    async with flow.open(store=store, run_id="run", sink=Stuck(tape), ordered=True) as run:
        await run.feed([0, 1, 2])
        await wait_all_tasks_blocked()
        gate.open()
        await wait_all_tasks_blocked(0.01)
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()
    await finished(flow, Mortal(disk), sink=TapeSink(tape), ordered=True)

    assert tape == [0, 1, 2]


async def test_what_waits_for_a_retry_keeps_nobody_from_running_alone(
    later: Callable[[float], None],
) -> None:
    disk, done = MemoryDisk(), list[int]()
    calls: list[int] = []
    lives = [1]

    async def work(value: int, ctx: Turn) -> int:
        calls.append(value)
        if lives[-1] < 3:
            await trio.sleep_forever()
        if value == 0 and not done:
            raise Boom
        done.append(value)
        return value

    flow = pipeline([stage(work, workers=2, policies=[Retry(9, backoff=Fixed(100))])], name="f")
    await fed_and_killed(flow, Mortal(disk), [0, 1])
    lives.append(2)
    await fed_and_killed(flow, Mortal(disk), [], until=lambda: len(calls) == 4)
    lives.append(3)
    await fed_and_killed(flow, Mortal(disk), [], until=lambda: done == [1])
    later(101.0)
    await finished(flow, Mortal(disk))

    assert done == [1, 0]


# Results ---------------------------------------------------------------------------------


async def parked(flow: Pipeline[Any, Any], store: Any, items: list[Any]) -> None:
    """A life that feeds *items*, and is stopped while they are inside."""
    async with flow.open(store=store, run_id="run") as run:
        await run.feed(items)
        await wait_all_tasks_blocked()
        await run.stop()


async def test_a_stream_has_what_was_inside_though_it_ends_while_the_run_opens(
    disk: Callable[[], Any],
) -> None:
    gate = Gate()
    await parked(pipeline([gate], name="f"), disk(), ["a", "b"])

    gate.open()
    async with pipeline([gate], name="f").stream([], store=disk(), run_id="run") as results:
        assert sorted([each.value async for each in results]) == ["a", "b"]


async def test_map_has_what_was_inside_though_it_ends_while_the_run_opens(
    disk: Callable[[], Any],
) -> None:
    gate = Gate()
    await parked(pipeline([gate], name="f"), disk(), ["a", "b"])

    gate.open()
    values = await pipeline([gate], name="f").map([], store=disk(), run_id="run")

    assert values == ["a", "b"]


async def test_a_stream_that_wants_chunks_has_those_of_what_was_inside(
    disk: Callable[[], Any],
) -> None:
    gate = Gate()

    async def words(context: Context) -> AsyncIterator[str]:
        await gate(None)
        yield "a"
        yield "b"

    flow = pipeline([words], name="f")
    await parked(flow, disk(), [{}])
    gate.open()
    async with flow.stream([], chunks=True, store=disk(), run_id="run") as results:
        found = [each async for each in results]

    assert found[:2] == [Chunk("words", 0, "a"), Chunk("words", 0, "b")]
    assert found[2].value == {"words_chunks": ["a", "b"]}


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("commits", range(6))
async def test_what_a_turn_has_fed_is_there_once_after_any_end_of_the_process(
    commits: int, landed: bool
) -> None:
    disk, tape = MemoryDisk(), list[Any]()

    async def feeds(value: int, ctx: Turn) -> int:
        ctx.feed(value * 10, stage="double")
        return value

    async def source(run: Any) -> None:
        await run.feed_from([1, 2])

    flow = pipeline([feeds, double], name="f")
    for store in (Mortal(disk, commits, landed=landed), Mortal(disk)):
        with trio.fail_after(SECONDS):
            await live(flow, Life(store), source, run_id="run", sink=TapeSink(tape))

    assert sorted(tape) == [2, 4, 20, 40]
    assert conserved(disk, "run") == counted(fed=4, done=4)
