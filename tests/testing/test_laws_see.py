"""What the laboratory says of a runtime and of disks that are wrong, each in one way."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs
import pytest
import trio

from actorflow import ActorSystem, AskTimeout, Batch, LeaseLost, Pipeline, Turn, stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.runtime import commit
from actorflow.testing import LawBroken, SuffixLost, World, crash_points, new_session, simulate
from actorflow.testing.faults import RunTaken
from actorflow.testing.history import History
from actorflow.testing.laws import broken_on_disk
from actorflow.wire.codec import decode, encode
from actorflow.wire.snapshot import read_cut, rewrite
from tests.runtime.actors import Does
from tests.testing.systems import ITEMS, LINEAR


async def echo(message: Any, ctx: Turn) -> Any:
    return message


# On the disk ------------------------------------------------------------------------------


def test_items_that_are_nowhere_on_the_disk_are_missed() -> None:
    disk = MemoryDisk()

    async def main() -> None:
        async with LINEAR.open(store=MemoryStore(disk=disk, blocking=False), run_id="r") as run:
            await run.feed(ITEMS)

    trio.run(main)
    assert broken_on_disk(disk, History(lambda: (1, 0.0))) == []
    last = disk._runs["r"].cuts[-1]
    cut = read_cut(last.body)
    packed = cut.facts["run"]
    assert packed is not None
    facts = decode(packed)
    facts["counts"] = [facts["counts"][0] + 1, *facts["counts"][1:]]
    changed = rewrite(attrs.evolve(cut, facts={**cut.facts, "run": encode(facts)}))
    disk._runs["r"].cuts[-1] = attrs.evolve(last, body=changed)

    (text,) = broken_on_disk(disk, History(lambda: (1, 0.0)))
    assert text.startswith("conservation: fed 4 != done 3 + skipped 0 + dead 0 + held 0")


def test_the_members_of_a_batch_are_an_item_each() -> None:
    async def main(world: World) -> int:
        async def together(values: list[Any]) -> Any:
            if world.life == 1:
                await trio.sleep_forever()
            return values

        flow = Pipeline([stage(together, batch=Batch(2))], name="f")
        async with flow.open(store=world.store, run_id="r") as run:
            if world.life == 1:
                await run.feed([1, 2])
                await trio.sleep(1)
                world.crash()
            return (await run.finish()).counts["done"]

    assert simulate(main).result == 2


def test_what_was_fed_after_a_loss_counts_with_what_was_left_before_it() -> None:
    async def main(world: World) -> int:
        async with LINEAR.open(store=world.store, run_id="r") as run:
            if world.life == 3:
                return (await run.finish()).counts["fed"]
            await run.feed([1, 2])
            await trio.sleep(10)
            await run.feed([3, 4])
            return world.crash()

    assert simulate(main).result == 8
    assert simulate(main, faults=[SuffixLost(1, allowed=True)]).result == 6
    with pytest.raises(LawBroken, match=r"acknowledged 6 items of run 'r', the disk knows 4"):
        simulate(main, faults=[SuffixLost(1, allowed=True), SuffixLost(1, life=2)])


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_as_many_commits_are_lost_as_the_plan_says(commits: int) -> None:
    async def main(world: World) -> int:
        async with LINEAR.open(store=world.store, run_id="r") as run:
            for value in range(10 if world.life == 1 else 0):
                await run.feed([value])
            if world.life == 1:
                world.crash()
            return world.lost

    assert simulate(main, faults=[SuffixLost(commits, allowed=True)]).result == commits


def test_who_comes_after_the_run_was_taken_is_told_that_it_may_have_run_elsewhere() -> None:
    async def main(world: World) -> bool:
        with pytest.raises(LeaseLost):
            await LINEAR.run(ITEMS, store=world.store, run_id="r")
        store = world.store
        store.open(new_session())
        return store.acquire("r", 0.0).taken_over

    assert simulate(main, faults=[RunTaken(2)]).result is True


@pytest.mark.parametrize("shared_past", [False, True])
def test_what_a_death_leaves_is_looked_at_before_the_next_life(
    shared_past: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(world: World) -> list[str]:
        return [] if world.outside.get("over") else ["spoilt"]

    async def main(world: World) -> None:
        world.outside["over"] = world.life > 1
        await LINEAR.run(ITEMS, store=world.store, run_id="r")
        world.outside["over"] = True

    assert crash_points(main, shared_past=shared_past).violations == ()
    monkeypatch.setattr(World, "_broken", broken)

    found = crash_points(main, shared_past=shared_past).violations
    assert found
    assert {each.error for each in found} == {"LawBroken: spoilt"}


# In memory --------------------------------------------------------------------------------


def test_a_place_that_nobody_has_brought_is_found() -> None:
    async def main(*, extra: int) -> None:
        async with ActorSystem("s") as system:
            ref = await system.spawn(Does(do=echo))
            ref.cell.mailbox.limit += extra
            await ref.ask("x")

    simulate(lambda: main(extra=0))
    with pytest.raises(LawBroken, match=r"conservation: .*: room for 257, 0 redelivered"):
        simulate(lambda: main(extra=1))


def test_an_answer_that_is_never_given_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with ActorSystem("s") as system:
            ref = await system.spawn(Does(do=echo))
            with contextlib.suppress(AskTimeout):
                await ref.ask("x")

    simulate(main)
    monkeypatch.setattr(commit, "_answer", lambda *_: None)
    with pytest.raises(LawBroken, match="who asked message 1 is told nothing"):
        simulate(main)
