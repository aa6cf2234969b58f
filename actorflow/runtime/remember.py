"""Give a durable actor what its earlier life has left: fields, mail, stash, timers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from actorflow.policies.retry import Retry
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.cell import Cell
from actorflow.runtime.kept import Kept, check_class
from actorflow.runtime.refill import Mail, refill
from actorflow.runtime.timers import restart_timer
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import STASHED

__all__ = ["attempts_of", "remember"]


def remember(cell: Cell, spec: ChildSpec) -> None:
    """Make *cell* durable, going on from what the system's store has under its path."""
    kernel, mailbox = cell.kernel, cell.mailbox
    assert mailbox.journal is not None
    replaces = spec.options.get("replace", False)
    known = kernel.stored.tag(cell.path)
    if known is not None and not replaces:
        check_class(spec.start, known, cell.path)
    state, mail = kernel.stored.take(cell.path)
    fresh = state is None or replaces
    cell.kept = Kept(cell, _plain(spec), None if fresh else state)
    mailbox.careful = True
    mailbox.covered = spec.options.get("effects", False)
    mailbox.stash = lambda: cell.stash or ()
    if mailbox.covered:
        mailbox.journal.on_commit.append(lambda _: mailbox.wake_for_work())
    if mailbox.journal.careful is not None:
        mailbox.journal.careful.watch(mailbox, attempts_of(spec.policies))
    _refill(cell, mail)
    if not fresh:
        wall = kernel.ports.wall()
        for key, due, every, body in state["timers"]:
            restart_timer(cell, key, max(0.0, due - wall), decode(body, max_bytes=None), every)
    mailbox.look_again()


def _refill(cell: Cell, mail: Mail) -> None:
    mailbox = cell.mailbox
    refill(mailbox, mail)
    stashed = [envelope for envelope, record in mail.others if record.lane == STASHED]
    if stashed:
        cell.stash = deque(sorted(stashed, key=lambda envelope: envelope.order))
        mailbox.waiting += len(stashed)
    for envelope in mail.asked:
        cell.kept.await_again(envelope)
    everything = mail.envelopes()
    if mailbox.journal is not None and mailbox.journal.careful is not None:
        mailbox.journal.careful.restored(everything)
    cell.kernel.held += len(everything)
    mailbox.accepted += len(everything)


def attempts_of(policies: Iterable[Any]) -> int:
    """How many attempts a message has under *policies*."""
    return next((each.max_attempts for each in policies if isinstance(each, Retry)), 1)


def _plain(spec: ChildSpec) -> dict[str, Any] | None:
    """How it was spawned, as plain values, if it was with nothing else."""
    if spec.policies or spec.backoff is not None:
        return None
    options = {key: value for key, value in spec.options.items() if key != "replace"}
    return {
        **options,
        "restart": spec.restart,
        "shutdown": spec.shutdown,
        "max_restarts": spec.max_restarts,
        "window": spec.window,
    }
