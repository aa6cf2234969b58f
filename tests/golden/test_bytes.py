"""The bytes of cuts and rows, one by one: what is on disks stays readable, and stays as it is.

Those of single values are in `tests/wire/test_codec.py`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from actorflow import Report, StoredError
from actorflow.durability.letters import read_letter
from actorflow.durability.store import DeadRow, ResultRow
from actorflow.errors import DecodeError
from actorflow.flows.results import ErrorCount, Latency, StageStats
from actorflow.flows.stored import read_report, read_result
from actorflow.wire.snapshot import (
    ASIDE,
    DUE,
    LANES,
    LATER,
    LEASED,
    OUT,
    SLEEPING,
    STASHED,
    USER,
    Cut,
    Record,
    fold,
    pack_facts,
    pack_gone,
    pack_messages,
    read_cut,
    read_record,
    write_cut,
)

#: The first cut of a run, and one that follows it: what `full` and `changes` write.
FULL = bytes.fromhex(
    "95a36375740101c3cb3ff800000000000092a16d8200c40f95a42f662f61000100c404a36e6577a3"
    "302e32c42096a42f662f6202fd02c4010782a7656d697474656402a87072696f726974793292a166"
    "82a372756ec40181a473696e6bc092a3656e64c410e58e2022e4f618658dbff59732b804f7"
)

CHANGES = bytes.fromhex(
    "95a36375740102c2cb400400000000000092a16d8200c0a3302e32c092a16d8100c40f95a42f662f"
    "61000100c404a36e657792a3656e64c410cd418b08e83245692fb4694f18f45600"
)

#: What else is in the rows of a store.
RESULT = bytes.fromhex(
    "8aa26964a36f6e65a576616c7565c0a56572726f7292aa56616c75654572726f72a26e6fa8617474"
    "656d70747302a57374616765a161a6737461747573a66661696c6564a86d6574616461746181a466"
    "726f6d93c700110102a774696d696e677381a5746f74616ccb3fe0000000000000a9747261636562"
    "61636ba27462a66e756d62657207"
)

REPORT = bytes.fromhex(
    "85a6636f756e747385a366656403a4646f6e6501a7736b697070656400a46465616401a468656c64"
    "01a86475726174696f6ecb3ff8000000000000a8726573746172747302a66572726f72739194a161"
    "aa56616c75654572726f7201a26e6fa673746167657381a1619a0102030405060708cb3fd0000000"
    "000000cb3fe0000000000000"
)

FACTS_OF_LETTER = bytes.fromhex(
    "83a87072696f7269747932a66e756d62657207a26964c40993c70011a36f6e6501"
)


def never(key: Any, error: Exception) -> None:
    raise error


ROWS: list[Any] = [
    (0, "/f/a", USER, 1, 0, None, "new", None),
    ("0.2", "/f/b", LEASED, -3, 2, b"\x07", None, {"emitted": 2, "priority": 50}),
]

FACTS = {"run": b"\x81", "sink": None}


def full() -> bytes:
    return write_cut(1, True, 1.5, [*pack_messages(ROWS, never), pack_facts(FACTS)])


def changes() -> bytes:
    return write_cut(2, False, 2.5, [pack_gone([0, "0.2"]), *pack_messages(ROWS[:1], never)])


def test_a_cut_is_written_as_ever() -> None:
    assert full() == FULL
    assert changes() == CHANGES


def test_a_cut_of_old_is_read() -> None:
    cut = read_cut(FULL)
    records = {key: read_record(data) for key, data in cut.messages.items() if data}

    assert (cut.number, cut.full, cut.at, cut.facts) == (1, True, 1.5, FACTS)
    more = MappingProxyType({"emitted": 2, "priority": 50})
    assert records == {
        0: Record("/f/a", USER, 1, 0, b"\xa3new"),
        "0.2": Record("/f/b", LEASED, -3, 2, b"\x07", more),
    }
    assert read_cut(CHANGES).messages.keys() == {0, "0.2"}


def test_a_chain_of_old_adds_up() -> None:
    cut = read_cut(FULL)

    assert fold([cut, read_cut(CHANGES)]) == Cut(
        2, True, 2.5, {0: cut.messages[0]}, {"run": b"\x81"}
    )


def test_the_numbers_of_lanes_are_those_on_disks() -> None:
    assert tuple(range(8)) == (USER, DUE, LEASED, SLEEPING, ASIDE, STASHED, LATER, OUT)
    assert (
        *("waiting", "due", "leased", "retrying", "aside", "stashed", "later", "result"),
    ) == LANES


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_cut_of_old_that_was_damaged_is_found_out(place: int) -> None:
    data = bytearray(FULL)
    data[place] ^= 1

    with pytest.raises(DecodeError):
        read_cut(bytes(data))


def test_a_result_of_old_is_read() -> None:
    read = read_result(ResultRow(1, "one", RESULT))

    assert (read.id, read.attempts, read.stage, read.status) == ("one", 2, "a", "failed")
    assert (str(read.error), read.traceback, read.number) == ("ValueError: no", "tb", 7)
    assert (read.metadata, read.timings) == ({"from": (1, 2)}, {"total": 0.5})


def test_a_report_of_old_is_read() -> None:
    figures = ("received", "emitted", "failed", "skipped", "retried", "pending", "running")
    stage = StageStats(
        workers=8,
        latency=Latency(mean=0.25, max=0.5),
        **dict(zip(figures, range(1, 8), strict=True)),
    )

    assert read_report("run", REPORT, ()) == Report(
        run_id="run",
        counts={"fed": 3, "done": 1, "skipped": 0, "dead": 1, "held": 1},
        duration=1.5,
        stages={"a": stage},
        errors=(ErrorCount(stage="a", type="ValueError", count=1, example="no"),),
        dead=(),
        restarts=2,
    )


def test_a_dead_letter_of_old_is_read() -> None:
    body = b"\x93\xc7\x00\x11\x01\xa4body"
    row = DeadRow(
        1, "one", "a", "failed", "ValueError", "no", "tb", 2, 1.5, 1, body, FACTS_OF_LETTER
    )
    read = read_letter(row)

    assert (read.id, read.body, read.replays) == (("one", 1), (1, "body"), 1)
    assert isinstance(read.error, StoredError)
    assert str(read.error) == "ValueError: no"
