"""Where the values of a run go: files, standard output, a function, a list.

    the run ──► write(values) ──┬──► JsonLinesSink ──► out.jsonl, stdout
                                ├──► TextLinesSink ──► out.txt, stdout
                                ├──► CallableSink ───► fn(value)
                                └──► ListSink ───────► .values
    checkpoint ──► position(), tail(), sync() ──► a later run ──► open(at=position, tail=tail)

A sink is opened, written to in blocks by one task at a time, and closed. A file gets
a block whole or not at all: one value that cannot be written refuses the block before
any of it leaves, so that the caller can find it out and write the others.

A file can be gone on with: a checkpoint names its `position` once `sync` has brought
it to the disk, and a run that goes on from there cuts off what came later. So each
value is in the file once, however often the process was killed. Other sinks may get
a value again. The file is known again by its `tail`, wherever it is now: one that holds
something else is left alone.

Offsets are bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import trio

from actorflow.errors import ConfigurationError, EncodeError, UsageError
from actorflow.flows.files import STANDARD, BlockWriter, FilePath, file_path
from actorflow.flows.jsonform import json_line
from actorflow.runtime.ports import stopwatch

__all__ = [
    "CallableSink",
    "JsonLinesSink",
    "KnownSink",
    "ListSink",
    "ResumableSink",
    "Sink",
    "TextLinesSink",
    "as_sink",
]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

#: How long plain functions are called at a stretch before other tasks run, in seconds.
SLICE_SECONDS = 0.001


@runtime_checkable
class Sink(Protocol[T_contra]):
    """Anything a run can give its values to. One task at a time calls it."""

    async def open(self) -> None:
        """Get ready for values; what an earlier run wrote is gone."""

    async def write(self, values: Sequence[T_contra], /) -> None:
        """Take *values* in their order; returns when they have been handed on."""

    async def aclose(self) -> None:
        """Bring everything to its place and let go of it. Closing twice does nothing."""


@runtime_checkable
class ResumableSink(Sink[T_contra], Protocol[T_contra]):
    """A sink that a run can go on with where a checkpoint left it: each value is there once.

    It counts in units of its own, such as bytes or rows. When `write` returns, `position` has
    counted the values it was given; a later `open` with that position keeps them and takes
    back all that came after. Between two writes the position stays as it is. While `write`
    runs it may change at any time: a checkpoint that comes then names the place before.

    A run whose sink has moved by itself, or has gone back, fails with `ConfigurationError`.
    """

    async def open(self, at: int | None = None, *, fresh_inode: bool = False) -> None:
        """Get ready for values: from nothing, or right behind the *position* of an earlier run.

        Args:
            at: The position; what was written after it is taken back.
            fresh_inode: Whether the earlier writer may be alive, and may still write.
        """

    def position(self) -> int | None:
        """How far it has come, 0 or more; `None` if it cannot be resumed.

        Often asked for while it is open, so it reads and waits for nothing.
        """

    def sync(self) -> None:
        """Bring what the position has counted to where a crash leaves it alone.

        Called in any thread, also while `write` runs, before a checkpoint names it. May block.
        """


@runtime_checkable
class KnownSink(ResumableSink[T_contra], Protocol[T_contra]):
    """A resumable sink that tells whether what it finds is what an earlier run has written."""

    async def open(
        self, at: int | None = None, *, fresh_inode: bool = False, tail: Any = None
    ) -> None:
        """As of `ResumableSink`.

        Args:
            at: As there.
            fresh_inode: As there.
            tail: What `tail` gave at that position.

        Raises:
            SinkChanged: What is there is something else. Nothing was changed.
        """

    def tail(self) -> Any:
        """By what all that the position has counted is known again: a plain value.

        Often asked for, so it reads and waits for nothing.
        """


class _FileSink(trio.abc.AsyncResource):
    """Values as lines of a file; `_line` makes one of a value.

    Attributes:
        name: The file's name as given, or ``stdout``.
    """

    def __init__(self, path: FilePath) -> None:
        option = f"{type(self).__name__}.path"
        self._writer = BlockWriter(file_path(option, path, "standard output"))
        self.name = "stdout" if self._writer.path == STANDARD else self._writer.path

    @property
    def offset(self) -> int:
        """Bytes written: of a file its length, else since the sink was opened."""
        return self._writer.offset

    def position(self) -> int | None:
        """Where a later run goes on: the length of the file after the last completed write.

        `None` for pipes and terminals, whatever standard output leads to, and before the
        file is opened for the first time.
        """
        return self._writer.offset if self._writer.is_file else None

    def tail(self) -> Any:
        """By what the file is known again, wherever it is then; `None` where there is no
        `position`."""
        return self._writer.tail.mark(self.name) if self._writer.is_file else None

    def sync(self) -> None:
        """Bring the file to the disk (fsync), with all that `position` has counted.

        A plain function that blocks. It may be called from any thread, while a block is being
        written and after the sink is closed, when there is nothing left to do.

        Raises:
            OSError: The disk failed; from then on always, until the sink is opened again. Like
                all of a file's it names the file, and a note says what helps.
        """
        self._writer.sync()

    async def open(
        self, at: int | None = None, *, fresh_inode: bool = False, tail: Any = None
    ) -> None:
        """Create the file or empty it, or go on with one that an earlier run has written.

        Args:
            at: The `position` to go on from: what is before it stays, what follows is cut off.
                At 0 there is nothing to keep.
            fresh_inode: Whether the earlier writer may be alive, such as a stopped process: the
                file is replaced by a copy, and whatever that writer still writes is in vain.
                Hard links go on to name the old file, and so does who reads along.
            tail: What `tail` gave at *at*; without it any file that is long enough will do.

        Raises:
            OSError: The file cannot be opened for writing.
            UsageError: The sink is open already.
            SinkChanged: The file is missing, shorter than *at* or no regular file, or it has
                something else before *at*. It was left as it is.
        """
        if self._writer.is_open:
            raise UsageError(f"{self.name}: the sink is open already; give each run its own")
        await self._writer.open(at, tail, fresh_inode=fresh_inode)

    async def write(self, values: Sequence[Any]) -> None:
        """Write a line per value; returns when the system has them.

        Cancelled while it waits for the reader of a pipe, it may have written a part.

        Raises:
            EncodeError: A value cannot be a line; nothing of the block was written.
            BrokenPipeError: The reader of the pipe has gone.
            OSError: The disk is full or failed; a file is as it was before the block.
            UsageError: The sink is not open.
        """
        if not self._writer.is_open:
            raise UsageError(f"{self.name}: the sink is not open; await open() first")
        lines = [self._line(value, index) for index, value in enumerate(values)]
        if lines:
            await self._writer.write(b"\n".join(lines) + b"\n")
        else:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Bring the file to the disk (fsync) and close it; standard output stays open."""
        await self._writer.close()

    def _line(self, value: Any, index: int) -> bytes:
        raise NotImplementedError


