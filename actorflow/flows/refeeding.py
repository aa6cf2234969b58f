"""Put what a run had left into another run of the flow: each message where it was.

    report.left ──► copies, checked ──► numbers of this run ──► mailboxes, batches, joins

All or nothing: whatever is wrong is said before the first one is in. It needs no room, as what a
cut restores needs none; feeding then waits until there is some. What had been tried comes first,
and what waited for a retry waits no longer. Of the branches of a joined `Parallel` those that
had arrived are there again, of a generator the number of what it had sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from actorflow.core.envelope import UNWANTED, WITHDRAWN, Envelope
from actorflow.errors import ConfigurationError
from actorflow.flows.copying import Common, Copies, Whence
from actorflow.flows.ledger import Ledger
from actorflow.flows.results import Held
from actorflow.flows.wiring import Wiring
from actorflow.graph.plan import Plan
from actorflow.runtime.bodies import FROZEN, as_given, copier, pack_body
from actorflow.runtime.mailbox import Mailbox
from actorflow.runtime.telling import owners, tell_accepted
from actorflow.stages.build import StageCell
from actorflow.stages.gather import Batcher, Joiner
from actorflow.stages.items import Branch, Bundle, Group, Item
from actorflow.wire.codec import encode

__all__ = ["Refeeder"]

#: Opens every error message.
OPTION = "refeed() held"


@attrs.define
class _Placed:
    """A message on its way back.

    Attributes:
        held: What a report says of it, or of its batch: of each member.
        box: Where it goes.
        envelope: What goes there.
        batch: Whether it is a batch that was formed.
    """

    held: dict[int, Held]
    box: Any
    envelope: Envelope
    batch: bool


class Refeeder:
    """Takes in what another run had left.

    Args:
        plan: The flow.
        ledger: The run's account.
        stages: Its stages.
        wiring: Its connections.
        deadline: Seconds that an item has from now on, or `None`.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        stages: Mapping[str, StageCell],
        wiring: Wiring,
        deadline: float | None,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._stages = stages
        self._wiring = wiring
        self._deadline = deadline

    def take(self, held: Iterable[Held]) -> list[Any]:
        """Put *held* where they were; answers the ids of their items, each once.

        Raises:
            ConfigurationError: One is not of a report of this flow, or is there twice, or others
                that belong to it are missing.
        """
        reports: dict[Common, list[Held]] = {}
        for each in _several(held):
            reports.setdefault(self._checked(each), []).append(each)
        ready = [(common, *self._copied(given)) for common, given in reports.items()]
        if self._ledger.kernel.journal is not None:
            encode([list(common.names.values()) for common in reports])
        return [name for each in ready for name in self._let_in(*each)]

    # Checking ---------------------------------------------------------------------------

    def _checked(self, held: Any) -> Common:
        whence = held.whence if isinstance(held, Held) else None
        if not isinstance(whence, Whence):
            raise ConfigurationError(OPTION, held, "values of report.left")
        if whence.common.flow != self._plan.name:
            wanted = f"of the flow {self._plan.name!r}, and not of {whence.common.flow!r}"
            raise ConfigurationError(OPTION, held, wanted)
        if type(held.priority) is not int:
            raise ConfigurationError(f"{OPTION}.priority", held.priority, "a whole number")
        self._box(held, whence)
        return whence.common

    def _box(self, held: Held, whence: Whence) -> Any:
        """What held it, here."""
        cell = self._stages.get(held.stage)
        if cell is None:
            known = ", ".join(map(repr, self._stages))
            raise ConfigurationError(f"{OPTION}.stage", held.stage, f"a stage of the flow: {known}")
        if not whence.box:
            return cell.mailbox
        box = self._wiring.gathers.get(whence.box)
        if not isinstance(box, Batcher):
            wanted = "where values still wait for a batch"
            raise ConfigurationError(f"{OPTION}.stage", held.stage, wanted)
        return box

    def _meets(self, stage: str) -> Joiner:
        joiner = self._wiring.gathers.get(f"{stage}//gather")
        if not isinstance(joiner, Joiner):
            raise ConfigurationError(OPTION, stage, "of a flow that joins branches at that stage")
        return joiner

    def _copied(self, given: list[Held]) -> tuple[Copies, list[_Placed]]:
        copies = Copies(self._meets, self._wiring.mailbox_path)
        placed: dict[int, _Placed] = {}
        for each in given:
            whence: Whence = each.whence
            known = placed.get(id(whence.envelope))
            if known is None:
                box = self._box(each, whence)
                known = _Placed({}, box, copies.of(whence.envelope), whence.slot is not None)
                placed[id(whence.envelope)] = known
            slot = whence.slot or 0
            if slot in known.held:
                raise ConfigurationError(OPTION, each, "each message once")
            known.held[slot] = each
        for message in placed.values():
            _fill(message)
            self._check_branch(message)
        arrived: list[Envelope] = []
        for old, new in copies.groups:
            _check_group(old, new)
            arrived += (piece for branch in new.branches for piece in branch.arrived)
        if self._ledger.kernel.journal is not None:
            for envelope in (*arrived, *(each.envelope for each in placed.values())):
                encode(envelope.body)  # They must be kept, or nothing is let in.
                encode(envelope.headers)
        return copies, list(placed.values())

    def _check_branch(self, message: _Placed) -> None:
        """A flow that was mended may join its branches elsewhere."""
        held, item = next(iter(message.held.values())), message.envelope.item
        around = self._wiring.around(held.stage, "")
        meets = item.group.join if type(item) is Branch else None
        if meets is not (around[-1] if around else None):
            wanted = "in the same branches as in the run that had it"
            raise ConfigurationError(f"{OPTION}.stage", held.stage, wanted)

    # Letting in -------------------------------------------------------------------------

    def _let_in(self, common: Common, copies: Copies, placed: list[_Placed]) -> list[Any]:
        ledger, now = self._ledger, self._ledger.kernel.now()
        for stage, digests in common.seen.items():
            if stage in self._wiring.seen:
                for digest in digests:
                    self._wiring.seen[stage].add(digest)
        numbers = dict.fromkeys(sorted({each.root for each in copies.envelopes}), 0)
        names = [common.names.get(root, root) for root in numbers]
        for root, name in zip(numbers, names, strict=True):
            numbers[root] = ledger.fed
            ledger.name(ledger.fed, name)
            ledger.fed += 1
        until = None if self._deadline is None else now + self._deadline
        for each in copies.envelopes:
            each.root, each.born = numbers[each.root], now
            if each.deadline not in (UNWANTED, WITHDRAWN):
                each.deadline = until
        self._take_over(copies)
        told: set[int] = set()
        for message in placed:
            if ledger.kernel.watched and not told.issuperset(owners(message.envelope)):
                told.update(owners(message.envelope))
                tell_accepted(ledger, message.envelope, _mailbox(message.box).path)
            self._put(message)
        for _, group in copies.groups:
            if group.failed:
                group.join.call_off(group)
        return names

    def _take_over(self, copies: Copies) -> None:
        """The account knows the items, and a journal what has arrived where branches meet."""
        for each in copies.envelopes:
            if type(each.item) in (Item, Bundle):
                self._ledger.take_over(each.item, each.root)
        for _, group in copies.groups:
            for each in (piece for branch in group.branches for piece in branch.arrived):
                each.body = as_given(each.body)  # The report may be fed again elsewhere.
            self._ledger.take_over_group(group)
            group.open = sum(each.pieces > len(each.arrived) for each in group.branches)

    def _put(self, message: _Placed) -> None:
        envelope, box = message.envelope, message.box
        mailbox = _mailbox(box)
        if mailbox.packs and type(envelope.body) not in FROZEN:  # The report keeps its own.
            envelope.body = copier(envelope.body, mailbox.kernel, mailbox.path)()
        inside = mailbox.accepted - mailbox.outside
        drops = mailbox.overflow in ("drop_new", "drop_old") and mailbox.free() <= 0
        if box is not mailbox:
            box.put(envelope)
        elif envelope.attempt or drops:
            _put_first(mailbox, envelope)
        else:
            mailbox.put(envelope, committed=True)
        mailbox.outside = mailbox.accepted - inside


