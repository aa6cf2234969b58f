"""Case 14: who watches changes nothing.

Observers, displays and hooks that raise, hang or spoil what they are given: the results, the
counts and the order are those of a run that nobody watches. Yet each failure is logged, and
counted in the figures of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorflow import ItemResult, Report, Turn, stage
from tests.flows.flowing import Boom, counted, pipeline

pytestmark = pytest.mark.usefixtures("autojump_clock")

#: What a watcher may raise.
ERRORS: list[Callable[[], BaseException]] = [
    lambda: Boom("deaf"),
    lambda: SystemExit(3),
    KeyboardInterrupt,
    lambda: AssertionError("never"),
]

errors = pytest.mark.parametrize("error", ERRORS, ids=lambda make: type(make()).__name__)


@attrs.define
class Bad:
    """Observer, display and hook in one: raises wherever it is called.

    Attributes:
        told: How often it was.
    """

    make: Callable[[], BaseException]
    told: int = 0

    def _raise(self, *facts: Any) -> None:
        self.told += 1
        raise self.make()

    on_event = on_start = on_update = on_finish = before_stage = after_stage = _raise
    hook = _raise


async def work(value: int, ctx: Turn) -> int:
    await trio.sleep(1)
    if value == 3:
        raise Boom("three")
    if value == 4:
        ctx.skip()
    return value * 2


async def played(hook: Any = None, hooks: Any = (), **given: Any) -> tuple[list[Any], Report]:
    """What is seen of a run: its results in order, and its report."""
    declared = stage(work, workers=2, on_success=hook, on_failure=hook, on_skip=hook)
    async with pipeline([declared], hooks=hooks).open(ordered=True, **given) as run:
        results = run.results()
        await run.feed(range(8))
        found: list[ItemResult[Any]] = [await anext(results) for _ in range(8)]
        report = await run.finish()
    return [(each.number, each.status, each.value, str(each.error)) for each in found], report


@errors
async def test_an_observer_that_raises(
    error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    expected, calm = await played()
    bad = Bad(error)

    found, report = await played(observers=[bad])

    assert (found, report.counts) == (expected, calm.counts)
    assert report.observer_failures == bad.told > 8
    assert "observer Bad failed" in caplog.text


@errors
async def test_a_display_that_raises(
    error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    expected, calm = await played()
    bad = Bad(error)

    found, report = await played(progress=bad)

    assert (found, report.counts) == (expected, calm.counts)
    assert report.observer_failures == bad.told > 0
    assert "the progress display failed and is left alone" in caplog.text


@errors
async def test_hooks_that_raise(
    error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    expected, calm = await played()
    bad = Bad(error)

    with caplog.at_level(logging.ERROR):
        found, report = await played(bad.hook, [bad])

    assert (found, report.counts) == (expected, calm.counts)
    assert report.counts == counted(fed=8, done=6, skipped=1, dead=1)
    assert report.restarts == 0
    assert report.hook_failures == bad.told == 8 + 8 + 8
    assert len(caplog.records) == bad.told


async def test_hooks_that_hang_cost_their_deadline_and_nothing_else() -> None:
    async def hangs(*facts: Any) -> None:
        await trio.sleep_forever()

    expected, _ = await played()
    found, report = await played(hangs)

    assert found == expected
    assert report.hook_failures == 8


async def test_failures_are_seen_while_the_run_goes_on(autojump_clock: MockClock) -> None:
    bad = Bad(ERRORS[0])
    declared = stage(work, on_success=bad.hook)
    async with pipeline([declared]).open(observers=[bad]) as run:
        await run.feed([1])
        await trio.sleep(2)
        stats = run.stats()

    assert stats.hook_failures == 1
    assert stats.observer_failures > 0


async def test_hooks_that_spoil_what_they_get_change_nothing() -> None:
    async def make(value: int) -> dict[str, int]:
        return {"value": value}

    async def same(value: dict[str, int]) -> dict[str, int]:
        return value

    def spoil(*facts: Any) -> None:
        for each in facts:
            if isinstance(each, dict):
                each["value"] = "spoilt"

    class Hooks:
        """Spoils both."""

        before_stage = after_stage = staticmethod(spoil)

    flow = pipeline([stage(make, on_success=spoil), same], hooks=[Hooks()])

    assert await flow.map(range(3)) == [{"value": each} for each in range(3)]


async def test_a_display_may_not_change_the_figures_it_is_shown() -> None:
    tries: list[BaseException] = []

    class Meddles:
        """Tries to change what it sees."""

        def on_start(self, stats: Any) -> None: ...

        def on_update(self, stats: Any) -> None: ...

        def on_finish(self, stats: Any) -> None:
            for change in (
                lambda: stats.counts.update(done=0),
                lambda: setattr(stats, "counts", {}),
            ):
                try:
                    change()
                except Exception as error:
                    tries.append(error)

    _, report = await played(progress=Meddles())

    assert [type(each) for each in tries] == [TypeError, attrs.exceptions.FrozenInstanceError]
    assert report.counts["done"] == 6
