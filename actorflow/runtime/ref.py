"""The handle on an actor that others hold: tell, ask, wait for its end.

A ref is a path with a way to its cell. Two refs are equal if their paths are. A
message may carry refs: the codec writes the path, and what it reads is bound to
the system of the actor that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import trio

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.errors import ActorStopped, AskTimeout, MailboxFull, NotRunningError, UsageError
from actorflow.options import priority as priority_of
from actorflow.options import seconds
from actorflow.runtime.cell import CURRENT, Cell, turn_here
from actorflow.runtime.reply import PatientReply, Reply
from actorflow.wire.codec import encode
from actorflow.wire.registry import register_reference

__all__ = ["ActorRef", "ask_with", "join", "ref_to"]

M = TypeVar("M")

#: A `tell` that finds room does not yield, but every so many do.
TELLS_PER_CHECKPOINT = 64


class ActorRef(Generic[M]):
    """A handle on one actor; cheap, immutable, and good for longer than the actor. One that was
    read back, from a message or a checkpoint, names an actor of the system that reads it.

    Attributes:
        path: Path of the actor, such as ``/bank/alice``.
    """

    __slots__ = ("__weakref__", "_cell", "path")

    def __init__(self, path: str, cell: Any = None) -> None:
        self.path = path
        self._cell: Cell | None = cell

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def cell(self) -> Cell:
        """The runtime's record of the actor.

        Raises:
            ActorStopped: The ref came out of a message and names no actor here.
        """
        if self._cell is None:
            here = CURRENT.get()
            found = None if here is None else here.kernel.nodes.get(self.path)
            if found is None:
                raise ActorStopped(self.path)
            self._cell = found
        return self._cell

    async def tell(
        self,
        message: M,
        *,
        priority: int = DEFAULT_PRIORITY,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Send *message*; returns when the mailbox has accepted it, waiting for room.

        Inside a turn it goes to the turn's outbox, leaves when the turn commits, and
        does not wait.

        Args:
            message: What to send.
            priority: Lower is handled first; inside a turn the default is that of the
                message being handled.
            headers: Passed on to everything that is sent while it is handled.

        Raises:
            ActorStopped: The actor has ended for good.
            MailboxFull: It is full and its overflow rule is "fail".
        """
        turn = turn_here()
        if turn is not None:
            inherited = None if priority == DEFAULT_PRIORITY else priority
            turn.tell(self, message, priority=inherited, headers=headers)
            return
        cell = self.cell
        kernel = cell.kernel
        kernel.told += 1
        if not kernel.told % TELLS_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()  # Before it is accepted: Cancelled says it is not.
        mailbox = _open_mailbox(cell)
        if not mailbox.has_room():
            await mailbox.wait_for_room()
            if mailbox.closed:
                raise ActorStopped(cell.path)
        number = self._send(cell, message, priority, headers)
        if mailbox.journal is not None:
            await mailbox.journal.settled()
            if kernel.ports.simulation is not None:
                kernel.ports.simulation.told(kernel.run_id, number)

    def tell_nowait(
        self,
        message: M,
        *,
        priority: int = DEFAULT_PRIORITY,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Like `tell`, but raises `MailboxFull` instead of waiting for room."""
        turn = turn_here()
        if turn is not None:
            inherited = None if priority == DEFAULT_PRIORITY else priority
            turn.tell(self, message, priority=inherited, headers=headers)
            return
        cell = self.cell
        mailbox = _open_mailbox(cell)
        if not mailbox.has_room():
            raise MailboxFull(cell.path, mailbox.capacity)
        self._send(cell, message, priority, headers)

    def _send(
        self, cell: Cell, message: M, priority: int, headers: Mapping[str, Any] | None
    ) -> int:
        """Put the message; answers its number."""
        kernel, mailbox = cell.kernel, cell.mailbox
        if mailbox.overflow == "fail" and mailbox.free() <= 0:
            raise MailboxFull(cell.path, mailbox.capacity)
        if mailbox.journal is not None:
            encode(message)  # What cannot be kept is not accepted.
        envelope = Envelope(message, next(kernel.ids))
        if priority != DEFAULT_PRIORITY:
            envelope.priority = priority_of("tell() priority", priority)
        if headers is not None:
            envelope.headers = dict(headers)
        kernel.held += 1
        number: int = envelope.root
        mailbox.put(envelope)
        return number

    async def ask(self, message: M, *, timeout: float = 5.0) -> Any:
        """Send *message* and wait for the answer: what `receive` returned for it.

        Args:
            message: What to send.
            timeout: Longest wait in seconds, room in the mailbox included; above 0.

        Raises:
            AskTimeout: No answer in time. The message may still be handled.
            AskFailed: The message was given up; the handler's error is the cause.
            ActorStopped: The actor has ended for good.
        """
        turn = turn_here()
        if turn is not None:
            return await turn.ask(self, message, timeout=timeout)
        cell = self.cell
        kernel, mailbox = cell.kernel, _open_mailbox(cell)
        seconds("ask() timeout", timeout, zero=False)
        envelope = Envelope(message, next(kernel.ids))
        answer = await ask_with(cell, mailbox, envelope, timeout)
        if mailbox.journal is not None and kernel.ports.simulation is not None:
            kernel.ports.simulation.answered(cell.path, envelope.root)
        return answer

    async def stopped(self) -> None:
        """Wait until the actor has ended for good."""
        cell = self.cell
        if cell.ended is not None:
            await trio.lowlevel.checkpoint()
            return
        if cell.gone is None:
            cell.gone = trio.Event()
        await cell.gone.wait()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"ActorRef({self.path!r})"


async def ask_with(cell: Cell, mailbox: Any, envelope: Envelope, timeout: float) -> Any:
    """Put *envelope* with a reply token and wait for the answer, *timeout* seconds in all."""
    kernel = cell.kernel
    until = kernel.now() + timeout
    if not mailbox.has_room():
        until = await _wait_for_room(cell, mailbox, timeout)
    if mailbox.overflow == "fail" and mailbox.free() <= 0:
        raise MailboxFull(cell.path, mailbox.capacity)
    reply = _token(cell, mailbox, envelope, until)
    kernel.held += 1
    mailbox.put(envelope)
    return await reply.wait(until - kernel.now())


async def _wait_for_room(cell: Cell, mailbox: Any, timeout: float) -> float:
    """Wait until *mailbox* has room for a question; answers until when its answer may come."""
    until = cell.kernel.now() + timeout
    careful = None if mailbox.journal is None else mailbox.journal.careful
    charged = 0.0 if careful is None else careful.closed()
    while True:
        with trio.move_on_at(until) as scope:
            await mailbox.wait_for_room()
        if careful is not None:
            closed = careful.closed()
            until, charged = until + closed - charged, closed
        if mailbox.closed:
            raise ActorStopped(cell.path)
        if not scope.cancelled_caught:
            return until
        if cell.kernel.now() >= until:
            raise AskTimeout(cell.path, timeout)


def _token(cell: Cell, mailbox: Any, question: Envelope, until: float) -> Reply:
    """Where the answer to *question* goes, which may come *until* then."""
    if question.deadline is None or question.deadline > until:
        question.deadline = until
    if mailbox.journal is None or mailbox.journal.careful is None:
        reply = Reply(cell.kernel, cell.path)
    else:
        closed = mailbox.journal.careful.closed
        reply = PatientReply(cell.kernel, cell.path, question, until, closed)
    question.reply = reply
    return reply


async def join(cell: Cell, question: Envelope, asked: Envelope, timeout: float) -> Any:
    """Wait for the answer to a *question* that waits there already, and is *asked* once more."""
    question.deadline, question.sender = asked.deadline, asked.sender
    reply = _token(cell, cell.mailbox, question, cell.kernel.now() + timeout)
    return await reply.wait(timeout)


def _open_mailbox(cell: Cell) -> Any:
    mailbox = cell.mailbox
    if mailbox is None:
        raise UsageError(f"{cell.path} is a supervisor; send to one of its children")
    if mailbox.closed:
        raise ActorStopped(cell.path)
    if cell.kernel.draining:
        raise NotRunningError(f"{cell.path}: the system is draining and takes nothing from outside")
    return mailbox


def ref_to(cell: Cell) -> ActorRef[Any]:
    """The handle on *cell*."""
    return ActorRef(cell.path, cell)


register_reference(ActorRef, lambda ref: ref.path, ActorRef)
