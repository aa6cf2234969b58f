"""What the runtime itself says to people and actors: dead letters and endings."""

from __future__ import annotations

import traceback as tracebacks
from typing import Any, Literal, TypeAlias

import attrs

from actorflow.errors import ConfigurationError

__all__ = ["REASONS", "DeadLetter", "Down", "Failed", "Reason", "Unreadable", "render_traceback"]

Reason: TypeAlias = Literal[
    "failed",
    "expired",
    "rejected",
    "overflow",
    "stopped",
    "poison",
    "unknown_schema",
    "late_reply",
    "sibling_failed",
]

#: Why a message may leave without being acknowledged. The list is closed.
REASONS: tuple[Reason, ...] = (
    "failed",
    "expired",
    "rejected",
    "overflow",
    "stopped",
    "poison",
    "unknown_schema",
    "late_reply",
    "sibling_failed",
)

#: Most characters of a traceback that a dead letter keeps: ten screens, and 10,000 letters
#: stay below 200 MB in the worst case.
TRACEBACK_MAX = 20_000


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A message that left without being acknowledged.

    Attributes:
        id: Id of the message; of a flow's item that is in one piece, the id it was fed under.
        body: The message as it was accepted; an `Unreadable` if this process cannot read it.
        stage_or_actor: Name of the stage, or path of the actor.
        reason: One of `REASONS`.
        error: What the last attempt raised, or `None`.
        traceback: Its traceback as text; empty without an error.
        attempts: Leases begun, given back ones not counted.
        at: Wall time in seconds since the epoch.
        replays: How often it came back from the dead letters before.
        item: In a flow the id of the item that was fed, of which the message may be a piece: its
            number, or what `ids=` said.
    """

    id: Any
    body: Any
    stage_or_actor: str
    reason: Reason
    error: BaseException | None = None
    traceback: str = ""
    attempts: int = 0
    at: float = 0.0
    replays: int = 0
    item: Any = None


@attrs.frozen(repr=False)
class Unreadable:
    """In the place of a message that this process cannot read: nobody has its tag, or it is of
    a version that there is no way up or down from.

    Attributes:
        packed: Its bytes.
        why: What is wrong with them, and perhaps what to do.
    """

    packed: bytes
    why: str

    def __repr__(self) -> str:
        return f"<{self.why}>"


@attrs.frozen
class Failed:
    """What a generator yields for a part of its work that has failed: it becomes a dead letter
    (``failed``) of the stage, with *error*, and the generator goes on. Its item ends dead.

    Attributes:
        error: Why.
    """

    error: BaseException = attrs.field()

    @error.validator
    def _is_an_error(self, _: object, error: object) -> None:
        if not isinstance(error, BaseException):
            raise ConfigurationError("Failed.error", error, "an exception")


@attrs.frozen
class Down:
    """The actor behind *ref* has ended for good; a restart is not a `Down`.

    Attributes:
        ref: The actor that was watched.
        reason: ``"normal"``, ``"stopped"``, or the error that ended it.
        incarnation: Which incarnation was the last; the first is 1.
    """

    ref: Any
    reason: str | BaseException
    incarnation: int


def render_traceback(error: BaseException) -> str:
    """The traceback of *error* as text, its causes included, cut in the middle if huge."""
    text = "".join(tracebacks.format_exception(error))
    if len(text) <= TRACEBACK_MAX:
        return text
    half = TRACEBACK_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
