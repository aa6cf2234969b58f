"""Write dead letters to a file as they come, one JSON object per line.

    {"id": "in.jsonl:3", "stage": "input", "reason": "failed", "attempts": 0, "line": 3,
     "error": {"type": "DecodeError", "text": "..."}, "body": "..."}

``line`` is there for a line of the input that could not be read. A body that has no
JSON form is written as ``body_repr``. ``error`` is null where nothing was raised.

Of a durable run the file begins with the letters of its earlier parts, as its store has
them: what was in the file is written anew, so that each letter is there once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from actorflow.core.events import MessageDied
from actorflow.core.letters import DeadLetter
from actorflow.errors import EncodeError, StoredError
from actorflow.flows.sinks import JsonLinesSink

__all__ = ["DeadLetterFile"]

#: Most characters of a body that has no JSON form.
REPR_WIDTH = 10_000


class DeadLetterFile:
    """An observer that keeps dead letters in a file.

    Args:
        path: The file; emptied when opened.
    """

    wants = (MessageDied,)

    def __init__(self, path: str) -> None:
        self._sink = JsonLinesSink(path)
        self._waiting: list[DeadLetter] = []
        self._arrived = trio.Event()
        self._opened = trio.Event()
        self._open = False
        self._closing = False
        self._done = trio.Event()
        self._error: Exception | None = None

    def on_event(self, event: object) -> None:
        """Note a dead letter; it is written soon."""
        if isinstance(event, MessageDied):
            self._waiting.append(event.letter)
            self._arrived.set()

    async def open(self, earlier: Iterable[DeadLetter] = ()) -> None:
        """Create the file, or empty it.

        Args:
            earlier: Letters of an earlier part of the run, which come first.

        Raises:
            OSError: It cannot be opened for writing.
        """
        await self._sink.open()
        self._waiting[:0] = earlier
        if self._waiting:
            self._arrived.set()
        self._open = True
        self._opened.set()

    async def write_all(self) -> None:
        """Write what comes until `aclose`; a disk that fails ends the writing, not the run."""
        try:
            await self._opened.wait()
            while self._open and (self._waiting or not self._closing):
                await self._arrived.wait()
                self._arrived = trio.Event()
                letters, self._waiting = self._waiting, []
                await self._write(letters)
        except OSError as error:
            self._error = error
        finally:
            self._done.set()

    async def aclose(self) -> Exception | None:
        """Write what is left and close the file; answers what went wrong, if anything did.

        A file that was never opened stays as it is.
        """
        self._closing = True
        self._opened.set()
        self._arrived.set()
        await self._done.wait()
        await self._sink.aclose()
        return self._error

    async def _write(self, letters: list[DeadLetter]) -> None:
        lines = [_line(each) for each in letters]
        try:
            await self._sink.write(lines)
        except EncodeError:
            for line in lines:
                await self._write_one(line)

    async def _write_one(self, line: dict[str, Any]) -> None:
        try:
            await self._sink.write([line])
        except EncodeError:
            line["id"] = str(line["id"])
            line["body_repr"] = repr(line.pop("body"))[:REPR_WIDTH]
            await self._sink.write([line])


def _line(letter: DeadLetter) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": letter.id,
        "stage": letter.stage_or_actor,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "error": _error(letter.error),
        "body": letter.body,
    }
    if letter.stage_or_actor == "input":
        line["line"] = int(str(letter.id).rpartition(":")[2])
    return line


def _error(error: BaseException | None) -> dict[str, str] | None:
    if error is None:
        return None
    if isinstance(error, StoredError):
        return {"type": error.kind, "text": error.text}
    return {"type": type(error).__name__, "text": str(error)}
