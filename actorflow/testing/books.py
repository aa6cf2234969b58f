"""Whether each message is in exactly one place: the law of conservation, looked at between steps.

accepted = acknowledged + failed + here     of each mailbox; here is its lanes, stash and leases
held     = all that are here, or in timers  of each system
room     = capacity + redelivered           of the user lane
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actorflow.core.envelope import Envelope

__all__ = ["Books"]

#: Mailboxes and messages that are looked at after each step; with more, after fewer.
COST = 200


class Books:
    """The mailboxes of one life, and who reads them."""

    def __init__(self) -> None:
        self._readers: dict[Any, list[Any]] = {}
        self._systems: list[Any] = []
        self._steps, self._cost = 0, 0

    def due(self) -> bool:
        """Whether they are looked at after this step: where there is much to look at, that is not
        after each, so that a large system does not take the square of its time."""
        self._steps += 1
        return not self._steps % max(1, self._cost // COST)

    def begin(self, cell: Any) -> None:
        """An incarnation of *cell* begins."""
        readers = self._readers.setdefault(cell.mailbox, [])
        if cell not in readers:
            readers.append(cell)
        if cell.mailbox.ledger is cell.kernel and cell.kernel not in self._systems:
            self._systems.append(cell.kernel)

    def left(self) -> Iterator[str]:
        """What is left where nothing may be, when the program is over."""
        for mailbox in self._readers:
            if mailbox.reserved:
                yield f"{mailbox.path}: {mailbox.reserved} places are promised to nobody"

    def broken(self) -> Iterator[str]:
        """What does not add up now."""
        here: dict[Any, int] = {}
        self._cost = 0
        for mailbox, readers in list(self._readers.items()):
            found = len(mailbox) + sum(map(_in_hand, readers))
            here[mailbox.kernel] = here.get(mailbox.kernel, 0) + found
            if mailbox.accepted != mailbox.acked + mailbox.failed + found:
                yield (
                    f"{mailbox.path}: accepted {mailbox.accepted} != acknowledged {mailbox.acked} "
                    f"+ failed {mailbox.failed} + here {found}"
                )
            if mailbox.closed and not (found or mailbox.reserved):
                del self._readers[mailbox]  # Its actor has ended.
                continue
            self._cost += 1 + len(mailbox.queue)
            redelivered = sum(each.attempt > 0 for each in mailbox.queue)
            if not mailbox.closed and mailbox.limit != mailbox.capacity + redelivered:
                yield f"{mailbox.path}: room for {mailbox.limit}, {redelivered} redelivered"
        for kernel in self._systems:
            if kernel.journal is not None and kernel.journal.closing:
                continue  # What stays for the next life is nowhere now.
            later = sum(isinstance(entry[3], Envelope) for entry in kernel.heap.entries())
            waiting = sum(map(self._unread, kernel.nodes.values()))
            later += 0 if kernel.journal is None else len(kernel.journal.later)
            if kernel.held != here.get(kernel, 0) + waiting + later:
                yield (
                    f"/{kernel.name}: held {kernel.held} != here {here.get(kernel, 0) + waiting} "
                    f"+ later {later}"
                )

    def _unread(self, node: Any) -> int:
        """How many messages wait for an actor that has not begun."""
        mailbox = getattr(node, "mailbox", None)
        if mailbox is None or mailbox.closed or mailbox in self._readers:
            return 0
        return len(mailbox) + len(node.stash or ())


def _in_hand(cell: Any) -> int:
    """How many messages a reader has: what it has stashed, and what it handles."""
    lease = cell.lease
    hook = lease is not None and lease.body is None and lease.attempt == 0  # `on_start`.
    return len(cell.stash or ()) + (lease is not None and not hook)
