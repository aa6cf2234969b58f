"""Where results wait to be taken: in completion order, or put back into the order of feeding.

A tap holds what the run's window allows and no more, because what is not taken
counts towards the window; a generator that has filled it waits. Without a tap,
results are counted and dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Self

import trio

from actorflow.flows.generic import Taken
from actorflow.flows.order import ORDER, block_of, ended_early, key_of, numbers_of
from actorflow.runtime.journal import Journal

__all__ = ["NO_RESULT", "ResultStream", "Tap"]

#: Pushed where an item ends without giving the taker anything.
NO_RESULT: Any = object()

#: Results handed out between two checkpoints.
TAKEN_PER_CHECKPOINT = 64


class Tap:
    """Results of one run on their way to one taker.

    Args:
        stage: Name of the stage whose values these are.
        ordered: Whether they leave in the order of feeding.
        values_only: Keep plain values of what is done, instead of results of everything.
        first: Number of the first item that comes in order; earlier ones come as they end.
        on_taken: Called when results were taken, so that feeding may go on.
        journal: Of a durable run: results are let go when a cut on the disk covers them.

    Attributes:
        bounded: Whether generators wait for the taker.
        chunks: Take what generators of contexts yield as well.
        whole: Keep envelopes instead of plain values, for a writer that tells what is written.
    """

    __slots__ = (
        "_arrived",
        "_at_once",
        "_changed",
        "_early",
        "_journal",
        "_next",
        "_ready",
        "_unsettled",
        "bounded",
        "chunks",
        "closed",
        "error",
        "on_taken",
        "ordered",
        "stage",
        "values_only",
        "whole",
    )

    def __init__(
        self,
        stage: str,
        *,
        ordered: bool,
        values_only: bool,
        first: int,
        on_taken: Callable[[], None],
        journal: Journal | None = None,
    ) -> None:
        self.stage = stage
        self.ordered = ordered
        self.values_only = values_only
        self.on_taken = on_taken
        self.bounded = True
        self.closed = False
        self.error: BaseException | None = None
        self._ready: deque[Any] = deque()
        self._arrived: trio.Event | None = None
        self._next = first
        self._early: dict[int, tuple[list[Any], bool]] = {}
        self.whole = self.chunks = False
        self._journal = journal
        self._at_once = journal is None and not ordered
        self._unsettled: deque[tuple[int, Any]] = deque()
        self._changed: set[int] = set()
        if journal is not None:
            journal.on_commit.append(self._settle)

    def push(self, number: int, result: Any, ended: bool) -> None:
        """One result of item *number*, or `NO_RESULT`; *ended*: it was its last."""
        if self._at_once:
            if result is not NO_RESULT:
                self._ready.append(result)
                if self._arrived is not None:
                    self._tell()
            return
        if self.ordered and number > self._next:
            results, _ = self._early.get(number, ([], False))
            if result is not NO_RESULT:
                results.append(result)
            self._early[number] = results, ended
            if ended and self.whole:
                self._changed.add(block_of(number))
            return
        if result is not NO_RESULT:
            self._arrive((result,))
        if ended and self.ordered and number == self._next:
            self._next += 1
            self._release()
        if self._arrived is not None and self._ready:
            self._tell()

    def _release(self) -> None:
        """Let go of what waited for the item that has just ended."""
        while (waiting := self._early.pop(self._next, None)) is not None:
            results, ended = waiting
            self._arrive(results)
            if not ended:
                return
            if self.whole:
                self._changed.add(block_of(self._next))
            self._next += 1

    def _arrive(self, results: Sequence[Any]) -> None:
        """Results may be taken: now, or once they are on disk."""
        if self._journal is None or self._journal.broken is not None:
            self._ready.extend(results)
        elif results:
            number = self._journal.want()
            self._unsettled.extend((number, result) for result in results)

    def _settle(self, number: int) -> None:
        """Cut *number* is on disk."""
        unsettled = self._unsettled
        while unsettled and unsettled[0][0] <= number:
            self._ready.append(unsettled.popleft()[1])
        if self._arrived is not None and (self._ready or self.closed):
            self._tell()

    def waits(self) -> bool:
        """Whether something here is not on disk yet."""
        return bool(self._unsettled)

    def forsake(self) -> None:
        """What is not on disk by now will not be: nobody gets it."""
        self._unsettled.clear()
        self._tell()

    def dump(self) -> dict[str, Any]:
        """Where the order of feeding has got to, as facts: those that have changed since."""
        facts: dict[str, Any] = {ORDER: {"next": self._next}}
        for block in self._changed:
            numbers = numbers_of(block) if block >= block_of(self._next) else ()
            ended = [each for each in numbers if each in self._early and self._early[each][1]]
            facts[key_of(block)] = ended or None
        self._changed.clear()
        return facts

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Go on from what `dump` gave, all together."""
        self._next = facts[ORDER]["next"]
        self._early = {number: ([], True) for number in ended_early(facts)}
        self._changed = {block_of(number) for number in self._early}

    def untaken(self) -> int:
        """Results that wait here, those that wait for an earlier item included."""
        return len(self._ready) + len(self._early) + len(self._unsettled)

    def ready(self) -> int:
        """Results that may be taken now."""
        return len(self._ready)

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come; *error* is raised to the taker after what is left.

        What waited for an item that did not end comes in its order all the same; where envelopes
        are kept, it goes on waiting in the next part of the run.
        """
        for number in () if self.whole else sorted(self._early):
            self._arrive(self._early.pop(number)[0])
        self.closed = True
        self.error = self.error or error
        self._tell()

    def drop(self) -> None:
        """Nobody will take any more."""
        self._ready.clear()
        self._early.clear()
        self._unsettled.clear()
        self.close()

    async def take(self) -> list[Any]:
        """All that has arrived, at least one; empty at the end.

        Raises:
            BaseException: What the tap was closed with.
        """
        await trio.lowlevel.checkpoint()
        if not await self._wait():
            return []
        taken = list(self._ready)
        self._ready.clear()
        self.on_taken()
        return taken

    async def take_one(self) -> Any:
        """The next result.

        Raises:
            StopAsyncIteration: There will be none.
        """
        if not self._ready and not await self._wait():
            raise StopAsyncIteration
        result = self._ready.popleft()
        self.on_taken()
        return result

    def _tell(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    async def _wait(self) -> bool:
        """Wait for something to take; `False` at the end. Several takers may wait at once."""
        while not self._ready:
            if self.closed and (self.error is not None or not self._unsettled):
                if self.error is not None:
                    raise self.error
                return False
            if self._arrived is None:
                self._arrived = trio.Event()
            await self._arrived.wait()
        return True


class ResultStream(Generic[Taken]):
    """Results of a run, as an async iterator.

    Args:
        tap: Where they wait.
        forget: Called when nobody will take any more.
    """

    def __init__(self, tap: Tap, forget: Callable[[], None]) -> None:
        self._tap = tap
        self._forget = forget
        self._taken = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Taken:
        self._taken += 1
        if not self._taken % TAKEN_PER_CHECKPOINT:
            await trio.lowlevel.checkpoint()
        found: Taken = await self._tap.take_one()
        return found

    async def aclose(self) -> None:
        """Take no more; what comes is counted and dropped."""
        self._tap.drop()
        self._forget()
        await trio.lowlevel.checkpoint()
