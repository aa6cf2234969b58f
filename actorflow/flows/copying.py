"""Messages outside of any run, with the items that they belong to: what ties the messages of a
report together, so that another run can take them in.

    run that has ended ──► copy, kept in `Held.whence` ──► copy of that ──► another run

A copy has all that a message is tied to: the other pieces of its item, the message that split,
what has arrived where branches meet, the members of its batch. Where branches meet is known by
the name of the stage that joins them, and so is the stage that gets a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from actorflow.core.envelope import Envelope
from actorflow.stages.items import Branch, Bundle, Group, Item

__all__ = ["Common", "Copies", "Whence", "parted"]


@attrs.frozen(eq=False)
class Common:
    """What all messages of one report have in common.

    Attributes:
        flow: Name of the flow.
        names: Ids that callers gave, by number.
        seen: Keys that stages have taken which take each once, by stage.
    """

    flow: str
    names: Mapping[int, Any]
    seen: Mapping[str, set[bytes]]


@attrs.frozen(eq=False)
class Whence:
    """Where a message was when its run ended; for `Run.refeed`.

    Attributes:
        common: What it shares with the others of its report.
        envelope: The message; of a member of a batch that was formed, that batch.
        box: What held it besides its stage's mailbox, as a cut knows it; nothing for most.
        slot: Its place in its batch, if that was formed.
    """

    common: Common
    envelope: Envelope
    box: str = ""
    slot: int | None = None


class Copies:
    """Copies of messages that belong together.

    Args:
        meets: Where branches meet, of the same in the original.
        path: Of the stage that gets a batch, of the same in the original.

    Attributes:
        envelopes: All copies, those that only others refer to included.
        items: The items of those.
        groups: Groups of branches, each with its original.
    """

    def __init__(self, meets: Callable[[Any], Any], path: Callable[[str], str]) -> None:
        self._meets = meets
        self._path = path
        self._known: dict[int, Any] = {}
        self.envelopes: list[Envelope] = []
        self.items: list[Item] = []
        self.groups: list[tuple[Group, Group]] = []

    def of(self, old: Envelope) -> Envelope:
        """The copy of *old*, always the same one."""
        new: Envelope | None = self._known.get(id(old))
        if new is None:
            new = self._known[id(old)] = copy.copy(old)
            self.envelopes.append(new)
            new.key = new.reply = new.sender = new.packed = None
            new.rank = new.order = new.stored = 0
            new.item = self._item(old.item)
        return new

    def _item(self, old: Any) -> Any:
        """The copy of an item, with one piece more."""
        if old is None:
            return None
        if id(old) not in self._known:
            if type(old) is Branch:
                self._copy_group(old.group)
            else:
                self._copy_item(old)
        new: Item = self._known[id(old)]
        new.pieces += 1
        return new

    def _copy_item(self, old: Item) -> None:
        new = Bundle([], self._path(old.path)) if isinstance(old, Bundle) else Item()
        self._note(old, new)
        if isinstance(old, Bundle) and isinstance(new, Bundle):
            new.members = [self.of(each) for each in old.members]

    def _copy_group(self, old: Group) -> None:
        new = Group(Envelope(None, None), self._meets(old.join), len(old.branches))
        new.failed = old.failed
        self.groups.append((old, new))
        for one, other in zip(old.branches, new.branches, strict=True):
            self._note(one, other)
        new.origin = self.of(old.origin)
        for one, other in zip(old.branches, new.branches, strict=True):
            other.arrived = [self.of(each) for each in one.arrived]

    def _note(self, old: Item, new: Item) -> None:
        self._known[id(old)] = new
        new.pieces, new.out, new.dead = 0, old.out, old.dead
        self.items.append(new)


def parted() -> Copies:
    """Copies that know stages by their names, and nothing of the run."""
    return Copies(lambda join: join.stage, lambda path: path.rpartition("/")[2])
