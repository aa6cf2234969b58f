"""Runs from outside: compared key by key, listed, found and deleted."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorflow import (
    Batch,
    ConfigurationError,
    Pipeline,
    RunDiff,
    RunInUseError,
    RunNotFoundError,
    StoreError,
    stage,
)
from tests.flows.flowing import pipeline
from tests.flows.forked import ITEMS, World, shop

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture
def world() -> World:
    return World()


# Comparing -------------------------------------------------------------------------------


async def test_what_differs_is_told_key_by_key(world: World) -> None:
    flow = shop(world)
    await world.run(flow, ITEMS)
    other = pipeline([world.writes("fetch", "id"), world.writes("extra", "fetch")], name="shop")
    await world.run(other, ITEMS[1:], run_id="b")

    found = await world.runs(flow).diff("a", "b")

    missing = RunDiff.MISSING
    assert repr(missing) == "<missing>"
    assert found.same == 0
    assert found.only_a == (3,)
    assert found.changed[0] == {
        "id": (0, 1),
        "fetch": (1, 2),
        "price": (2, missing),
        "save": (6, missing),
        "stock": (2, missing),
        "total": (5, missing),
        "extra": (missing, 3),
    }


async def test_items_that_are_held_or_dead_are_told_by_their_places(world: World) -> None:
    flow = pipeline([world.adds("first"), world.adds("last")], name="f")
    await world.parked(flow, [1, 2], 1.5)
    await world.run(flow, [1, 2], run_id="b")
    world.failing = {"last"}
    await world.run(flow, [1], run_id="c", results="discard")
    runs = world.runs(flow)

    held, dead = await runs.diff("a", "b"), await runs.diff("b", "c")

    assert held.changed[0] == {"(place)": ("at 'last'", "done"), "(value)": (2, 3)}
    assert dead.changed[0] == {
        "(place)": ("done", "dead in 'last' (failed): Boom: last"),
        "(value)": (3, 2),
    }
    assert dead.only_a == (1,)
    assert (await runs.diff("b", "a")).changed[0]["(value)"] == (3, 2)


async def test_values_that_are_equal_are_not_told_whatever_their_order(world: World) -> None:
    def flow(*parts: Any) -> Pipeline[Any, Any]:
        async def split(value: Any) -> Any:
            for part in parts:
                yield part

        return pipeline([split], name="f")

    await world.run(flow(1, 2, float("nan")), [0])
    await world.run(flow(float("nan"), 2, 1), [0], run_id="b")
    await world.run(flow(1, 3), [0], run_id="c")
    runs = world.runs(flow())

    assert (await runs.diff("a", "b")).same == 1
    assert (await runs.diff("b", "c")).changed[0]["(value)"][1] == [1, 3]


@pytest.mark.parametrize("paces", [(1, 0), (0, 1), (1, 1)])
async def test_of_a_finished_run_no_message_of_a_checkpoint_counts(
    world: World, paces: tuple[int, int]
) -> None:
    def flow(pace: int) -> Pipeline[Any, Any]:
        async def pair(values: list[int]) -> list[int]:
            await trio.sleep(1)
            return values

        async def each(values: list[int]) -> Any:
            for value in values:
                await trio.sleep(pace)
                yield value

        return pipeline([stage(pair, batch=Batch(2)), each], name="f")

    for run_id, pace in zip("ab", paces, strict=True):
        await world.run(flow(pace), range(5), run_id=run_id)

    found = await world.runs(flow(0)).diff("a", "b")

    assert found == RunDiff(changed={}, only_a=(), only_b=(), same=3)


async def test_a_comparison_reads_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actorflow.flows import differing

    monkeypatch.setattr(differing, "PAGE", 3)

    def same(other: int) -> Any:
        async def same(value: int) -> int:
            return value if value != other else 0

        return same

    flow, other = pipeline([same(-1)], name="f"), pipeline([same(7)], name="f")
    await world.run(flow, range(10))
    await world.run(other, range(10), run_id="b")
    for kept in world.disk._runs.values():
        kept.cuts.clear()  # Then only the results tell.

    found = await world.runs(flow).diff("a", "b")

    assert found == RunDiff(changed={7: {"(value)": (7, 0)}}, only_a=(), only_b=(), same=9)


async def test_an_unknown_run_is_not_compared(world: World) -> None:
    flow = pipeline([world.adds("first")], name="f")
    await world.run(flow, [1])

    for pair in (("a", "none"), ("none", "a")):
        with pytest.raises(RunNotFoundError, match="'none'"):
            await world.runs(flow).diff(*pair)


# Looking ---------------------------------------------------------------------------------


async def test_runs_are_listed_found_and_deleted(world: World) -> None:
    flow = pipeline([world.adds("first")], name="f")
    await world.run(flow, [1])
    runs = world.runs(flow)

    assert [(row.run, row.status) for row in await runs.list()] == [("a", "finished")]
    assert (await runs.get("a")).results == 1
    await runs.delete("a")
    assert await runs.list() == ()
    for verb in (runs.get, runs.delete):
        with pytest.raises(RunNotFoundError):
            await verb("a")


async def test_a_run_that_is_in_use_is_not_deleted(world: World) -> None:
    flow = pipeline([world.adds("first")], name="f")
    async with flow.open(store=world.store(), run_id="a"):
        with pytest.raises(RunInUseError):
            await world.runs(flow).delete("a")


async def test_a_store_that_is_in_use_is_told(world: World) -> None:
    flow = pipeline([world.adds("first")], name="f")
    store = world.store()
    async with flow.open(store=store, run_id="a"):
        with pytest.raises(StoreError, match="is open already"):
            await flow.runs(store).list()


def test_a_store_is_named_by_its_url() -> None:
    flow = pipeline([World().adds("first")], name="f")

    assert flow.runs("memory:").store.url == "memory:"
    with pytest.raises(ConfigurationError, match="store must be"):
        flow.runs("what")
