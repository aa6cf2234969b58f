"""How rounds become figures, and figures a table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from benchmarks import __main__ as command
from benchmarks import catalogue
from benchmarks.measure import Answer, SideFailed, ask
from benchmarks.question import Figure, Question, Side, Target
from benchmarks.table import amount, rows_of, to_markdown, to_text


def nothing(items: int) -> Mapping[str, float]:
    raise AssertionError("the tests put a figure in its place")


SPEED = Figure(
    key="rate",
    title="speed",
    unit="items/s",
    targets=(Target(must=50, reach=200), Target(over="slow", must=2), Target(over="gone", must=3)),
)
WEIGHT = Figure(key="peak", title="weight", unit="MiB", least=True, targets=(Target(must=80),))

QUESTION = Question(
    name="how-fast",
    ours=Side(name="ours", run=nothing),
    peers=(
        Side(name="slow", run=nothing, share=0.2),
        Side(name="gone", run=nothing, needs="a_module_that_nobody_has"),
    ),
    figures=(SPEED, WEIGHT),
    items=1000,
    quick_items=100,
)

ROUNDS: Mapping[str, list[Mapping[str, float]]] = {
    "ours": [{"rate": 90, "peak": 70}, {"rate": 120, "peak": 79.5}, {"rate": 100, "peak": 60}],
    "slow": [{"rate": 30}, {"rate": 60}, {"rate": 40}],
}

ANSWER = Answer(QUESTION, 1000, ROUNDS, (QUESTION.peers[1],))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every side that a process is started for, and its load; no process is started."""
    found: list[tuple[str, int]] = []

    def start(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        side, load = arguments[-2:]
        found.append((side, int(load)))
        figures = ROUNDS[side][len([each for each in found if each[0] == side]) - 1]
        return subprocess.CompletedProcess(arguments, 0, f"noise\n{json.dumps(figures)}\n", "")

    monkeypatch.setattr(subprocess, "run", start)
    return found


def test_sides_take_turns_and_every_other_round_runs_backwards(
    started: list[tuple[str, int]],
) -> None:
    ask(QUESTION, rounds=3)

    sides = [side for side, _ in started]
    assert sides == ["ours", "slow", "slow", "ours", "ours", "slow"]


def test_a_side_gets_its_share_of_the_load(started: list[tuple[str, int]]) -> None:
    ask(QUESTION, quick=True, rounds=1)

    assert started == [("ours", 100), ("slow", 20)]


def test_a_peer_that_is_not_installed_is_left_out_and_named(
    started: list[tuple[str, int]],
) -> None:
    assert ask(QUESTION, rounds=3) == ANSWER


def test_a_side_that_fails_ends_the_question_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = subprocess.CompletedProcess[str]([], 1, "", "WrongAnswer: the sum")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: broken)

    with pytest.raises(SideFailed, match="how-fast: ours failed:\nWrongAnswer: the sum"):
        ask(QUESTION)


def test_alone_the_best_rate_and_the_worst_weight_count_and_beside_a_peer_medians() -> None:
    assert ANSWER.extreme("ours", SPEED) == 120
    assert ANSWER.extreme("ours", WEIGHT) == 79.5
    assert ANSWER.middle("ours", SPEED) == 100
    assert ANSWER.ratio("slow", SPEED) == 2.5  # Of 3.0, 2.0 and 2.5.


@pytest.mark.parametrize(
    ("least", "target", "measured", "met"),
    [
        (False, Target(must=10, reach=20), 9.9, "no"),
        (False, Target(must=10, reach=20), 10, "must"),
        (False, Target(must=10, reach=20), 20, "reach"),
        (True, Target(must=10, reach=5), 10.1, "no"),
        (True, Target(must=10, reach=5), 10, "must"),
        (True, Target(must=10, reach=5), 5, "reach"),
        (False, Target(must=10), 1000, "must"),
        (False, Target(reach=20), 19, ""),
        (False, Target(reach=20), 20, "reach"),
    ],
)
def test_what_is_met(least: bool, target: Target, measured: float, met: str) -> None:
    figure = Figure(key="rate", title="speed", unit="x", least=least, targets=(target,))
    question = attrs.evolve(QUESTION, figures=(figure,), peers=())

    (row,) = rows_of(Answer(question, 1, {"ours": [{"rate": measured}]}, ()))

    assert row.met == met


def test_the_table_as_text() -> None:
    lines = to_text(rows_of(ANSWER)).splitlines()

    assert [line.split() for line in lines] == [
        ["question", "ours", "against", "theirs", "ratio", "must", "reach", "reach", "for", "met"],
        ["speed", "120", "items/s", "≥", "50", "≥", "200", "must"],
        ["100", "items/s", "slow", "40", "2.50x", "≥", "2x", "must"],
        [
            "100",
            "items/s",
            "gone",
            "not",
            "installed",
            "pip",
            "install",
            "-e",
            "'.[bench]'",
            "≥",
            "3x",
        ],
        ["weight", "79.5", "MiB", "≤", "80", "must"],
    ]
    assert len({line.index(" must") for line in (lines[1], lines[2], lines[4])}) == 1


def test_the_table_as_markdown() -> None:
    assert to_markdown(rows_of(ANSWER)) == "\n".join(
        [
            "| question | ours | against | theirs | ratio | must reach | reach for | met |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |",
            "| speed | 120 items/s |  |  |  | ≥ 50 | ≥ 200 | must |",
            "|  | 100 items/s | slow | 40 | 2.50x | ≥ 2x |  | must |",
            "|  | 100 items/s | gone | not installed | pip install -e '.[bench]' | ≥ 3x |  |  |",
            "| weight | 79.5 MiB |  |  |  | ≤ 80 |  | must |",
        ]
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0349, "0.0349"), (5.234, "5.23"), (79.5, "79.5"), (4321, "4.3 k"), (343_300, "343 k")],
)
def test_an_amount_has_three_figures_or_so(value: float, text: str) -> None:
    assert amount(value) == text


# The command ------------------------------------------------------------------------------


def test_names_are_of_files_or_of_questions() -> None:
    found = [each.name for each in catalogue.chosen(["ask", "stages"])]

    assert found == ["stages-plain", "stages-policies", "stages-suspending", "ask"]
    assert len(catalogue.chosen([])) == len(catalogue.QUESTIONS)


def test_an_unknown_name_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["stagse"]) == 2

    error = capsys.readouterr().err
    assert error.startswith("no benchmark is called 'stagse'; there are: stages, graphs, actors")


def test_the_exit_code_says_whether_all_targets_are_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "chosen", lambda names: [QUESTION])
    monkeypatch.setattr(command, "ask", lambda *_, **__: ANSWER)
    assert command.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["peer"], row["met"]) for row in rows] == [
        (None, "must"),
        ("slow", "must"),
        ("gone", ""),
        (None, "must"),
    ]

    heavy = attrs.evolve(ANSWER, rounds={"ours": [{"rate": 100, "peak": 81}]})
    monkeypatch.setattr(command, "ask", lambda *_, **__: heavy)
    assert command.main(["--markdown"]) == 1


@pytest.mark.slow
def test_a_side_runs_in_a_process_of_its_own() -> None:
    question = attrs.evolve(catalogue.QUESTIONS["stages-plain"], peers=(), quick_items=100)

    answer = ask(question, quick=True, rounds=2)

    assert len(answer.rounds["actorflow"]) == 2
