"""Run a flow to its end, whatever signals come, and say how it ended.

    signals ──► listen ──► run.drain() / run.stop() ──┐
    source ──► run.feed_from ──► run.finish() ────────┴──► Outcome ──► exit code
                     └── dead letters ──► their file

The one place that knows a live run; commands bring a flow, a source and a sink, and
show the outcome to people. Without a store, files are opened before the run begins;
with one, when the run is ours and tells from where on they are written.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import click
import trio

from actorflow.cli.deadfile import DeadLetterFile
from actorflow.cli.ends import Opened, OpenedLater, Watched
from actorflow.cli.front import Code
from actorflow.cli.signals import DRAIN_SECONDS, SIGNALS, Ask, asked, exit_now
from actorflow.cli.stores import stored_letters
from actorflow.errors import RunNotFoundError, UsageError
from actorflow.flows.pipeline import Pipeline
from actorflow.flows.results import Report
from actorflow.flows.run import Run

__all__ = ["Outcome", "drive"]

#: As long as it takes: for what is finished without reading on.
FOREVER = 1e9


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        report: Its report; `None` if it never began.
        error: Why it could not go on.
        read: Whether the input was read to its end.
        line: Number of the last line read, if the input has lines.
        interrupted: Whether Ctrl-C ended it.
        kept: Whether it is in a store, so that it can be gone on with.
        again: Whether it had finished before, and nothing was run.
    """

    report: Report | None
    error: Exception | None
    read: bool
    interrupted: bool
    line: int | None = None
    kept: bool = False
    again: bool = False

    @property
    def code(self) -> Code:
        """What to exit with; of several reasons the one that matters most."""
        if self.interrupted:
            return Code.INTERRUPTED
        if self.error is not None:
            begun = self.report is not None
            wrong = RunNotFoundError if begun else (RunNotFoundError, UsageError)
            return Code.USAGE if isinstance(self.error, wrong) else Code.FAILED
        if self.report is None or self.report.counts["held"] or not self.read:
            return Code.PARKED
        return Code.DEAD_LETTERS if self.report.dead or self.report.counts["dead"] else Code.DONE


def drive(
    flow: Pipeline[Any, Any],
    source: Any,
    sink: Any,
    dead: str | None,
    *,
    read_on: bool = True,
    **options: Any,
) -> Outcome:
    """Run all of *source* through *flow*.

    Args:
        flow: The flow.
        source: Where the items come from; `None` to finish only what a stored run holds.
        sink: Where the values go; opened here.
        dead: Name of the file for the dead letters, if there is to be one.
        read_on: Whether the run is finished when nothing is held any more; if not, it has input
            left that another command will read.
        options: For ``flow.open()``.

    Raises:
        ConfigurationError: An option is wrong; nothing has been opened.
        OSError: The sink or the file for the dead letters cannot be opened; nothing ran.
    """
    return trio.run(_Drive(flow, source, sink, dead, read_on, options).main)


