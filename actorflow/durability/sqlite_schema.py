"""The file of an `SqliteStore`: how it is made, recognised, connected to and upgraded.

    no file ──► made aside, renamed into place      so there is never half a file
    a file  ──► header ──► connect ──► runs whole? ──► upgrade, step by step, or refuse

A file that exists is never begun anew: an empty one, one of another program and one that
cannot be read are refused as they are.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from actorflow.durability.sqlite_errors import corrupt
from actorflow.durability.sqlite_files import first_bytes
from actorflow.errors import SchemaTooNew, StoreCorrupt, StoreError

__all__ = ["STEPS", "Step", "check_file", "connect", "create", "upgrade"]

#: Takes the schema from one version to the next, inside a transaction that others own.
Step: TypeAlias = Callable[[sqlite3.Connection], None]

#: In the header of every file of ours: "AFLW". No other program's file is touched.
APPLICATION_ID = 0x41464C57

MAGIC = b"SQLite format 3\x00"
HEADER_BYTES = 100

#: STRICT tables; RETURNING is older.
LEAST_SQLITE = (3, 37, 0)

#: Pages in the log after which a commit copies them into the file: 4 MB.
CHECKPOINT_PAGES = 1000

#: To which the log is cut after one huge commit, in bytes.
LOG_BYTES = 64 * 1024 * 1024

#: Prepared statements kept; those of blocks are large.
CACHED_STATEMENTS = 48

_TABLES = (
    "CREATE TABLE meta (version INTEGER NOT NULL) STRICT",
    "INSERT INTO meta (version) VALUES (0)",
    """CREATE TABLE session (
        id BLOB PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, boot TEXT NOT NULL,
        beat REAL NOT NULL, lease REAL NOT NULL, ticks INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # `results` and `dead` are the last numbers given; those of purged letters stay given.
    """CREATE TABLE run (
        key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
        epoch INTEGER NOT NULL, session BLOB, number INTEGER NOT NULL,
        results INTEGER NOT NULL, dead INTEGER NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL,
        version TEXT NOT NULL, flow TEXT NOT NULL, identity TEXT NOT NULL, report BLOB
    ) STRICT""",
    "CREATE INDEX run_session ON run (session) WHERE session IS NOT NULL",
    # `crc` is of the bytes: SQLite itself does not notice a bit that flips in a value.
    """CREATE TABLE cut (
        run INTEGER NOT NULL, number INTEGER NOT NULL, full INTEGER NOT NULL,
        body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (run, number)
    ) STRICT""",
    """CREATE TABLE result (
        run INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,
        body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (run, seq)
    ) STRICT""",
    """CREATE TABLE dead (
        run INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, place TEXT NOT NULL,
        reason TEXT NOT NULL, error TEXT NOT NULL, text TEXT NOT NULL, traceback TEXT NOT NULL,
        attempts INTEGER NOT NULL, at REAL NOT NULL, replays INTEGER NOT NULL,
        body BLOB NOT NULL, facts BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (run, seq)
    ) STRICT""",
    """CREATE TABLE blame (
        run INTEGER NOT NULL, id TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (run, id)
    ) STRICT, WITHOUT ROWID""",
)


def first(db: sqlite3.Connection) -> None:
    """From nothing to version 1."""
    for statement in _TABLES:
        db.execute(statement)


def second(db: sqlite3.Connection) -> None:
    """To version 2: a run was taken from an owner who may be alive, and has taken no cut since."""
    db.execute("ALTER TABLE run ADD COLUMN doubted INTEGER NOT NULL DEFAULT 0")


#: The step at place *n* leads to version *n* + 1; a new version is one more function here.
STEPS: Sequence[Step] = (first, second)


def check_file(url: str, path: str) -> bool:
    """Whether the file is there; nothing is touched.

    Raises:
        StoreError: It is a folder, its folder is missing, or SQLite is too old.
        StoreCorrupt: It is empty or cut off, or no file of ours.
        OSError: It cannot be looked at.
    """
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        found, least = sqlite3.sqlite_version, ".".join(map(str, LEAST_SQLITE))
        raise StoreError(url, f"Python's SQLite is {found}, it must be at least {least}")
    if os.path.isdir(path):
        raise StoreError(url, f"{path} is a folder; give the path of a file")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StoreError(url, f"there is no folder {folder}; make it first")
    try:
        header = first_bytes(path, HEADER_BYTES)
    except FileNotFoundError:
        return False
    if header is None:
        return True
    if not header:
        raise StoreCorrupt(
            url, f"{path} is empty, a store never is; restore it, or delete it to begin anew"
        )
    if not header.startswith(MAGIC[: len(header)]):
        raise StoreCorrupt(url, f"{path} is no SQLite database; give the path of another file")
    if len(header) < HEADER_BYTES:
        raise corrupt(url, f"{path} is cut off after {len(header)} bytes")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreCorrupt(
            url, f"{path} is the database of another program; give the path of another file"
        )
    return True


