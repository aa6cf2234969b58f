"""Rows of an `SqliteStore`: many in one statement, and back into values.

A driver call gives up the interpreter lock and may wait for it as long as a switch interval,
so rows go in by blocks, each one statement. Blocks of 500 cost least: larger ones are parsed
for longer than they save.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from actorflow.durability.sqlite_errors import corrupt
from actorflow.durability.store import Change, CutRow, DeadQuery, DeadRow, ResultRow
from actorflow.durability.terms import storable

__all__ = [
    "DEAD_COLUMNS",
    "checksum",
    "cut_rows",
    "dead_row",
    "execute",
    "identity_lines",
    "result_row",
    "where",
    "write",
]

BLOCK_ROWS = 500

#: From here on `zlib` gives up the interpreter lock to compute a checksum.
UNLOCKED_BYTES = 5 * 1024


#: As `dead_row` reads them, after the run.
DEAD_COLUMNS = (
    "seq, dead.id, place, reason, error, text, traceback, attempts, at, replays, body, facts, crc"
)

_DEAD = (
    "INSERT INTO dead (run, seq, id, place, reason, error, text, traceback, attempts, at, "
    "replays, body, facts, crc)"
)

#: Cuts before the latest full one up to the first state that is kept.
_DROP = """
    DELETE FROM cut WHERE run = :run AND number < (
        SELECT number FROM cut WHERE run = :run AND full AND number <= :last
        ORDER BY number DESC LIMIT 1)
"""

Values: TypeAlias = Sequence[Any] | Mapping[str, Any]


def execute(db: sqlite3.Connection, sql: str, values: Values = ()) -> list[Any]:
    """Run one statement to its end; all rows it answers.

    Text that SQLite cannot take is written otherwise (`storable`); looked for only when the
    driver complains, because nearly no text is so.
    """
    try:
        return db.execute(sql, values).fetchall()
    except UnicodeEncodeError:
        return db.execute(sql, _clean(values)).fetchall()


def _clean(values: Values) -> Values:
    if isinstance(values, Mapping):
        return {name: storable(it) if isinstance(it, str) else it for name, it in values.items()}
    return [storable(it) if isinstance(it, str) else it for it in values]


def write(db: sqlite3.Connection, key: int, results: int, dead: int, change: Change) -> None:
    """The rows of a change, but for that of the run itself.

    Args:
        db: With an open transaction.
        key: Of the run.
        results: Number of its last result.
        dead: Number of its last dead letter.
        change: What to write.
    """
    if change.cut is not None:
        row = (key, change.number, int(change.full), change.cut, checksum(change.cut))
        _insert(db, "INSERT INTO cut (run, number, full, body, crc)", [row])
        if change.full and change.number is not None:
            execute(db, _DROP, {"run": key, "last": change.number - change.keep + 1})
    _insert(
        db,
        "INSERT INTO result (run, seq, id, body, crc)",
        [
            (key, seq, item, body, checksum(body))
            for seq, (item, body) in enumerate(change.results, results + 1)
        ],
    )
    _insert(db, _DEAD, _dead_values(key, dead, change.dead))
    _insert(
        db,
        "INSERT INTO blame (run, id, count)",
        [(key, item, count) for item, count in change.blame.items()],
        "ON CONFLICT DO UPDATE SET count = excluded.count",
    )
    # After the blame: of two changes made one, the later cleared.
    for block in _blocks(db, change.cleared, 2):
        marks = ", ".join("?" * len(block))
        execute(db, f"DELETE FROM blame WHERE run = ? AND id IN ({marks})", [key, *block])


def _insert(
    db: sqlite3.Connection, head: str, rows: Sequence[Sequence[Any]], tail: str = ""
) -> None:
    """``{head} VALUES (...), (...) {tail}`` for all *rows*, in blocks."""
    if not rows:
        return
    columns = len(rows[0])
    one = f"({', '.join('?' * columns)})"
    for block in _blocks(db, rows, columns):
        flat = [value for row in block for value in row]
        execute(db, f"{head} VALUES {', '.join([one] * len(block))} {tail}", flat)


def _blocks(db: sqlite3.Connection, rows: Sequence[Any], columns: int) -> Iterator[Sequence[Any]]:
    most = db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)  # 32,766; 999 in older builds.
    size = max(1, min(BLOCK_ROWS, most // columns))
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


def checksum(*bodies: bytes) -> int:
    """CRC-32 of the bytes one after another, without giving up the interpreter lock."""
    value = 0
    for body in bodies:
        if len(body) <= UNLOCKED_BYTES:
            value = zlib.crc32(body, value)
        else:
            view = memoryview(body)
            for at in range(0, len(body), UNLOCKED_BYTES):
                value = zlib.crc32(view[at : at + UNLOCKED_BYTES], value)
    return value


def _checked(url: str, what: str, crc: int, *bodies: bytes) -> None:
    if checksum(*bodies) != crc:
        raise corrupt(url, f"{what} is not what was written")


def cut_rows(url: str, run: str, number: int, cuts: Sequence[Sequence[Any]]) -> list[CutRow]:
    """*cuts* as ``(number, full, body, crc)``: from the first or a full one up to *number*.

    Raises:
        StoreCorrupt: One is missing, or is not what was written.
    """
    found = [at for at, *_ in cuts]
    begins = found[0] if found else 1
    whole = begins == 1 or bool(cuts[0][1])
    if not whole or found != list(range(begins, number + 1)):
        raise corrupt(url, f"run {run!r}: of its cuts up to {number} only {found} are there")
    for at, _, body, crc in cuts:
        _checked(url, f"run {run!r}: cut {at}", crc, body)
    return [CutRow(at, bool(full), body) for at, full, body, _ in cuts]


def result_row(url: str, seq: int, item: str, body: bytes, crc: int) -> ResultRow:
    _checked(url, f"result {seq}", crc, body)
    return ResultRow(seq, item, body)


def dead_row(url: str, row: Sequence[Any]) -> tuple[str, DeadRow]:
    """The pair for a row that begins with the run and ends with the checksum."""
    run, *values, crc = row
    letter = DeadRow(*values)
    _checked(url, f"run {run!r}: dead letter {letter.seq}", crc, letter.body, letter.facts)
    return run, letter


def _dead_values(key: int, last: int, rows: Iterable[DeadRow]) -> list[tuple[Any, ...]]:
    """Rows of the table, numbered from *last* on."""
    return [
        (
            key,
            seq,
            row.id,
            row.place,
            row.reason,
            row.error,
            row.text,
            row.traceback,
            row.attempts,
            row.at,
            row.replays,
            row.body,
            row.facts,
            checksum(row.body, row.facts),
        )
        for seq, row in enumerate(rows, last + 1)
    ]


def identity_lines(url: str, run: str, text: str) -> tuple[str, ...]:
    """What a flow is made of, as it was written."""
    try:
        lines = json.loads(text)
    except ValueError:
        raise corrupt(url, f"run {run!r}: the identity of its flow is damaged") from None
    return tuple(lines)


def where(query: DeadQuery) -> tuple[str, list[Any]]:
    """The condition for the dead letters that are meant, and its values."""
    conditions = ["true"]
    values: list[Any] = []
    if query.run is not None:
        conditions.append("dead.run = (SELECT key FROM run WHERE id = ?)")
        values.append(query.run)
    for column in ("place", "reason", "error", "id", "seq"):
        wanted = getattr(query, column)
        if wanted is not None:
            conditions.append(f"dead.{column} = ?")
            values.append(wanted)
    return " AND ".join(conditions), values
