"""Looking at a live run and changing it: nothing is lost, and who looks can do no harm."""

from __future__ import annotations

import random
import threading
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    CompilationError,
    ConfigurationError,
    Fixed,
    RateLimit,
    Retry,
    Run,
    RunStats,
    Timeout,
    Turn,
    stage,
)
from actorflow.core.events import ActorEnded, ActorStarted, AttemptFailed, MessageDied
from tests.flows.flowing import (
    Boom,
    Gate,
    counted,
    counts_add_up,
    double,
    increment,
    pipeline,
)


async def second(value: int) -> int:
    await trio.sleep(1)
    return value


# Pausing ------------------------------------------------------------------------------


async def test_a_paused_stage_begins_no_turn_and_ends_the_ones_it_has() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=2)]).open() as run:
        results = run.results()
        await run.feed(range(5))
        await wait_all_tasks_blocked()
        await run.pause("Gate")
        gate.open()
        found = {(await anext(results)).number for _ in range(2)}
        await wait_all_tasks_blocked()
        assert run.stats().counts == counted(fed=5, done=2, held=3)
        await run.resume("Gate")
        found |= {(await anext(results)).number for _ in range(3)}

    assert found == set(range(5))


async def test_a_resumed_stage_works_with_all_its_workers() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=4)]).open() as run:
        await run.pause("Gate")
        await run.feed(range(10))
        await wait_all_tasks_blocked()
        assert gate.inside == []
        await run.resume("Gate")
        await wait_all_tasks_blocked()
        assert len(gate.inside) == 4
        gate.open()


@pytest.mark.parametrize("capacity", [0, 1, 3])
async def test_a_paused_stage_fills_up_to_its_capacity_and_no_further(capacity: int) -> None:
    async with pipeline([stage(double, capacity=capacity, workers=2)]).open() as run:
        await run.pause("double")
        run.start_feeding(range(50))
        await wait_all_tasks_blocked()
        waiting = run.stats().stages["double"].pending
        assert waiting == (capacity or 2)
        await run.resume("double")
        await run.over.wait()

    assert run.report is not None
    assert run.report.counts == counted(fed=50, done=50)


# Resizing -----------------------------------------------------------------------------


async def test_more_workers_work_at_once() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=1)]).open() as run:
        await run.feed(range(5))
        await run.resize("Gate", 4)
        await wait_all_tasks_blocked()
        assert (len(gate.inside), run.stats().stages["Gate"].workers) == (4, 4)
        gate.open()


async def test_surplus_workers_end_after_their_turn_however_long(
    autojump_clock: MockClock,
) -> None:
    begun: list[int] = []

    async def slow(value: int) -> int:
        begun.append(value)
        await trio.sleep(600)
        return value

    async with pipeline([stage(slow, workers=4)]).open() as run:
        await run.feed(range(6))
        await trio.sleep(1)
        await run.resize("slow", 1)
        await trio.sleep(300)
        assert (begun, len(run.workers())) == ([0, 1, 2, 3], 4)
        await trio.sleep(301)
        assert (len(begun), len(run.workers())) == (5, 1)
        report = await run.finish()

    assert report.counts == counted(fed=6, done=6)
    assert sorted(begun) == list(range(6))


async def test_resizing_down_and_up_again_at_once_leaves_the_right_number() -> None:
    gate = Gate()
    async with pipeline([stage(gate, workers=3)]).open() as run:
        await run.feed(range(20))
        await wait_all_tasks_blocked()
        for workers in (1, 3, 2, 5, 1, 4):
            await run.resize("Gate", workers)
        await wait_all_tasks_blocked()
        gate.open()
        await wait_all_tasks_blocked()
        assert len(run.workers()) == 4
        report = await run.finish()

    assert report.counts == counted(fed=20, done=20)


async def test_a_run_that_ends_while_a_surplus_worker_hangs_ends() -> None:
    async def hang(value: int) -> int:
        await trio.sleep_forever()
        return value

    async with pipeline([stage(hang, workers=2)]).open() as run:
        await run.feed(range(2))
        await wait_all_tasks_blocked()
        await run.resize("hang", 1)
        await run.resize("hang", 2)
        report = await run.stop()

    assert report.counts == counted(fed=2, held=2)


async def test_a_thread_of_a_surplus_worker_is_waited_for_and_not_doubled() -> None:
    begun: list[int] = []
    release = threading.Event()

    def slow(value: int) -> int:
        begun.append(value)
        release.wait(20)
        return value

    async with pipeline([stage(slow, workers=2)]).open() as run:
        await run.feed(range(2))
        await wait_all_tasks_blocked()
        await run.resize("slow", 1)
        await wait_all_tasks_blocked()
        release.set()
        report = await run.finish()

    assert sorted(begun) == [0, 1]
    assert report.counts == counted(fed=2, done=2)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "3"])
async def test_a_number_of_workers_that_is_none_is_refused(workers: Any) -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError, match=r"stage 'double'\.workers must be"):
            await run.resize("double", workers)


