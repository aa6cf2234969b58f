"""What SQLite and the system say, in our words: what is wrong, and what to do.

Result codes: https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import errno
import sqlite3

from actorflow.errors import CommitFailed, StoreCorrupt, StoreError

__all__ = ["corrupt", "from_os", "from_sqlite"]

_REASONS = {
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_PERM: "readonly",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_CANTOPEN: "io",
}

_ERRNO_REASONS = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "readonly",
    errno.EACCES: "readonly",
    errno.EPERM: "readonly",
}

_ADVICE = {
    "full": "make room on its disk",
    "readonly": "make the file and its folder writable",
    "busy": "somebody else writes for too long; end it, or try again",
    "io": "look at its disk, and whether the file is still there",
}

#: A COMMIT that ends so was not begun, or was rolled back by SQLite before it said so.
#: After an I/O error the log may hold it nevertheless.
_CERTAIN = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
}

_MALFORMED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def from_sqlite(url: str, error: sqlite3.Error, *, committing: bool = False) -> StoreError:
    """Our error for the driver's.

    Args:
        url: The store.
        error: What the driver raised.
        committing: Whether COMMIT itself raised it.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _MALFORMED or "Could not decode" in str(error):
        return corrupt(url, str(error))
    reason = _REASONS.get(primary) if primary is not None else None
    if reason is None and committing:
        reason = "io"
    if reason is None:
        return StoreError(url, str(error))
    unknown = committing and primary not in _CERTAIN
    return CommitFailed(url, f"{error}; {_ADVICE[reason]}", reason, unknown=unknown)


def from_os(url: str, error: OSError) -> CommitFailed:
    """Our error for the system's."""
    reason = _ERRNO_REASONS.get(error.errno or 0, "io")
    return CommitFailed(url, f"{error}; {_ADVICE[reason]}", reason)


def corrupt(url: str, detail: str) -> StoreCorrupt:
    """What cannot be read is kept as it is, and people are told what they can do."""
    return StoreCorrupt(
        url,
        f"{detail}; nothing was changed. Copy the file with its -wal, then restore a backup "
        "or try `sqlite3 FILE .recover`",
    )
