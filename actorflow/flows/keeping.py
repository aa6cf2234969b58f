"""The account of a durable run: what becomes of its items is told to the journal too.

    messages    from the mailboxes; what has come out, until the sink has written it
    facts       item/<root> of an item in pieces, name/<root> of one with an id of its own,
                batch/<stage>/<id> of a batch in pieces, group/<id> of branches of which one died
    rows        results, where they are stored, and dead letters

It also keeps the run from getting too far ahead of a slow disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actorflow.core.envelope import Envelope, message_id
from actorflow.core.letters import DeadLetter, Reason
from actorflow.durability.checkpointer import Rows
from actorflow.durability.letters import dead_row
from actorflow.flows.ledger import OUTLET, Ledger
from actorflow.flows.results import ItemResult
from actorflow.flows.settings import RunSettings
from actorflow.flows.stored import stored_result
from actorflow.graph.plan import Plan
from actorflow.runtime.bodies import pack_body
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.stages.items import Bundle, Group, Item
from actorflow.wire.codec import encode

__all__ = ["KeepingLedger", "ledger_for"]

#: Items fed beyond those that the last commit covers.
AHEAD = 8_192


class KeepingLedger(Ledger):
    """The account of a durable run.

    Args:
        kernel: The run's services.
        journal: What changes.
        keeps_results: Whether each result becomes a row.
        **options: As for `Ledger`.

    Attributes:
        rows: Where rows for the next commit go.
        outlet: Where values wait until the sink has written them; `None` if nothing writes.
        unwritten: How many do.
        restoring: While a run is restored, items that end by that; `None` at other times.
    """

    def __init__(
        self, kernel: Kernel, journal: Journal, *, keeps_results: bool, **options: Any
    ) -> None:
        super().__init__(kernel, **options)
        self.journal = journal
        self.ahead = AHEAD
        self.rows = Rows()
        self.outlet: Any = None
        self.unwritten = 0
        self.restoring: list[int] | None = None
        self._keeps_results = keeps_results
        self._covered = 0  # Items fed when the last commit was taken,
        self._taken: dict[int, int] = {}  # and at cuts that are on their way.

    # How far ahead of the disk --------------------------------------------------------

    def room(self) -> int:
        """How many items may be fed now."""
        return min(super().room(), AHEAD + self._covered - self.fed)

    def cut_taken(self, number: int) -> None:
        """Cut *number* has all that was fed."""
        self._taken[number] = self.fed

    def committed(self, number: int) -> None:
        """Cut *number* is on disk."""
        self._covered = self._taken.pop(number, self._covered)
        if self._parked and self.room() > 0:  # Rare enough to wake them for any room there is.
            self._feeders.unpark_all()

    # What becomes of messages ---------------------------------------------------------

    def output(self, envelope: Envelope) -> None:
        """A value has come out of the last stage; one that cannot be written is a dead letter."""
        try:
            self._output(envelope)
        except BaseException as error:
            self.halt(error)

    def _output(self, envelope: Envelope) -> None:
        if self._keeps_results or self.outlet is not None:
            error = pack_body(envelope, self.kernel, self.leaving, shares=False)
            if error is not None:
                self.give_up(envelope, "failed", error, self.leaving)
                return
        if self._keeps_results:
            self._keep(envelope, self._result(envelope, "done", None, self.leaving))
        super().output(envelope)
        if self.outlet is None:
            self.journal.drop(envelope)
        else:
            self.unwritten += 1
            self.journal.touch(envelope, self.outlet)

    def written(self, envelopes: Sequence[Envelope]) -> None:
        """The sink has the values of *envelopes*."""
        self.unwritten -= len(envelopes)
        for envelope in envelopes:
            self.journal.drop(envelope)

    def _acknowledge(self, envelope: Envelope) -> None:
        if self._keeps_results and envelope.item is None:
            self._keep(envelope, self._result(envelope, "skipped", None, self.last))
        super()._acknowledge(envelope)
        self.journal.drop(envelope)

    def _give_up(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, where: str
    ) -> None:
        super()._give_up(envelope, reason, error, where)
        self.journal.drop(envelope)

    def lose(self, envelope: Envelope, error: BaseException) -> None:
        """A value that had come out cannot be read, so it is not written: its item stays done,
        and the value is a dead letter."""
        letter = super()._letter(envelope, "unknown_schema", error, OUTLET)
        self.rows.dead.append(dead_row(letter, envelope, out=True))
        self.journal.drop(envelope)
        self._tell_of(letter)

    def _letter(
        self, envelope: Envelope, reason: Reason, error: BaseException | None, stage: str
    ) -> DeadLetter:
        letter = super()._letter(envelope, reason, error, stage)
        self.rows.dead.append(dead_row(letter, envelope))
        if self._keeps_results and not (envelope.item and envelope.item.dead):
            self._keep(envelope, self._result(envelope, "failed", letter, stage))
        return letter

    def _keep(self, envelope: Envelope, result: ItemResult[Any]) -> None:
        stored = stored_result(result, message_id(envelope))
        self.rows.results.append((str(result.id), stored))

    # What belongs to items ------------------------------------------------------------

    def fork(self, envelope: Envelope, more: int) -> None:
        """*more* pieces of the item are about to exist."""
        super().fork(envelope, more)
        if type(envelope.item) is Item:
            self._mark(envelope.item, envelope.root)

    def _piece_gone(self, item: Item, envelope: Envelope) -> None:
        self._mark(item, envelope.root, gone=item.pieces == 1)
        super()._piece_gone(item, envelope)

    def _die(self, envelope: Envelope, letter: DeadLetter) -> None:
        super()._die(envelope, letter)
        if envelope.item is not None:
            self._mark(envelope.item, envelope.root)

    def _count(self, envelopes: list[Envelope], *, out: bool, dead: bool) -> None:
        """The whole items of *envelopes* have ended; each has a row, where results are stored."""
        if self._keeps_results and not (out or dead):
            for each in envelopes:
                self._keep(each, self._result(each, "skipped", None, self.last))
        super()._count(envelopes, out=out, dead=dead)
        if self.restoring is not None and not self.ids:  # Else it was told of each.
            self.restoring += [each.root for each in envelopes[1:]]

    def _fail(self, group: Group, letter: DeadLetter) -> None:
        self.journal.mark(f"group/{message_id(group.origin)}", _yes)
        super()._fail(group, letter)

    def take_over(self, item: Item, root: int) -> None:
        """*item*, of which *root* is, comes from another run."""
        self._mark(item, root)

    def take_over_group(self, group: Group) -> None:
        """So does *group*, with what has arrived."""
        if group.failed:
            self.journal.mark(f"group/{message_id(group.origin)}", _yes)
        for each in (piece for branch in group.branches for piece in branch.arrived):
            self.journal.touch(each, group.join)

    def group_gone(self, group: Group) -> None:
        """Nothing is left of *group*, of which a branch died."""
        self.journal.mark(f"group/{message_id(group.origin)}", None)
        super().group_gone(group)

    def _mark(self, item: Item, root: int, *, gone: bool = False) -> None:
        """What became of *item* so far, or that nothing of it is left, is to be in the next cut."""
        key = f"item/{root}" if type(item) is Item else ""
        if type(item) is Bundle:
            key = item.key()
        if key:
            self.journal.mark(key, None if gone else lambda: [item.out, item.dead])

    def name(self, number: int, name: Any) -> None:
        """Give item *number* an id of the caller's; it must be one that can be written."""
        encode(name)
        super().name(number, name)
        self.journal.mark(f"name/{number}", lambda: name)

    def _item_ended(self, number: int) -> None:
        if number in self.ids:
            self.journal.mark(f"name/{number}", None)
        if self.restoring is not None:
            self.restoring.append(number)
        super()._item_ended(number)


def _yes() -> bool:
    return True


def ledger_for(kernel: Kernel, plan: Plan, settings: RunSettings, run_id: str) -> Ledger:
    """The account of a run; that of a durable run is kept."""
    facts: dict[str, Any] = {
        "window": settings.window,
        "concurrency": settings.inside,
        "max_dead": settings.max_dead,
        "ordered": settings.ordered,
        "deps": settings.deps,
        "last": plan.exits[0],
        "run_id": run_id,
        "asides": plan.asides,
        "settles_early": bool(plan.asides) and plan.gives_one,
    }
    if settings.kept is None:
        return Ledger(kernel, **facts)
    kernel.journal = Journal()
    return KeepingLedger(kernel, kernel.journal, keeps_results=settings.kept.keeps_results, **facts)
