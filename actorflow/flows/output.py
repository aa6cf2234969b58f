"""The sink of a durable run: each value is written once, and the next part goes on behind it.

    outlet ──► tap ──► Writer ──► Output ──► sink
                                    └── place, mark ──► facts of the next cut

A value leaves the outlet when the write that has it returns, and the place behind it is
noted in the same step. So a cut has a value before its place in the sink or in the outlet,
never in both or in neither, whatever the sink does meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.errors import ConfigurationError, SinkChanged
from actorflow.flows.keeping import KeepingLedger
from actorflow.flows.sinks import KnownSink, ResumableSink

__all__ = ["MARK", "PLACE", "Output", "wants_sink"]

#: The fact that says how far the sink has come,
PLACE = "sink"

#: and the one that says which it was and by what it is known again.
MARK = "output"


class Output:
    """The sink of a durable run, for its `Writer` and its cuts.

    Args:
        sink: The sink.
        ledger: The account of the run.
    """

    def __init__(self, sink: Any, ledger: KeepingLedger) -> None:
        self._sink = sink
        self._ledger = ledger
        self._name = str(getattr(sink, "name", type(sink).__name__))
        self._resumable = isinstance(sink, ResumableSink)
        self._known = isinstance(sink, KnownSink)
        self._place: int | None = None
        self._facts: dict[str, Any] = {}

    async def open(self, before: Mapping[str, Any], *, fresh_inode: bool) -> None:
        """Open the sink behind what an earlier part has written.

        Args:
            before: The facts of that part.
            fresh_inode: Whether it may still be alive.

        Raises:
            SinkChanged: It has written something else, and goes on with that.
            ConfigurationError: The sink breaks its contract.
        """
        if not self._resumable:
            await self._sink.open()
            if PLACE not in before:  # What has a place elsewhere is gone on with there.
                self._facts = {MARK: self._mark(None)}
            return
        at = before.get(PLACE) or None  # At 0 there is nothing to keep.
        given: dict[str, Any] = {"fresh_inode": True} if fresh_inode else {}
        if at is not None:
            mark = self._mark_at(at, before.get(MARK))
            if mark is not None and self._known:
                given["tail"] = mark["tail"]
        await self._sink.open(at, **given)
        self._place = self._position()
        if at is not None and self._place != at:
            raise self._broken(f"is {at} after open({at})", self._place)

    def _mark_at(self, at: int, mark: Any) -> Any:
        """The mark of the sink that was written up to *at*; `None` if an earlier release did."""
        if mark is None or mark["at"] != at:
            return None
        if mark["known"] != self._known:
            detail = f"is of another kind than {mark['name']}, which was written up to {at:,}"
            raise SinkChanged(self._name, at, detail)
        return mark

    async def write(self, envelopes: Sequence[Envelope]) -> None:
        """Write the values of *envelopes*, which then have left the run.

        Raises:
            ConfigurationError: The sink breaks its contract.
            Exception: What the sink raised.
        """
        before = self._place
        if self._resumable and (found := self._position()) != before:
            raise self._broken(f"stays {before} between two writes", found)
        await self._sink.write([envelope.body for envelope in envelopes])
        if self._resumable:
            self._place = self._position(before)
        self._ledger.written(envelopes)

    async def aclose(self) -> None:
        """As of the sink."""
        await self._sink.aclose()

    def sync(self) -> None:
        """Bring to the disk what the facts say is written; in any thread."""
        if self._resumable:
            self._sink.sync()

    def facts(self) -> dict[str, Any]:
        """How far it has come, and by what that is known again."""
        if self._resumable and self._facts.get(PLACE) != self._place:
            self._facts = {PLACE: self._place, MARK: self._mark(self._place)}
        return self._facts

    def _mark(self, at: int | None) -> dict[str, Any]:
        # While it is being written, what it would say is of another place.
        says = at is not None and self._known and self._sink.position() == at
        tail = self._sink.tail() if says else None
        return {"at": at, "name": self._name, "known": self._known, "tail": tail}

    def _position(self, least: int | None = None) -> int | None:
        found = self._sink.position()
        if found is not None and (type(found) is not int or found < 0):
            raise self._broken("is a whole number of 0 or more, or None", found)
        if least is not None and (found is None or found < least):
            raise self._broken(f"is not below {least} after a write", found)
        return found

    def _broken(self, wanted: str, found: object) -> ConfigurationError:
        return ConfigurationError(f"sink {self._name}: position()", found, f"one that {wanted}")


def wants_sink(before: Mapping[str, Any]) -> str:
    """Which sink an earlier part wrote into, by its facts; empty if it wrote into none."""
    if MARK in before:
        return str(before[MARK]["name"])
    return "one" if PLACE in before else ""
