"""When does an item end? The account of items that have split, been joined, or gone in batches.

    a piece has gone ──► its innermost item ──► was it the last?  the item has ended
                              │                     of a branch:  perhaps all have met
                              │                     of a batch:   each member has ended
                              └── it died: the item is dead; in a branch, so is the group

What an item is told of here becomes a count and a result in the `Ledger`, of which this
is the part that knows how items nest.
"""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.core.letters import DeadLetter
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.telling import tell_ended
from actorflow.stages.items import Branch, Bundle, Group, Item

__all__ = ["Pieces"]


class Pieces:
    """The tree of items.

    Attributes:
        kernel: The run's services.
        done: Items that ended with a value.
        skipped: Items that ended without one.
        dead: Items of which a piece died.
        taps: Who takes results.
        batchers: What waits for a batch to be full.
        ids: Ids that callers gave.
        ordered: Whether results leave in the order of feeding.
        asides: Stages that nobody waits for.
        settles_early: Whether an item's first result is its last.
        followed: Whether somebody must hear of the end of each item.
    """

    kernel: Kernel
    done: int
    skipped: int
    dead: int
    taps: tuple[Any, ...]
    batchers: tuple[Any, ...]
    ids: dict[int, Any]
    ordered: bool
    asides: frozenset[str]
    settles_early: bool
    followed: bool = False

    def fork(self, envelope: Envelope, more: int) -> None:
        """*more* pieces of the item are about to exist."""
        if envelope.item is None:
            envelope.item = Item()
        envelope.item.pieces += more

    def take_over(self, item: Item, root: int) -> None:
        """*item*, of which *root* is, comes from another run."""

    def take_over_group(self, group: Group) -> None:
        """So does *group*."""

    def group_gone(self, group: Group) -> None:
        """Nothing is left of *group*, of which a branch died."""
        self._piece_gone(group.origin.item, group.origin)

    def _piece_gone(self, item: Item, envelope: Envelope) -> None:
        item.pieces = left = item.pieces - 1
        if self.batchers:
            self.look_for_quiet()
        if left and type(item) is Item:
            return
        if type(item) is Branch:
            item.group.join.looked(item)
        elif item.pieces:
            return
        elif type(item) is Bundle:
            whole = [each for each in item.members if each.item is None]
            self._count(whole, out=item.out, dead=item.dead)
            for each in item.members:
                if each.item is not None:
                    each.item.out = each.item.out or item.out
                    self._piece_gone(each.item, each)
        else:
            self._count([envelope], out=item.out, dead=item.dead)

    def _count(self, envelopes: list[Envelope], *, out: bool, dead: bool) -> None:
        """The whole items of *envelopes* have ended."""
        if dead:
            self.dead += len(envelopes)
        elif out:
            self.done += len(envelopes)
        else:
            self.skipped += len(envelopes)
        lost = not (dead or out)
        if (lost or self.ordered or self.followed) and self.taps:
            for each in envelopes:
                self._publish(each, "skipped" if lost else "ended", True)
        if self.kernel.watched:
            for each in envelopes:
                tell_ended(self, each.root, "failed" if dead else "done" if out else "skipped")
        # Without ids of their own it is enough to say so once.
        for each in envelopes if self.ids else envelopes[:1]:
            self._item_ended(each.root)

    def _die(self, envelope: Envelope, letter: DeadLetter) -> None:
        """A piece of the item of *envelope* has died; the first time its takers are told."""
        item = envelope.item
        if type(item) is Branch:
            self._fail(item.group, letter)
            item.dead = True
        elif letter.stage_or_actor in self.asides:
            return  # What nobody waits for is no fault of the item.
        elif item is None or not item.dead:
            if type(item) is Bundle:
                for member in item.members:
                    self._die(member, letter)
            elif self.taps:
                self._publish(envelope, "failed", self.settles_early, letter)
            if item is not None:
                item.dead = True

    def _fail(self, group: Group, letter: DeadLetter) -> None:
        """A branch of *group* has died: the item of its message dies, its other branches end."""
        if not group.failed:
            group.failed = True
            self._die(group.origin, letter)
            group.join.call_off(group)

    def look_for_quiet(self) -> None:
        """Perhaps nothing can move any more but batches that are not full."""
        raise NotImplementedError

    def _publish(
        self, envelope: Envelope, status: str, ended: bool, letter: DeadLetter | None = None
    ) -> None:
        raise NotImplementedError

    def _item_ended(self, number: int) -> None:
        raise NotImplementedError
