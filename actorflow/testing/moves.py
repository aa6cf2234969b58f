"""What the runtime does with messages, line by line: the history that the laws are checked on.

    accepted ──► begun ──► ended ──► acknowledged      the turn took effect
       │           ▲         ├─────► stashed           it took effect, and the message comes again
       │           │         ├─────► retried           it failed, and comes again
       │           └─────────┼─────► given back        it was cut off, and counts for nothing
       │                     ├─────► diverted          it goes elsewhere, and is accepted there
       └─────────────────────┴─────► dead              it is a dead letter

Nothing of a line changes once it is written, and nothing is written of a process that is dead.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import attrs

__all__ = ["Kind", "Move", "Sent"]

Kind: TypeAlias = Literal[
    "found",
    "accepted",
    "due",
    "begun",
    "ended",
    "aside",
    "stashed",
    "retried",
    "given back",
    "diverted",
    "acknowledged",
    "dead",
    "told",
    "answered",
    "lost",
    "kept",
    "over",
]


@attrs.frozen
class Sent:
    """A message in the outbox of a turn.

    Attributes:
        to: Path of the mailbox.
        message: Its id.
        delay: How many seconds after the turn it is to be there.
    """

    to: str
    message: str
    delay: float = 0.0


class Move(NamedTuple):
    """One line.

    Attributes:
        kind: What has happened: "found" is a message that its mailbox had at the beginning,
            "due" one that goes ahead of others, as a tick does; "aside" one that lets others
            pass. "told" and "answered" are what the outside knows of a durable actor: that it has
            the message, and that it has handled it; all that is "lost" if a store may lose what
            it has acknowledged, and did. A program that comes to its end leaves "kept" messages
            on the disk, and is "over". The rest is above.
        life: In which life of the process.
        step: At which step of the scheduler,
        at: and virtual seconds since that life began.
        path: Path of the mailbox; of the actor or worker for "begun" and "ended"; of the system
            alone for "acknowledged", "diverted" and "dead".
        system: Name of the system or run that the message is in.
        run: Which system or run that is, as there may be several of one name: a number.
        message: Id of the message, which is one of that run.
        copy: Which of the messages with this id, from 1: who asks once more after its turn was cut
            off, asks by the same id.
        attempt: Which attempt it is, or was the last; 0 before the first.
        priority: Of the message.
        key: What it holds while it is handled, where a stage has keys.
        sender: Path of the actor whose turn has sent it, or "".
        sent: Whether the commit of a turn has put it there,
        by: and of which actor: its number.
        piece: Whether it is an item of a flow or a piece of one, which the run counts, or in a
            store of which the laboratory knows nothing.
        mailbox: Path of the mailbox that "begun" and "ended" belong to.
        box: The number of the mailbox,
        actor: and of the actor or worker; who is spawned anew is another one.
        incarnation: Of the actor, from 1.
        restored: For "begun": whether the actor goes on from fields that a store had.
        amiss: For "begun": the fields that are not as the turn before, of the same incarnation, has
            left them, which must be none if that took effect; and those not as it has found them.
        changed: For "ended": the fields that the handler has left other than it found them.
        digest: Of the fields of a durable actor then.
        raised: What the handler raised, or "".
        stashed: Whether the turn puts its message aside.
        outbox: What it sends if it takes effect.
        reason: Of a dead letter.
        until: For "retried": when it is to come again.
    """

    kind: Kind
    life: int
    step: int
    at: float
    path: str
    system: str
    message: str
    run: int = 0
    copy: int = 1
    attempt: int = 0
    priority: int = 0
    key: Any = None
    sender: str = ""
    sent: bool = False
    by: int = 0
    piece: bool = False
    mailbox: str = ""
    box: int = 0
    actor: int = 0
    incarnation: int = 0
    restored: bool = False
    amiss: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    changed: tuple[str, ...] = ()
    digest: bytes = b""
    raised: str = ""
    stashed: bool = False
    outbox: tuple[Sent, ...] = ()
    reason: str = ""
    until: float = 0.0

    @property
    def of(self) -> tuple[int, int, str, int]:
        """Which message it is about: no two have the same."""
        return self.life, self.run, self.message, self.copy

    def __str__(self) -> str:
        more = f" attempt {self.attempt}" if self.kind == "begun" else ""
        more += f" changed {', '.join(self.changed)}" if self.changed else ""
        more += f" raised {self.raised}" if self.raised else ""
        more += f" ({self.reason})" if self.reason else ""
        more += f" until {self.until:.6f}" if self.kind == "retried" else ""
        what = f"message {self.message} " if self.message else ""
        return f"{self.life}.{self.step} {self.at:.6f} {self.path} {what}{self.kind}{more}"
