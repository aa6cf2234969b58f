"""A run and its outcome, with signals that this process sends to itself."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from actorflow.cli.drive import Outcome, drive
from actorflow.cli.front import Code
from actorflow.cli.summary import as_json, as_text, seconds
from actorflow.errors import ConfigurationError
from actorflow.flows.pipeline import Pipeline
from actorflow.flows.results import Report
from actorflow.flows.sinks import ListSink
from actorflow.flows.sources import IterableSource, JsonLinesSource


async def same(number: int) -> int:
    return number


async def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def run(
    flow: Pipeline[Any, Any],
    items: Any,
    *,
    sink: Any = None,
    dead: str | None = None,
    **options: Any,
) -> Outcome:
    return drive(flow, IterableSource(items), sink or ListSink(), dead, **options)


def signal_self(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


class SlowToOpen(ListSink[Any]):
    """As a named pipe that nobody reads: a signal comes while it is opened."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number

    async def open(self) -> None:
        signal_self(self.number)
        await trio.sleep(10)


def test_values_and_counts_are_those_of_the_run() -> None:
    sink = ListSink[int]()

    outcome = run(Pipeline([odd]), range(5), sink=sink)

    assert sorted(sink.values) == [1, 3]
    assert outcome.report is not None
    assert outcome.report.counts["dead"] == 3
    assert (outcome.code, outcome.read, outcome.error) == (Code.DEAD_LETTERS, True, None)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, Code.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, Code.PARKED, "ended with work left"),
    ],
)
def test_a_signal_while_the_output_is_opened_ends_it_before_it_begins(
    number: signal.Signals, code: Code, words: str
) -> None:
    outcome = run(Pipeline([same], name="f"), [1], sink=SlowToOpen(number))

    assert outcome.report is None
    assert outcome.code == code
    assert as_text("f", outcome) == f"flow f: {words} before it began"
    assert as_json("f", outcome) == {
        "flow": "f",
        "exit_code": code,
        "status": words,
        "input_read": False,
        "input_line": None,
        "error": None,
    }


def test_sigterm_reads_no_more_of_an_endless_input() -> None:
    def numbers() -> Any:
        for number in range(10**9):
            if number == 100:
                signal_self(signal.SIGTERM)
            yield number

    outcome = run(Pipeline([same]), numbers())

    assert outcome.code is Code.PARKED
    assert not outcome.read
    assert outcome.report is not None
    assert outcome.report.counts["held"] == 0


@pytest.mark.parametrize(("lines", "code"), [(3, Code.DONE), (4, Code.PARKED)])
def test_a_file_whose_last_line_was_read_before_sigterm_is_no_work_left(
    lines: int, code: Code, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n" * lines)

    async def strike(number: int) -> int:
        if source.line == 3:
            signal_self(signal.SIGTERM)
            with trio.fail_after(5):  # The signal is heard while the third is held.
                while "finishing what is held" not in capsys.readouterr().err:
                    await trio.lowlevel.checkpoint()
        return number

    source = JsonLinesSource(path)
    outcome = drive(Pipeline([strike]), source, ListSink(), None, window=1)

    assert outcome.code is code
    assert outcome.line == 3
    assert outcome.report is not None
    assert outcome.report.counts["done"] == 3
    assert outcome.read == (code is Code.DONE)


def test_ctrl_c_comes_before_all_other_reasons() -> None:
    async def interrupt(number: int) -> int:
        signal_self(signal.SIGINT)
        await trio.sleep(10)
        return number

    outcome = run(Pipeline([odd, interrupt]), [2, 1])

    assert outcome.report is not None
    assert outcome.report.counts == {"fed": 2, "done": 0, "skipped": 0, "dead": 1, "held": 1}
    assert outcome.code is Code.INTERRUPTED


def test_signal_handlers_are_put_back() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    run(Pipeline([same]), [1])

    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_a_source_raises_is_the_error_and_not_a_group_of_it() -> None:
    gone = OSError(errno.EIO, "the disk is gone")

    def broken() -> Any:
        yield 1
        raise ExceptionGroup("from a nursery", [ExceptionGroup("in a nursery", [gone])])

    outcome = run(Pipeline([same]), broken())

    assert outcome.error is gone
    assert outcome.code is Code.FAILED
    assert outcome.report is not None


def test_a_wrong_option_opens_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="window"):
        run(Pipeline([same]), [1], sink=SlowToOpen(signal.SIGINT), window=0)


def test_a_disk_that_takes_no_dead_letters_fails_the_command_but_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Any, values: Sequence[Any]) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("actorflow.flows.sinks.JsonLinesSink.write", full)

    outcome = run(Pipeline([odd]), range(4), dead=str(tmp_path / "dead.jsonl"))

    assert outcome.report is not None
    assert outcome.report.counts["done"] == 2
    assert isinstance(outcome.error, OSError)
    assert outcome.code is Code.FAILED


def test_dead_letters_are_in_the_file_while_the_run_goes_on(tmp_path: Path) -> None:
    dead = tmp_path / "dead.jsonl"

    async def look(number: int) -> int:
        with trio.fail_after(5):
            while not dead.read_text():
                await trio.lowlevel.checkpoint()
        return number

    outcome = run(Pipeline([odd, look]), [2, 1], dead=str(dead))

    assert outcome.report is not None
    assert outcome.report.counts["done"] == 1


def report(**counts: int) -> Report:
    whole = {"fed": 0, "done": 0, "skipped": 0, "dead": 0, "held": 0, **counts}
    return Report(run_id="r", counts=whole, duration=1.0, stages={}, errors=(), dead=())


@pytest.mark.parametrize(
    ("counts", "error", "interrupted", "code"),
    [
        ({}, None, False, Code.DONE),
        ({"skipped": 1}, None, False, Code.DONE),
        ({"dead": 1}, None, False, Code.DEAD_LETTERS),
        ({"dead": 1, "held": 1}, None, False, Code.PARKED),
        ({"held": 1}, ValueError(), False, Code.FAILED),
        ({"held": 1}, ValueError(), True, Code.INTERRUPTED),
        (None, None, True, Code.INTERRUPTED),
        (None, None, False, Code.PARKED),
    ],
)
def test_the_exit_code_is_that_of_the_reason_that_matters_most(
    counts: dict[str, int] | None, error: Exception | None, interrupted: bool, code: Code
) -> None:
    found = None if counts is None else report(**counts)

    outcome = Outcome(report=found, error=error, read=True, interrupted=interrupted)

    assert outcome.code is code


@pytest.mark.parametrize(
    ("read", "line", "code", "words"),
    [
        (True, 9, Code.DONE, "done"),
        (False, None, Code.PARKED, "ended with work left; the input was not read to its end"),
        (
            False,
            1_234,
            Code.PARKED,
            "ended with work left; the input was not read to its end (but to line 1,234)",
        ),
    ],
)
def test_input_that_was_left_unread_is_work_left(
    read: bool, line: int | None, code: Code, words: str
) -> None:
    outcome = Outcome(report=report(), error=None, read=read, interrupted=False, line=line)

    assert outcome.code is code
    assert as_text("f", outcome).splitlines()[0] == f"flow f, run r: {words}"
    assert as_json("f", outcome)["input_line"] == line


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0.0123, "12 ms"),
        (1.0, "1.0 s"),
        (59.94, "59.9 s"),
        (60.0, "1 min 0 s"),
        (3725, "62 min 5 s"),
    ],
)
def test_a_duration_is_told_as_people_say_it(duration: float, words: str) -> None:
    assert seconds(duration) == words
