"""A store whose commits go wrong as planned."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from typing import Literal, TypeAlias

from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.store import Change
from actorflow.errors import CommitFailed

__all__ = ["Fault", "FaultyStore"]

#: What becomes of a commit: it fails; the disk is full; nobody can tell and it has landed, or
#: has not; it hangs until `let_go`, and then happens.
Fault: TypeAlias = Literal["fails", "full", "landed", "unknown", "hangs"]


class FaultyStore(MemoryStore):
    """A store in memory, with faults by the number of the commit, from 0.

    Attributes:
        tried: Commits tried.
        hanging: Set while one hangs.
        always: A fault for every commit that has none.
    """

    def __init__(
        self,
        disk: MemoryDisk,
        faults: Mapping[int, Fault] | None = None,
        *,
        blocking: bool = True,
    ) -> None:
        super().__init__("memory:faulty", disk=disk, blocking=blocking)
        self.tried = 0
        self.always: Fault | None = None
        self.hanging = threading.Event()
        self._faults = dict(faults or {})
        self._numbers = itertools.count()
        self._free = threading.Event()

    def let_go(self) -> None:
        self._free.set()

    def commit(self, change: Change) -> None:
        fault = self._faults.get(next(self._numbers), self.always)
        self.tried += 1
        match fault:
            case "fails":
                raise CommitFailed(self.url, "injected", "io")
            case "full":
                raise CommitFailed(self.url, "no space left", "full")
            case "unknown":
                raise CommitFailed(self.url, "injected", "lost", unknown=True)
            case "hangs":
                self.hanging.set()
                self._free.wait(60)
        super().commit(change)
        if fault == "landed":
            raise CommitFailed(self.url, "injected", "lost", unknown=True)
