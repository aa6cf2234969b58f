"""After an unclean end: find the message that ends the process, and lose none but that.

    lease wanted ──► is it blamed often enough? ──► poison
                 └─► write (message, place, count + 1) to the disk ──► lease
    it leaves ────► the entry goes with the next write

Whatever runs while the process dies is found with an entry at the next start. That hits
neighbours too: so a message that has an entry runs alone, and is given up only after
`LIMIT` such ends, or as many as its attempts. Leases of one scheduler round share a write.

Alone means that no other handler runs. A turn that waits for room runs none: it leaves,
and a generator that goes on after such a wait asks again. An entry whose message was then
not leased after all is taken back with the next write, which is before anything else runs.

It ends when all restored messages are gone and `SECONDS` have passed: what a source hands
out at first may be what had been in the works and in no cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import trio

from actorflow.core.envelope import Envelope, message_id
from actorflow.durability.checkpointer import Checkpointer
from actorflow.durability.store import Change, Owned
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel

__all__ = ["LIMIT", "SECONDS", "TOGETHER", "Careful"]

#: Least unclean ends before a message is poison.
LIMIT = 3

#: Messages of a mailbox whose entries are written together.
TOGETHER = 32

#: Least time for which a run is careful, in seconds.
SECONDS = 60.0


class Careful:
    """The gate of a run that ended uncleanly.

    Args:
        kernel: Its services.
        journal: Its journal, of which this is a part.
        checkpointer: Brings entries to the disk.
        owned: The run.
        blame: Unclean ends by message and place, from the store.
        on_failure: Told when an entry cannot be written.
    """

    def __init__(
        self,
        kernel: Kernel,
        journal: Journal,
        checkpointer: Checkpointer,
        owned: Owned,
        blame: dict[str, int],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kernel = kernel
        self._journal = journal
        self._checkpointer = checkpointer
        self._owned = owned
        self._blame = dict(blame)
        self._on_failure = on_failure
        self._until = kernel.now() + SECONDS
        self._restored: set[Envelope] = set()
        self._boxes: list[Any] = []
        self._wanted: dict[Envelope, Any] = {}
        self._writing: dict[Envelope, Any] = {}
        self._allowed: dict[Envelope, Any] = {}  # May be leased and have not been.
        self._running: dict[Envelope, str] = {}  # Those and all that are leased.
        self._resting: dict[Envelope, str] = {}
        self._resuming: set[Envelope] = set()
        self._resumed = trio.lowlevel.ParkingLot()
        self._alone: Envelope | None = None
        self._changed = trio.Event()
        self._limits: dict[str, int] = {}
        self._cleared: list[str] = []
        self._reduced: dict[str, int] = {}

    def watch(self, box: Any, attempts: int = LIMIT) -> None:
        """Ask before each lease from *box*, whose messages have so many *attempts*."""
        box.careful = True
        box.look_again()
        self._boxes.append(box)
        self._limits[box.path] = max(LIMIT, attempts)

    def restored(self, envelopes: Iterable[Envelope]) -> None:
        """*envelopes* come from before the unclean end."""
        self._restored.update(envelopes)

    def count(self, envelope: Envelope, box: Any) -> int:
        """How many unclean ends it has seen."""
        return self._blame.get(_key(envelope, box), 0)

    # Leases ---------------------------------------------------------------------------

    def asked(self, envelope: Envelope, box: Any) -> bool | None:
        """Whether the head of *box* may be leased now: yes, and it is; `None`, not yet; or no, it
        is poison."""
        if self._allowed.pop(envelope, None) is not None:
            return True
        for each in [each for each, place in self._allowed.items() if place is box]:
            self._take_back(each)  # It was overtaken, or its key makes it wait.
        if envelope in self._wanted or envelope in self._writing:
            return None
        alone = self._alone
        if alone is not None and alone.root != envelope.root:  # What it asks must be answered.
            return None
        count = self.count(envelope, box)
        if count >= self._limits.get(box.path, LIMIT):
            self._cleared.append(_key(envelope, box))
            return False
        if count and envelope.reply is None:
            # It has been there when the process died: it runs alone. (Whoever asked runs too.)
            if len(self._running) > len(self._allowed) or self._wanted or self._writing:
                return None
            for each in list(self._allowed):  # Their readers may wait for room here.
                self._take_back(each)
            self._alone = envelope
            self._wanted[envelope] = box
        else:
            self._wanted[envelope] = box
            if alone is None:
                self._want_others(box)
        self._changed.set()
        return None

    def _want_others(self, box: Any) -> None:
        """Want what its readers will lease next from *box* too.

        If the process dies before that, they have an entry without a reason and run alone in the
        next life: that costs it a moment. A write for each round of leases would cost far more.
        """
        most = max(len(box.readers), TOGETHER)
        heads = itertools.islice(itertools.chain(box.due or (), box.queue), most)
        for each in heads:
            if each in self._running or each in self._wanted or each in self._writing:
                continue
            if self.count(each, box):
                return
            self._wanted[each] = box

    def left(self, envelope: Envelope, *, for_good: bool = False) -> None:
        """The handler of *envelope* does not run any more, or the message has gone *for_good*."""
        if for_good:
            self._restored.discard(envelope)
            box = self._wanted.pop(envelope, None) or self._writing.pop(envelope, None)
            if box is not None:
                self._cleared.append(_key(envelope, box))
                self._make_way(envelope)
        elif envelope in self._allowed:
            self._take_back(envelope)
            return
        self._allowed.pop(envelope, None)
        key = self._running.pop(envelope, None) or self._resting.pop(envelope, None)
        if key is not None:
            self._blame.pop(key, None)
            self._cleared.append(key)
            self._make_way(envelope)
        if not self._restored:
            self._changed.set()

    def _take_back(self, envelope: Envelope) -> None:
        """It was allowed to run and has not: this is no unclean end of it."""
        del self._allowed[envelope]
        self._reduce(self._running.pop(envelope))
        self._make_way(envelope)

    def rests(self, envelope: Envelope) -> None:
        """The handler of *envelope* does not run while it waits for room."""
        key = self._running.pop(envelope, None)
        if key is not None:
            self._resting[envelope] = key
            self._reduce(key)
            self._make_way(envelope)

    def _reduce(self, key: str) -> None:
        """If the process dies now, that is not to be counted."""
        self._reduced[key] = self._blame[key] = self._blame[key] - 1

    def _make_way(self, envelope: Envelope) -> None:
        if self._alone is envelope:
            self._alone = None
        if self._alone is None:
            self._wake()

    async def again(self, envelope: Envelope, box: Any) -> None:
        """Wait until the handler of *envelope*, which `rests`, may go on."""
        self._resting.pop(envelope, None)
        while self._alone is not None:
            await self._resumed.park()
        self._wanted[envelope] = box
        self._resuming.add(envelope)
        self._changed.set()
        try:
            while envelope in self._resuming and self._journal.careful is not None:
                await self._resumed.park()
        finally:
            self._resuming.discard(envelope)

    # Entries --------------------------------------------------------------------------

    def take_cleared(self) -> list[str]:
        """Entries that go with what is about to be written."""
        taken, self._cleared = self._cleared, []
        return taken

    async def run(self) -> None:
        """Write entries as they are wanted, until there is no need any more."""
        while self._restored or self._kernel.now() < self._until:
            with trio.move_on_at(self._until if not self._restored else float("inf")):
                await self._changed.wait()
            self._changed = trio.Event()
            if self._wanted:
                await trio.lowlevel.checkpoint()  # All leases of this round share one write.
                await self._write()
        self._journal.careful = None
        for box in self._boxes:
            box.careful = box.covered
            box.look_again()
        self._wake()

    async def _write(self) -> None:
        try:
            await self._checkpointer.bring(self._entries)
        except Exception as error:
            self._on_failure(error)
            return
        writing, self._writing = self._writing, {}
        for envelope, box in writing.items():
            self._running[envelope] = _key(envelope, box)
            if envelope in self._resuming:
                self._resuming.discard(envelope)
            else:
                self._allowed[envelope] = box
        self._wake()

    def _entries(self) -> Change:
        """What is to be written now."""
        self._writing, self._wanted = self._wanted, {}
        keys = [_key(envelope, box) for envelope, box in self._writing.items()]
        entries = {key: self._blame.get(key, 0) + 1 for key in keys}
        self._blame.update(entries)
        reduced, self._reduced = self._reduced, {}
        return Change(
            run=self._owned.run,
            epoch=self._owned.epoch,
            blame={**reduced, **entries},
            cleared=_without(self.take_cleared(), entries),
            at=self._kernel.ports.wall(),
        )

    def _wake(self) -> None:
        self._resumed.unpark_all()
        for box in self._boxes:
            for _ in box.idle[:]:
                box.wake_for_work()


def _without(keys: Iterable[str], others: dict[str, int]) -> list[str]:
    return [key for key in keys if key not in others]


def _key(envelope: Envelope, box: Any) -> str:
    return f"{message_id(envelope)} {box.path}"
