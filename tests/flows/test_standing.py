"""`invoke`: one run of a flow for all its calls, and what becomes of it."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import (
    Batch,
    CircuitBreaker,
    CircuitOpenError,
    Graph,
    NotRunningError,
    Pipeline,
    StageError,
    Turn,
    current_turn,
    stage,
)
from tests.flows.flowing import Boom, Gate, increment, pipeline


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_calls_share_one_run() -> None:
    runs: set[str] = set()

    async def note(value: int) -> int:
        runs.add(current_turn().idempotency_key("").partition(":")[0])
        return value

    flow = pipeline([note])
    for value in range(5):
        assert await flow.invoke(value) == value

    assert len(runs) == 1


async def test_policies_hold_over_all_calls() -> None:
    async def fail(value: int) -> int:
        raise Boom

    flow = pipeline([stage(fail, policies=[CircuitBreaker(2, when_open="reject")])])
    causes: list[Any] = []
    for value in range(3):
        with pytest.raises(StageError) as caught:
            await flow.invoke(value)
        causes.append(type(caught.value.__cause__))

    assert causes == [Boom, Boom, CircuitOpenError]


async def test_many_calls_at_once_get_each_their_own() -> None:
    flow = pipeline([stage(increment, workers=3)])
    found: dict[int, int] = {}

    async def call(value: int) -> None:
        found[value] = await flow.invoke(value)

    async with trio.open_nursery() as nursery:
        for value in range(2000):  # More than the window has room for.
            nursery.start_soon(call, value)

    assert found == {value: value + 1 for value in range(2000)}


async def test_one_that_fails_harms_no_other() -> None:
    async def odd(value: int) -> int:
        if value % 2:
            raise SystemExit(value)
        return value

    flow = pipeline([odd])
    for value in range(20):
        if value % 2:
            with pytest.raises(StageError):
                await flow.invoke(value)
        else:
            assert await flow.invoke(value) == value


async def test_a_call_that_is_cancelled_takes_its_item_back() -> None:
    gate = Gate()
    flow = pipeline([gate])
    with trio.move_on_after(10) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow.invoke, 1)
            nursery.start_soon(flow.invoke, 2)  # One of them waits for the only worker.
            await wait_all_tasks_blocked()
            assert len(gate.inside) == 1
            scope.cancel()
    await wait_all_tasks_blocked()

    assert gate.inside == []
    gate.open()
    assert await flow.invoke(3) == 3


async def test_it_ends_with_the_block_of_the_flow() -> None:
    before = tasks()
    async with pipeline([increment]) as flow:
        assert await flow.invoke(1) == 2
        assert tasks() > before

    assert tasks() == before
    assert await flow.invoke(1) == 2  # Another one is opened.
    await flow.aclose()


async def test_it_ends_when_nobody_has_the_flow() -> None:
    before = tasks()
    assert await pipeline([increment]).invoke(1) == 2
    gc.collect()
    await wait_all_tasks_blocked()

    assert tasks() == before


async def test_what_is_inside_when_it_is_closed_is_told() -> None:
    gate = Gate()
    flow = pipeline([gate])

    async def call() -> None:
        with pytest.raises(NotRunningError):
            await flow.invoke(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await flow.aclose()


async def test_a_handler_may_invoke_its_own_flow() -> None:
    flow: Pipeline[int, int]

    async def down(value: int) -> int:
        return value if not value else await flow.invoke(value - 1)

    flow = pipeline([down])

    assert await flow.invoke(3) == 0


async def test_a_batch_waits_for_no_other_call() -> None:
    async def total(values: list[int]) -> int:
        return sum(values)

    flow = pipeline([stage(total, batch=Batch(10))])

    assert await flow.invoke(3) == 3
    assert await flow.invoke(4) == 4


async def test_context_is_the_metadata_of_one_item() -> None:
    async def look(value: int, ctx: Turn) -> Any:
        ctx.metadata["seen"] = value
        return dict(ctx.metadata)

    flow, mine = pipeline([look]), {"user": "ann"}

    assert await flow.invoke(1, context=mine) == {"user": "ann", "seen": 1}
    assert await flow.invoke(2) == {"seen": 2}
    assert mine == {"user": "ann"}


def test_each_trio_run_has_its_own() -> None:
    flow = pipeline([increment])

    assert trio.run(flow.invoke, 1) == 2
    assert trio.run(flow.invoke, 2) == 3


async def test_a_graph_that_has_grown_since_is_another_flow_for_invoke() -> None:
    gate = Gate()
    graph: Graph[int, int] = Graph("grown").add(stage(gate, name="wait"))
    found: list[int] = []

    async def call() -> None:
        found.append(await graph.invoke(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        before = tasks()
        graph.add(increment).connect("wait", increment)
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        assert tasks() > before
        gate.open()

    assert sorted(found) == [1, 2]
    await wait_all_tasks_blocked()
    assert await graph.invoke(1) == 2
