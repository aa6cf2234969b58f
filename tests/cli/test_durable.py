"""``actorflow run --store``: the same command goes on, whatever ended the one before."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import child, invoke, json_lines, write_module

FLOWS = """
import os, sys
import trio
from actorflow import Pipeline, stage

def say(text):
    print(text, file=sys.stderr, flush=True)

@stage(workers=3)
async def double(number):
    return {"n": number, "twice": 2 * number}

@stage(workers=2)
async def gate(value):
    if value["n"] % 10 == 3 and not os.path.exists("fixed"):
        raise ValueError(f"{value['n']} is unlucky")
    if os.path.exists(f"wall{value['n']}"):
        say(f"at the wall {value['n']}")
        await trio.sleep_forever()
    return value

@stage
async def deaf(number):
    if os.path.exists("deaf"):
        say("handler runs")
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
    say(f"did {number}")
    return number

flow = Pipeline([double, gate], name="shop")
deaf_flow = Pipeline([deaf], name="deaf")
renamed = Pipeline([double, stage(gate, name="door")], name="shop")
"""

FILES = ("--input", "in.jsonl", "--output", "out.jsonl", "--store", "sqlite:///run.db")
STORE = ("--store", "sqlite:///run.db")
COUNT = 200


@pytest.fixture
def module(here: Path) -> str:
    (here / "in.jsonl").write_text("".join(f"{number}\n" for number in range(COUNT)))
    return write_module(here, FLOWS)


def run(target: str, *more: str) -> Any:
    return invoke("run", target, *FILES, *more)


def known(run: str) -> dict[str, Any]:
    """What the store says of a run."""
    result = invoke("runs", "show", run, *STORE, "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def held(run: str) -> int:
    """How many messages its checkpoint has."""
    found = invoke("snapshot", "show", run, *STORE, "--json")
    return int(json.loads(found.stdout)["messages"])


# Going on -----------------------------------------------------------------------------


def test_kill_9_in_the_middle_and_the_same_command_gives_what_an_undisturbed_run_gives(
    here: Path, module: str
) -> None:
    undisturbed = ("--input", "in.jsonl", "--output", "whole.jsonl", "--dead", "whole-dead.jsonl")
    assert invoke("run", f"{module}:flow", *undisturbed).exit_code == 3
    command = ("run", f"{module}:flow", *FILES, "--dead", "dead.jsonl")

    for wall in (50, 121):
        (here / f"wall{wall}").touch()
        with child(here, *command) as life:
            life.wait_for(f"at the wall {wall}")
            life.send(signal.SIGKILL)
            assert life.end() == -signal.SIGKILL
        (here / f"wall{wall}").unlink()
        assert known("shop")["status"] == "running"
    with child(here, *command) as life:
        assert life.end() == 3, life.seen

    for one, other in (("out.jsonl", "whole.jsonl"), ("dead.jsonl", "whole-dead.jsonl")):
        lines = (here / one).read_text().splitlines()
        assert sorted(lines) == sorted((here / other).read_text().splitlines())
    assert f"fed {COUNT}  done {COUNT - 20}  skipped 0  dead 20  held 0" in life.seen


def test_a_finished_run_shows_its_report_again_and_runs_nothing(here: Path, module: str) -> None:
    first = run(f"{module}:flow", "--dead", "dead.jsonl")
    written = (here / "out.jsonl").read_bytes(), (here / "dead.jsonl").read_bytes()
    (here / "in.jsonl").unlink()
    (here / "in.jsonl").write_text("")

    again = run(f"{module}:flow", "--dead", "dead.jsonl")

    assert (first.exit_code, again.exit_code) == (3, 3)
    title, *rest = again.stderr.splitlines()
    assert title == "flow shop, run shop: done, with dead letters before; nothing was run"
    assert rest[0].startswith("fed 200  done 180  skipped 0  dead 20  held 0")
    assert ((here / "out.jsonl").read_bytes(), (here / "dead.jsonl").read_bytes()) == written
    report = json.loads(run(f"{module}:flow", "--json").stdout)
    assert report["finished_before"]
    assert report["counts"] == {"fed": 200, "done": 180, "skipped": 0, "dead": 20, "held": 0}


def test_a_report_of_another_version_of_the_flow_is_said_to_be_that(
    here: Path, module: str
) -> None:
    (here / "fixed").touch()
    assert run(f"{module}:flow").exit_code == 0

    with child(here, "run", f"{module}:renamed", *FILES) as other:
        code = other.end()

    assert code == 0
    assert "done before; nothing was run" in other.seen
    (line,) = [each for each in other.seen.splitlines() if "was finished by version" in each]
    assert line.startswith("run 'shop' was finished by version ")


def test_results_are_in_the_store_if_that_is_wanted(here: Path, module: str) -> None:
    (here / "in.jsonl").write_text("1\n3\n")
    assert run(f"{module}:flow", "--results", "store").exit_code == 3

    results = json_lines(invoke("runs", "results", "shop", *STORE).stdout)

    assert sorted((each["id"], each["status"]) for each in results) == [(0, "done"), (1, "failed")]
    done, failed = sorted(results, key=lambda each: each["id"])
    assert done["value"] == {"n": 1, "twice": 2}
    assert failed["error"] == {"type": "ValueError", "text": "3 is unlucky"}
    assert json.loads(invoke("runs", "results", "shop", *STORE, "--json").stdout) == results


def test_several_runs_live_in_one_store(here: Path, module: str) -> None:
    for name in ("monday", "tuesday"):
        assert run(f"{module}:flow", "--run-id", name).exit_code == 3

    found = json.loads(invoke("runs", *STORE, "--json").stdout)

    assert {each["run"] for each in found} == {"monday", "tuesday"}


# Signals ------------------------------------------------------------------------------


def test_sigterm_parks_the_run_and_the_rest_of_the_input_may_come_next_time(
    here: Path, module: str
) -> None:
    command = ("run", f"{module}:deaf_flow", "--output", "out.jsonl", *STORE)
    (here / "deaf").touch()
    with child(here, *command) as life:
        life.feed("1\n2\n")
        life.wait_for("handler runs")
        while held("deaf") < 2:  # On disk a moment after they were read.
            assert life.process.poll() is None
        life.send(signal.SIGTERM)
        life.wait_for("finishing what is held")
        life.send(signal.SIGTERM)
        life.wait_for("stopping")
        life.send(signal.SIGTERM)
        assert life.end() == 1
    assert known("deaf")["status"] == "running"  # It went without a last checkpoint.
    (here / "deaf").unlink()
    with child(here, *command) as life:
        life.feed("3\n")
        life.wait_for("did 3")
        life.send(signal.SIGTERM)
        life.wait_for("finishing what is held")
        assert life.end() == 75, life.seen
        assert "standard input cannot be read again" in life.seen
        assert "the input was not read to its end" in life.seen
    assert known("deaf")["status"] == "parked"
    with child(here, *command) as life:
        life.feed("4\n")
        life.hang_up("stdin")
        assert life.end() == 0, life.seen

    values = json_lines((here / "out.jsonl").read_text())
    assert sorted(values) == [1, 2, 3, 4]
    assert known("deaf")["status"] == "finished"


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGTERM, signal.SIGTERM], 75), ([signal.SIGINT], 130)],
)
def test_a_run_that_was_stopped_keeps_what_it_holds(
    here: Path, module: str, signals: list[signal.Signals], code: int
) -> None:
    (here / "wall7").touch()
    with child(here, "run", f"{module}:flow", *FILES) as life:
        life.wait_for("at the wall 7")
        for number in signals:
            life.send(number)
            if number == signal.SIGTERM and "finishing" not in life.seen:
                life.wait_for("finishing what is held")
        assert life.end() == code
        assert "; the same command goes on\n" in life.seen
    (here / "wall7").unlink()
    assert known("shop")["status"] == "parked"

    assert run(f"{module}:flow").exit_code == 3

    values = json_lines((here / "out.jsonl").read_text())
    assert sorted(each["n"] for each in values) == [n for n in range(COUNT) if n % 10 != 3]


# What cannot be -----------------------------------------------------------------------


def one_line(result: Any, code: int) -> str:
    assert result.exit_code == code, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return str(result.stderr)


def test_a_run_in_use_is_refused_by_name(here: Path, module: str) -> None:
    (here / "wall0").touch()
    with child(here, "run", f"{module}:flow", *FILES) as life:
        life.wait_for("at the wall")

        line = one_line(run(f"{module}:flow"), 1)
        refused = one_line(invoke("runs", "delete", "shop", *STORE), 1)

    assert line.startswith(
        f"actorflow: RunInUseError: run 'shop': in use by process {life.process.pid}"
    )
    assert line.endswith("wait for it, or give another --run-id\n")
    assert refused.startswith("actorflow: RunInUseError: run 'shop': in use by process ")


def test_another_version_of_the_flow_says_what_differs_and_how_to_go_on(
    here: Path, module: str
) -> None:
    (here / "wall7").touch()
    with child(here, "run", f"{module}:flow", *FILES) as life:
        life.wait_for("at the wall")
        life.send(signal.SIGINT)
        life.end()
    (here / "wall7").unlink()

    refused = run(f"{module}:renamed")
    gone_on = run(f"{module}:renamed", "--migrate", "gate=door")

    assert refused.exit_code == 1
    head, *changes = refused.stderr.splitlines()
    assert head.startswith("actorflow: VersionMismatch: run 'shop' was begun by version ")
    assert head.endswith("give another --run-id, or say --migrate OLD=NEW")
    assert "  - stage 'gate': version 1, gives one value" in changes
    assert "  + stage 'door': version 1, gives one value" in changes
    assert gone_on.exit_code == 3
    values = json_lines((here / "out.jsonl").read_text())
    assert sorted(each["n"] for each in values) == [n for n in range(COUNT) if n % 10 != 3]


def test_an_input_that_was_changed_is_told(here: Path, module: str) -> None:
    (here / "in.jsonl").write_text("7\n" * 5000)  # More than the window: its end is not read.
    (here / "wall7").touch()
    with child(here, "run", f"{module}:flow", *FILES) as life:
        life.wait_for("at the wall")
        life.send(signal.SIGINT)
        assert life.end() == 130
    (here / "in.jsonl").write_text("8\n" * 5000)
    (here / "wall7").unlink()

    result = run(f"{module}:flow")

    assert result.exit_code == 1
    assert "actorflow: SourceChanged: run 'shop': its input in.jsonl has changed" in result.stderr


def test_never_and_must_mean_what_they_say(here: Path, module: str) -> None:
    missing = one_line(run(f"{module}:flow", "--resume", "must"), 2)
    assert not (here / "out.jsonl").exists()
    assert run(f"{module}:flow", "--resume", "never").exit_code == 3
    exists = one_line(run(f"{module}:flow", "--resume", "never"), 1)

    assert missing.startswith("actorflow: RunNotFoundError: run 'shop': there is none")
    assert exists == (
        "actorflow: RunExistsError: run 'shop': there is one already; "
        "give another --run-id, or --resume auto\n"
    )


def test_a_store_that_cannot_be_is_one_line(here: Path, module: str) -> None:
    (here / "bad.db").write_text("this is no database at all, and never was")
    for url, code, words in (
        ("sqlite:///bad.db", 1, "StoreCorrupt: "),
        ("sqlite:///no/run.db", 2, f"there is no folder {here}/no; make it first"),
        (f"sqlite:///{here}", 1, "is a folder; give the path of a file"),
        ("redis://host", 2, "redis is not in this release"),
        ("sqlite:///in.jsonl", 2, "--input and --store are the same file, in.jsonl"),
    ):
        result = invoke("run", f"{module}:flow", *FILES[:-1], url)

        assert words in one_line(result, code)
    assert not (here / "out.jsonl").exists()


def test_a_store_of_a_later_release_is_refused(here: Path, module: str) -> None:
    assert run(f"{module}:flow").exit_code == 3
    with contextlib.closing(sqlite3.connect(here / "run.db")) as db:
        db.execute("UPDATE meta SET version = 999")
        db.commit()

    line = one_line(run(f"{module}:flow"), 1)

    assert "actorflow: SchemaTooNew: " in line
    assert "upgrade actorflow" in line


@pytest.mark.parametrize(
    "option", [("--resume", "must"), ("--results", "store"), ("--keep", "9"), ("--migrate", "a=b")]
)
def test_options_of_a_store_need_one(module: str, option: tuple[str, str]) -> None:
    line = one_line(invoke("run", f"{module}:flow", "--input", "in.jsonl", *option), 2)

    assert line == f"actorflow: {option[0]} needs --store\n"


def test_another_output_than_the_run_has_is_refused_before_it_is_touched(
    here: Path, module: str
) -> None:
    (here / "wall7").touch()
    with child(here, "run", f"{module}:flow", *FILES) as life:
        life.wait_for("at the wall")
        life.send(signal.SIGINT)
        life.end()

    result = invoke("run", f"{module}:flow", "--input", "in.jsonl", *STORE)

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("give the --output that the run began with")


def test_an_output_that_cannot_be_opened_is_usage_and_the_run_is_free(
    here: Path, module: str
) -> None:
    target = ("run", f"{module}:flow", "--input", "in.jsonl", *STORE, "--output")

    line = one_line(invoke(*target, str(here)), 2)

    assert line == f"actorflow: cannot write {here}: Is a directory\n"
    assert invoke(*target, "out.jsonl").exit_code == 3
    assert len((here / "out.jsonl").read_text().splitlines()) == 180


# What is said -------------------------------------------------------------------------


def test_what_goes_to_a_pipe_is_said_to_be_at_least_once(here: Path, module: str) -> None:
    kept = invoke("run", f"{module}:flow", "--input", "in.jsonl", *STORE)
    memory = invoke("run", f"{module}:flow", "--input", "in.jsonl")

    words = "actorflow: what goes to standard output is at-least-once"
    assert kept.stderr.count(words) == 1
    assert memory.stderr.count(words) == 0
    assert len(kept.stdout.splitlines()) == 180


def test_the_help_tells_of_kill_9() -> None:
    assert "kill -9" in invoke("run", "--help").stdout
