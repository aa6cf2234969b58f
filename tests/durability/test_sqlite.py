"""The SQLite store with real files and real processes: owners, turns, the cost of a commit."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import actorflow
from actorflow.durability import locks
from actorflow.durability.locks import FileLock, Turn
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Change, DeadRow, Owned, Session, Store
from actorflow.errors import (
    CommitFailed,
    ConfigurationError,
    RunInUseError,
    StoreError,
)
from actorflow.testing import new_session

PACKAGE = Path(actorflow.__file__).parent

#: A process that does what it is told, one line each, and answers in lines.
CHILD = """
import json, os, socket, sys
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Change, Session
from actorflow.errors import ActorFlowError

store = SqliteStore(sys.argv[1], synchronous="NORMAL", wait=60)
store.open(Session(os.urandom(16), "laboratory", os.getpid(), 10.0))
owned = store.acquire(sys.argv[2], 0.0)
number = 0

def commit():
    global number
    number += 1
    store.commit(Change(run=owned.run, epoch=owned.epoch, number=number, cut=b"%d" % number))

def say(word):
    print(word, flush=True)

say("held")
for line in sys.stdin:
    word = line.strip()
    try:
        if word == "commit":
            commit()
            say(number)
        elif word == "forever":
            while True:
                commit()
                say(number)
        elif word == "quietly":
            while True:
                commit()
        elif word == "fork":
            if os.fork() == 0:
                say("forked")
                os.read(0, 1)
                os._exit(0)
    except ActorFlowError as error:
        say(type(error).__name__)
