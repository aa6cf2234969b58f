"""Work that would hold the loop: threads, which cannot be killed, and processes, which can.

A thread that runs on after its timeout is *stuck*: it is shown, its worker stays
taken, and no other attempt of its message begins before it has ended. A worker
process that dies is one failed attempt and a crash of its actor, nothing more.
"""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable
from typing import Any

import trio

from actorflow.core.envelope import message_id
from actorflow.core.events import ThreadStuck
from actorflow.errors import MissingExtra, WorkerDied
from actorflow.runtime.cell import THREADS_TURN, Cell
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.processes import Processes

__all__ = ["StuckThread", "in_process", "in_thread", "wait_a_moment", "wait_for_stuck"]

logger = logging.getLogger("actorflow")

#: Threads of one actor or stage beyond its workers, for `ctx.to_thread` inside nurseries.
THREADS_PER_MAILBOX = 64

#: How long a thread may run on after its turn was cut off and not yet count as stuck, in
#: seconds: most are about to end. Nobody waits for it but the end of the system, once.
GRACE_SECONDS = 0.2

#: How long an idle worker process is kept, in seconds.
PROCESS_IDLE_SECONDS = 60.0


class StuckThread:
    """One call in a thread, and whether it has ended; its own token of *limiter*.

    Attributes:
        settled: Set when it has ended, or has been cut off and counts as stuck.
    """

    __slots__ = (
        "_args",
        "_cell",
        "_fn",
        "_limiter",
        "_message_id",
        "_token",
        "_turn",
        "begun",
        "ended",
        "finished",
        "settled",
        "shown",
    )

    def __init__(
        self,
        cell: Cell,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        limiter: trio.CapacityLimiter,
    ) -> None:
        self._cell = cell
        self._fn = fn
        self._args = args
        self._limiter = limiter
        self._message_id = "" if cell.lease is None else message_id(cell.lease)
        self._token = trio.lowlevel.current_trio_token()
        self._turn = cell.turn
        self.begun = self.finished = self.shown = False
        self.ended = trio.Event()
        self.settled = trio.Event()

    def run(self) -> Any:
        THREADS_TURN.set(self._turn)  # In a context of this call's own.
        try:
            return self._fn(*self._args)
        finally:
            self.finished = True
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._over)

    def cut_off(self) -> None:
        """Its turn is over and it is not: show it, unless it ends in a moment."""
        kernel = self._cell.kernel
        kernel.cut_off.add(self)
        kernel.heap.at(kernel.now() + GRACE_SECONDS, self._show)

    def _show(self, _: Any) -> None:
        cell = self._cell
        cell.kernel.cut_off.discard(self)
        if not self.finished:
            self.shown = True
            cell.kernel.counters["stuck_threads"] += 1
            cell.kernel.emit(ThreadStuck(cell.path, self._message_id))
            left = "the end of its actor; it is left behind"
            waited = "its turn; its worker waits for it"
            logger.warning(
                "%s: a thread runs on after %s", cell.path, waited if cell.ended is None else left
            )
        self.settled.set()

    def _over(self) -> None:
        self.ended.set()
        self.settled.set()
        self._cell.kernel.cut_off.discard(self)
        if self.shown:
            self._cell.kernel.counters["stuck_threads"] -= 1

    async def acquire_on_behalf_of(self, borrower: Any) -> None:
        """As trio asks a limiter: the thread begins as soon as this returns, not before."""
        await self._limiter.acquire_on_behalf_of(borrower)
        self.begun = True

    def release_on_behalf_of(self, borrower: Any) -> None:
        self._limiter.release_on_behalf_of(borrower)


async def in_thread(cell: Cell, fn: Callable[..., Any], *args: Any, abandon: bool = False) -> Any:
    """Run ``fn(*args)`` in a thread of this actor's or stage's own limit.

    Cancelled, it leaves the thread behind and marks the cell: unless *abandon*, the turn
    is settled only after the thread has ended.
    """
    kernel = cell.kernel
    if kernel.ports.simulation is not None:
        return await kernel.ports.simulation.offload(fn, *args)
    most = THREADS_PER_MAILBOX + len(cell.mailbox.readers)
    limiter = kernel.limiters.get(cell.mailbox.path)
    if limiter is None:
        limiter = kernel.limiters[cell.mailbox.path] = trio.CapacityLimiter(most)
    elif limiter.total_tokens < most:
        limiter.total_tokens = most
    job: Any = StuckThread(cell, fn, args, limiter)
    try:
        return await trio.to_thread.run_sync(job.run, abandon_on_cancel=True, limiter=job)
    except trio.Cancelled:
        if job.begun and not job.finished and not abandon:
            job.cut_off()
            cell.stuck = [*(cell.stuck or ()), job]
        raise


async def wait_for_stuck(cell: Cell) -> None:
    """Wait for the threads that outlived their turn, or incarnation."""
    for job in cell.stuck:
        await job.ended.wait()
    cell.stuck = None


async def wait_a_moment(kernel: Kernel) -> None:
    """Nothing of the tree is left: see whether the threads that were cut off end by themselves."""
    for job in tuple(kernel.cut_off):
        await job.settled.wait()


async def in_process(cell: Cell, fn: Callable[..., Any], *args: Any) -> Any:
    """Run ``fn(*args)`` in a worker process; cancelled, the process is killed. Until a process is
    ready for it the turn's time stands still.

    Raises:
        WorkerDied: The process ended without an answer, or was not ready in time.
        MissingExtra: trio-parallel is not installed.
    """
    if cell.kernel.ports.simulation is not None:
        return await cell.kernel.ports.simulation.process(cell.path, fn, *args)
    trio_parallel = _load_trio_parallel()
    processes = await _processes(cell.kernel)
    try:
        return await processes.run(cell, fn, *args)
    except trio_parallel.BrokenWorkerError as error:
        raise WorkerDied(cell.path, str(error) or type(error).__name__) from error


async def _processes(kernel: Kernel) -> Processes:
    """The system's worker processes, started when first needed."""
    while kernel.processes_ready is None:
        if kernel.processes is not None:
            await kernel.processes.wait()
            continue
        opening = kernel.processes = trio.Event()
        try:
            kernel.processes_ready = await kernel.services.start(_host_processes)
        finally:  # Whoever waits tries it himself if this one was cancelled.
            kernel.processes = None
            opening.set()
    found: Processes = kernel.processes_ready
    return found


async def _host_processes(task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    trio_parallel = _load_trio_parallel()
    try:
        async with trio_parallel.open_worker_context(
            idle_timeout=PROCESS_IDLE_SECONDS, grace_period=1.0, init=_leave_signals_to_the_parent
        ) as context:
            task_status.started(Processes(context, THREADS_PER_MAILBOX))
            await trio.sleep_forever()
    except* trio_parallel.BrokenWorkerError:
        # A worker that somebody killed while it was idle, or that was slow to leave.
        logger.warning("a worker process was gone, or had to be killed, at the end")


def _leave_signals_to_the_parent() -> None:
    """In a worker process: a signal to the whole group must not end it before its turn has."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _load_trio_parallel() -> Any:
    try:
        import trio_parallel
    except ImportError as error:
        raise MissingExtra("runs_in='process'", "trio-parallel", "process") from error
    return trio_parallel
