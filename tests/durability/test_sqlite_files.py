"""The file of a store under whoever uses it: deleted, moved, replaced, or looked at by others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import actorflow
from actorflow import Pipeline, StoreError, stage
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.sqlite_files import _connections
from actorflow.durability.store import Change
from actorflow.errors import CommitFailed, StoreCorrupt
from actorflow.testing import new_session
from actorflow.wire.snapshot import write_cut

#: For a child that only looks into the store.
LOOKING = """
import sys
from actorflow.durability.sqlite import SqliteStore
from actorflow.testing import new_session
store = SqliteStore(sys.argv[1])
store.open(new_session())
print([(row.run, row.number) for row in store.runs()])
store.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def opened(path: Path) -> SqliteStore:
    made = SqliteStore(path)
    made.open(new_session())
    return made


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = opened(path)
    yield made
    made.close()


def change(number: int) -> Change:
    data = write_cut(number, number == 1, 1.0, [])
    return Change(run="r", epoch=1, number=number, cut=data, full=number == 1)


def looked_at(path: Path) -> str:
    """What another process sees that opens the store and closes it."""
    folder = str(Path(actorflow.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LOOKING, str(path)],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def tmp_files(path: Path) -> list[Path]:
    """The files of the database itself."""
    return [each for each in path.parent.glob("run.db*") if each.suffix.startswith(".db")]


def delete(path: Path) -> None:
    for each in path.parent.glob("run.db*"):
        if each.is_file():
            each.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def delete_log(path: Path) -> None:
    path.with_name("run.db-wal").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (delete, "run.db was deleted or moved while it was in use"),
        (move, "run.db was deleted or moved while it was in use"),
        (replace, "run.db was replaced by another file while it was in use"),
        (delete_log, "run.db-wal was deleted or moved while it was in use"),
    ],
)
def test_nothing_is_committed_into_a_file_that_is_gone(
    store: SqliteStore, path: Path, harm: Callable[[Path], None], words: str
) -> None:
    store.acquire("r", 1.0)
    store.commit(change(1))
    harm(path)

    with pytest.raises(StoreError) as caught:
        store.commit(change(2))

    assert not isinstance(caught.value, CommitFailed)  # Trying again is in vain.
    assert str(caught.value) == (
        f"store sqlite:///{path}: {path.parent}/{words}, so nothing is kept any more; bring it "
        "back together with its -wal and start again, or begin with a new one"
    )


def test_a_file_that_goes_while_a_commit_is_on_its_way_is_told(
    store: SqliteStore, path: Path
) -> None:
    store.acquire("r", 1.0)
    link = store._link
    assert link is not None

    with pytest.raises(StoreError, match="was deleted or moved"), link.writing():
        delete(path)


def test_a_file_that_is_back_is_gone_on_with(store: SqliteStore, path: Path) -> None:
    store.acquire("r", 1.0)
    move(path)
    with pytest.raises(StoreError):
        store.commit(change(1))
    path.with_name("moved.db").rename(path)

    store.commit(change(1))

    assert store.number("r") == 1


def test_a_file_that_cannot_be_looked_at_is_waited_for(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.acquire("r", 1.0)

    def fails(path: Any) -> Any:
        raise OSError(5, "Input/output error", path)

    with monkeypatch.context() as patch:
        patch.setattr("actorflow.durability.sqlite_files._identity", fails)
        with pytest.raises(CommitFailed) as caught:
            store.commit(change(1))

    assert (caught.value.reason, caught.value.unknown) == ("io", True)
    store.commit(change(1))


def test_a_second_store_in_one_process_does_not_cost_the_first_its_locks(
    store: SqliteStore, path: Path
) -> None:
    store.acquire("r", 1.0)
    other = opened(path)
    other.close()

    assert looked_at(path) == "[('r', 0)]"  # Without locks it takes the log along.
    store.commit(change(1))
    store.die()

    assert looked_at(path) == "[('r', 1)]"


def test_a_file_is_looked_at_again_when_nobody_in_this_process_has_it_open(path: Path) -> None:
    first, second = opened(path), opened(path)
    first.close()
    second.close()
    assert not _connections
    path.write_text("no database any more, and it was long enough for one" * 4)

    with pytest.raises(StoreCorrupt, match="is no SQLite database"):
        opened(path)


@stage
async def same(number: int) -> int:
    return number


async def test_a_run_whose_store_is_deleted_fails_and_accepts_nothing_more(path: Path) -> None:
    flow: Pipeline[int, int] = Pipeline([same], name="f")
    run = flow.open(store=f"sqlite:///{path}", run_id="r", sink=lambda value: None)

    async def go() -> None:
        async with run:
            await run.feed([1, 2])
            delete(path)
            await run.feed([3])

    with pytest.raises(StoreError, match=r"run\.db was deleted or moved while it was in use"):
        await go()
    assert run.report is not None
    assert run.report.counts["fed"] <= 3
    assert [each.name for each in tmp_files(path)] == []
