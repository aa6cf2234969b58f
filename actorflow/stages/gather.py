"""What holds messages back until what belongs together is there: joins and batches.

    Fork ──► branches ──► Joiner ──► the stage that joins     one message, split and put together
    values ────────────► Batcher ──► its stage                 several messages as one

Both stand before the mailbox of a stage and look like it to whoever puts. What they hold
is theirs as a mailbox's messages are: counted, in the cut, and given up with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from actorflow.core.context import Context
from actorflow.core.envelope import UNWANTED, Envelope, child
from actorflow.graph.nodes import Batch
from actorflow.runtime.bodies import copier
from actorflow.runtime.mailbox import Mailbox
from actorflow.stages.build import StageCell
from actorflow.stages.items import Branch, Bundle, Group

__all__ = ["Batcher", "Fork", "Gather", "Joiner"]


class Gather:
    """What a cut looks at in anything that holds messages.

    Args:
        mailbox: Of the stage that is fed.
        path: By which a cut knows it.
    """

    direct = feedback = forked = dated = False
    due = sleeping = None
    readers: Sequence[Any] = ()

    def __init__(self, mailbox: Mailbox, path: str) -> None:
        self.mailbox = mailbox
        self.path = path
        self.ledger: Any = mailbox.ledger
        self.held_keys: dict[Any, Any] = {}

    def rooms(self) -> tuple[Mailbox, ...]:
        """Whose room a message needs that is put here."""
        return (self.mailbox,)

    def restore(self, envelope: Envelope) -> None:
        """Hold *envelope* again, as before the process ended."""
        raise NotImplementedError

    def stash(self) -> Iterable[Envelope]:
        """Nothing: what is held here is simply here."""
        return ()

    def _unneeded(self) -> None:
        """A place in the mailbox was promised and is not taken."""
        if self.mailbox.writers:
            self.mailbox.room_made()

    def _hold(self, envelope: Envelope) -> None:
        if self.mailbox.journal is not None:
            self.mailbox.journal.touch(envelope, self)

    def _let_go(self, envelopes: Iterable[Envelope]) -> None:
        """They are part of another message from now on."""
        if self.mailbox.journal is not None:
            for each in envelopes:
                self.mailbox.journal.drop(each)


class Joiner(Gather):
    """Where the branches of a `Parallel` meet.

    Args:
        stage: The stage that joins.
        names: Of the branches, for contexts.
        many: Of each branch, whether it gives a list.
        inside: The stages of all branches.
    """

    def __init__(
        self,
        stage: StageCell,
        names: Sequence[str],
        many: Sequence[bool],
        inside: Iterable[StageCell],
    ) -> None:
        super().__init__(stage.mailbox, f"{stage.path}//gather")
        self.names = names
        self._many = many
        self._inside = tuple(inside)

    def put(self, envelope: Envelope) -> None:
        """*envelope* has come to the end of its branch."""
        branch: Branch = envelope.item
        if branch.group.failed:
            self.ledger.give_up(envelope, "sibling_failed", None, self.mailbox.path)
            return
        branch.arrived.append(envelope)
        self._hold(envelope)
        self._unneeded()
        self.looked(branch)

    def looked(self, branch: Branch) -> None:
        """A piece of *branch* has arrived or gone: it, or all, may be complete."""
        group = branch.group
        if branch.pieces == (0 if group.failed else len(branch.arrived)):
            group.open -= 1
            if not group.open:
                self.close(group)

    def close(self, group: Group) -> None:
        """All branches of *group* have come to their end."""
        origin = group.origin
        if group.failed:
            self.ledger.group_gone(group)
            return
        for branch in group.branches:
            branch.arrived.sort(key=_order)
            self._let_go(branch.arrived)
            for each in branch.arrived:
                if each.headers is not origin.headers:
                    origin.headers = {**(origin.headers or {}), **(each.headers or {})}
        both = zip(group.branches, self._many, strict=True)
        origin.body = [self._value(branch, many) for branch, many in both]
        origin.packed = None
        origin.attempt = origin.emitted = 0
        self.mailbox.put(origin)

    def _value(self, branch: Branch, many: bool) -> Any:
        values = [each.body for each in branch.arrived]
        if many:
            return values
        return values[0] if values else None

    def restore(self, envelope: Envelope) -> None:
        """*envelope* had arrived before the process ended."""
        branch: Branch = envelope.item
        branch.arrived.append(envelope)

    def call_off(self, group: Group) -> None:
        """A branch of *group* has died: the others are not wanted any more."""
        arrived = [each for branch in group.branches for each in branch.arrived]
        group.open = sum(branch.pieces > 0 for branch in group.branches)
        for branch in group.branches:
            branch.arrived.clear()
        for each in arrived:
            self.ledger.give_up(each, "sibling_failed", None, self.mailbox.path)
        for stage in self._inside:
            for each in list(stage.mailbox.messages()):
                if _belongs(each, group):
                    _call_off(stage.mailbox, each)
            for cell in stage.each_worker(lambda cell: cell):
                if cell.lease is not None and _belongs(cell.lease, group):
                    cell.lease.deadline = UNWANTED
                    if cell.blocked is None and cell.stuck is None:  # Else its handler has ended.
                        cell.ends_at = cell.now()
                        cell.look_at_the_time()


class Fork:
    """The beginning of a joined `Parallel`: one message becomes one per branch.

    Args:
        joiner: Where they meet.
        targets: What each branch begins with.
        shares: Of each, whether it never changes what it gets.
    """

    direct = False

    def __init__(self, joiner: Joiner, targets: Sequence[Any], shares: Sequence[bool]) -> None:
        self._joiner = joiner
        self._targets = targets
        self._shares = shares

    def rooms(self) -> tuple[Mailbox, ...]:
        """Whose room a message needs that is put here."""
        return tuple(room for target in self._targets for room in target.rooms())

    def put(self, envelope: Envelope) -> None:
        """Split *envelope*, which is put together again where the branches meet."""
        joiner = self._joiner
        joiner.ledger.fork(envelope, 0)  # From now on its item has an account of its own.
        joiner._let_go([envelope])
        group = Group(envelope, joiner, len(self._targets))
        body = envelope.body
        copy = copier(body, joiner.mailbox.kernel, joiner.mailbox.path)
        for slot, (target, shares) in enumerate(zip(self._targets, self._shares, strict=True)):
            if type(body) is Context:
                own: Any = body.fork(joiner.names[slot])
            else:
                own = body if shares or not slot else copy()
            piece = child(envelope, own, ~slot)
            piece.item = group.branches[slot]
            piece.born = envelope.born
            target.put(piece)


class Batcher(Gather):
    """Where values wait for a batch to be full.

    Args:
        mailbox: Of the stage that gets batches.
        batch: How large they are, and how long they wait.
        path: By which a cut knows it.
    """

    def __init__(self, mailbox: Mailbox, batch: Batch, path: str) -> None:
        super().__init__(mailbox, path)
        self.batch = batch
        self.waiting: dict[Any, list[Envelope]] = {}
        self._timers: dict[Any, Any] = {}

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))

    def put(self, envelope: Envelope) -> None:
        """*envelope* waits for the others of its batch."""
        try:
            key = None if self.batch.key is None else self.batch.key(envelope.body)
            members = self.waiting.setdefault(key, [])
        except Exception as error:  # A key function of the user's; the message pays for it.
            self.mailbox.failed += 1
            self.ledger.give_up(envelope, "failed", error, self.mailbox.path)
            return
        members.append(envelope)
        self._hold(envelope)
        if len(members) >= self.batch.size:
            self._go(key)
            return
        if len(members) == 1 and self.batch.seconds is not None:
            kernel = self.mailbox.kernel
            self._timers[key] = kernel.heap.at(kernel.now() + self.batch.seconds, self._go, key)
        self._unneeded()
        self.ledger.look_for_quiet()

    def restore(self, envelope: Envelope) -> None:
        """*envelope* had been waiting before the process ended; its time begins anew."""
        self.put(envelope)

    def flush(self) -> None:
        """Let everything go that waits."""
        for key in list(self.waiting):
            self._go(key)

    def _go(self, key: Any) -> None:
        members = self.waiting.pop(key)
        timer = self._timers.pop(key, None)
        if timer is not None and timer[2] is not None:
            self.mailbox.kernel.heap.settle(timer)
        first = members[0]
        batch = Envelope([each.body for each in members], first.root, first.path)
        batch.item = Bundle(members, self.mailbox.path)
        batch.born = first.born
        batch.priority = min(each.priority for each in members)
        self._let_go(members)
        self.mailbox.put(batch)


def _call_off(mailbox: Mailbox, envelope: Envelope) -> None:
    """Have *envelope*, which waits in *mailbox*, given up at its next lease, and that soon."""
    envelope.deadline = UNWANTED
    entry = None if mailbox.sleeping is None else mailbox.sleeping.pop(envelope, None)
    if entry is not None:
        mailbox.kernel.heap.settle(entry)
        mailbox.bring_back()
        mailbox.put_due(envelope)


def _belongs(envelope: Envelope, group: Group) -> bool:
    """Whether *envelope* is in a branch of *group*, however deep."""
    item = envelope.item
    while type(item) is Branch:
        if item.group is group:
            return True
        item = item.group.origin.item
    return False


def _order(envelope: Envelope) -> list[int]:
    """The way from the item to this piece, for sorting."""
    steps = []
    path = envelope.path
    while path is not None:
        path, index = path
        steps.append(index)
    return steps[::-1]
