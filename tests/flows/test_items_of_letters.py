"""Failures name the item that was fed, also where a piece of it has died."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import DeadLetter, Parallel, Pipeline, StageError, stage
from actorflow.durability.letters import letter_item, read_letter
from actorflow.durability.memory import MemoryDisk
from actorflow.durability.store import DeadRow
from actorflow.wire.codec import encode
from tests.flows.flowing import increment, pipeline
from tests.flows.lives import Mortal, finished


async def bad(value: int) -> int:
    raise ValueError(value)


async def twice(value: int) -> AsyncIterator[int]:
    yield value
    yield value


NODES: dict[str, list[Any]] = {
    "whole": [bad],
    "generator": [twice, bad],
    "parallel": [Parallel([bad, increment])],
}
IDS = ["order-1", "order-2"]


@pytest.mark.parametrize("kind", NODES)
async def test_letters_and_errors_say_which_item(kind: str) -> None:
    told: list[DeadLetter] = []

    async with pipeline(NODES[kind], on_failure=told.append).open() as run:
        await run.feed([1, 2], ids=IDS)
        report = await run.finish()
        failed = run.errors().failed

    assert {each.item for each in report.dead} == {each.item for each in told} == set(IDS)
    assert {each.id for each in failed} == set(IDS)
    assert len({each.id for each in told}) == len(told)


@pytest.mark.parametrize("ids", [None, IDS])
@pytest.mark.parametrize("kind", NODES)
async def test_the_error_of_a_run_that_halts_names_the_item(kind: str, ids: Any) -> None:
    async def runs() -> None:
        async with pipeline(NODES[kind], on_failure="halt").open() as run:
            await run.feed([1], ids=ids and ids[:1])
            await run.finish()

    with pytest.raises(StageError) as caught:
        await runs()

    assert caught.value.item_id == (ids[0] if ids else 0)


async def test_a_stored_letter_keeps_its_item_over_lives() -> None:
    disk, gate = MemoryDisk(), trio.Event()

    async def fails(value: int) -> int:
        if value == 2:
            await gate.wait()
        raise ValueError(value)

    def flow() -> Pipeline[Any, Any]:
        return pipeline([twice, stage(fails, workers=4)])

    store = Mortal(disk)
    async with flow().open(store=store, run_id="run") as run:
        await run.feed([1, 2], ids=IDS)
        await wait_all_tasks_blocked()
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()
    gate.set()
    report = await finished(flow(), Mortal(disk))

    assert [each.item for each in report.dead] == ["order-1", "order-1", "order-2", "order-2"]


@pytest.mark.parametrize(
    ("name", "place", "item"),
    [("17.0", "bad", 17), ("order-1", "bad", "order-1"), (17, "bad", 17), ("3", "/s/a", None)],
)
def test_a_letter_of_an_earlier_release_has_the_number_of_its_item(
    name: Any, place: str, item: Any
) -> None:
    row = DeadRow(
        seq=1,
        id=str(name),
        place=place,
        reason="failed",
        error="",
        text="",
        traceback="",
        attempts=1,
        at=0.0,
        replays=0,
        body=encode(1),
        facts=encode({"priority": 100, "number": 17, "id": encode(name)}),
    )

    assert letter_item(row) == item
    assert read_letter(row).item == item
