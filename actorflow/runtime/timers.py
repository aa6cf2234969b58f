"""Timers of an actor: messages to itself at later times. They are messages like any other."""

from __future__ import annotations

from typing import Any

from actorflow.core.envelope import Envelope, message_id
from actorflow.errors import ConfigurationError
from actorflow.options import positive, seconds
from actorflow.runtime.bodies import pack_body, refresh_body
from actorflow.runtime.cell import Cell
from actorflow.runtime.due import Entry
from actorflow.runtime.withdraw import withdraw
from actorflow.wire.codec import encode

__all__ = ["Timers", "restart_timer", "stop_timers"]

#: A cell with this many timers looks for spent ones when it starts another.
SWEEP_FROM = 32


class Timer:
    """A running timer of one cell. A body that will be delivered more than once is packed."""

    __slots__ = ("cell", "entry", "every", "key", "pattern", "tick")

    def __init__(self, cell: Cell, key: Any, message: Any, every: float | None) -> None:
        self.cell = cell
        self.key = key
        self.pattern = Envelope(message, 0)  # Whose body each tick gets.
        self.every = every
        self.entry: Entry | None = None
        self.tick: Envelope | None = None
        if every is not None or cell.mailbox.packs:
            pack_body(self.pattern, cell.kernel, cell.path)

    def kept(self, ahead: float) -> list[Any] | None:
        """What the next life is to know of it, but for the key: when it is due on a clock that is
        so many seconds *ahead*, how often, what it sends, and which tick of it is not handled yet.
        `None` if there is nothing."""
        tick = self.tick if self.waits() or self.cell.lease is self.tick else None
        if self.entry is None and tick is None:
            return None
        due = None if self.entry is None else self.entry[0] + ahead
        body = self.pattern.packed or encode(self.pattern.body)
        return [due, self.every, body, *([] if tick is None else [message_id(tick)])]

    def waits(self) -> bool:
        """Whether the last tick is still in the mailbox, be it for a retry."""
        tick, mailbox = self.tick, self.cell.mailbox
        if tick is None:
            return False
        if tick in (mailbox.due or ()) or tick in (mailbox.sleeping or ()):
            return True
        return tick.attempt > 0 and tick in mailbox.queue  # Where only a retry can bring it.


class Timers:
    """The timers of one actor, seen from one of its turns.

    Args:
        cell: The actor.
        turn: The turn, which notes what is to be done when it commits.
    """

    __slots__ = ("_cell", "_turn")

    def __init__(self, cell: Cell, turn: Any) -> None:
        self._cell = cell
        self._turn = turn

    def start(self, key: Any, delay: float, message: Any, *, every: float | None = None) -> None:
        """Send *message* to this actor in *delay* seconds, then every *every* seconds.

        A timer of the same key is replaced. A tick that comes while the one before it has
        not been handled is left out.

        Raises:
            EncodeError: A durable actor could not keep it.
        """
        _check_key(key)
        if self._cell.kept is not None:
            encode([key, message])
        seconds(f"timer {key!r} delay", delay)
        if every is not None:
            positive(f"timer {key!r} every", every)
        self._turn.note(_start, key, delay, message, every)

    def cancel(self, key: Any) -> None:
        """Stop the timer; unknown keys change nothing. A tick not yet handled is taken back."""
        self._turn.note(_cancel, _check_key(key))

    def active(self, key: Any) -> bool:
        """Whether the timer will still fire, counting what this turn has asked for."""
        timer = None if self._cell.timers is None else self._cell.timers.get(key)
        running = timer is not None and timer.entry is not None
        effects = self._turn.effects
        for op, args in effects.ops if effects is not None else ():
            if op in (_start, _cancel) and args[1] == key:
                running = op is _start
        return running


def _check_key(key: Any) -> Any:
    try:
        hash(key)
    except TypeError as error:
        raise ConfigurationError("timer key", key, "hashable, such as a str") from error
    return key


def _start(cell: Cell, key: Any, delay: float, message: Any, every: float | None) -> None:
    _cancel(cell, key)
    if cell.timers is None:
        cell.timers = {}
    elif len(cell.timers) >= SWEEP_FROM:
        _sweep(cell.timers)
    timer = cell.timers[key] = Timer(cell, key, message, every)
    timer.entry = cell.kernel.heap.at(cell.kernel.now() + delay, _fire, timer)
    if cell.kept is not None:
        cell.kept.mark()


def restart_timer(
    cell: Cell,
    key: Any,
    delay: float | None,
    message: Any,
    every: float | None,
    tick: Envelope | None,
) -> None:
    """Let a timer of an earlier life run on, of which *tick* waits; without a *delay* there will
    be no other."""
    _start(cell, key, delay or 0.0, message, every)
    assert cell.timers is not None
    timer = cell.timers[key]
    timer.tick = tick
    if delay is None:
        cell.kernel.heap.settle(timer.entry)
        timer.entry = None


def _cancel(cell: Cell, key: Any) -> None:
    timer = None if cell.timers is None else cell.timers.pop(key, None)
    if timer is None:
        return
    if cell.kept is not None:
        cell.kept.mark()
    if timer.entry is not None:
        cell.kernel.heap.settle(timer.entry)
    if timer.tick is not None and timer.waits():
        withdraw(cell.mailbox, timer.tick)


def _fire(timer: Timer) -> None:
    cell = timer.cell
    kernel, mailbox = cell.kernel, cell.mailbox
    if not timer.waits():
        refresh_body(timer.pattern)
        timer.tick = Envelope(timer.pattern.body, next(kernel.ids))
        timer.tick.packed = timer.pattern.packed
        timer.tick.sender = cell
        timer.tick.since = kernel.now()
        kernel.held += 1
        mailbox.accepted += 1
        mailbox.put_due(timer.tick)
    else:
        kernel.counters["timer_ticks_left_out"] += 1
    if cell.kept is not None:
        cell.kept.mark()
    if timer.every is None:
        timer.entry = None
        return
    assert timer.entry is not None
    now = kernel.now()
    when = timer.entry[0] + timer.every  # A fixed rate, so that it does not drift.
    if when <= now:  # Ticks that were missed are left out, not made up for.
        when = now + timer.every - (now - when) % timer.every
    timer.entry = kernel.heap.at(when, _fire, timer)


def _sweep(timers: dict[Any, Timer]) -> None:
    """Forget fired one-shot timers whose tick has been handled."""
    for key in [key for key, timer in timers.items() if timer.entry is None and not timer.waits()]:
        del timers[key]


def stop_timers(cell: Cell) -> None:
    """End all timers of a cell that has ended for good. A tick of one that comes back in the next
    life stays in the mailbox, like all that is there."""
    lasts = cell.kept is not None and cell.kept.lasts
    for key, timer in list((cell.timers or {}).items()):
        if lasts:
            timer.tick = None
        _cancel(cell, key)
