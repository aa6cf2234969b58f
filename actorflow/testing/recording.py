"""Write down what the runtime does with messages: pumps around mailboxes, books and handlers.

    a mailbox         says what is put into it, and what comes back to it
    its ledger        says what leaves for good
    a handler         is seen to begin and to end

The runtime knows nothing of it. What is done in one frame, without a turn being begun or ended,
is as it is: where a stage hands a value straight to the next one, nothing is said of that.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from actorflow.core.envelope import Envelope, message_id
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.reply import PatientReply, Reply
from actorflow.testing.fields import Fields
from actorflow.testing.moves import Kind, Move, Sent

__all__ = ["Recording"]


class SeenMailbox(Mailbox):
    """A mailbox that says what is done to it. It has no more than one that does not, so that one
    that is there already can be made one."""

    __slots__ = ()

    def put(self, envelope: Envelope, *, committed: bool = False) -> None:
        sender, by = envelope.sender, 0
        if sender is not None and committed:
            by = self._recording.number(sender)
        self._say("accepted", envelope, sender=getattr(sender, "path", ""), sent=committed, by=by)
        super().put(envelope, committed=committed)

    def put_due(self, envelope: Envelope, *, front: bool = False) -> None:
        cut_off = self._recording.leave(envelope)  # Else it is new, or was set aside.
        self._say("given back" if cut_off else "due", envelope)
        super().put_due(envelope, front=front)

    def redeliver(self, envelope: Envelope, delay: float, position: str) -> None:
        now = self.kernel.ports.simulation.now()
        self._say("retried", envelope, until=now + delay)
        self._recording.leave(envelope)
        super().redeliver(envelope, delay, position)

    def set_aside(self) -> None:
        for cell in self.readers:
            stash: Any = getattr(cell, "stash", None)
            if stash and self._recording.leave(stash[-1]):  # A turn has stashed it.
                self._say("stashed", stash[-1])
        super().set_aside()

    def step_aside(self, envelope: Envelope, seconds: float) -> None:
        self._say("aside", envelope)
        super().step_aside(envelope, seconds)

    @property
    def _recording(self) -> Recording:
        found: Recording = self.kernel.ports.simulation.recording
        return found

    def _say(self, kind: Kind, envelope: Envelope, **more: Any) -> None:
        self._recording.say_of_box(kind, self, envelope, **more)


class Recording:
    """Writes down one life.

    Args:
        life: Which.
        lines: Where.
    """

    def __init__(self, life: Any, lines: list[Move]) -> None:
        self._life = life
        self._add = lines.append
        self._ledgers: list[Any] = []
        self._numbers: dict[Any, int] = {}
        #: Which of several messages with one id each is: who asks twice, asks by one id.
        self._copies: dict[Envelope, int] = {}
        self._counts: Counter[tuple[Any, str]] = Counter()
        #: Questions that were acknowledged since `untold` was asked last.
        self._asked: list[Envelope] = []
        self._diverting: Envelope | None = None
        #: The messages whose turn has begun and is not decided.
        self._open: set[Envelope] = set()
        #: What the last turn of each actor has found and left, and in which incarnation.
        self._last: dict[Any, tuple[int, Fields, Fields]] = {}

    def begin(self, cell: Any) -> None:
        """An incarnation of *cell* begins."""
        mailbox = cell.mailbox
        if type(mailbox) is Mailbox:
            mailbox.__class__ = SeenMailbox
            for envelope in (*mailbox.messages(), *(cell.stash or ())):
                self.say_of_box("found", mailbox, envelope)
        for ledger in mailbox.ledger, cell.kernel:
            if not any(each is ledger for each in self._ledgers):
                self._ledgers.append(ledger)
                self._watch(ledger, cell.kernel)
                for letter in cell.kernel.letters if ledger is cell.kernel else ():
                    self.note("dead", f"/{cell.kernel.name}", str(letter.id))  # Before any began.
        # With an `on_start` of its own it may begin with other fields than it had.
        keeps = cell.kept is not None and cell.behaviour.starter(cell) is None
        cell.call = functools.partial(
            self._turn, cell, cell.call, Fields.of(cell) if keeps else None
        )

    def number(self, thing: Any) -> int:
        """The number of a system, a mailbox or an actor."""
        return self._numbers.setdefault(thing, len(self._numbers) + 1)

    def knows(self, kernel: Any) -> bool:
        """Whether what a system or run keeps is on the disk of this world, or nowhere."""
        return kernel.journal is None or self._life.world._has(kernel.run_id)

    def untold(self) -> Iterator[str]:
        """Who has asked what was acknowledged since the last call, and was told nothing."""
        asked, self._asked = self._asked, []
        for envelope in asked:
            if envelope.reply is not None and envelope.reply.open:
                yield f"who asked message {message_id(envelope)} is told nothing"

    def leave(self, envelope: Envelope) -> bool:
        """What becomes of its turn is decided; whether there was one."""
        running = envelope in self._open
        self._open.discard(envelope)
        return running

    # Lines ----------------------------------------------------------------------------

    def say_of_box(self, kind: Kind, mailbox: Mailbox, envelope: Envelope, **more: Any) -> None:
        """Write a line of what is done to *mailbox*."""
        kernel = mailbox.kernel
        piece = mailbox.ledger is not kernel or not self.knows(kernel)
        box = self.number(mailbox)
        self.say(kind, kernel, mailbox.path, envelope, piece=piece, box=box, **more)

    def say(self, kind: Kind, kernel: Any, path: str, envelope: Envelope, **more: Any) -> None:
        """Write a line of what becomes of *envelope*."""
        own = message_id(envelope)
        copy = self._copies.get(envelope)
        if copy is None:
            self._counts[kernel, own] += 1
            copy = self._copies[envelope] = self._counts[kernel, own]
        self._write(
            kind,
            path,
            kernel.name,
            own,
            run=self.number(kernel),
            copy=copy,
            attempt=envelope.attempt,
            priority=envelope.priority,
            **more,
        )

    def note(self, kind: Kind, path: str, message: str) -> None:
        """Write a line of what the outside knows, or the disk has."""
        self._write(kind, path, path.split("/", 2)[1], message)

    def _write(self, kind: Kind, path: str, system: str, message: str, **more: Any) -> None:
        life = self._life
        if not life.dead:  # What a dead process does nobody sees.
            step, at = life.steps.count, life.now()
            self._add(Move(kind, life.number, step, at, path, system, message, **more))

    def _watch(self, ledger: Any, kernel: Any) -> None:
        """Hear of all that leaves for good."""
        acknowledge, give_up, divert = ledger.acknowledge, ledger.give_up, ledger.divert
        path = f"/{kernel.name}"

        def acknowledged(envelope: Envelope) -> None:
            if envelope is not self._diverting:
                self._gone("acknowledged", kernel, path, envelope)
                if type(envelope.reply) in (Reply, PatientReply):
                    self._asked.append(envelope)
            acknowledge(envelope)

        def given_up(envelope: Envelope, reason: Any, error: Any, where: str) -> Any:
            self._gone("dead", kernel, path, envelope, reason=reason)
            return give_up(envelope, reason, error, where)

        def diverted(envelope: Envelope, to: Any) -> None:
            self._gone("diverted", kernel, path, envelope)
            self._diverting = envelope
            try:
                divert(envelope, to)
            finally:
                self._diverting = None

        ledger.acknowledge, ledger.give_up, ledger.divert = acknowledged, given_up, diverted

    def _gone(
        self, kind: Kind, kernel: Any, path: str, envelope: Envelope, reason: str = ""
    ) -> None:
        self.leave(envelope)
        self.say(kind, kernel, path, envelope, reason=reason)
        self._copies.pop(envelope, None)

    # Turns ----------------------------------------------------------------------------

    def _turn(
        self, cell: Any, call: Callable[[Any], Any], brought: Fields | None, body: Any
    ) -> Any:
        envelope = cell.lease
        self._life.steps.turn()
        self._open.add(envelope)
        found, amiss, restored = Fields.of(cell), ((), ()), False
        if found is not None:
            restored = brought is not None and not found.unlike(brought)  # Or `replace=True`.
            incarnation, before, after = self._last.get(cell, (0, found, found))
            if incarnation == cell.incarnation:
                amiss = found.unlike(after), found.unlike(before)  # type: ignore[assignment]
        self._say_turn(
            "begun", cell, envelope, found, key=envelope.key, restored=restored, amiss=amiss
        )
        try:
            value = call(body)
        except BaseException as error:
            self._end(cell, envelope, found, error)
            raise
        if cell.coroutines:
            return self._rest(cell, envelope, found, value)
        self._end(cell, envelope, found, None)
        return value

    async def _rest(
        self, cell: Any, envelope: Envelope, found: Fields | None, rest: Coroutine[Any, Any, Any]
    ) -> Any:
        try:
            value = await rest
        except BaseException as error:
            self._end(cell, envelope, found, error)
            raise
        self._end(cell, envelope, found, None)
        return value

    def _end(
        self, cell: Any, envelope: Envelope, found: Fields | None, error: BaseException | None
    ) -> None:
        effects = None if cell.turn is None else cell.turn.effects
        more: dict[str, Any] = {}
        if effects is not None:
            outbox = [
                Sent(target.mailbox.path, message_id(each), delay)
                for target, each, delay in effects.sends
                if type(target.mailbox) is SeenMailbox
            ]
            more = {"outbox": tuple(outbox), "stashed": effects.stashed}
        left = Fields.of(cell)
        if found is not None and left is not None:
            self._last[cell] = cell.incarnation, found, left
            more["changed"] = left.unlike(found)
        raised = "" if error is None else type(error).__name__
        self._say_turn("ended", cell, envelope, left, raised=raised, **more)

    def _say_turn(
        self, kind: Kind, cell: Any, envelope: Envelope, fields: Fields | None, **more: Any
    ) -> None:
        self.say(
            kind,
            cell.kernel,
            cell.path,
            envelope,
            mailbox=cell.mailbox.path,
            box=self.number(cell.mailbox),
            actor=self.number(cell),
            incarnation=cell.incarnation,
            digest=b"" if fields is None or cell.kept is None else fields.digest,
            **more,
        )
