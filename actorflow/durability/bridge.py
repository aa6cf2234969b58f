"""The one thread that a store lives behind, and the only one that calls it.

    task ── call ──► queue ──► thread: store.commit(...) ──► answer, by the loop's token
                                  └── between calls: renew the session's lease

A caller never cancels a call that has begun: its outcome is known. How long to wait
for it is the caller's business; a call that hangs holds up the thread, not the loop.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from actorflow.durability.store import Session, Store
from actorflow.errors import LeaseLost, StoreUnavailable
from actorflow.runtime.ports import simulation

__all__ = ["PATIENCE", "SWITCH_SECONDS", "Bridge"]

logger = logging.getLogger("actorflow")

T = TypeVar("T")

#: How soon a thread that waits for the interpreter gets it from a busy loop: the thread's
#: commits would otherwise wait 5 ms each time.
SWITCH_SECONDS = 0.0002

#: Renewals per lease: two may be missed.
RENEWALS = 3

#: Seconds that a call may take which says nothing of its own: to open, to take hold, to read.
PATIENCE = 60.0

#: Seconds that the end of a session may take.
CLOSE_SECONDS = 5.0


class _Switch:
    """The switch interval of the interpreter, of which there is one: short while any bridge is
    open that wants it so, and as it was when the last of them has closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0.0

    def shorten(self) -> None:
        with self._lock:
            if not self._users:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_SECONDS))
            self._users += 1

    def give_back(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                sys.setswitchinterval(self._before)


_SWITCH = _Switch()


class Bridge:
    """A store behind a thread of its own.

    Args:
        store: The store; nobody else calls it from now on.
        session: Who we are.
        wall: Wall time in seconds, for leases.
        on_lost: Called in the loop, once, when another process has taken over.
        tune: Whether the interpreter's switch interval is made short meanwhile.
        patience: Seconds that a call may take which says nothing of its own.
    """

    def __init__(
        self,
        store: Store,
        session: Session,
        wall: Callable[[], float],
        *,
        on_lost: Callable[[BaseException], None],
        tune: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self.store = store
        self._patience = patience
        self.session = session
        self._wall = wall
        self._on_lost = on_lost
        self._tune = tune
        self._tuned = False
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._token: Any = None
        self._lost = False
        self._renewed = 0.0
        self._inline = not getattr(store, "blocking", True)
        self._simulated: Any = None
        self.ticks = 0

    async def open(self) -> None:
        """Start the thread and open the store.

        Raises:
            StoreError: The store cannot be opened.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # Calls are shielded: who tries again ends.
        self._token = trio.lowlevel.current_trio_token()
        simulated = simulation()
        if simulated is not None:
            self._inline, self._simulated = True, simulated.thread_of(self.store)
        if self._inline:
            self._renewed = trio.current_time()
            await self.call(self.store.open, self.session)
            return
        # A daemon: one that hangs in a driver must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="actorflow-store", daemon=True)
        self._thread.start()
        try:
            await self.call(self.store.open, self.session)
        except BaseException:
            self._jobs.put(None)
            raise
        if self._tune:
            _SWITCH.shorten()
            self._tuned = True

    async def close(self) -> None:
        """End the session and the thread; a thread that hangs is left behind, and that is said."""
        if self._tuned:
            _SWITCH.give_back()
            self._tuned = False
        try:
            await self.call(self.store.close, seconds=CLOSE_SECONDS)
        except StoreUnavailable as error:
            logger.error("store %s did not close: %s", self.store.url, error.detail)
        except Exception:
            logger.exception("store %s failed to close", self.store.url)
        if not self._inline:
            self._jobs.put(None)

    async def call(self, fn: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
        """Run ``fn(*args)`` in the thread, after what was asked for before.

        Shielded: a call that has begun is waited for, *seconds* at most, or as long as the bridge
        has patience.

        Raises:
            StoreUnavailable: It did not answer in time; it may still happen.
            Exception: What *fn* raised.
        """
        seconds = self._patience if seconds is None else seconds
        if self._inline:
            return await self._call_here(fn, *args, seconds=seconds)
        answer = _Answer()
        self._jobs.put((fn, args, answer))
        with trio.move_on_after(seconds, shield=True):
            await answer.event.wait()
        if not answer.event.is_set():
            raise StoreUnavailable(self.store.url, f"no answer within {seconds:g} s")
        if answer.error is not None:
            raise answer.error
        value: T = answer.value
        return value

    async def _call_here(self, fn: Callable[..., T], *args: Any, seconds: float) -> T:
        """In the loop: of a store that never waits for anybody, or in a simulation."""
        if self._simulated is not None:
            self._renew_if_due()
            value: T = await self._simulated.call(fn, args, seconds)
            return value
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        self._renew_if_due()
        return fn(*args)

    def _renew_if_due(self) -> None:
        now = trio.current_time()
        if now - self._renewed >= self.session.lease / RENEWALS:
            self._renewed = now
            self._renew()

    # In the thread --------------------------------------------------------------------

    def _serve(self) -> None:
        every = self.session.lease / RENEWALS
        renewed = time.monotonic()
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, renewed + every - time.monotonic()))
            except queue.Empty:
                job = ()
            if job is None:
                return
            if job:
                fn, args, answer = job
                answer.fill(fn, args)
                self._in_loop(answer.event.set)
                del fn, args, answer, job  # While it waits, the thread keeps nothing alive.
            if time.monotonic() - renewed >= every:
                renewed = time.monotonic()
                self._renew()

    def _renew(self) -> None:
        try:
            self.store.renew(self._wall(), self.ticks)
        except LeaseLost as error:
            if not self._lost:
                self._lost = True
                self._in_loop(self._on_lost, error)
        except Exception as error:  # A busy or broken store; the next commit says it louder.
            logger.warning("store %s: the lease could not be renewed: %s", self.store.url, error)

    def _in_loop(self, fn: Callable[..., object], *args: Any) -> None:
        try:
            self._token.run_sync_soon(fn, *args)
        except trio.RunFinishedError:
            logger.debug("store %s answered after the end", self.store.url)


class _Answer:
    """What a call came to, and the event that tells so."""

    __slots__ = ("error", "event", "value")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def fill(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self.value = fn(*args)
        except BaseException as error:  # It belongs to the caller, not to the thread.
            self.error = error
