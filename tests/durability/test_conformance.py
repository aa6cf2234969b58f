"""Both stores keep the contract, and stores with one flaw each are found out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import Phase

from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import (
    Change,
    DeadQuery,
    DeadRow,
    Loaded,
    Owned,
    Session,
    Store,
)
from actorflow.errors import MissingExtra
from actorflow.testing import (
    CHECKS,
    MemoryWorld,
    SqliteWorld,
    StoreWorld,
    store_agreement,
    store_conformance,
)
from actorflow.testing.store_checks import Check
from actorflow.testing.store_conformance import run_check
from actorflow.testing.store_machine import drive

WORLDS: list[Callable[[], StoreWorld]] = [MemoryWorld, SqliteWorld]


@pytest.mark.parametrize("world", WORLDS, ids=["memory", "sqlite"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_store_keeps(check: Check, world: Callable[[], StoreWorld]) -> None:
    run_check(check, world)


def test_sqlite_agrees_with_the_reference_over_random_histories() -> None:
    store_agreement(SqliteWorld, examples=60, steps=30)


def test_the_whole_of_it_is_one_call() -> None:
    store_conformance(MemoryWorld, examples=5, steps=5)


# Stores with one flaw ---------------------------------------------------------------------


class Flawed(MemoryStore):
    pass


class NoFence(Flawed):
    """Takes commits from anybody who knows the run."""

    def commit(self, change: Change) -> None:
        kept = self._disk._runs.get(change.run)
        if kept is not None:
            change = attrs.evolve(change, epoch=kept.epoch)
        super().commit(change)


class LosesResults(Flawed):
    """Keeps no result."""

    def commit(self, change: Change) -> None:
        super().commit(attrs.evolve(change, results=()))


class ForgetsBlame(Flawed):
    """Answers without blame."""

    def load(self, run: str) -> Loaded:
        return attrs.evolve(super().load(run), blame={})


class KeepsOldCuts(Flawed):
    """Does not drop the cuts that a full one stands for."""

    def commit(self, change: Change) -> None:
        super().commit(attrs.evolve(change, full=False))


class KeepsTheLastAlone(Flawed):
    """Drops all that a full cut stands for, whatever is to be kept."""

    def commit(self, change: Change) -> None:
        super().commit(attrs.evolve(change, keep=1))


class LoadsAllItHas(Flawed):
    """Has a run read more than it needs."""

    def load(self, run: str) -> Loaded:
        cuts = tuple(each.body for each in self.cuts(run))
        return attrs.evolve(super().load(run), cuts=cuts)


class NeverLets(Flawed):
    """Holds what it holds when it is closed."""

    def close(self) -> None:
        self._session = None


class EndlessLease(Flawed):
    """Takes no run over."""

    def acquire(self, run: str, now: float, **more: Any) -> Owned:
        return super().acquire(run, 0.0, **more)


class SilentRenewal(Flawed):
    """Does not notice what it has lost."""

    def renew(self, now: float, ticks: int) -> None:
        self._held.clear()
        super().renew(now, ticks)


class NamesWithoutCase(Flawed):
    """Takes runs for one whose ids differ in case."""

    def acquire(self, run: str, now: float, **more: Any) -> Owned:
        return super().acquire(run.lower(), now, **more)

    def load(self, run: str) -> Loaded:
        return super().load(run.lower())

    def commit(self, change: Change) -> None:
        super().commit(attrs.evolve(change, run=change.run.lower()))


class SmallResults(Flawed):
    """Cuts what is longer than 64 KiB."""

    def commit(self, change: Change) -> None:
        results = [(item, body[:65_535]) for item, body in change.results]
        super().commit(attrs.evolve(change, results=results))


class SmallLetters(Flawed):
    """Cuts the bodies of dead letters there."""

    def commit(self, change: Change) -> None:
        dead = [attrs.evolve(each, body=each.body[:65_535]) for each in change.dead]
        super().commit(attrs.evolve(change, dead=dead))


class SmallReports(Flawed):
    """Cuts reports there."""

    def commit(self, change: Change) -> None:
        report = None if change.report is None else change.report[:65_535]
        super().commit(attrs.evolve(change, report=report))


class ReleasesByAnyEpoch(Flawed):
    """Takes an old release of the same process for one of now."""

    def release(self, run: str, epoch: int) -> None:
        kept = self._disk._runs.get(run)
        super().release(run, epoch if kept is None else kept.epoch)


class FewLetters(Flawed):
    """Gives a hundred dead letters at most."""

    def dead(
        self, query: DeadQuery, after: int = 0, limit: int = 1000
    ) -> list[tuple[str, DeadRow]]:
        return super().dead(query, after, min(limit, 100))


FLAWS = {
    NoFence: "a_finished_run_is_only_looked_at",
    LosesResults: "a_cut_must_follow_the_last_one",
    ForgetsBlame: "blame_is_set_and_cleared",
    KeepsOldCuts: "cuts_come_back_in_order_and_a_full_one_stands_for_all_before",
    KeepsTheLastAlone: "a_full_cut_drops_only_what_none_of_the_last_states_needs",
    LoadsAllItHas: "a_full_cut_drops_only_what_none_of_the_last_states_needs",
    NeverLets: "closing_gives_runs_free_and_twice_does_nothing",
    EndlessLease: "an_owner_that_stops_renewing_loses_when_its_lease_is_over",
    SilentRenewal: "an_owner_that_stops_renewing_loses_when_its_lease_is_over",
    NamesWithoutCase: "names_that_differ_in_case_are_two",
    SmallResults: "what_is_kept_may_be_of_any_size",
    SmallLetters: "what_is_kept_may_be_of_any_size",
    SmallReports: "what_is_kept_may_be_of_any_size",
    ReleasesByAnyEpoch: "an_owner_gives_a_run_free_only_by_its_present_epoch",
    FewLetters: "dead_letters_are_paged",
}


def world_of(kind: type[MemoryStore]) -> Callable[[], StoreWorld]:
    class World(MemoryWorld):
        def open(self, session: Session) -> Store:
            store = kind(disk=self._disk)
            store.open(session)
            return store

    return World


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.__name__)
def test_a_flaw_fails_a_check_by_name(flaw: type[Flawed]) -> None:
    with pytest.raises(AssertionError) as caught:
        store_conformance(world_of(flaw), examples=1, steps=1)

    assert str(caught.value).partition(":")[0] in {check.__name__ for check in CHECKS}


@pytest.mark.parametrize("flaw", [LosesResults, KeepsOldCuts, ForgetsBlame])
def test_a_flaw_shows_in_random_histories(flaw: type[Flawed]) -> None:
    with pytest.raises(AssertionError, match="the reference"):
        drive(world_of(flaw), examples=200, steps=30, phases=[Phase.generate])


def test_an_unexpected_error_names_the_check_too() -> None:
    def a_promise(world: StoreWorld) -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(AssertionError, match=r"^a_promise: ZeroDivisionError: oh$"):
        run_check(a_promise, MemoryWorld)


def test_a_world_is_closed_whatever_happens() -> None:
    closed = []

    class World(MemoryWorld):
        def close(self) -> None:
            closed.append(self)

    with pytest.raises(AssertionError):
        run_check(lambda world: 1 / 0, World)  # type: ignore[arg-type]

    assert len(closed) == 1


def test_without_hypothesis_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "actorflow.testing.store_machine", raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)

    with pytest.raises(MissingExtra, match=r"pip install 'actorflow\[test\]'"):
        store_agreement(MemoryWorld)


def test_disks_are_not_shared_between_worlds() -> None:
    assert isinstance(MemoryWorld()._disk, MemoryDisk)
    assert MemoryWorld()._disk is not MemoryWorld()._disk
