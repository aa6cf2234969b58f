"""From the records of a cut to the messages they were."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping
from typing import Any

from actorflow.core.envelope import Envelope, address
from actorflow.core.letters import Unreadable
from actorflow.errors import DecodeError
from actorflow.wire.codec import decode
from actorflow.wire.frozen import FROZEN, is_frozen
from actorflow.wire.snapshot import Key, Record, read_bodies, read_records

__all__ = ["address", "messages_of", "without_garbage"]

#: Messages read at a time.
CHUNK = 1024


@contextlib.contextmanager
def without_garbage() -> Iterator[None]:
    """Look for no garbage meanwhile: millions of messages are made and none is dropped, so that
    each look is longer than the one before and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def messages_of(
    messages: dict[Key, bytes | None], now: float, ahead: float
) -> Iterator[tuple[Envelope, Record, DecodeError | None]]:
    """Each message of a cut with its record, and why it cannot be read if it cannot.

    Args:
        messages: Of the cut; used up on the way, as there may be millions.
        now: Monotonic seconds.
        ahead: How much the wall clock is ahead of them.
    """
    while messages:
        chunk = [messages.popitem() for _ in range(min(CHUNK, len(messages)))]
        records = read_records([data for _, data in chunk if data is not None])
        bodies = read_bodies([record.body for record in records])
        for (key, _), record, body in zip(chunk, records, bodies, strict=True):
            fault = body if isinstance(body, DecodeError) else None
            if fault is not None:
                body = Unreadable(record.body, str(fault))
            envelope = Envelope(body, key) if type(key) is int else Envelope(body, *address(key))
            if type(body) not in FROZEN and (fault is not None or not is_frozen(body)):
                envelope.packed = record.body
            envelope.attempt = record.attempt
            envelope.order = record.order
            envelope.born = envelope.since = now
            if record.more:
                try:
                    _add(envelope, record.more, ahead)
                except DecodeError as error:
                    envelope.packed = record.body
                    fault = fault or DecodeError(f"its metadata: {error}")
            yield envelope, record, fault


def _add(envelope: Envelope, more: Mapping[str, Any], ahead: float) -> None:
    """Give *envelope* what was not as it usually is."""
    envelope.priority = more.get("priority", envelope.priority)
    envelope.emitted = more.get("emitted", 0)
    envelope.replays = more.get("replays", 0)
    if "until" in more:
        envelope.deadline = more["until"] - ahead
    if "since" in more:
        envelope.since = more["since"] - ahead
    if "headers" in more:
        envelope.headers = decode(more["headers"], max_bytes=None)
