"""A store that hands out a second time what was handled: nothing is done twice or lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actorflow import Pipeline, Retry, StoreCorrupt, stage
from actorflow.durability import checkpointer
from actorflow.durability.memory import MemoryStore
from actorflow.testing import (
    CommitRepeated,
    Died,
    Fault,
    LoadRepeated,
    LoadStale,
    World,
    simulate,
)
from tests.testing.systems import bank, forked, linear

Main = Callable[[World], Awaitable[Any]]


def coming_back(main: Main) -> Main:
    """*main*, started again when what its store gives is refused."""

    async def hosted(world: World) -> Any:
        try:
            return await main(world)
        except* StoreCorrupt as refused:
            world.outside.setdefault("refused", []).append(str(refused.exceptions[0]))
        return world.crash()

    return hosted


@stage(policies=[Retry(3)])
async def slowly(value: int, ctx: Any) -> int:
    ctx.deps.outside.setdefault("handled", []).append((ctx.deps.life, value))
    await trio.sleep(1)
    return value


async def one_by_one(world: World) -> list[Any]:
    flow: Pipeline[int, int] = Pipeline([slowly], name="one")
    report = await flow.run(
        range(6), store=world.store, run_id="r", results="store", deps=world, window=1
    )
    assert report.counts["done"] == 6
    return [world.outside["handled"], world.outside.get("refused", [])]


def lived(*faults: Fault) -> tuple[list[tuple[int, int]], list[str]]:
    """What was handled in which life, and what was refused."""
    handled, refused = simulate(coming_back(one_by_one), faults=faults).result
    return handled, refused


DEATH = Died(commit=8)

#: Six, and what the death undoes: one that was done, and its successor that had begun.
MOST = 8


def test_undisturbed_the_second_life_goes_on_where_the_first_was() -> None:
    handled, refused = lived(DEATH)

    assert {life for life, _ in handled} == {1, 2}
    assert len(handled) <= MOST
    assert refused == []


@pytest.mark.parametrize("cuts", range(1, 8))
def test_a_checkpoint_of_before_is_refused_before_anything_is_handled(cuts: int) -> None:
    handled, refused = lived(DEATH, LoadStale(cuts, life=2))

    assert len(refused) == 1
    assert "has committed cut 7" in refused[0]
    assert not [each for each in handled if each[0] == 2]
    assert sorted({value for _, value in handled}) == list(range(6))
    assert len(handled) <= MOST


@pytest.mark.parametrize("cuts", range(1, 8))
def test_cuts_that_come_twice_are_refused(cuts: int) -> None:
    handled, refused = lived(DEATH, LoadRepeated(cuts, life=2))

    assert len(refused) == 1
    assert f"cut {8 - cuts} comes again after cut 7" in refused[0]
    assert not [each for each in handled if each[0] == 2]
    assert len(handled) <= MOST


@pytest.mark.parametrize("fault", [LoadStale(1), LoadRepeated(1)])
def test_a_bad_load_is_refused_too_where_a_long_chain_is_written_anew(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", 3)

    handled, refused = lived(fault)

    assert len(refused) == 1
    assert sorted({value for _, value in handled}) == list(range(6))
    assert len(handled) <= MOST


@pytest.mark.parametrize("commit", range(1, 12))
def test_a_commit_that_comes_again_changes_nothing(commit: int) -> None:
    handled, refused = lived(CommitRepeated(commit), Died(commit=commit + 2))

    assert refused == []
    assert len(handled) <= MOST


def test_a_store_that_takes_a_commit_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a cut is what a store refuses it by."""
    commit = MemoryStore.commit

    def forgetful(self: MemoryStore, change: Any) -> None:
        kept = self._disk._runs[change.run]
        if change.number is not None:
            kept.number = change.number - 1
        commit(self, change)

    monkeypatch.setattr(MemoryStore, "commit", forgetful)

    with pytest.raises(Exception, match="cannot be read"):
        lived(CommitRepeated(5), Died(commit=7))


@pytest.mark.parametrize("main", [linear, forked, bank])
@pytest.mark.parametrize("kind", [LoadStale, LoadRepeated])
def test_whatever_is_killed_when_a_bad_load_costs_no_more_than_another_start(
    main: Main, kind: Any
) -> None:
    steps = simulate(main).steps

    for step in range(10, steps, 7):
        for cuts in (1, 2):
            simulate(coming_back(main), faults=[Died(step=step), kind(cuts, life=2)])


@pytest.mark.parametrize("main", [linear, forked, bank])
def test_a_repeated_commit_breaks_no_system(main: Main) -> None:
    for commit in range(1, 8):
        simulate(main, faults=[CommitRepeated(commit)])
        simulate(main, faults=[CommitRepeated(commit), Died(commit=commit + 2)])
