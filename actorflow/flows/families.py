"""Put together again what belonged together: the items of messages that a cut has.

    17.0          a piece of item 17                       the fact item/17
    17.-1, 17.-2  branches of message 17 at a `Parallel`   where it stands says at which
    members       of a batch, in the record of each message that is made of it

An id says which branches a message is in: a step below 0 is a branch, counted from -1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from actorflow.core.envelope import Envelope, Path, address, message_id
from actorflow.errors import DecodeError
from actorflow.flows.wiring import Wiring
from actorflow.stages.gather import Joiner
from actorflow.stages.items import Branch, Bundle, Forked, Group, Item, bundle_key
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import Record

__all__ = ["Families"]


class Families:
    """The items of a run that goes on.

    Args:
        facts: Of the run.
        wiring: Its connections, which know where branches meet.

    Attributes:
        whole: Items that have not split and are not part of a batch, or are its direct members.
    """

    def __init__(self, facts: Mapping[str, Any], wiring: Wiring) -> None:
        self._facts = facts
        self._wiring = wiring
        self._items: dict[int, Item] = {}
        self._bundles: dict[str, Bundle] = {}
        self._bases: list[Any] = []  # Of the message at hand,
        self._attached: list[bytes | None] = []  # and what was attached to those it is of.
        self._groups: dict[tuple[Any, Path], Group] = {}
        self.whole = 0
        for key, fact in facts.items():
            if key.startswith("item/"):
                item = self._items[int(key.removeprefix("item/"))] = Item()
                item.pieces = 0
                item.out, item.dead = fact

    def adopt(self, envelope: Envelope, record: Record, stage: str) -> None:
        """Give *envelope*, which waits at *stage*, its item."""
        path, members = envelope.path, record.more.get("members")
        if not members and not self._groups and envelope.root not in self._items:
            self.whole += 1
            return
        around = self._wiring.around(stage, record.box)
        self._bases = record.more.get("bases") or [None] * len(around)
        self._attached = record.more.get("facts") or [None] * len(around)
        envelope.item = self._item(envelope, envelope.body, path, members, around)

    def count(self) -> int:
        """Items that are held."""
        return self.whole + sum(item.pieces > 0 for item in self._items.values())

    def unite(self) -> None:
        """All messages are there: branches that have met go on, those of a group that had failed
        are called off."""
        for group in list(self._groups.values()):
            group.failed = f"group/{message_id(group.origin)}" in self._facts
            group.open = sum(each.pieces > len(each.arrived) for each in group.branches)
            if group.failed:
                group.join.call_off(group)
            elif not group.open:
                group.join.close(group)

    # Items -----------------------------------------------------------------------------

    def _item(
        self, envelope: Envelope, body: Any, path: Path, members: Any, around: list[Joiner]
    ) -> Any:
        """The item of a message with *path* and *body*, of which *envelope* is or is a piece of,
        with one piece more."""
        node = path
        while node is not None and node[1] >= 0:
            node = node[0]
        item: Item | None
        if node is not None and around:  # Else nobody waits for it: it has left its branches.
            item = self._branch(envelope, body, node, members, around)
        elif members:
            item = self._bundle(members)
        else:
            item = self._items.get(envelope.root)
        if item is None:
            self.whole += 1
        else:
            item.pieces += 1
        return item

    def _branch(
        self, envelope: Envelope, body: Any, node: Any, members: Any, around: list[Joiner]
    ) -> Branch:
        base = self._bases[len(around) - 1]
        told = None if base is None else Forked(*base)
        key = (envelope.root, node[0])
        group = self._groups.get(key)
        if group is None:
            joiner = around[-1]
            origin = Envelope(None, envelope.root, node[0])
            origin.priority, origin.deadline = envelope.priority, envelope.deadline
            origin.born = envelope.born
            origin.headers = self._headers(envelope, self._attached[len(around) - 1])
            group = self._groups[key] = Group(origin, joiner, len(joiner.names))
            group.recall(told, body)
            origin.item = self._item(envelope, origin.body, node[0], members, around[:-1])
            for each in group.branches:
                each.pieces = 0
        slot: int = ~node[1]
        group.recall(told, body)
        return group.branches[slot]

    def _headers(self, envelope: Envelope, attached: bytes | None) -> Any:
        """What was attached to the message of which *envelope* is a piece."""
        if attached is not None:
            with contextlib.suppress(DecodeError):  # Then what the piece has must do.
                return decode(attached, max_bytes=None)
        return envelope.headers

    def _bundle(self, members: Any) -> Bundle:
        stage, listed = members
        key = bundle_key(stage, listed[0][0])
        bundle = self._bundles.get(key)
        if bundle is None:
            bundle = self._bundles[key] = Bundle([], self._wiring.mailbox_path(stage))
            bundle.pieces = 0
            bundle.out, bundle.dead = self._facts.get(key, (False, False))
            for key, within in listed:
                member = Envelope(None, *address(key))
                if within:
                    member.item = self._bundle(within)
                    member.item.pieces += 1
                else:
                    member.item = self._items.get(member.root)
                    if member.item is None:
                        self.whole += 1
                    else:
                        member.item.pieces += 1
                bundle.members.append(member)
        return bundle
