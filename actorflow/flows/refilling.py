"""Put what a cut holds back where it was: every message into its lane, every item together.

    record ──► its stage's mailbox     the lane, the order and the attempts it had
           └─► the outlet              it had come out and not been written: written again

What this process cannot read (a tag nobody has, a stage that is gone) becomes a dead
letter with its bytes, in the stage where it waited; the rest goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.core.envelope import Envelope
from actorflow.durability.hold import NAME
from actorflow.durability.records import messages_of
from actorflow.errors import DecodeError, StoreCorrupt
from actorflow.flows.families import Families
from actorflow.flows.keeping import KeepingLedger
from actorflow.flows.wiring import Wiring
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.refill import Mail, refill
from actorflow.stages.ways import SEEN
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import OUT, Cut

__all__ = ["Place", "refill_run"]


@attrs.frozen(kw_only=True)
class Place:
    """Where a run's messages go.

    Attributes:
        run_id: Of the run.
        url: Of its store.
        ledger: The run's account, which knows how many items are held.
        wiring: Its connections.
        boxes: The stages' mailboxes by name: where the run lives may be another place than before.
        renamed: New names of stages by their old ones.
    """

    run_id: str
    url: str
    ledger: KeepingLedger
    wiring: Wiring
    boxes: Mapping[str, Mailbox]
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
    _read_names(ledger, state)
    _read_keys(place.wiring, facts)
    families = Families(facts, place.wiring)
    found = _read_all(place, state, families)
    ledger.journal.begin_after(state.number, found.top)
    for name, mail in found.post.items():
        mailbox = place.boxes.get(name)
        if mailbox is None:
            gone = DecodeError(f"the flow has no stage {name!r} any more")
            found.unread += ((envelope, name, gone) for envelope in mail.envelopes())
            continue
        refill(mailbox, mail)
        if ledger.journal.careful is not None:
            ledger.journal.careful.restored(mail.envelopes())
    for gather, envelope in sorted(found.gathered, key=lambda each: each[1].order):
        gather.restore(envelope)
    families.unite()
    for envelope, name, fault in sorted(found.unread, key=lambda each: each[0].order):
        if name in place.boxes:
            place.boxes[name].failed += 1
        ledger.give_up(envelope, "unknown_schema", fault, name)
    for envelope, fault in sorted(found.lost, key=lambda each: each[0].order):
        ledger.lose(envelope, fault)
    return sorted(found.out, key=lambda envelope: envelope.order)


def _read_names(ledger: KeepingLedger, state: Cut) -> None:
    """The ids that items were given; one that cannot be read is told as text."""
    for key, data in state.facts.items():
        if data and key.startswith(NAME):
            try:
                name = decode(data, max_bytes=None)
            except DecodeError as error:
                name = f"<{error}>"
            ledger.ids[int(key.removeprefix(NAME))] = name


def _read_keys(wiring: Wiring, facts: Mapping[str, Any]) -> None:
    """The keys that stages have taken which take each once."""
    for key in facts:
        if key.startswith(SEEN):
            stage, _, digest = key.removeprefix(SEEN).partition("/")
            if stage in wiring.seen:
                wiring.seen[stage].digests.add(bytes.fromhex(digest))


@attrs.define
class _Found:
    """What a cut has of messages.

    Attributes:
        post: By the name of their stage.
        gathered: Those that wait for others that belong to them, with what holds them.
        out: Those that had come out.
        unread: Those that cannot be read, with the stage and the reason.
        lost: Those that had come out and cannot be read.
        top: The highest place that one has.
    """

    post: dict[str, Mail]
    gathered: list[tuple[Any, Envelope]] = attrs.Factory(list)
    out: list[Envelope] = attrs.Factory(list)
    unread: list[tuple[Envelope, str, Exception]] = attrs.Factory(list)
    lost: list[tuple[Envelope, Exception]] = attrs.Factory(list)
    top: int = 0


def _read_all(place: Place, state: Cut, families: Families) -> _Found:
    now, ahead = place.ledger.kernel.now(), place.ledger.kernel.ahead()
    found = _Found({name: Mail() for name in place.boxes})
    number, renamed = state.number, place.renamed
    for envelope, record, fault in messages_of(state.messages, now, ahead):
        envelope.stored = number
        found.top = max(found.top, abs(record.order))
        if record.lane == OUT:
            if fault is None:
                found.out.append(envelope)
            else:
                found.lost.append((envelope, fault))
            continue
        box, _, held = record.box.partition("//")
        old = box.rpartition("/")[2]
        name = renamed.get(old, old)
        families.adopt(envelope, record, name)
        gather = place.wiring.gathers.get(f"{name}//{held}") if held else None
        if name != old and name in place.boxes:  # The next cut has it under its new name.
            place.ledger.journal.note(envelope, gather or place.boxes[name])
        if fault is not None:
            found.unread.append((envelope, name, fault))
        elif gather is not None:
            found.gathered.append((gather, envelope))
        else:
            if name not in found.post:  # Of a stage that is gone.
                found.post[name] = Mail()
            found.post[name].add(envelope, record)
    _check(place, families.count())
    return found


def _check(place: Place, found: int) -> None:
    """The law of conservation, at the one place where it can be lost unseen."""
    if found != place.ledger.held:
        text = f"run {place.run_id!r} holds {place.ledger.held} items, its cut has {found}"
        raise StoreCorrupt(place.url, text)
