"""Where is each item right now? Read from what holds messages, without any history.

    lanes, retries, keys ──► waiting, retrying
    leases of workers    ──► running
    batches, joins       ──► waiting

Every message is in exactly one of these places, so what is found is what is held, and there
are as many entries as messages; a batch counts for each of its members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs

from actorflow.core.envelope import Envelope, message_id
from actorflow.core.partway import visible
from actorflow.flows.copying import Common, Whence, parted
from actorflow.flows.results import Held, ItemState
from actorflow.flows.wiring import Wiring
from actorflow.observe.history import History, ItemRecord
from actorflow.runtime.telling import owners
from actorflow.stages.build import StageCell
from actorflow.stages.items import Bundle
from actorflow.wire.codec import decode

__all__ = ["STATUSES", "gathered", "held", "item_state", "item_states"]

#: What an item may be doing, and how it may have ended.
STATUSES = ("waiting", "running", "retrying", "done", "skipped", "failed")


def item_states(
    stages: Mapping[str, StageCell],
    gathers: Mapping[str, Any],
    ids: Mapping[int, Any],
    observers: Iterable[Any],
) -> Iterator[ItemState]:
    """What is inside, stage by stage, and then what has ended, if a `History` observes.

    Args:
        stages: By name.
        gathers: What holds messages besides their mailboxes, by ``stage//what``.
        ids: Ids that callers gave, by number.
        observers: Of the run.
    """
    joined: dict[int, tuple[str, Envelope]] = {}
    for name, stage in stages.items():
        for envelope, worker in _messages(name, stage, gathers):
            status = "running" if worker else "retrying" if envelope.attempt else "waiting"
            yield from _states(envelope, status, name, worker, ids)
            _note_joined(envelope, joined)
    for name, envelope in joined.values():
        yield from _states(envelope, "waiting", name, "", ids)
    for observer in observers:
        if isinstance(observer, History):
            yield from map(item_state, observer.ended())


def _messages(
    name: str, stage: StageCell, gathers: Mapping[str, Any]
) -> Iterator[tuple[Envelope, str]]:
    """Messages of one stage, each with the worker that has leased it."""
    for cell in stage.cells:
        if cell.lease is not None:
            yield cell.lease, cell.path
    for envelope in stage.mailbox.messages():
        yield envelope, ""
    yield from ((envelope, "") for envelope, _ in gathered(name, gathers))


def gathered(name: str, gathers: Mapping[str, Any]) -> Iterator[tuple[Envelope, str]]:
    """Messages that wait for a batch of the stage *name*, each with what holds it."""
    for key, gather in gathers.items():
        if key.partition("//")[0] == name:
            for members in getattr(gather, "waiting", {}).values():
                yield from ((envelope, key) for envelope in members)


def _note_joined(envelope: Envelope, joined: dict[int, tuple[str, Envelope]]) -> None:
    """Branches that wait for the one that *envelope* is in, however deep."""
    item = envelope.item
    while (group := getattr(item, "group", None)) is not None:
        stage = group.join.mailbox.path.rpartition("/")[2]
        for branch in group.branches:
            joined.update((id(each), (stage, each)) for each in branch.arrived)
        item = group.origin.item


def _states(
    envelope: Envelope, status: str, stage: str, worker: str, ids: Mapping[int, Any]
) -> Iterator[ItemState]:
    name = message_id(envelope)
    for number in owners(envelope):
        yield ItemState(
            id=ids.get(number, number),
            message_id=name,
            status=status,
            stage=stage,
            attempt=envelope.attempt,
            worker=worker,
            fed=envelope.born,
        )


def held(
    flow: str, stages: Mapping[str, StageCell], wiring: Wiring, ids: Mapping[int, Any]
) -> Iterator[Held]:
    """Every message that is inside, as it came to its stage; a batch is those it was made of.

    Args:
        flow: Its name.
        stages: By name.
        wiring: What is between them.
        ids: Ids that callers gave, by number.
    """
    copies = parted()
    common = Common(flow, dict(ids), {name: each.digests for name, each in wiring.seen.items()})
    for name, stage in stages.items():
        for envelope, box in _in_turn(name, stage, wiring.gathers):
            body = envelope.body
            if envelope.packed is not None:  # A handler may have changed what it was given.
                body = decode(envelope.packed, max_bytes=None)
            whence = Whence(common, copies.of(envelope), box)
            pairs = [(envelope, body, whence)]
            if type(envelope.item) is Bundle and envelope.item.path == stage.mailbox.path:
                pairs = [
                    (member, value, attrs.evolve(whence, slot=slot))
                    for slot, (member, value) in enumerate(
                        zip(envelope.item.members, body, strict=True)
                    )
                ]
            for each, value, origin in pairs:
                yield _held(each, value, name, ids, envelope.attempt, origin)


def _in_turn(
    name: str, stage: StageCell, gathers: Mapping[str, Any]
) -> Iterator[tuple[Envelope, str]]:
    """Messages of one stage, each with what holds it besides the mailbox, so that of one key the
    one that is next comes first."""
    mailbox = stage.mailbox
    leased = (cell.lease for cell in stage.cells if cell.lease is not None)
    behind = chain.from_iterable(mailbox.held_keys.values())
    lanes = (leased, mailbox.due or (), mailbox.sleeping or (), behind, mailbox.queue)
    yield from ((envelope, "") for envelope in chain.from_iterable(lanes))
    yield from gathered(name, gathers)


def _held(
    envelope: Envelope,
    value: Any,
    stage: str,
    ids: Mapping[int, Any],
    attempts: int,
    whence: Whence,
) -> Held:
    return Held(
        item=ids.get(envelope.root, envelope.root),
        message_id=message_id(envelope),
        stage=stage,
        value=value,
        attempts=attempts,
        priority=envelope.priority,
        metadata=dict(visible(envelope.headers)),
        whence=whence,
    )


def item_state(record: ItemRecord) -> ItemState:
    """What a history knows of an item, as a run tells it."""
    return ItemState(
        id=record.id,
        message_id=str(record.number),
        status=record.status,
        stage=record.stage,
        attempt=record.attempt,
        fed=record.fed or 0.0,
    )
