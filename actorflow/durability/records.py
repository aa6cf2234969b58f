"""From a record of a cut to the message it was."""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import Envelope, Path
from actorflow.errors import DecodeError
from actorflow.wire.codec import decode
from actorflow.wire.frozen import FROZEN, is_frozen
from actorflow.wire.snapshot import Key, Record

__all__ = ["address", "envelope_of"]


def envelope_of(
    key: Key, record: Record, now: float, ahead: float
) -> tuple[Envelope, Exception | None]:
    """The message of a record, and why its body cannot be read if it cannot.

    Args:
        key: Of the record.
        record: What the cut has.
        now: Monotonic seconds.
        ahead: How much the wall clock is ahead of them.
    """
    fault: Exception | None = None
    body: Any = None
    try:
        body = decode(record.body, max_bytes=None)
    except DecodeError as error:
        fault = error
    envelope = Envelope(body, *address(key))
    if fault is not None or not (type(body) in FROZEN or is_frozen(body)):
        envelope.packed = record.body
    more = record.more
    envelope.attempt = record.attempt
    envelope.order = record.order
    envelope.born = envelope.since = now
    if more:
        envelope.priority = more.get("priority", envelope.priority)
        envelope.emitted = more.get("emitted", 0)
        envelope.replays = more.get("replays", 0)
        if "headers" in more:
            envelope.headers = decode(more["headers"], max_bytes=None)
        if "until" in more:
            envelope.deadline = more["until"] - ahead
        if "since" in more:
            envelope.since = more["since"] - ahead
    return envelope, fault


def address(key: Key) -> tuple[int, Path]:
    """Root and path of a message from its key."""
    if isinstance(key, int):
        return key, None
    root, *steps = key.split(".")
    path: Path = None
    for step in steps:
        path = (path, int(step))
    return int(root), path
