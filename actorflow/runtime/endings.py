"""What happens when an actor has ended for good, and when it only begins again."""

from __future__ import annotations

from collections.abc import Iterable

from actorflow.core.envelope import Envelope
from actorflow.core.events import ActorEnded
from actorflow.errors import ActorStopped
from actorflow.runtime.cell import Cell, Ending
from actorflow.runtime.effects import deliver_down, unstash
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.timers import stop_timers

__all__ = ["abandon", "finish", "prepare_restart", "uncover"]


def finish(cell: Cell, ending: Ending) -> None:
    """The actor is gone: its mail becomes dead letters, and whoever watches is told once."""
    kernel, mailbox = cell.kernel, cell.mailbox
    cell.ended = ending
    if cell.kept is not None:
        cell.kept.end(ending)
    stop_timers(cell)
    kernel.nodes.pop(cell.path, None)
    if mailbox.path == cell.path:
        uncover(mailbox)
    if cell.kept is not None and cell.kept.lasts:
        mailbox.closed = True  # What is in it stays for the next life; who asked must ask again.
        mailbox.room_made()
        for envelope in (*mailbox.messages(), *(cell.stash or ())):
            if envelope.reply is not None:
                envelope.reply.fail(ActorStopped(cell.path))
    elif mailbox.path == cell.path:
        stashed, cell.stash = cell.stash or (), None
        abandon(mailbox, stashed)
        kernel.limiters.pop(mailbox.path, None)
    if cell.alarm is not None:
        kernel.heap.settle(cell.alarm)
        cell.alarm = None
    for watcher in cell.watchers or ():
        deliver_down(watcher, cell)
    cell.watchers = None
    if cell.gone is not None:
        cell.gone.set()
    if kernel.observers:
        reason = ending.kind if ending.error is None else ending.error
        kernel.emit(ActorEnded(cell.path, cell.incarnation, reason))


def abandon(mailbox: Mailbox, stashed: Iterable[Envelope] = ()) -> None:
    """Nobody will read *mailbox* any more: what is in it becomes dead letters, those *stashed*
    first, and so does what comes from now on."""
    for envelope in (*stashed, *mailbox.close()):
        mailbox.failed += 1
        mailbox.ledger.give_up(envelope, "stopped", None, mailbox.path)


def uncover(mailbox: Mailbox) -> None:
    """*mailbox* waits for no cut any more."""
    if mailbox.covered:
        assert mailbox.journal is not None
        mailbox.journal.covered.pop(mailbox, None)


def prepare_restart(cell: Cell) -> None:
    """A new incarnation is about to start: what was stashed comes again, in front."""
    unstash(cell)
    cell.incarnation += 1
    if cell.kept is not None:
        cell.kept.mark()
    cell.alert = cell.killed = cell.stopping = cell.timed_out = False
    cell.stop_by = cell.pending = None