# Policies -----------------------------------------------------------------------------


async def test_a_new_policy_holds_from_then_on(autojump_clock: MockClock) -> None:
    tries: list[int] = []

    async def fail(value: int, ctx: Turn) -> int:
        tries.append(ctx.attempt)
        raise Boom

    flow = pipeline([stage(fail, policies=[Retry(2, backoff=Fixed(10)), RateLimit(1000)])])
    async with flow.open() as run:
        await run.feed([1])
        await trio.sleep(1)
        await run.set_policy("fail", Retry(4, backoff=Fixed(1)))
        await run.finish()

    assert tries == [1, 2, 3, 4]


async def test_a_faster_rate_holds_at_once(autojump_clock: MockClock) -> None:
    async with pipeline(
        [stage(double, workers=3, policies=[RateLimit(1, per=1000)])]
    ).open() as run:
        await run.feed(range(10))
        await trio.sleep(1)
        assert run.stats().counts["done"] == 1
        await run.set_policy("double", RateLimit(1, per=1))
        began = trio.current_time()
        await run.finish()

        assert trio.current_time() - began <= 11


async def test_a_policy_of_a_kind_the_stage_has_not_is_refused() -> None:
    async with pipeline([double]).open() as run:
        with pytest.raises(ConfigurationError, match="Timeout is there 0 times"):
            await run.set_policy("double", Timeout(5))


@pytest.mark.parametrize("verb", ["pause", "resume", "resize", "set_policy"])
async def test_a_stage_that_is_not_there_is_told(verb: str) -> None:
    async with pipeline([double]).open() as run:
        given = {"resize": (3,), "set_policy": (Retry(),)}.get(verb, ())
        with pytest.raises(CompilationError, match="did you mean 'double'"):
            await getattr(run, verb)("dobule", *given)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_changed_while_items_flow_none_is_lost(
    seed: int, autojump_clock: MockClock
) -> None:
    chance = random.Random(seed)

    async def flaky(value: int, ctx: Turn) -> int:
        await trio.sleep(chance.choice([0, 0, 0.1, 3]))
        if chance.random() < 0.2 and ctx.attempt < 9:
            raise SystemExit if chance.random() < 0.3 else Boom
        return value

    async def meddle(run: Run[Any, Any]) -> None:
        paused: set[str] = set()
        while True:
            await trio.sleep(chance.random())
            name = chance.choice(["one", "two"])
            match chance.randrange(4):
                case 0:
                    await run.pause(name)
                    paused.add(name)
                case 1:
                    await run.resize(name, chance.randint(1, 5))
                case 2:
                    await run.set_policy(name, Retry(10, backoff=Fixed(chance.choice([0, 1]))))
                case 3:
                    for each in paused:
                        await run.resume(each)
            assert counts_add_up(run)

    again = [Retry(10, backoff=Fixed(0))]
    flow = pipeline(
        [
            stage(flaky, name="one", workers=3, capacity=seed % 3, policies=again),
            stage(flaky, name="two", workers=2, capacity=seed % 2, policies=again),
        ]
    )
    async with flow.open(window=20) as run, trio.open_nursery() as nursery:
        nursery.start_soon(meddle, run)
        run.start_feeding(range(150))
        await run.over.wait()
        nursery.cancel_scope.cancel()

    assert run.report is not None
    assert run.report.counts == counted(fed=150, done=150)


# Looking ------------------------------------------------------------------------------


async def test_what_is_seen_of_a_run_does_not_change_any_more() -> None:
    async def refuse(value: int) -> int:
        raise Boom

    async with pipeline([refuse]).open() as run:
        before = run.stats(), run.workers(), run.errors()
        copies = repr(before)
        await run.feed([1, 2])
        await wait_all_tasks_blocked()

        assert repr(before) == copies
        assert run.stats().counts == counted(fed=2, dead=2)
        for each in (run.stats(), run.workers()[0], run.errors()[0]):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                each.elapsed = 0  # type: ignore[union-attr, misc]


async def test_counts_add_up_at_every_moment(autojump_clock: MockClock) -> None:
    async def some(value: int, ctx: Turn) -> int:
        await trio.sleep(value % 3)
        if value % 5 == 0:
            raise Boom
        if value % 5 == 1:
            ctx.skip()
        if value % 5 == 2:
            ctx.emit(value)
        return value

    async with pipeline([stage(some, workers=3), increment]).open(window=9) as run:
        run.start_feeding(range(100))
        while not run.over.is_set():
            assert counts_add_up(run)
            await trio.sleep(0.25)

    assert run.report is not None
    assert run.report.counts == counted(fed=100, done=60, skipped=20, dead=20)


async def test_workers_say_what_they_do(autojump_clock: MockClock) -> None:
    async with pipeline([stage(second, workers=2)], name="f").open() as run:
        await run.feed([1], ids=["x"])
        await wait_all_tasks_blocked()

        seen = [(each.name, each.state, each.item, each.incarnation) for each in run.workers()]
        assert sorted(seen) == [("/f/second/1", "idle", None, 1), ("/f/second/2", "busy", "x", 1)]


