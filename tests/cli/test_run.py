"""`actorflow run` over files: what goes where, what is refused, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actorflow.cli.drive import Outcome
from tests.cli.support import invoke, json_lines, write_module

FLOWS = """
import os, signal
import trio
from actorflow import Pipeline, Retry, stage

@stage(workers=2)
async def add_one(number):
    if number == 7:
        raise ValueError("seven")
    return number + 1

@stage
async def shout(text):
    return text.upper()

@stage
async def make_object(number):
    return object() if number == 2 else number

@stage
async def fail_on_object(value):
    if not isinstance(value, int):
        raise TypeError("no number")
    return value

@stage(on_failure="halt")
async def halt(number):
    raise ValueError("enough")

@stage
async def signalled(number):
    os.kill(os.getpid(), signal.SIGTERM)
    await trio.sleep(10)

numbers = Pipeline([add_one], name="numbers")
words = Pipeline([shout], name="words")
objects = Pipeline([make_object], name="objects")
strict = Pipeline([make_object, fail_on_object], name="strict")
halting = Pipeline([halt], name="halting")
parked = Pipeline([signalled], name="parked")
"""


@pytest.fixture
def module(here: Path) -> str:
    return write_module(here, FLOWS)


def report_of(text: str) -> Any:
    """The report among other lines of standard error or output."""
    return next(json.loads(line) for line in text.splitlines() if line.startswith('{"flow"'))


# Where things go ----------------------------------------------------------------------


def test_values_go_to_standard_output_and_the_summary_to_standard_error(module: str) -> None:
    result = invoke("run", f"{module}:numbers", "--run-id", "monday", given="1\n2\n")

    assert result.exit_code == 0
    assert sorted(json_lines(result.stdout)) == [2, 3]
    title, counts, _, *table = result.stderr.splitlines()
    assert title == "flow numbers, run monday: done"
    assert counts.startswith("fed 2  done 2  skipped 0  dead 0  held 0   ")
    assert table == [
        "stage    received  emitted  failed  skipped  retried",
        "add_one         2        2       0        0        0",
    ]


def test_files_are_read_and_written(here: Path, module: str) -> None:
    (here / "in.jsonl").write_text("1\n\n2\n3")

    result = invoke("run", f"{module}:numbers", "--input", "in.jsonl", "--output", "out.jsonl")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert sorted(json_lines((here / "out.jsonl").read_text())) == [2, 3, 4]


def test_lines_of_text_go_in_and_out(module: str) -> None:
    formats = ("--input-format", "text", "--output-format", "text")

    result = invoke("run", f"{module}:words", *formats, given='one\n"two"\n')

    assert sorted(result.stdout.splitlines()) == ['"TWO"', "ONE"]


def test_text_may_come_in_and_json_go_out(module: str) -> None:
    result = invoke("run", f"{module}:words", "--input-format", "text", given="one\n")

    assert result.stdout == '"ONE"\n'


def test_the_report_goes_to_standard_output_if_the_values_do_not(here: Path, module: str) -> None:
    args = ("--output", "out.jsonl", "--run-id", "monday", "--json")

    result = invoke("run", f"{module}:numbers", *args, given="1\n7\nx\n")

    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report.pop("duration") > 0
    assert report.pop("stages")["add_one"]["received"] == 2
    assert report == {
        "flow": "numbers",
        "exit_code": 3,
        "status": "done, with dead letters",
        "input_read": True,
        "input_line": 3,
        "error": None,
        "run_id": "monday",
        "counts": {"fed": 3, "done": 1, "skipped": 0, "dead": 2, "held": 0},
        "restarts": 0,
        "errors": [
            {
                "stage": "input",
                "type": "DecodeError",
                "count": 1,
                "example": "stdin:3: not JSON at column 1 (Expecting value)",
            },
            {"stage": "add_one", "type": "ValueError", "count": 1, "example": "seven"},
        ],
    }


def test_the_report_goes_to_standard_error_if_the_values_go_to_standard_output(
    module: str,
) -> None:
    result = invoke("run", f"{module}:numbers", "--json", given="1\n")

    assert result.stdout == "2\n"
    assert json.loads(result.stderr)["exit_code"] == 0


# Dead letters -------------------------------------------------------------------------


def test_dead_letters_are_exit_code_3_and_named_in_the_summary(module: str) -> None:
    result = invoke("run", f"{module}:numbers", given="1\n7\n")

    assert result.exit_code == 3
    assert result.stdout == "2\n"
    assert result.stderr.splitlines()[-1] == "1 x add_one: ValueError: seven"


def test_a_malformed_line_is_a_dead_letter_with_its_number_and_the_rest_is_processed(
    here: Path, module: str
) -> None:
    (here / "in.jsonl").write_text('1\n{"a":\n3\n')

    result = invoke("run", f"{module}:numbers", "--input", "in.jsonl", "--dead", "dead.jsonl")

    assert result.exit_code == 3
    assert sorted(json_lines(result.stdout)) == [2, 4]
    assert json_lines((here / "dead.jsonl").read_text()) == [
        {
            "id": "in.jsonl:2",
            "stage": "input",
            "reason": "failed",
            "attempts": 0,
            "error": {
                "type": "DecodeError",
                "text": "in.jsonl:2: not JSON at column 6 (Expecting value)",
            },
            "body": '{"a":',
            "line": 2,
        }
    ]


def test_a_dead_letter_says_where_and_why_and_holds_the_body(here: Path, module: str) -> None:
    invoke("run", f"{module}:numbers", "--dead", "dead.jsonl", given="1\n7\n")

    assert json_lines((here / "dead.jsonl").read_text()) == [
        {
            "id": 1,
            "stage": "add_one",
            "reason": "failed",
            "attempts": 1,
            "error": {"type": "ValueError", "text": "seven"},
            "body": 7,
        }
    ]


def test_a_body_without_a_json_form_does_not_keep_its_dead_letter_from_the_file(
    here: Path, module: str
) -> None:
    result = invoke("run", f"{module}:strict", "--dead", "dead.jsonl", given="1\n2\n")

    assert result.exit_code == 3
    (letter,) = json_lines((here / "dead.jsonl").read_text())
    assert letter["stage"] == "fail_on_object"
    assert letter["body_repr"].startswith("<object object at 0x")
    assert "body" not in letter


def test_without_dead_letters_their_file_is_empty(here: Path, module: str) -> None:
    (here / "dead.jsonl").write_text("from yesterday\n")

    invoke("run", f"{module}:numbers", "--dead", "dead.jsonl", given="1\n")

    assert (here / "dead.jsonl").read_text() == ""


# Failing ------------------------------------------------------------------------------


def test_a_run_that_cannot_go_on_is_exit_code_1_and_says_why(module: str) -> None:
    result = invoke("run", f"{module}:halting", given="1\n2\n")

    assert result.exit_code == 1
    assert "halting, run" in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[0].split(": ")[1].startswith("failed")
    assert result.stderr.splitlines()[-1].startswith("actorflow: ")
    assert "enough" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_value_without_a_json_form_fails_the_run(module: str) -> None:
    result = invoke("run", f"{module}:objects", given="2\n")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "actorflow: EncodeError: values[0]: object has no JSON form; "
        "turn it into a dict, a list or a str"
    )


def test_work_left_when_the_time_to_drain_is_over_is_exit_code_75(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actorflow.cli.drive.DRAIN_SECONDS", 0.05)

    result = invoke("run", f"{module}:parked", "--json", given="1\n")

    assert result.exit_code == 75
    report = report_of(result.stderr)
    assert report["status"] == "ended with work left"
    assert report["counts"] == {"fed": 1, "done": 0, "skipped": 0, "dead": 0, "held": 1}


# Refused before anything runs ---------------------------------------------------------


HELP = "see actorflow run --help"
NO_STAGE = "no stage is named 'ad_one' (did you mean 'add_one'?); it has 'add_one'"
LEVELS = "'bar', 'compact', 'detailed', 'full', 'none'"


def bad_value(option: str, text: str) -> str:
    return f"actorflow run: invalid value for {option!r}: {text}; {HELP}"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--input", "nope"], "actorflow: cannot read nope: No such file or directory"),
        (["--input", "."], "actorflow: cannot read .: Is a directory"),
        (["--output", "no/out"], "actorflow: cannot write no/out: No such file or directory"),
        (
            ["--dead", "dead.jsonl", "--output", "no/out"],
            "actorflow: cannot write no/out: No such file or directory",
        ),
        (["--dead", "no/dead"], "actorflow: cannot write no/dead: No such file or directory"),
        (["--dead", "-"], "actorflow: --dead needs the name of a file, not -"),
        (
            ["--run-id", "a/b"],
            "actorflow: run option run_id must be 1 to 200 printable characters without '/', "
            "got 'a/b'",
        ),
        (["--workers", "ad_one=2"], f"actorflow: --workers: flow 'numbers': {NO_STAGE}"),
        (
            ["--workers", "add_one"],
            bad_value("--workers", "'add_one' is not STAGE=N, such as fetch=8"),
        ),
        (
            ["--workers", "add_one=0"],
            bad_value("--workers", "'add_one=0' is not STAGE=N, such as fetch=8"),
        ),
        (["--progress", "lots"], bad_value("--progress", f"'lots' is not one of {LEVELS}")),
    ],
)
def test_a_wrong_option_is_told_in_one_line_and_nothing_runs(
    module: str, args: list[str], line: str
) -> None:
    result = invoke("run", f"{module}:numbers", *args, given="1\n")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"{line}\n"


@pytest.mark.parametrize(
    ("one", "other"), [("--input", "--output"), ("--input", "--dead"), ("--output", "--dead")]
)
def test_no_file_is_written_over_that_is_read_or_written_otherwise(
    here: Path, module: str, one: str, other: str
) -> None:
    (here / "data.jsonl").write_text("1\n")
    (here / "link.jsonl").symlink_to("data.jsonl")

    result = invoke("run", f"{module}:numbers", one, "data.jsonl", other, "link.jsonl")

    assert result.exit_code == 2
    assert result.stderr == f"actorflow: {one} and {other} are the same file, link.jsonl\n"
    assert (here / "data.jsonl").read_text() == "1\n"


def test_a_wrong_run_id_leaves_the_output_of_an_earlier_run_alone(here: Path, module: str) -> None:
    (here / "out.jsonl").write_text("precious\n")

    invoke("run", f"{module}:numbers", "--output", "out.jsonl", "--run-id", "a/b")

    assert (here / "out.jsonl").read_text() == "precious\n"


# Options of the flow ------------------------------------------------------------------


def test_workers_are_changed_for_the_stage_that_is_named(here: Path) -> None:
    module = write_module(
        here,
        "import trio\n"
        "from actorflow import Pipeline, stage\n"
        "inside = []\n"
        "all_in = trio.Event()\n"
        "async def meet(x):\n"
        "    inside.append(x)\n"
        "    if len(inside) == 5: all_in.set()\n"
        "    await all_in.wait()\n"
        "    return x\n"
        "flow = Pipeline([stage(meet, timeout=10)])\n",
    )

    result = invoke("run", f"{module}:flow", "--workers", "meet=5", given="1\n2\n3\n4\n5\n")

    assert result.exit_code == 0, result.stderr


def test_a_flow_of_the_user_stays_as_it_was_declared(module: str) -> None:
    invoke("run", f"{module}:numbers", "--workers", "add_one=5", given="1\n")

    assert "add_one  2 " in invoke("check", f"{module}:numbers").stdout


# The display --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "terminals", "shown"),
    [
        ([], {2}, "bar"),
        (["--progress", "full"], {2}, "full"),
        (["--progress", "none"], {2}, None),
        ([], {1, 2}, None),
        (["--progress", "full"], {1, 2}, None),
        (["--output", "out.jsonl"], {1, 2}, "bar"),
    ],
)
def test_a_display_is_never_drawn_between_the_values(
    here: Path,
    module: str,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    terminals: set[int],
    shown: str | None,
) -> None:
    assert options_of(monkeypatch, module, args, terminals)["progress"] == shown


@pytest.mark.parametrize(
    ("text", "terminals", "total"),
    [("1\n\n2\n3", {2}, 3), ("1\n\n2\n3", set(), None), ("", {2}, 0)],
)
def test_lines_are_counted_for_a_display_only(
    here: Path,
    module: str,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    terminals: set[int],
    total: int | None,
) -> None:
    (here / "in.jsonl").write_text(text)

    options = options_of(monkeypatch, module, ["--input", "in.jsonl"], terminals)

    assert options["total"] == total


def options_of(
    monkeypatch: pytest.MonkeyPatch, module: str, args: list[str], terminals: set[int]
) -> dict[str, Any]:
    """The options that `actorflow run` gives to the run; there is none."""
    given: dict[str, Any] = {}

    def drive(*_: object, **options: Any) -> Outcome:
        given.update(options)
        return Outcome(report=None, error=None, read=True, interrupted=False)

    monkeypatch.setattr("actorflow.cli.drive.drive", drive)
    monkeypatch.setattr("os.isatty", lambda descriptor: descriptor in terminals)
    assert invoke("run", f"{module}:numbers", *args).exit_code == 75
    return given
