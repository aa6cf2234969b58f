"""Say which output an error of the disk is about, and what helps.

The system names the file of what it cannot open, but not of what it cannot write: an
`OSError` of a `write` or an `fsync` has no `filename`. It gets one here and stays the error
it was, and a note says what to do.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

__all__ = ["naming"]

_HELP = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of files",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.EIO: "look at its disk",
}

_GO_ON = "and start again; a run in a store goes on with the same command, and nothing is lost"


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Let an `OSError` that leaves here say that it is about the output *name*."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = name
        note = f"{name}: {_HELP[error.errno]} {_GO_ON}" if error.errno in _HELP else None
        if note is not None and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise
