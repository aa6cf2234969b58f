"""What is the memory store's own; what it shares with all is in `test_conformance`."""

from __future__ import annotations

import threading

import pytest

from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import Change, Loaded, Store
from actorflow.errors import RunInUseError, StoreError
from actorflow.testing import new_session


def opened(disk: MemoryDisk | None = None) -> MemoryStore:
    store = MemoryStore(disk=disk)
    store.open(new_session())
    return store


def test_it_is_a_store() -> None:
    store: Store = MemoryStore()

    assert store.url == "memory:"


def test_stores_without_a_disk_share_nothing() -> None:
    first, second = opened(), opened()
    first.acquire("run", 0.0)

    assert second.acquire("run", 0.0).new


def test_its_own_disk_outlives_its_session() -> None:
    store = opened()
    store.acquire("run", 0.0)
    store.close()
    store.open(new_session())

    assert store.acquire("run", 0.0).epoch == 2


def test_what_was_handed_over_may_change_afterwards() -> None:
    store = opened()
    store.acquire("run", 0.0)
    blame, cleared, results = {"m": 1}, ["x"], [("a", b"a")]
    store.commit(Change(run="run", epoch=1, blame=blame, cleared=cleared, results=results))
    blame["m"] = 2
    results.append(("b", b"b"))
    store.load("run").blame["m"] = 3

    assert store.load("run") == Loaded((), {"m": 1}, 1, 0)


def test_a_session_is_open_once() -> None:
    disk, session = MemoryDisk(), new_session()
    MemoryStore(disk=disk).open(session)

    with pytest.raises(StoreError, match="is open already"):
        MemoryStore(disk=disk).open(session)


def test_one_that_died_can_do_nothing_more() -> None:
    store = opened()
    store.die()

    with pytest.raises(StoreError, match="store memory:: is not open"):
        store.acquire("run", 0.0)


def test_of_many_threads_one_gets_the_run() -> None:
    disk, answers = MemoryDisk(), []
    stores = [opened(disk) for _ in range(8)]
    gate = threading.Barrier(len(stores))

    def race(store: MemoryStore) -> None:
        gate.wait()
        try:
            answers.append(store.acquire("run", 0.0).new)
        except RunInUseError:
            answers.append(False)

    threads = [threading.Thread(target=race, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [False] * 7 + [True]
