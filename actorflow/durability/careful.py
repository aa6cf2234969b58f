"""After an unclean end: find the message that ends the process, and lose none but that.

    lease wanted ──► is it blamed often enough? ──► poison
                 └─► write (message, place, count + 1) to the disk ──► lease
    it leaves ────► the entry goes with the cut that has it gone

Whatever runs while the process dies is found with an entry at the next start. That hits
neighbours too: so a message that has an entry runs alone, and is given up only after
`LIMIT` such ends, or as many as its attempts. Leases of one scheduler round share a write.

It ends when all restored messages are gone and `SECONDS` have passed: what a source hands
out at first may be what had been in the works and in no cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import trio

from actorflow.core.envelope import Envelope, message_id
from actorflow.durability.bridge import Bridge
from actorflow.durability.store import Change, Owned
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel

__all__ = ["LIMIT", "SECONDS", "Careful"]

#: Least unclean ends before a message is poison.
LIMIT = 3

#: Least time for which a run is careful, in seconds.
SECONDS = 60.0


class Careful:
    """The gate of a run that ended uncleanly.

    Args:
        kernel: Its services.
        journal: Its journal, of which this is a part.
        bridge: The store's thread.
        owned: The run.
        blame: Unclean ends by message and place, from the store.
        on_failure: Told when an entry cannot be written.
    """

    def __init__(
        self,
        kernel: Kernel,
        journal: Journal,
        bridge: Bridge,
        owned: Owned,
        blame: dict[str, int],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._kernel = kernel
        self._journal = journal
        self._bridge = bridge
        self._owned = owned
        self._blame = dict(blame)
        self._on_failure = on_failure
        self._until = kernel.now() + SECONDS
        self._restored: set[Envelope] = set()
        self._boxes: list[Any] = []
        self._wanted: dict[Envelope, Any] = {}
        self._writing: dict[Envelope, Any] = {}
        self._allowed: set[Envelope] = set()
        self._running: dict[Envelope, str] = {}
        self._alone: Envelope | None = None
        self._changed = trio.Event()
        self._limits: dict[str, int] = {}
        self._cleared: list[str] = []

    def watch(self, box: Any, attempts: int = LIMIT) -> None:
        """Ask before each lease from *box*, whose messages have so many *attempts*."""
        box.careful = True
        box.look_again()
        self._boxes.append(box)
        self._limits[box.path] = max(LIMIT, attempts)

    def restored(self, envelope: Envelope) -> None:
        """*envelope* comes from before the unclean end."""
        self._restored.add(envelope)

    def count(self, envelope: Envelope, box: Any) -> int:
        """How many unclean ends it has seen."""
        return self._blame.get(_key(envelope, box), 0)

    def asked(self, envelope: Envelope, box: Any) -> bool | None:
        """Whether it may be leased now: yes; `None`, not yet; or no, it is poison."""
        if envelope in self._allowed:
            self._allowed.discard(envelope)
            return True
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
            if self._running or self._wanted or self._writing:
                return None
            self._alone = envelope
            self._wanted[envelope] = box
        elif alone is None and not count:
            self._want_heads(box)
        else:
            self._wanted[envelope] = box
        self._changed.set()
        return None

    def _want_heads(self, box: Any) -> None:
        """Want as many messages as *box* has readers: they are leased together."""
        heads = itertools.islice(itertools.chain(box.due or (), box.queue), len(box.readers))
        for each in heads:
            if each in self._running or each in self._wanted or each in self._writing:
                continue
            if self.count(each, box):
                return
            self._wanted[each] = box

    def left(self, envelope: Envelope, *, for_good: bool = False) -> None:
        """The turn of *envelope* is over, one way or another."""
        key = self._running.pop(envelope, None)
        if for_good:
            self._restored.discard(envelope)
        if key is None:
            return
        self._blame.pop(key, None)
        self._cleared.append(key)
        if self._alone is envelope:
            self._alone = None
        if self._alone is None:
            self._wake()
        if not self._restored:
            self._changed.set()

    def take_cleared(self) -> list[str]:
        """Entries that go with the cut that is being taken."""
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
            box.wake_for_work()

    async def _write(self) -> None:
        wanted, self._wanted = self._wanted, {}
        self._writing = wanted
        entries = {}
        for envelope, box in wanted.items():
            key = _key(envelope, box)
            entries[key] = self._blame.get(key, 0) + 1
        change = Change(
            run=self._owned.run,
            epoch=self._owned.epoch,
            blame=entries,
            at=self._kernel.ports.wall(),
        )
        try:
            await self._bridge.call(self._bridge.store.commit, change)
        except Exception as error:
            self._on_failure(error)
            return
        self._blame.update(entries)
        self._writing = {}
        for envelope, box in wanted.items():
            self._allowed.add(envelope)
            self._running[envelope] = _key(envelope, box)
        self._wake()

    def _wake(self) -> None:
        for box in self._boxes:
            for _ in box.idle[:]:
                box.wake_for_work()


def _key(envelope: Envelope, box: Any) -> str:
    return f"{message_id(envelope)} {box.path}"
