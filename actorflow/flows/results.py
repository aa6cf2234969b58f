"""What a run hands out: one result per output, one per failed or skipped item; a report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Literal, NoReturn, TypeVar, cast

import attrs

from actorflow.core.letters import DeadLetter
from actorflow.errors import StageError, shown

__all__ = [
    "Chunk",
    "ErrorCount",
    "ErrorSummary",
    "FailedItem",
    "ItemResult",
    "ItemState",
    "Latency",
    "Report",
    "RunStats",
    "StageStats",
    "WorkerState",
    "with_report",
]

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")
V = TypeVar("V")

#: Most characters of an error that the words of an `ErrorSummary` have.
LINE_WIDTH = 200


@attrs.frozen
class Chunk:
    """One yield of a generator in a flow of contexts, handed out while it runs.

    Attributes:
        stage: Name of the stage.
        item: Id of the item.
        value: What it yielded.
    """

    stage: str
    item: Any
    value: Any


@attrs.frozen(kw_only=True)
class ItemResult(Generic[T]):
    """One output of an item, or the way the item ended without one.

    Attributes:
        id: Id of the fed item: its number from 0, or what `ids=` said.
        value: The output; `None` unless `ok`.
        error: What the handler raised in the last attempt, or `None`.
        attempts: Leases in the stage where it ended.
        stage: Name of that stage.
        status: "done", "failed" or "skipped".
        metadata: Facts that travelled with the item.
        timings: Seconds by name; ``total`` is from feeding to this result.
        traceback: The error's traceback as text.
        number: Place in the order of feeding.
    """

    id: Any
    value: T = attrs.field(default=cast(Any, None))
    error: BaseException | None = None
    attempts: int = 0
    stage: str = ""
    status: Literal["done", "failed", "skipped"] = "done"
    metadata: Mapping[str, Any] = attrs.Factory(dict)
    timings: Mapping[str, float] = attrs.Factory(dict)
    traceback: str = ""
    number: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.status == "done"

    def stage_error(self) -> StageError:
        """How a failed item is told to whoever called for it; the handler's error is the cause."""
        detail = "given up" if self.error is None else shown(self.error)
        error = StageError(self.stage, self.id, self.attempts, detail)
        error.__cause__ = self.error
        return error


class Figures(dict[str, V]):
    """A mapping that cannot be changed; all else is a dict's."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a snapshot of a run cannot be changed; copy it by dict(...)")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = _refuse
    update = __ior__ = _refuse

    def __reduce__(self) -> tuple[type[Figures[V]], tuple[dict[str, V]]]:
        return Figures, (dict(self),)


def _figures() -> Any:
    return attrs.field(converter=Figures)


@attrs.frozen(kw_only=True)
class Latency:
    """Seconds in the handler; the time in queues is apart.

    Turns that wait for something are all timed; of others one in up to 64 of a worker, which
    stands for all of them. Percentiles are within 1.1 %, and of the last part of a run;
    `None` in a report that an earlier release has stored.

    Attributes:
        mean: Of all turns.
        max: The longest that was timed.
        p50: What half of the turns do not exceed.
        p95: What 95 % do not.
        p99: What 99 % do not.
    """

    mean: float = 0.0
    max: float = 0.0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@attrs.frozen(kw_only=True)
class StageStats:
    """One stage at one moment; all but `pending`, `running` and `workers` count since the start."""

    received: int
    emitted: int
    failed: int
    skipped: int
    retried: int
    pending: int
    running: int
    workers: int
    latency: Latency


@attrs.frozen(kw_only=True)
class WorkerState:
    """One worker at one moment. Times are on trio's clock, ``trio.current_time()``.

    Attributes:
        name: Path of the worker.
        state: "idle", "busy", "stuck" (a thread runs on after its time) or "down".
        item: Id of the item it works on, as text, or `None`.
        message_id: Id of the message, which says which piece of the item it is, or `None`.
        incarnation: Which one; the first is 1.
        stage: Name of its stage.
        attempt: Which attempt of the message it is; 0 if it has none.
        since: Since when it works on it, or has nothing to do; `None` if it never had.
        status: What the turn says of itself, by `ctx.status`.
        progress: How far it says to be, by `ctx.progress`: done and total; or `None`.
        done: Turns that ended well.
        failed: Turns that failed, also those whose message was tried again.
        busy: Seconds in all its turns that have ended; estimated for those that never wait.
        mean: Seconds of a turn.
        last_active: When it last began or ended a turn; `None` if it never did.
    """

    name: str
    state: str
    item: str | None
    incarnation: int
    message_id: str | None = None
    stage: str = ""
    attempt: int = 0
    since: float | None = None
    status: str = ""
    progress: tuple[float, float | None] | None = None
    done: int = 0
    failed: int = 0
    busy: float = 0.0
    mean: float = 0.0
    last_active: float | None = None


@attrs.frozen(kw_only=True)
class ItemState:
    """Where one item is, or one piece of it; or how it ended, if a `History` knows.

    Attributes:
        id: Id of the fed item: its number, or what ``ids=`` said.
        message_id: Of the message: that of the item, or of a piece such as ``"17.0"``.
        status: "waiting", "running" or "retrying" (it has failed, and waits or is back in the
            queue); of an ended item "done", "skipped" or "failed".
        stage: Name of the stage, the last one of an ended item.
        attempt: Attempts begun in this stage.
        worker: Path of the worker that works on it, or "".
        fed: When the item was fed, on trio's clock.
    """

    id: Any
    message_id: str
    status: str
    stage: str
    attempt: int
    worker: str = ""
    fed: float = 0.0


@attrs.frozen(kw_only=True)
class ErrorCount:
    """How often an error of one type ended a message in one stage, with one example."""

    stage: str
    type: str
    count: int
    example: str


@attrs.frozen(kw_only=True)
class FailedItem:
    """A dead letter in a few words.

    Attributes:
        id: Id of the fed item: its number, or what ``ids=`` said.
        stage: Name of the stage where it died.
        type: Type of the error; the reason, if nothing was raised.
        error: Its text, the first 500 characters.
        reason: Why it became a dead letter, one of `REASONS`.
        attempts: Attempts it had there.
        at: When, in seconds since the epoch.
        replays: How often it came back from the dead letters before.
    """

    id: Any
    stage: str
    type: str
    error: str
    reason: str
    attempts: int
    at: float
    replays: int = 0


@attrs.frozen(kw_only=True)
class ErrorSummary:
    """What has failed in a run: a frozen copy. As a sequence it is its `counts`.

    Attributes:
        total: Dead letters in all.
        by_type: How many by type of error, most frequent first.
        by_stage: How many by stage, most frequent first.
        counts: By stage and type with an example, the first 100 kinds.
        failed: The last of them, oldest first.
    """

    total: int
    by_type: Mapping[str, int] = _figures()
    by_stage: Mapping[str, int] = _figures()
    counts: tuple[ErrorCount, ...]
    failed: tuple[FailedItem, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[ErrorCount]:
        return iter(self.counts)

    def __getitem__(self, index: int) -> ErrorCount:
        return self.counts[index]

    def __str__(self) -> str:
        if not self.total:
            return "nothing has failed"
        lines = [f"{self.total:,} failed", f"  by type   {_listed(self.by_type)}"]
        lines.append(f"  by stage  {_listed(self.by_stage)}")
        for each in self.counts:
            words = f"{each.stage}: {each.type}: {_one_line(each.example)}"
            lines += [f"  {each.count:,} x {words}"]
        for item in self.failed:
            tries = "1 attempt" if item.attempts == 1 else f"{item.attempts:,} attempts"
            words = (
                item.type if item.type == item.error else f"{item.type}: {_one_line(item.error)}"
            )
            lines += [f"  item {item.id!r} in {item.stage} after {tries}: {words}"]
        return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _one_line(text: str) -> str:
    """The beginning of *text*, with nothing in it that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:LINE_WIDTH])


