"""What a run has stored of its results is there once, and after recovery it is what it would be."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Pipeline, Retry, stage
from actorflow.durability.checkpointer import Rows
from actorflow.testing import LawBroken, World, crash_points, simulate
from tests.testing.systems import bank, forked, linear


@stage(policies=[Retry(2)])
async def sorted_out(value: int, ctx: Any) -> Any:
    if value == 1:
        return ctx.skip()
    if value == 2:
        raise ValueError("two")
    return value


async def both(value: int) -> Any:
    yield value
    yield value  # The same once more is another result.


MIXED: Pipeline[int, int] = Pipeline([sorted_out, both], name="mixed")


async def mixed(world: World) -> None:
    """Results of all kinds, two of them equal."""
    report = await MIXED.run(range(4), store=world.store, run_id="r", results="store")
    assert report.counts["held"] == 0


@pytest.mark.parametrize("main", [linear, forked, mixed, bank])
def test_after_recovery_the_results_are_those_of_a_run_that_was_not_killed(main: Any) -> None:
    crash_points(main, same_results=True).check()


def test_a_run_that_was_not_killed_has_one_result_of_each() -> None:
    async def main(world: World) -> list[Any]:
        await mixed(world)
        return sorted((each.id, each.status, each.value) for each in world.results("r"))

    assert simulate(main).result == [
        (0, "done", 0),
        (0, "done", 0),
        (1, "skipped", None),
        (2, "failed", None),
        (3, "done", 3),
        (3, "done", 3),
    ]


# Bugs of the runtime, if it had them --------------------------------------------------------------


def test_a_result_that_is_stored_twice_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    take, kept = Rows.take, list[Any]()

    def again(self: Rows) -> Rows:
        """The rows of the commit before come once more."""
        self.results[:0] = kept
        kept[:] = self.results[len(kept) :]
        return take(self)

    monkeypatch.setattr(Rows, "take", again)

    with pytest.raises(LawBroken, match=r"results: done of message 0 is stored 2 times \(run 'l"):
        simulate(linear)


def test_a_result_that_is_missing_after_recovery_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take, lives = Rows.take, [0]

    def forgetful(self: Rows) -> Rows:
        rows = take(self)
        if lives[0] == 2 and rows.results:
            rows.results.pop()
        return rows

    async def main(world: World) -> None:
        lives[0] = world.life
        await mixed(world)

    monkeypatch.setattr(Rows, "take", forgetful)
    report = crash_points(main, same_results=True, steps=20)

    assert any("results: of run 'r' missing [" in each.error for each in report.violations)
    assert not crash_points(main, steps=20).violations


def test_results_that_are_others_after_recovery_are_found_over_processes_too() -> None:
    alone = crash_points(unsteady, steps=12, same_results=True)
    spread = crash_points(unsteady, steps=12, same_results=True, processes=2)

    assert "\"1 done '1 in life 1' (1)\"], not expected [" in alone.violations[-1].error
    assert [each.line for each in spread.violations] == [each.line for each in alone.violations]


async def says(value: int, ctx: Any) -> str:
    return f"{value} in life {ctx.deps.life}"


async def unsteady(world: World) -> None:
    """Gives other results in another life."""
    flow: Pipeline[int, str] = Pipeline([says], name="u")
    await flow.run([0, 1], store=world.store, run_id="r", results="store", deps=world)
