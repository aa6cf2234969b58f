"""Tell observers what becomes of the items of a run.

Nothing here is called unless somebody wants to hear of items: whoever calls looks at
`Kernel.watched` first. A batch stands for several items, and each is told of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from actorflow.core.envelope import Envelope, message_id
from actorflow.core.events import (
    ItemAccepted,
    ItemDone,
    ItemEnded,
    ItemEvent,
    ItemFailed,
    ItemOut,
    ItemRetried,
    ItemReturned,
    ItemSkipped,
    ItemStarted,
)
from actorflow.core.letters import DeadLetter
from actorflow.runtime.cell import Cell

__all__ = [
    "owners",
    "tell_accepted",
    "tell_ended",
    "tell_failed",
    "tell_moved",
    "tell_out",
    "tell_retried",
    "tell_returned",
    "tell_skipped",
    "tell_started",
]


def tell_accepted(ledger: Any, envelope: Envelope, path: str) -> None:
    """*envelope* is fed to the stage at *path*."""
    _tell(ledger, envelope, ItemAccepted, stage=_name(path))


def tell_started(cell: Cell, envelope: Envelope) -> None:
    """*cell* has leased *envelope*."""
    _tell_of_turn(cell, envelope, ItemStarted, attempt=envelope.attempt)


def tell_moved(cell: Cell, envelope: Envelope, sent: int) -> None:
    """A turn has ended well; *sent* messages go on, beside those a generator has sent before."""
    values = sent + envelope.emitted
    if values:
        _tell_of_turn(cell, envelope, ItemDone, attempt=envelope.attempt, values=values)
    else:
        tell_skipped(cell, envelope)


def tell_skipped(cell: Cell, envelope: Envelope) -> None:
    """Nothing goes on."""
    _tell_of_turn(cell, envelope, ItemSkipped, attempt=envelope.attempt)


def tell_retried(cell: Cell, envelope: Envelope, error: BaseException, delay: float) -> None:
    """A turn has failed and the message is tried again."""
    attempt = envelope.attempt
    _tell_of_turn(cell, envelope, ItemRetried, attempt=attempt, error=error, delay=delay)


def tell_returned(cell: Cell, envelope: Envelope) -> None:
    """The lease goes back, its attempt given back."""
    _tell_of_turn(cell, envelope, ItemReturned)


def tell_failed(ledger: Any, envelope: Envelope, letter: DeadLetter) -> None:
    """*envelope* has ended as *letter*."""
    facts = {"reason": letter.reason, "error": letter.error, "attempts": letter.attempts}
    _tell(ledger, envelope, ItemFailed, stage=letter.stage_or_actor, **facts)


def tell_out(ledger: Any, envelope: Envelope) -> None:
    """A value has come out; a whole item has ended by that."""
    _tell(ledger, envelope, ItemOut, stage=ledger.leaving)
    if envelope.item is None:
        tell_ended(ledger, envelope.root, "done")


def tell_ended(ledger: Any, number: int, status: Literal["done", "skipped", "failed"]) -> None:
    """Nothing of item *number* is left."""
    kernel = ledger.kernel
    if kernel.takers(ItemEnded):
        item = ledger.ids.get(number, number)
        facts: dict[str, Any] = {"item": item, "number": number, "message_id": str(number)}
        kernel.emit(ItemEnded(at=kernel.now(), status=status, **facts))


def owners(envelope: Envelope) -> Iterator[int]:
    """The numbers of the items that *envelope* is of: more than one if it is a batch."""
    item = envelope.item
    while (group := getattr(item, "group", None)) is not None:
        item = group.origin.item
    members = getattr(item, "members", None)
    if members is None:
        yield envelope.root
    else:
        for member in members:
            yield from owners(member)


def _tell_of_turn(cell: Cell, envelope: Envelope, kind: type[ItemEvent], **facts: Any) -> None:
    stage = _name(cell.mailbox.path)
    _tell(cell.mailbox.ledger, envelope, kind, stage=stage, worker=cell.path, **facts)


def _tell(ledger: Any, envelope: Envelope, kind: type[ItemEvent], **facts: Any) -> None:
    kernel = ledger.kernel
    if kernel.takers(kind):
        at, name = kernel.now(), message_id(envelope)
        for number in owners(envelope):
            item = ledger.ids.get(number, number)
            kernel.emit(kind(item=item, number=number, message_id=name, at=at, **facts))


def _name(path: str) -> str:
    return path.rpartition("/")[2]
