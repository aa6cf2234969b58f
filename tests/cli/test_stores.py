"""``actorflow runs`` and ``actorflow snapshot``: what a store has, for people and programs."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from actorflow.cli.form import body_form, form
from actorflow.cli.stores import age, moment, opened, size
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.store import Change, DeadRow, Session
from actorflow.wire.codec import encode
from actorflow.wire.snapshot import DUE, LEASED, USER, pack_facts, pack_messages, write_cut
from tests.cli.support import invoke, json_lines, write_module

STORE = ("--store", "sqlite:///run.db")


@contextmanager
def store(host: str = "here") -> Iterator[SqliteStore]:
    made = SqliteStore("run.db")
    made.open(Session(secrets.token_bytes(16), host, 1))
    yield made
    made.close()


def nobody(key: object, error: Exception) -> None:
    raise AssertionError(key)


def cut(number: int, rows: list[Any], facts: dict[str, Any], gone: tuple[int, ...] = ()) -> bytes:
    blocks = pack_messages(rows, nobody)
    blocks.append(pack_facts({key: encode(fact) for key, fact in facts.items()}))
    if gone:
        from actorflow.wire.snapshot import pack_gone

        blocks.insert(0, pack_gone(gone))
    return write_cut(number, number == 1, 1_000.0 + number, blocks)


def row(key: Any, box: str, lane: int, body: Any, attempt: int = 0, more: Any = None) -> Any:
    return (key, box, lane, 1, attempt, encode(body), None, more)


def letter(seq: str, **facts: Any) -> DeadRow:
    known: dict[str, Any] = {
        "seq": 0,
        "id": seq,
        "place": "b",
        "reason": "failed",
        "error": "ValueError",
        "text": "no good",
        "traceback": "",
        "attempts": 1,
        "at": 5.0,
        "replays": 0,
        "body": encode(1),
    }
    return DeadRow(**{**known, **facts})


@pytest.fixture
def kept(here: Path) -> Path:
    """A store with two runs: one with three cuts, one without any."""
    with store() as made:
        owned = made.acquire("shop", 1.0)
        first = [
            row(0, "/shop/a", USER, {"n": 0}),
            row(1, "/shop/a", LEASED, "one", attempt=1),
            row("2.0", "/shop/b", DUE, (1, 2), more={"priority": 5}),
        ]
        counts = {"counts": [3, 0, 0, 0, 0]}
        changes = [
            cut(1, first, {"run": counts, "sink": 10}),
            cut(2, [row(0, "/shop/a", LEASED, {"n": 0}, attempt=1)], {"sink": 20}, gone=(1,)),
            cut(3, [row(3, "/shop/a", USER, "new")], {"source/0": {"ended": True}}),
        ]
        for number, data in enumerate(changes, 1):
            made.commit(
                Change(
                    run="shop",
                    epoch=owned.epoch,
                    number=number,
                    cut=data,
                    full=number == 1,
                    status="parked" if number == 3 else None,
                    version="v1",
                    flow="shop",
                    results=[("0", encode(1))] if number == 3 else (),
                    dead=[letter("9"), letter("8", error="")] if number == 3 else (),
                    at=float(number),
                )
            )
        made.acquire("empty", 9.0)
    return here


# Runs ---------------------------------------------------------------------------------


def test_runs_are_a_table_for_people(kept: Path) -> None:
    lines = invoke("runs", *STORE).stdout.splitlines()

    assert lines[0].split() == [
        *("run", "flow", "status", "version", "owner", "created", "updated"),
        *("cuts", "size", "results", "dead"),
    ]
    empty, shop = (line.split("  ") for line in lines[1:])
    assert empty[0] == "empty"
    assert [cell.strip() for cell in shop if cell.strip()][:5] == [
        *("shop", "shop", "parked", "v1", "-"),
    ]
    assert [cell.strip() for cell in shop if cell.strip()][-4::3] == ["3", "2"]


def test_runs_are_a_list_for_programs_and_options_may_stand_anywhere(kept: Path) -> None:
    found = json.loads(invoke("runs", "--json", *STORE).stdout)

    assert [each["run"] for each in found] == ["empty", "shop"]
    assert found[1]["size"] > 100
    assert {key: found[1][key] for key in ("status", "version", "flow", "owner", "number")} == {
        "status": "parked",
        "version": "v1",
        "flow": "shop",
        "owner": None,
        "number": 3,
    }
    before = invoke("runs", "--json", *STORE, "show", "shop").stdout
    assert before == invoke("runs", "show", "shop", "--json", *STORE).stdout


def test_one_run_is_shown_with_its_dead_letters_by_kind(kept: Path) -> None:
    words = invoke("runs", "show", "shop", *STORE).stdout.splitlines()
    found = json.loads(invoke("runs", "show", "shop", *STORE, "--json").stdout)

    assert "status        parked" in words
    assert "owner         nobody" in words
    assert words[-3].split() == ["dead", "letters", "of", "reason", "error", "count"]
    assert found["report"] is None
    assert {(each["stage"], each["error"], each["count"]) for each in found["dead_kinds"]} == {
        ("b", "ValueError", 1),
        ("b", "", 1),
    }


def test_a_run_that_was_killed_is_told_so(here: Path) -> None:
    with store(socket.gethostname()) as made:
        made.acquire("shop", 1.0)
        made.die()

    assert invoke("runs", *STORE).stdout.splitlines()[1].split()[2] == "killed"


def test_a_run_is_deleted_with_all_it_has(kept: Path) -> None:
    first = invoke("runs", "delete", "shop", *STORE)
    again = invoke("runs", "delete", "shop", *STORE)

    assert first.stdout == "deleted shop: 1 results, 2 dead letters\n"
    assert again.exit_code == 2
    assert "RunNotFoundError" in again.stderr
    deleted = invoke("runs", "delete", "empty", *STORE, "--json")
    assert json.loads(deleted.stdout) == {"deleted": "empty", "results": 0, "dead": 0}
    assert invoke("runs", *STORE).stdout == "no runs\n"


def test_a_run_that_somebody_holds_is_not_deleted(kept: Path) -> None:
    with store() as made:
        made.acquire("shop", 1.0)

        result = invoke("runs", "delete", "shop", *STORE)

        assert result.exit_code == 1
        assert "actorflow: RunInUseError: run 'shop': in use by process 1 on here" in result.stderr
        assert made.number("shop") == 3


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("runs",), 2, "actorflow runs: missing option '--store'; see actorflow runs --help\n"),
        (("runs", "--store", "sqlite:///no.db"), 2, "there is no file no.db\n"),
        (("runs", "--store", "memory:"), 2, "keeps nothing that another process could look at\n"),
        (("runs", "--store", "what"), 2, "must be 'sqlite:///run.db'"),
        (("runs", "--store", "sqlite:///text.db"), 1, "actorflow: StoreCorrupt: "),
        (("runs", "show", "x", *STORE), 2, "run 'x': there is none"),
        (("runs", "results", "x", *STORE), 2, "run 'x': there is none"),
        (("snapshot", "show", "x", *STORE), 2, "run 'x': there is none"),
        (("snapshot", "diff", "shop", "1", *STORE), 2, "give the numbers of both checkpoints"),
        (("snapshot", "diff", "shop", "1", "7", *STORE), 2, "7 is not kept; kept are 1 to 3\n"),
        (
            ("snapshot", "diff", "shop", "x", "y", *STORE),
            2,
            "invalid value for 'A': 'x' is not a valid integer; see",
        ),
        (
            ("snapshot", "diff", "shop", "1", "y", *STORE),
            2,
            "invalid value for 'B': 'y' is not a valid integer; see",
        ),
        (("snapshot", "diff", "empty", *STORE), 2, "run 'empty' has no checkpoint yet\n"),
        (("snapshot", "export", "shop", ".", *STORE), 2, "cannot write .: Is a directory\n"),
        (("snapshot", "export", "shop", "no/x.json", *STORE), 2, "cannot write no/x.json"),
        (("snapshot", "show", "x", *STORE, "--import", "nobody"), 2, "no module 'nobody'"),
    ],
)
def test_what_is_not_there_or_cannot_be_is_one_line(
    kept: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    (kept / "text.db").write_text("this is no database at all, and never was")

    result = invoke(*args)

    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (kept / "no.db").exists()


# Snapshots ----------------------------------------------------------------------------


def test_a_snapshot_shows_messages_that_came_from_another_system(here: Path) -> None:
    with store() as made:
        owned = made.acquire("bank", 1.0)
        rows = [row("shop/2.0", "/bank/a", USER, "b"), row(7, "/bank/a", USER, "c")]
        data = cut(1, [row("shop/10", "/bank/a", USER, "a"), *rows], {})
        made.commit(Change(run="bank", epoch=owned.epoch, number=1, cut=data, full=True))

    found = json.loads(invoke("snapshot", "show", "bank", *STORE, "--json").stdout)

    assert [each["id"] for each in found["oldest"]] == ["7", "shop/2.0", "shop/10"]


def test_the_usage_of_diff_says_that_both_checkpoints_go_together() -> None:
    usage = invoke("snapshot", "diff", "--help").stdout.splitlines()[0]

    assert usage.endswith("diff [OPTIONS] RUN [A B]")


def test_a_snapshot_is_shown_by_mailbox_and_lane_with_its_oldest_messages(kept: Path) -> None:
    lines = invoke("snapshot", "show", "shop", *STORE).stdout.splitlines()

    assert lines[0].startswith("run shop: checkpoint 3 of ")
    assert lines[0].endswith("kept: 1 to 3")
    rows = [line.split() for line in lines]
    assert ["3", "messages"] in rows
    assert ["mailbox", "waiting", "due", "leased"] in rows
    assert ["/shop/a", "1", "0", "1"] in rows
    assert ["/shop/b", "0", "1", "0"] in rows
    assert [row[0] for row in rows if len(row) > 3 and row[0] in {"0", "2.0", "3"}] == [
        *("0", "2.0", "3"),
    ]
    assert ["sink", "20"] in rows


def test_a_snapshot_is_one_object_for_programs(kept: Path) -> None:
    found = json.loads(invoke("snapshot", "show", "shop", *STORE, "--json").stdout)

    assert found["mailboxes"] == {"/shop/a": {"waiting": 1, "leased": 1}, "/shop/b": {"due": 1}}
    assert found["facts"]["sink"] == {"value": 20}
    assert found["kept"] == {"first": 1, "last": found["cut"], "count": found["cut"]}
    assert found["oldest"][1] == {
        "id": "2.0",
        "box": "/shop/b",
        "lane": "due",
        "order": 1,
        "attempt": 0,
        "priority": 5,
        "body": {"$type": "tuple", "values": [1, 2]},
    }


def test_a_run_without_a_checkpoint_says_so(kept: Path) -> None:
    assert invoke("snapshot", "show", "empty", *STORE).stdout == "run empty: no checkpoint yet\n"


def test_two_checkpoints_are_compared(kept: Path) -> None:
    found = json.loads(invoke("snapshot", "diff", "shop", "1", "3", *STORE, "--json").stdout)

    assert [each["id"] for each in found["messages"]["added"]] == ["3"]
    assert [each["id"] for each in found["messages"]["removed"]] == ["1"]
    (changed,) = found["messages"]["changed"]
    assert (changed["was"]["lane"], changed["lane"]) == ("waiting", "leased")
    assert found["facts"] == {
        "added": {"source/0": {"value": {"ended": True}}},
        "removed": {},
        "changed": {"sink": {"value": 20, "was": {"value": 10}}},
    }
    words = invoke("snapshot", "diff", "shop", "1", "3", *STORE).stdout
    assert "  ~ 0  /shop/a waiting, attempt 0 -> /shop/a leased, attempt 1\n" in words
    assert "~ fact sink  10 -> 20\n" in words


def test_without_numbers_the_last_checkpoint_is_compared_with_the_one_before(kept: Path) -> None:
    found = json.loads(invoke("snapshot", "diff", "shop", *STORE, "--json").stdout)

    assert (found["from"], found["to"]) == (2, 3)
    assert [each["id"] for each in found["messages"]["added"]] == ["3"]


def test_the_beginning_is_compared_with_nothing(kept: Path) -> None:
    found = json.loads(invoke("snapshot", "diff", "shop", "0", "1", *STORE, "--json").stdout)

    assert len(found["messages"]["added"]) == 3


def test_an_export_has_every_message_and_every_fact(kept: Path) -> None:
    result = invoke("snapshot", "export", "shop", "shop.json", *STORE)
    answer = json.loads(invoke("snapshot", "export", "shop", "b.json", *STORE, "--json").stdout)
    document = json.loads((kept / "shop.json").read_text())

    assert result.stdout == "3 messages and 3 facts in shop.json\n"
    assert answer == {"run": "shop", "cut": 3, "file": "b.json", "messages": 3, "facts": 3}
    assert (document["run"], document["cut"], document["status"]) == ("shop", 3, "parked")
    assert [each["id"] for each in document["messages"]] == ["0", "2.0", "3"]
    assert sorted(document["facts"]) == ["run", "sink", "source/0"]
    assert json.loads(invoke("snapshot", "export", "shop", "-", *STORE).stdout) == document


def test_a_message_of_an_unknown_type_is_told_by_its_tags_until_its_module_is_imported(
    here: Path,
) -> None:
    name = write_module(
        here,
        "from actorflow import Pipeline, message\n"
        "@message(tag='cli.page')\n"
        "class Page:\n"
        "    url: str\n"
        "async def work(value): raise ValueError('no')\n"
        "async def begin(url): return Page(url)\n"
        "flow = Pipeline([begin, work], name='pages')\n",
    )
    from tests.cli.support import child

    (here / "in.jsonl").write_text('"a"\n')
    with child(here, "run", f"{name}:flow", "--input", "in.jsonl", *STORE) as run:
        assert run.end() == 3, run.seen

    (unknown,) = json.loads(invoke("dead", "list", *STORE, "--json").stdout)
    (known,) = json.loads(invoke("dead", "list", *STORE, "--json", "--import", name).stdout)

    assert unknown["tags"] == ["cli.page"]
    assert "body" not in unknown
    assert known["body"] == {"$type": "cli.page", "fields": {"url": "a"}}


def test_a_damaged_checkpoint_is_told(kept: Path) -> None:
    import sqlite3

    with sqlite3.connect("run.db") as db:
        db.execute("UPDATE cut SET body = x'00' WHERE number = 2")
    db.close()

    result = invoke("snapshot", "show", "shop", *STORE)

    assert result.exit_code == 1
    assert "actorflow: StoreCorrupt: " in result.stderr


# Forms --------------------------------------------------------------------------------


def test_every_value_has_a_form() -> None:
    import datetime
    import decimal
    import pathlib
    import uuid

    @attrs.frozen
    class Own:
        x: int

    made = form(
        [
            *(1.5, float("inf"), {1: 2}, {"$type": "no"}, {3}, b"x"),
            *(datetime.date(2024, 1, 2), decimal.Decimal("1.10"), pathlib.PurePath("a/b")),
            *(uuid.UUID(int=1), datetime.timedelta(seconds=3), Own(1)),
        ]
    )

    assert json.loads(json.dumps(made, allow_nan=False)) == [
        1.5,
        {"$type": "float", "text": "inf"},
        {"$type": "dict", "pairs": [[1, 2]]},
        {"$type": "dict", "pairs": [["$type", "no"]]},
        {"$type": "set", "values": [3]},
        {"$type": "bytes", "base64": "eA=="},
        {"$type": "date", "text": "2024-01-02"},
        {"$type": "Decimal", "text": "1.10"},
        {"$type": "PurePath", "text": "a/b"},
        {"$type": "UUID", "text": "00000000-0000-0000-0000-000000000001"},
        {"$type": "timedelta", "text": "0:00:03"},
        {"$type": "test_every_value_has_a_form.<locals>.Own", "text": made[-1]["text"]},
    ]


def test_bytes_that_are_damaged_have_a_form_too() -> None:
    assert body_form(b"\xc1")["bytes"] == 1


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_000_000, "2.0 MB"), (3 * 10**9, "3.0 GB")],
)
def test_bytes_are_told_as_people_say_it(count: int, words: str) -> None:
    assert size(count) == words


def test_times_are_told_as_people_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)

    ages = [age(1_000_000.0 - passed) for passed in (3, 120, 7_200, 172_800)]

    assert ages == ["3 s ago", "2 min ago", "2 h ago", "2 d ago"]
    assert len(moment(0.0)) == 19


def test_looking_takes_hold_of_nothing(kept: Path) -> None:
    with opened("sqlite:///run.db") as one, store() as other:
        other.acquire("shop", 1.0)

        assert [each.owner for each in one.runs()] == ["", "process 1 on here"]
        assert json_lines(invoke("runs", *STORE, "--json").stdout)[0][1]["owner"] is not None
