"""What a turn says of itself, for those who watch: a text, and how far it is.

It is of one attempt, and kept in one tuple, so that another thread may say it too.
"""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import Envelope, message_id
from actorflow.core.events import StatusSet
from actorflow.errors import ConfigurationError
from actorflow.runtime.cell import Cell

__all__ = ["say_progress", "say_status"]

#: Most characters of a status that are kept.
STATUS_WIDTH = 200


def say_status(cell: Cell, envelope: Envelope, text: str) -> None:
    """Say what the turn of *envelope* is doing."""
    _, done, total = _said(cell, envelope)
    _say(cell, envelope, str(text)[:STATUS_WIDTH], done, total)


def say_progress(cell: Cell, envelope: Envelope, done: float, total: float | None) -> None:
    """Say how far it is.

    Raises:
        ConfigurationError: One is no number, or below 0.
    """
    for name, value in (("done", done), ("total", 0 if total is None else total)):
        if type(value) not in (int, float) or not value >= 0:
            raise ConfigurationError(f"ctx.progress() {name}", value, "a number, 0 or more")
    _say(cell, envelope, _said(cell, envelope)[0], done, total)


def _said(cell: Cell, envelope: Envelope) -> tuple[Any, ...]:
    """What it has said so far: text, done, total."""
    said = None if cell.work is None else cell.work.said
    if said is None or said[:3] != (envelope.root, envelope.path, envelope.attempt):
        return "", None, None
    return tuple(said[3:])


def _say(
    cell: Cell, envelope: Envelope, text: str, done: float | None, total: float | None
) -> None:
    if cell.work is not None:  # One store, so that it may be another thread's.
        cell.work.said = (envelope.root, envelope.path, envelope.attempt, text, done, total)
    if cell.kernel.observers and cell.kernel.takers(StatusSet):
        event = StatusSet(cell.path, message_id(envelope), text, done, total)
        cell.kernel.emit_from_anywhere(event)
