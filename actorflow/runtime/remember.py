"""Give a durable actor what its earlier life has left: fields, mail, stash, timers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

from actorflow.core.envelope import Envelope, message_id
from actorflow.core.letters import Unreadable
from actorflow.errors import DecodeError
from actorflow.policies.retry import Retry
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.cell import Cell
from actorflow.runtime.kept import Kept, check_class
from actorflow.runtime.refill import Mail, cover, refill
from actorflow.runtime.timers import restart_timer
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import LATER, STASHED

__all__ = ["attempts_of", "remember"]


def remember(cell: Cell, spec: ChildSpec) -> None:
    """Make *cell* durable, going on from what the system's store has under its path."""
    kernel, mailbox = cell.kernel, cell.mailbox
    assert mailbox.journal is not None
    replaces = spec.options.get("replace", False)
    if kernel.stored.tag(cell.path) is not None and not replaces:
        check_class(spec.start, kernel.stored, cell.path)
    state, mail = kernel.stored.take(cell.path)
    fresh = state is None or replaces
    cell.kept = Kept(cell, _plain(spec), None if fresh else state)
    mailbox.careful = True
    mailbox.stash = lambda: cell.stash or ()
    if spec.options.get("effects", False):
        cover(mailbox)
    if mailbox.journal.careful is not None:
        mailbox.journal.careful.watch(mailbox, attempts_of(spec.policies))
    _refill(cell, mail)
    if not fresh:
        ticks = _ticks(state["timers"], mail)
        for timer in sorted(state["timers"], key=_when):  # Several may be due by now.
            _restart(cell, ticks, *timer)
    mailbox.look_again()


def _ticks(timers: list[Any], mail: Mail) -> dict[str, Envelope]:
    """The ticks of *timers* that wait in *mail*, by their ids."""
    wanted = {each[4] for each in timers if len(each) > 4}
    found = ((message_id(each), each) for each in mail.envelopes()) if wanted else ()
    return {own: each for own, each in found if own in wanted}


def _when(timer: list[Any]) -> float:
    """When a stored timer is due; one that has sent its last tick, never again."""
    return math.inf if timer[1] is None else timer[1]


def _restart(
    cell: Cell,
    ticks: dict[str, Envelope],
    key: bytes,
    due: float | None,
    every: float | None,
    body: bytes,
    tick: str | None = None,
) -> None:
    """Let a timer run on, one of whose *ticks* may wait; what it was to send is a dead letter, if
    it cannot be read. Earlier releases have not said which tick waits."""
    kernel, name = cell.kernel, None
    waiting = None if tick is None else ticks.get(tick)
    if due is None and waiting is None:
        return  # It has sent its last tick, and that has been handled.
    try:
        name = decode(key, max_bytes=None)
        message = decode(body, max_bytes=None)
    except DecodeError as error:
        envelope = Envelope(Unreadable(body, str(error)), next(kernel.ids))
        envelope.packed = body
        fault = DecodeError(f"of timer {name!r}: {error}")
        kernel.held += 1
        kernel.give_up(envelope, "unknown_schema", fault, cell.path)
        cell.kept.mark()
    else:
        delay = None if due is None else max(0.0, due - kernel.ahead() - kernel.now())
        restart_timer(cell, name, delay, message, every, waiting)


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
    later = sum(record.lane == LATER for _, record in mail.others)  # Accepted when it is put.
    mailbox.accepted += len(everything) - later


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
