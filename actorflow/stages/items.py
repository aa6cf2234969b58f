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

from collections.abc import Iterable
from typing import Any, NamedTuple

from actorflow.core.context import Context
from actorflow.core.envelope import Envelope, message_id
from actorflow.core.partway import visible
from actorflow.wire.codec import encode

__all__ = ["Branch", "Bundle", "Forked", "Group", "Item", "bundle_key", "put_together"]


class Item:
    """One fed item that has split into pieces."""

    __slots__ = ("dead", "out", "pieces")

    def kept(self) -> Any:
        """What a cut says of it with each of its messages; mostly nothing."""
        return None

    def bases(self) -> list[Any]:
        """Of the Contexts that were forked for it, outermost first: name, and what was written."""
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
    """

    name: str
    written: tuple[str, ...]


class Group:
    """All branches of one message at a joined `Parallel`.

    Attributes:
        origin: The message, which goes on when they are joined.
        join: Where they meet.
        branches: In their order.
        open: How many of them have pieces on their way.
        failed: Whether one died: the others are not wanted any more.
        spare: Of a group that a cut had: a Context that a branch got, with as little as possible
            written since.
    """

    __slots__ = ("branches", "failed", "join", "open", "origin", "spare")

    def __init__(self, origin: Envelope, join: Any, count: int) -> None:
        self.origin = origin
        self.join = join
        self.branches = [Branch(self) for _ in range(count)]
        self.open = count
        self.failed = False
        self.spare: Context | None = None

    def told(self) -> Forked | None:
        """What must be known of the Context that was forked; `None` if none was."""
        body = self.origin.body
        if type(body) is Context:
            return Forked(body.name, tuple(sorted(body.written)))
        return body if type(body) is Forked else None

    def base(self, forks: list[Any]) -> Context | None:
        """The Context that was forked, of which *forks* are left; `None` if none was."""
        told = self.told()
        if told is None or not all(type(each) is Context for each in forks):
            return None
        body = self.origin.body
        if type(body) is Context:
            return body
        fork = forks[0] if forks else self.spare
        if fork is None:
            return Context()
        if not forks:  # All have skipped, so nothing that one had written comes again.
            for key in fork.written.difference(told.written):
                fork = fork.remove(key) if key in fork else fork
        return fork.unforked(*told)

    def keeps(self, body: Any) -> None:
        """A piece of it in the cut had *body*."""
        if type(body) is Context and (
            self.spare is None or len(body.written) < len(self.spare.written)
        ):
            self.spare = body


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

    def bases(self) -> list[Any]:
        """And the one that was forked for its group."""
        item: Item = self.group.origin.item
        return [*item.bases(), self.group.told()]

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
