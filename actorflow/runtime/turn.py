"""What a handler has in its hands: `ctx`, one turn's view of its actor.

Nothing a turn asks for happens at once. Sends, timers, watches, spawns, stash and
stop are noted as *effects* and take effect together when the turn commits, or not
at all. Only an ask leaves at once. A turn that asked for nothing has no effects
object, which is how the commit knows it has nothing to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import trio

from actorflow.core.envelope import Envelope, abroad, child, message_id
from actorflow.core.letters import Failed
from actorflow.core.partway import visible
from actorflow.errors import (
    ConfigurationError,
    MessageFailed,
    OutboxFull,
    StashFull,
    TurnEnded,
    UsageError,
)
from actorflow.options import priority as priority_of
from actorflow.options import seconds
from actorflow.runtime.bodies import as_sent, copied
from actorflow.runtime.cell import Cell, known_turn_here
from actorflow.runtime.effects import MAX_EMITS, Addressed, Effects, unstash, unwatch, watch
from actorflow.runtime.offload import in_process, in_thread
from actorflow.runtime.pieces import commit_failed_piece
from actorflow.runtime.ref import ActorRef, ask_with, join, ref_to
from actorflow.runtime.resting import answered
from actorflow.runtime.saying import say_progress, say_status
from actorflow.runtime.timers import Timers
from actorflow.runtime.waits import refuse_cycle, untie

__all__ = ["Turn", "current_turn"]


class Turn:
    """One turn of an actor or stage; handlers know it as ``ctx``. It ends with its turn.

    Raises:
        TurnEnded: From every verb, once the turn has ended.
    """

    __slots__ = ("_asks", "_cell", "_envelope", "effects", "resumes")

    def __init__(self, cell: Cell, envelope: Envelope) -> None:
        self._cell: Cell | None = cell
        self._envelope = envelope
        self._asks = 0
        self.effects: Effects | None = None
        #: Whether a generator goes on behind what it has emitted; `None` if it may not.
        self.resumes: bool | None = False

    def _live(self) -> Cell:
        if self._cell is None:
            raise TurnEnded(f"message {message_id(self._envelope)}")
        return self._cell

    def _wanted(self) -> Effects:
        if self._cell is None:
            raise TurnEnded(f"message {message_id(self._envelope)}")
        if self.effects is None:
            self.effects = Effects()
        return self.effects

    # Facts ----------------------------------------------------------------------------

    @property
    def self(self) -> ActorRef[Any]:
        """The actor's own ref."""
        return ref_to(self._live())

    @property
    def sender(self) -> ActorRef[Any] | None:
        """Who sent the message, if an actor did."""
        sender = self._envelope.sender
        return None if sender is None else ref_to(sender)

    @property
    def stage(self) -> str:
        """Name of the stage, or of the actor."""
        return self._live().mailbox.path.rpartition("/")[2]

    @property
    def message_id(self) -> str:
        """Id of the message: the same on every attempt."""
        return message_id(self._envelope)

    @property
    def attempt(self) -> int:
        """Which attempt this is; the first is 1."""
        return self._envelope.attempt

    @property
    def headers(self) -> Mapping[str, Any]:
        """What was attached to the message that started it all; read only."""
        return MappingProxyType(dict(visible(self._envelope.headers)))

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts that travel with the item, as copies of this turn's own; changes go on with it
        when the turn commits."""
        effects = self._wanted()
        if effects.metadata is None:
            effects.metadata = copied(visible(self._envelope.headers))
        return effects.metadata

    @property
    def deadline(self) -> float | None:
        """When the message is too late, on trio's clock, or `None`."""
        return self._envelope.deadline

    @property
    def emitted(self) -> int:
        """How many values earlier attempts of this generator have sent on; in `Steps`, how many
        steps were done before this turn.

        A generator that reads it before its first value has to go on behind these, as in
        ``for page in range(ctx.emitted, pages)``. One that does not begins anew, and what it has
        sent before is dropped. Where a `Context` gets all values it is 0.
        """
        if self.resumes is None:
            return 0
        self.resumes = True
        return self._envelope.emitted

    @property
    def deps(self) -> Any:
        """What the run was given as ``deps=``."""
        return getattr(self._live().mailbox.ledger, "deps", None)

    def cancelled(self) -> bool:
        """Whether this turn has been cancelled; for handlers that run in threads."""
        cell = self._cell
        return cell is None or cell.killed or cell.timed_out or cell.stuck is not None

    def idempotency_key(self, name: str) -> str:
        """A key for an effect outside: the same on every attempt of this message here."""
        cell = self._live()
        return f"{cell.kernel.run_id}:{self.message_id}:{cell.mailbox.path}:{name}"

    # Messages -------------------------------------------------------------------------

    def tell(
        self,
        ref: ActorRef[Any],
        message: Any,
        *,
        delay: float | None = None,
        priority: int | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Send *message* when the turn commits, *delay* seconds after that.

        Args:
            ref: Whom to.
            message: What to send.
            delay: Seconds to wait after the commit.
            priority: Lower first; the priority of the message being handled by default.
            headers: Added to the inherited ones.

        Raises:
            OutboxFull: The turn has sent as much as a turn may.
        """
        effects = self._wanted()
        if len(effects.sends) >= MAX_EMITS:
            raise OutboxFull(self._live().path, MAX_EMITS)
        message = as_sent(self._live(), message)
        envelope = child(self._envelope, message, self._next_child())
        envelope.sender = self._cell
        receiver = _receiver(ref, "tell")
        if receiver.kernel is not self._live().kernel:
            abroad(envelope, self._live().kernel.run_id)
        if priority is not None:
            envelope.priority = priority_of("ctx.tell() priority", priority)
        if headers:
            envelope.headers = {**(envelope.headers or {}), **headers}
        wait = 0.0 if delay is None else seconds("ctx.tell() delay", delay)
        effects.sends.append((receiver, envelope, wait))

    async def ask(self, ref: ActorRef[Any], message: Any, *, timeout: float = 5.0) -> Any:
        """Send *message* now and wait for the answer.

        Raises:
            AskCycle: The actor asked waits, directly or through others, for this one.
            AskTimeout: No answer in time.
            AskFailed: The message was given up; the handler's error is the cause.
            ActorStopped: The actor has ended for good.
        """
        cell = self._live()
        envelope = child(self._envelope, message, self._next_child())
        self._asks += 1  # Refused or not: what is sent next has the same id on every attempt.
        target = _receiver(ref, "ask")
        seconds("ctx.ask() timeout", timeout, zero=False)
        refuse_cycle(cell, target)
        envelope.sender = cell
        if target.kernel is not cell.kernel:
            abroad(envelope, cell.kernel.run_id)
        if cell.asking is None:
            cell.asking = []
        cell.asking.append(target)
        untie(cell, target)
        journal = cell.mailbox.journal
        try:
            if journal is None or journal.careful is None:
                return await self._answer(cell, target, envelope, timeout)
            answer = functools.partial(self._answer, cell, target, envelope, timeout)
            return await answered(journal.careful, cell, target.mailbox, answer)
        finally:
            cell.asking.remove(target)

    async def _answer(self, cell: Cell, target: Cell, question: Envelope, timeout: float) -> Any:
        """The answer of *target*, which may be known, or on its way, from an earlier life."""
        if cell.kept is None or target.kept is None:
            return await ask_with(target, target.mailbox, question, timeout)
        known, found = target.kept.ask(cell.kept, self.message_id, question)
        if known:
            await trio.lowlevel.checkpoint()
            return found
        if found is not None:
            return await join(target, found, question, timeout)
        try:
            return await ask_with(target, target.mailbox, question, timeout)
        finally:
            if question.reply is None:
                target.kept.unask(question)

    def children(self) -> int:
        """How many messages it has sent or asked so far; for the runtime."""
        return self._asks + (0 if self.effects is None else len(self.effects.sends))

    def _next_child(self) -> int:
        """Place of what is sent next, behind what a turn has sent that stashed the message."""
        earlier = self._envelope.emitted if self._live().target is None else 0
        return earlier + self.children()

    def reply(self, value: Any) -> None:
        """Answer the ask with *value* instead of what the handler returns."""
        self._wanted().answer = value

    def emit(self, value: Any, to: str | None = None) -> None:
        """Send *value*, as it is now, on when the turn commits.

        Args:
            value: What to send. A `Failed` is a piece that has failed, as where a generator
                yields one.
            to: Name of the one stage that is to get it, of those that follow; all by default.

        Raises:
            OutboxFull: The turn has emitted as much as a turn may.
            ConfigurationError: No stage of that name follows.
        """
        effects = self._wanted()
        if len(effects.emits) >= MAX_EMITS:
            raise OutboxFull(self._live().path, MAX_EMITS)
        target = self._live().target
        if to is not None and (target is None or not target.leads_to(to)):
            raise ConfigurationError("ctx.emit() to", to, "the name of a stage that follows")
        if type(value) is Failed:
            index = 2 * MAX_EMITS + len(effects.ops)  # Behind all that a generator could give.
            self.note(commit_failed_piece, value.error, index)
            return
        value = as_sent(self._live(), value)
        effects.emits.append(Addressed(to, value) if to is not None and target.forked else value)

    def feed(self, item: Any, *, stage: str) -> None:
        """Feed *item* to *stage* of this run when the turn commits, as an item of its own.

        Args:
            item: What to feed.
            stage: Name of any stage of the flow, but for those in branches that are joined.

        Raises:
            CompilationError: There is no such stage.
            ConfigurationError: It is in a branch that is joined with others.
            OutboxFull: The turn has asked for as much as a turn may.
            UsageError: This is no stage of a run.
        """
        cell, effects = self._live(), self._wanted()
        injector = getattr(cell.mailbox.ledger, "injector", None)
        if injector is None:
            raise UsageError(f"{cell.path}: ctx.feed() is for stages of a flow; use ctx.tell()")
        if len(effects.ops) >= MAX_EMITS:
            raise OutboxFull(cell.path, MAX_EMITS)
        effects.ops.append((injector.feed, (injector.mailbox(stage, "ctx.feed()"), item)))

    def skip(self) -> None:
        """Send nothing on: what the handler returns is dropped and the item counts as skipped."""
        self._wanted().skipped = True

    @property
    def skips(self) -> bool:
        """Whether `skip` was called."""
        return self.effects is not None and self.effects.skipped

    def fail(self, reason: str) -> NoReturn:
        """Give the message up at once; it is not tried again."""
        raise MessageFailed(self._live().path, reason)

    # For those who watch ---------------------------------------------------------------

    def status(self, text: str) -> None:
        """Say what the turn is doing, for `run.workers()` and displays; also from a thread.

        Args:
            text: Shown until the next call or the end of the turn; the first 200 characters.
        """
        say_status(self._live(), self._envelope, text)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the turn is; also from a thread.

        Args:
            done: How much is done, 0 or more; in whatever unit.
            total: How much there is, if that is known.
        """
        say_progress(self._live(), self._envelope, done, total)

    # Sections -------------------------------------------------------------------------

    def limit(self, name: str) -> Any:
        """A section for so many workers at a time: ``async with ctx.limit("db"): ...``.

        In a handler that runs in a thread: ``with ctx.limit("db"): ...``. ``has_room(n)`` of it
        says whether *n* could enter without waiting.

        Raises:
            ConfigurationError: The stage has no limit of that name.
        """
        return self._section("limit", name)

    def rate(self, name: str) -> Any:
        """A section that is entered so many times in a time: ``async with ctx.rate("api"): ...``;
        otherwise as `limit`."""
        return self._section("rate", name)

    def _section(self, kind: str, name: str) -> Any:
        cell = self._live()
        sections = getattr(cell.parent, "sections", None)
        if sections is None:
            raise UsageError(f"ctx.{kind}() is for stages; {cell.path} is an actor")
        return sections.find(kind, name, cell, self)

    # The actor ------------------------------------------------------------------------

    def spawn(self, actor: Any, *, name: str | None = None, **options: Any) -> ActorRef[Any]:
        """A child of this actor, started when the turn commits; it ends with this actor.

        Args:
            actor: An `Actor` class or instance, a `Supervisor`, or a `ChildSpec`.
            name: Last part of its path; the class name and a number by default.
            **options: As in `ActorSystem.spawn`.
        """
        cell = self._live()
        newborn, ref = cell.kernel.births(cell, actor, name, options)
        self._wanted().newborn.append(newborn)
        return ref  # type: ignore[no-any-return]

    def watch(self, ref: ActorRef[Any]) -> None:
        """Get one `Down` when *ref* has ended for good, at once if it has; in this process only."""
        self._own_mailbox("watch()")
        self.note(watch, ref.cell)

    def unwatch(self, ref: ActorRef[Any]) -> None:
        """Take a `watch` back."""
        self.note(unwatch, ref.cell)

    def stash(self) -> None:
        """Put the message aside until `unstash_all`; it counts as held and keeps its place.

        Raises:
            StashFull: As many messages are held back as the mailbox may hold back.
        """
        self._own_mailbox("stash()")
        cell = self._live()
        # One less, or a full stash would shut out the message that it waits for.
        limit = cell.mailbox.max_waiting - 1
        if cell.mailbox.waiting >= limit:
            raise StashFull(cell.path, limit)
        self._wanted().stashed = True

    def unstash_all(self) -> None:
        """Put all stashed messages back in front, in their order."""
        self._own_mailbox("unstash_all()")
        self.note(unstash)

    def stop(self) -> None:
        """End this actor after this turn."""
        self._own_mailbox("stop()")
        self._wanted().stops = True

    @property
    def timers(self) -> Timers:
        """Messages to this actor at later times."""
        self._own_mailbox("timers")
        return Timers(self._live(), self)

    def _own_mailbox(self, verb: str) -> None:
        if self._live().target is not None:
            raise UsageError(f"{verb} is for actors; a stage's workers share their mailbox")

    def told(self, after: Any) -> None:
        """Have ``await after(decision, error)`` called when it is decided what becomes of the
        message; for the runtime."""
        self._wanted().after = after

    def note(self, op: Callable[..., None], *args: Any) -> None:
        """Do ``op(cell, *args)`` when the turn commits; for the runtime."""
        self._wanted().ops.append((op, (self._cell, *args)))

    # Elsewhere ------------------------------------------------------------------------

    async def to_thread(self, fn: Callable[..., Any], *args: Any, abandon: bool = False) -> Any:
        """Run ``fn(*args)`` in a thread; *abandon* lets it run on after a timeout unwatched."""
        return await in_thread(self._live(), fn, *args, abandon=abandon)

    async def to_process(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run ``fn(*args)`` in a worker process, which is killed at a timeout."""
        return await in_process(self._live(), fn, *args)

    def close(self) -> None:
        """The turn has ended; for the runtime."""
        self._cell = None


def _receiver(ref: ActorRef[Any], verb: str) -> Cell:
    cell = ref.cell
    if cell.mailbox is None:
        raise UsageError(f"{cell.path} is a supervisor; {verb} one of its children")
    return cell


def current_turn() -> Turn:
    """The turn that the running code works for, for code too deep to be handed ``ctx``.

    Raises:
        UsageError: There is none: the code runs outside a handler.
    """
    turn: Turn | None = known_turn_here()
    if turn is None:
        raise UsageError("current_turn() is for code that a handler runs; there is no turn here")
    return turn
