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
from actorflow.testing.moves import Kind, Move, Sent

__all__ = ["Recording"]


class SeenMailbox(Mailbox):
    """A mailbox that says what is done to it. It has no more than one that does not, so that one
    that is there already can be made one."""

    __slots__ = ()

    def put(self, envelope: Envelope, *, committed: bool = False) -> None:
        sender = "" if envelope.sender is None else envelope.sender.path
        piece = self.ledger is not self.kernel
        self._recording.say(
            "accepted", self.path, envelope, sender=sender, sent=committed, piece=piece
        )
        super().put(envelope, committed=committed)

    def put_due(self, envelope: Envelope, *, front: bool = False) -> None:
        self._recording.came_back(self, envelope)
        super().put_due(envelope, front=front)

    def redeliver(self, envelope: Envelope, delay: float, position: str) -> None:
        self._say("retried", envelope)
        self._recording.leave(envelope)
        super().redeliver(envelope, delay, position)

    def set_aside(self) -> None:
        self._recording.set_aside(self)
        super().set_aside()

    def step_aside(self, envelope: Envelope, seconds: float) -> None:
        self._say("aside", envelope)
        super().step_aside(envelope, seconds)

    @property
    def _recording(self) -> Recording:
        found: Recording = self.kernel.ports.simulation.recording
        return found

    def _say(self, kind: Kind, envelope: Envelope, **more: Any) -> None:
        self._recording.say(kind, self.path, envelope, piece=self.ledger is not self.kernel, **more)


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
        #: Which of several messages with one id each is: who asks twice, asks by one id.
        self._copies: dict[Envelope, int] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        #: Questions that were acknowledged since `untold` was asked last.
        self._asked: list[Envelope] = []
        #: The messages whose turn has begun and is not decided, and which attempt that is.
        self._open: dict[Envelope, int] = {}

    def begin(self, cell: Any) -> None:
        """An incarnation of *cell* begins."""
        mailbox = cell.mailbox
        if type(mailbox) is Mailbox:
            mailbox.__class__ = SeenMailbox
            for envelope in (*mailbox.messages(), *(cell.stash or ())):
                piece = mailbox.ledger is not cell.kernel
                self.say("found", mailbox.path, envelope, piece=piece)
        for ledger in mailbox.ledger, cell.kernel:
            if not any(each is ledger for each in self._ledgers):
                self._ledgers.append(ledger)
                self._watch(ledger, f"/{cell.kernel.name}")
        kept = cell.kept is not None and cell.behaviour.starter(cell) is None
        cell.call = functools.partial(self._turn, cell, cell.call, kept)

    def untold(self) -> Iterator[str]:
        """Who has asked what was acknowledged since the last call, and was told nothing."""
        asked, self._asked = self._asked, []
        for envelope in asked:
            if envelope.reply is not None and envelope.reply.open:
                yield f"who asked message {message_id(envelope)} is told nothing"

    def say(self, kind: Kind, path: str, envelope: Envelope, **more: Any) -> None:
        """Write a line, unless the process is dead."""
        life = self._life
        if life.dead:
            return
        own = message_id(envelope)
        system = path.split("/", 2)[1]
        copy = self._copies.get(envelope)
        if copy is None:
            self._counts[system, own] += 1
            copy = self._copies[envelope] = self._counts[system, own]
        self._add(
            Move(
                kind=kind,
                life=life.number,
                step=life.steps.count,
                at=life.now(),
                path=path,
                system=system,
                message=own,
                copy=copy,
                attempt=envelope.attempt,
                priority=envelope.priority,
                **more,
            )
        )

    def leave(self, envelope: Envelope) -> None:
        """What becomes of its turn is decided."""
        self._open.pop(envelope, None)

    def came_back(self, mailbox: Mailbox, envelope: Envelope) -> None:
        """*envelope* is put ahead of others: as a new one, after a turn that was cut off, or after
        it was set aside."""
        attempt = self._open.pop(envelope, None)
        kind: Kind = "due" if attempt is None or envelope.attempt == attempt else "given back"
        piece = mailbox.ledger is not mailbox.kernel
        self.say(kind, mailbox.path, envelope, piece=piece)

    def set_aside(self, mailbox: Mailbox) -> None:
        """One more message waits outside the lanes of *mailbox*: a turn may have stashed it."""
        for cell in mailbox.readers:
            stash: Any = getattr(cell, "stash", None)
            if stash and self._open.pop(stash[-1], None) is not None:
                self.say("stashed", mailbox.path, stash[-1])

    def note(self, kind: Kind, path: str, message: str) -> None:
        """Write a line of what the outside knows, or the disk has."""
        life = self._life
        if not life.dead:
            steps = life.steps.count
            self._add(
                Move(
                    kind=kind,
                    life=life.number,
                    step=steps,
                    at=life.now(),
                    path=path,
                    system=path.split("/", 2)[1],
                    message=message,
                )
            )

    def _watch(self, ledger: Any, system: str) -> None:
        """Hear of all that leaves for good."""
        acknowledge, give_up = ledger.acknowledge, ledger.give_up

        def acknowledged(envelope: Envelope) -> None:
            self.leave(envelope)
            self.say("acknowledged", system, envelope)
            if type(envelope.reply) in (Reply, PatientReply):
                self._asked.append(envelope)
            self._copies.pop(envelope, None)
            acknowledge(envelope)

        def given_up(envelope: Envelope, reason: Any, error: Any, where: str) -> Any:
            self.leave(envelope)
            self.say("dead", system, envelope, reason=reason)
            self._copies.pop(envelope, None)
            return give_up(envelope, reason, error, where)

        ledger.acknowledge, ledger.give_up = acknowledged, given_up

    # Turns ----------------------------------------------------------------------------

    def _turn(self, cell: Any, call: Callable[[Any], Any], kept: bool, body: Any) -> Any:
        envelope = cell.lease
        self._open[envelope] = envelope.attempt
        self._say_turn("begun", cell, envelope, key=envelope.key, durable=kept)
        try:
            value = call(body)
        except BaseException as error:
            self._end(cell, envelope, error)
            raise
        if cell.coroutines:
            return self._rest(cell, envelope, value)
        self._end(cell, envelope, None)
        return value

    async def _rest(self, cell: Any, envelope: Envelope, rest: Coroutine[Any, Any, Any]) -> Any:
        try:
            value = await rest
        except BaseException as error:
            self._end(cell, envelope, error)
            raise
        self._end(cell, envelope, None)
        return value

    def _end(self, cell: Any, envelope: Envelope, error: BaseException | None) -> None:
        effects = None if cell.turn is None else cell.turn.effects
        more: dict[str, Any] = {}
        if effects is not None:
            outbox = [
                Sent(target.mailbox.path, message_id(each))
                for target, each, delay in effects.sends
                if delay <= 0 and type(target.mailbox) is SeenMailbox
            ]
            more = {"outbox": tuple(outbox), "stashed": effects.stashed}
        raised = "" if error is None else type(error).__name__
        self._say_turn("ended", cell, envelope, raised=raised, **more)

    def _say_turn(self, kind: Kind, cell: Any, envelope: Envelope, **more: Any) -> None:
        self.say(
            kind,
            cell.path,
            envelope,
            mailbox=cell.mailbox.path,
            incarnation=cell.incarnation,
            state=None if cell.state is None else dict(cell.state),
            **more,
        )
