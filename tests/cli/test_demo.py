"""The demo: what it takes, what it does to a file, and that dying workers change nothing."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actorflow.cli.demo import tree, work
from actorflow.cli.demo.flow import draw_crashes
from actorflow.cli.demo.kills import prove, show_proof
from actorflow.cli.demo.table import Facts, show
from actorflow.cli.demo.tally import Tally
from actorflow.cli.drive import Outcome
from actorflow.core.letters import DeadLetter
from actorflow.flows.results import Latency, Report, StageStats
from tests.cli.support import PACKAGE, invoke, json_lines

GOOD = "def greet(name):  # politely\n    return name + 1\n\n\nclass Greeter:\n    pass\n"


@pytest.fixture
def forest(tmp_path: Path) -> Path:
    """A small tree of files, some of them broken in different ways."""
    root = tmp_path / "lib"
    for number in range(24):
        folder = root / f"part{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"good{number:02}.py").write_text(GOOD + f"x = {number}\n" * number)
    (root / "bad_coding.py").write_bytes(b"# -*- coding: uft-8 -*-\n")
    (root / "bad_bytes.py").write_bytes(b"x = '\xff'\n")
    (root / "bad_syntax.py").write_text("x = 1\nprint 'hello'\n")
    (root / "bad_brackets.py").write_text("x = (1,\n")
    (root / "empty.py").write_text("")
    (root / "site-packages").mkdir()
    (root / "site-packages" / "theirs.py").write_text("x = 1\n")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "secret.py").write_text("x = 1\n")
    (root / "notes.txt").write_text("no Python\n")
    return root


# What it takes ------------------------------------------------------------------------


def test_every_source_file_is_found_but_installed_and_hidden_ones(forest: Path) -> None:
    found = tree.files(str(forest))

    assert len(found) == 24 + 5
    assert found == sorted(found)
    assert os.path.join("part1", "good04.py") in found
    assert not any("site-packages" in each or "hidden" in each for each in found)


def test_the_library_of_this_interpreter_is_there() -> None:
    assert "tokenize.py" in tree.files(tree.standard_library())


def test_a_small_choice_is_spread_evenly_and_has_broken_files_in_it() -> None:
    names = sorted([f"m{number:03}.py" for number in range(100)] + ["bad_a.py", "bad_b.py"])

    taken = tree.chosen(names, 12)

    assert len(set(taken)) == 12
    assert taken == sorted(taken)
    assert taken[:2] == ["bad_a.py", "bad_b.py"]
    assert taken[2:4] == ["m000.py", "m010.py"]


@pytest.mark.parametrize("most", range(1, 12))
def test_a_choice_is_as_large_as_wished(most: int) -> None:
    names = [*(f"bad_{number}.py" for number in range(5)), *"abcde"]

    assert len(set(tree.chosen(names, most))) == min(most, 10)


def test_without_broken_files_the_choice_is_of_the_others() -> None:
    assert tree.chosen(list("abcdef"), 3) == ["a", "c", "e"]


# What it does to a file ---------------------------------------------------------------


def record(forest: Path, path: str) -> dict[str, Any]:
    tally = Tally()
    source = work.read({"root": str(forest), "path": path})
    return work.summarise(work.measure(work.tokenise(source)), tally)


def test_a_file_becomes_a_line_of_figures(forest: Path) -> None:
    assert record(forest, "part0/good00.py") == {
        "path": "part0/good00.py",
        "bytes": len(GOOD),
        "lines": 6,
        "blank": 2,
        "longest": 28,
        "tokens": 26,
        "comments": 1,
        "functions": 1,
        "classes": 1,
        "names": 3,
        "common": ["name", "Greeter", "greet"],
    }


def test_an_empty_file_is_a_program(forest: Path) -> None:
    found = record(forest, "empty.py")

    assert (found["lines"], found["longest"], found["common"]) == (0, 0, [])


def test_what_python_only_warns_of_is_a_program(forest: Path) -> None:
    (forest / "old.py").write_text("x = '\\d'\n")

    assert record(forest, "old.py")["names"] == 1


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("bad_coding.py", SyntaxError, "unknown encoding: uft-8"),
        ("bad_bytes.py", SyntaxError, "invalid or missing encoding declaration"),
        ("bad_syntax.py", work.NotPython, "SyntaxError: Missing parentheses in call to 'print'"),
        ("bad_brackets.py", work.NotPython, "TokenError|SyntaxError"),
        ("missing.py", FileNotFoundError, "No such file"),
    ],
)
def test_a_broken_file_says_what_is_wrong(
    forest: Path, path: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        record(forest, path)


# What it shows ------------------------------------------------------------------------


def shown(width: int, dead: int) -> list[str]:
    stats = StageStats(
        received=1_234_567,
        emitted=1_234_567,
        failed=1_234,
        skipped=0,
        retried=1_234,
        pending=0,
        running=0,
        workers=8,
        latency=Latency(mean=0.01234, max=1.5),
    )
    letters = tuple(
        DeadLetter(
            id=number,
            body={"path": f"test/test_some_part_of_it/badsyntax_future{number:02}.py"},
            stage_or_actor="tokenise",
            reason="failed",
            error=work.NotPython(f"SyntaxError: {'a long story ' * 20}, line 3"),
        )
        for number in range(dead)
    )
    report = Report(
        run_id="x",
        counts={"fed": 1_234_567, "done": 1_233_333, "skipped": 0, "dead": 1_234, "held": 0},
        duration=75.0,
        stages=dict.fromkeys(["read", "tokenise", "measure", "summarise"], stats),
        errors=(),
        dead=letters,
        restarts=12,
    )
    outcome = Outcome(report=report, error=None, read=True, interrupted=False)
    tally = Tally()
    tally.add("test/" + "very_" * 30 + "long.py", 12_345, 123_456, {"self": 99}, 1.25)
    file = io.StringIO()
    facts = Facts("/usr/lib/python3", 1_234_567, 89, "/tmp/" + "long/" * 20 + "out.jsonl", True)
    show(Console(file=file, width=width), outcome, facts, tally)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_terminal(width: int) -> None:
    lines = shown(width, dead=40)

    assert max(map(len, lines)) <= width
    whole = [line.split() for line in lines]
    assert ["stage", "workers", "received", "emitted", "failed", "retried", "mean"] in whole
    assert ["read", "8", *["1,234,567"] * 2, *["1,234"] * 2, "12.3", "ms"] in whole
    assert ["file", "lines", "tokens", "tokenised", "in"] in whole
    text = "\n".join(lines)
    assert "1,234,567, 89 left out (--files all takes them)" in text
    assert "1 min 15 s, 16,461 files/s" in text
    assert "12 workers restarted" in text
    assert "badsyntax_future29.py" in text
    assert "and 10 more; of all:" in text


# The job itself -----------------------------------------------------------------------


def run_demo(forest: Path, name: str, *args: str) -> tuple[list[Any], str]:
    output = forest.parent / name
    result = invoke("demo", "--tree", str(forest), "--output", str(output), *args)
    assert result.exit_code == 0, result.stderr
    return json_lines(output.read_text()), result.stdout


def test_dying_workers_change_nothing_of_the_result(
    forest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound, told = run_demo(forest, "sound.jsonl")
    crashing, told_of_crashes = run_demo(forest, "crashing.jsonl", "--kill-workers")

    assert [each["path"] for each in sound] == sorted(
        os.path.relpath(each, forest) for each in forest.rglob("*.py") if is_good(each)
    )
    assert crashing == sound
    assert caplog.records == []  # The table has the crashes that were asked for.
    assert "0 workers restarted, 0 attempts repeated" in told
    # One process ended by os._exit; two workers of each other stage by SystemExit.
    assert "5 workers restarted, 5 attempts repeated" in told_of_crashes
    for text in (told, told_of_crashes):
        for each in ("bad_coding.py", "bad_bytes.py", "bad_syntax.py", "bad_brackets.py"):
            assert each in text


def is_good(path: Path) -> bool:
    return not path.name.startswith("bad") and not {"site-packages", ".hidden"} & {*path.parts}


def test_crashes_are_the_same_every_time_and_in_every_stage() -> None:
    paths = [f"{number}.py" for number in range(300)]

    crashes = draw_crashes(paths, "folder")

    assert crashes == draw_crashes(paths, "folder")
    sizes = [len(each) for each in (crashes.tokenise, crashes.measure, crashes.summarise)]
    assert sizes == [4, 16, 16]


def test_a_tree_without_sources_is_usage(tmp_path: Path) -> None:
    result = invoke("demo", "--tree", str(tmp_path))

    assert result.exit_code == 2
    assert result.stderr == (
        f"actorflow: there are no Python files below {tmp_path}; name others: --tree\n"
    )


def test_an_output_that_cannot_be_written_is_usage(forest: Path) -> None:
    result = invoke("demo", "--tree", str(forest), "--output", str(forest))

    assert result.exit_code == 2
    assert result.stderr == f"actorflow: cannot write {forest}: Is a directory\n"


def test_without_worker_processes_the_demo_says_what_to_install(
    forest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    result = invoke("demo", "--tree", str(forest))

    assert result.exit_code == 2
    assert result.stderr == (
        "actorflow: actorflow demo needs trio-parallel; "
        "install it with: pip install 'actorflow[process]'\n"
    )


# Killing the process ------------------------------------------------------------------


def test_the_demo_is_killed_several_times_and_proves_that_nothing_is_lost_or_doubled(
    forest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    sound, _ = run_demo(forest, "sound.jsonl")

    killed, told = run_demo(forest, "killed.jsonl", "--kill")

    assert killed == sound
    lines = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert int(lines["kills"]) == 3
    assert told.count("SIGKILL to process") == int(lines["kills"])
    assert (lines["files"], lines["lost"], lines["doubled"]) == ("29", "0", "0")
    assert lines["dead"] == "letters  4 (4 failed)"


def test_what_is_lost_doubled_or_strange_is_named(
    forest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prove.__globals__, "stored_letters", lambda url, run: LETTERS)
    output = forest / "out.jsonl"
    output.write_text("".join(f'{{"path": "{name}"}}\n' for name in ("a", "b", "b", "c", "x")))

    proof = prove(["a", "b", "c", "d", "e"], str(output), "sqlite:///any.db", "demo")

    assert not proof.holds
    assert (proof.lost, proof.doubled, proof.strange) == (("d", "e"), ("b", "c"), ("x",))
    file = io.StringIO()
    show_proof(Console(file=file, width=80), proof, 3, "out.jsonl")
    assert file.getvalue().splitlines() == [
        "kills         3",
        "files         5",
        "output        5 lines in out.jsonl",
        "dead letters  2 (1 failed, 1 poison)",
        "lost          2: d, e",
        "doubled       2: b, c",
        "strange       1: x",
    ]


LETTERS = [
    DeadLetter(id=1, body={"path": "c"}, stage_or_actor="read", reason="failed"),
    DeadLetter(id=2, body={"path": "d"}, stage_or_actor="read", reason="poison"),
]


def test_a_life_that_ends_otherwise_is_told(forest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PACKAGE)

    result = invoke("demo", "--kill", "--tree", str(forest), "--output", str(forest))

    assert result.exit_code == 1
    assert "ended with exit code 2: actorflow: cannot write " in result.stderr


@pytest.mark.parametrize("args", [("--output", "-"), ("--kill-workers",)])
def test_what_does_not_go_together_with_kill_is_usage(forest: Path, args: tuple[str, ...]) -> None:
    result = invoke("demo", "--kill", "--tree", str(forest), *args)

    assert result.exit_code == 2
    assert "--kill needs a file as --output" in result.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "memory:",
            "--kill needs a store that outlives the process, and memory: ends with it; "
            "write --store sqlite:///demo.db, or no --store",
        ),
        ("nowhere:", "store must be 'sqlite:///run.db'"),
    ],
)
def test_a_store_that_ends_with_the_process_is_not_killed(
    forest: Path, tmp_path: Path, url: str, words: str
) -> None:
    output = tmp_path / "out.jsonl"
    args = ("--kill", "--store", url, "--tree", str(forest), "--output", str(output))

    result = invoke("demo", *args)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"actorflow: {words}")
    assert not output.exists()


def test_the_demo_reports_as_one_json_object(forest: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"

    result = invoke("demo", "--json", "--tree", str(forest), "--output", str(output))

    found = json.loads(result.stdout)
    assert result.exit_code == found["exit_code"] == 0
    assert found["counts"] == {"fed": 29, "done": 25, "skipped": 0, "dead": 4, "held": 0}
    assert (found["flow"], found["run_id"], found["status"]) == (
        "demo",
        "demo",
        "done, with dead letters",
    )
    assert (found["root"], found["files"], found["left_out"]) == (str(forest), 29, 0)
    assert (found["output"], found["lines"]) == (str(output), 420)
    assert len(json_lines(output.read_text())) == 25


def test_values_on_standard_output_put_the_json_report_beside_them(forest: Path) -> None:
    result = invoke("demo", "--json", "--tree", str(forest), "--output", "-")

    assert len(json_lines(result.stdout)) == 25
    assert json.loads(result.stderr.splitlines()[-1])["counts"]["done"] == 25


def test_the_proof_of_a_killed_demo_is_one_json_object(
    forest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PACKAGE)
    output = str(forest / "out.jsonl")

    result = invoke("demo", "--kill", "--json", "--tree", str(forest), "--output", output)

    assert json.loads(result.stdout) == {
        "exit_code": 0,
        "kills": 3,
        "files": 29,
        "lines": 25,
        "output": output,
        "dead": {"failed": 4},
        "lost": [],
        "doubled": [],
        "strange": [],
    }
    assert result.stderr.count("SIGKILL to process") == 3


def test_a_demo_in_a_store_of_ones_own_is_kept(forest: Path, tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path}/demo.db")
    first, _ = run_demo(forest, "out.jsonl", *store)

    again, told = run_demo(forest, "out.jsonl", *store)

    assert again == first
    assert "before; nothing was run" in told
