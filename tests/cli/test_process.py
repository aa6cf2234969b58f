"""The command as a process of its own: signals, pipes, worker processes, start-up."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cli.support import child, json_lines, write_module

FLOWS = """
import sys
import trio
from actorflow import Pipeline, stage

def say(text):
    print(text, file=sys.stderr, flush=True)

@stage(workers=2)
async def slow(number):
    if number:
        say("handler runs")
        await trio.sleep(number)
    return number

@stage
async def deaf(number):
    say("handler runs")
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

slow_flow = Pipeline([slow], name="slow")
deaf_flow = Pipeline([deaf], name="deaf")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_module(folder, FLOWS, "shop")
    return folder


# Signals ------------------------------------------------------------------------------


def test_ctrl_c_stops_the_run_at_once_with_exit_code_130(folder: Path) -> None:
    with child(folder, "run", "shop:slow_flow") as run:
        run.feed("0\n1000\n")
        assert run.out() == "0\n"
        run.wait_for("handler runs")

        run.send(signal.SIGINT)

        assert run.end() == 130
        assert "interrupted; the input was not read to its end (but to line 2)\n" in run.seen
        assert "fed 2  done 1  skipped 0  dead 0  held 1 " in run.seen
        assert "Traceback" not in run.seen


def test_sigterm_finishes_what_is_held_and_says_what_of_the_input_is_left(folder: Path) -> None:
    with child(folder, "run", "shop:slow_flow") as run:
        run.feed("0.5\n")
        run.wait_for("handler runs")

        run.send(signal.SIGTERM)

        assert run.end() == 75
        assert run.rest == "0.5\n"
        words = "ended with work left; the input was not read to its end (but to line 1)\n"
        assert words in run.seen


def test_a_second_sigterm_stops_and_what_is_left_is_exit_code_75(folder: Path) -> None:
    with child(folder, "run", "shop:slow_flow") as run:
        run.feed("1000\n")
        run.wait_for("handler runs")

        run.send(signal.SIGTERM)
        run.wait_for("finishing what is held, for up to 30 s; again to stop")
        run.send(signal.SIGTERM)

        assert run.end() == 75
        assert "ended with work left" in run.seen


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGTERM], 1),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGINT, signal.SIGINT], 130),
    ],
)
def test_the_last_signal_exits_at_once_whatever_a_handler_does(
    folder: Path, signals: list[signal.Signals], code: int
) -> None:
    words = {signal.SIGTERM: "finishing what is held", signal.SIGINT: "stopping; again"}
    with child(folder, "run", "shop:deaf_flow") as run:
        run.feed("1\n")
        run.wait_for("handler runs")

        for before, number in zip([None, *signals], signals, strict=False):
            if before is not None:
                run.wait_for("stopping" if run.seen.count("finishing") else words[before])
            run.send(number)

        assert run.end() == code


def test_ctrl_c_while_the_module_is_imported_is_exit_code_130_without_a_word(
    folder: Path,
) -> None:
    write_module(
        folder,
        "import sys, time\nprint('here', file=sys.stderr)\ntime.sleep(1000)\n",
        "slow_import",
    )
    with child(folder, "run", "slow_import:flow") as run:
        run.wait_for("here")

        run.send(signal.SIGINT)

        assert run.end() == 130
        assert run.seen.split() == ["here"]


# Pipes --------------------------------------------------------------------------------


def test_a_reader_that_goes_away_ends_the_run_without_a_word(folder: Path) -> None:
    with child(folder, "run", "math:sqrt") as run:
        run.feed("1\n" * 10)
        assert run.out() == "1.0\n"

        run.hang_up("stdout")
        run.feed("1\n" * 10)

        assert run.end() == 1
        assert run.seen == ""


def test_values_come_out_while_the_input_is_still_open(folder: Path) -> None:
    with child(folder, "run", "math:sqrt") as run:
        for number in (1, 2, 3):
            run.feed(f"{number * number}\n")
            assert run.out() == f"{number}.0\n"


# Worker processes ---------------------------------------------------------------------


@pytest.mark.parametrize("console_script", [False, True])
def test_a_module_of_the_current_directory_is_found_by_worker_processes(
    tmp_path: Path, console_script: bool
) -> None:
    """As an installed script too, where Python itself puts another directory on the path."""
    script = tmp_path / "bin" / "start.py"
    script.parent.mkdir()
    script.write_text("from actorflow.cli import main\nif __name__ == '__main__':\n    main()\n")
    folder = tmp_path / "work"
    folder.mkdir()
    write_module(
        folder,
        "import os\n"
        "from actorflow import Pipeline, stage\n"
        "@stage(runs_in='process')\n"
        "def square(number): return [number * number, os.getpid()]\n"
        "flow = Pipeline([square])\n",
        "squares",
    )
    with child(folder, "run", "squares:flow", script=script if console_script else None) as run:
        run.feed("2\n3\n")
        run.hang_up("stdin")

        assert run.end() == 0, run.seen

    values = json_lines(run.rest)
    assert [number for number, _ in values] == [4, 9]
    assert run.process.pid not in {process for _, process in values}


def test_python_m_actorflow_is_the_command(tmp_path: Path) -> None:
    with child(tmp_path, "--version") as version:
        assert version.end() == 0
        assert version.rest.startswith("actorflow, version ")
