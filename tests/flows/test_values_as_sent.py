"""One object that is sent several times: each message has what it was when it was sent."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from actorflow import (
    Actor,
    ActorSystem,
    Batch,
    Context,
    Graph,
    Parallel,
    Pipeline,
    Retry,
    Route,
    Send,
    Turn,
    stage,
)
from actorflow.durability.memory import MemoryDisk
from tests.flows.flowing import pipeline
from tests.flows.lives import Mortal, fed_and_killed, finished
from tests.stages import handlers


async def refilled(_: Any) -> AsyncIterator[list[int]]:
    row: list[int] = []
    for number in range(3):
        row[:] = [number]
        yield row


def refilled_in_a_thread(_: Any) -> Iterator[list[int]]:
    row: list[int] = []
    for number in range(3):
        row[:] = [number]
        yield row


async def emitted(_: Any, ctx: Turn) -> list[int]:
    row = [0]
    for number in range(2):
        row[:] = [number]
        ctx.emit(row)
    row[:] = [2]
    return row


async def kept(row: Any) -> Any:
    """What comes, marked: a handler that changes what it gets."""
    found = list(row)
    row.append("seen")
    return found


NUMBERS = [[0], [1], [2]]

SENDERS = {
    "generator": refilled,
    "thread": refilled_in_a_thread,
    "atomic": stage(refilled, atomic=True),
    "emit": emitted,
    "process": stage(handlers.refilled, runs_in="process"),
}

RECEIVERS = {
    "plain": kept,
    "retries": stage(kept, policies=[Retry(2)]),
    "rendezvous": stage(kept, capacity=0),
    "result": None,
}


@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("sender", SENDERS)
async def test_one_object_that_is_emitted_again_is_what_it_was_each_time(
    sender: str, receiver: str
) -> None:
    nodes = [each for each in (SENDERS[sender], RECEIVERS[receiver]) if each is not None]

    assert await pipeline(nodes).invoke_all(0) == NUMBERS


async def test_also_in_branches_batches_and_along_several_edges() -> None:
    both = Graph().add(refilled, kept, stage(kept, name="too"))
    both.connect(refilled, kept).connect(refilled, "too")

    @stage(batch=Batch(3))
    async def rows(values: list[Any]) -> Any:
        return [list(each) for each in values]

    assert sorted(await both.invoke_all(0)) == sorted(NUMBERS * 2)
    assert await pipeline([refilled, Parallel([kept, stage(kept, name="too")])]).invoke_all(0) == [
        [each, each] for each in NUMBERS
    ]
    assert await pipeline([refilled, rows]).invoke_all(0) == [NUMBERS]


async def test_what_a_send_carries_is_what_it_was_too() -> None:
    async def sorted_out(_: Any, ctx: Turn) -> Send:
        row = [0]
        for number in range(2):
            row[:] = [number]
            ctx.emit(Send("a", row))
        ctx.emit(Send("b"))
        row[:] = [2]
        return Send("a", row)

    flow = pipeline([sorted_out, Route({"a": kept, "b": stage(kept, name="other")})])

    assert sorted(await flow.invoke_all([9])) == [*NUMBERS, [9]]


async def test_chunks_of_a_context_are_what_they_were() -> None:
    @stage(writes=["rows"])
    async def chunks(_: Context) -> AsyncIterator[list[int]]:
        row: list[int] = []
        for number in range(3):
            row[:] = [number]
            yield row

    found = []
    flow = pipeline([chunks])
    async with flow.stream([{}], chunks=True) as values:
        async for each in values:
            found.append(getattr(each, "value", each))
            if isinstance(found[-1], list):
                found[-1].append("mine")

    assert found == [[0, "mine"], [1, "mine"], [2, "mine"], {"rows": NUMBERS}]


async def test_what_a_stage_tells_an_actor_is_what_it_was() -> None:
    class Heard(Actor):
        rows: list[Any]

        async def receive(self, message: Any, ctx: Turn) -> None:
            self.rows.append(message)

    async with ActorSystem("s") as system:
        rows: list[Any] = []
        actor = await system.spawn(Heard(rows=rows), name="heard")

        async def tells(_: Any, ctx: Turn) -> None:
            row: list[int] = []
            for number in range(3):
                row[:] = [number]
                ctx.tell(actor, row)

        await pipeline([tells]).run([0], system=system)
        await system.settled()

    assert rows == NUMBERS


async def test_a_stage_that_shares_gives_the_object_itself() -> None:
    row = [0]

    async def gives(_: Any) -> AsyncIterator[list[int]]:
        yield row

    (found,) = await pipeline([stage(gives, isolation="share")]).invoke_all(0)
    (copy,) = await pipeline([gives]).invoke_all(0)

    assert found is row
    assert copy is not row


async def test_what_nobody_can_change_and_what_is_returned_is_never_copied() -> None:
    rows = (("a", 1), [2])

    async def gives(_: Any) -> AsyncIterator[Any]:
        yield rows[0]

    async def returns(_: Any) -> Any:
        return rows[1]

    assert (await pipeline([gives]).invoke(0)) is rows[0]
    assert (await pipeline([returns]).invoke(0)) is rows[1]


async def test_what_cannot_be_written_is_shared_counted_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock = threading.Lock()

    async def gives(_: Any) -> AsyncIterator[Any]:
        yield lock
        yield lock

    async with pipeline([gives]).open() as run:
        await run.feed([0])
        await run.finish()
        counted = run._kernel.counters["shared_bodies"]

    assert counted == 2
    assert caplog.text.count("messages are shared, not copied") == 1


async def test_a_run_that_is_killed_and_goes_on_gives_the_same_values() -> None:
    gate = trio.Event()

    async def slowly(row: list[int]) -> list[int]:
        await gate.wait()
        return list(row)

    def flow() -> Pipeline[Any, Any]:
        return pipeline([refilled, slowly])

    disk, out = MemoryDisk(), list[Any]()
    await fed_and_killed(flow(), Mortal(disk), [0], sink=out.append)
    gate.set()
    await finished(flow(), Mortal(disk), sink=out.append)

    assert out == NUMBERS


# What is fed ----------------------------------------------------------------------------


async def test_what_the_caller_feeds_is_his_where_messages_are_packed() -> None:
    row = [0]
    retries = pipeline([stage(kept, policies=[Retry(2)])])

    assert await retries.map([row, row, row]) == [[0]] * 3
    assert await retries.invoke(row) == [0]

    @stage(batch=Batch(2), policies=[Retry(2)])
    async def rows(values: list[Any]) -> int:
        for each in values:
            each.append("seen")
        return len(values)

    await pipeline([rows]).run([row, row])
    assert row == [0]


@pytest.mark.parametrize("policies", [[], [Retry(2)]])
async def test_an_iterator_may_give_one_object_again(policies: list[Any]) -> None:
    def rows() -> Iterator[list[int]]:
        yield from refilled_in_a_thread(0)

    flow = pipeline([stage(kept, policies=policies)])

    assert await flow.map(rows()) == NUMBERS


async def test_an_iterator_of_a_durable_run_may_give_one_object_again() -> None:
    out: list[Any] = []
    store = Mortal(MemoryDisk())
    await pipeline([kept]).run(refilled_in_a_thread(0), store=store, run_id="r", sink=out.append)

    assert out == NUMBERS


async def test_a_first_stage_that_shares_gets_the_objects_of_the_iterator() -> None:
    rows = [[0], [1]]

    async def same(row: Any) -> Any:
        return row

    flow = pipeline([stage(same, isolation="share")])

    assert all(a is b for a, b in zip(await flow.map(iter(rows)), rows, strict=True))
