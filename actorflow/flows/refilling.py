"""Put what a cut holds back where it was: every message into its lane, every item together.

    record ──► its stage's mailbox     the lane, the order and the attempts it had
           └─► the outlet              it had come out and not been written: written again

What this process cannot read (a tag nobody has, a stage that is gone) becomes a dead
letter with its bytes; the rest goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.core.envelope import Envelope
from actorflow.durability.records import messages_of
from actorflow.errors import DecodeError, StoreCorrupt
from actorflow.flows.keeping import KeepingLedger
from actorflow.flows.ledger import Item
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.refill import Mail, refill
from actorflow.wire.snapshot import Cut

__all__ = ["Place", "refill_run"]


@attrs.frozen(kw_only=True)
class Place:
    """Where a run's messages go.

    Attributes:
        run_id: Of the run.
        url: Of its store.
        ledger: The run's account, which knows how many items are held.
        boxes: The stages' mailboxes by path.
        outlet: Path of the way out.
        renamed: New paths of stages by their old ones.
    """

    run_id: str
    url: str
    ledger: KeepingLedger
    boxes: Mapping[str, Mailbox]
    outlet: str
    renamed: Mapping[str, str]


def refill_run(place: Place, state: Cut, facts: Mapping[str, Any]) -> list[Envelope]:
    """Refill the mailboxes of a run from *state*; answers what is to be written again, in order.

    Args:
        place: The run's mailboxes and account.
        state: What its cuts add up to; its messages are used up.
        facts: Its facts, decoded.

    Raises:
        StoreCorrupt: The messages and the account of items contradict each other.
    """
    ledger = place.ledger
    unread: list[tuple[Envelope, Exception]] = []
    post = _read_all(place, state, _items(ledger, facts), unread)
    everything = (envelope for mail in post.values() for envelope in mail.envelopes())
    top = max((abs(envelope.order) for envelope in everything), default=0)
    ledger.journal.begin_after(state.number, top)
    out = post.pop(place.outlet)
    for path, mail in post.items():
        mailbox = place.boxes.get(place.renamed.get(path, path))
        if mailbox is None:
            gone = DecodeError(f"the flow has no stage {path!r} any more", path)
            unread += ((envelope, gone) for envelope in mail.envelopes())
            continue
        refill(mailbox, mail)
        if ledger.journal.careful is not None:
            ledger.journal.careful.restored(mail.envelopes())
    for envelope, fault in sorted(unread, key=lambda pair: pair[0].order):
        ledger.give_up(envelope, "unknown_schema", fault, "restore")
    return sorted(out.envelopes(), key=lambda envelope: envelope.order)


def _items(ledger: KeepingLedger, facts: Mapping[str, Any]) -> dict[int, Item]:
    """What the pieces of each item that has split have in common; ids come back on the way."""
    items: dict[int, Item] = {}
    for key, fact in facts.items():
        kind, _, number = key.partition("/")
        if kind == "item":
            item = items[int(number)] = Item()
            item.pieces = 0
            item.out, item.dead = fact
        elif kind == "name":
            ledger.ids[int(number)] = fact
    return items


def _read_all(
    place: Place,
    state: Cut,
    items: dict[int, Item],
    unread: list[tuple[Envelope, Exception]],
) -> dict[str, Mail]:
    """The messages by the path of their mailbox; those that cannot be read go to *unread*."""
    now = place.ledger.kernel.now()
    ahead = place.ledger.kernel.ports.wall() - now
    post = {path: Mail() for path in (*place.boxes, place.outlet)}
    outlet, number, whole = place.outlet, state.number, 0
    for envelope, record, fault in messages_of(state.messages, now, ahead):
        envelope.stored = number
        path = record.box
        if path != outlet:
            if items and envelope.root in items:
                envelope.item = items[envelope.root]
                envelope.item.pieces += 1
            else:
                whole += 1
        if fault is not None:
            unread.append((envelope, fault))
        else:
            if path not in post:  # Of a stage that has another name now, or is gone.
                post[path] = Mail()
            post[path].add(envelope, record)
    _check(place, whole + sum(item.pieces > 0 for item in items.values()))
    return post


def _check(place: Place, found: int) -> None:
    """The law of conservation, at the one place where it can be lost unseen."""
    if found != place.ledger.held:
        text = f"run {place.run_id!r} holds {place.ledger.held} items, its cut has {found}"
        raise StoreCorrupt(place.url, text)
