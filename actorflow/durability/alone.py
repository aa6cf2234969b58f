"""Who runs alone in careful mode, and how long the others wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actorflow.durability.suspects import IDLE, Suspect
from actorflow.runtime.kernel import Kernel

__all__ = ["PATIENCE", "SECONDS", "Alone"]

#: Most for which a suspect runs alone, in seconds.
SECONDS = 60.0

#: Most time for which a suspect waits for those that run to end, in seconds.
PATIENCE = 1.0


class Alone:
    """A place for one suspect, which it takes when those that run are to end, and keeps while it
    runs itself; but not for ever.

    Args:
        kernel: Its services.
        wake: Called when others may have their chance.

    Attributes:
        suspect: Who has the place.
    """

    def __init__(self, kernel: Kernel, wake: Callable[[], None]) -> None:
        self.suspect: Suspect | None = None
        self._kernel = kernel
        self._wake = wake
        self._closed = self._since = 0.0
        self._alarm: Any = None

    def closed(self) -> float:
        """Seconds so far in which somebody had the place."""
        now = self._kernel.now()
        return self._closed + (0.0 if self.suspect is None else now - self._since)

    def excludes(self, suspect: Suspect) -> bool:
        """Whether another one has the place."""
        return self.suspect is not None and self.suspect is not suspect

    def of(self, envelope: Any) -> Suspect | None:
        """The suspect that *envelope* is, if that has the place and no lease yet."""
        suspect = self.suspect
        if suspect is None or suspect.envelope is not envelope or suspect.state != IDLE:
            return None
        return suspect

    def waits_in(self, box: Any) -> bool:
        """Whether a message that waits in *box* has the place."""
        return self.suspect is not None and self.suspect.state == IDLE and self.suspect.box is box

    def expect(self, suspect: Suspect) -> None:
        """Others let *suspect* in when those that run have ended, or have had `PATIENCE`."""
        if self.suspect is None:
            self._take(suspect, PATIENCE)

    def begin(self, suspect: Suspect) -> None:
        """*suspect* runs."""
        self._take(suspect, SECONDS)

    def end(self, suspect: Suspect) -> None:
        """*suspect* does not run any more, nor will it."""
        if self.suspect is suspect:
            self.leave()
        else:
            self._wake()

    def leave(self) -> None:
        """Nobody has the place."""
        self._closed = self.closed()
        self.suspect = None
        self._look_in(None)
        self._wake()

    def _take(self, suspect: Suspect, seconds: float) -> None:
        if self.suspect is None:
            self._since = self._kernel.now()
        self.suspect = suspect
        self._look_in(seconds)

    def _look_in(self, seconds: float | None) -> None:
        heap = self._kernel.heap
        if self._alarm is not None:
            heap.settle(self._alarm)
        self._alarm = None
        if seconds is not None:
            self._alarm = heap.at(self._kernel.now() + seconds, self._on_alarm)

    def _on_alarm(self, _: None) -> None:
        self._alarm, suspect = None, self.suspect
        assert suspect is not None
        if suspect.pressing or not suspect.waits:
            self.leave()
            return
        suspect.pressing = True
        self._look_in(PATIENCE)  # If it does not come even so, as its mailbox is paused.
        self._wake()