@attrs.frozen(kw_only=True)
class RunStats:
    """A run at one moment: a frozen copy that nothing changes any more.

    Attributes:
        run_id: Id of the run.
        counts: fed, done, skipped, dead, held.
        stages: By name.
        elapsed: Seconds since the start; of a durable run those of its earlier parts too.
        total: Items there will be, if that is known.
        errors: By stage and type, the first 100.
        restarts: Workers restarted.
        observer_failures: How often an observer or a display has failed.
        hook_failures: How often a hook has failed.
        workers: Every worker.
        items: For a display that has asked: the last items of a `History`, or else items that
            are inside.
        now: The time on trio's clock.
    """

    run_id: str = ""
    counts: Mapping[str, int] = _figures()
    stages: Mapping[str, StageStats] = _figures()
    elapsed: float
    total: int | None
    errors: tuple[ErrorCount, ...]
    restarts: int
    observer_failures: int = 0
    hook_failures: int = 0
    workers: tuple[WorkerState, ...] = ()
    items: tuple[ItemState, ...] = ()
    now: float = 0.0


@attrs.frozen(kw_only=True)
class Held:
    """A message that was inside when a run ended before it was done.

    Attributes:
        item: Id of the fed item: its number, or what ``ids=`` said.
        message_id: Of the message: that of the item, or of a piece such as ``"17.0"``.
        stage: Name of the stage that it waited for or was in.
        value: What that stage was to get.
        attempts: How often it had been tried there.
        priority: Its priority.
        metadata: What was attached to it.
        whence: All else that `run.refeed` needs.
    """

    item: Any
    message_id: str
    stage: str
    value: Any
    attempts: int
    priority: int
    metadata: Mapping[str, Any] = _figures()
    whence: Any = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Report:
    """How a run ended.

    Attributes:
        run_id: Id of the run.
        counts: fed, done, skipped, dead, held; ``fed = done + skipped + dead + held``.
        duration: Seconds that it was open, in all its parts.
        stages: By name.
        errors: By stage and type, the first 100.
        dead: The dead letters, at most `max_dead`.
        left: What was inside at the end, of a run that was halted, stopped or drained too early,
            for `run.refeed`; of one with a store nothing, as it goes on from there by its id.
        restarts: Workers restarted.
        observer_failures: How often an observer or a display has failed.
        hook_failures: How often a hook has failed.
    """

    run_id: str
    counts: Mapping[str, int] = _figures()
    duration: float
    stages: Mapping[str, StageStats] = _figures()
    errors: tuple[ErrorCount, ...]
    dead: tuple[DeadLetter, ...]
    restarts: int = 0
    observer_failures: int = 0
    hook_failures: int = 0
    left: tuple[Held, ...] = ()


def with_report(error: E, report: Report | None) -> E:
    """*error*, which has ended a run, with *report*: for who has called a verb that gives that only
    if there is no error."""
    if report is not None:
        with contextlib.suppress(AttributeError, TypeError):  # A class of others may take nothing.
            error.report = report  # type: ignore[attr-defined]
    return error
