"""What a turn has asked for, and what that does when the turn commits.

The functions here run inside the commit: none of them waits and none can fail.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.core.letters import Down
from actorflow.runtime.bodies import refresh_body
from actorflow.runtime.cell import Cell
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.ref import ref_to
from actorflow.runtime.withdraw import withdraw

__all__ = [
    "MAX_EMITS",
    "UNSET",
    "Addressed",
    "Effects",
    "deliver_down",
    "put_later",
    "spawn",
    "stash",
    "unstash",
    "unwatch",
    "watch",
]

#: Most messages one turn may send or emit.
MAX_EMITS = 10_000

UNSET: Any = object()


class Addressed:
    """A value that goes to one of the stages that follow, by name."""

    __slots__ = ("to", "value")

    def __init__(self, to: str, value: Any) -> None:
        self.to = to
        self.value = value


class Effects:
    """What one turn has asked for so far.

    Attributes:
        sends: Messages with their target and the delay after the commit in seconds.
        emits: Values for the next stage.
        ops: Calls ``op(cell, ...)`` to make in the commit, in order.
        newborn: Children to start; if the turn fails they never live.
        answer: What to answer instead of the returned value, or `UNSET`.
        after: Told how the turn was decided, once it is; or `None`.
        metadata: The item's facts as the turn leaves them, if it looked at them.
        given: How many pieces a generator has sent on in this message's place, one by one.
    """

    __slots__ = (
        "after",
        "answer",
        "emits",
        "given",
        "metadata",
        "newborn",
        "ops",
        "sends",
        "skipped",
        "stashed",
        "stops",
    )

    def __init__(self) -> None:
        self.sends: list[tuple[Cell, Envelope, float]] = []
        self.emits: list[Any] = []
        self.ops: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.newborn: list[Any] = []
        self.answer: Any = UNSET
        self.skipped = self.stashed = self.stops = False
        self.metadata: dict[str, Any] | None = None
        self.after: Any = None
        self.given = 0

    @property
    def asked(self) -> bool:
        """Whether there is anything that leaves when the turn commits, besides its value."""
        return bool(self.sends or self.emits or self.ops or self.newborn or self.stops)


def spawn(cell: Cell, newborn: Any) -> None:
    """Have *newborn* started by the cell's own supervisor, which its next lap provides."""
    if cell.nested:
        cell.children.adopt(newborn.spec, newborn)
        return
    if cell.spawning is None:
        cell.spawning = []
    cell.spawning.append(newborn)
    cell.alert = True


def watch(cell: Cell, target: Cell) -> None:
    """Have *cell* told once when *target* has ended for good, now if it has."""
    if target.ended is not None:
        deliver_down(cell, target)
        return
    if target.watchers is None:
        target.watchers = {}
    target.watchers[cell] = None


def unwatch(cell: Cell, target: Cell) -> None:
    """Take a watch back, and a notice that has come but not been handled."""
    if target.watchers is not None:
        target.watchers.pop(cell, None)
    mailbox = cell.mailbox
    for notice in [each for each in mailbox.due or () if type(each.body) is Down]:
        if notice.body.ref.path == target.path and not notice.attempt:
            withdraw(mailbox, notice)


def deliver_down(watcher: Cell, target: Any) -> None:
    """Put the notice that *target* has ended into the watcher's mailbox, ahead of users' mail."""
    if watcher.mailbox.closed:
        return
    ending = target.ended
    assert ending is not None
    reason = ending.kind if ending.error is None else ending.error
    notice = Envelope(Down(ref_to(target), reason, target.incarnation), next(watcher.kernel.ids))
    notice.since = math.inf  # It is never too late for it.
    watcher.kernel.held += 1
    watcher.mailbox.accepted += 1
    watcher.mailbox.put_due(notice)


def stash(cell: Cell, envelope: Envelope) -> None:
    """Keep the leased message aside, behind all that are there; a cut has it there."""
    mailbox = cell.mailbox
    if cell.stash is None:
        cell.stash = deque()
    refresh_body(envelope)
    cell.stash.append(envelope)
    mailbox.set_aside()
    if mailbox.journal is not None:
        mailbox.journal.touch(envelope, mailbox)


def unstash(cell: Cell) -> None:
    """Put the stashed messages back in front, in their order."""
    stashed = cell.stash
    if stashed:
        count = len(stashed)
        while stashed:
            cell.mailbox.put_due(stashed.pop(), front=True)
        cell.mailbox.bring_back(count)


def put_later(mailbox: Mailbox, envelope: Envelope, when: float) -> None:
    """Put *envelope* at *when*; until then its journal, if there is one, has it."""
    heap, journal = mailbox.kernel.heap, mailbox.journal
    if journal is None:
        heap.at(when, mailbox.put, envelope)
        return
    journal.later[envelope] = heap.at(when, _put_kept, (mailbox, envelope))
    journal.note(envelope, mailbox)


def _put_kept(what: tuple[Mailbox, Envelope]) -> None:
    mailbox, envelope = what
    assert mailbox.journal is not None
    mailbox.journal.later.pop(envelope, None)
    mailbox.put(envelope)
