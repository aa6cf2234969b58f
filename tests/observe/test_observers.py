"""Observers and displays that fail: the run goes on as if nobody watched, and it is counted."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorflow import ConfigurationError, ItemResult, Report, stage
from actorflow.core.events import ActorStarted, ItemEvent, ItemStarted
from actorflow.observe.flowlog import FlowLog
from actorflow.observe.history import History
from tests.flows.flowing import counted, double, increment, pipeline


class Fails:
    """An observer that raises wherever it is told something."""

    every = 1.0

    def __init__(self, error: BaseException, *wants: type[Any]) -> None:
        self.wants = wants or (object,)
        self.told = 0
        self._error = error

    def on_event(self, event: object) -> None:
        self.told += 1
        raise self._error

    def on_stats(self, stats: object) -> None:
        self.told += 1
        raise self._error


class Screen:
    """A display that raises where it is told to."""

    def __init__(self, *fails: str, error: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self._fails = fails
        self._error = ValueError("no screen") if error is None else error

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self._fails:
            raise self._error

    def on_start(self, stats: object) -> None:
        self._call("on_start")

    def on_update(self, stats: object) -> None:
        self._call("on_update")

    def on_finish(self, stats: object) -> None:
        self._call("on_finish")


ERRORS = [ValueError("deaf"), SystemExit(3), KeyboardInterrupt(), RecursionError()]


async def slow(value: int) -> int:
    await trio.sleep(1)
    return value + 1


async def outcome(**given: Any) -> tuple[list[ItemResult[Any]], Report]:
    async with pipeline([stage(slow, workers=2), double]).open(ordered=True, **given) as run:
        results = run.results()
        await run.feed(range(6))
        found = [await anext(results) for _ in range(6)]
        return found, await run.finish()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_observer_that_fails_changes_nothing(
    error: BaseException, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = await outcome()
    fails, listens = Fails(error), History()

    found, report = await outcome(observers=[fails, listens])

    assert [(each.number, each.value) for each in found] == [
        (each.number, each.value) for each in expected
    ]
    assert report.counts == counted(fed=6, done=6)
    assert report.observer_failures == fails.told > 20
    assert listens.counts()["done"] == 6
    told = [each for each in caplog.records if "observer Fails failed" in each.getMessage()]
    assert len(told) == 1
    assert told[0].exc_info is not None
    assert told[0].exc_info[1] is error


async def test_each_kind_of_error_is_logged_once_for_each_observer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fickle:
        wants = (ItemStarted,)

        def on_event(self, event: ItemStarted) -> None:
            raise (ValueError, KeyError)[event.number % 2]

    one, other = Fickle(), Fickle()
    report = await pipeline([increment]).run(range(10), observers=[one, other])

    logged = [each.exc_info[0].__name__ for each in caplog.records if each.exc_info]  # type: ignore[union-attr]
    assert logged == ["ValueError", "ValueError", "KeyError", "KeyError"]
    assert report.observer_failures == 20


async def test_failures_are_counted_while_a_run_goes_on() -> None:
    fails = Fails(ValueError(), ItemStarted)
    async with pipeline([increment]).open(observers=[fails]) as run:
        assert run.stats().observer_failures == 0
        await run.feed(range(3))
        await trio.testing.wait_all_tasks_blocked()
        assert run.stats().observer_failures == 3
        run.unobserve(fails)
        await run.feed(range(3))
        report = await run.finish()

    assert report.observer_failures == 3


async def test_a_log_that_fails_is_asked_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[float] = []

    class Log(FlowLog):
        def on_stats(self, stats: Any) -> None:
            asked.append(stats.elapsed)
            raise OSError("disk full")

    report = await pipeline([slow]).run(range(5), observers=[Log(every=2)])

    assert asked == [2, 4, 5]
    assert report.observer_failures == 3
    assert [each.getMessage().partition(";")[0].rpartition(".")[2] for each in caplog.records] == [
        "Log failed on on_stats"
    ]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("fails", ["on_start", "on_update", "on_finish"])
async def test_a_display_that_fails_changes_nothing_and_is_left_alone(
    fails: str, error: BaseException, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Screen(fails, error=error)

    report = await pipeline([slow]).run(range(3), progress=screen)

    assert report.counts == counted(fed=3, done=3)
    calls = list(dict.fromkeys(screen.calls))
    assert (
        calls
        == {
            "on_start": ["on_start", "on_finish"],
            "on_update": ["on_start", "on_update", "on_finish"],
            "on_finish": ["on_start", "on_update", "on_finish"],
        }[fails]
    )
    assert screen.calls.count(fails) == 1
    assert report.observer_failures == 1
    assert caplog.text.count("the progress display failed and is left alone") == 1


async def test_a_display_gets_workers_and_the_items_that_it_asks_for(
    autojump_clock: MockClock,
) -> None:
    seen: list[Any] = []

    class Shows(Screen):
        items = 2

        def on_update(self, stats: Any) -> None:
            seen.append(stats)

    flow = pipeline([stage(slow, workers=2)])
    await flow.run(range(8), progress=Shows())

    first = seen[0]
    assert [(each.id, each.status) for each in first.items] in (
        [(0, "running"), (1, "running")],
        [(1, "running"), (0, "running")],
    )
    assert {each.state for each in first.workers} == {"busy"}

    seen.clear()
    await flow.run(range(8), progress=Shows(), observers=[History()])
    assert len(seen[-1].items) == 2
    assert {each.status for each in seen[-1].items} <= {"running", "done"}


class Deaf:
    def __repr__(self) -> str:
        return "Deaf()"


class Asynchronous(Deaf):
    async def on_event(self, event: object) -> None: ...


class NoInterval(Deaf):
    def on_stats(self, stats: object) -> None: ...


class WantsNonsense(Deaf):
    wants = ("ItemStarted",)

    def on_event(self, event: object) -> None: ...


@pytest.mark.parametrize(
    ("observers", "text"),
    [
        ([Deaf()], "run option observers[0] must be an object with a plain method on_event"),
        ([History(), Asynchronous()], "run option observers[1] must be an object with a plain"),
        ([History], "run option observers[0] must be an object"),
        (History(), "run option observers must be a list of observers"),
        (7, "run option observers must be a list of observers, got 7"),
        ([NoInterval()], "run option observers[0].every must be a number above 0, got None"),
        ([WantsNonsense()], "run option observers[0].wants must be a tuple of types of events"),
    ],
)
async def test_what_cannot_observe_is_refused(observers: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pipeline([increment], observers=[]).open(observers=observers)

    assert str(caught.value).startswith(text)


async def test_one_that_is_added_is_checked_too() -> None:
    async with pipeline([increment]).open() as run:
        with pytest.raises(ConfigurationError, match=r"^observe\(\) observer must be an object"):
            run.observe(Deaf())


async def test_an_observer_may_look_at_its_run() -> None:
    seen: list[Any] = []

    class Looks:
        wants = (ItemEvent, ActorStarted)

        def on_event(self, event: object) -> None:
            seen.append((run.stats().counts["fed"], run.workers(), run.items(), run.errors()))

    async with pipeline([increment]).open() as run:
        run.observe(Looks())
        await run.feed(range(3))
        report = await run.finish()

    assert report.observer_failures == 0
    assert len(seen) == 3 * 5
