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

from typing import Any

from actorflow.core.envelope import Envelope, message_id

__all__ = ["Branch", "Bundle", "Group", "Item"]


class Item:
    """One fed item that has split into pieces."""

    __slots__ = ("dead", "out", "pieces")

    def kept(self) -> Any:
        """What a cut says of it with each of its messages; mostly nothing."""
        return None

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
        stage = self.path.rpartition("/")[2]
        return [
            stage,
            [(message_id(each), each.item and each.item.kept()) for each in self.members],
        ]

    def each(self, batch: Envelope) -> list[Envelope]:
        """The members with what *batch*, which has not gone on yet, has of them."""
        for member, body in zip(self.members, batch.body, strict=True):
            member.body, member.attempt = body, batch.attempt
        return self.members


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

    def kept(self) -> Any:
        """Of the message that split."""
        item: Item = self.group.origin.item
        return item.kept()
