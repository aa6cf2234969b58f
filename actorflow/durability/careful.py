"""After an unclean end: find the message that ends the process, and lose none but that.

Whatever runs while the process dies is found with an entry at the next start. That hits
neighbours too: so a message that was there at an unclean end runs alone, and is given up only
after `LIMIT` such ends, or as many as its attempts. Leases of one round share a write.

Alone means that no other handler runs. A turn that waits for room or for an answer runs none:
it *rests*, and has itself a lease again before it goes on. So a conversation is handled as what
it consists of, one message after the other, each alone if it is a suspect; who asks is not
blamed for what is asked. What came before the question is leased before it: no message
overtakes another. If more of a handler may run than its wait for the answer (tasks of its own,
an actor without an entry), the others may run too, but its entry stays.

`alone` says how long others wait; an ask is not charged for that time.

It ends when all restored messages are gone and `SECONDS` have passed: what a source hands
out at first may be what had been in the works and in no cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import trio

from actorflow.core.envelope import Envelope
from actorflow.durability.alone import Alone
from actorflow.durability.checkpointer import Checkpointer
from actorflow.durability.store import Change, Owned
from actorflow.durability.suspects import (
    ALLOWED,
    RESTING,
    RUNNING,
    WANTED,
    WRITING,
    Blame,
    Entry,
    Suspect,
    key_of,
)
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.reply import excuse

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
        blame: Entries by message and place, from the store.
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
        self._blame = Blame(blame)
        self._on_failure = on_failure
        self._until = kernel.now() + SECONDS
        self._restored: set[Envelope] = set()
        #: With the attempts that a message has there, and whether leases are looked at anyway.
        self._boxes: dict[Any, tuple[int, bool]] = {}
        self._suspects: dict[Envelope, Suspect] = {}
        self._alone = Alone(kernel, self._wake)
        self.closed = self._alone.closed
        self.take_cleared = self._blame.take_cleared
        self._changed = trio.Event()
        self._resumed = trio.lowlevel.ParkingLot()
        self._over = False

    def watch(self, box: Any, attempts: int = 1) -> None:
        """Ask before each lease from *box*, whose messages have so many *attempts*."""
        self._boxes[box] = attempts, box.careful
        box.careful = True
        box.look_again()

    def watches(self, box: Any) -> bool:
        """Whether what runs from *box* has an entry."""
        return box in self._boxes

    def suspect(self, envelope: Envelope) -> Suspect | None:
        """What is known of *envelope*, if it has an entry."""
        return self._suspects.get(envelope)

    def restored(self, envelopes: Iterable[Envelope]) -> None:
        """*envelopes* come from before the unclean end."""
        self._restored.update(envelopes)

    def entry(self, envelope: Envelope, box: Any) -> Entry:
        """The unclean ends that it has seen in *box*, and its attempts there, as far as known."""
        ends, attempts = self._blame.get(key_of(envelope, box))
        return Entry(ends, min(max(attempts, envelope.attempt), self._boxes[box][0]))

    # Leases ---------------------------------------------------------------------------

    def asked(self, envelope: Envelope, box: Any) -> bool | None:
        """Whether the head of *box* may be leased now: yes, and it is; `None`, not yet; or no, it
        is poison."""
        suspect = self._suspects.get(envelope)
        if suspect is not None:
            if suspect.state == ALLOWED:
                suspect.state = RUNNING
                excuse(envelope)
                return True
            return None
        self._take_back(box)  # Who was allowed was overtaken, or its key makes it wait.
        before = self.entry(envelope, box)
        if before.ends >= max(LIMIT, self._boxes[box][0]):
            return False
        suspect = self._alone.of(envelope)
        if suspect is None:
            if self._alone.waits_in(box):
                self._alone.leave()  # It is not the head any more.
            suspect = Suspect(envelope, box, key_of(envelope, box), before)
        if self._enter(suspect) and self._alone.suspect is None:
            self._want_others(box)
        return None

    def begun(self, envelope: Envelope) -> None:
        """It is leased: its attempt is the one that its entry says."""
        if envelope in self._suspects:
            envelope.attempt = self._suspects[envelope].entry.attempts

    def convicted(self, envelope: Envelope, box: Any) -> Entry:
        """It is poison: the entry that says so, which goes."""
        entry = self.entry(envelope, box)
        self._blame.clear(key_of(envelope, box), convicted=True)
        return entry

    def _enter(self, suspect: Suspect) -> bool:
        """Whether the entry of *suspect* is to be written now."""
        if self._alone.excludes(suspect):
            return False
        if suspect.before.ends:
            if not suspect.pressing and any(each.active for each in self._suspects.values()):
                self._alone.expect(suspect)
                return False
            self._take_back()  # Their readers may wait for room here.
            self._alone.begin(suspect)
        self._want(suspect)
        return True

    def _want(self, suspect: Suspect) -> None:
        suspect.want(self._boxes[suspect.box][0])
        self._suspects[suspect.envelope] = suspect
        self._changed.set()

    def _want_others(self, box: Any) -> None:
        """Want what is leased next from *box* too: a write for each round of leases would cost far
        more than that they run alone for no reason, if the process dies before they begin."""
        most = max(len(box.readers), TOGETHER)
        heads = itertools.islice(itertools.chain(box.due or (), box.queue), most)
        for each in heads:
            if each in self._suspects:
                continue
            before = self.entry(each, box)
            if before.ends:
                return
            self._want(Suspect(each, box, key_of(each, box), before))

    def left(self, envelope: Envelope, *, for_good: bool = False) -> None:
        """The handler of *envelope* does not run any more, or the message has gone *for_good*."""
        if for_good:
            self._restored.discard(envelope)
        suspect = self._suspects.get(envelope)
        if suspect is None:
            if self._alone.of(envelope) is not None:
                self._alone.leave()
        elif for_good or suspect.resumes or suspect.state in (RUNNING, RESTING):
            del self._suspects[envelope]
            self._blame.clear(suspect.key)
            self._alone.end(suspect)
        elif suspect.state == ALLOWED:
            self._undo(suspect)
        if not self._restored:
            self._changed.set()

    def _take_back(self, box: Any = None) -> None:
        """Nobody, or nobody from *box*, may be leased any more."""
        for each in list(self._suspects.values()):
            if each.state == ALLOWED and (box is None or each.box is box):
                self._undo(each)

    def _undo(self, suspect: Suspect) -> None:
        """It was allowed to run and has not: this is no unclean end of it."""
        del self._suspects[suspect.envelope]
        self._blame.set(suspect.key, suspect.before)
        self._alone.end(suspect)

    def _wake(self) -> None:
        self._resumed.unpark_all()
        for box in self._boxes:
            for _ in box.idle[:]:
                box.wake_for_work()

    # Rests ----------------------------------------------------------------------------

    def rests(self, envelope: Envelope, *, keeps: bool = False) -> None:
        """The handler of *envelope* does not run while it waits, or it *keeps* its entry."""
        suspect = self._suspects.get(envelope)
        if suspect is None or suspect.state != RUNNING:
            return
        suspect.state = RESTING
        if not keeps:  # If the process dies now, that is not to be counted; its attempt is.
            self._blame.set(suspect.key, Entry(suspect.before.ends, suspect.entry.attempts))
        self._alone.end(suspect)

    async def again(self, envelope: Envelope) -> None:
        """Wait until the handler of *envelope*, which `rests`, may go on."""
        suspect = self._suspects.get(envelope)
        if suspect is None or suspect.state != RESTING:
            return
        suspect.resumes = True
        while not self._over and suspect.state != RUNNING:
            if suspect.state == RESTING:
                self._enter(suspect)
            await self._resumed.park()

    def goes_on(self, suspect: Suspect) -> None:
        """It has kept its entry while it waited."""
        suspect.state = RUNNING if suspect.state == RESTING else suspect.state

    # Entries --------------------------------------------------------------------------

    async def run(self) -> None:
        """Write entries as they are wanted, until there is no need any more."""
        try:
            while self._restored or self._kernel.now() < self._until:
                with trio.move_on_at(self._until if not self._restored else math.inf):
                    await self._changed.wait()
                self._changed = trio.Event()
                if any(each.state == WANTED for each in self._suspects.values()):
                    await trio.lowlevel.checkpoint()  # All leases of this round share one write.
                    await self._write()
            self._journal.careful = None
            for box, (_, careful) in self._boxes.items():
                box.careful = careful or box.covered
                box.look_again()
            self._wake()
        finally:
            self.give_in()

    def give_in(self) -> None:
        """No entry will be written any more: whose turn rests may end."""
        self._over = True
        self._resumed.unpark_all()

    async def _write(self) -> None:
        try:
            await self._checkpointer.bring(self._entries)
        except Exception as error:
            self.give_in()
            self._on_failure(error)
            return
        for suspect in self._suspects.values():
            if suspect.state == WRITING:
                suspect.state = RUNNING if suspect.resumes else ALLOWED
        self._wake()

    def _entries(self) -> Change:
        """What is to be written now."""
        for suspect in self._suspects.values():
            if suspect.state == WANTED:
                suspect.state = WRITING
                self._blame.set(suspect.key, suspect.entry)
        return Change(
            run=self._owned.run,
            epoch=self._owned.epoch,
            blame=self._blame.take_changed(),
            cleared=self.take_cleared(),
            at=self._kernel.ports.wall(),
        )