def _mailbox(box: Any) -> Mailbox:
    mailbox: Mailbox = getattr(box, "mailbox", box)
    return mailbox


def _several(held: Any) -> list[Any]:
    if isinstance(held, Held) or not isinstance(held, Iterable):
        raise ConfigurationError(OPTION, held, "an iterable of values of report.left")
    return list(held)


def _fill(message: _Placed) -> None:
    """Give a message the value that the report has of it: it may have been mended there."""
    envelope, held = message.envelope, message.held
    if not message.batch:
        envelope.body, envelope.priority = held[0].value, held[0].priority
        return
    bundle: Bundle = envelope.item
    if len(held) < len(bundle.members):
        each = next(iter(held.values()))
        raise ConfigurationError(OPTION, each, f"all {len(bundle.members)} values of its batch")
    envelope.body = [held[slot].value for slot in range(len(bundle.members))]


def _check_group(old: Group, new: Group) -> None:
    if len(new.branches) != len(new.join.names):
        wanted = f"of a flow with {len(new.branches)} branches that meet at {new.join.stage!r}"
        raise ConfigurationError(OPTION, f"a part of item {old.origin.root}", wanted)
    for one, other in zip(old.branches, new.branches, strict=True):
        if one.pieces != other.pieces:
            wanted = f"all that is left of its branches, which meet at {new.join.stage!r}"
            raise ConfigurationError(OPTION, f"a part of item {old.origin.root}", wanted)


def _put_first(mailbox: Mailbox, envelope: Envelope) -> None:
    """Put *envelope* where it needs no room and comes before what is new."""
    mailbox.accepted += 1
    if mailbox.dated:
        envelope.since = mailbox.kernel.now()
    if mailbox.packs and type(envelope.body) not in FROZEN:
        pack_body(envelope, mailbox.kernel, mailbox.path)
    mailbox.put_due(envelope)
