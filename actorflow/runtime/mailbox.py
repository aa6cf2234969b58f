"""The one queue of the house: where messages wait for an actor or for a stage's workers.

    put ──► due lane   (redeliveries, timers, notices: no bound of their own, leased first)
        └─► user lane  (FIFO, or by priority; bounded by `capacity`)
                 │ lease ──► a worker's own lease slot ──► acknowledged, or put again

A mailbox never waits and never decides about policies: it keeps messages, promises
room to writers in the order they came, and wakes readers. `capacity` counts what
waits in the user lane. A capacity of 0 is a rendezvous: room is a parked reader that
nobody has put for yet.

`quiet` is one flag that says that the head of the user lane may be leased without
asking anybody: nothing due, nothing paused, no keys, no deadlines, no ranks to keep.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, reschedule

from actorflow.core.envelope import DEFAULT_PRIORITY, Envelope
from actorflow.core.letters import Reason
from actorflow.runtime.bodies import FROZEN, pack_body
from actorflow.runtime.due import Entry
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel, Ledger
from actorflow.runtime.lanes import RankedQueue, Writer

__all__ = ["MOMENT", "Mailbox", "Reader"]

#: A user lane that has never held a message; an empty deque costs 700 bytes.
EMPTY: Any = ()

#: Seconds within which waits for a key count as ending together.
MOMENT = 1e-6

#: Marks the due entry of a message that stepped aside.
ASIDE: Any = object()

#: What a mailbox may hold in retries, stash and held-back messages, times its capacity.
WAITING_PER_CAPACITY = 4


class Reader(Protocol):
    """Who takes messages out: it is in `Mailbox.idle` exactly while it is parked."""

    task: Task | None
    blocked: Mailbox | None


class Mailbox:
    """Messages of one actor, or of all workers of one stage.

    Args:
        path: Path of the owner; it opens every error message.
        kernel: The system's services.
        capacity: Most messages in the user lane, 0 for a rendezvous.
        overflow: What a full user lane does: "block", "fail", "drop_new", "drop_old".
        ledger: Who accounts for the messages; the kernel by default.
        priorities: Whether messages of different priority overtake each other.
        max_waiting: Most retries, stashed and held-back messages together, beyond which
            only what is due is leased; 4 times the capacity by default.
        packs: Whether a body may be delivered twice and is packed when accepted.
        journal: Is told what comes, changes and goes, if that must survive.
    """

    __slots__ = (
        "accepted",
        "acked",
        "capacity",
        "careful",
        "closed",
        "covered",
        "dated",
        "direct",
        "due",
        "failed",
        "held_keys",
        "idle",
        "journal",
        "kernel",
        "key_of",
        "ledger",
        "limit",
        "max_waiting",
        "next_aside",
        "outside",
        "overflow",
        "packs",
        "path",
        "paused",
        "priorities",
        "queue",
        "quiet",
        "readers",
        "reopening",
        "reserved",
        "retried",
        "skipped",
        "sleeping",
        "stash",
        "swift",
        "waiting",
        "writers",
    )

    #: Whether there is more than one way to go; see `stages.ways`.
    forked = feedback = False

    def __init__(
        self,
        path: str,
        kernel: Kernel,
        *,
        capacity: int = 256,
        overflow: str = "block",
        ledger: Ledger | None = None,
        priorities: bool = True,
        max_waiting: int | None = None,
        packs: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.path = path
        self.kernel = kernel
        self.ledger: Ledger = kernel if ledger is None else ledger
        self.capacity = self.limit = capacity
        self.overflow = overflow
        self.priorities = priorities
        self.max_waiting = (
            WAITING_PER_CAPACITY * max(capacity, 16) if max_waiting is None else max_waiting
        )
        self.packs = packs or journal is not None
        self.journal = journal
        self.stash: Callable[[], Iterable[Envelope]] = tuple  # Of the actor that owns it.
        self.queue: Any = EMPTY
        self.due: deque[Envelope] | None = None
        self.idle, self.readers = list[Reader](), list[Reader]()
        self.writers: deque[Writer] | None = None
        self.sleeping: dict[Envelope, Entry] | None = None
        self.next_aside = math.inf
        self.key_of: Callable[[Any], Any] | None = None
        self.held_keys: dict[Any, deque[Envelope]] = {}
        self.reopening: Entry | None = None
        self.dated = False  # A deadline policy: every lease looks at the time.
        #: Whether each lease must be looked at: of a durable actor, or where a cut comes first.
        self.careful = self.covered = False
        self.quiet = True
        #: Whether a stage with room here may append to `queue` itself.
        self.swift = False
        #: Whether `put` never needs room: the way out of a flow.
        self.direct = False
        self.paused = self.closed = False
        self.reserved = self.waiting = 0
        self.accepted = self.acked = self.failed = self.retried = self.skipped = 0
        self.outside = 0  # Of those that were accepted, how many no stage has sent.

    # What comes in --------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether one more message may be put without waiting."""
        if self.overflow != "block":
            return True
        return self.free() > 0 and not self.writers

    def rooms(self) -> tuple[Mailbox, ...]:
        """Whose room a message needs that is put here."""
        return (self,)

    def leads_to(self, name: str) -> bool:
        """Whether it is the mailbox of the stage *name*."""
        return self.path.rpartition("/")[2] == name

    def free(self) -> int:
        """Places that nobody has been promised; below 0 after a spill, and no end of them once
        it is closed."""
        if self.closed:
            return sys.maxsize
        if self.capacity == 0:
            return len(self.idle) - len(self.queue) - self.reserved
        return self.limit - len(self.queue) - self.reserved

    def put(self, envelope: Envelope, *, committed: bool = False) -> None:
        """Take *envelope* in, full or not: callers that must wait have waited.

        A full lane that drops does so here; the dropped message is a dead letter. One whose
        rule is "fail" lets a turn that was *committed* go above its capacity.
        """
        if self.closed:
            self.ledger.give_up(envelope, "stopped", None, self.path)
            return
        if self.overflow != "block" and self.free() <= 0:
            overshoots = committed and self.overflow == "fail"
            if not overshoots and not self._make_room(envelope):
                return
        self.accepted += 1
        if self.dated:
            envelope.since = self.kernel.now()
        if self.packs and type(envelope.body) not in FROZEN:
            error = pack_body(envelope, self.kernel, self.path, shares=self.journal is None)
            if error is not None and self.journal is not None:
                self._drop(envelope, "failed", error)
                self.room_made()  # If a place was promised, it is not taken.
                return
        queue = self.queue
        if queue is EMPTY:
            queue = self.queue = deque()
            self.swift = self.overflow == "block" and self.capacity > 0 and not self.dated
        ranked = envelope.priority != DEFAULT_PRIORITY and self.priorities
        if ranked and type(queue) is deque:
            queue = self.queue = RankedQueue(queue)
        queue.append(envelope)
        if self.journal is not None:
            self.journal.touch(envelope, self)
        if self.idle:
            self.wake()

    def _make_room(self, envelope: Envelope) -> bool:
        """Apply the overflow rule; answers whether *envelope* is to be kept."""
        self.kernel.counters["overflow_drops"] += 1
        while self.overflow == "drop_old" and self.queue:
            queue = self.queue
            oldest = queue.popleft() if type(queue) is deque else queue.drop_oldest()
            self._drop(oldest, "overflow")
            if oldest.key is not None:
                self.release_key(oldest)
            if not oldest.attempt:
                return True
            self.limit -= 1  # A redelivery had brought its own place, and takes it along.
        self.ledger.give_up(envelope, "overflow", None, self.path)
        return False

    def _drop(self, envelope: Envelope, reason: Reason, error: BaseException | None = None) -> None:
        """Let a message that this mailbox had accepted leave as a dead letter."""
        self.failed += 1
        self.ledger.give_up(envelope, reason, error, self.path)

    def put_due(self, envelope: Envelope, *, front: bool = False) -> None:
        """Add to the due lane, which has no bound: timers, notices, what is given back."""
        if self.due is None:
            self.due = deque()
        (self.due.appendleft if front else self.due.append)(envelope)
        if self.journal is not None:
            self.journal.touch(envelope, self, front=front)
        self.quiet = False
        if self.idle:
            self.wake()

    async def wait_for_room(self, places: int = 1) -> None:
        """Wait until *places* are free, and have one of them promised. The caller then must
        `put` a message, or pass the place on with `room_made`, before its next await."""
        if self.writers is None:
            self.writers = deque()
        writer = Writer(trio.lowlevel.current_task(), places)
        self.writers.append(writer)

        def leave(_: RaiseCancelT) -> Abort:
            assert self.writers is not None
            self.writers.remove(writer)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)
        self.reserved -= 1

    def room_made(self) -> None:
        """Promise freed places to the writers that wait, in the order they came."""
        writers = self.writers
        while writers and self.free() >= writers[0].places:
            self.reserved += 1
            reschedule(writers.popleft().task)

    def grant(self, task: Task | None) -> None:
        """Promise a place that is not there to the writer *task*, to end a circle of waits."""
        for writer in self.writers or ():
            if writer.task is task:
                self.writers.remove(writer)  # type: ignore[union-attr]
                self.reserved += 1
                reschedule(writer.task)
                return

    # What goes out --------------------------------------------------------------------

    def wake(self) -> None:
        """Wake one parked reader. There must be one."""
        task = self.idle.pop().task
        assert task is not None
        reschedule(task)

    def wake_for_work(self) -> None:
        """Wake one parked reader if there is something to lease."""
        if self.idle and (self.due or self.queue) and not self.paused:
            self.wake()

    def look_again(self) -> None:
        """Set `quiet` anew after something it depends on has changed."""
        self.quiet = not (
            self.due
            or self.paused
            or self.dated
            or self.careful
            or self.key_of is not None
            or self.crowd() >= self.max_waiting
        )

    # What comes back ------------------------------------------------------------------

    def redeliver(self, envelope: Envelope, delay: float, position: str) -> None:
        """Put a message whose attempt has failed back, at once or after *delay* seconds.

        It needs no room: beyond `max_waiting` the mailbox stops leasing what is new.
        """
        self.retried += 1
        if delay <= 0:
            self._readmit(envelope, position, front=True)
            return
        self.sleep(envelope, self.kernel.now() + delay, position)
        if self.journal is not None:
            self.journal.note(envelope, self)

    def sleep(self, envelope: Envelope, when: float, position: str) -> None:
        """Hold a message back until *when*; then it comes in at *position*."""
        if self.sleeping is None:
            self.sleeping = {}
        self.set_aside()
        self.sleeping[envelope] = self.kernel.heap.at(when, self._wake_up, (envelope, position))

    def _wake_up(self, retry: tuple[Envelope, str]) -> None:
        envelope, position = retry
        assert self.sleeping is not None
        del self.sleeping[envelope]
        self.bring_back()
        self._readmit(envelope, position, front=False)

    def step_aside(self, envelope: Envelope, seconds: float) -> None:
        """Hold a message back that its key makes wait; others pass meanwhile."""
        if self.sleeping is None:
            self.sleeping = {}
        self.set_aside()
        # Less than a moment would be over at once, and the gate asked again at the same time.
        when = self.kernel.now() + max(seconds, 2 * MOMENT)
        self.sleeping[envelope] = self.kernel.heap.at(when, self.wake_aside, ASIDE)
        self.next_aside = min(self.next_aside, when)
        if self.journal is not None:
            self.journal.note(envelope, self)

    def wake_aside(self, _: Any = None) -> None:
        """Bring back all who stepped aside and have waited long enough, in the order in which
        they did. Waits that end together were worked out at different times: rounding decides
        nothing here."""
        until = self.kernel.now() + MOMENT
        self.next_aside = math.inf
        for envelope, entry in list((self.sleeping or {}).items()):
            if entry[2] is not None and entry[3] is not ASIDE:
                continue  # A retry.
            if entry[0] > until:
                self.next_aside = min(self.next_aside, entry[0])
                continue
            self.kernel.heap.settle(entry)
            del self.sleeping[envelope]  # type: ignore[union-attr]
            self.bring_back()
            self.put_due(envelope)

    def _readmit(self, envelope: Envelope, position: str, *, front: bool) -> None:
        # The holder of a key never queues behind those that wait for it to give it up, and what
        # fails again and again not behind ever more that will do the same.
        crowded = self.crowd() * 2 >= self.max_waiting
        if position == "head" or self.queue is EMPTY or envelope.key is not None or crowded:
            self.put_due(envelope, front=front)
            return
        self.limit += 1  # A redelivery takes no room from new messages.
        self.queue.append(envelope)
        if self.journal is not None:
            self.journal.touch(envelope, self)
        if self.idle:
            self.wake()

    def crowd(self) -> int:
        """Messages that need no room: set aside, or redelivered into the user lane."""
        return self.waiting + self.limit - self.capacity

    def set_aside(self) -> None:
        """One more message waits outside the lanes: a retry, a stash, a held-back one."""
        self.waiting += 1
        if self.crowd() >= self.max_waiting:
            self.quiet = False

    def bring_back(self, count: int = 1) -> None:
        """*count* messages set aside are back in a lane, or have left."""
        was_full = self.crowd() >= self.max_waiting
        self.waiting -= count
        if was_full:
            self.look_again()
            self.wake_for_work()

    def release_key(self, envelope: Envelope) -> None:
        """The holder of a key has left: the next one held back for it is due."""
        followers = self.held_keys[envelope.key]
        if followers:
            self.bring_back()
            following = followers.popleft()
            following.key = envelope.key
            self.put_due(following)
        else:
            del self.held_keys[envelope.key]
        envelope.key = None

    # The end --------------------------------------------------------------------------

    def messages(self) -> Iterator[Envelope]:
        """All that waits here, the lanes first; leases are with the readers."""
        yield from self.due or ()
        yield from self.queue
        yield from self.sleeping or ()
        for followers in self.held_keys.values():
            yield from followers

    def close(self) -> list[Envelope]:
        """Take no more messages; answers all that waited, which the caller must settle."""
        left = list(self.messages())
        self.closed, self.swift = True, False
        for entry in (self.sleeping or {}).values():
            self.kernel.heap.settle(entry)
        self.due = self.sleeping = None
        self.queue = EMPTY
        self.held_keys.clear()
        self.waiting = 0
        self.room_made()
        return left

    def __len__(self) -> int:
        """Messages waiting, wherever in the mailbox."""
        held_back = sum(map(len, self.held_keys.values()))
        return len(self.queue) + len(self.due or ()) + len(self.sleeping or ()) + held_back

    def __bool__(self) -> bool:
        return True
