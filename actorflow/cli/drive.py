"""Run a flow to its end, whatever signals come, and say how it ended.

    signals ──► listen ──► run.drain() / run.stop() ──┐
    source ──► run.feed_from ──► run.finish() ────────┴──► Outcome ──► exit code
                     └── dead letters ──► their file

The one place that knows a live run; commands bring a flow, a source and a sink, and
show the outcome to people.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import attrs
import click
import trio

from actorflow.cli.dead import DeadLetterFile
from actorflow.cli.front import Code
from actorflow.cli.signals import DRAIN_SECONDS, SIGNALS, Ask, asked, exit_now
from actorflow.flows.pipeline import Pipeline
from actorflow.flows.results import Report
from actorflow.flows.run import Run

__all__ = ["Outcome", "drive"]


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        report: Its report; `None` if it never began.
        error: Why it could not go on.
        read: Whether the input was read to its end.
        line: Number of the last line read, if the input has lines.
        interrupted: Whether Ctrl-C ended it.
    """

    report: Report | None
    error: Exception | None
    read: bool
    interrupted: bool
    line: int | None = None

    @property
    def code(self) -> Code:
        """What to exit with; of several reasons the one that matters most."""
        if self.interrupted:
            return Code.INTERRUPTED
        if self.error is not None:
            return Code.FAILED
        if self.report is None or self.report.counts["held"] or not self.read:
            return Code.PARKED
        return Code.DEAD_LETTERS if self.report.counts["dead"] else Code.DONE


def drive(
    flow: Pipeline[Any, Any], source: Any, sink: Any, dead: str | None, **options: Any
) -> Outcome:
    """Run all of *source* through *flow*.

    Args:
        flow: The flow.
        source: Where the items come from.
        sink: Where the values go; opened here.
        dead: Name of the file for the dead letters, if there is to be one.
        options: For ``flow.open()``.

    Raises:
        ConfigurationError: An option is wrong; nothing has been opened.
        OSError: The sink or the file for the dead letters cannot be opened; nothing ran.
    """
    return trio.run(_Drive(flow, source, sink, dead, options).main)


class _Drive:
    def __init__(
        self,
        flow: Pipeline[Any, Any],
        source: Any,
        sink: Any,
        dead: str | None,
        options: dict[str, Any],
    ) -> None:
        self._flow = flow
        self._source = _Watched(source)
        self._sink = sink
        self._dead = None if dead is None else DeadLetterFile(dead)
        self._options = options
        self._run: Run[Any, Any] | None = None
        self._ask = Ask.NOTHING
        self._interrupted = False
        self._opening = trio.CancelScope()

    async def main(self) -> Outcome:
        watchers = [] if self._dead is None else [self._dead]
        run = self._flow.open(sink=_Opened(self._sink), observers=watchers, **self._options)
        with trio.open_signal_receiver(*SIGNALS) as signals:
            async with _nursery() as nursery:
                nursery.start_soon(self._listen, signals, nursery)
                error = await self._with_dead_letters(run, nursery)
                nursery.cancel_scope.cancel()
        return Outcome(
            report=run.report,
            error=error,
            read=self._source.at_end,
            interrupted=self._interrupted,
            line=self._source.line,
        )

    async def _with_dead_letters(
        self, run: Run[Any, Any], nursery: trio.Nursery
    ) -> Exception | None:
        """The run and the file beside it; answers what went wrong first, if anything did."""
        if self._dead is None:
            return await self._work(run, nursery)
        if not await self._opened(self._dead.open):
            return None
        nursery.start_soon(self._dead.write_all)
        try:
            error = await self._work(run, nursery)
        finally:
            failed = await self._dead.aclose()
        return error or failed

    async def _work(self, run: Run[Any, Any], nursery: trio.Nursery) -> Exception | None:
        """Feed the run and wait for its end; answers why it failed, if it did."""
        if not await self._opened(self._sink.open):
            return None
        try:
            async with run:
                self._run = run
                self._carry_out(nursery)
                if self._ask is Ask.NOTHING:
                    await run.feed_from(self._source)
                await run.finish()
        except Exception as error:
            return _innermost(error)
        return None

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
        """Begin what was asked for last; the run's own end is awaited in `_work`."""
        if self._ask is Ask.DRAIN:
            _tell(f"finishing what is held, for up to {DRAIN_SECONDS:g} s; again to stop")
            nursery.start_soon(self._drain)
        elif self._ask is Ask.STOP:
            _tell("stopping; again to exit at once")
            nursery.start_soon(self._stop)

    async def _drain(self) -> None:
        assert self._run is not None
        with contextlib.suppress(Exception):  # `finish` raises it too.
            await self._run.drain(DRAIN_SECONDS)

    async def _stop(self) -> None:
        assert self._run is not None
        with contextlib.suppress(Exception):
            await self._run.stop()


class _Watched:
    """A source, and whether all of it has been read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._pulled = 0
        self._ended = False
        self.name: str = source.name

    @property
    def line(self) -> int | None:
        """Number of the last line read, if there are lines."""
        line: int | None = getattr(self._source, "line", None)
        return line

    @property
    def at_end(self) -> bool:
        """Whether its end was seen, or is known to follow what was read."""
        known = getattr(self._source, "total", None)
        left = getattr(self._source, "left", None)
        return self._ended or self._pulled == known or left == 0

    async def pull(self, most: int) -> Sequence[Any]:
        entries: Sequence[Any] = await self._source.pull(most)
        self._ended = not entries
        self._pulled += len(entries)
        return entries

    async def aclose(self) -> None:
        await self._source.aclose()


class _Opened:
    """A sink that is open before its run begins."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink

    async def open(self) -> None:
        await trio.lowlevel.checkpoint()

    async def write(self, values: Sequence[Any]) -> None:
        await self._sink.write(values)

    async def aclose(self) -> None:
        await self._sink.aclose()


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
