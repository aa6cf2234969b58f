"""Put what a cut holds back where it was: every message into its lane, every item together.

    record ──► its stage's mailbox     the lane, the order and the attempts it had
           └─► the outlet              it had come out and not been written: written again

What this process cannot read (a tag nobody has, a stage that is gone) becomes a dead
letter with its bytes; the rest goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.core.envelope import Envelope
from actorflow.durability.records import envelope_of
from actorflow.errors import DecodeError, StoreCorrupt
from actorflow.flows.keeping import KeepingLedger
from actorflow.flows.ledger import Item
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.refill import refill
from actorflow.wire.snapshot import Cut, Record, read_record

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
        state: What its cuts add up to.
        facts: Its facts, decoded.

    Raises:
        StoreCorrupt: The messages and the account of items contradict each other.
    """
    ledger = place.ledger
    now = ledger.kernel.now()
    ahead = ledger.kernel.ports.wall() - now
    waiting: dict[Any, list[tuple[Envelope, Record]]] = {}
    out: list[tuple[Envelope, Record]] = []
    unread: list[tuple[Envelope, Record, Exception]] = []
    pieces: Counter[int] = Counter()
    while state.messages:
        key, data = state.messages.popitem()
        assert data is not None
        record = read_record(data)
        envelope, fault = envelope_of(key, record, now, ahead)
        envelope.stored = state.number
        if record.box == place.outlet:
            out.append((envelope, record))
            continue
        pieces[envelope.root] += 1
        box = place.boxes.get(place.renamed.get(record.box, record.box))
        if box is None:
            fault = DecodeError(f"the flow has no stage {record.box!r} any more", str(key))
        if fault is not None:
            unread.append((envelope, record, fault))
        else:
            waiting.setdefault(box, []).append((envelope, record))
    _check(place, pieces)
    _join(ledger, facts, pieces, (pair[0] for part in waiting.values() for pair in part), unread)
    orders = 0
    for box, entries in waiting.items():
        orders = max(orders, *(abs(record.order) for _, record in entries))
        refill(box, entries)
    ledger.journal.begin_after(state.number, orders)
    careful = ledger.journal.careful
    if careful is not None:
        for entries in waiting.values():
            for envelope, _ in entries:
                careful.restored(envelope)
    for envelope, _, fault in unread:
        ledger.give_up(envelope, "unknown_schema", fault, "restore")
    return [envelope for envelope, _ in sorted(out, key=lambda pair: pair[1].order)]


def _check(place: Place, pieces: Counter[int]) -> None:
    """The law of conservation, at the one place where it can be lost unseen."""
    if len(pieces) != place.ledger.held:
        text = f"run {place.run_id!r} holds {place.ledger.held} items, its cut has {len(pieces)}"
        raise StoreCorrupt(place.url, text)


def _join(
    ledger: Any,
    facts: Mapping[str, Any],
    pieces: Counter[int],
    envelopes: Any,
    unread: list[tuple[Envelope, Record, Exception]],
) -> None:
    """Give the pieces of an item what they have in common."""
    items: dict[int, Item] = {}
    for key, flags in facts.items():
        kind, _, number = key.partition("/")
        if kind == "item":
            item = items[int(number)] = Item()
            item.pieces = pieces[int(number)]
            item.out, item.dead = flags
        elif kind == "name":
            ledger.ids[int(number)] = flags
    for envelope in [*envelopes, *(each[0] for each in unread)]:
        envelope.item = items.get(envelope.root)
