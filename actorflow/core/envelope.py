"""What a mailbox holds: a message with all that belongs to it and not to its content.

The attempt number belongs to the message. It counts the leases begun, the
current one included, and is given back only when the runtime itself ends a turn.

An id is ``(root, path)``: the number of the message that came from outside, and
the way down from it, one ``(parent path, index)`` pair per child. Joining it to
text costs more than sending the message, so `message_id` does it when asked.
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = [
    "DEFAULT_PRIORITY",
    "DEPTH",
    "STEP",
    "UNWANTED",
    "WITHDRAWN",
    "Envelope",
    "Path",
    "abroad",
    "address",
    "child",
    "message_id",
]

#: Lower goes first. In the middle of a wide scale, so that there is room on both sides.
DEFAULT_PRIORITY = 100

#: The deadline of a message that is not wanted any more, as another branch of its item has died.
UNWANTED = float("-inf")

#: The deadline of a message that whoever sent it has taken back: long before any time there is.
WITHDRAWN = -1e300

#: The header that says how many edges a message went back that lead back; part of the metadata.
DEPTH = "depth"

#: The header that says how far a message has come inside its stage; see `core.partway`.
STEP = "actorflow.step"

Path: TypeAlias = "tuple[Any, int] | None"


class Envelope:
    """One message on its way. Mutable on purpose: where a stage gives one value for one
    message, the envelope itself moves on and no new object is made.

    Attributes:
        body: The message.
        packed: Its bytes, if the body can be changed by who gets it; redeliveries are
            decoded from here.
        attempt: Leases begun, the current one included.
        priority: Lower is leased first.
        headers: What the sender attached; children inherit it.
        deadline: Monotonic time after which it is not begun any more, or `None`.
        since: When its present mailbox accepted it; kept only where a policy asks for it.
        key: The key it holds while leased or waiting for a retry.
        reply: Where an answer goes, if it was asked.
        sender: The cell whose turn sent it, or `None` from outside.
        item: The record of the fed item, once that item has more than one piece.
        rank: Order of arrival, kept only while priorities differ.
        emitted: How many children a generator has sent on for it, over all its attempts.
        born: When the item was fed, on the system's clock.
        replays: How often it came back from the dead letters.
        order: Its place among those of its lane, kept only where cuts are taken.
        stored: Number of the last cut that has it; 0 for none.
    """

    __slots__ = (
        "attempt",
        "body",
        "born",
        "deadline",
        "emitted",
        "headers",
        "item",
        "key",
        "order",
        "packed",
        "path",
        "priority",
        "rank",
        "replays",
        "reply",
        "root",
        "sender",
        "since",
        "stored",
    )

    def __init__(self, body: Any, root: Any, path: Path = None) -> None:
        self.body = body
        self.root = root
        self.path = path
        self.attempt = 0
        self.priority = DEFAULT_PRIORITY
        self.packed: bytes | None = None
        self.headers: dict[str, Any] | None = None
        self.deadline: float | None = None
        self.key: Any = None
        self.reply: Any = None
        self.sender: Any = None
        self.item: Any = None
        self.emitted = self.rank = self.replays = self.order = self.stored = 0
        self.since = self.born = 0.0

    def __repr__(self) -> str:
        return f"<Envelope {message_id(self)} attempt {self.attempt} {self.body!r:.60}>"


def child(parent: Envelope, body: Any, index: int) -> Envelope:
    """The *index*-th message sent while *parent* was handled; it inherits priority,
    headers and deadline."""
    envelope = Envelope(body, parent.root, (parent.path, index))
    envelope.priority = parent.priority
    headers = parent.headers
    if headers is not None and STEP in headers:  # That is about the parent alone.
        headers = {name: value for name, value in headers.items() if name != STEP}
    envelope.headers = headers
    envelope.deadline = parent.deadline
    return envelope


def abroad(envelope: Envelope, home: str) -> None:
    """*envelope* goes to another system, whose own messages have the same numbers: from now on
    its id begins with where it comes from.

    Args:
        envelope: On its way.
        home: Id of the run, or name of the system, that sends it.
    """
    envelope.root = f"{home.replace('.', ':')}/{envelope.root}"


def message_id(envelope: Envelope) -> str:
    """The id as text, such as ``"17"`` or ``"17.0.2"``."""
    steps = []
    path = envelope.path
    while path is not None:
        path, index = path
        steps.append(str(index))
    steps.append(str(envelope.root))
    return ".".join(reversed(steps))


def address(key: int | str) -> tuple[Any, Path]:
    """Root and path of a message from its root or its id as text."""
    if isinstance(key, int):
        return key, None
    root, *steps = key.split(".")
    path: Path = None
    for step in steps:
        path = (path, int(step))
    return int(root) if root.isdecimal() else root, path
