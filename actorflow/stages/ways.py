"""Where a stage's values go if that is not simply the next mailbox.

    choose   which ways a value takes, and as what; the flow's functions are called here,
             before anything has happened, so that one that fails fails the turn
    admit    of what was chosen, what still may go; part of the commit
    put      into the mailbox at the end of the way

A junction looks to a turn like the mailbox it would otherwise put into. What goes several
ways is one object for nobody: each way but the first gets a copy of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from actorflow.core.envelope import DEFAULT_PRIORITY, DEPTH, Envelope, child
from actorflow.errors import ConfigurationError, UnknownRoute
from actorflow.graph.nodes import UNCHANGED, Send
from actorflow.graph.plan import Edge
from actorflow.runtime.bodies import FROZEN, copier
from actorflow.runtime.cell import Cell
from actorflow.runtime.effects import Addressed
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox
from actorflow.stages.items import Branch
from actorflow.wire.codec import decode, encode

__all__ = ["SEEN", "Junction", "Seen", "Way"]

#: How the fact begins that a stage has taken a key.
SEEN = "seen/"

#: A value on its way: where to, what, and its key where each key goes once.
Sent: TypeAlias = "tuple[Way, Any, bytes | None]"


class Chosen(list[Sent]):
    """The ways that the values of one turn take.

    Attributes:
        values: How many values those are.
    """

    values = 0


class Seen:
    """Keys that have entered a stage to which each key goes back once.

    Args:
        key: Gives the key of a value.
        stage: Name of the stage.
        journal: Of a durable run, which keeps them.

    Attributes:
        digests: Of the keys.
    """

    def __init__(self, key: Callable[[Any], Any], stage: str, journal: Journal | None) -> None:
        self._key = key
        self.stage = stage
        self._journal = journal
        self.digests: set[bytes] = set()

    def digest(self, value: Any) -> bytes:
        """Of the key of *value*."""
        return hashlib.blake2b(encode(self._key(value)), digest_size=16).digest()

    def add(self, digest: bytes) -> bool:
        """Whether this is the first time."""
        if digest in self.digests:
            return False
        self.digests.add(digest)
        if self._journal is not None:
            self._journal.mark(f"{SEEN}{self.stage}/{digest.hex()}", _yes)
        return True


class Way:
    """One edge, or the way out of the flow.

    Args:
        target: Takes what goes this way: a mailbox, or what collects before one.
        edge: The edge; `None` is the way out.
        shares: Whether who is at its end never changes what it gets.
        seen: Keys that have entered the stage at its end, if that must be known.
        leaves: Whether it leads out of the branches of joined `Parallel`s, to where nobody waits.

    Attributes:
        rooms: Mailboxes that must have room for one before a value goes.
        feedback: Whether it leads back; then it never waits.
        direct: Whether it is the way out.
    """

    def __init__(
        self,
        target: Any,
        edge: Edge | None,
        *,
        shares: bool = False,
        seen: Seen | None = None,
        leaves: bool = False,
    ) -> None:
        self.target = target
        self.edge = edge
        self.when = None if edge is None else edge.when
        self.map = None if edge is None else edge.map
        self.route = None if edge is None else edge.route
        self.otherwise = edge is not None and edge.otherwise
        self.end = None if edge is None else edge.end
        self.feedback = edge is not None and edge.feedback
        self.max_depth = None if edge is None else edge.max_depth
        self.shares = shares
        self.seen = seen
        self._prepared: Callable[[Any], Any] | None = getattr(target, "prepared", None)
        self._once = edge is not None and edge.dedupe is not None
        self.leaves = leaves
        self.direct: bool = target.direct
        self.rooms: Sequence[Mailbox] = () if self.feedback else target.rooms()

    def choose(
        self,
        headers: Mapping[str, Any],
        value: Any,
        named: bool,
        copy: Callable[[], Any] | None,
    ) -> Sent | None:
        """What of *value* goes this way, if any; *headers* go with it.

        Args:
            headers: Of the message.
            value: What a turn gives.
            named: Whether the handler has said that it goes to this stage; then no question is
                asked.
            copy: Gives `map` a value of its own, where others get *value* too; else `None`.

        Raises:
            ConfigurationError: The handler has put something else where the depth is.
        """
        if self.when is not None and not named and not self.when(value):
            return None
        if self.feedback:
            depth = headers.get(DEPTH, 0)
            if type(depth) is not int:
                option = f"ctx.metadata[{DEPTH!r}]"
                raise ConfigurationError(option, depth, "a whole number, as feedback counts there")
            if self.max_depth is not None and depth >= self.max_depth:
                return None
        if self.map is not None:
            value = self.map(value if copy is None else copy())
        if self._prepared is not None:
            value = self._prepared(value)
        return self, value, None if self.seen is None else self.seen.digest(value)

    def admits(self, digest: bytes | None) -> bool:
        """Whether what has this key may go there; it has been there now."""
        if digest is None or self.seen is None:
            return True
        return self.seen.add(digest) or not self._once

    def put(self, envelope: Envelope) -> None:
        """Let *envelope* go this way."""
        if self.feedback:
            headers = envelope.headers or {}
            envelope.headers = {**headers, DEPTH: headers.get(DEPTH, 0) + 1}
        branch = envelope.item
        if self.leaves and type(branch) is Branch:
            branch.let_go(envelope)
            self.target.put(envelope)
            branch.group.join.looked(branch)
            return
        self.target.put(envelope)


class Junction:
    """What a stage's values go to when there are several ways, or a question at the only one.

    Args:
        stage: Name of the stage whose values these are.
        ways: In the order of declaration.

    Attributes:
        accepted: Values that have come.
        routed: Whether a value says by a `Send` where it goes.
    """

    forked = True
    swift = direct = feedback = False
    outside = 0

    def __init__(self, stage: str, kernel: Kernel, ways: Sequence[Way]) -> None:
        self.stage = stage
        self.path = f"/{kernel.name}/{stage}"
        self._kernel = kernel
        self.accepted = 0
        self._ways = [each for each in ways if each.route is None and not each.otherwise]
        #: The mailboxes, if a value that nobody can change goes to all of them and that is all.
        self._plain = [each.target for each in ways] if all(map(_is_plain, ways)) else []
        self._routes: dict[str, list[Way]] = {}
        self._otherwise: list[Way] = []
        self._maps = any(each.map is not None for each in ways)
        self.routed = any(each.route is not None or each.otherwise for each in ways)
        for each in ways:
            if each.route is not None:
                self._routes.setdefault(each.route, []).append(each)
            elif each.otherwise:
                self._otherwise.append(each)

    def choose(
        self, envelope: Envelope, values: Iterable[Any], headers: Mapping[str, Any]
    ) -> Chosen:
        """Which ways *values* take; calls functions of the user's, which may fail.

        Args:
            envelope: The message that they were made of.
            values: What a turn gives.
            headers: What will be attached to them.

        Raises:
            ConfigurationError: A value must be a `Send` and is none, or its route is unknown.
        """
        sent = Chosen()
        for value in values:
            sent.values += 1
            ways: Sequence[Way] = self._ways
            if named := type(value) is Addressed:
                ways = [each for each in ways if each.end == value.to]
                value = value.value
            if self._routes or self._otherwise:
                routed, value = self._routed(envelope, value)
                ways = [*ways, *routed]
            copy = None
            if self._maps and len(ways) > 1:
                copy = copier(value, self._kernel, self.path)
            taken = [
                one for way in ways if (one := way.choose(headers, value, named, copy)) is not None
            ]
            sent += taken if len(taken) < 2 else self._unshared(taken, value)
        return sent

    def with_copy(self, value: Any, copy: Callable[[Any], Any]) -> Any:
        """A *value* that says by a `Send` where it goes, with a *copy* of what goes there."""
        if type(value) is not Send:
            return copy(value)
        return value if value.patch is UNCHANGED else Send(value.route, copy(value.patch))

    def leads_to(self, name: str) -> bool:
        """Whether the stage *name* follows."""
        return any(each.end == name for each in self._ways)

    def pass_on(self, cell: Cell, envelope: Envelope, value: Any) -> bool:
        """Commit the simplest turns, as `burst` does for a single mailbox; `False` if this is none
        of them, and nothing has happened."""
        boxes = self._plain
        if not boxes or envelope.priority != DEFAULT_PRIORITY:
            return False
        frozen, several = type(value) in FROZEN, len(boxes) > 1
        for box in boxes:
            if not box.swift or len(box.queue) + box.reserved >= box.limit or box.writers:
                return False
            if not frozen and (box.packs or several):
                return False
        self.accepted += 1
        cell.lease = envelope.packed = None
        mailbox = cell.mailbox
        mailbox.acked += 1
        if not several:
            envelope.body, envelope.attempt = value, 0
            _deliver(envelope, boxes[0])
            return True
        mailbox.ledger.fork(envelope, len(boxes) - 1)  # type: ignore[attr-defined]
        if mailbox.journal is not None:
            mailbox.journal.drop(envelope)
        for index, box in enumerate(boxes):
            piece = child(envelope, value, index)  # Of its own: who holds the item's cannot take
            piece.item, piece.born = envelope.item, envelope.born  # back one piece for all.
            _deliver(piece, box)
        return True

    def admit(self, chosen: Chosen) -> list[Sent]:
        """Those of *chosen* that go; in the commit."""
        self.accepted += chosen.values
        return [each for each in chosen if each[0].admits(each[2])]

    def _routed(self, envelope: Envelope, value: Any) -> tuple[list[Way], Any]:
        if type(value) is not Send:
            wanted = "Send(route), as a Route follows"
            raise ConfigurationError(f"what stage {self.stage!r} returns", value, wanted)
        named = isinstance(value.route, str)
        ways = self._routes.get(value.route, self._otherwise) if named else self._otherwise
        if not ways:
            raise UnknownRoute(self.stage, value.route, tuple(self._routes))
        if value.patch is not UNCHANGED:
            return ways, value.patch
        if envelope.packed is not None:
            return ways, decode(envelope.packed, max_bytes=None)
        return ways, envelope.body

    def _unshared(self, sent: list[Sent], value: Any) -> list[Sent]:
        """*sent* so that nobody has what somebody else may change. *value* itself goes to those
        that change nothing, or else to one way; what `map` made of it may be a part of it."""
        if all(way.shares for way, *_ in sent):
            return sent
        takers = [way for way, given, _ in sent if given is value]
        copy = copier(value, self._kernel, self.path) if len(takers) > 1 else None
        taken = any(way.shares for way in takers)
        found: list[Sent] = []
        for way, given, digest in sent:
            if given is not value:
                given = copier(given, self._kernel, self.path)()
            elif copy is not None and not way.shares:
                given, taken = copy() if taken else value, True
            found.append((way, given, digest))
        return found


def _yes() -> bool:
    return True


def _deliver(envelope: Envelope, box: Mailbox) -> None:
    """Put *envelope* into *box*, which is swift and has room."""
    box.accepted += 1
    box.queue.append(envelope)
    if box.journal is not None:
        box.journal.touch(envelope, box)
    if box.idle:
        box.wake()


def _is_plain(way: Way) -> bool:
    """Whether every value goes this way as it is, into a mailbox of a stage, and that is all."""
    plain = way.edge is not None and way.edge.plain and isinstance(way.target, Mailbox)
    return plain and way.seen is None and not way.leaves
