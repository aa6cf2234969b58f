"""Progress: who gets a display, what it says, and what it leaves of the terminal."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from actorflow.errors import ConfigurationError
from actorflow.flows.results import ErrorCount, ItemState, Latency, WorkerState
from actorflow.observe.progress import Display, make_display

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@attrs.frozen
class Stage:
    received: int = 0
    emitted: int = 0
    failed: int = 0
    skipped: int = 0
    retried: int = 0
    pending: int = 0
    running: int = 0
    workers: int = 1
    latency: Latency | None = None


@attrs.frozen
class Stats:
    counts: Mapping[str, int]
    elapsed: float = 0.0
    total: int | None = None
    stages: Mapping[str, Stage] = attrs.field(factory=dict)
    errors: Any = ()
    workers: Any = ()
    items: Any = ()
    now: float = 0.0


def stats(done: int, elapsed: float, total: int | None = None, **others: Any) -> Stats:
    counts = {"fed": done + 5, "done": done, "skipped": 0, "dead": 0, "held": 5}
    return Stats({**counts, **others.pop("counts", {})}, elapsed, total, **others)


def text(terminal: Terminal) -> list[str]:
    """The lines written to the terminal, without what it was told to do."""
    return [
        line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*\w", "", terminal.getvalue()).splitlines()
    ]


def display(progress: object, stream: io.StringIO) -> Display:
    made = make_display(progress, stream=stream)
    assert made is not None
    return made


@pytest.fixture(autouse=True)
def _a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_shown_unless_asked_for(progress: object) -> None:
    assert make_display(progress, stream=Terminal()) is None


@pytest.mark.parametrize("progress", [True, "bar", "detailed", "full"])
def test_nothing_is_drawn_where_nobody_looks(progress: object) -> None:
    closed = Terminal()
    closed.close()

    assert make_display(progress, stream=io.StringIO()) is None
    assert make_display(progress, stream=object()) is None  # type: ignore[arg-type]
    file = io.StringIO()
    file.close()
    assert make_display(progress, stream=file) is None


def test_standard_error_is_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    shown = make_display("compact")
    assert shown is not None
    shown.on_start(stats(0, 0.0))
    shown.on_finish(stats(1, 1.0))

    assert terminal.getvalue()
    monkeypatch.setattr("sys.stderr", None)
    assert make_display(True) is None


def test_an_own_display_is_used_wherever_the_run_is() -> None:
    class Own:
        def on_start(self, stats: object) -> None: ...
        def on_update(self, stats: object) -> None: ...
        def on_finish(self, stats: object) -> None: ...

    own = Own()

    assert make_display(own, stream=io.StringIO()) is own
    with pytest.raises(ConfigurationError):
        make_display(Own)


def test_an_unknown_level_is_refused_even_where_nobody_looks() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_display("bars", stream=io.StringIO())

    assert str(caught.value) == (
        "progress must be one of 'compact', 'bar', 'detailed', 'full', got 'bars'"
    )


class Deaf:
    def on_start(self, stats: object) -> None: ...
    def on_finish(self, stats: object) -> None: ...
    def __repr__(self) -> str:
        return "Deaf()"


class Waiting(Deaf):
    async def on_update(self, stats: object) -> None: ...
    def __repr__(self) -> str:
        return "Waiting()"


@pytest.mark.parametrize("progress", [Deaf(), Waiting(), 1, 0])
def test_what_cannot_show_progress_is_refused(progress: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_display(progress)

    assert str(caught.value) == (
        "progress must be True, 'compact', 'bar', 'detailed', 'full', or an object with "
        f"plain methods on_start, on_update and on_finish, got {progress!r}"
    )


def test_compact_writes_a_line_a_second_of_the_run() -> None:
    terminal = io.StringIO()
    shown = display("compact", terminal)

    shown.on_start(stats(0, 0.0, 4_000))
    for tenth in range(1, 26):
        shown.on_update(stats(100 * tenth, tenth / 10, 4_000))
    shown.on_finish(stats(4_000, 5.0, 4_000))

    assert terminal.getvalue().splitlines() == [
        "0:00:01  1,000/4,000 25 %  fed 1,005  done 1,000  skipped 0  dead 0  held 5"
        "  1,000/s  eta 0:00:03",
        "0:00:02  2,000/4,000 50 %  fed 2,005  done 2,000  skipped 0  dead 0  held 5"
        "  1,000/s  eta 0:00:02",
        "0:00:05  4,000/4,000 100 %  fed 4,005  done 4,000  skipped 0  dead 0  held 5  800/s",
    ]


def test_without_a_total_neither_share_nor_rest_is_told() -> None:
    terminal = io.StringIO()
    shown = display("compact", terminal)

    shown.on_start(stats(0, 0.0))
    shown.on_update(stats(3, 3_661.0))

    assert terminal.getvalue() == ("1:01:01  3  fed 8  done 3  skipped 0  dead 0  held 5  0.0/s\n")


def test_skipped_and_dead_items_have_ended_too() -> None:
    terminal = io.StringIO()
    shown = display("compact", terminal)

    shown.on_start(stats(0, 0.0, 8))
    shown.on_update(stats(1, 2.0, 8, counts={"skipped": 2, "dead": 1}))

    assert "4/8 50 %" in terminal.getvalue()
    assert "2.0/s  eta 0:00:02" in terminal.getvalue()


def test_the_speed_is_that_of_the_last_ten_seconds() -> None:
    terminal = io.StringIO()
    shown = display("compact", terminal)

    shown.on_start(stats(0, 0.0, 1_000))
    for second in range(1, 31):
        shown.on_update(stats(10 * min(second, 15), float(second), 1_000))
    speeds = [line.split("  ")[-2] for line in terminal.getvalue().splitlines()]

    assert speeds[9] == "10/s"
    assert speeds[19] == "5.0/s"
    assert speeds[24:] == ["0.0/s"] * 6
    assert terminal.getvalue().splitlines()[-1].endswith("eta -")


def test_what_a_resumed_run_had_done_before_is_no_speed() -> None:
    terminal = io.StringIO()
    shown = display("compact", terminal)

    shown.on_start(stats(50_000, 0.0))
    shown.on_update(stats(50_020, 1.0))
    shown.on_finish(stats(50_020, 2.0))

    assert [line.split("  ")[-1] for line in terminal.getvalue().splitlines()] == ["20/s", "10/s"]


@pytest.mark.parametrize("level", [True, "bar"])
def test_a_bar_is_drawn_over_itself_ten_times_a_second_at_most(level: object) -> None:
    terminal = Terminal()
    shown = display(level, terminal)

    shown.on_start(stats(0, 0.0, 40))
    for hundredth in range(1, 35):
        shown.on_update(stats(hundredth, hundredth / 100, 40))
    shown.on_finish(stats(40, 0.5, 40))

    drawn = terminal.getvalue()
    # At the start, three times after a tenth of a second each, and at the end.
    assert drawn.count("fed ") == 5
    assert "10/40 25 %" in drawn
    assert "40/40 100 %  80/s  0:00:00" in drawn


@pytest.mark.parametrize("total", [None, 0, 3])
def test_a_bar_is_drawn_whatever_the_total_is(total: int | None) -> None:
    terminal = Terminal()
    shown = display("bar", terminal)

    shown.on_start(stats(0, 0.0, total))
    shown.on_finish(stats(7, 1.0, total))

    assert ("7/7 100 %" if total is not None else "7  7.0/s") in terminal.getvalue()


def test_detailed_adds_a_table_of_the_stages() -> None:
    terminal = Terminal()
    shown = display("detailed", terminal)
    latency = Latency(mean=0.1, max=2.0, p50=0.01, p95=1.0, p99=1.5)
    stages = {"[b]fetch": Stage(1_234, 1_200, 3, 4, 5, 6, 7, 8, latency), "parse": Stage()}

    shown.on_start(stats(0, 0.0, stages=stages, errors=["hidden"]))
    shown.on_finish(stats(0, 0.0, stages=stages, errors=["hidden"]))

    assert [" ".join(line.strip("─ ").split()) for line in text(terminal)[-4:]] == [
        "stage received emitted failed skipped retried pending busy p50 p99",
        "",
        "[b]fetch 1,234 1,200 3 4 5 6 7/8 10 ms 1.5 s",
        "parse 0 0 0 0 0 0 0/1 - -",
    ]
    assert "hidden" not in terminal.getvalue()


def test_at_eighty_columns_every_heading_and_number_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    shown = display("detailed", terminal)
    stages = {"fetch_and_decompress": Stage(1_234_567, 1_234_567, 3, 4, 5, 256, 8, 8)}

    shown.on_start(stats(0, 0.0, stages=stages))
    shown.on_finish(stats(0, 0.0, stages=stages))

    headings, _, numbers = text(terminal)[-3:]
    assert max(map(len, text(terminal)[-3:])) <= 80
    assert headings.split() == [
        *("stage", "received", "emitted", "failed", "skipped"),
        *("retried", "pending", "busy", "p50", "p99"),
    ]
    assert numbers.split()[1:] == [
        *("1,234,567", "1,234,567", "3", "4", "5", "256", "8/8", "-", "-"),
    ]
    assert numbers.startswith("fetch_and_de")


def test_full_adds_the_last_errors_with_nothing_a_terminal_would_obey() -> None:
    terminal = Terminal()
    shown = display("full", terminal)
    errors = [*map(str, range(10)), ValueError("[red]a\nb\x1b]0;title\x07")]

    shown.on_start(stats(0, 0.0, stages={"fetch": Stage()}))
    shown.on_finish(stats(0, 0.0, stages={"fetch": Stage()}, errors=errors))

    assert text(terminal)[-5:] == ["6", "7", "8", "9", "ValueError: [red]a b ]0;title"]


def test_full_shows_the_most_frequent_errors_of_a_run_in_words() -> None:
    terminal = Terminal()
    shown = display("full", terminal)
    errors = tuple(
        ErrorCount(stage="fetch", type="OSError", count=each, example="no route")
        for each in (1_200, 7, 6, 5, 4, 3)
    )

    shown.on_start(stats(0, 0.0))
    shown.on_finish(stats(0, 0.0, errors=errors))

    assert text(terminal)[-5:] == [
        f"{each} x fetch: OSError: no route" for each in ("1,200", "7", "6", "5", "4")
    ]


def test_full_shows_errors_that_are_counted_by_kind() -> None:
    terminal = Terminal()
    shown = display("full", terminal)

    shown.on_start(stats(0, 0.0, errors={"fetch OSError": 3}))
    shown.on_finish(stats(0, 0.0))

    assert "fetch OSError: 3" in terminal.getvalue()


def workers(*states: str) -> tuple[WorkerState, ...]:
    return tuple(
        WorkerState(
            name=f"/f/fetch/{number}",
            state=state,
            item=None if state == "idle" else f"{number}",
            incarnation=1,
            since=90.0,
            status="\x1b[2Jreading" if state == "busy" else "",
            progress=(3, 10) if state == "busy" else None,
            done=number,
            failed=0,
            mean=0.25,
        )
        for number, state in enumerate(states)
    )


def test_compact_is_a_panel_on_a_terminal() -> None:
    terminal = Terminal()
    shown = display("compact", terminal)
    stages = {"fetch": Stage(running=3, workers=4, retried=1_000), "parse": Stage(workers=2)}

    shown.on_start(stats(0, 0.0, 40, stages=stages))
    shown.on_finish(stats(10, 2.0, 40, stages=stages, counts={"dead": 2}))

    lines = [line.strip("│ ") for line in text(terminal)[-5:]]
    assert lines[1].endswith("12/40 30 %  6.0/s  0:00:02  eta 0:00:05")
    assert lines[2:4] == [
        "fed 15  done 10  skipped 0  dead 2  held 5",
        "workers 3/6 busy  retries 1,000",
    ]


def test_detailed_shows_what_workers_do() -> None:
    terminal = Terminal()
    shown = display("detailed", terminal)
    seen = Stats(
        stats(0, 0.0).counts, stages={"s": Stage()}, workers=workers("idle", "busy"), now=92.5
    )

    shown.on_start(seen)
    shown.on_finish(seen)

    assert [" ".join(line.strip("─ ").split()) for line in text(terminal)[-4:]] == [
        "worker state item doing done failed mean",
        "",
        "/f/fetch/1 busy 2.5 s 1 [2Jreading 3/10 1 0 250 ms",
        "/f/fetch/0 idle 0 0 250 ms",
    ]


def test_of_many_workers_those_that_work_are_shown() -> None:
    terminal = Terminal()
    shown = display("detailed", terminal)
    many = workers(*["idle"] * 50, *["busy"] * 3)
    seen = Stats(stats(0, 0.0).counts, stages={"s": Stage()}, workers=many)

    shown.on_start(seen)
    shown.on_finish(seen)

    last = text(terminal)[-21:]
    assert last[-1] == "and 33 other workers"
    assert [line.split()[1] for line in last[:-1]] == ["busy"] * 3 + ["idle"] * 17


def test_full_shows_the_last_items() -> None:
    terminal = Terminal()
    shown = display("full", terminal)
    items = [
        ItemState(id=name, message_id="0", status=status, stage="fetch", attempt=attempt)
        for name, status, attempt in (("a\x1b[2J", "running", 2), ("b" * 99, "failed", 3))
    ]
    seen = Stats(stats(0, 0.0).counts, stages={"s": Stage()}, items=items)

    assert getattr(shown, "items", None) == 20
    shown.on_start(seen)
    shown.on_finish(seen)

    assert [line.split() for line in text(terminal)[-2:]] == [
        ["a", "[2J", "running", "fetch", "2"],
        ["b" * 20, "failed", "fetch", "3"],
    ]


def test_the_terminal_is_given_back_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, out = Terminal(), Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.stdout", out)
    shown = display("bar", terminal)

    shown.on_start(stats(0, 0.0))
    print("from a handler")
    shown.on_finish(stats(1, 1.0))

    assert sys.stdout is out
    assert sys.stderr is terminal
    assert "from a handler\n" in terminal.getvalue()
    assert terminal.getvalue().endswith(SHOW)
    assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 1


def test_what_is_printed_into_a_pipe_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, piped = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stdout", piped)
    shown = display("bar", terminal)

    shown.on_start(stats(0, 0.0))
    print('{"result": 1}')
    shown.on_finish(stats(1, 1.0))

    assert piped.getvalue() == '{"result": 1}\n'


def test_the_terminal_is_given_back_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, out = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    broken = Stats({})
    shown = display("full", terminal)

    shown.on_start(stats(0, 0.0))
    with pytest.raises(KeyError):
        shown.on_update(attrs.evolve(broken, elapsed=1.0))
    with pytest.raises(KeyError):
        shown.on_finish(broken)

    assert sys.stdout is out
    assert terminal.getvalue().endswith(SHOW)
    shown.on_finish(broken)


@pytest.mark.parametrize("level", ["bar", "compact"])
def test_a_display_that_could_not_start_shows_nothing_later(level: str) -> None:
    terminal = Terminal()
    shown = display(level, terminal)

    with pytest.raises(KeyError):
        shown.on_start(Stats({}))
    shown.on_update(stats(1, 1.0))
    shown.on_finish(stats(1, 1.0))

    assert terminal.getvalue() == ""


def test_no_thread_is_started() -> None:
    before = threading.active_count()
    shown = display("full", Terminal())

    shown.on_start(stats(0, 0.0))
    assert threading.active_count() == before
    shown.on_finish(stats(0, 0.0))


def test_rich_is_imported_only_when_a_bar_is_shown() -> None:
    code = (
        "import sys, io\n"
        "from actorflow.observe.progress import make_display\n"
        "make_display(True, stream=io.StringIO())\n"
        "print('rich' in sys.modules)"
    )

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert answer.stdout == "False\n", answer.stderr
