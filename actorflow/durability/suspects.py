"""What careful mode knows of one message: the entry on the disk, and how far its turn is.

                ┌──────────────── taken back ◄───────────┐
lease wanted ─► WANTED ─► WRITING ─► ALLOWED ─► RUNNING ─┴► it leaves: its entry goes
                  ▲         entry on the disk      │ ▲
                  └──────── goes on ──── RESTING ◄─┘ │
                                           └─────────┘ with an entry all the time
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from actorflow.core.envelope import Envelope, message_id

__all__ = [
    "ALLOWED",
    "IDLE",
    "RESTING",
    "RUNNING",
    "WANTED",
    "WRITING",
    "Blame",
    "Entry",
    "Suspect",
    "key_of",
]

#: How far it is. Of these only the allowed, the resting and the idle run nothing.
IDLE, WANTED, WRITING, ALLOWED, RUNNING, RESTING = range(6)

#: Bits of an entry's number that are the unclean ends; those above them are the attempts.
ENDS_BITS = 16


class Entry(NamedTuple):
    """What the disk has of a message in one place; there it is one number.

    Attributes:
        ends: Unclean ends that it has seen.
        attempts: Leases begun.
    """

    ends: int = 0
    attempts: int = 0

    @classmethod
    def read(cls, number: int) -> Entry:
        """The entry that is *number*; those of old had no attempts."""
        return cls(number & ((1 << ENDS_BITS) - 1), number >> ENDS_BITS)

    def number(self) -> int:
        """As the store has it."""
        return self.attempts << ENDS_BITS | self.ends


class Blame:
    """The entries, and which of them the disk does not have as they are.

    Args:
        numbers: Entries by message and place, as the disk has them.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._entries = {key: Entry.read(number) for key, number in numbers.items()}
        self._changed: dict[str, Entry] = {}
        self._cleared: list[str] = []
        self._convicted: list[str] = []

    def get(self, key: str) -> Entry:
        """The entry of *key*, if it is none one of zeros."""
        return self._entries.get(key, _NONE)

    def set(self, key: str, entry: Entry) -> None:
        """Have *entry* written with the next change."""
        self._entries[key] = self._changed[key] = entry

    def clear(self, key: str, *, convicted: bool = False) -> None:
        """Have the entry of *key* go with the next change. If that message is *convicted*, with
        the next cut: without both entry and letter it would be innocent again."""
        self._entries.pop(key, None)
        self._changed.pop(key, None)
        (self._convicted if convicted else self._cleared).append(key)

    def take_cleared(self, *, cut: bool = False) -> list[str]:
        """Entries that go with what is about to be written, which is a *cut* or entries."""
        taken, self._cleared = self._cleared, []
        if cut:
            taken += self._convicted
            self._convicted = []
        return [key for key in taken if key not in self._entries]

    def take_changed(self) -> dict[str, int]:
        """Entries that are about to be written, as the store has them."""
        taken, self._changed = self._changed, {}
        return {key: entry.number() for key, entry in taken.items()}


_NONE = Entry()


class Suspect:
    """A message that is to run, runs, or rests in the middle of its turn.

    Args:
        envelope: The message.
        box: The mailbox that it is leased from.
        key: Of its entry.
        before: What the disk had of it before this lease.

    Attributes:
        state: How far it is.
        entry: What the disk has of it, once that is written.
        pressing: It has waited for long and waits no more for those that run.
        resumes: Its turn has begun already.
        asks: Answers that its turn waits for,
        began: since when,
        ends_at: and when that turn would have had to end.
    """

    __slots__ = (
        "asks",
        "before",
        "began",
        "box",
        "ends_at",
        "entry",
        "envelope",
        "key",
        "pressing",
        "resumes",
        "state",
    )

    def __init__(self, envelope: Envelope, box: Any, key: str, before: Entry) -> None:
        self.envelope = envelope
        self.box = box
        self.key = key
        self.before = self.entry = before
        self.state = IDLE
        self.pressing = self.resumes = False
        self.asks = 0
        self.began, self.ends_at = 0.0, math.inf

    @property
    def waits(self) -> bool:
        """Whether it has not been let in."""
        return self.state in (IDLE, RESTING)

    @property
    def active(self) -> bool:
        """Whether it may end the process, now or when its entry is written."""
        return self.state in (WANTED, WRITING, RUNNING)

    def want(self, most: int) -> None:
        """Its entry is to be written: one more end, and one more attempt of at most *most*."""
        begun = self.entry.attempts if self.resumes else min(self.before.attempts + 1, most)
        self.entry = Entry(self.before.ends + 1, begun)
        self.state, self.pressing = WANTED, False


def key_of(envelope: Envelope, box: Any) -> str:
    """Under which *envelope* has its entry while it is in *box*."""
    return f"{message_id(envelope)} {box.path}"
