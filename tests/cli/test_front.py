"""The program as a whole: version, help, and what everything else is answered."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import click
import pytest

from actorflow.cli import main
from actorflow.cli.front import Code, in_words, one_line
from tests.cli.support import PACKAGE, invoke

COMMANDS = ["run", "check", "graph", "runs", "snapshot", "dead", "demo"]


def test_the_version_is_that_of_the_package() -> None:
    assert invoke("--version").stdout == f"actorflow, version {version('actorflow')}\n"


@pytest.mark.parametrize(
    "name",
    [
        *("runs show", "runs delete", "runs results"),
        *("snapshot show", "snapshot diff", "snapshot export"),
        *("dead list", "dead show", "dead purge", "dead replay"),
    ],
)
def test_the_help_of_every_subcommand_has_an_example_and_json(name: str) -> None:
    text = invoke(*name.split(), "--help").stdout

    assert f"Example: actorflow {name}" in text
    assert "--json" in text
    assert "--store URL" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example(name: str) -> None:
    for option in ("--help", "-h"):
        result = invoke(name, option)

        assert result.exit_code == 0
        assert f"Example: actorflow {name}" in result.stdout


def test_the_help_lists_every_command_and_exit_code() -> None:
    text = invoke("--help").stdout

    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert all(f"\n    {code:>3}  " in text for code in Code)


def test_without_a_command_the_help_goes_to_standard_error() -> None:
    result = invoke()

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == invoke("--help").stdout


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["rn"], "actorflow: no such command 'rn'"),
        (["run"], "actorflow run: missing argument 'MODULE:FLOW'; see actorflow run --help"),
        (["check", "a:b", "--wrong"], "actorflow check: no such option '--wrong'"),
        (["graph", "a:b", "--format", "png"], "actorflow graph: invalid value for '--format'"),
        (
            ["demo", "--files", "0"],
            "actorflow demo: invalid value for '--files': '0' is neither a number nor 'all'; "
            "see actorflow demo --help",
        ),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_help_is(args: list[str], line: str) -> None:
    result = invoke(*args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert " --help" in result.stderr


def test_an_error_in_words_obeys_no_terminal_and_fits_a_line() -> None:
    assert in_words(ValueError("a\n\tb\x1b[31m")) == "ValueError: a b?[31m"
    assert in_words(KeyError()) == "KeyError"
    assert len(one_line("x" * 10_000)) == 500


def test_ctrl_c_outside_a_run_is_exit_code_130_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @click.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(main.commands, "interrupted", interrupted)

    result = invoke("interrupted")

    assert result.exit_code == 130
    assert result.stderr.strip() == ""


def test_help_loads_neither_displays_nor_worker_processes() -> None:
    heavy = {"rich", "multiprocessing", "trio_parallel", "actorflow.cli.drive"}
    code = f"import sys, actorflow.cli; print(sorted({heavy!r} & set(sys.modules)))"

    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE, capture_output=True, timeout=30, check=True
    )

    assert found.stdout == b"[]\n"
