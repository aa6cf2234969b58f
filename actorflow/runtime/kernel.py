"""What all actors of one system share: ports, the clock, dead letters, names, counters.

The kernel owns no task and decides nothing. It is also the ledger of messages
between actors: how many are accepted and neither acknowledged nor given up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import trio

from actorflow.core.envelope import Envelope, abroad, message_id
from actorflow.core.events import MessageDied
from actorflow.core.letters import DeadLetter, Reason, render_traceback
from actorflow.errors import ActorStopped, AskFailed, ConfigurationError
from actorflow.runtime.audience import Audience
from actorflow.runtime.due import DueHeap
from actorflow.runtime.ports import Ports

__all__ = ["Kernel", "Ledger"]

logger = logging.getLogger("actorflow")

#: Dead letters kept in memory by a system; older ones stay counted, not kept.
LETTERS_KEPT = 10_000


class Ledger(Protocol):
    """Who accounts for the messages of a mailbox. Each departure is told once."""

    def acknowledge(self, envelope: Envelope) -> None:
        """The message is done and nothing of it is left anywhere."""

    def give_up(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, where: str
    ) -> None:
        """The message leaves as a dead letter."""

    def divert(self, envelope: Envelope, to: Any) -> None:
        """The message goes to *to* instead, as a new message there."""


class Kernel(Audience):
    """The shared services of one system.

    Args:
        name: Name of the system.
        ports: Time, chance and ids.
        observers: Told the events they want; may fail without harm.
    """

    #: Whether turns may take the fast branch; the law tests run with it on and off.
    fast = True

    #: Whether actors look for fields that a failed turn has changed in place.
    debug = False

    def __init__(self, name: str, ports: Ports, observers: Iterable[Any] = ()) -> None:
        super().__init__(observers)
        self.name = self.run_id = name
        self.ports = ports
        self.now: Callable[[], float] = ports.now
        self.heap = DueHeap(ports.now)
        self.letters: deque[DeadLetter] = deque(maxlen=LETTERS_KEPT)
        self.machines: dict[str, Any] = {}  # Policy state shared by name.
        self.held = 0  # Messages between actors: accepted, not yet done or dead.
        self.told = 0  # Messages sent from outside, for their share of checkpoints.
        self.ids = ports.ids
        self.draining = False
        self.services: Any = None  # The nursery of what serves all actors.
        self.births: Any = None  # Makes the cell of a child that a turn spawns.
        self.nurture: Any = None  # Makes the supervisor of what a cell has spawned.
        self.cut_off: set[Any] = set()  # Threads that may still end before they count as stuck.
        self.journal: Any = None  # Where what must survive is told; see `runtime.journal`.
        self.stored: Any = None  # What earlier lives of durable actors have left.
        self.set_back = 0.0  # Seconds by which the wall clock was behind the cut that was read.
        self.limiters: dict[str, trio.CapacityLimiter] = {}
        self.middleware: tuple[Any, ...] = ()  # Of the flow, the outermost first.
        self.hooks: tuple[Any, ...] = ()  # Of the flow.
        self.unheard: list[Any] = []  # Async hooks of a time when nobody could run them.
        self.processes: trio.Event | None = None
        self.processes_ready: Any = None
        self._quiet: trio.Event | None = None

    def ahead(self) -> float:
        """How much the wall clock is ahead of `now` for what was restored. Time does not go back:
        a clock that is behind the last cut was set, and nobody waits longer than was left."""
        return self.ports.wall() + self.set_back - self.now()

    # What goes wrong --------------------------------------------------------------------

    def report(self, path: str, what: str, error: BaseException) -> None:
        """Say that something went wrong that no message pays for."""
        self.counters["errors"] += 1
        logger.error("%s: %s: %r", path, what, error)

    def tell_changed(self, path: str, fields: Iterable[str]) -> None:
        """Say which fields a turn that failed had changed in place, so that they stay changed."""
        for field in fields:
            self.counters["changed_in_place"] += 1
            logger.error(
                "%s: a turn that failed changed field %r in place; replace its value "
                'instead, or spawn with isolation="copy"',
                path,
                field,
            )

    # The ledger of messages between actors ----------------------------------------------

    def acknowledge(self, envelope: Envelope) -> None:
        self.held -= 1
        if self.journal is not None:
            self.journal.drop(envelope)
        if not self.held and self._quiet is not None:
            self._quiet.set()

    def give_up(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, where: str
    ) -> None:
        """Write a dead letter, and fail the ask that waits for it, if one does."""
        self.held -= 1
        letter = self.letter(envelope, reason, error, where)
        if self.journal is not None:
            self.journal.drop(envelope)
            self.journal.bury(letter, envelope)
            self.journal.forget(letter.id)
            self.journal.want()  # Of what no cut had, the letter is all there is.
            kept = getattr(self.nodes.get(where), "kept", None)
            if kept is not None:
                kept.unask(envelope)
        self.bury(letter)
        reply = envelope.reply
        if reply is not None:
            failure = ActorStopped(where) if reason == "stopped" else AskFailed(where, reason)
            failure.__cause__ = error
            reply.fail(failure)
        if not self.held and self._quiet is not None:
            self._quiet.set()

    def divert(self, envelope: Envelope, to: Any) -> None:
        """Give *envelope* to *to*, a ref or the name or path of an actor; without one it dies."""
        path = to if isinstance(to, str) else getattr(to, "path", "")
        node: Any = getattr(to, "_cell", None)
        node = node or self.nodes.get(path) or self.nodes.get(f"/{self.name}/{path}")
        mailbox = getattr(node, "mailbox", None)
        if mailbox is None:
            error = ConfigurationError("Divert.to", to, "a ref, or the name of a living actor")
            self.give_up(envelope, "failed", error, str(to))
            return
        envelope.attempt = 0
        envelope.packed = None
        node.kernel.held += 1  # Which may be another system's.
        self.acknowledge(envelope)
        if node.kernel is not self:
            abroad(envelope, self.run_id)
        mailbox.put(envelope)

    def close(self) -> None:
        """No actor is left: what was to be sent later finds its mailbox closed."""
        for entry in self.heap.entries():
            action, argument = entry[2:]
            if isinstance(argument, Envelope):
                self.heap.settle(entry)
                action(argument)

    def letter(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, where: str
    ) -> DeadLetter:
        """The dead letter for *envelope*, not yet buried."""
        return DeadLetter(
            id=message_id(envelope),
            body=envelope.body,
            stage_or_actor=where,
            reason=reason,
            error=error,
            traceback="" if error is None else render_traceback(error),
            attempts=envelope.attempt,
            at=self.ports.wall(),
            replays=envelope.replays,
        )

    def bury(self, letter: DeadLetter) -> None:
        """Keep, count and report a dead letter."""
        self.letters.append(letter)
        self.counters["dead_letters"] += 1
        if self.observers:
            self.emit(MessageDied(letter))

    def farewell(self, node: Any) -> None:
        """A supervisor is gone: its path is free, and whoever waits for it is told."""
        self.nodes.pop(node.path, None)
        if node.gone is not None:
            node.gone.set()

    def drain(self) -> None:
        """Take nothing more from outside; what waits for a circuit to recover is rejected."""
        self.draining = True
        for node in list(self.nodes.values()):
            mailbox = getattr(node, "mailbox", None)
            if mailbox is not None:
                mailbox.wake_for_work()

    async def quiet(self) -> None:
        """Wait until no message between actors is held."""
        while self.held:
            if self._quiet is None or self._quiet.is_set():
                self._quiet = trio.Event()
            await self._quiet.wait()
