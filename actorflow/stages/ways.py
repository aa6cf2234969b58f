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
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from actorflow.core.envelope import Envelope
from actorflow.errors import ConfigurationError
from actorflow.graph.nodes import UNCHANGED, Send
from actorflow.graph.plan import Edge
from actorflow.runtime.bodies import copier
from actorflow.runtime.effects import Addressed
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox
from actorflow.wire.codec import decode, encode

__all__ = ["DEPTH", "SEEN", "Junction", "Seen", "Way"]

#: Under which name an item's metadata says how many feedback edges it went back.
DEPTH = "depth"

#: How the fact begins that a stage has taken a key.
SEEN = "seen/"

#: A value on its way: where to, what, and its key where each key goes once.
Sent: TypeAlias = "tuple[Way, Any, bytes | None]"


class Seen:
    """Keys that have entered a stage which takes each key once.

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
        seen: Keys that have gone there, where each goes once.

    Attributes:
        rooms: Mailboxes that must have room for one before a value goes.
        feedback: Whether it leads back; then it never waits.
        direct: Whether it is the way out.
    """

    def __init__(
        self, target: Any, edge: Edge | None, *, shares: bool = False, seen: Seen | None = None
    ) -> None:
        self.target = target
        self.when = None if edge is None else edge.when
        self.map = None if edge is None else edge.map
        self.route = None if edge is None else edge.route
        self.otherwise = edge is not None and edge.otherwise
        self.end = None if edge is None else edge.end
        self.feedback = edge is not None and edge.feedback
        self.max_depth = None if edge is None else edge.max_depth
        self.shares = shares
        self.seen = seen
        self.direct: bool = target.direct
        self.rooms: Sequence[Mailbox] = () if self.feedback else target.rooms()

    def choose(self, envelope: Envelope, value: Any) -> Sent | None:
        """What of *value* goes this way, if any."""
        if self.when is not None and not self.when(value):
            return None
        if self.feedback and self.max_depth is not None and _depth(envelope) >= self.max_depth:
            return None
        if self.map is not None:
            value = self.map(value)
        return self, value, None if self.seen is None else self.seen.digest(value)

    def is_new(self, digest: bytes) -> bool:
        """Whether nothing with this key has gone there yet; now it has."""
        return self.seen is None or self.seen.add(digest)

    def put(self, envelope: Envelope) -> None:
        """Let *envelope* go this way."""
        if self.feedback:
            headers = envelope.headers or {}
            envelope.headers = {**headers, DEPTH: headers.get(DEPTH, 0) + 1}
        self.target.put(envelope)


class Junction:
    """What a stage's values go to when there are several ways, or a question at the only one.

    Args:
        stage: Name of the stage whose values these are.
        ways: In the order of declaration.

    Attributes:
        accepted: Values that have come.
    """

    forked = True
    swift = direct = feedback = False

    def __init__(self, stage: str, kernel: Kernel, ways: Sequence[Way]) -> None:
        self.stage = stage
        self.path = f"/{kernel.name}/{stage}"
        self._kernel = kernel
        self.accepted = 0
        self._ways = [each for each in ways if each.route is None and not each.otherwise]
        self._routes: dict[str, list[Way]] = {}
        self._otherwise: list[Way] = []
        for each in ways:
            if each.route is not None:
                self._routes.setdefault(each.route, []).append(each)
            elif each.otherwise:
                self._otherwise.append(each)

    def choose(self, envelope: Envelope, values: Iterable[Any]) -> list[Sent]:
        """Which ways *values* take; calls functions of the user's, which may fail.

        Raises:
            ConfigurationError: A value must be a `Send` and is none, or its route is unknown.
        """
        sent: list[Sent] = []
        for value in values:
            self.accepted += 1
            ways: Sequence[Way] = self._ways
            if type(value) is Addressed:
                ways = [each for each in ways if each.end == value.to]
                value = value.value
            if self._routes or self._otherwise:
                routed, value = self._routed(envelope, value)
                ways = [*ways, *routed]
            taken = [one for way in ways if (one := way.choose(envelope, value)) is not None]
            sent += taken if len(taken) < 2 else self._unshared(taken)
        return sent

    def leads_to(self, name: str) -> bool:
        """Whether the stage *name* follows."""
        return any(each.end == name for each in self._ways)

    def admit(self, sent: Iterable[Sent]) -> list[Sent]:
        """Those of *sent* that go; in the commit."""
        return [each for each in sent if each[2] is None or each[0].is_new(each[2])]

    def _routed(self, envelope: Envelope, value: Any) -> tuple[list[Way], Any]:
        if type(value) is not Send:
            wanted = "Send(route), as a Route follows"
            raise ConfigurationError(f"what stage {self.stage!r} returns", value, wanted)
        ways = self._routes.get(value.route, self._otherwise)
        if not ways:
            known = ", ".join(map(repr, self._routes))
            option = f"stage {self.stage!r} Send.route"
            raise ConfigurationError(option, value.route, f"one of {known}")
        if value.patch is not UNCHANGED:
            return ways, value.patch
        if envelope.packed is not None:
            return ways, decode(envelope.packed, max_bytes=None)
        return ways, envelope.body

    def _unshared(self, sent: list[Sent]) -> list[Sent]:
        """*sent* with a copy for each way but the first, unless its end changes nothing."""
        first, *others = sent
        copies: list[Sent] = [first]
        copy: Callable[[], Any] | None = None
        for way, value, digest in others:
            if not way.shares and value is first[1]:
                copy = copy or copier(value, self._kernel, self.path)
                value = copy()
            copies.append((way, value, digest))
        return copies


def _yes() -> bool:
    return True


def _depth(envelope: Envelope) -> int:
    depth: int = (envelope.headers or {}).get(DEPTH, 0)
    return depth
