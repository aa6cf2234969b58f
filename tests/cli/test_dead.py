"""``actorflow dead``: looking at dead letters, forgetting them, and another chance for them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from actorflow.cli.load import load_flow
from actorflow.cli.replay import give_back
from actorflow.cli.stores import opened
from actorflow.core.letters import REASONS
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import DeadQuery
from tests.cli.support import child, invoke, json_lines, write_module

FLOWS = """
import os, sys
import trio
from actorflow import Pipeline, stage

@stage(workers=2)
async def double(number):
    if number == 4 and not os.path.exists("fixed"):
        raise KeyError(number)
    return {"n": number, "twice": 2 * number}

@stage(workers=2)
async def check(value, ctx):
    if value["n"] % 10 == 3 and not os.path.exists("fixed"):
        raise ValueError(f"{value['n']} is unlucky")
    if os.path.exists(f"wall{value['n']}"):
        print("at the wall", file=sys.stderr, flush=True)
        await trio.sleep_forever()
    return {**value, "attempt": ctx.attempt}

flow = Pipeline([double, check], name="shop")
short = Pipeline([double], name="shop")
"""

STORE = ("--store", "sqlite:///run.db")
FILES = ("--input", "in.jsonl", "--output", "out.jsonl", *STORE)
LINE = 6  # Of the input, which is no JSON.


@pytest.fixture
def module(here: Path) -> str:
    """A flow, of which a run has finished with five dead letters."""
    lines = [str(number) for number in range(30)]
    lines.insert(LINE - 1, "no JSON")
    (here / "in.jsonl").write_text("\n".join(lines) + "\n")
    name = write_module(here, FLOWS)
    assert invoke("run", f"{name}:flow", *FILES).exit_code == 3
    return name


def listed(*args: str) -> list[Any]:
    found: list[Any] = json.loads(invoke("dead", "list", *STORE, *args, "--json").stdout)
    return found


def values(here: Path) -> list[int]:
    return sorted(each["n"] for each in json_lines((here / "out.jsonl").read_text()))


# Looking ------------------------------------------------------------------------------


def test_the_list_is_a_table_for_people(module: str) -> None:
    lines = invoke("dead", "list", *STORE).stdout.splitlines()

    head = "run number id item stage reason error attempts died body"
    assert " ".join(lines[0].split()) == head
    assert len(lines) == 1 + 5
    assert any("ValueError: 13 is unlucky" in line for line in lines)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ((), 5),
        (("--run", "shop"), 5),
        (("--stage", "check"), 3),
        (("--stage", "input"), 1),
        (("--reason", "failed"), 5),
        (("--reason", "poison"), 0),
        (("--error", "KeyError"), 1),
        (("--id", "14"), 1),
        (("--stage", "check", "--error", "KeyError"), 0),
    ],
)
def test_filters_choose_and_all_must_fit(module: str, filters: tuple[str, ...], count: int) -> None:
    assert len(listed(*filters)) == count


@pytest.mark.parametrize(
    "args",
    [("list",), ("show",), ("purge",), ("replay", "any:flow", "--run", "shop")],
)
def test_a_reason_that_there_is_not_is_usage_and_those_that_there_are_are_listed(
    args: tuple[str, ...],
) -> None:
    result = invoke("dead", *args, *STORE, "--reason", "nonsense")

    assert result.exit_code == 2
    assert result.stdout == ""
    listed = ", ".join(map(repr, REASONS))
    assert result.stderr == (
        f"actorflow dead {args[0]}: invalid value for '--reason': 'nonsense' is not one of "
        f"{listed}; see actorflow dead {args[0]} --help\n"
    )


def test_letters_of_several_runs_are_listed_by_run(here: Path, module: str) -> None:
    assert invoke("run", f"{module}:flow", *FILES, "--run-id", "again").exit_code == 3

    assert [each["run"] for each in listed()] == ["again"] * 5 + ["shop"] * 5


def test_one_is_shown_whole(module: str) -> None:
    words = invoke("dead", "show", *STORE, "--error", "KeyError")
    (found,) = json.loads(invoke("dead", "show", *STORE, "--error", "KeyError", "--json").stdout)

    assert "error     KeyError: 4\n" in words.stdout
    assert "  Traceback (most recent call last):\n" in words.stdout
    assert "raise KeyError(number)" in found["traceback"]
    assert (found["body"], found["replays"], found["attempts"]) == (4, 0, 1)


def test_none_to_show_is_exit_code_2(module: str) -> None:
    result = invoke("dead", "show", *STORE, "--id", "999")

    assert result.exit_code == 2
    assert result.stderr == "actorflow: no such dead letter\n"
    assert invoke("dead", "list", *STORE, "--id", "999").stdout == "no dead letters\n"


# Forgetting ---------------------------------------------------------------------------


def test_purging_needs_a_filter_or_all(module: str) -> None:
    refused = invoke("dead", "purge", *STORE)

    assert refused.exit_code == 2
    assert "say which: --stage, --reason, --error or --id; or --all" in refused.stderr
    assert len(listed()) == 5


def test_purging_forgets_what_is_meant(module: str) -> None:
    first = invoke("dead", "purge", *STORE, "--stage", "check", "--json")
    rest = invoke("dead", "purge", *STORE, "--all")

    assert json.loads(first.stdout) == {"purged": 3}
    assert rest.stdout == "2 dead letters purged\n"
    assert listed() == []
    assert invoke("dead", "purge", *STORE, "--run", "nobody").exit_code == 2


# Another chance: a run that has finished ----------------------------------------------


def replay(module: str, *args: str, flow: str = "flow") -> Any:
    return invoke("dead", "replay", f"{module}:{flow}", *STORE, *args)


ALL = ("--run", "shop", "--all", "--output", "out.jsonl")


def test_letters_of_a_finished_run_go_into_one_of_their_own_and_its_values_behind_the_output(
    here: Path, module: str
) -> None:
    before = (here / "out.jsonl").read_text()
    (here / "fixed").touch()

    result = replay(module, *ALL, "--json")

    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    (left,) = answer.pop("left")
    outcome = answer.pop("outcome")
    assert answer == {
        "run": "shop",
        "into": "shop.replay-1",
        "replayed": 4,
        "replayed_before": 0,
    }
    assert left["id"] == f"in.jsonl:{LINE}"
    assert outcome["counts"] == {"fed": 4, "done": 4, "skipped": 0, "dead": 0, "held": 0}
    assert (here / "out.jsonl").read_text().startswith(before)
    assert values(here) == list(range(30))
    assert [each["stage"] for each in listed()] == ["input"]


def test_a_letter_that_dies_again_has_one_replay_more_and_its_old_id(module: str) -> None:
    (was,) = listed("--error", "KeyError")

    result = replay(module, "--run", "shop", "--error", "KeyError")

    assert result.exit_code == 3
    (found,) = listed("--error", "KeyError")
    assert (found["run"], found["replays"], found["attempts"]) == ("shop.replay-1", 1, 1)
    assert (found["id"], found["body"]) == (was["id"], was["body"])
    again = replay(module, "--run", "shop.replay-1", "--error", "KeyError", "--json")
    assert json.loads(again.stderr.splitlines()[1])["into"] == "shop.replay-2"
    assert listed("--error", "KeyError")[0]["replays"] == 2


def test_nothing_to_replay_runs_nothing(module: str) -> None:
    result = replay(module, "--run", "shop", "--reason", "poison")

    assert result.exit_code == 0
    assert result.stderr == "0 dead letters of run shop put back\n"
    assert len(json.loads(invoke("runs", *STORE, "--json").stdout)) == 1


def test_a_stage_that_the_flow_has_not_keeps_its_letters(module: str) -> None:
    result = replay(module, "--run", "shop", "--stage", "check", flow="short")

    assert result.exit_code == 0
    assert result.stderr.count("the flow has no stage 'check'") == 3
    assert len(listed("--stage", "check")) == 3


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--all",), "missing option '--run'"),
        (("--run", "shop"), "say which: --stage"),
        (("--run", "nobody", "--all"), "run 'nobody': there is none"),
        (("--run", "shop", "--all", "--output", "no/out"), "cannot write no/out"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(module: str, args: Any, words: str) -> None:
    result = replay(module, *args)

    assert result.exit_code == 2
    assert words in result.stderr
    assert len(listed()) == 5


class Killed(BaseException):
    """As if the process had ended here."""


def given(module: str, output: str = "out.jsonl") -> Any:
    with opened("sqlite:///run.db") as store:
        return give_back(store, load_flow(f"{module}:flow"), DeadQuery(run="shop"), output)


@pytest.mark.parametrize("purged", range(4))
def test_a_crash_between_putting_back_and_purging_neither_loses_nor_doubles(
    here: Path, module: str, monkeypatch: pytest.MonkeyPatch, purged: int
) -> None:
    (here / "fixed").touch()
    real = SqliteStore.purge_dead
    calls: list[DeadQuery] = []

    def dying(self: SqliteStore, query: DeadQuery) -> int:
        if len(calls) == purged:
            raise Killed
        calls.append(query)
        return real(self, query)

    monkeypatch.setattr(SqliteStore, "purge_dead", dying)
    with pytest.raises(Killed):
        given(module)
    monkeypatch.setattr(SqliteStore, "purge_dead", real)
    assert len(listed()) == 5 - purged

    result = replay(module, *ALL)

    assert result.exit_code == 0, result.stderr
    assert f"0 dead letters of run shop put back into run shop.replay-1; {4 - purged}" in (
        result.stderr
    )
    assert values(here) == list(range(30))
    assert len(listed()) == 1


def test_letters_that_were_put_back_and_done_before_their_rows_went_are_not_done_again(
    here: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command dies; then somebody else finishes the run that has them."""
    (here / "fixed").touch()
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "purge_dead", lambda self, query: 0)
        given(module)
    (here / "none.jsonl").touch()
    finished = invoke(
        "run",
        f"{module}:flow",
        *("--run-id", "shop.replay-1", "--input", "none.jsonl", "--output", "out.jsonl", *STORE),
    )
    assert finished.exit_code == 0, finished.stderr
    assert values(here) == list(range(30))
    assert len(listed()) == 5

    result = replay(module, *ALL)

    assert result.exit_code == 0
    assert values(here) == list(range(30))
    assert len(listed()) == 1


