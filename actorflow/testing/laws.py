"""The laws, checked on what is on a disk and on what the outside has been told.

    conservation      of each run: fed = done + skipped + dead + held
    attempts          no message has more than its `Retry` allows
    durable accept    what `feed` and `tell` acknowledged is on the disk
    results           what came of a message is stored once
    the history's     see `history`

What a disk says is a function of its bytes, so that each state is checked once.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import attrs

from actorflow.durability.memory import MemoryDisk
from actorflow.durability.records import address
from actorflow.errors import DecodeError
from actorflow.flows.stored import REPLAYED
from actorflow.testing.history import History
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import fold, read_cut, read_record

__all__ = [
    "LawBroken",
    "Promised",
    "StoredResults",
    "broken_on_disk",
    "broken_promises",
    "held_on_disk",
    "other_results",
    "stored_results",
]

#: By run, what its results say: id, status, value or error, and of which message, as text.
StoredResults: TypeAlias = "dict[str, Counter[str]]"


class LawBroken(AssertionError):
    """A law of the runtime does not hold."""


@attrs.frozen
class Promised:
    """From when on what was acknowledged must be on the disk.

    Attributes:
        line: The first line of the history that counts.
        fed: How many items each run had then.
    """

    line: int = 0
    fed: Mapping[str, int] = attrs.Factory(dict)

    @classmethod
    def from_now(cls, disk: MemoryDisk, history: History) -> Promised:
        """What was acknowledged before this may be lost."""
        fed = {run: _state(_chain(kept)).fed for run, kept in disk._runs.items()}
        return cls(len(history), fed)


def broken_on_disk(
    disk: MemoryDisk,
    history: History,
    limits: Mapping[str, int] = MappingProxyType({}),
    promised: Promised = Promised(),
) -> list[str]:
    """What does not hold of what is on *disk* now.

    Args:
        disk: The disk.
        history: What was acknowledged so far.
        limits: Most attempts of a message, by paths of mailboxes.
        promised: What of that counts.
    """
    fed, told = _acknowledged(history, promised)
    texts: list[str] = []
    for run, kept in sorted(disk._runs.items()):
        state = _state(_chain(kept))
        texts += [f"{text} (run {run!r})" for text in state.broken]
        texts += [
            f"attempts: a message in {box} has {most}, {limits[box]} are allowed (run {run!r})"
            for box, most in state.attempts.items()
            if most > limits.get(box, most)
        ]
        twice = Counter(_result(row.body)[0] for row in kept.results)
        texts += [
            f"results: {status} of message {message} is stored {count} times (run {run!r})"
            for (message, status), count in twice.items()
            if count > 1 and not state.replayed
        ]
        if fed.get(run, 0) > state.fed:
            texts.append(
                f"durable accept: feed() acknowledged {fed[run]} items of run {run!r}, "
                f"the disk knows {state.fed}"
            )
        if told.get(run, 0) > state.told:
            texts.append(
                f"durable accept: tell() acknowledged message {told[run]} of {run!r}, "
                f"the disk knows {state.told}"
            )
    texts += [
        f"durable accept: run {run!r}, of which something was acknowledged, is not on the disk"
        for run in sorted({*fed, *told} - disk._runs.keys())
    ]
    return texts


def held_on_disk(disk: MemoryDisk, run: str) -> list[tuple[str, str]]:
    """The messages of *run* that are on *disk*: where, and which."""
    return _state(_chain(disk._runs[run])).held


def stored_results(disk: MemoryDisk) -> StoredResults:
    """What runs have stored on *disk*."""
    return {
        run: Counter(_result(row.body)[1] for row in kept.results)
        for run, kept in disk._runs.items()
        if kept.results
    }


def other_results(expected: StoredResults, found: StoredResults) -> list[str]:
    """What is too much or missing in what was *found*."""
    texts = []
    for run in sorted({*expected, *found}):
        wanted, there = expected.get(run, Counter()), found.get(run, Counter())
        missing, more = list((wanted - there).elements()), list((there - wanted).elements())
        if missing or more:
            texts.append(f"results: of run {run!r} missing {missing}, not expected {more}")
    return texts


@functools.lru_cache(maxsize=65_536)
def _result(body: bytes) -> tuple[tuple[str, str], str]:
    """Which message a stored result is of with its status, and all that it says, as text."""
    found = decode(body, max_bytes=None)
    message, status = found["message"], found["status"]
    what = found["value"] if status == "done" else found["error"]
    return (message, status), f"{found['id']!r} {status} {what!r} ({message})"


def broken_promises(history: History) -> list[str]:
    """What does not hold of a *history* that is at its end."""
    return history.broken()


def _chain(kept: Any) -> tuple[bytes, ...]:
    """The last full cut that is kept of a run, and those after it."""
    begins = max((each.number for each in kept.cuts if each.full), default=0)
    return tuple(each.body for each in kept.cuts if each.number >= begins)


def _acknowledged(history: History, promised: Promised) -> tuple[dict[str, int], dict[str, int]]:
    """Items fed by run, and the highest number of a message told by system."""
    fed: dict[str, int] = {}
    told: dict[str, int] = {}
    for line in itertools.islice(history, promised.line, None):
        key: Any = line.key
        if line.kind == "fed":
            fed[key] = fed.get(key, promised.fed.get(key, 0)) + line.count
        elif line.kind == "told":
            told[key] = max(told.get(key, 0), line.count)
        elif line.kind == "deleted":
            fed.pop(key, None)
            told.pop(key, None)
    return fed, told


class _State:
    """What the cuts of one run add up to."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.fed = self.told = 0
        self.replayed = False
        self.attempts: dict[str, int] = {}
        self.held: list[tuple[str, str]] = []


def _roots(key: int | str, members: Any) -> set[Any]:
    """The items that a message stands for: one, or all that are in a batch."""
    if not members:
        return {address(key)[0]}
    _, listed = members
    return set().union(*(_roots(inner, within) for inner, within in listed))


@functools.lru_cache(maxsize=4_096)
def _state(cuts: tuple[bytes, ...]) -> _State:
    state = _State()
    if not cuts:
        return state
    try:
        cut = fold(map(read_cut, cuts))
        facts = {
            key: decode(data, max_bytes=None)
            for key, data in cut.facts.items()
            if data and key in ("run", "ids")
        }
        records = [(key, read_record(data)) for key, data in cut.messages.items() if data]
    except DecodeError as error:
        state.broken.append(f"the checkpoint cannot be read: {error}")
        return state
    state.told = facts.get("ids", 0)
    state.replayed = bool(cut.facts.get(REPLAYED))  # What has died may die once more.
    state.held = [(record.box, str(key)) for key, record in records]
    for _, record in records:
        state.attempts[record.box] = max(state.attempts.get(record.box, 0), record.attempt)
    if "run" in facts:
        state.fed, done, skipped, dead = facts["run"]["counts"][:4]
        held: set[Any] = set()
        for key, record in records:
            if not record.box.endswith("/results"):  # What waits to be written is done.
                held |= _roots(key, record.more.get("members"))
        if state.fed != done + skipped + dead + len(held):
            state.broken.append(
                f"conservation: fed {state.fed} != done {done} + skipped {skipped} "
                f"+ dead {dead} + held {len(held)}"
            )
    return state
