"""A store that may lose its last commits: the run goes back to a checkpoint of before, whole."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow.testing import Died, LawBroken, SuffixLost, World, simulate, world
from actorflow.testing.disk import Contents, contents, put_back
from tests.scenarios.systems import SYSTEMS
from tests.testing.systems import ITEMS, LINEAR, PRICED, forked, linear

MAINS = {
    "linear": linear,
    "forked": forked,
    **{name: system.main for name, system in SYSTEMS.items() if name != "pool"},
}


@pytest.mark.parametrize("name", MAINS)
def test_whenever_it_dies_all_comes_to_the_same_end(name: str) -> None:
    main, lost = MAINS[name], 0
    steps = simulate(main).steps

    for step in range(8, steps, 5):
        for commits in (1, 2, 5):
            faults = [SuffixLost(commits, allowed=True), Died(step=step)]
            run = simulate(counted(main), faults=faults)
            lost += run.result
    assert lost > 10


def counted(main: Any) -> Any:
    """*main*, and how many commits were lost."""

    async def counting(world: World) -> int:
        await main(world)
        return world.lost

    return counting


async def feeding(world: World) -> list[Any]:
    """Feeds two items in each life, and is killed when both are acknowledged."""
    async with LINEAR.open(store=world.store, run_id="r", results="store") as run:
        if world.life < 3:
            await run.feed([world.life, world.life])
            world.crash()
        report = await run.finish()
    return [report.counts["fed"], world.lost]


def test_what_was_acknowledged_may_be_lost_if_that_is_allowed_and_only_then() -> None:
    assert simulate(feeding).result == [4, 0]
    assert simulate(feeding, faults=[SuffixLost(1, allowed=True)]).result == [2, 1]
    with pytest.raises(LawBroken, match="durable accept"):
        simulate(feeding, faults=[SuffixLost(1)])


def test_what_is_acknowledged_after_the_loss_must_be_kept() -> None:
    lost_again = [SuffixLost(1, allowed=True), SuffixLost(1, life=2)]

    with pytest.raises(LawBroken, match=r"durable accept: feed\(\) acknowledged 2 items"):
        simulate(feeding, faults=lost_again)
    kept = [SuffixLost(1, life=2, allowed=True)]
    assert simulate(feeding, faults=kept).result == [2, 1]


def test_a_disk_that_loses_a_part_of_a_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts without the results of the same commits."""

    def half(disk: Any, before: Contents) -> None:
        now = contents(disk)
        put_back(disk, before)
        for run, kept in disk._runs.items():
            kept.results = now[run].results

    async def main(world: World) -> list[Any]:
        report = await LINEAR.run(ITEMS, store=world.store, run_id="r", results="store")
        return [report.counts["done"], *sorted(str(each.value) for each in world.results("r"))]

    steps = simulate(main).steps
    plans = [[SuffixLost(2, allowed=True), Died(step=step)] for step in range(10, steps)]
    assert {tuple(simulate(main, faults=plan).result) for plan in plans} == {(3, *map(str, PRICED))}
    monkeypatch.setattr(world, "put_back", half)

    found = []
    for plan in plans:
        try:
            simulate(main, faults=plan)
        except LawBroken as error:
            found.append(str(error))
    assert any("is stored 2 times" in each for each in found)
