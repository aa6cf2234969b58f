"""What has changed since the last cut: which messages are where, and which facts are new.

    touch   a message is in a mailbox now          note   it has changed where it is
    drop    it has left for good                   mark   a fact is another one now

One dict says it all: a message is in exactly one place, so the last word about it
counts. A message that comes and goes between two cuts leaves no trace. Nothing here
waits or writes: `durability` takes what is gathered and brings it to a store.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import trio

from actorflow.core.envelope import Envelope, message_id

__all__ = ["Journal", "key_of"]


class Journal:
    """The changes of one system or run.

    Attributes:
        touched: Messages that have come or changed since the last cut, with their mailboxes.
        ready: Those of them whose rows the next cut has been given already.
        gone: Keys of messages that an earlier cut has and that have left since.
        marked: Facts that are new, with what gives their values (`None` for gone) at the cut.
        later: Messages that are to be put at a later time, with their entries in the heap.
        wanted: Number of the last cut that somebody waits for though it may have no message.
        number: Of the next cut, which will cover what changes now.
        committed: Number of the last cut that is on disk.
        resting: Whether the checkpointer waits for something to change.
        careful: Asked before a lease after an unclean end; `None` otherwise.
        asks: Whom each durable actor's message in progress has asked what, by the id of that
            message: what is kept for it is forgotten with it.
        bury: Keeps a dead letter of a system, with the message it was.
        closing: The system ends, and what is in its mailboxes stays.
        broken: Why nothing will be on disk any more, or `None`.
        on_commit: Told the number of each cut that is on disk, for as long as the run lasts.
        covered: Mailboxes that lease only what is on disk: their readers wait for commits.
    """

    __slots__ = (
        "_answers",
        "_waiters",
        "asks",
        "broken",
        "bury",
        "careful",
        "closing",
        "committed",
        "covered",
        "gone",
        "later",
        "marked",
        "number",
        "on_commit",
        "orders",
        "ready",
        "resting",
        "stir",
        "touched",
        "wanted",
    )

    def __init__(self) -> None:
        self.touched: dict[Envelope, Any] = {}
        self.ready: dict[Envelope, Any] = {}
        self.gone: list[Any] = []
        self.marked: dict[str, Callable[[], Any] | None] = {}
        self.later: dict[Envelope, Any] = {}
        self.orders = itertools.count(1)
        self.number = 1
        self.committed = self.wanted = 0
        self.resting = False
        self.stir: Callable[[], None] = _nobody
        self.bury: Callable[[Any, Envelope], None] = _nothing
        self.on_commit: list[Callable[[int], None]] = []
        self.covered: dict[Any, None] = {}
        self.broken: BaseException | None = None
        self.careful: Any = None
        self.asks: dict[str, list[tuple[Any, str]]] = {}
        self.closing = False
        self._waiters: dict[int, trio.Event] = {}
        self._answers: deque[tuple[int, Any, Any]] = deque()

    # What the runtime says ------------------------------------------------------------

    def touch(self, envelope: Envelope, box: Any, *, front: bool = False) -> None:
        """*envelope* is behind all others of its lane in *box* now, or before them."""
        order = next(self.orders)
        envelope.order = -order if front else order
        self.touched[envelope] = box
        if self.ready:
            self.ready.pop(envelope, None)
        if self.careful is not None:
            self.careful.left(envelope)
        if self.resting:
            self.stir()

    def note(self, envelope: Envelope, box: Any) -> None:
        """*envelope* has changed, and keeps its place in *box*."""
        self.touched[envelope] = box
        if self.ready:
            self.ready.pop(envelope, None)
        if self.resting:
            self.stir()

    def drop(self, envelope: Envelope) -> None:
        """*envelope* has left for good."""
        self.touched.pop(envelope, None)
        if self.ready:
            self.ready.pop(envelope, None)
        if envelope.stored:
            envelope.stored = 0
            self.gone.append(key_of(envelope))
        if self.careful is not None:
            self.careful.left(envelope, for_good=True)
        if self.resting:
            self.stir()

    def mark(self, key: str, provide: Callable[[], Any] | None) -> None:
        """The fact *key* is another one now; `None`: it is gone."""
        self.marked[key] = provide
        if self.resting:
            self.stir()

    def forget(self, asking: str) -> None:
        """The message *asking* is done with for good: who answered it need not remember."""
        for kept, question in self.asks.pop(asking, ()):
            kept.forget(question)

    def begin_after(self, number: int, order: int) -> None:
        """Go on from cut *number*, whose messages have places up to *order*."""
        self.number, self.committed = number + 1, number
        self.orders = itertools.count(order + 1)

    # What waits for the disk ----------------------------------------------------------

    @property
    def changed(self) -> bool:
        """Whether there is anything that no cut has."""
        return bool(
            self.touched or self.ready or self.gone or self.marked or self._awaits(self.number)
        )

    def _awaits(self, number: int) -> bool:
        """Whether somebody waits for a cut that may have nothing in it any more."""
        if self.wanted >= number or number in self._waiters:
            return True
        return bool(self._answers and self._answers[-1][0] >= number)

    def want(self) -> int:
        """There is to be a cut of what has changed so far, though a message that came and went
        leaves no trace; answers its number."""
        self.wanted = self.number
        if self.resting:
            self.stir()
        return self.number

    async def settled(self) -> None:
        """Wait until all that has changed so far is on disk. Shielded: what was accepted is
        never reported as cancelled.

        Raises:
            StoreUnavailable: It will not be, or nobody can tell.
        """
        number = self.number if self.changed else self.number - 1
        await self.reached(number)

    async def reached(self, number: int) -> None:
        """Wait until cut *number* is on disk; raises as `settled` does."""
        if self.committed < number and self.broken is None:
            event = self._waiters.get(number)
            if event is None:
                event = self._waiters[number] = trio.Event()
            with trio.CancelScope(shield=True):
                await event.wait()
        else:
            await trio.lowlevel.checkpoint()
        if self.committed < number and self.broken is not None:
            raise self.broken

    def answer(self, reply: Any, value: Any) -> None:
        """Resolve *reply* when all that has changed so far is on disk."""
        number = self.number if self.changed else self.number - 1
        if self.broken is not None:
            reply.fail(self.broken)
        elif number <= self.committed:
            reply.resolve(value)
        else:
            self._answers.append((number, reply, value))

    def covers(self, envelope: Envelope) -> bool:
        """Whether *envelope* is on disk as it is."""
        return 0 < envelope.stored <= self.committed and envelope not in self.touched

    def commit(self, number: int) -> None:
        """Cut *number* is on disk: let go of whoever waits for it."""
        self.committed = number
        while self._answers and self._answers[0][0] <= number:
            _, reply, value = self._answers.popleft()
            reply.resolve(value)
        for each in [each for each in self._waiters if each <= number]:
            self._waiters.pop(each).set()
        for tell in self.on_commit:
            tell(number)
        for box in self.covered:
            box.wake_for_work()

    def fail(self, error: BaseException) -> None:
        """Nothing more will be on disk; whoever waits is told *error*."""
        if self.broken is None:
            self.broken = error
        if self.careful is not None:
            self.careful.give_in()
        for event in self._waiters.values():
            event.set()
        self._waiters.clear()
        for _, reply, _ in self._answers:
            reply.fail(self.broken)
        self._answers.clear()


def key_of(envelope: Envelope) -> int | str:
    """Under which a cut keeps *envelope*."""
    root: int = envelope.root
    return root if envelope.path is None else message_id(envelope)


def _nobody() -> None:
    """Nobody waits."""


def _nothing(letter: Any, envelope: Envelope) -> None:
    """No dead letter is kept."""