def test_kill_9_while_letters_are_replayed_and_the_same_command_goes_on(
    here: Path, module: str
) -> None:
    (here / "fixed").touch()
    (here / "wall13").touch()
    with child(here, "dead", "replay", f"{module}:flow", *STORE, *ALL) as life:
        life.wait_for("at the wall")
        life.send(signal.SIGKILL)
        life.end()
    (here / "wall13").unlink()

    result = replay(module, *ALL)

    assert result.exit_code == 0, result.stderr
    assert values(here) == list(range(30))
    assert len(listed()) == 1


def test_a_file_that_the_replay_has_not_written_is_not_emptied(here: Path, module: str) -> None:
    (here / "fixed").touch()
    given(module, "-")

    result = replay(module, *ALL)

    assert result.exit_code == 2
    assert "has not written out.jsonl, which would be emptied" in result.stderr
    assert len(values(here)) == 26


# Another chance: a run that has not finished ------------------------------------------


@pytest.fixture
def parked(here: Path) -> str:
    """A flow, of which a run was stopped with letters, held items and input that is left."""
    (here / "in.jsonl").write_text("".join(f"{number}\n" for number in range(3000)))
    name = write_module(here, FLOWS)
    (here / "wall35").touch()
    with child(here, "run", f"{name}:flow", *FILES) as life:
        life.wait_for("at the wall")
        life.send(signal.SIGINT)
        assert life.end() == 130
    (here / "wall35").unlink()
    return name


