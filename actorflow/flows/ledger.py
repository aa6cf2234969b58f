"""The account of a run's items: how many are fed, done, skipped, dead and held.

    fed = done + skipped + dead + held

An item that never split is its envelope. One that did has an `Item`, which counts
the pieces: it is held while any of them is, ends dead if one died, else done if one
came out, else skipped (`pieces` knows how they nest). Every departure of a message is
told here once, by the commit, and from here it goes to whoever takes results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import trio

from actorflow.core.envelope import Envelope, message_id
from actorflow.core.letters import DeadLetter, Reason, render_traceback
from actorflow.core.partway import visible
from actorflow.errors import ConfigurationError, StageError, TooManyFailures, shown
from actorflow.flows.faults import Faults
from actorflow.flows.pieces import Pieces
from actorflow.flows.results import Chunk, ErrorCount, ItemResult
from actorflow.flows.taps import NO_RESULT, Tap
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.ref import ActorRef
from actorflow.runtime.telling import tell_accepted, tell_ended, tell_failed, tell_out
from actorflow.stages.hooks import tell_of
from actorflow.stages.items import Branch, Bundle

__all__ = ["OUTLET", "Ledger", "Outlet", "wake_at"]

#: Last part of the path of the way out.
OUTLET = "results"


class Ledger(Pieces):
    """The account of one run.

    Args:
        kernel: The run's services.
        window: Most items between the oldest unfinished, or untaken, one and the newest.
        concurrency: Most items inside at a time; `None` is no limit of its own.
        max_dead: Most dead letters; one more fails the run.
        ordered: Whether results leave in the order of feeding.
        deps: What handlers find as ``ctx.deps``.
        last: Name of the stage whose values come out, of the first if there are several.
        run_id: Id of the run.
        asides: Stages that nobody waits for.
        settles_early: Whether takers have heard all of an item when they have heard anything, as it
            gives one value at most and only asides go on.

    Attributes:
        letters: The dead letters, at most *max_dead*.
        wake_at: Room for so many items wakes those who wait to feed. Woken for every place, a
            feeder would cost more than the work it brings.
        hooks: What `on_failure` says, by stage; under `None`, what holds for all others.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        window: int = 1024,
        concurrency: int | None = None,
        max_dead: int = 10_000,
        ordered: bool = False,
        deps: Any = None,
        last: str = "",
        run_id: str = "",
        asides: frozenset[str] = frozenset(),
        settles_early: bool = False,
    ) -> None:
        self.kernel = kernel
        self.asides = asides
        self.settles_early = settles_early
        self.last = self.leaving = last
        self.run_id = run_id
        self.window = window
        self.concurrency = window if concurrency is None else min(concurrency, window)
        self.wake_at = 1
        self.ahead = self.window  # Items that may be fed before the disk has those before them.
        self.max_dead = max_dead
        self.ordered = ordered
        self.deps = deps
        self.fed = self.done = self.skipped = self.dead = self.dead_letters = 0
        self.letters: list[DeadLetter] = []
        self.ids: dict[int, Any] = {}  # Ids that callers gave, of items still held.
        self.taps: tuple[Tap, ...] = ()
        self.on_idle: Callable[[], None] | None = None
        self.on_halt: Callable[[BaseException], None] | None = None
        self.hooks: dict[str | None, Any] = {}
        self.closed = False
        self.batchers: tuple[Any, ...] = ()  # What waits for a batch to be full.
        self.entrances: Mapping[str, Any] = {}  # What stands before a mailbox, by its path,
        self.joins: Mapping[str, Any] = {}  # and where its messages meet those of other branches.
        self.busy: Callable[[], bool] = bool  # Whether anything else in the run can move.
        self.injector: Any = None  # Feeds it from inside.
        self._looking = False
        self.chunks: Any = None  # The way out, if anybody takes chunks.
        self.faults = Faults()
        self._feeders = trio.lowlevel.ParkingLot()
        self._parked = 0

    # Feeding --------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Items inside."""
        return self.fed - self.done - self.skipped - self.dead

    def room(self) -> int:
        """How many items may be fed now."""
        held, untaken = self.held, 0
        for tap in self.taps:
            untaken = max(untaken, tap.untaken())
        return min(self.window - held - untaken, self.concurrency - held)

    async def wait_for_room(self) -> None:
        """Wait until another item may be fed."""
        while self.room() <= 0 and not self.closed:
            self._parked += 1
            self.look_for_quiet()
            try:
                await self._feeders.park()
            finally:
                self._parked -= 1

    def look_for_feeders(self) -> None:
        """An item has ended or a result was taken: a waiting feeder may go on."""
        if self._parked and self.room() >= self.wake_at:
            self._feeders.unpark_all()  # One alone might be at the end of its source.

    def close(self) -> None:
        """No more items: the run is over when none is held."""
        self.closed = True
        self._feeders.unpark_all()
        self._maybe_idle()
        self.look_for_quiet()

    def look_for_quiet(self) -> None:
        """Perhaps nothing can move any more but batches that are not full: then they go."""
        if self.batchers and not self._looking and (self.closed or self._parked):
            self._looking = True
            self.kernel.heap.at(self.kernel.now(), self._look)

    def _look(self, _: Any) -> None:
        self._looking = False
        if (self.closed or self._parked) and not self.busy():
            waiting = next((each for each in self.batchers if len(each)), None)
            if waiting is not None:
                waiting.flush()

    def _maybe_idle(self) -> None:
        if self.closed and not self.held and self.on_idle is not None:
            self.on_idle()

    # Departures -----------------------------------------------------------------------

    def output(self, envelope: Envelope) -> None:
        """A value has come out of the last stage."""
        item = envelope.item
        try:
            if item is None:
                self.done += 1
                if self.taps:
                    self._publish(envelope, "done", True)
                if self.kernel.watched:
                    tell_out(self, envelope)
                self._item_ended(envelope.root)
                return
            item.out = True
            if self.taps:
                self._publish(envelope, "done", self.settles_early)
            if self.kernel.watched:
                tell_out(self, envelope)
            self._piece_gone(item, envelope)
        except BaseException as error:
            self.halt(error)

    def acknowledge(self, envelope: Envelope) -> None:
        """A message has ended without a value of its own."""
        try:
            self._acknowledge(envelope)
        except BaseException as error:
            self.halt(error)

    def _acknowledge(self, envelope: Envelope) -> None:
        item = envelope.item
        if item is not None:
            self._piece_gone(item, envelope)
            return
        self.skipped += 1
        if self.taps:
            self._publish(envelope, "skipped", True)
        if self.kernel.watched:
            tell_ended(self, envelope.root, "skipped")
        self._item_ended(envelope.root)

    def give_up(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, where: str
    ) -> None:
        """A message has ended as a dead letter."""
        try:
            self._give_up(envelope, reason, error, where)
        except BaseException as mistake:
            self.halt(mistake)

    def _give_up(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, where: str
    ) -> None:
        stage = where.rpartition("/")[2]
        item = envelope.item
        if type(item) is Bundle and item.path == where and item.pieces == 1:
            for member in item.each(envelope):  # A batch that was given up as a whole.
                self._give_up(member, reason, error, where)
            return
        letter = self._letter(envelope, reason, error, stage)
        self._tell_of(letter)  # Before those who die of it.
        if item is None and stage in self.asides:
            self._acknowledge(envelope)  # What nobody waits for is no fault of the item.
        elif item is None:
            if self.taps:
                self._publish(envelope, "failed", True, letter)
            self.dead += 1
            if self.kernel.watched:
                tell_ended(self, envelope.root, "failed")
            self._item_ended(envelope.root)
        else:
            self._die(envelope, letter)
            self._piece_gone(item, envelope)

    def _tell_of(self, letter: DeadLetter) -> None:
        """Do what `on_failure` of the stage, or else of the flow, says."""
        hook = self.hooks.get(letter.stage_or_actor) or self.hooks.get(None)
        if hook == "halt":
            self.halt(_given_up(letter))
        elif hook is not None:
            tell_of(self.kernel, hook, letter)
        if self.dead_letters > self.max_dead:
            path = f"/{self.kernel.name}"
            errors = (each.error for each in (letter, *reversed(self.letters)) if each.error)
            self.halt(TooManyFailures(path, self.max_dead, next(errors, None)))

    def halt(self, error: BaseException) -> None:
        """The run cannot go on. What goes wrong in here is such a case, and no handler's fault:
        an account that is wrong would never come to its end."""
        if self.on_halt is not None:
            self.on_halt(error)

    def chunk(self, envelope: Envelope, stage: str, value: Any) -> None:
        """A generator of contexts has yielded *value* for *envelope*."""
        chunk = Chunk(stage, self.ids.get(envelope.root, envelope.root), value)
        for tap in self.taps:
            if tap.chunks:
                tap.push(envelope.root, chunk, False)

    def divert(self, envelope: Envelope, to: Any) -> None:
        """The message goes to a stage of this run; or to an actor, and its item is skipped."""
        name = to if isinstance(to, str) else getattr(to, "name", "")
        cell = to.cell if isinstance(to, ActorRef) else None
        stage = None if cell else self.kernel.nodes.get(f"/{self.kernel.name}/{name}")
        mailbox = getattr(cell or stage, "mailbox", None)
        here = envelope.item.group.join if type(envelope.item) is Branch else None
        if mailbox is None:
            error = ConfigurationError("Divert.to", to, "a ref, or a stage of this flow")
            self.give_up(envelope, "failed", error, str(name))
        elif cell is None and self.joins.get(mailbox.path) is not here:
            wanted = "a stage of the same branches, where some are joined"
            error = ConfigurationError("Divert.to", to, wanted)
            self.give_up(envelope, "failed", error, str(name))
        elif cell is None:
            envelope.attempt = envelope.emitted = 0
            envelope.packed = None
            inside = mailbox.accepted - mailbox.outside
            self.entrances.get(mailbox.path, mailbox).put(envelope)
            mailbox.outside = mailbox.accepted - inside
        else:
            cell.kernel.held += 1
            mailbox.put(Envelope(envelope.body, next(cell.kernel.ids)))
            self.acknowledge(envelope)

    def malformed(self, place: str, text: str, error: Exception) -> None:
        """An entry of the input could not be read: it was fed and is dead."""
        envelope = Envelope(text, self.fed)
        envelope.born = self.kernel.now()
        self.fed += 1
        if envelope.root not in self.ids:
            self.name(envelope.root, place)
        if self.kernel.watched:
            tell_accepted(self, envelope, "input")
        self.give_up(envelope, "failed", error, "input")

    def name(self, number: int, name: Any) -> None:
        """Give item *number* an id of the caller's."""
        self.ids[number] = name

    def _item_ended(self, number: int) -> None:
        if self.ids:
            self.ids.pop(number, None)
        if self._parked:
            self.look_for_feeders()
        if self.closed:
            self._maybe_idle()
        if self.batchers:
            self.look_for_quiet()

    # Results and failures -------------------------------------------------------------

    def _publish(
        self, envelope: Envelope, status: str, ended: bool, letter: DeadLetter | None = None
    ) -> None:
        """Hand what became of *envelope* to every taker."""
        for tap in self.taps:
            result: Any = NO_RESULT
            if tap.values_only:
                if status == "done":
                    result = envelope if tap.whole else envelope.body
            elif status != "ended":
                stage = self.leaving if status == "done" else tap.stage
                result = self._result(envelope, status, letter, stage)
            tap.push(envelope.root, result, ended)

    def _result(
        self, envelope: Envelope, status: Any, letter: DeadLetter | None, stage: str
    ) -> ItemResult[Any]:
        return ItemResult(
            id=self.ids.get(envelope.root, envelope.root),
            value=envelope.body if status == "done" else None,
            error=None if letter is None else letter.error,
            attempts=max(envelope.attempt, 1) if letter is None else letter.attempts,
            stage=stage if letter is None else letter.stage_or_actor,
            status=status,
            metadata=visible(envelope.headers),
            timings={"total": self.kernel.now() - envelope.born},
            traceback="" if letter is None else letter.traceback,
            number=envelope.root,
        )

    def _letter(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, stage: str
    ) -> DeadLetter:
        item = self.ids.get(envelope.root, envelope.root)
        letter = DeadLetter(
            id=item if envelope.path is None else message_id(envelope),
            item=item,
            body=envelope.body,
            stage_or_actor=stage,
            reason=reason,
            error=error,
            traceback="" if error is None else render_traceback(error),
            attempts=envelope.attempt,
            at=self.kernel.ports.wall(),
            replays=envelope.replays,
        )
        self.faults.add(letter)
        self.dead_letters += 1
        if self.dead_letters <= self.max_dead:
            self.letters.append(letter)
        self.kernel.bury(letter)
        if self.kernel.watched:
            tell_failed(self, envelope, letter)
        return letter

    def errors(self) -> tuple[ErrorCount, ...]:
        """What ended messages, by stage and type, most frequent first."""
        return self.faults.counts()

    def dump(self) -> dict[str, Any]:
        """The account as plain values, for `resume`."""
        return {
            "counts": [self.fed, self.done, self.skipped, self.dead, self.dead_letters],
            "errors": self.faults.dump(),
        }

    def resume(self, state: Mapping[str, Any], letters: Iterable[DeadLetter]) -> None:
        """Go on from what `dump` gave, with the dead letters of before."""
        self.fed, self.done, self.skipped, self.dead, self.dead_letters = state["counts"]
        self.letters.extend(letters)
        self.faults.load(state["errors"])

    def counts(self) -> dict[str, int]:
        """The five figures of the law."""
        return {
            "fed": self.fed,
            "done": self.done,
            "skipped": self.skipped,
            "dead": self.dead,
            "held": self.held,
        }


