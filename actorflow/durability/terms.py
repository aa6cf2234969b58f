"""What all stores hold alike: what a change must look like, whose a run is, which text is kept.

A store decides none of this by itself, so that every one answers the same.
"""

from __future__ import annotations

import math

from actorflow.durability.store import Change, DeadRow
from actorflow.errors import StoreError

__all__ = [
    "check_change",
    "lease_over",
    "matching_text",
    "owner_name",
    "storable",
    "storable_row",
    "wrong_number",
]


def check_change(url: str, change: Change) -> None:
    """Refuse a change that contradicts itself, before anything is written.

    Raises:
        StoreError: A cut without its number or the other way round, nothing to be kept, a report
            for a run that goes on, or a time that is no number.
    """
    wrong = ""
    if (change.number is None) != (change.cut is None):
        wrong = "a cut and its number go together"
    elif change.full and change.cut is None:
        wrong = "only a cut can be full"
    elif change.keep < 1:
        wrong = f"at least the last state is kept, got keep={change.keep}"
    elif change.report is not None and change.status in (None, "running"):
        wrong = "a report goes with the status that ends the run"
    elif not math.isfinite(change.at):
        wrong = f"the time of a change must be finite, got {change.at!r}"
    if wrong:
        raise StoreError(url, f"run {change.run!r}: {wrong}")


def wrong_number(url: str, run: str, number: int | None, last: int) -> StoreError:
    """The error for a cut that does not follow the last one."""
    return StoreError(url, f"run {run!r}: after cut {last} comes {last + 1}, got {number}")


def lease_over(beat: float, lease: float, now: float) -> bool:
    """Whether a session that was last renewed at *beat* may be taken for gone."""
    return now >= beat + lease


def owner_name(host: str, pid: int) -> str:
    """How an owner is named to people."""
    return f"process {pid} on {host}"


def storable(text: str) -> str:
    r"""*text* with lone surrogates written as ``\udc80``: what no database takes as text.

    They come from file names and from error texts that quote them. A dead letter must not be
    lost, nor a run be held up, for the sake of one character.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def matching_text(text: str | None) -> str | None:
    """*text* of a query as `storable` has written it."""
    return None if text is None else storable(text)


def storable_row(row: DeadRow, seq: int) -> DeadRow:
    """*row* with its number, and only text that can be stored."""
    return DeadRow(
        seq,
        storable(row.id),
        storable(row.place),
        storable(row.reason),
        storable(row.error),
        storable(row.text),
        storable(row.traceback),
        row.attempts,
        row.at,
        row.replays,
        row.body,
        row.facts,
    )