def test_a_run_that_goes_on_gets_its_letters_itself_and_its_own_command_finishes_it(
    here: Path, parked: str
) -> None:
    count = len(listed())
    assert count >= 4
    (here / "fixed").touch()

    result = replay(parked, *ALL)

    assert result.exit_code == 75, result.stderr
    assert f"{count} dead letters of run shop put back into run shop\n" in result.stderr
    assert "the input was not read to its end" in result.stderr
    assert listed() == []
    assert set(range(40)) <= set(values(here))
    assert invoke("run", f"{parked}:flow", *FILES).exit_code == 3  # Its letters are counted.
    assert values(here) == list(range(3000))


def test_a_run_that_writes_a_file_must_be_told_which(here: Path, parked: str) -> None:
    count = len(listed())

    result = replay(parked, "--run", "shop", "--all")

    assert result.exit_code == 2
    assert "bytes to a file; give that one as --output" in result.stderr
    assert len(listed()) == count


def test_a_run_of_another_version_is_left_alone(here: Path, parked: str) -> None:
    count = len(listed())

    result = replay(parked, *ALL, "--stage", "double", flow="short")

    assert result.exit_code == 1
    assert "was begun by version" in result.stderr
    assert len(listed()) == count
    assert json.loads(invoke("runs", "show", "shop", *STORE, "--json").stdout)["status"] == (
        "parked"
    )


def test_a_run_in_use_keeps_its_letters(here: Path, parked: str) -> None:
    (here / "wall35").touch()
    with child(here, "run", f"{parked}:flow", *FILES) as life:
        life.wait_for("at the wall")

        result = replay(parked, *ALL)

    assert result.exit_code == 1
    assert "actorflow: RunInUseError: run 'shop': in use by process" in result.stderr


def test_a_run_that_was_killed_is_careful_still_when_it_has_its_letters_back(
    here: Path, parked: str
) -> None:
    (here / "wall35").touch()
    with child(here, "run", f"{parked}:flow", *FILES) as life:
        life.wait_for("at the wall")
        life.send(signal.SIGKILL)
        life.end()

    count = len(listed())

    assert given(parked).count == count > 0
    shown = json.loads(invoke("runs", "show", "shop", *STORE, "--json").stdout)
    assert (shown["status"], shown["owner"]) == ("running", None)
