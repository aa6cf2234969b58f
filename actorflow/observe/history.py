"""What happened to each item: a bounded memory that runs can be asked about.

    ItemEvent ──► History ──► get(id) · events(id) · by_status(status) · failed() · counts()

It holds `max_items` items: of those that have ended the one that ended first goes first,
and only when none has, the one to which nothing has happened for longest. Of an item it holds
the last `max_events` entries, as text and numbers: no bodies, no exceptions.

Three stages make nine entries of an item, about 1.5 KB; and to hear of items costs a run
its fast branch. For failures alone `run.errors()` is enough, and costs nothing.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from actorflow import options
from actorflow.core.events import (
    ItemAccepted,
    ItemDone,
    ItemEnded,
    ItemEvent,
    ItemFailed,
    ItemOut,
    ItemRetried,
    ItemReturned,
    ItemSkipped,
    ItemStarted,
)

__all__ = ["Entry", "History", "ItemRecord"]

#: Most characters of an error that an entry keeps.
ERROR_WIDTH = 200

INSIDE = ("waiting", "running", "retrying")
ENDED = ("done", "skipped", "failed")

#: What the entry of each event says.
_WORDS: Mapping[type[ItemEvent], str] = {
    ItemAccepted: "accepted",
    ItemStarted: "started",
    ItemDone: "done",
    ItemSkipped: "skipped",
    ItemRetried: "retried",
    ItemReturned: "returned",
    ItemFailed: "failed",
    ItemOut: "out",
    ItemEnded: "ended",
}


@attrs.frozen(kw_only=True)
class Entry:
    """One thing that happened to an item.

    Attributes:
        what: "accepted", "started", "done" (by a stage), "skipped", "retried", "returned",
            "failed", "out" or "ended".
        at: When, on trio's clock.
        message_id: Of the item, or of the piece of it.
        stage: Name of the stage; "" of the end.
        worker: Path of the worker, or "".
        attempt: Which attempt, or 0.
        error: Type and text of the error, or "".
        delay: Seconds until the next attempt, of one that is retried.
    """

    what: str
    at: float
    message_id: str
    stage: str = ""
    worker: str = ""
    attempt: int = 0
    error: str = ""
    delay: float = 0.0


@attrs.frozen(kw_only=True)
class ItemRecord:
    """What is known of one item: a frozen copy.

    Attributes:
        id: Its id: its number, or what ``ids=`` said.
        number: Its place in the order of feeding.
        status: "waiting", "running" or "retrying"; or how it ended: "done", "skipped", "failed".
        stage: Where it was last.
        worker: Which worker works on it, or did last.
        attempt: Of its last turn.
        fed: When it was fed, on trio's clock; `None` if that was before.
        ended: When it ended, or `None`.
        error: The last error, or "".
        events: What happened to it, oldest first.
        forgotten: Older events that are gone.
    """

    id: Any
    number: int
    status: str
    stage: str
    worker: str
    attempt: int
    fed: float | None
    ended: float | None
    error: str
    events: tuple[Entry, ...]
    forgotten: int


class History:
    """An observer that remembers what happened to items. One at a time: what it knows of an item
    goes when another run feeds one of the same number.

    Args:
        max_items: Most items that are remembered; at least 1.
        max_events: Most events of one item; at least 1.

    Attributes:
        forgotten: Items that are gone.

    Raises:
        ConfigurationError: One of them is out of range.
    """

    wants = (ItemEvent,)

    def __init__(self, max_items: int = 10_000, *, max_events: int = 100) -> None:
        self.max_items = options.count("History.max_items", max_items)
        self.max_events = options.count("History.max_events", max_events)
        self.forgotten = 0
        self._inside: OrderedDict[int, _Item] = OrderedDict()
        self._ended: OrderedDict[int, _Item] = OrderedDict()
        self._numbers: dict[Any, int] = {}  # By ids that are no numbers.
        self._totals: Counter[str] = Counter()

    def __len__(self) -> int:
        """Items that are remembered."""
        return len(self._inside) + len(self._ended)

    # Being told -----------------------------------------------------------------------

    def on_event(self, event: ItemEvent) -> None:
        """Remember what happened to an item."""
        item = self._item(event)
        item.note(event, self.max_events)
        if type(event) is ItemEnded:
            self._totals[event.status] += 1
            self._inside.pop(item.number, None)
            self._ended[item.number] = item
        elif item.number in self._inside:
            self._inside.move_to_end(item.number)

    def _item(self, event: ItemEvent) -> _Item:
        number = event.number
        item = self._inside.get(number) or self._ended.get(number)
        if item is not None and type(event) is ItemAccepted:
            self._forget(item)
            item = None
        if item is None:
            if len(self) >= self.max_items:
                self._forget(next(iter((self._ended or self._inside).values())))
                self.forgotten += 1
            item = self._inside[number] = _Item(event.item, number)
            if event.item is not number:
                self._remember_name(event.item, number)
        return item

    def _remember_name(self, name: Any, number: int) -> None:
        try:
            self._numbers[name] = number
        except TypeError:  # Not hashable; it is found by looking at all.
            return

    def _forget(self, item: _Item) -> None:
        self._inside.pop(item.number, None)
        self._ended.pop(item.number, None)
        if self._number(item.id) == item.number:
            self._numbers.pop(item.id, None)

    def _number(self, name: Any) -> int | None:
        try:
            return self._numbers.get(name)
        except TypeError:
            return None

    def _find(self, name: Any) -> _Item | None:
        number = self._number(name)
        if number is None and type(name) is int:
            number = name
        if number is not None:
            item = self._inside.get(number) or self._ended.get(number)
            return item if item is not None and item.id == name else None
        return next((each for each in self._all() if each.id == name), None)

    # Being asked ----------------------------------------------------------------------

    def get(self, item: Any) -> ItemRecord | None:
        """What is known of the item with the id *item*; `None` if nothing is."""
        found = self._find(item)
        return None if found is None else found.record()

    def events(self, item: Any) -> tuple[Entry, ...]:
        """What happened to the item with the id *item*, oldest first."""
        record = self.get(item)
        return () if record is None else record.events

    def by_status(
        self,
        status: Literal["waiting", "running", "retrying", "done", "skipped", "failed"],
    ) -> tuple[ItemRecord, ...]:
        """Items that are in *status*, in the order in which they came into it or were last heard
        of."""
        options.choice("by_status() status", status, (*INSIDE, *ENDED))
        of = self._ended if status in ENDED else self._inside
        return tuple(each.record() for each in of.values() if each.status() == status)

    def failed(self) -> tuple[ItemRecord, ...]:
        """Items that ended as dead letters, or of which a piece did; in the order they ended."""
        return self.by_status("failed")

    def ended(self) -> tuple[ItemRecord, ...]:
        """Items that have ended, in that order."""
        return tuple(each.record() for each in self._ended.values())

    def last(self, count: int) -> tuple[ItemRecord, ...]:
        """The *count* items to which something happened last, the latest first."""
        newest = heapq.merge(
            reversed(self._inside.values()),
            reversed(self._ended.values()),
            key=lambda item: -item.touched,
        )
        return tuple(item.record() for item, _ in zip(newest, range(count), strict=False))

    def counts(self) -> Mapping[str, int]:
        """Items by status. Of the ended all count, also those that are forgotten."""
        inside = Counter(each.status() for each in self._inside.values())
        found = {status: inside[status] for status in INSIDE}
        return MappingProxyType(found | {status: self._totals[status] for status in ENDED})

    def _all(self) -> Iterator[_Item]:
        yield from self._inside.values()
        yield from self._ended.values()


class _Item:
    """One item as it is remembered; lean, as there are many."""

    __slots__ = (
        "_entries",
        "_name",
        "_retrying",
        "_running",
        "_told",
        "attempt",
        "ended",
        "error",
        "fed",
        "id",
        "number",
        "outcome",
        "stage",
        "touched",
        "worker",
    )

    def __init__(self, name: Any, number: int) -> None:
        self.id = name
        self.number = number
        self.fed: float | None = None
        self.ended: float | None = None
        self.outcome = self.stage = self.worker = self.error = ""
        self.attempt = self._told = 0
        self.touched = 0.0
        self._name = str(number)
        self._entries: list[Entry] = []
        self._running: set[str] | None = set()  # Pieces that a worker has,
        self._retrying: set[str] | None = None  # and that wait for another attempt.

    def note(self, event: ItemEvent, most: int) -> None:
        """Something happened; the last *most* entries are kept."""
        entry = _entry(event, self._name)
        self._told += 1
        self._entries.append(entry)
        if len(self._entries) > most:
            del self._entries[0]
        self.touched = entry.at
        self.stage = entry.stage or self.stage
        self.worker = entry.worker or self.worker
        self.attempt = entry.attempt or self.attempt
        self.error = entry.error or self.error
        self._place(event, entry)

    def _place(self, event: ItemEvent, entry: Entry) -> None:
        """Keep in mind which pieces run and which are tried again."""
        piece = entry.message_id
        if self._running is not None:
            self._running.discard(piece)
        if self._retrying is not None and not isinstance(event, ItemRetried):
            self._retrying.discard(piece)
        match event:
            case ItemAccepted():
                self.fed = entry.at
            case ItemStarted() if self._running is not None:
                self._running.add(piece)
            case ItemRetried():
                self._retrying = {*(self._retrying or ()), piece}
            case ItemEnded():
                self.outcome, self.ended = event.status, entry.at
                self._running = self._retrying = None

    def status(self) -> str:
        """What it is doing, or how it ended."""
        if self.outcome:
            return self.outcome
        return "running" if self._running else "retrying" if self._retrying else "waiting"

    def record(self) -> ItemRecord:
        """A frozen copy."""
        return ItemRecord(
            id=self.id,
            number=self.number,
            status=self.status(),
            stage=self.stage,
            worker=self.worker,
            attempt=self.attempt,
            fed=self.fed,
            ended=self.ended,
            error=self.error,
            events=tuple(self._entries),
            forgotten=self._told - len(self._entries),
        )


def _entry(event: ItemEvent, name: str) -> Entry:
    """*event* as text and numbers; *name* is the id of the whole item, of which one is enough."""
    error, words = getattr(event, "error", None), getattr(event, "reason", "")
    return Entry(
        what=_WORDS[type(event)],
        at=event.at,
        message_id=name if event.message_id == name else event.message_id,
        stage=getattr(event, "stage", ""),
        worker=getattr(event, "worker", ""),
        attempt=event.attempts if isinstance(event, ItemFailed) else getattr(event, "attempt", 0),
        error=words if error is None else _in_words(error),
        delay=getattr(event, "delay", 0.0),
    )


def _in_words(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"[:ERROR_WIDTH]
    except Exception:  # Whoever wrote its `__str__` wrote the handler too.
        return name