def wake_at(inside: int, workers: int) -> int:
    """For how much room a waiting feeder is woken: a quarter of the items that may be *inside*,
    but never so much that one of *workers* could lack work meanwhile."""
    return max(1, min(inside // 4, inside - workers))


def _given_up(letter: DeadLetter) -> StageError:
    detail = letter.reason if letter.error is None else shown(letter.error)
    error = StageError(letter.stage_or_actor, letter.item, letter.attempts, detail)
    error.__cause__ = letter.error
    return error


class Outlet(Mailbox):
    """Where the last stage puts its values: a mailbox that is read at once.

    Its room is for what generators make of few items; the window bounds all else.
    """

    __slots__ = ()

    def __init__(self, path: str, kernel: Kernel, ledger: Ledger) -> None:
        super().__init__(path, kernel, ledger=ledger)
        self.direct = self.swift = True
        self.queue = _Out(ledger)

    def free(self) -> int:
        """How many results more may wait to be taken."""
        ledger: Any = self.ledger
        waiting = max((tap.ready() for tap in ledger.taps if tap.bounded), default=0)
        return int(ledger.window - waiting - self.reserved)

    def put(self, envelope: Envelope, *, committed: bool = False) -> None:
        ledger: Any = self.ledger
        try:
            self.accepted += 1
            self.queue.append(envelope)
            if self.writers:
                self.room_made()  # What waits for an earlier item takes up no place.
        except BaseException as error:
            ledger.halt(error)


class _Out:
    """A queue that is always empty: what is appended has left the flow."""

    __slots__ = ("append",)

    def __init__(self, ledger: Ledger) -> None:
        self.append = ledger.output

    def __len__(self) -> int:
        return 0
