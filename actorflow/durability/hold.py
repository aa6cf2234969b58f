"""Take hold of a run in a store, read what it has, and let it go: what runs and systems share."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from actorflow.durability.bridge import PATIENCE, Bridge
from actorflow.durability.careful import Careful
from actorflow.durability.chain import whole
from actorflow.durability.checkpointer import Checkpointer
from actorflow.durability.store import Loaded, Owned, RunStatus, Session, Store
from actorflow.errors import NotRunningError
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.ports import random_bytes, wall_time
from actorflow.wire.codec import decode
from actorflow.wire.snapshot import Cut

__all__ = ["NAME", "Hold", "visiting"]

#: Begins the key of the fact that is the id of an item.
NAME = "name/"


class Hold:
    """One run of one store, for as long as it is ours.

    Args:
        store: The store; opened and closed here.
        run: Id of the run.
        kernel: Of the system or run; its journal is what is kept.
        on_failure: Told when nothing will be on disk any more, or the run is another's.
        lease: Seconds after which we have lost the run if we do not answer.
        tune: Whether the interpreter's switch interval is made short.
        patience: Seconds that a call of the store may take which is no commit.

    Attributes:
        bridge: The store's thread.
        owned: How the run was found.
        state: What its cuts add up to, or `None` if it has none.
        checkpointer: Brings the journal to the disk; made by `keep`.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        kernel: Kernel,
        *,
        on_failure: Callable[[BaseException], None],
        lease: float = 30.0,
        tune: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self.run = run
        self.kernel = kernel
        self.journal: Journal = kernel.journal
        session, wall = _session(lease), kernel.ports.wall
        self.bridge = Bridge(store, session, wall, on_lost=self._lose, tune=tune, patience=patience)
        self.owned: Owned
        self.state: Cut | None = None
        self.checkpointer: Checkpointer | None = None
        self._on_failure = on_failure
        self._blame: dict[str, int] = {}
        self._chain: list[int] = []
        self._open = False

    async def open(self, resume: Any = "auto") -> None:
        """Open the store, acquire the run, and read what it has unless it has finished.

        Raises:
            RunInUseError, RunNotFoundError, RunExistsError: It cannot be ours.
            StoreError: The store cannot be used, or what it has cannot be read.
        """
        await self.bridge.open()
        self._open = True
        store = self.bridge.store
        acquire = functools.partial(store.acquire, resume=resume)
        self.owned = await self.bridge.call(acquire, self.run, self.kernel.ports.wall())
        if self.owned.status == "finished":
            return
        self.state, loaded = await self.bridge.call(self._load)
        if self.state is not None:
            self.kernel.set_back = max(0.0, self.state.at - self.kernel.ports.wall())
        self._blame = loaded.blame
        self._chain = [len(each) for each in loaded.cuts]

    def _load(self) -> tuple[Cut | None, Loaded]:
        """In the store's thread."""
        store = self.bridge.store
        loaded = store.load(self.run)
        return whole(store.url, self.run, loaded.cuts, self.owned.number), loaded

    def facts(self) -> dict[str, Any]:
        """The facts of `state`, decoded; but not the ids that callers gave, which may be of any
        type, also one that nobody here knows.

        Raises:
            DecodeError: One of them cannot be read.
        """
        assert self.state is not None
        return {
            key: decode(data, max_bytes=None)
            for key, data in self.state.facts.items()
            if data and not key.startswith(NAME)
        }

    def keep(self, **options: Any) -> Checkpointer:
        """Make the checkpointer; *options* as there. After an unclean end the run is careful."""
        self.checkpointer = Checkpointer(
            self.kernel,
            self.journal,
            self.bridge,
            self.owned,
            chain=self._chain,
            on_failure=self._fail,
            **options,
        )
        if self.owned.status == "running" and not self.owned.new:
            self.journal.careful = Careful(
                self.kernel,
                self.journal,
                self.checkpointer,
                self.owned,
                self._blame,
                self._fail,
            )
        return self.checkpointer

    def start(self) -> None:
        """Begin to checkpoint; the kernel's services must run."""
        assert self.checkpointer is not None
        self.kernel.services.start_soon(self.checkpointer.run, name="checkpointer")
        if self.journal.careful is not None:
            self.kernel.services.start_soon(self.journal.careful.run, name="careful")

    def _fail(self, error: BaseException) -> None:
        self.journal.fail(error)
        self._on_failure(error)

    def _lose(self, error: BaseException) -> None:
        """Another process has taken the run over: not one byte more is written."""
        self._fail(error)

    async def close(
        self, status: RunStatus | None, report: bytes | None = None, *, broken: bool = False
    ) -> None:
        """Take the last cut, with *status*, and let go; `None`: leave the run as its last cut is.

        Args:
            broken: An error is on its way to the caller, which nothing here may replace.

        Raises:
            StoreUnavailable: The cut could not be written.
        """
        if not self._open:
            return
        self._open = False
        journal, checkpointer = self.journal, self.checkpointer
        with trio.CancelScope(shield=True):
            try:
                if journal.broken is None and status is not None and checkpointer is not None:
                    await checkpointer.checkpoint(status, report)
                    if journal.broken is not None and not broken:
                        raise journal.broken
            finally:
                ended = f"{self.run} has ended before this was on disk"
                journal.fail(NotRunningError(ended))
                await self.bridge.close()


@asynccontextmanager
async def visiting(store: Store) -> AsyncIterator[Bridge]:
    """A store that is open for as long as somebody looks into it, behind a thread of its own.

    Raises:
        StoreError: It cannot be opened, or is open already.
    """
    bridge = Bridge(store, _session(), wall_time, on_lost=_not_ours, tune=False)
    await bridge.open()
    try:
        yield bridge
    finally:
        with trio.CancelScope(shield=True):
            await bridge.close()


def _session(lease: float = 30.0) -> Session:
    """Of this process."""
    return Session(random_bytes(16), socket.gethostname(), os.getpid(), lease)


def _not_ours(error: BaseException) -> None:
    """Whoever only looks holds no run that could be lost."""
