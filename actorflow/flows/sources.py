"""Where the items of a run come from: iterables, JSON lines, lines of text.

    anything iterable ──► IterableSource  ──┐
    in.jsonl, stdin ────► JsonLinesSource ──┼──► pull(most) ──► the run
    notes.txt ──────────► TextLinesSource ──┘

A source is pulled, so a full run reads nothing. One pull never waits for a second
entry while it has a first, never loses one when it is cancelled, and gives the
loop back after about a millisecond. An entry that cannot be read is `Malformed`,
a value like any other: the run makes a dead letter of it and goes on.

Sequences and regular files can be read again: their `cursor` is kept by a checkpoint
instead of their items, and `seek` goes on from it in another process. Of an iterator,
a pipe or standard input the items themselves must be kept.

Sizes and offsets are bytes; lines count from 1.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from itertools import islice
from typing import Any, Generic, NoReturn, Protocol, TypeGuard, TypeVar, cast, runtime_checkable

import trio

from actorflow.errors import ConfigurationError, SourceChanged, UsageError
from actorflow.flows.cursors import SequencePrint, items_from, own_cursor
from actorflow.flows.lines import LineSource
from actorflow.flows.pulling import Malformed, Slice, refuse_closed
from actorflow.wire.frozen import FROZEN

__all__ = [
    "IterableSource",
    "JsonLinesSource",
    "Malformed",
    "ReplayableSource",
    "Source",
    "TextLinesSource",
    "as_source",
    "is_replayable",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: What a cursor into a sequence says it is one of.
KIND = "sequence"

NO_ITEMS = "an iterable or async iterable of items (wrap a single value in a list)"


@runtime_checkable
class Source(Protocol[T_co]):
    """Anything a run can take its items from. One task at a time calls it."""

    @property
    def name(self) -> str:
        """What people call it, such as the name of its file."""

    async def pull(self, most: int) -> Sequence[T_co | Malformed]:
        """The next 1 to *most* entries, waiting for the first only; none at the end."""

    async def aclose(self) -> None:
        """Let go of what is open. Closing twice does nothing."""


class ReplayableSource(Source[T_co], Protocol[T_co]):
    """A source that can be read on from where an earlier one was left; see `is_replayable`."""

    @property
    def replayable(self) -> bool:
        """Whether it can, as it is: some files can, others are pipes."""

    def cursor(self) -> Any:
        """The position after all that `pull` has given, and what the input is known again by.

        A plain value that msgpack can hold. Often asked for, so it reads and waits for nothing.
        """

    async def seek(self, cursor: Any, run: str) -> None:
        """Go on from *cursor*, before the first pull.

        Raises:
            SourceChanged: The input is not the one that *run* has read.
        """


class IterableSource(trio.abc.AsyncResource, Generic[T]):
    """The items of an iterable or async iterable, taken lazily.

    A plain iterable is advanced in the event loop: one item at least, then as many as
    fit into a millisecond, so a slow generator hands on each item as it makes it. An
    async iterable gives one item per pull: whether a second is ready can only be found
    out by waiting for it, and it may be waiting for what becomes of the first.

    What the iterator raises comes out of `pull`, after the items before it.

    Attributes:
        name: Name of the generator, or of the type of *values*.
        total: How many items there are, if *values* is a sequence or set; all of them, wherever
            a cursor led.
        replayable: Whether *values* is a sequence: lists, tuples and ranges are, sets are not,
            since their order is another in every process.
        taken: Makes of each item of an iterator what `pull` gives, before the iterator goes on: it
            may give the same object again. Set by the run.

    Args:
        values: What to take items from. A str, bytes or mapping is refused, since its
            letters or keys are rarely what was meant: wrap it in a list.
        option: What the caller calls *values*; opens the error message.
        clock: Seconds that the millisecond is measured by.

    Raises:
        ConfigurationError: *values* has no items.
    """

    def __init__(
        self,
        values: Iterable[T] | AsyncIterable[T],
        *,
        option: str = "IterableSource",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        single = isinstance(values, (str, bytes, bytearray, memoryview, Mapping))
        if single or not isinstance(values, (Iterable, AsyncIterable)):
            raise ConfigurationError(option, values, NO_ITEMS)
        self.name: str = getattr(values, "__name__", type(values).__name__)
        # Others that have a length, such as a query, may fetch everything to tell it.
        self.total = len(values) if isinstance(values, (Sequence, Set)) else None
        self.replayable = isinstance(values, Sequence)
        self.taken: Callable[[T], T] | None = None
        self._print: SequencePrint | None = None
        self._index = 0
        self._values = values
        self._iterator: Iterator[T] | AsyncIterator[T] | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._closed = False
        self._slice = Slice(clock)

    async def pull(self, most: int) -> Sequence[T | Malformed]:
        """The next items; none at the end.

        Raises:
            trio.ClosedResourceError: The source is closed.
        """
        assert most >= 1, most
        if self._closed:
            refuse_closed(self.name)
        until = await self._slice.begin()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._ended:
            return ()
        if isinstance(self._values, AsyncIterable):
            return await self._one(self._values)
        return self._several(self._values, most, until)

    @property
    def left(self) -> int | None:
        """Items that were not pulled yet; `None` if only reading on can tell."""
        return None if self.total is None else max(0, self.total - self._index)

    def cursor(self) -> dict[str, Any]:
        """How many items were pulled, as a plain value that `seek` understands.

        Raises:
            UsageError: The source is not `replayable`.
        """
        if not self.replayable:
            raise UsageError(f"{self.name}: has no cursor, since it cannot be read again")
        known = self._known()
        return {
            "kind": KIND,
            "index": self._index,
            "length": known.length,
            "digest": known.digest,
        }

    async def seek(self, cursor: Any, run: str) -> None:
        """Go on with the item after the last that was pulled when *cursor* was taken.

        The sequence must be as long as it was: a longer one may have its new items anywhere.
        If the items can be turned into bytes, some of them must be what they were.

        Args:
            cursor: What `cursor` gave.
            run: Id of the run, for the error.

        Raises:
            SourceChanged: It is not the sequence that was read.
            UsageError: Something was pulled already.
            trio.ClosedResourceError: The source is closed.
        """
        await trio.lowlevel.checkpoint()
        if self._closed:
            refuse_closed(self.name)
        if self._iterator is not None:
            raise UsageError(f"{self.name}: seek() comes before the first pull")
        kind = KIND if self.replayable else "plain iterator"
        place = own_cursor(cursor, kind, run, self.name)
        known = SequencePrint(place["length"], place["digest"])
        change = known.change(self._known(), place["index"])
        if change:
            raise SourceChanged(run, self.name, change)
        self._index = place["index"]
        self._iterator = items_from(cast(Sequence[T], self._values), self._index)

    def _known(self) -> SequencePrint:
        """The print of the items as they were before the first was handed out and changed."""
        if self._print is None:
            self._print = SequencePrint.take(cast(Sequence[T], self._values))
        return self._print

    async def _one(self, values: AsyncIterable[T]) -> Sequence[T]:
        if self._iterator is None:
            self._iterator = aiter(values)
        try:
            item = await anext(cast(AsyncIterator[T], self._iterator))
            return (item if self.taken is None else self.taken(item),)
        except StopAsyncIteration:
            self._ended = True
            return ()

    def _several(self, values: Iterable[T], most: int, until: float) -> Sequence[T]:
        if self._iterator is None:
            if self.replayable:
                self._known()
            self._iterator = iter(values)
        taken: list[T] = []
        as_it_is = None if self.replayable else self.taken
        try:
            for item in islice(cast(Iterator[T], self._iterator), most):
                if as_it_is is not None and type(item) not in FROZEN:
                    item = as_it_is(item)
                taken.append(item)
                if self._slice.now() >= until:
                    break
            else:
                self._ended = len(taken) < most
        except Exception as error:
            if not taken:
                raise
            self._failure = error
        self._index += len(taken)
        return taken

    async def aclose(self) -> None:
        """Close a generator, so that its `finally` runs; other iterables stay as they are."""
        self._closed = True
        inner = self._values if self._iterator is None else self._iterator
        if isinstance(inner, AsyncGenerator):
            await inner.aclose()
        elif isinstance(inner, Generator):
            inner.close()


class JsonLinesSource(LineSource[Any]):
    """The decoded values of a file with one JSON value per line.

    Blank lines are skipped. A line that is no JSON (``NaN`` and numbers beyond a float
    are none), not in *encoding* or too long becomes a `Malformed` with its number, and
    reading goes on. A byte order mark, CRLF and a missing last newline are fine.

    Args:
        path: The file; ``"-"`` is standard input, of which nothing may have been read.
        encoding: Of the text; one in which a newline is the one byte 0x0A.
        max_line: Most bytes of a line, its newline not counted; bounds the memory.
        clock: Seconds that the millisecond of a pull is measured by.

    Raises:
        ConfigurationError: An option is out of range.
    """

    _skip_blank = True

    def _value(self, text: str) -> Any:
        return _DECODER.decode(text)


class TextLinesSource(LineSource[str]):
    """The lines of a text file as str, without their newline; empty ones too.

    A line that is not in *encoding* or too long becomes a `Malformed` with its number.
    Only LF and CRLF end a line. A byte order mark at the beginning is dropped.

    Args:
        path: The file; ``"-"`` is standard input, of which nothing may have been read.
        encoding: Of the text; one in which a newline is the one byte 0x0A.
        max_line: Most bytes of a line, its newline not counted; bounds the memory.
        clock: Seconds that the millisecond of a pull is measured by.

    Raises:
        ConfigurationError: An option is out of range.
    """

    def _value(self, text: str) -> str:
        return text


#: Common types that are no sources; to look at one as a protocol takes a tenth of a millisecond.
_PLAIN = {list, tuple, range}


def as_source(
    value: Source[T] | Iterable[T] | AsyncIterable[T], *, option: str = "source"
) -> Source[T]:
    """*value* if it is a `Source`, else an `IterableSource` over it.

    Args:
        value: A source, or whatever `IterableSource` takes.
        option: What the caller calls *value*; opens the error message.

    Raises:
        ConfigurationError: *value* is neither.
    """
    if type(value) not in _PLAIN and isinstance(value, Source) and not isinstance(value, type):
        return value
    return IterableSource(cast("Iterable[T] | AsyncIterable[T]", value), option=option)


def is_replayable(source: Source[T]) -> TypeGuard[ReplayableSource[T]]:
    """Whether *source* has a cursor, as it is now."""
    return bool(getattr(source, "replayable", False))


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits:.40} is beyond a float")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