class _Drive:
    def __init__(
        self,
        flow: Pipeline[Any, Any],
        source: Any,
        sink: Any,
        dead: str | None,
        read_on: bool,
        options: dict[str, Any],
    ) -> None:
        self._flow = flow
        self._source = None if source is None else Watched(source)
        self._sink = sink
        self._dead = None if dead is None else DeadLetterFile(dead)
        self._read_on = read_on
        self._options = options
        self._kept = options.get("store") is not None
        self._run: Run[Any, Any] | None = None
        self._ask = Ask.NOTHING
        self._interrupted = False
        self._read = False
        self._again = False
        self._opening = trio.CancelScope()
        self._unopened: OSError | None = None
        self._endings = 0
        self._ended = trio.Event()
        self._failure: Exception | None = None

    async def main(self) -> Outcome:
        watchers = [] if self._dead is None else [self._dead]
        later = OpenedLater(self._sink, self._open_files)
        sink = later if self._kept else Opened(self._sink)
        run = self._flow.open(sink=sink, observers=watchers, **self._options)
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with _nursery() as nursery:
                nursery.start_soon(self._listen, signals, nursery)
                error = await self._with_dead_letters(run, nursery)
                nursery.cancel_scope.cancel()
        source = self._source
        return Outcome(
            report=run.report,
            error=error,
            read=self._read or (source is not None and source.at_end),
            interrupted=self._interrupted,
            line=None if source is None or self._again else source.line,
            kept=self._kept,
            again=self._again,
        )

    async def _with_dead_letters(
        self, run: Run[Any, Any], nursery: trio.Nursery
    ) -> Exception | None:
        """The run and the file beside it; answers what went wrong first, if anything did."""
        if self._dead is None:
            return await self._work(run, nursery)
        if not self._kept and not await self._opened(self._dead.open):
            return None
        nursery.start_soon(self._dead.write_all)
        try:
            error = await self._work(run, nursery)
        finally:
            failed = await self._dead.aclose()
        return error or failed

    async def _work(self, run: Run[Any, Any], nursery: trio.Nursery) -> Exception | None:
        """Feed the run and wait for its end; answers why it failed, if it did."""
        if not self._kept and not await self._opened(self._sink.open):
            return None
        try:
            async with run:
                if run.report is not None:
                    self._again = self._read = True
                    return None
                self._run = run
                self._carry_out(nursery)
                await self._live(run)
        except _Asked:
            return None
        except Exception as error:
            if error is self._unopened:
                raise
            return _innermost(error)
        return self._failure

    async def _live(self, run: Run[Any, Any]) -> None:
        if self._ask is Ask.NOTHING and self._source is not None:
            await run.feed_from(self._source)
            # It returns at the end of the source, or because a signal came.
            self._read = self._ask is Ask.NOTHING or self._source.at_end
        elif self._source is None:
            self._read = self._read_on
        if self._read:
            await run.finish()
        elif self._ask is Ask.NOTHING:
            await run.drain(FOREVER)
        if self._ask is not Ask.NOTHING:
            await self._ended.wait()

    async def _open_files(self, **place: Any) -> None:
        """Open what a durable run writes, once it is ours and before it begins."""

        async def opening() -> None:
            await self._sink.open(**place)
            if self._dead is not None:
                url, run_id = self._options["store"], self._options["run_id"]
                letters = await trio.to_thread.run_sync(
                    stored_letters, url, run_id or self._flow.name
                )
                await self._dead.open(letters)

        try:
            if not await self._opened(opening):
                raise _Asked
        except OSError as error:
            self._unopened = error
            raise

    async def _opened(self, opening: Callable[[], Awaitable[None]]) -> bool:
        """Open a file; `False` if a signal comes meanwhile: a named pipe opens when it is read."""
        with trio.CancelScope() as self._opening:
            await opening()
        return not self._opening.cancelled_caught

    async def _listen(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> None:
        async for number in signals:
            self._ask = asked(self._ask, number)
            self._interrupted = self._interrupted or number == signal.SIGINT
            if self._ask is Ask.EXIT:
                exit_now(Code.INTERRUPTED if self._interrupted else Code.FAILED)
            if self._run is None:
                self._opening.cancel()
            else:
                self._carry_out(nursery)

    def _carry_out(self, nursery: trio.Nursery) -> None:
        """Begin what was asked for last; the run's own end is awaited in `_live`."""
        assert self._run is not None
        if self._ask is Ask.DRAIN:
            _tell(f"finishing what is held, for up to {DRAIN_SECONDS:g} s; again to stop")
            self._begin(nursery, lambda run: run.drain(DRAIN_SECONDS))
        elif self._ask is Ask.STOP:
            _tell("stopping; again to exit at once")
            self._begin(nursery, lambda run: run.stop())

    def _begin(
        self, nursery: trio.Nursery, ending: Callable[[Run[Any, Any]], Awaitable[Report]]
    ) -> None:
        self._endings += 1
        nursery.start_soon(self._end, ending)

    async def _end(self, ending: Callable[[Run[Any, Any]], Awaitable[Report]]) -> None:
        assert self._run is not None
        try:
            await ending(self._run)
        except Exception as error:  # Of several endings one is told what went wrong.
            self._failure = self._failure or _innermost(error)
        self._endings -= 1
        if not self._endings:
            self._ended.set()


class _Asked(Exception):
    """A signal came while a file of a durable run was opened."""


@contextlib.asynccontextmanager
async def _nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery that raises what its body raises, not a group of that."""
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:
            raised = error
            nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised


def _innermost(error: Exception) -> Exception:
    """What a group of one holds; groups of several stay as they are."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _tell(text: str) -> None:
    click.echo(f"actorflow: {text}", err=True)