"""


class Child:
    """A process that holds the run it was started for."""

    def __init__(self, path: Path, run: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PACKAGE.parent,
        )
        assert self.hear() == "held"

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    stores = []

    def make(session: Session | None = None, **more: Any) -> SqliteStore:
        store = SqliteStore(path, **({"synchronous": "NORMAL"} | more))
        store.open(session or new_session())
        stores.append(store)
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def child(path: Path) -> Iterator[Callable[[str], Child]]:
    children = []

    def start(run: str = "run") -> Child:
        children.append(Child(path, run))
        return children[-1]

    yield start
    for each in children:
        each.close()


Opened = Callable[..., SqliteStore]
Start = Callable[..., Child]


def letter(name: str) -> DeadRow:
    return DeadRow(0, name, "parse", "failed", "E", "t", "tb", 1, 1.0, 0, b"body")


def connection(store: SqliteStore) -> sqlite3.Connection:
    assert store._link is not None
    assert store._link._db is not None
    return store._link._db


# Files ------------------------------------------------------------------------------------


def test_it_is_a_store_and_touches_nothing_before_it_is_opened(path: Path) -> None:
    store: Store = SqliteStore(path)

    assert store.url == f"sqlite:///{path}"
    assert list(path.parent.iterdir()) == []


def test_a_closed_store_leaves_the_file_and_no_log(path: Path, opened: Opened) -> None:
    opened().close()

    names = sorted(each.relative_to(path.parent).as_posix() for each in path.parent.rglob("*"))
    assert names == ["run.db", "run.db.d", "run.db.d/next.lock", "run.db.lock"]


def test_a_relative_path_is_meant_from_where_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("run.db")
    monkeypatch.chdir("/")
    store.open(new_session())
    store.close()

    assert (tmp_path / "run.db").exists()


def test_who_comes_by_another_name_of_the_file_finds_the_same_owner(
    path: Path, opened: Opened
) -> None:
    store = opened()
    store.acquire("run", 0.0)
    (path.parent / "link.db").symlink_to(path)
    other = SqliteStore(path.parent / "link.db")
    other.open(new_session())

    with pytest.raises(RunInUseError):
        other.acquire("run", 0.0)
    store.die()
    assert not other.acquire("run", 0.0).taken_over
    other.close()


def test_odd_characters_in_a_path_are_only_characters(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a?mode=ro#%20 é.db")
    store.open(new_session())
    store.close()

    assert (tmp_path / "a?mode=ro#%20 é.db").stat().st_size > 0


@pytest.mark.parametrize(("level", "value"), [("FULL", 2), ("NORMAL", 1)])
def test_syncing_is_as_was_asked(opened: Opened, level: str, value: int) -> None:
    db = connection(opened(synchronous=level))

    assert db.execute("PRAGMA synchronous").fetchone() == (value,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_wrong_level_of_syncing_is_refused_when_declared() -> None:
    with pytest.raises(ConfigurationError, match="must be one of 'FULL', 'NORMAL', got 'OFF'"):
        SqliteStore("run.db", synchronous="OFF")  # type: ignore[arg-type]


def test_a_session_is_open_once(opened: Opened, path: Path) -> None:
    session = new_session()
    opened(session)

    with pytest.raises(StoreError, match="is open already"):
        opened(session)


def test_the_log_stays_bounded_over_many_large_cuts(path: Path, opened: Opened) -> None:
    store = opened()
    owned = store.acquire("run", 0.0)
    for number in range(1, 151):
        commit(store, owned, number, cut=bytes(200_000), full=True)

    assert Path(f"{path}-wal").stat().st_size < 8_000_000
    assert path.stat().st_size < 8_000_000


def commit(store: SqliteStore, owned: Owned, number: int, **more: Any) -> None:
    change = {"cut": b"cut"} | more
    store.commit(Change(run=owned.run, epoch=owned.epoch, number=number, **change))


# Owners -----------------------------------------------------------------------------------


def test_a_killed_process_is_followed_at_once(opened: Opened, child: Start) -> None:
    store, owner = opened(), child()
    owner.tell("commit")
    assert owner.hear() == "1"
    with pytest.raises(RunInUseError, match=f"process {owner.process.pid} on laboratory"):
        store.acquire("run", 0.0)

    owner.kill()

    again = store.acquire("run", 0.0)
    assert (again.epoch, again.number, again.taken_over) == (2, 1, False)
    assert store.load("run").cuts == (b"1",)


def test_a_forked_copy_does_not_keep_a_dead_owner_alive(opened: Opened, child: Start) -> None:
    store, owner = opened(), child()
    owner.tell("fork")
    assert owner.hear() == "forked"

    owner.kill()

    assert not store.acquire("run", 0.0).taken_over


def test_a_stopped_process_loses_when_its_lease_is_over_and_learns_it(
    opened: Opened, child: Start
) -> None:
    store, owner = opened(), child()
    owner.process.send_signal(signal.SIGSTOP)
    with pytest.raises(RunInUseError):
        store.acquire("run", 9.9)

    assert store.acquire("run", 10.0).taken_over

    owner.process.send_signal(signal.SIGCONT)
    owner.tell("commit")
    assert owner.hear() == "LeaseLost"
    assert store.number("run") == 0


@pytest.mark.parametrize("acknowledged", [1, 2, 20])
def test_what_was_acknowledged_is_there_after_a_kill_between_any_two_instructions(
    opened: Opened, child: Start, acknowledged: int
) -> None:
    owner = child()
    owner.tell("forever")
    for number in range(1, acknowledged + 1):
        assert owner.hear() == str(number)
    owner.kill()

    store = opened()
    again = store.acquire("run", 0.0)
    assert again.number >= acknowledged
    assert store.load("run").cuts == tuple(b"%d" % n for n in range(1, again.number + 1))


@pytest.mark.parametrize("there", [True, False], ids=["file", "no file"])
def test_on_another_host_a_lock_proves_nothing(path: Path, opened: Opened, there: bool) -> None:
    far = Session(os.urandom(16), "elsewhere", 7, 10.0)
    dead = opened(far)
    dead.acquire("run", 0.0)
    dead.die()
    if not there:
        (Path(f"{path}.d") / f"{far.id.hex()}.lock").unlink()
    store = opened()

    with pytest.raises(RunInUseError, match="process 7 on elsewhere"):
        store.acquire("run", 9.0)
    assert store.acquire("run", 10.0).taken_over


def test_after_another_start_of_the_system_a_lock_proves_nothing(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = opened()
    dead.acquire("run", 0.0)
    dead.die()
    monkeypatch.setattr("actorflow.durability.sqlite.boot_id", lambda: "another")
    store = opened()

    with pytest.raises(RunInUseError):
        store.acquire("run", 29.0)
    assert store.acquire("run", 30.0).taken_over


def test_a_missing_lock_file_proves_nothing(path: Path, opened: Opened) -> None:
    session, store = new_session(), opened()
    dead = opened(session)
    dead.acquire("run", 0.0)
    dead.die()
    (Path(f"{path}.d") / f"{session.id.hex()}.lock").unlink()

    with pytest.raises(RunInUseError):
        store.acquire("run", 29.0)
    assert store.acquire("run", 30.0).taken_over


def test_opening_sweeps_up_after_the_dead(path: Path, opened: Opened) -> None:
    for _ in range(3):
        dead = opened()
        dead.acquire(f"run {_}", 0.0)
        dead.die()
    store = opened()

    assert [row.owner for row in store.runs()] == ["", "", ""]
    assert len(list(Path(f"{path}.d").iterdir())) == 2  # Ours, and who is next.
    assert connection(store).execute("SELECT count(*) FROM session").fetchone() == (1,)


def test_without_locks_there_are_leases(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    dead, store = opened(), opened()
    dead.acquire("run", 0.0)
    dead.die()

    with pytest.raises(RunInUseError):
        store.acquire("run", 29.0)
    assert store.acquire("run", 30.0).taken_over


def test_a_forked_copy_may_not_use_the_store(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pid = opened(), os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(StoreError, match="was opened before a fork"):
            store.acquire("run", 0.0)

    assert store.acquire("run", 0.0).new


# Turns ------------------------------------------------------------------------------------


def test_who_ends_a_turn_cannot_have_the_next_while_another_waits(tmp_path: Path) -> None:
    paths = str(tmp_path / "turn"), str(tmp_path / "next")
    story: list[str] = []

    def while_waiting(_: float) -> None:
        story.append("second waits")
        first.give()
        story.append(f"first again: {first.take()}")

    first, second = Turn(*paths, wait=0.0), Turn(*paths, wait=60.0, pause=while_waiting)
    assert first.take()
    story.append(f"second: {second.take()}")
    second.give()

    assert story == ["second waits", "first again: False", "second: True"]
    assert first.take()
    first.close()
    second.close()


def test_a_turn_that_does_not_come_holds_nobody_up_afterwards(tmp_path: Path) -> None:
    paths = str(tmp_path / "turn"), str(tmp_path / "next")
    times = iter(range(100))
    first = Turn(*paths, wait=60.0)
    second = Turn(*paths, wait=3.0, pause=lambda _: None, clock=lambda: next(times))
    assert first.take()

    assert not second.take()

    assert next(times) == 4  # Begun at 0; looked at the clock until it said 3.
    first.give()
    assert first.take()
    first.close()
    second.close()


def test_of_two_processes_who_is_next_waits_for_one_commit_at_most(
    opened: Opened, child: Start
) -> None:
    store, other = opened(wait=60.0), child("theirs")
    owned = store.acquire("ours", 0.0)
    other.tell("quietly")
    look = opened()
    waited: list[int] = []
    assert store._link is not None
    turn = store._link._turn
    assert turn is not None
    get = turn._get

    def counted(lock: FileLock, end: float) -> bool:
        if lock is not turn._turn:
            return get(lock, end)
        before = look.number("theirs")  # We are next from here on.
        taken = get(lock, end)
        waited.append(look.number("theirs") - before)
        return taken

    turn._get = counted  # type: ignore[method-assign]
    number = 0
    while sum(waited) < 10:
        number += 1
        commit(store, owned, number)

    assert max(waited) == 1


def test_somebody_who_keeps_the_turn_is_busy(path: Path, opened: Opened) -> None:
    store = opened(wait=0.0)
    owned = store.acquire("run", 0.0)
    held = FileLock(f"{path}.lock")
    assert held.try_lock()

    with pytest.raises(CommitFailed, match="no turn to write within 0 s") as caught:
        commit(store, owned, 1)

    assert (caught.value.reason, caught.value.unknown) == ("busy", False)
    held.close()
    commit(store, owned, 1)


def test_who_only_reads_needs_no_turn(path: Path, opened: Opened) -> None:
    store = opened()
    owned = store.acquire("run", 0.0)
    commit(store, owned, 1)
    held = FileLock(f"{path}.lock")
    assert held.try_lock()

    reader = opened(wait=0.0)
    assert [each.run for each in reader.runs()] == ["run"]
    assert len(reader.load("run").cuts) == 1
    with pytest.raises(CommitFailed, match="no turn to write"):
        reader.acquire("other", 0.0)

    held.close()
    assert reader.acquire("other", 0.0).new
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM session").fetchone() == (2,)
    reader.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM session").fetchone() == (1,)


# The cost of a commit ---------------------------------------------------------------------


class Counting(sqlite3.Connection):
    calls = 0

    def execute(self, *args: Any) -> sqlite3.Cursor:
        type(self).calls += 1
        return super().execute(*args)


class CountingStore(SqliteStore):
    _connection = Counting


@pytest.fixture
def calls(path: Path) -> Iterator[Callable[[int], int]]:
    store = CountingStore(path, synchronous="NORMAL")
    store.open(new_session())
    owned = store.acquire("run", 0.0)
    numbers = iter(range(1, 100))

    def of(rows: int) -> int:
        Counting.calls = 0
        commit(
            store,
            owned,
            next(numbers),
            full=True,
            results=[(f"item-{n}", b"result") for n in range(rows)],
            dead=[letter(f"item-{n}") for n in range(rows)],
            blame={f"item-{n}": 1 for n in range(rows)},
            cleared=[f"item-{n}" for n in range(rows)],
        )
        return Counting.calls

    yield of
    store.close()


def test_the_number_of_driver_calls_of_a_commit_does_not_depend_on_its_size(
    calls: Callable[[int], int],
) -> None:
    assert (calls(0), calls(1), calls(500)) == (5, 9, 9)
    assert calls(2000) == 5 + 4 * 4


def test_blocks_respect_the_limit_of_parameters(path: Path, opened: Opened) -> None:
    store = opened()
    connection(store).setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    owned = store.acquire("run", 0.0)
    commit(store, owned, 1, results=[(f"{n}", b"") for n in range(1001)], dead=[letter("a")] * 200)

    assert store.load("run").results == 1001
    assert store.load("run").dead == 200


@pytest.mark.parametrize("word", ["executemany", "executescript"])
def test_nothing_in_the_package_runs_one_call_for_each_row(word: str) -> None:
    found = [file for file in PACKAGE.rglob("*.py") if f"{word}(" in file.read_text("utf-8")]

    assert found == []


def test_the_file_says_what_it_holds(path: Path, opened: Opened) -> None:
    store = opened()
    store.acquire("run", 0.0)
    store.commit(Change(run="run", epoch=1, identity=("a", "b")))

    with sqlite3.connect(path) as db:
        found = db.execute("SELECT status, identity FROM run").fetchone()
        assert db.execute("SELECT version FROM meta").fetchall() == [(2,)]
    db.close()
    assert (found[0], json.loads(found[1])) == ("running", ["a", "b"])