class JsonLinesSink(_FileSink):
    """A file with one JSON value per line, in UTF-8.

    What JSON does not know is written in a plain form:

    * attrs classes, dataclasses: an object of their fields; `Context`, pydantic models
      and other mappings: an object
    * datetime, date, time: ISO 8601; timedelta: seconds
    * Path, UUID, Decimal: their str, so that no digit is lost
    * tuples, NamedTuples: an array; sets: an array, sorted so that it is always the same
    * bytes: base64; an Enum: its value
    * keys that are numbers, True, False or None: their JSON text

    ``NaN`` and infinities, other keys and everything else are refused.

    Args:
        path: The file, emptied when opened unless a run is gone on with; ``"-"`` is standard
            output.
        settled: Write only what a durable cut covers, for those who read along. In a run
            without a store there are no cuts and it means nothing.
    """

    def __init__(self, path: FilePath, *, settled: bool = False) -> None:
        super().__init__(path)
        self.settled = settled

    def _line(self, value: Any, index: int) -> bytes:
        return json_line(value, f"values[{index}]")


class TextLinesSink(_FileSink):
    r"""A file with the str of one value per line, in UTF-8.

    A value whose text holds ``\n`` or ``\r`` is refused: written as it is, it would be
    read as two.

    Args:
        path: The file, emptied when opened unless a run is gone on with; ``"-"`` is standard
            output.
    """

    def _line(self, value: Any, index: int) -> bytes:
        text = str(value)
        if "\n" in text or "\r" in text:
            detail = "a line of text cannot hold a line break; escape it, or write JSON lines"
            raise EncodeError(detail, f"values[{index}]")
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            detail = f"no UTF-8 at character {error.start + 1} ({error.reason})"
            raise EncodeError(detail, f"values[{index}]") from error


class CallableSink(Generic[T]):
    """Calls a function with each value and awaits what it returns, if that is awaitable.

    A plain function is called in the event loop: it should be quick. What it raises
    comes out of `write`, and the values after that one are not written.

    Args:
        fn: The function.
        option: What the caller calls *fn*; opens the error message.

    Raises:
        ConfigurationError: *fn* cannot be called, or is a generator function.
    """

    def __init__(self, fn: Callable[[T], object], *, option: str = "CallableSink") -> None:
        generator = inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)
        if generator or isinstance(fn, type) or not callable(fn):
            raise ConfigurationError(
                option, fn, "a function of one value (JsonLinesSink(path) writes a file)"
            )
        self._fn = fn

    async def open(self) -> None:
        """Nothing to do."""
        await trio.lowlevel.checkpoint()

    async def write(self, values: Sequence[T]) -> None:
        """Call the function with each value, one after the other."""
        until, now = 0.0, stopwatch()
        for value in values:
            if now() >= until:
                await trio.lowlevel.checkpoint()
                until = now() + SLICE_SECONDS
            answer = self._fn(value)
            if answer is not None and inspect.isawaitable(answer):
                await answer

    async def aclose(self) -> None:
        """Nothing to do."""
        await trio.lowlevel.checkpoint()


class ListSink(Generic[T]):
    """Keeps the values of the last run in a list, which grows without bound.

    Attributes:
        values: What was written since the sink was opened.
    """

    def __init__(self) -> None:
        self.values: list[T] = []

    async def open(self) -> None:
        """Begin a new list."""
        await trio.lowlevel.checkpoint()
        self.values = []

    async def write(self, values: Sequence[T]) -> None:
        """Add *values* to the list."""
        await trio.lowlevel.checkpoint()
        self.values.extend(values)

    async def aclose(self) -> None:
        """Nothing to do."""
        await trio.lowlevel.checkpoint()


def as_sink(value: Sink[T] | Callable[[T], object], *, option: str = "sink") -> Sink[T]:
    """*value* if it is a `Sink`, else a `CallableSink` of it.

    Args:
        value: A sink, or a sync or async function of one value.
        option: What the caller calls *value*; opens the error message.

    Raises:
        ConfigurationError: *value* is neither.
    """
    if isinstance(value, Sink) and not isinstance(value, type):
        return value
    return CallableSink(cast("Callable[[T], object]", value), option=option)
