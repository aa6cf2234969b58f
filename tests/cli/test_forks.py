"""``actorflow runs fork`` and ``diff``, and the checkpoints that are kept for them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.cli.support import invoke, write_module

STORE = ("--store", "sqlite:///run.db")

FLOW = """
import pathlib
from actorflow import Fixed, Pipeline, Retry, stage

async def fetch(order: dict) -> dict:
    return {**order, "page": order["n"] * 10}

@stage(workers=4, policies=[Retry(3, backoff=Fixed(3600))])
async def price(order: dict) -> dict:
    if pathlib.Path("broken").exists():
        raise ValueError("no price")
    return {**order, "price": order["page"] + 1}

flow = Pipeline([fetch, price], name="shop")
other = Pipeline([fetch], name="shop")
"""


@pytest.fixture
def target(here: Path) -> str:
    """A flow with a run, monday, whose three items wait for a retry in `price`."""
    (here / "broken").touch()
    name = write_module(here, FLOW)
    assert invoke("check", f"{name}:flow").exit_code == 0
    flow = importlib.import_module(name).flow

    async def main() -> None:
        async with flow.open(store=STORE[1], run_id="monday", results="store") as run:
            await run.feed([{"n": number} for number in range(3)])
            await wait_all_tasks_blocked(0.01)
            await run._keeper.settled()
            await run.stop()

    trio.run(main)
    (here / "broken").unlink()
    return f"{name}:flow"


def test_a_run_is_forked_gone_on_with_and_compared(target: str, here: Path) -> None:
    forked = invoke("runs", "fork", target, "monday", "--from", "price", *STORE)
    more = ("--run-id", "monday.fork-1", "--output", "out.jsonl", "--results", "store")
    ran = invoke("run", target, *more, *STORE)
    words = invoke("runs", "diff", "monday", "monday.fork-1", *STORE)
    found = json.loads(invoke("runs", "diff", "monday", "monday.fork-1", *STORE, "--json").stdout)

    assert forked.stdout == "3 items of run monday are in run monday.fork-1, which is parked\n"
    assert ran.exit_code == 0, ran.output
    lines = map(json.loads, (here / "out.jsonl").read_text().splitlines())
    wanted = [{"n": n, "page": n * 10, "price": n * 10 + 1} for n in range(3)]
    assert sorted(lines, key=lambda line: line["n"]) == wanted
    assert words.stdout.splitlines()[0] == (
        "monday and monday.fork-1: 0 items are the same, 3 differ, 0 are only in monday, "
        "0 only in monday.fork-1"
    )
    assert '~ 1  (place)  "at \'price\'" -> "done"' in words.stdout
    assert "~ 1  price  <missing> -> 11" in words.stdout
    assert found["same"] == 0
    assert found["changed"][0] == {
        "id": 0,
        "keys": {"(place)": {"a": "at 'price'", "b": "done"}, "price": {"b": 1}},
    }
    assert (found["only_a"], found["only_b"]) == ([], [])


def test_a_fork_is_one_object_for_programs_and_has_the_name_it_is_given(target: str) -> None:
    forked = invoke("runs", "fork", target, "monday", "--as", "tuesday", *STORE, "--json")

    assert json.loads(forked.stdout) == {"run": "monday", "into": "tuesday", "items": 3}
    shown = json.loads(invoke("runs", "show", "tuesday", *STORE, "--json").stdout)
    assert (shown["status"], shown["flow"], shown["number"]) == ("parked", "shop", 1)


def test_a_kept_checkpoint_is_shown_and_compared(target: str) -> None:
    last = json.loads(invoke("snapshot", "show", "monday", *STORE, "--json").stdout)
    first = json.loads(invoke("snapshot", "show", "monday", "--at", "1", *STORE, "--json").stdout)
    words = invoke("snapshot", "show", "monday", "--at", "1", *STORE).stdout
    change = invoke("snapshot", "diff", "monday", "1", str(last["cut"]), *STORE)

    assert first["cut"] == 1
    assert first["kept"] == last["kept"]
    assert words.startswith("run monday: checkpoint 1 of ")
    assert change.stdout.startswith(f"run monday: from checkpoint 1 to {last['cut']}\n")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("monday", "--from", "nope"), 2, "no stage is named 'nope'"),
        (("none",), 2, "run 'none': there is none"),
        (("monday", "--at", "99"), 2, "--at must be the number of a kept one, 1 to "),
        (("monday", "--as", "monday"), 1, "there is one already; give another --as"),
        (("monday", "--as", ""), 2, "--as must be"),
    ],
)
def test_what_cannot_be_forked_is_one_line(
    target: str, args: tuple[str, ...], code: int, words: str
) -> None:
    result = invoke("runs", "fork", target, *args, *STORE)

    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_items_that_are_not_kept_are_told_with_what_to_type(target: str) -> None:
    last = json.loads(invoke("snapshot", "show", "monday", *STORE, "--json").stdout)["cut"]

    result = invoke("runs", "fork", target, "monday", "--from", "fetch", "--at", str(last), *STORE)

    assert result.exit_code == 1
    assert "3 items are in no kept checkpoint at 'fetch' or before it (0, 1, 2)" in result.stderr
    assert result.stderr.endswith("--keep, or fork with --from 'price', or say another --at\n")


def test_a_run_is_told_how_many_checkpoints_it_keeps(here: Path) -> None:
    module = write_module(here, FLOW)
    (here / "in.jsonl").write_text('{"n": 1}\n')
    files = ("--input", "in.jsonl", "--output", "out.jsonl")

    assert invoke("run", f"{module}:flow", *files, "--keep", "9", *STORE).exit_code == 0
    wrong = invoke("run", f"{module}:flow", *files, "--keep", "0", *STORE)
    assert wrong.exit_code == 2
    assert "0 is not in the range x>=1" in wrong.stderr


def test_stages_that_are_gone_are_named(target: str) -> None:
    other = target.replace(":flow", ":other")

    result = invoke("runs", "fork", other, "monday", *STORE)

    assert result.exit_code == 2
    assert "3 messages are at 'price', which it has no more; fork from an" in result.stderr


def test_what_cannot_be_compared_or_shown_is_one_line(target: str) -> None:
    for args in (
        ("runs", "diff", "monday", "none", *STORE),
        ("snapshot", "show", "monday", "--at", "99", *STORE),
    ):
        result = invoke(*args)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1


def test_a_fork_that_has_not_begun_is_the_same_as_what_it_came_from(target: str) -> None:
    invoke("runs", "fork", target, "monday", *STORE)

    result = invoke("runs", "diff", "monday", "monday.fork-1", *STORE)

    assert result.stdout == (
        "monday and monday.fork-1: 3 items are the same, 0 differ, 0 are only in monday, "
        "0 only in monday.fork-1\n"
    )