def create(url: str, path: str, steps: Sequence[Step]) -> None:
    """Make the file, whole or not at all; for one process at a time.

    Raises:
        StoreCorrupt: The log of a file that is gone lies there; it would be read into ours.
        OSError, sqlite3.Error: It cannot be made.
    """
    log = f"{path}-wal"
    if os.path.exists(log) and os.path.getsize(log):
        raise StoreCorrupt(
            url, f"{path} is gone but its log {log} is not; restore the file, or delete the log"
        )
    aside = f"{path}.new"
    for left in (aside, f"{aside}-wal", f"{aside}-shm", f"{aside}-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left)
    with contextlib.closing(sqlite3.connect(aside, isolation_level=None)) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise StoreError(url, f"{path} cannot have a write-ahead log; use a local disk")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        upgrade(url, db, steps)
        db.execute("COMMIT")
    os.rename(aside, path)
    _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    """Make the name durable: syncing a file does not sync that it is there."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def connect(
    url: str,
    path: str,
    synchronous: str,
    wait: float,
    factory: type[sqlite3.Connection],
    steps: Sequence[Step],
) -> sqlite3.Connection:
    """A connection to a file that must be there, with all its settings.

    Raises:
        sqlite3.Error: It cannot be opened, or is malformed.
        SchemaTooNew: A later release wrote it.
        StoreCorrupt: What is known of the runs is not whole.
    """
    db = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw",
        uri=True,
        timeout=wait,  # For foreign writers; ours take turns.
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
        factory=factory,
    )
    try:
        if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise StoreError(url, f"{path} cannot have a write-ahead log; use a local disk")
        for setting in (
            f"synchronous = {synchronous}",
            f"fullfsync = {int(synchronous == 'FULL')}",  # Else macOS does not sync.
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {LOG_BYTES}",
            "secure_delete = FAST",  # Some builds overwrite every deleted cut with zeros.
            "temp_store = MEMORY",
            "cell_size_check = ON",
            "trusted_schema = OFF",
        ):
            db.execute(f"PRAGMA {setting}").fetchall()
        known_version(url, db, steps)  # Its tables may have other names.
        _check_runs(url, db)
    except BaseException:
        db.close()
        raise
    return db


def _check_runs(url: str, db: sqlite3.Connection) -> None:
    """A run that is there but not found would begin anew, so both ways to it must agree."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'run'").fetchone() is None:
        raise corrupt(url, "its table of runs is gone")
    found = [text for (text,) in db.execute("PRAGMA integrity_check(run)").fetchall()]
    if found != ["ok"]:
        raise corrupt(url, f"its table of runs is damaged: {found[0]}")


def upgrade(url: str, db: sqlite3.Connection, steps: Sequence[Step]) -> None:
    """Lead the schema to the latest version, in the transaction that is open.

    Raises:
        SchemaTooNew: A later release wrote it.
        StoreCorrupt: It has no version.
    """
    found = known_version(url, db, steps)
    for step in steps[found:]:
        step(db)
    if found < len(steps):
        db.execute("UPDATE meta SET version = ?", (len(steps),))


def known_version(url: str, db: sqlite3.Connection, steps: Sequence[Step]) -> int:
    """The version of the schema.

    Raises:
        SchemaTooNew: A later release wrote it.
        StoreCorrupt: It has no version.
    """
    found = _version(url, db)
    if found > len(steps):
        raise SchemaTooNew(url, found, len(steps))
    return found


def _version(url: str, db: sqlite3.Connection) -> int:
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    names = {name for (name,) in db.execute(tables).fetchall()}
    if not names:
        return 0
    rows = db.execute("SELECT version FROM meta").fetchall() if "meta" in names else []
    if len(rows) != 1:
        raise corrupt(url, "it does not say which version its schema has")
    return int(rows[0][0])