async def test_the_last_figures_of_a_stage_are_in_the_report(autojump_clock: MockClock) -> None:
    async with pipeline([stage(second, workers=3)]).open() as run:
        await run.feed(range(6))
        await run.resize("second", 1)
        report = await run.finish()

    seen = report.stages["second"]
    assert (seen.received, seen.emitted, seen.pending, seen.running) == (6, 6, 0, 0)
    assert (seen.workers, seen.latency.mean, seen.latency.max) == (1, 1.0, 1.0)


async def test_the_elapsed_time_of_a_report_stands_still(autojump_clock: MockClock) -> None:
    async with pipeline([second]).open() as run:
        await run.feed([1])
        report = await run.finish()
        await trio.sleep(100)

    assert report.duration == 1.0
    assert run.report is report


# Observers and displays -----------------------------------------------------------------


class Ear:
    """Keeps what it hears, and then raises if it is told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[Any] = []
        self._error = error

    def on_event(self, event: Any) -> None:
        self.heard.append(event)
        if self._error is not None:
            raise self._error


async def flaky(value: int, ctx: Turn) -> int:
    if value == 2 or ctx.attempt == 1:
        raise Boom(value)
    return value


@pytest.mark.parametrize("error", [None, ValueError("deaf"), SystemExit(1), KeyboardInterrupt()])
async def test_observers_hear_everything_and_change_nothing(
    error: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    of_flow, of_run = Ear(error), Ear(error)
    flow = pipeline(
        [stage(flaky, policies=[Retry(2, backoff=Fixed(0))])], name="f", observers=[of_flow]
    )

    report = await flow.run([1, 2], observers=[of_run])

    assert report.counts == counted(fed=2, done=1, dead=1)
    assert of_flow.heard == of_run.heard
    kinds = {type(each) for each in of_run.heard}
    assert kinds >= {ActorStarted, AttemptFailed, MessageDied, ActorEnded}
    (died,) = [each.letter for each in of_run.heard if isinstance(each, MessageDied)]
    assert (died.body, died.stage_or_actor, died.attempts) == (2, "flaky", 2)
    assert ("failed on" in caplog.text) is (error is not None)


class Screen:
    """A progress display that fails where it is told to."""

    def __init__(self, fails: str = "", error: type[BaseException] = ValueError) -> None:
        self.calls: list[str] = []
        self.last: RunStats | None = None
        self._fails = fails
        self._error = error

    def _called(self, what: str, stats: RunStats) -> None:
        self.calls.append(what)
        self.last = stats
        if self._fails == what:
            raise self._error

    def on_start(self, stats: RunStats) -> None:
        self._called("start", stats)

    def on_update(self, stats: RunStats) -> None:
        self._called("update", stats)

    def on_finish(self, stats: RunStats) -> None:
        self._called("finish", stats)


async def test_a_display_is_shown_the_start_the_way_and_the_end(autojump_clock: MockClock) -> None:
    screen = Screen()

    await pipeline([second]).run(iter(range(3)), progress=screen)

    assert (screen.calls[0], screen.calls[-1]) == ("start", "finish")
    assert 10 <= screen.calls.count("update") <= 20
    assert screen.last is not None
    assert screen.last.counts == counted(fed=3, done=3)


async def test_a_display_knows_how_many_items_there_will_be_where_the_source_does() -> None:
    seen: list[int | None] = []
    given: list[tuple[Any, dict[str, Any]]] = [
        ([1, 2], {}),
        (iter([1]), {}),
        ([1, 2], {"total": 9}),
    ]
    for items, options in given:
        screen = Screen()
        await pipeline([double]).run(items, progress=screen, **options)
        assert screen.last is not None
        seen.append(screen.last.total)

    assert seen == [2, None, 9]


@pytest.mark.parametrize("error", [ValueError, SystemExit])
@pytest.mark.parametrize("fails", ["start", "update", "finish"])
async def test_a_display_that_raises_changes_nothing(
    fails: str, error: type[BaseException], autojump_clock: MockClock
) -> None:
    screen = Screen(fails, error)

    report = await pipeline([second]).run(range(3), progress=screen)

    assert report.counts == counted(fed=3, done=3)
    assert screen.calls[-1] == "finish"


@pytest.mark.parametrize("ending", ["stop", "cancel", "raise"])
async def test_a_display_sees_the_end_of_a_run_that_is_cut_short(ending: str) -> None:
    screen = Screen()

    async def body() -> None:
        async with pipeline([second]).open(progress=screen) as run:
            await run.feed([1])
            await wait_all_tasks_blocked()
            if ending == "stop":
                await run.stop()
            if ending == "raise":
                raise Boom
            run.cancel()

    if ending == "raise":
        with pytest.raises(Boom):
            await body()
    else:
        await body()

    assert screen.calls[-1] == "finish"
    assert screen.last is not None
    assert screen.last.counts == counted(fed=1, held=1)
