"""What holds messages back until what belongs together is there: joins and batches.

    Fork ──► branches ──► Joiner ──► the stage that joins     one message, split and put together
    values ────────────► Batcher ──► its stage                 several messages as one

Both stand before the mailbox of a stage and look like it to whoever puts. What they hold
is theirs as a mailbox's messages are: counted, in the cut, and given up with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from actorflow.core.context import Context
from actorflow.core.envelope import DEPTH, STEP, UNWANTED, Envelope, child
from actorflow.errors import DeadlineExceeded
from actorflow.graph.nodes import Batch
from actorflow.graph.plan import Join
from actorflow.runtime.bodies import copier
from actorflow.runtime.mailbox import Mailbox
from actorflow.stages.build import StageCell
from actorflow.stages.copies import same
from actorflow.stages.items import Branch, Bundle, Group, put_together

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

    def _let_go(self, envelopes: Iterable[Envelope]) -> None:
        """They are part of another message from now on."""
        if self.mailbox.journal is not None:
            for each in envelopes:
                self.mailbox.journal.drop(each)

    def _needs_no_room(self) -> None:
        """A place in the mailbox was promised and is not taken."""
        if self.mailbox.writers:
            self.mailbox.room_made()


class Joiner(Gather):
    """Where the branches of a `Parallel` meet.

    Args:
        stage: The stage that joins.
        names: Of the branches, for contexts.
        join: What the plan says of it.
        inside: The stages of all branches.
        leaks: Whether pieces leave the branches, to where nobody waits for them.
    """

    def __init__(
        self,
        stage: StageCell,
        names: Sequence[str],
        join: Join,
        inside: Iterable[StageCell],
        *,
        leaks: bool,
    ) -> None:
        super().__init__(stage.mailbox, f"{stage.path}//gather")
        self.stage = join.stage
        self.names = names
        self._many = join.many
        self._strict = join.strict
        self._inside = tuple(inside)
        self._leaks = leaks

    def put(self, envelope: Envelope) -> None:
        """*envelope* has come to the end of its branch."""
        branch: Branch = envelope.item
        if branch.group.failed or envelope.deadline == UNWANTED:
            self.ledger.give_up(envelope, "sibling_failed", None, self.mailbox.path)
            self._needs_no_room()
            return
        branch.arrived.append(envelope)
        if self.mailbox.journal is not None:
            self.mailbox.journal.touch(envelope, self)
        self._needs_no_room()
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
        if self._strict and not all(branch.arrived for branch in group.branches):
            self.ledger.acknowledge(origin)  # One behind the other, the item would end there.
            return
        if self._leaks:
            origin.path = (origin.path, 0)  # Its old id is that of what is still on its way.
        arrived = [each for branch in group.branches for each in branch.arrived]
        put_together(origin, arrived)
        forks = [each.body for each in arrived]
        base = group.base(forks)
        if base is None:
            both = zip(group.branches, self._many, strict=True)
            origin.body = [self._value(branch, many) for branch, many in both]
        else:
            origin.body = (base, *forks)
        origin.packed = None
        origin.attempt = origin.emitted = 0
        self.mailbox.put(origin)

    def _value(self, branch: Branch, many: bool) -> Any:
        values = [each.body for each in branch.arrived]
        if many or len(values) > 1:
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
        contextual: Whether they work on a `Context`.
    """

    direct = False

    def __init__(
        self,
        joiner: Joiner,
        targets: Sequence[Any],
        *,
        shares: Sequence[bool],
        contextual: bool,
    ) -> None:
        self._joiner = joiner
        self._targets = targets
        self._shares = shares
        self._contextual = contextual

    def rooms(self) -> tuple[Mailbox, ...]:
        """Whose room a message needs that is put here."""
        return tuple(room for target in self._targets for room in target.rooms())

    def prepared(self, value: Any) -> Any:
        """What is split of *value*.

        Raises:
            TypeError: It is a mapping that can be no Context, and the branches work on one.
        """
        if self._contextual and isinstance(value, Mapping) and type(value) is not Context:
            return Context(value)
        return value

    def put(self, envelope: Envelope) -> None:
        """Split *envelope*, which is put together again where the branches meet."""
        joiner = self._joiner
        joiner.ledger.fork(envelope, 0)  # From now on its item has an account of its own.
        joiner._let_go([envelope])
        group = Group(envelope, joiner, len(self._targets))
        body = envelope.body
        own = self._copies(body)
        for slot, target in enumerate(self._targets):
            piece = child(envelope, own(slot), ~slot)
            piece.item = group.branches[slot]
            piece.born = envelope.born
            if group.failed:  # There was no room for another one, and so it died at once.
                joiner.ledger.give_up(piece, "sibling_failed", None, joiner.mailbox.path)
            else:
                target.put(piece)

    def _copies(self, body: Any) -> Callable[[int], Any]:
        """What gives each branch a body that no other branch can change."""
        joiner = self._joiner
        if type(body) is Context:
            return lambda slot: body.fork(joiner.names[slot])
        if all(self._shares):
            return lambda slot: body
        copy = copier(body, joiner.mailbox.kernel, joiner.mailbox.path)
        # It goes to those that change nothing, or else to one that may.
        first = None if any(self._shares) else 0
        return lambda slot: body if self._shares[slot] or slot == first else copy()


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
        batch, key = self.batch, None
        if batch.key is not None:
            try:
                key = batch.key(envelope.body)
                hash(key)
            except BaseException as error:  # A key function of the user's; the message pays.
                self.mailbox.failed += 1
                self.ledger.give_up(envelope, "failed", error, self.mailbox.path)
                self._needs_no_room()
                return
        members = self.waiting.get(key)
        if members is None:
            members = self.waiting[key] = []
            if batch.seconds is not None and batch.size > 1:
                kernel = self.mailbox.kernel
                self._timers[key] = kernel.heap.at(kernel.now() + batch.seconds, self._go, key)
        members.append(envelope)
        if self.mailbox.journal is not None:
            self.mailbox.journal.touch(envelope, self)
        if len(members) >= batch.size:
            self._go(key)
        else:
            self._needs_no_room()
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
        members = self._in_time(members)
        if not members:
            self._needs_no_room()
            return
        first = members[0]
        batch = Envelope([each.body for each in members], first.root, first.path)
        batch.item = Bundle(members, self.mailbox.path)
        batch.born = first.born
        batch.priority = min(each.priority for each in members)
        deadlines = [each.deadline for each in members if each.deadline is not None]
        batch.deadline = min(deadlines, default=None)
        batch.headers = _common([each.headers or {} for each in members])
        self._let_go(members)
        self.mailbox.put(batch)

    def _in_time(self, members: list[Envelope]) -> list[Envelope]:
        """*members* without those whose deadline has passed while they waited."""
        if all(each.deadline is None for each in members):
            return members
        now, path = self.mailbox.kernel.now(), self.mailbox.path
        found: list[Envelope] = []
        for each in members:
            if each.deadline is None or now < each.deadline:
                found.append(each)
            else:
                self.mailbox.failed += 1
                self.ledger.give_up(each, "expired", DeadlineExceeded(path), path)
        return found


def _common(headers: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What all members of a batch have in their *headers*, and the greatest of their depths."""
    found = {
        name: fact
        for name, fact in headers[0].items()
        if name not in (DEPTH, STEP) and all(same(fact, each.get(name)) for each in headers[1:])
    }
    depths = [each[DEPTH] for each in headers if type(each.get(DEPTH)) is int]
    if depths:
        found[DEPTH] = max(depths)
    return found or None


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
