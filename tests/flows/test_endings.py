"""However a run ends: no task is left, nothing accepted is forgotten, and its caller goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    CircuitBreaker,
    ConfigurationError,
    Fixed,
    NotRunningError,
    RestartsExhausted,
    Retry,
    Run,
    StageError,
    TooManyFailures,
    stage,
)
from tests.flows.flowing import (
    Boom,
    Gate,
    counted,
    counts_add_up,
    double,
    increment,
    nothing_left,
    outcomes,
    pipeline,
)


class Memory:
    """A sink that keeps what it is given, as slowly and as badly as it is told."""

    def __init__(self, *, seconds: float = 0.0, fails: str = "") -> None:
        self.values: list[Any] = []
        self.closed = 0
        self._seconds = seconds
        self._fails = fails

    async def open(self) -> None:
        self._maybe_fail("open")

    async def write(self, values: Sequence[Any]) -> None:
        for value in values:
            await trio.sleep(self._seconds)
            self._maybe_fail("write")
            self.values.append(value)

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()
        self._maybe_fail("aclose")

    def _maybe_fail(self, what: str) -> None:
        if self._fails == what:
            raise OSError(what)


async def hang(value: int) -> int:
    await trio.sleep_forever()
    raise AssertionError


# The block ----------------------------------------------------------------------------

ENDINGS = ["normal", "finish", "drain", "stop", "cancel", "cancelled", "raised", "twice"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("busy", [False, True])
async def test_the_block_of_open_leaves_no_task(
    ending: str, busy: bool, autojump_clock: MockClock
) -> None:
    sink = Memory()
    gate = Gate()
    flow = pipeline([double, stage(gate, workers=2)])
    async with nothing_left():
        with trio.CancelScope() as scope, raising(Boom if ending == "raised" else None):
            async with flow.open(sink=sink) as run:
                await run.feed(range(5))
                await wait_all_tasks_blocked()
                if not busy or ending in ("normal", "finish", "twice"):
                    gate.open()
                if ending == "cancelled":
                    scope.cancel()
                await end(run, ending)

    assert run.report is not None
    assert run.report.counts["fed"] == 5
    assert len(sink.values) == run.report.counts["done"]
    assert sink.closed == 1


def raising(wanted: type[Exception] | None) -> Any:
    return contextlib.nullcontext() if wanted is None else pytest.raises(wanted)


async def end(run: Run[Any, Any], ending: str) -> None:
    match ending:
        case "finish" | "stop":
            await getattr(run, ending)()
        case "drain":
            await run.drain(5)
        case "cancel":
            run.cancel()
        case "twice":
            assert await run.finish() is await run.finish() is await run.stop()
        case "raised":
            raise Boom


@pytest.mark.parametrize("ending", ["to the end", "early", "raised", "cancelled"])
async def test_the_block_of_stream_leaves_no_task(ending: str) -> None:
    closed: list[bool] = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    async with nothing_left():
        with trio.CancelScope() as scope, raising(Boom if ending == "raised" else None):
            async with pipeline([double, increment]).stream(numbers()) as results:
                async for result in results:
                    if ending != "to the end" and result.number == 10:
                        if ending == "cancelled":
                            scope.cancel()
                        if ending == "raised":
                            raise Boom
                        break

    assert closed == [True]


async def test_an_exception_in_the_body_comes_out_as_it_is() -> None:
    error = Boom("mine")

    async def in_open() -> None:
        async with pipeline([double]).open() as run:
            await run.feed([1])
            raise error

    async def in_stream() -> None:
        async with pipeline([double]).stream([1]):
            raise error

    for body in (in_open, in_stream):
        with pytest.raises(Boom) as caught:
            await body()
        assert caught.value is error


@pytest.mark.parametrize("moment", ["at once", "while it starts"])
async def test_a_run_that_is_cancelled_before_it_began_leaves_nothing(moment: str) -> None:
    async with nothing_left():
        sink = Memory()
        with trio.CancelScope() as scope:
            if moment == "at once":
                scope.cancel()
            async with trio.open_nursery() as nursery:
                if moment != "at once":
                    nursery.start_soon(_cancel_soon, scope)
                async with pipeline([stage(double, workers=50)]).open(sink=sink):
                    await trio.sleep_forever()

    assert scope.cancelled_caught


async def _cancel_soon(scope: trio.CancelScope) -> None:
    await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_cancelled_finish_ends_the_run_and_keeps_what_is_held_counted() -> None:
    async with nothing_left():
        with trio.move_on_after(0.01) as scope:
            async with pipeline([hang]).open() as run:
                await run.feed(range(3))
                await run.finish()

    assert scope.cancelled_caught
    assert run.report is not None
    assert run.report.counts == counted(fed=3, held=3)


async def rests(value: int) -> int:
    await trio.sleep(1)
    return value


@pytest.mark.parametrize(
    ("verbs", "after", "done"),
    [
        (["finish"], [], 5),
        (["drain"], [], 3),  # Its 3.2 seconds count from its call.
        (["drain", "finish"], [], 3),
        (["finish", "drain"], [], 3),
        (["finish"], ["stop"], 0),
        (["finish"], ["cancel"], 0),
    ],
)
async def test_leaving_the_block_waits_for_an_ending_whose_caller_was_cancelled(
    verbs: list[str], after: list[str], done: int, autojump_clock: MockClock
) -> None:
    async with pipeline([rests]).open() as run:
        await run.feed(range(5))
        for verb in verbs:
            with trio.move_on_after(0.5) as scope:
                await (run.drain(3.2) if verb == "drain" else run.finish())
            assert scope.cancelled_caught
        for verb in after:
            await end(run, verb)

    assert run.report is not None
    assert run.report.counts == counted(fed=5, done=done, held=5 - done)


async def test_a_finish_that_was_cancelled_and_called_again_is_one(
    autojump_clock: MockClock,
) -> None:
    sink = Memory()
    async with pipeline([rests]).open(sink=sink) as run:
        await run.feed(range(3))
        with trio.move_on_after(0.5):
            await run.finish()
        with pytest.raises(NotRunningError):
            await run.feed([1])
        report = await run.finish()

    assert report.counts == counted(fed=3, done=3)
    assert sink.values == [0, 1, 2]


async def test_stop_and_cancel_do_not_cancel_their_caller() -> None:
    async with pipeline([hang]).open() as run:
        await run.feed([1])
        await run.stop()
        await trio.lowlevel.checkpoint()
    async with pipeline([hang]).open() as run:
        await run.feed([1])
        run.cancel()
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()


# finish, drain, stop ------------------------------------------------------------------


async def test_finish_waits_for_all_that_is_held(autojump_clock: MockClock) -> None:
    async def slow(value: int) -> int:
        await trio.sleep(1000)
        return value

    async with pipeline([slow]).open() as run:
        await run.feed(range(3))
        report = await run.finish()

    assert report.counts == counted(fed=3, done=3)
    assert report.duration == 3000


async def test_a_drain_in_time_finishes_all_and_returns_at_once(
    autojump_clock: MockClock,
) -> None:
    async def slow(value: int) -> int:
        await trio.sleep(2)
        return value

    async with pipeline([slow]).open() as run:
        await run.feed(range(3))
        report = await run.drain(60)

    assert report.counts == counted(fed=3, done=3)
    assert report.duration == 6


async def test_a_drain_returns_by_its_deadline_and_counts_what_is_left(
    autojump_clock: MockClock,
) -> None:
    async def some_hang(value: int) -> int:
        await trio.sleep(1 if value % 2 else 10_000)
        return value

    values: list[int] = []
    flow = pipeline([stage(some_hang, workers=4)])
    async with flow.open(sink=values.append) as run:
        await run.feed(range(8))
        began = trio.current_time()
        report = await run.drain(5)

        assert trio.current_time() - began == 5
        assert counts_add_up(run)
    assert report.counts["held"] == 8 - report.counts["done"] > 0
    assert len(values) == report.counts["done"]


async def test_an_open_breaker_does_not_hold_a_drain_up(autojump_clock: MockClock) -> None:
    async def down(value: int) -> int:
        raise Boom

    flow = pipeline([stage(down, policies=[CircuitBreaker(2, recovery_timeout=3600)])])
    async with flow.open() as run:
        await run.feed(range(5))
        await wait_all_tasks_blocked()
        assert run.stats().counts == counted(fed=5, dead=2, held=3)
        report = await run.drain(60)

    assert report.counts == counted(fed=5, dead=5)
    assert {letter.reason for letter in report.dead} == {"failed", "rejected"}
    assert report.duration < 60


async def test_stop_gives_attempts_back_and_keeps_everything_held() -> None:
    async with pipeline([stage(hang, workers=2)]).open() as run:
        await run.feed(range(5))
        await wait_all_tasks_blocked()
        report = await run.stop()

    assert report.counts == counted(fed=5, held=5)
    assert report.dead == ()


async def test_a_run_that_has_ended_takes_no_verb_that_needs_it() -> None:
    async with pipeline([double]).open() as run:
        await run.stop()
        with pytest.raises(NotRunningError):
            await run.feed([1])
        with pytest.raises(NotRunningError):
            run.results()
        assert run.stats().counts == counted()


async def test_a_handler_that_swallows_its_cancellation_holds_no_ending_up(
    autojump_clock: MockClock,
) -> None:
    async def stubborn(value: int) -> int:
        while True:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                continue

    async with nothing_left(), pipeline([stubborn]).open() as run:
        await run.feed([1])
        await wait_all_tasks_blocked()
        report = await run.stop()

    assert report.counts == counted(fed=1, held=1)


async def test_a_stuck_thread_holds_no_ending_up() -> None:
    release = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def stuck(value: int) -> int:
        while not release.is_set():
            time.sleep(0.01)
        return value

    async with pipeline([stuck]).open() as run:
        await run.feed([1])
        await wait_all_tasks_blocked()
        began = time.monotonic()
        report = await run.drain(0.1)

    assert time.monotonic() - began < 2
    assert report.counts == counted(fed=1, held=1)
    del token
    release.set()


# Sources and sinks --------------------------------------------------------------------


def breaking() -> Iterator[int]:
    yield 1
    yield 2
    raise OSError("disk")


async def breaking_late() -> AsyncIterator[int]:
    yield 1
    await wait_all_tasks_blocked()
    raise OSError("disk")


@pytest.mark.parametrize("source", [breaking, breaking_late])
async def test_what_a_source_raises_comes_out_of_run_and_map(source: Any) -> None:
    async with nothing_left():
        with pytest.raises(OSError, match="disk"):
            await pipeline([double]).run(source())
        with pytest.raises(OSError, match="disk"):
            await pipeline([double]).map(source())


async def test_what_a_source_raises_comes_out_of_a_stream_after_the_results_before_it() -> None:
    async with pipeline([double]).stream(breaking_late()) as results:
        assert (await anext(results)).value == 2
        with pytest.raises(OSError, match="disk"):
            await anext(results)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_even_a_source_that_ends_programs_ends_a_stream_in_order(error: Any) -> None:
    def exiting() -> Iterator[int]:
        yield 1
        raise error

    async with nothing_left():
        with pytest.raises(type(error)):
            await outcomes(pipeline([double]), exiting())


@pytest.mark.parametrize("when", ["write", "aclose"])
async def test_what_a_sink_raises_comes_out_of_the_run(when: str) -> None:
    sink = Memory(fails=when)
    async with nothing_left():
        with pytest.raises(OSError, match=when):
            await pipeline([double]).run(range(100), sink=sink)

    assert sink.closed == 1


async def test_a_sink_that_cannot_open_starts_nothing() -> None:
    async with nothing_left():
        with pytest.raises(OSError, match="open"):
            await pipeline([double]).run([1], sink=Memory(fails="open"))


async def test_a_failing_close_hides_no_error_of_the_body() -> None:
    with pytest.raises(Boom):
        async with pipeline([double]).open(sink=Memory(fails="aclose")):
            raise Boom


async def test_feeding_a_run_whose_sink_has_failed_raises_that() -> None:
    async with pipeline([double]).open(sink=Memory(fails="write")) as run:
        with pytest.raises(OSError, match="write"):
            await run.feed(iter(range(100_000)))
        with pytest.raises(NotRunningError) as caught:
            await run.feed([1])
        with pytest.raises(OSError, match="write"):
            await run.finish()

    assert type(caught.value.__cause__) is OSError


async def test_finish_waits_for_a_sink_however_slow(autojump_clock: MockClock) -> None:
    sink = Memory(seconds=60)

    report = await pipeline([double]).run(range(50), sink=sink)

    assert report.counts == counted(fed=50, done=50)
    assert sink.values == list(range(0, 100, 2))


@pytest.mark.parametrize("ending", ["stop", "cancel", "raised", "cancelled", "halted"])
async def test_what_is_done_is_written_also_when_the_run_is_cut_short(
    ending: str, autojump_clock: MockClock
) -> None:
    sink = Memory(seconds=0.01)

    async def some(value: int) -> int:
        if value == 50:
            if ending == "halted":
                raise Boom
            await trio.sleep_forever()
        return value

    flow = pipeline([stage(some, on_failure="halt")])
    with (
        trio.CancelScope() as scope,
        raising({"raised": Boom, "halted": StageError}.get(ending)),
    ):
        async with flow.open(sink=sink) as run:
            await run.feed(range(60))
            await trio.sleep(0.05)
            if ending == "cancelled":
                scope.cancel()
            await end(run, ending)

    assert run.report is not None
    assert run.report.counts["done"] == 50
    assert sink.values == list(range(50))


async def test_a_sink_that_never_ends_holds_a_stop_up_for_a_few_seconds_only(
    autojump_clock: MockClock,
) -> None:
    async with pipeline([double]).open(sink=Memory(seconds=10_000)) as run:
        await run.feed([1])
        await trio.sleep(1)
        await run.stop()

    assert autojump_clock.current_time() - run._started <= 10


async def test_a_stream_that_is_taken_to_its_end_writes_all_to_its_sink(
    autojump_clock: MockClock,
) -> None:
    sink = Memory(seconds=60)

    async with pipeline([double]).stream(range(20), sink=sink) as results:
        async for _ in results:
            pass

    assert len(sink.values) == 20


# Failures that end a run --------------------------------------------------------------


async def refuse(value: int) -> int:
    raise Boom(value)


async def test_more_dead_letters_than_may_be_kept_end_the_run() -> None:
    async with nothing_left():
        with pytest.raises(TooManyFailures) as caught:
            async with pipeline([refuse], name="f").open(max_dead=10) as run:
                await run.feed(iter(range(100_000)))

    assert caught.value.limit == 10
    assert str(caught.value).startswith("/f: more than 10 dead letters; mend the cause or raise")
    assert run.report is not None
    assert len(run.report.dead) == 10
    assert run.report.counts["dead"] == 11


async def test_max_dead_0_is_failing_at_the_first() -> None:
    with pytest.raises(TooManyFailures):
        await pipeline([refuse]).run([1], max_dead=0)


async def test_exactly_as_many_dead_letters_as_may_be_kept_are_fine() -> None:
    report = await pipeline([refuse]).run(range(5), max_dead=5)

    assert report.counts == counted(fed=5, dead=5)


@pytest.mark.parametrize("where", ["stage", "flow", "run"])
async def test_on_failure_halt_ends_the_run_and_holds_what_was_not_processed(where: str) -> None:
    own = "halt" if where == "stage" else None
    whole = "halt" if where == "flow" else None
    option: dict[str, Any] = {"on_failure": "halt"} if where == "run" else {}

    async def second_fails(value: int) -> int:
        await trio.lowlevel.checkpoint()
        if value == 1:
            raise Boom("second")
        return value

    flow = pipeline([stage(second_fails, name="check", on_failure=own)], on_failure=whole)  # type: ignore[arg-type]

    async with flow.open(**option) as run:
        await run.feed(range(10))
        with pytest.raises(StageError) as caught:
            await run.finish()

    assert (caught.value.stage, caught.value.item_id, caught.value.attempts) == ("check", 1, 1)
    assert repr(caught.value.__cause__) == "Boom('second')"
    assert run.report is not None
    assert run.report.counts == counted(fed=10, done=1, dead=1, held=8)
    assert [letter.body for letter in run.report.dead] == [1]


async def test_halt_waits_until_the_retries_are_used_up() -> None:
    tries: list[int] = []

    async def fail(value: int) -> int:
        tries.append(value)
        raise Boom

    again = [Retry(3, backoff=Fixed(0))]
    with pytest.raises(StageError):
        await pipeline([stage(fail, policies=again, on_failure="halt")]).run([1])

    assert tries == [1, 1, 1]


async def test_on_failure_is_called_with_each_dead_letter() -> None:
    heard: list[tuple[str, Any]] = []

    flow = pipeline(
        [
            stage(increment, on_failure=lambda letter: heard.append(("first", letter.body))),
            stage(refuse, on_failure=lambda letter: heard.append(("second", letter.body))),
        ],
        on_failure=lambda letter: heard.append(("flow", letter.body)),
    )
    report = await flow.run([1, "two"])

    assert heard == [("first", "two"), ("second", 2)]
    assert report.counts == counted(fed=2, dead=2)


@pytest.mark.parametrize("error", [OSError, SystemExit])
async def test_a_failing_on_failure_changes_nothing_and_is_logged(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def bad(letter: object) -> None:
        raise error("no phone")

    report = await pipeline([stage(refuse, on_failure=bad)]).run([1, 2])

    assert report.counts == counted(fed=2, dead=2)
    assert caplog.text.count(f"on_failure: {error.__name__}('no phone')") == 2


async def test_a_halted_stream_raises_why_after_the_results_before_it() -> None:
    async with pipeline([refuse], on_failure="halt").stream([1, 2, 3]) as results:
        assert (await anext(results)).number == 0
        with pytest.raises(StageError, match="item 0"):
            await anext(results)


async def test_a_source_that_is_none_opens_no_sink() -> None:
    sink = Memory()

    with pytest.raises(ConfigurationError):
        await pipeline([double]).run("text", sink=sink)

    assert sink.closed == 0


async def test_a_stage_whose_workers_crash_outside_of_turns_fails_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from actorflow.stages import build

    begun = 0
    real = build.WorkerBehaviour.begin

    def begin(self: Any, cell: Any) -> None:
        nonlocal begun
        begun += 1
        if begun > 1:
            raise OSError("cannot start again")
        real(self, cell)

    monkeypatch.setattr(build.WorkerBehaviour, "begin", begin)

    async def crash(value: int) -> int:
        raise SystemExit

    async with nothing_left(), pipeline([stage(crash, name="c")], name="f").open() as run:
        await run.feed(range(3))
        with pytest.raises(RestartsExhausted) as caught:
            await run.finish()

    assert caught.value.path == "/f/c"
    assert begun == 5
    assert run.report is not None
    assert run.report.counts == counted(fed=3, dead=1, held=2)


# The report of a run that an error has ended ------------------------------------------------------


def source_that_fails() -> Iterator[int]:
    yield 1
    yield 2
    raise Boom("source")


def sink_that_fails(value: int) -> None:
    if value == 4:
        raise Boom("sink")


class SinkThatStaysOpen(Memory):
    async def aclose(self) -> None:
        raise Boom("close")


@pytest.mark.parametrize(
    ("verb", "items", "options"),
    [
        ("run", source_that_fails, {}),
        ("run", lambda: [1, 2], {"sink": sink_that_fails}),
        ("run", lambda: [1, 2], {"sink": SinkThatStaysOpen()}),
        ("map", source_that_fails, {}),
        ("map", lambda: [1, 2], {"sink": sink_that_fails}),
    ],
)
async def test_what_a_source_or_sink_raises_has_the_report(
    verb: str, items: Any, options: Any
) -> None:
    with pytest.raises(Boom) as caught:
        await getattr(pipeline([double]), verb)(items(), **options)

    report: Any = caught.value.report  # type: ignore[attr-defined]
    assert report.counts["fed"] == 2


async def test_the_group_that_map_raises_has_the_report() -> None:
    async def fails(value: int) -> int:
        raise Boom

    with pytest.raises(ExceptionGroup) as caught:
        await pipeline([fails]).map([1, 2])

    report: Any = caught.value.report  # type: ignore[attr-defined]
    assert report.counts == counted(fed=2, dead=2)


async def test_what_the_body_raises_is_left_as_it_is() -> None:
    boom = Boom()

    async def body() -> None:
        async with pipeline([double]).open() as run:
            await run.feed([1])
            raise boom

    with pytest.raises(Boom):
        await body()

    assert not hasattr(boom, "report")
