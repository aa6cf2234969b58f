"""The last checkpoints of a run can be put together again: as many as `keep` says, and not all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actorflow import ConfigurationError
from actorflow.durability import checkpointer
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.sqlite import SqliteStore
from actorflow.testing import new_session
from actorflow.wire.snapshot import Cut, fold, read_cut
from tests.flows.flowing import increment, pipeline

#: Cuts in a chain before it is folded.
FOLD = 3


@pytest.fixture(params=["memory", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Gives stores that have the same disk."""
    if request.param == "sqlite":
        return lambda: SqliteStore(str(tmp_path / "runs.db"))
    disk = MemoryDisk()
    return lambda: MemoryStore(disk=disk)


class Looking:
    """What an open store has of the run."""

    def __init__(self, store: Any) -> None:
        self._store = store
        store.open(new_session())

    def last(self) -> Cut:
        """The state that a run goes on from."""
        return fold(map(read_cut, self._store.load("run").cuts))

    def states(self) -> dict[int, Cut]:
        """Every state that can be put together, by its number."""
        cuts = [read_cut(each.body) for each in self._store.cuts("run")]
        return {cut.number: fold(cuts[: at + 1]) for at, cut in enumerate(cuts)}

    def fulls(self) -> list[int]:
        return [each.number for each in self._store.cuts("run") if each.full]

    def close(self) -> None:
        self._store.close()


@pytest.mark.parametrize("keep", [1, 2, 5, 9])
async def test_the_last_checkpoints_can_be_put_together_while_it_runs_and_afterwards(
    stores: Callable[[], Any], keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", FOLD)
    flow = pipeline([increment], name="f")
    wanted: dict[int, Cut] = {}

    def look() -> None:
        looking = Looking(stores())
        last, states = looking.last(), looking.states()
        wanted[last.number] = last
        least = max(1, last.number - keep + 1)
        assert set(range(least, last.number + 1)) <= set(states)
        for number in states.keys() & wanted.keys():
            assert states[number] == wanted[number]
        assert len(states) <= keep + 2 * (FOLD + 1)
        looking.close()

    async with flow.open(store=stores(), run_id="run", keep=keep, tune=False) as run:
        for number in range(20):
            await run.feed([number])
            await run._keeper.flush()  # type: ignore[union-attr]
            look()
        await run.finish()
    look()


async def test_without_a_word_five_are_kept(
    stores: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", 0)  # Each cut is a full one.
    async with pipeline([increment]).open(store=stores(), run_id="run", tune=False) as run:
        for number in range(10):
            await run.feed([number])
        await run.finish()

    looking = Looking(stores())
    assert looking.fulls() == list(looking.states())
    assert len(looking.states()) == 5
    looking.close()


async def test_a_run_that_goes_on_keeps_what_its_earlier_part_has(
    stores: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "FOLD_CUTS", FOLD)
    flow = pipeline([increment], name="f")
    for part in range(4):
        async with flow.open(store=stores(), run_id="run", keep=4, tune=False) as run:
            await run.feed([part])
            await run.stop()

        looking = Looking(stores())
        last = looking.last().number
        assert set(range(max(1, last - 3), last + 1)) <= set(looking.states())
        looking.close()


@pytest.mark.parametrize("keep", [0, -1, 1.5, "5", True, None])
async def test_a_keep_that_keeps_nothing_is_refused(keep: Any) -> None:
    with pytest.raises(ConfigurationError, match="run option keep must be a whole number, 1 or"):
        pipeline([increment]).open(store=MemoryStore(), keep=keep)
