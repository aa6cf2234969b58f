"""Where the items of a run come from: iterables, JSON lines, lines of text.

    anything iterable ──► IterableSource  ──┐
    in.jsonl, stdin ────► JsonLinesSource ──┼──► pull(most) ──► the run
    notes.txt ──────────► TextLinesSource ──┘

A source is pulled, so a full run reads nothing. One pull never waits for a second
entry while it has a first, never loses one when it is cancelled, and gives the
loop back after about a millisecond. An entry that cannot be read is `Malformed`,
a value like any other: the run makes a dead letter of it and goes on.

Sizes and offsets are bytes; lines count from 1.
"""

from __future__ import annotations

import codecs
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
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast, runtime_checkable

import attrs
import trio

from actorflow import options
from actorflow.errors import ConfigurationError, DecodeError
from actorflow.flows.files import STANDARD, BlockReader, FilePath, LineSplitter, Long, file_path

__all__ = [
    "IterableSource",
    "JsonLinesSource",
    "Malformed",
    "Source",
    "TextLinesSource",
    "as_source",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: How long a source holds the event loop at a stretch: a thousandth of a second is not felt
#: by timers, and long enough that the cost of letting others run (4 µs) stays below 1 %.
SLICE_SECONDS = 0.001

#: Pulls after which others run even if the clock stands still, as it does in a simulation.
SLICE_PULLS = 64

#: Longest line read by default: far above any sane record, far below what hurts.
MAX_LINE = 16 * 1024 * 1024

NO_ITEMS = "an iterable or async iterable of items (wrap a single value in a list)"


@attrs.frozen
class Malformed:
    """An entry of the input that could not be read.

    Attributes:
        place: Where it stands, such as ``in.jsonl:17``.
        text: The entry as it was found; the first 1,024 bytes of a line that is too long.
        error: What is wrong with it.
    """

    place: str
    text: str
    error: Exception


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


class _Slice:
    """Lets other tasks run once per `SLICE_SECONDS` and once per `SLICE_PULLS`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = 0.0
        self._pulls = SLICE_PULLS

    async def begin(self) -> float:
        """When the work that begins now should end, after letting others run if it is time."""
        self._pulls += 1
        if self._pulls >= SLICE_PULLS or self._clock() >= self._until:
            await trio.lowlevel.checkpoint()
            self._until = self._clock() + SLICE_SECONDS
            self._pulls = 0
        return self._until


class IterableSource(trio.abc.AsyncResource, Generic[T]):
    """The items of an iterable or async iterable, taken lazily.

    A plain iterable is advanced in the event loop: one item at least, then as many as
    fit into a millisecond, so a slow generator hands on each item as it makes it. An
    async iterable gives one item per pull: whether a second is ready can only be found
    out by waiting for it, and it may be waiting for what becomes of the first.

    What the iterator raises comes out of `pull`, after the items before it.

    Attributes:
        name: Name of the generator, or of the type of *values*.
        total: How many items there are, if *values* is a sequence or set.

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
        self._values = values
        self._iterator: Iterator[T] | AsyncIterator[T] | None = None
        self._failure: Exception | None = None
        self._ended = False
        self._closed = False
        self._clock = clock
        self._slice = _Slice(clock)

    async def pull(self, most: int) -> Sequence[T | Malformed]:
        """The next items; none at the end.

        Raises:
            trio.ClosedResourceError: The source is closed.
        """
        assert most >= 1, most
        if self._closed:
            _refuse_closed(self.name)
        until = await self._slice.begin()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._ended:
            return ()
        if isinstance(self._values, AsyncIterable):
            return await self._one(self._values)
        return self._several(self._values, most, until)

    async def _one(self, values: AsyncIterable[T]) -> Sequence[T]:
        if self._iterator is None:
            self._iterator = aiter(values)
        try:
            return (await anext(cast(AsyncIterator[T], self._iterator)),)
        except StopAsyncIteration:
            self._ended = True
            return ()

    def _several(self, values: Iterable[T], most: int, until: float) -> Sequence[T]:
        if self._iterator is None:
            self._iterator = iter(values)
        taken: list[T] = []
        try:
            for item in islice(cast(Iterator[T], self._iterator), most):
                taken.append(item)
                if self._clock() >= until:
                    break
            else:
                self._ended = len(taken) < most
        except Exception as error:
            if not taken:
                raise
            self._failure = error
        return taken

    async def aclose(self) -> None:
        """Close a generator, so that its `finally` runs; other iterables stay as they are."""
        self._closed = True
        inner = self._values if self._iterator is None else self._iterator
        if isinstance(inner, AsyncGenerator):
            await inner.aclose()
        elif isinstance(inner, Generator):
            inner.close()


class _LineSource(trio.abc.AsyncResource, Generic[T]):
    """Lines of a file, each made into an entry by `_value`.

    Attributes:
        name: The file's name as given, or ``stdin``.
        offset: Where the next line that was not yet pulled begins.
        line: Number of the last line pulled; 0 before the first.
    """

    _skip_blank = False

    def __init__(
        self,
        path: FilePath,
        *,
        encoding: str = "utf-8",
        max_line: int = MAX_LINE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        kind = type(self).__name__
        self._reader = BlockReader(file_path(f"{kind}.path", path, "standard input"))
        self.name = "stdin" if self._reader.path == STANDARD else self._reader.path
        self.encoding = _line_encoding(f"{kind}.encoding", encoding)
        self.max_line = options.count(f"{kind}.max_line", max_line)
        self.offset = 0
        self.line = 0
        self._received = 0
        self._splitter = LineSplitter(max_line)
        self._ended = False
        self._closed = False
        self._clock = clock
        self._slice = _Slice(clock)

    def check(self) -> None:
        """Raise now what opening the file would raise, without waiting for anybody.

        Raises:
            OSError: `FileNotFoundError`, `IsADirectoryError`, `PermissionError` and others.
        """
        self._reader.check()

    async def open(self) -> None:
        """Open the file, if it is not open yet; the first pull does this too.

        Raises:
            OSError: As from `check`.
            trio.ClosedResourceError: The source is closed.
        """
        if self._closed:
            _refuse_closed(self.name)
        await self._reader.open()

    async def pull(self, most: int) -> Sequence[T | Malformed]:
        """The next lines; none at the end.

        Raises:
            OSError: The file cannot be opened or read.
            trio.ClosedResourceError: The source is closed.
        """
        assert most >= 1, most
        await self.open()
        entries: list[T | Malformed] = []
        while not entries:
            until = await self._slice.begin()
            if self._splitter.lines:
                self._take(entries, most, until)
            elif self._ended:
                break
            else:
                await self._read()
        return entries

    async def aclose(self) -> None:
        """Close the file; standard input stays open."""
        self._closed = True
        self._reader.close()

    async def _read(self) -> None:
        block = await self._reader.read()
        self._received += len(block)
        if block:
            self._splitter.add(block)
        else:
            self._splitter.finish()
            self._ended = True

    def _take(self, entries: list[T | Malformed], most: int, until: float) -> None:
        lines = self._splitter.lines
        while lines and len(entries) < most:
            line = lines.popleft()
            self.line += 1
            # The last line may lack its newline.
            self.offset = min(self.offset + len(line) + 1, self._received)
            if self.line == 1 and isinstance(line, bytes) and self.encoding == "utf-8":
                line = line.removeprefix(codecs.BOM_UTF8)
            if not self._skip_blank or isinstance(line, Long) or line.strip():
                entries.append(self._entry(line))
            if self._clock() >= until:
                break

    def _entry(self, line: bytes | Long) -> T | Malformed:
        if isinstance(line, Long):
            detail = f"a line of {line.size:,} bytes, above `max_line` ({self.max_line:,})"
            return self._malformed(line.head, detail)
        if line.endswith(b"\r"):
            line = line[:-1]
        try:
            return self._value(line.decode(self.encoding))
        except UnicodeDecodeError as error:
            detail = f"not {self.encoding} at byte {error.start + 1} ({error.reason})"
        except json.JSONDecodeError as error:
            detail = f"not JSON at column {error.pos + 1} ({error.msg.removesuffix(' at')})"
        except RecursionError:
            detail = "JSON nested too deeply"
        except ValueError as error:
            detail = f"not JSON ({error})"
        return self._malformed(line, detail)

    def _malformed(self, line: bytes, detail: str) -> Malformed:
        place = f"{self.name}:{self.line}"
        # The error is made, not caught: a traceback would keep the whole block alive.
        return Malformed(
            place, line.decode(self.encoding, "backslashreplace"), DecodeError(detail, place)
        )

    def _value(self, text: str) -> T:
        raise NotImplementedError


class JsonLinesSource(_LineSource[Any]):
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


class TextLinesSource(_LineSource[str]):
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
    if isinstance(value, Source) and not isinstance(value, type):
        return value
    return IterableSource(cast("Iterable[T] | AsyncIterable[T]", value), option=option)


def _refuse_closed(name: str) -> NoReturn:
    raise trio.ClosedResourceError(f"{name}: the source is closed; make a new one to read again")


def _line_encoding(option: str, encoding: object) -> str:
    wanted = "a text encoding with one-byte newlines, such as 'utf-8' or 'latin-1'"
    try:
        name = codecs.lookup(str(encoding)).name.removesuffix("-sig")
        if "\n".encode(name) == b"\n":
            return name
    except (LookupError, ValueError):
        pass
    raise ConfigurationError(option, encoding, wanted)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits:.40} is beyond a float")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
