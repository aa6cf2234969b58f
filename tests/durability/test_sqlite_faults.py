"""What goes wrong with an SQLite store is said, changes nothing, and can be gone on from."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.sqlite_schema import STEPS
from actorflow.durability.store import Change, DeadQuery, DeadRow, Owned, Session
from actorflow.errors import (
    ActorFlowError,
    CommitFailed,
    RunInUseError,
    SchemaTooNew,
    StoreCorrupt,
    StoreError,
)
from actorflow.testing import new_session


class Injected(sqlite3.Connection):
    """Fails at the statement that was named, before it runs or after."""

    begins: ClassVar[str] = ""
    code: ClassVar[int] = sqlite3.SQLITE_IOERR
    after: ClassVar[bool] = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        kind = type(self)
        hit = kind.begins and sql.strip().startswith(kind.begins)
        if hit and not kind.after:
            raise self.error()
        cursor = super().execute(sql, *args)
        if hit:
            raise self.error()
        return cursor

    def error(self) -> Exception:
        error = sqlite3.OperationalError("injected")
        error.sqlite_errorcode = type(self).code
        return error


class InjectedStore(SqliteStore):
    _connection = Injected


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """Open, with an acquired run that has one cut."""
    store = InjectedStore(path, synchronous="NORMAL", wait=0.0)
    store.open(new_session())
    owned = store.acquire("run", 0.0)
    commit(store, owned, 1)
    yield store
    Injected.begins = ""
    store.close()


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def at(begins: str, code: int = sqlite3.SQLITE_IOERR, *, after: bool = False) -> None:
        monkeypatch.setattr(Injected, "begins", begins)
        monkeypatch.setattr(Injected, "code", code)
        monkeypatch.setattr(Injected, "after", after)

    return at


OURS = Owned("run", 1, 0, "running", True, False, "", ())


def commit(store: SqliteStore, owned: Owned, number: int, **more: Any) -> None:
    change = {"cut": b"cut %d" % number} | more
    store.commit(Change(run=owned.run, epoch=owned.epoch, number=number, **change))


def connection(store: SqliteStore) -> sqlite3.Connection:
    assert store._link is not None
    assert store._link._db is not None
    return store._link._db


def works_again(store: SqliteStore) -> None:
    """The cut before is there, and the next one can be written."""
    assert store.load("run").cuts == (b"cut 1",)
    commit(store, OURS, 2)
    assert store.load("run").cuts == (b"cut 1", b"cut 2")


# A commit that fails ----------------------------------------------------------------------


def test_a_full_disk_is_full_until_there_is_room(store: SqliteStore) -> None:
    db = connection(store)
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    with pytest.raises(CommitFailed, match="make room on its disk") as caught:
        commit(store, OURS, 2, cut=bytes(100_000))

    assert (caught.value.reason, caught.value.unknown) == ("full", False)
    db.execute("PRAGMA max_page_count = 1000000").fetchall()
    works_again(store)


def test_a_file_that_became_read_only_says_so(store: SqliteStore) -> None:
    connection(store).execute("PRAGMA query_only = ON")

    with pytest.raises(CommitFailed, match="make the file and its folder writable") as caught:
        commit(store, OURS, 2)

    assert (caught.value.reason, caught.value.unknown) == ("readonly", False)
    connection(store).execute("PRAGMA query_only = OFF")
    works_again(store)


def test_another_program_that_writes_for_too_long_is_busy(store: SqliteStore, path: Path) -> None:
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")

    with pytest.raises(CommitFailed, match="somebody else writes for too long") as caught:
        commit(store, OURS, 2)

    assert (caught.value.reason, caught.value.unknown) == ("busy", False)
    foreign.execute("ROLLBACK")
    foreign.close()
    works_again(store)


@pytest.mark.parametrize("statement", ["BEGIN", "UPDATE run", "DELETE", "INSERT INTO cut"])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_FULL, "full"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "readonly"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "busy"),
        (sqlite3.SQLITE_LOCKED, "busy"),
        (sqlite3.SQLITE_IOERR_FSYNC, "io"),
        (sqlite3.SQLITE_CANTOPEN, "io"),
    ],
)
def test_before_the_commit_itself_nothing_is_unknown(
    store: SqliteStore, fail: Callable[..., None], statement: str, code: int, reason: str
) -> None:
    fail(statement, code)
    with pytest.raises(CommitFailed) as caught:
        commit(store, OURS, 2, full=True)

    assert (caught.value.reason, caught.value.unknown) == (reason, False)
    fail("")
    works_again(store)


@pytest.mark.parametrize("applied", [False, True], ids=["lost", "applied"])
def test_an_io_error_of_the_commit_itself_is_settled_by_the_number(
    store: SqliteStore, fail: Callable[..., None], applied: bool
) -> None:
    fail("COMMIT", after=applied)
    with pytest.raises(CommitFailed) as caught:
        commit(store, OURS, 2)

    assert (caught.value.reason, caught.value.unknown) == ("io", True)
    fail("")
    assert store.number("run") == 1 + applied
    commit(store, OURS, store.number("run") + 1)


@pytest.mark.parametrize(
    ("code", "unknown"),
    [
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_INTERRUPT, True),
    ],
)
def test_a_commit_that_was_surely_rolled_back_is_not_unknown(
    store: SqliteStore, fail: Callable[..., None], code: int, unknown: bool
) -> None:
    fail("COMMIT", code)
    with pytest.raises(CommitFailed) as caught:
        commit(store, OURS, 2)

    assert caught.value.unknown is unknown
    fail("")
    works_again(store)


def test_a_connection_that_cannot_roll_back_is_replaced(
    store: SqliteStore, fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = connection(store)
    fail("ROLLBACK")
    with pytest.raises(StoreError):
        commit(store, OURS, 7)

    fail("")
    works_again(store)
    assert connection(store) is not before


def test_an_acquisition_that_was_reported_as_failed_can_be_repeated(
    store: SqliteStore, fail: Callable[..., None]
) -> None:
    fail("COMMIT", after=True)
    with pytest.raises(CommitFailed):
        store.acquire("other", 0.0)

    fail("")
    again = store.acquire("other", 0.0)
    assert (again.epoch, again.taken_over) == (2, False)
    with pytest.raises(RunInUseError):
        store.acquire("other", 0.0)


def test_an_end_that_was_reported_as_failed_is_no_lost_lease(
    store: SqliteStore, fail: Callable[..., None]
) -> None:
    fail("COMMIT", after=True)
    with pytest.raises(CommitFailed):
        commit(store, OURS, 2, status="finished")

    fail("")
    store.renew(1.0, 1)
    assert store.acquire("run", 2.0).status == "finished"


def test_an_interrupt_leaves_nothing_half_done(
    store: SqliteStore, fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Injected, "error", lambda self: KeyboardInterrupt())
    fail("INSERT INTO cut", after=True)
    with pytest.raises(KeyboardInterrupt):
        commit(store, OURS, 2)

    fail("")
    works_again(store)


@pytest.mark.parametrize(
    "letter",
    [
        DeadRow(0, "m", "p", "r", "e", "t", "tb", 2**63, 1.0, 0, b""),
        DeadRow(0, "m", "p", "r", "e", "t", "tb", 1, float("nan"), 0, b""),
        DeadRow(0, "m", "p", "r", "e", "t", "tb", 1, 1.0, 0, object()),  # type: ignore[arg-type]
    ],
    ids=["number", "time", "body"],
)
def test_a_value_that_no_column_takes_is_refused_whole(store: SqliteStore, letter: DeadRow) -> None:
    with pytest.raises((StoreError, TypeError)):
        commit(store, OURS, 2, dead=[letter])

    assert store.dead(DeadQuery()) == []
    works_again(store)


def test_a_store_that_cannot_say_goodbye_is_proven_dead_instead(
    store: SqliteStore, path: Path, fail: Callable[..., None]
) -> None:
    fail("BEGIN IMMEDIATE", sqlite3.SQLITE_FULL)
    store.close()
    fail("")
    other = SqliteStore(path)
    other.open(new_session())

    assert not other.acquire("run", 0.0).taken_over
    other.close()


def test_a_failed_takeover_leaves_the_proof_of_death(
    store: SqliteStore, path: Path, fail: Callable[..., None]
) -> None:
    dead = SqliteStore(path)
    dead.open(new_session())
    dead.acquire("theirs", 0.0)
    dead.die()
    fail("COMMIT")
    with pytest.raises(CommitFailed):
        store.acquire("theirs", 0.0)

    fail("")
    assert not store.acquire("theirs", 0.0).taken_over


# Places where no store can be -------------------------------------------------------------


def refusal(path: Path, kind: type[StoreError] = StoreError) -> str:
    """What opening says; it leaves no file behind and changes none."""
    before = {each: each.read_bytes() for each in path.parent.rglob("*") if each.is_file()}
    with pytest.raises(StoreError) as caught:
        SqliteStore(path).open(new_session())
    assert type(caught.value) is kind
    after = {each: each.read_bytes() for each in path.parent.rglob("*") if each.is_file()}
    assert after == before
    return caught.value.detail


def test_a_folder_is_no_file(path: Path) -> None:
    path.mkdir()

    assert refusal(path) == f"{path} is a folder; give the path of a file"


def test_a_missing_folder_is_not_made(path: Path) -> None:
    assert refusal(path / "run.db") == f"there is no folder {path}; make it first"


@pytest.mark.parametrize("content", [b"hello", b"name,price\n" * 1000, b"\x00" * 8192])
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    detail = refusal(path, StoreCorrupt)
    assert detail == f"{path} is no SQLite database; give the path of another file"


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE run (id)")
    foreign.close()

    detail = refusal(path, StoreCorrupt)
    assert detail == f"{path} is the database of another program; give the path of another file"


def test_an_empty_file_is_not_begun_anew(path: Path) -> None:
    path.touch()

    detail = refusal(path, StoreCorrupt)
    assert detail == f"{path} is empty, a store never is; restore it, or delete it to begin anew"


def test_a_log_whose_file_is_gone_is_not_read_into_another(path: Path) -> None:
    store = SqliteStore(path)
    store.open(new_session())
    store.acquire("run", 0.0)
    shutil.copy(f"{path}-wal", f"{path}-copy")
    store.close()
    path.unlink()
    os.rename(f"{path}-copy", f"{path}-wal")

    with pytest.raises(StoreCorrupt, match=r"is gone but its log .* is not; restore the file"):
        SqliteStore(path).open(new_session())
    assert not path.exists()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "readonly"),
        (errno.EROFS, "readonly"),
        (errno.ENOSPC, "full"),
        (errno.EIO, "io"),
    ],
)
@pytest.mark.parametrize("call", ["makedirs", "open", "rename"])
def test_what_the_system_refuses_names_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, reason: str
) -> None:
    def refuse(place: Any, *args: Any, **more: Any) -> None:
        raise OSError(number, os.strerror(number), str(place))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(CommitFailed) as caught:
            SqliteStore(path).open(new_session())

    assert caught.value.reason == reason
    assert str(path) in caught.value.detail
    store = SqliteStore(path)
    store.open(new_session())
    store.close()


@pytest.mark.parametrize("begins", ["BEGIN", "PRAGMA journal_mode", "REPLACE", "COMMIT"])
def test_a_file_that_cannot_be_written_is_not_opened(
    path: Path, store: SqliteStore, fail: Callable[..., None], begins: str
) -> None:
    fail(begins, sqlite3.SQLITE_READONLY)
    with pytest.raises(CommitFailed, match="make the file and its folder writable"):
        InjectedStore(path).open(new_session())

    fail("")
    assert len(list(Path(f"{path}.d").iterdir())) == 2  # Of the one that is open, and `next`.


def test_making_the_file_is_all_or_nothing(path: Path) -> None:
    def broken(db: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    class Broken(SqliteStore):
        _steps = (*STEPS, broken)

    with pytest.raises(KeyboardInterrupt):
        Broken(path).open(new_session())
    assert not path.exists()

    store = SqliteStore(path)
    store.open(new_session())
    store.close()
    assert not Path(f"{path}.new").exists()


# Files that were damaged ------------------------------------------------------------------


@pytest.fixture
def full(path: Path) -> bytes:
    """A closed file with something in every table; its bytes."""
    store = SqliteStore(path)
    store.open(new_session())
    for run in ("run", "other"):
        owned = store.acquire(run, 0.0)
        commit(store, owned, 1, cut=bytes(range(256)) * 64, full=True)
        letters = [
            DeadRow(0, f"m{n}", "p", "r", "e", "t", "tb", 1, 1.0, 0, b"x" * 300) for n in range(40)
        ]
        results = [(f"item-{n}", b"result" * 20) for n in range(100)]
        commit(store, owned, 2, dead=letters, results=results, blame={"m": 1}, identity=("a",))
    store.close()
    return path.read_bytes()


def all_of(path: Path) -> Any:
    """Everything a store holds, seen through every verb that reads; then closed."""
    store = SqliteStore(path)
    store.open(Session(b"0" * 16, "laboratory", 1))
    try:
        found = [
            (
                run,
                store.acquire(run, 0.0, resume="auto"),
                store.load(run),
                store.results(run),
                store.dead(DeadQuery(run=run)),
            )
            for run in ("run", "other")
        ]
        return found, store.runs()
    finally:
        store.die()


def damaged(path: Path, content: bytes) -> Any:
    """What a store says over *content*: all of it, or that it is corrupt."""
    for each in path.parent.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
    path.write_bytes(content)
    try:
        return all_of(path)
    except StoreCorrupt as error:
        return "corrupt" if str(path) in str(error) else error
    except ActorFlowError as error:
        return error


def test_no_damaged_page_makes_a_run_begin_anew_or_answer_otherwise(
    path: Path, full: bytes
) -> None:
    whole = damaged(path, full)
    assert whole[0][0][1].number == 2
    page = 4096
    for at in range(0, len(full), page):
        for filling in (b"\x00", b"\xff", b"\x0d"):
            answer = damaged(path, full[:at] + filling * page + full[at + page :])
            assert answer in ("corrupt", whole), (at // page, filling)


def test_no_flipped_bit_of_a_body_goes_unnoticed(path: Path, full: bytes) -> None:
    body = bytes(range(256))
    for at in (full.index(body), full.index(b"result" * 20), full.index(b"x" * 300)):
        flipped = bytes([full[at + 50] ^ 4])
        assert damaged(path, full[: at + 50] + flipped + full[at + 51 :]) == "corrupt"


def test_no_file_that_was_cut_off_begins_anew(path: Path, full: bytes) -> None:
    for length in (0, 1, 50, 99, 100, 1000, *range(4096, len(full), 4096), len(full) - 1):
        assert damaged(path, full[:length]) == "corrupt", length


def test_a_missing_cut_is_corrupt(path: Path, full: bytes) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute("DELETE FROM cut WHERE number = 1")
    db.close()

    store = SqliteStore(path)
    store.open(new_session())
    with pytest.raises(StoreCorrupt, match=r"run 'run': of its cuts up to 2 only \[2\] are there"):
        store.load("run")
    store.close()


# The schema -------------------------------------------------------------------------------


def second(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE mark (run INTEGER) STRICT")
    db.execute("INSERT INTO mark SELECT key FROM run")


class Next(SqliteStore):
    """A later release, whose schema has one more table."""

    _steps = (*STEPS, second)


def test_an_older_schema_is_upgraded_and_keeps_what_it_holds(path: Path, full: bytes) -> None:
    store = Next(path)
    store.open(new_session())

    assert connection(store).execute("SELECT count(*) FROM mark").fetchone() == (2,)
    assert connection(store).execute("SELECT version FROM meta").fetchall() == [(3,)]
    assert store.acquire("run", 0.0).number == 2
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(path: Path, full: bytes) -> None:
    later = Next(path)
    later.open(new_session())
    later.close()
    before = path.read_bytes()

    with pytest.raises(SchemaTooNew, match="has version 3, this release knows 2") as caught:
        SqliteStore(path).open(new_session())

    assert (caught.value.found, caught.value.known) == (3, 2)
    assert path.read_bytes() == before


def test_a_newer_schema_with_other_tables_is_no_damage(path: Path, full: bytes) -> None:
    def renamed(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE run RENAME TO runs")

    class Renaming(SqliteStore):
        _steps = (*STEPS, renamed)

    later = Renaming(path)
    later.open(new_session())
    later.close()

    with pytest.raises(SchemaTooNew, match="has version 3, this release knows 2"):
        SqliteStore(path).open(new_session())


def test_an_upgrade_that_fails_leaves_the_old_schema(path: Path, full: bytes) -> None:
    def third(db: sqlite3.Connection) -> None:
        db.execute("SELECT * FROM nowhere")

    class Failing(Next):
        _steps = (*Next._steps, third)

    with pytest.raises(StoreError, match="no such table: nowhere"):
        Failing(path).open(new_session())

    store = SqliteStore(path)
    store.open(new_session())
    assert store.acquire("run", 0.0).number == 2
    store.close()


@pytest.mark.parametrize("damage", ["DELETE FROM meta", "DROP TABLE meta", "DROP TABLE run"])
def test_a_file_without_its_version_or_runs_is_corrupt(
    path: Path, full: bytes, damage: str
) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(damage)
    db.close()

    with pytest.raises(StoreCorrupt):
        SqliteStore(path).open(new_session())


def test_an_sqlite_that_is_too_old_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))

    with pytest.raises(StoreError, match=r"it must be at least 3\.37\.0"):
        SqliteStore(path).open(new_session())
