"""Keep what a handler does to its message from spoiling the next attempt.

A frozen body is shared. Any other is packed when its mailbox accepts it, if it
may be delivered twice: the first delivery gets the object. When a turn has not used
it up, a fresh copy is made from the bytes, for the next delivery or the dead letter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.runtime.kernel import Kernel
from actorflow.wire.codec import decode, encode
from actorflow.wire.frozen import FROZEN, is_frozen

__all__ = ["FROZEN", "copied", "copier", "pack_body", "refresh_body"]

logger = logging.getLogger("actorflow")


def pack_body(
    envelope: Envelope, kernel: Kernel, path: str, *, shares: bool = True
) -> Exception | None:
    """Write down the body of *envelope* unless it is frozen.

    A body that cannot be written is shared between attempts, counted under
    ``shared_bodies``, and warned about once per type, unless *shares* is false: then its
    message is given up. Answers why it could not.
    """
    body = envelope.body
    if type(body) in FROZEN or is_frozen(body):
        return None
    try:
        envelope.packed = encode(body)
    except Exception as error:  # EncodeError, or whatever a type of the user's own raises.
        if shares:
            _tell_shared(body, kernel, path, error)
        return error
    return None


def copier(body: Any, kernel: Kernel, path: str) -> Callable[[], Any]:
    """What gives one copy of *body* after the other; of a frozen one, itself. One that cannot be
    written is shared, counted and warned about as in `pack_body`."""
    if type(body) in FROZEN or is_frozen(body):
        return lambda: body
    try:
        packed = encode(body)
    except Exception as error:
        _tell_shared(body, kernel, path, error)
        return lambda: body
    return lambda: decode(packed, max_bytes=None)


def as_sent(cell: Any, value: Any) -> Any:
    """*value* as it is now, for whoever is sent it while the turn of *cell* goes on.

    A stage gives a copy of what can still be changed, unless it says ``isolation="share"``. An
    actor's messages are shared.
    """
    if type(value) in FROZEN or not _copies(cell):
        return value
    if getattr(cell.target, "routed", False):
        return cell.target.with_copy(value, lambda patch: copier(patch, cell.kernel, cell.path)())
    return copier(value, cell.kernel, cell.path)()


def put_as_sent(cell: Any, way: Any, piece: Envelope) -> None:
    """Let *piece* go *way* with its body `as_sent`."""
    if type(piece.body) in FROZEN or not _copies(cell):
        way.put(piece)
        return
    packs = getattr(getattr(way, "target", way), "packs", False)
    if not packs:
        piece.body = copier(piece.body, cell.kernel, cell.path)()
    way.put(piece)
    if packs:  # That has packed it: once is enough.
        refresh_body(piece)


def put_as_fed(put: Callable[[Envelope], None], mailbox: Any, envelope: Envelope) -> None:
    """`put` a fed message into *mailbox*, which packs bodies: the caller keeps what it fed, a
    handler gets what was packed."""
    straight = put == mailbox.put
    if not straight:  # It waits for others before it is packed.
        envelope.body = copier(envelope.body, mailbox.kernel, mailbox.path)()
    put(envelope)
    if straight:
        refresh_body(envelope)


def _copies(cell: Any) -> bool:
    return not getattr(cell.parent, "shares", True)


def as_given(value: Any) -> Any:
    """*value* as it is now, of somebody who may give the same object again; what cannot be
    written is shared."""
    return value if type(value) in FROZEN else _copy(value)


def copied(facts: Mapping[str, Any]) -> dict[str, Any]:
    """*facts* with copies of what can be changed in them; what cannot be written is shared."""
    return {name: fact if type(fact) in FROZEN else _copy(fact) for name, fact in facts.items()}


def _copy(fact: Any) -> Any:
    if is_frozen(fact):
        return fact
    try:
        return decode(encode(fact, max_bytes=None), max_bytes=None)
    except Exception:  # EncodeError, or whatever a type of the user's own raises.
        return fact


def _tell_shared(body: Any, kernel: Kernel, path: str, error: Exception) -> None:
    kind = type(body)
    if not kernel.counters["shared_bodies"] or kernel.counters[f"shared:{kind}"] == 0:
        logger.warning("%s: messages are shared, not copied: %s", path, error)
    kernel.counters["shared_bodies"] += 1
    kernel.counters[f"shared:{kind}"] += 1


def refresh_body(envelope: Envelope) -> None:
    """Give *envelope* a body nobody has had before, if it was packed."""
    if envelope.packed is not None:
        envelope.body = decode(envelope.packed, max_bytes=None)
