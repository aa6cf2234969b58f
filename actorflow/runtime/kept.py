"""What a durable actor keeps beside its mail: its fields, its timers, its answers.

    turn ends ──► pack: the fields as bytes, or why they cannot be    may fail the turn
    commit    ──► note: these bytes are the state now                 cannot fail
    cut       ──► provide: state, incarnation, timers, spawn options

An answer given to a durable asker is kept until the turn that asked is on disk as done:
when that turn is run again, it asks under the same id and gets the same answer, and the
question does not run twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from actorflow.core.envelope import Envelope, address, message_id
from actorflow.errors import AskDiverged, ConfigurationError, DecodeError, EncodeError
from actorflow.runtime.actor import Actor
from actorflow.runtime.cell import Cell, Ending
from actorflow.runtime.effects import UNSET
from actorflow.runtime.reply import EXPECTED, UNASKED
from actorflow.wire.codec import decode, encode
from actorflow.wire.registry import REGISTRY

__all__ = ["Kept", "actor_class", "check_class", "fields_of", "tag_of"]


class Kept:
    """The durable side of one actor.

    Args:
        cell: The actor's.
        options: How it was spawned, as plain values; `None` if that is more than plain values,
            so that only a spawn can start it again.
        state: What `provide` gave in an earlier life, or `None`.
    """

    __slots__ = (
        "_answer",
        "_cell",
        "_journal",
        "_key",
        "_next",
        "answers",
        "fields",
        "lasts",
        "options",
        "questions",
        "tag",
    )

    def __init__(
        self, cell: Cell, options: dict[str, Any] | None, state: Mapping[str, Any] | None
    ) -> None:
        self._cell = cell
        self._journal: Any = cell.mailbox.journal
        self._key = f"actor{cell.path}"
        self._next: bytes = b""
        self._answer: bytes | None = None
        self.tag: tuple[str, int] = ("", 0)
        self.options = options
        self.lasts = False  # It has ended and comes back in the next life.
        self.fields: bytes | None = None if state is None else state["fields"]
        #: Questions of durable askers that wait here, by id.
        self.questions: dict[str, Envelope] = {}
        #: Answers by the id of the question: a digest of the question and the packed answer.
        self.answers: dict[str, tuple[bytes, bytes]] = {}
        if state is not None:
            self.tag = tuple(state["tag"])
            cell.incarnation = state["incarnation"]
            self._recall(state["answers"])

    def _recall(self, answers: Mapping[str, Any]) -> None:
        """Keep those of *answers* that may be asked for again: by a message that is here still, or
        by one of another system."""
        for own, answer in answers.items():
            root, _ = address(own)
            if isinstance(root, str) or self._asks_again(own):
                self.answers[own] = tuple(answer)
                self._note_asked(own)

    def _asks_again(self, question: str) -> bool:
        """Whether the message that has asked *question* in an earlier life is in this system."""
        return question.rpartition(".")[0] in self._journal.asks

    def _note_asked(self, question: str) -> None:
        """*question* of an earlier life, or its answer, is here: not longer than who has asked."""
        asking = question.rpartition(".")[0]
        self._journal.asks.setdefault(asking, []).append((self, question))

    # The fields -----------------------------------------------------------------------

    def begin(self, instance: Actor) -> None:
        """Give a new incarnation the fields that the last commit left."""
        tag = tag_of(type(instance))
        if self.fields is not None:
            instance.__dict__.update(fields_of(self.tag, tag, self.fields, self._cell.path))
        self.tag = tag
        self._next = encode(instance.__dict__)

    def pack(self, cell: Cell, value: Any) -> EncodeError | None:
        """The fields as they are become those of the next `note`, and *value*, or what the turn
        said instead, the answer; an error if they cannot be written."""
        lease = cell.lease
        self._answer = None  # That of a turn whose messages found no room, if there is one.
        try:
            self._next = encode(cell.state)
            if lease is not None and self._is_asked(lease):
                effects = None if cell.turn is None else cell.turn.effects
                given = value if effects is None or effects.answer is UNSET else effects.answer
                self._answer = encode(given)
        except EncodeError as error:
            return EncodeError(f"{cell.path}: what a durable actor keeps must be writable: {error}")
        return None

    def note(self, envelope: Envelope | None) -> None:
        """A turn is committed, that of *envelope* if it is done: what was packed holds now."""
        changed = self._next != self.fields
        self.fields = self._next
        if envelope is not None:
            own = message_id(envelope)
            if self._answer is not None:
                self.answers[own] = digest_of(envelope.body), self._answer
                self.questions.pop(own, None)
                changed = True
            self._journal.forget(own)
        self._answer = None
        if changed:
            self.mark()

    def set_aside(self, envelope: Envelope) -> None:
        """The turn of *envelope* has stashed it: what it has asked, it will not ask again."""
        self.note(None)
        self._journal.forget(message_id(envelope))

    def give_up(self, envelope: Envelope) -> None:
        """*envelope* leaves this actor without an answer of it: what it asked here will not be
        asked again."""
        self.unask(envelope)
        self._journal.forget(message_id(envelope))

    def unask(self, envelope: Envelope) -> None:
        """*envelope* does not wait here any more; if it is a question, nothing answers it."""
        self.questions.pop(message_id(envelope), None)

    def forget(self, question: str) -> None:
        """*question* is not asked again: its answer need not be kept, now or when it comes."""
        waiting = self.questions.pop(question, None)
        if waiting is not None and waiting.reply is EXPECTED:
            waiting.reply = UNASKED
        if self.answers.pop(question, None) is not None:
            self.mark()

    def _is_asked(self, envelope: Envelope) -> bool:
        return envelope.reply is not None and message_id(envelope) in self.questions

    def replace(self, state: dict[str, Any]) -> None:
        """The fields are to be those of *state*, whatever was stored."""
        cell = self._cell
        assert cell.state is not None
        self._next = encode(state)
        cell.state.clear()
        cell.state.update(decode(self._next, max_bytes=None))
        self.note(None)

    def mark(self) -> None:
        """Something of it has changed."""
        if self.fields is not None and not self.lasts:  # It has begun, and not ended.
            self._journal.mark(self._key, self.provide)

    def end(self, ending: Ending) -> None:
        """The actor has ended for good: forgotten, unless the system ends or it has failed."""
        if self.fields is None:
            return  # It never began.
        if self._journal.closing or ending.kind == "crash":
            state = self.provide()
            self._journal.mark(self._key, lambda: state)
            self.lasts = True
        else:
            self._journal.mark(self._key, None)

    def provide(self) -> dict[str, Any]:
        """All of it, as plain values."""
        cell = self._cell
        ahead = cell.kernel.ports.wall() - cell.kernel.now()
        return {
            "tag": list(self.tag),
            "fields": self.fields,
            "incarnation": cell.incarnation,
            "options": self.options,
            "answers": {key: list(answer) for key, answer in self.answers.items()},
            "timers": [
                [encode(key), *facts]
                for key, timer in (cell.timers or {}).items()
                if (facts := timer.kept(ahead)) is not None
            ],
        }

    # The answers ----------------------------------------------------------------------

    def ask(self, asker: Kept, asking: str, question: Envelope) -> tuple[bool, Any]:
        """*question* is asked by the message *asking* of *asker*, perhaps not for the first time.

        Returns:
            Whether the answer is known, and the answer; or that it is not, and the question as
            it waits here already, or `None` if it is to be sent.

        Raises:
            AskDiverged: Under its id something else was asked.
        """
        own = message_id(question)
        asked = asker._journal.asks.setdefault(asking, [])
        if (self, own) not in asked:
            asked.append((self, own))
        known = self.answers.get(own)
        waiting = self.questions.get(own)
        if known is None and waiting is None:
            self.questions[own] = question
            return False, None
        digest = digest_of(waiting.body) if known is None else known[0]  # type: ignore[union-attr]
        if digest != digest_of(question.body):
            raise AskDiverged(self._cell.path, own)
        return (False, waiting) if known is None else (True, decode(known[1], max_bytes=None))

    def await_again(self, question: Envelope) -> None:
        """A question of an earlier life waits here; nobody waits for its answer yet. While it is
        to be asked again it has all the time in the world."""
        own = message_id(question)
        expected = self._asks_again(own)
        question.reply = UNASKED
        self.questions[own] = question
        self._note_asked(own)
        if expected:
            question.reply, question.deadline = EXPECTED, None


def digest_of(body: Any) -> bytes:
    """What tells one question from another."""
    return hashlib.blake2b(encode(body), digest_size=16).digest()


def tag_of(cls: type) -> tuple[str, int]:
    """Tag and version of an actor class: as `actor` says, else its module and name."""
    entry = REGISTRY.by_class.get(cls)
    if entry is not None:
        return entry.tag, entry.version
    return f"{cls.__module__}.{cls.__qualname__}", 1


def check_class(start: Any, stored: Any, path: str) -> None:
    """What is to be started at *path* can go on from what is *stored*, as far as can be told.

    Raises:
        ConfigurationError: It is of another class.
        DecodeError: It is of a version that cannot read what is stored.
    """
    cls = start if isinstance(start, type) else type(start)
    if issubclass(cls, Actor):
        tag = stored.tag(path)
        if tag_of(cls)[0] != tag:
            wanted = f"of the class {tag!r} that it had, or with replace=True"
            raise ConfigurationError(f"spawn() of durable {path}", tag_of(cls)[0], wanted)
        stored.check(path, cls)


def actor_class(tag: str) -> type | None:
    """The actor class of a tag, if it is imported."""
    entry = REGISTRY.by_tag.get(tag)
    if entry is not None:
        return entry.cls
    waiting: list[type] = [Actor]
    while waiting:
        cls = waiting.pop()
        if f"{cls.__module__}.{cls.__qualname__}" == tag and cls is not Actor:
            return cls
        waiting.extend(cls.__subclasses__())
    return None


def fields_of(
    stored: tuple[str, int], ours: tuple[str, int], data: bytes, path: str
) -> dict[str, Any]:
    """Stored fields as the present version of the class has them.

    Raises:
        ConfigurationError: Another class wrote them.
        DecodeError: They cannot be read, or there is no way up to the present version.
    """
    fields: dict[str, Any] = decode(data, max_bytes=None)
    if stored[0] != ours[0]:
        wanted = f"of the class {stored[0]!r} that it had, or with replace=True"
        raise ConfigurationError(f"spawn() of durable {path}", ours[0], wanted)
    if stored[1] > ours[1]:
        text = (
            f"stored by version {stored[1]} of {ours[0]!r}, which is newer than ours ({ours[1]}); "
            "run the program that wrote it"
        )
        raise DecodeError(text, path)
    if stored[1] != ours[1]:
        fields = REGISTRY.upgrade(stored[0], stored[1], fields)
    return fields
