"""What the pieces of an item have in common, and what holds pieces together.

    Item        one fed item that has split: how many pieces there are, whether one died or came out
    Bundle      a batch: one message that stands for several
    Group       a joined `Parallel`: the message that split, and its branches
    Branch      one of them, with the pieces that are in it and what has arrived

A `Branch` and a `Bundle` are items inside an item: when their last piece has gone they are
one piece that goes, or one message that goes on. So the account is a tree, and a message
only ever knows the innermost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from actorflow.core.context import Context
from actorflow.core.envelope import Envelope, message_id
from actorflow.core.partway import visible
from actorflow.wire.codec import decode, encode

__all__ = ["Branch", "Bundle", "Forked", "Group", "Item", "bundle_key", "put_together"]


class Item:
    """One fed item that has split into pieces."""

    __slots__ = ("dead", "out", "pieces")

    def kept(self) -> Any:
        """What a cut says of it with each of its messages; mostly nothing."""
        return None

    def bases(self, body: Any) -> list[Any]:
        """Of the Contexts that were forked on the way to a message with *body*, outermost first,
        what a cut has."""
        return []

    def facts(self, headers: Any) -> list[bytes | None]:
        """Of the messages that split on its way here, outermost first: what was attached to each,
        if that is not *headers*."""
        return []

    def __init__(self) -> None:
        self.pieces = 1
        self.dead = self.out = False


class Bundle(Item):
    """A batch.

    Attributes:
        members: The messages that it stands for.
        path: Of the mailbox that the batch is put into.
    """

    __slots__ = ("members", "path")

    def __init__(self, members: list[Envelope], path: str) -> None:
        super().__init__()
        self.members = members
        self.path = path

    def kept(self) -> Any:
        """The stage, and the ids of the members with the batches they were."""
        return [
            self.path.rpartition("/")[2],
            [(message_id(each), each.item and each.item.kept()) for each in self.members],
        ]

    def key(self) -> str:
        """Under which a cut has what became of its pieces."""
        return bundle_key(self.path.rpartition("/")[2], message_id(self.members[0]))

    def each(self, batch: Envelope) -> list[Envelope]:
        """The members with what *batch*, which has not gone on yet, has of them."""
        # What is packed is as it came; of any other list nobody knows what a handler has done.
        if batch.packed is not None:
            for member, body in zip(self.members, batch.body, strict=True):
                member.body = body
        for member in self.members:
            member.attempt = batch.attempt
        return self.members


def bundle_key(stage: str, first: str) -> str:
    """The fact about a batch of *stage*. A batch has the id of its *first* member; that of a
    batch of batches may have it too."""
    return f"batch/{stage}/{first}"


class Forked(NamedTuple):
    """What a cut has of a Context that was forked: all else its forks have too.

    Attributes:
        name: Its own.
        written: Keys written in it since it was forked itself.
        before: What it has under the keys that the fork has written, as bytes; `None` if that is
            not known, as in cuts of old.
    """

    name: str
    written: tuple[str, ...]
    before: bytes | None = None


class Group:
    """All branches of one message at a joined `Parallel`.

    Attributes:
        origin: The message, which goes on when they are joined.
        join: Where they meet.
        branches: In their order.
        open: How many of them have pieces on their way.
        failed: Whether one died: the others are not wanted any more.
    """

    __slots__ = ("branches", "failed", "join", "open", "origin")

    def __init__(self, origin: Envelope, join: Any, count: int) -> None:
        self.origin = origin
        self.join = join
        self.branches = [Branch(self) for _ in range(count)]
        self.open = count
        self.failed = False

    def told(self, fork: Any) -> Forked | None:
        """What a cut says with *fork* of the Context that was forked; `None` if none was."""
        body = self.origin.body
        if type(body) is not Context:
            return body if type(body) is Forked else None
        before = None
        if type(fork) is Context:
            with contextlib.suppress(Exception):  # What has no bytes; a cut goes on without.
                before = encode(fork.overwritten(body))
        return Forked(body.name, tuple(sorted(body.written)), before)

    def base(self, forks: list[Any]) -> Context | None:
        """The Context that was forked, of which *forks* are left; `None` if none was."""
        body = self.origin.body
        if type(body) not in (Context, Forked):
            return None
        if not all(type(each) is Context for each in forks):
            return None
        if type(body) is Context:
            return body
        return forks[0].unforked(body.name, body.written) if forks else Context()

    def recall(self, told: Forked | None, fork: Any) -> None:
        """A cut has *told* of it with *fork*: make again what was forked, if that can be done."""
        if type(self.origin.body) is Context or told is None:
            return
        self.origin.body = told
        if type(fork) is Context:
            before = None if told.before is None else decode(told.before, max_bytes=None)
            self.origin.body = fork.unforked(told.name, told.written, before)


class Branch(Item):
    """One branch of a group.

    Attributes:
        group: What it belongs to.
        arrived: Messages that wait where the branches meet.
    """

    __slots__ = ("arrived", "group")

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group
        self.arrived: list[Envelope] = []

    def let_go(self, piece: Envelope) -> None:
        """Nobody waits for *piece* where the branches meet: it belongs to the item they are of."""
        item: Any = self
        while type(item) is Branch:
            item = item.group.origin.item
        self.pieces -= 1
        item.pieces += 1
        piece.item = item

    def kept(self) -> Any:
        """Of the message that split."""
        item: Item = self.group.origin.item
        return item.kept()

    def bases(self, body: Any) -> list[Any]:
        """And of the one that was forked for its group."""
        origin = self.group.origin
        return [*origin.item.bases(origin.body), self.group.told(body)]

    def facts(self, headers: Any) -> list[bytes | None]:
        """And to the one that split for its group."""
        origin = self.group.origin
        own = None if origin.headers is headers else encode(origin.headers)
        return [*origin.item.facts(headers), own]


def put_together(origin: Envelope, pieces: Iterable[Envelope]) -> None:
    """Attach to *origin* what was attached to it before, with what *pieces* of it have changed;
    of two changes to one fact the later one holds."""
    base = visible(origin.headers)
    found = dict(base)
    for piece in pieces:
        if piece.headers is origin.headers:
            continue
        facts = visible(piece.headers)
        found |= {
            name: fact
            for name, fact in facts.items()
            if name not in base or not _same(base[name], fact)
        }
        for name in base.keys() - facts.keys():
            found.pop(name, None)
    origin.headers = found or None


def _same(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:  # What cannot be compared has been changed.
        return False
