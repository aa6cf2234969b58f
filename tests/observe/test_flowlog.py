"""The flow log: a line per stage every so often and at the end, by the run's own clock."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorflow import ConfigurationError, Fixed, Retry, Turn, stage
from actorflow.observe.flowlog import FlowLog
from tests.flows.flowing import Boom, increment, pipeline


class Listed(logging.Handler):
    """Keeps what is logged, with the time."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((trio.current_time(), record.getMessage()))


@pytest.fixture
def listed() -> Any:
    handler, logger = Listed(), logging.getLogger("actorflow.flow")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


async def second(value: int) -> int:
    await trio.sleep(1)
    return value


async def test_a_line_per_stage_every_so_often_and_at_the_end(
    listed: Listed, autojump_clock: MockClock
) -> None:
    log = FlowLog(every=60, format="{stage} in={in} out={out} err={err}")
    began = trio.current_time()

    await trio.sleep(0.5)
    async with pipeline([second, increment]).open(observers=[log]) as run:
        await trio.sleep(0.5)
        await run.feed(range(130))

    assert [(at - began, line) for at, line in listed.lines] == [
        (60.5, "second in=130 out=59 err=0"),
        (60.5, "increment in=59 out=59 err=0"),
        (120.5, "second in=130 out=119 err=0"),
        (120.5, "increment in=119 out=119 err=0"),
        (131, "second in=130 out=130 err=0"),
        (131, "increment in=130 out=130 err=0"),
    ]


async def test_what_a_line_says(listed: Listed, autojump_clock: MockClock) -> None:
    async def work(value: int, ctx: Turn) -> int:
        await trio.sleep(2)
        if ctx.attempt == 1:
            raise Boom
        return value

    flow = pipeline([stage(work, policies=[Retry(2, backoff=Fixed(0))])])
    await flow.run([1], observers=[FlowLog()])

    assert [line for _, line in listed.lines] == [
        "work: in 1, out 1, failed 0, skipped 0, retried 1, waiting 0, running 0, "
        "p50 2.0 s, p99 2.0 s"
    ]


async def test_another_logger_level_and_some_stages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = FlowLog(
        logger=logging.getLogger("mine"),
        level=logging.DEBUG,
        stages=["b", "nobody"],
        format="{stage}",
    )

    await pipeline([stage(increment, name=name) for name in "abc"]).run([1], observers=[log])

    told = [each for each in caplog.records if each.name == "mine"]
    assert [(each.levelno, each.getMessage()) for each in told] == [
        (logging.DEBUG, "b"),
        (logging.WARNING, "FlowLog: no stage 'nobody'; there are a, b, c"),
    ]


async def test_a_log_asks_for_no_events() -> None:
    async with pipeline([increment]).open(observers=[FlowLog()]) as run:
        assert not run._kernel.watched
        assert not run._kernel.takers(object)


async def test_one_that_comes_later_begins_then_and_one_that_goes_says_no_more(
    listed: Listed, autojump_clock: MockClock
) -> None:
    log = FlowLog(every=10, format="{received}")
    async with pipeline([second]).open() as run:
        await run.feed(range(50))
        await trio.sleep(5.5)
        began = trio.current_time()
        run.observe(log)
        await trio.sleep(25)
        run.unobserve(log)
        await run.finish()

    assert [at - began for at, _ in listed.lines] == [10, 20]


@pytest.mark.parametrize("ending", ["stop", "drain", "cancel"])
async def test_the_last_lines_come_however_a_run_ends(
    ending: str, listed: Listed, autojump_clock: MockClock
) -> None:
    async with pipeline([second]).open(observers=[FlowLog(format="{stage}")]) as run:
        await run.feed(range(5))
        await trio.sleep(1.5)
        if ending == "cancel":
            run.cancel()
        else:
            await getattr(run, ending)()

    assert [line for _, line in listed.lines] == ["second"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"every": 0}, "FlowLog.every must be a number above 0, got 0"),
        ({"level": "INFO"}, "FlowLog.level must be"),
        ({"stages": "fetch"}, "FlowLog.stages must be a list of names of stages, got 'fetch'"),
        ({"format": "{node}"}, "FlowLog.format must be a format for str.format with some of "),
        ({"format": "{}"}, "FlowLog.format must be"),
        ({"format": 7}, "FlowLog.format must be"),
    ],
)
def test_what_can_never_work_is_refused(given: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FlowLog(**given)

    assert str(caught.value).startswith(text)
