"""Sinks: what is written, what is refused, and what a failure leaves behind."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import errno
import functools
import io
import json
import math
import os
import pathlib
import resource
import sys
import types
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actorflow.errors import ConfigurationError, EncodeError, UsageError
from actorflow.flows import files
from actorflow.flows.sinks import (
    CallableSink,
    JsonLinesSink,
    ListSink,
    Sink,
    TextLinesSink,
    as_sink,
)
from actorflow.flows.sources import JsonLinesSource, TextLinesSource


def in_time(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(20):
            await test(*args, **kwargs)

    return limited


async def write(sink: Sink[Any], *blocks: list[Any]) -> None:
    await sink.open()
    for block in blocks:
        await sink.write(block)
    await sink.aclose()


@attrs.frozen
class Point:
    x: int
    y: object = None


@dataclasses.dataclass
class Pair:
    left: object
    right: object


class Named(NamedTuple):
    a: int
    b: int


class Colour(enum.Enum):
    RED = "red"


class Model:
    def model_dump(self) -> dict[str, int]:
        return {"model": 1}


class Carrier:
    def to_dict(self) -> dict[str, int]:
        return {"carried": 1}


class Broken:
    def to_dict(self) -> dict[str, int]:
        raise AttributeError("no field 'x'")


@in_time
async def test_each_value_is_a_line_and_the_offset_counts_bytes(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLinesSink(path)
    await sink.open()

    await sink.write([1, "é", {"a": [None, True, 2.5]}])
    await sink.write([])
    assert path.read_bytes() == '1\n"é"\n{"a":[null,true,2.5]}\n'.encode()
    assert sink.offset == path.stat().st_size
    await sink.write(["x"])
    await sink.aclose()
    await sink.aclose()

    assert path.read_text().splitlines()[-1] == '"x"'
    assert sink.offset == path.stat().st_size


@in_time
async def test_opening_empties_the_file_and_begins_to_count_anew(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n" * 100)
    sink = JsonLinesSink(path)

    await write(sink, [1, 2])
    await write(sink, [3])

    assert path.read_text() == "3\n"
    assert sink.offset == 2


@in_time
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Point(1, Point(2)), '{"x":1,"y":{"x":2,"y":null}}'),
        (Pair((1, 2), Named(3, 4)), '{"left":[1,2],"right":[3,4]}'),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), '"2026-01-02T03:00:00+00:00"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (datetime.time(3, 4, 5), '"03:04:05"'),
        (datetime.timedelta(minutes=1, milliseconds=500), "60.5"),
        (pathlib.PurePosixPath("a/b"), '"a/b"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        ({10, 9, 2.5}, "[2.5,9,10]"),
        (frozenset({"b", "a", 1}), '["a","b",1]'),
        (b"\x00\xff", '"AP8="'),
        (bytearray(b"ab"), '"YWI="'),
        (Colour.RED, '"red"'),
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        (Model(), '{"model":1}'),
        (Carrier(), '{"carried":1}'),
        ({2: "a", None: "b", True: "c"}, '{"2":"a","null":"b","true":"c"}'),
        ("\ud800", '"\\ud800"'),
        ("a\nb\u2028", '"a\\nb\u2028"'),
    ],
)
async def test_a_value_is_written_in_its_plain_form(
    tmp_path: Path, value: object, text: str
) -> None:
    path = tmp_path / "out.jsonl"

    await write(JsonLinesSink(path), [value])

    assert path.read_text(encoding="utf-8") == text + "\n"


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def tower(height: int) -> list[Any]:
    top: list[Any] = []
    for _ in range(height):
        top = [top]
    return top


@in_time
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), "values[1]: object has no JSON form; turn it into a dict, a list or a str"),
        (
            {"a": [Point(1, {"b c": 1j})]},
            "values[1].a[0].y['b c']: complex has no JSON form; "
            "turn it into a dict, a list or a str",
        ),
        (
            [types.SimpleNamespace()],
            "values[1][0]: types.SimpleNamespace has no JSON form; "
            "turn it into a dict, a list or a str",
        ),
        ({"x": (1, math.nan)}, "values[1].x[1]: nan is no JSON number"),
        ({-math.inf}, "values[1][0]: -inf is no JSON number"),
        (
            [{(1, 2): 3}],
            "values[1][0]: keys must be str, int, float, bool or None, not tuple",
        ),
        (circle(), "values[1]: refers to itself, or is nested too deeply"),
        ({"a": tower(100_000)}, "values[1]: refers to itself, or is nested too deeply"),
        ([Broken()], "values[1][0]: no field 'x'"),
    ],
    ids=["object", "deep", "module", "nan", "inf", "key", "circle", "tower", "broken"],
)
async def test_what_is_no_json_refuses_the_block_and_says_where(
    tmp_path: Path, value: object, error: str
) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLinesSink(path)
    await sink.open()

    with pytest.raises(EncodeError) as caught:
        await sink.write([1, value, 3])
    await sink.write([4])
    await sink.aclose()

    assert str(caught.value).startswith(error)
    assert error.startswith(f"{caught.value.where}: ")
    assert path.read_text() == "4\n"


@in_time
async def test_a_sink_is_written_to_between_open_and_aclose_only(tmp_path: Path) -> None:
    sink = TextLinesSink(tmp_path / "out.txt")

    for _ in range(2):
        with pytest.raises(UsageError) as early:
            await sink.write(["a"])
        await sink.open()
        with pytest.raises(UsageError) as twice:
            await sink.open()
        await sink.aclose()

    assert str(early.value) == f"{sink.name}: the sink is not open; await open() first"
    assert str(twice.value) == f"{sink.name}: the sink is open already; give each run its own"


@in_time
@pytest.mark.parametrize(
    ("name", "error"), [("missing/out", FileNotFoundError), (".", IsADirectoryError)]
)
async def test_a_file_that_cannot_be_created_says_so_at_open(
    tmp_path: Path, name: str, error: type[OSError]
) -> None:
    with pytest.raises(error):
        await JsonLinesSink(tmp_path / name).open()


@in_time
async def test_text_lines_are_the_str_of_the_values(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"

    await write(TextLinesSink(path), ["é", 1, None], ["", "x"])

    assert path.read_bytes() == "é\n1\nNone\n\nx\n".encode()


@in_time
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (
            "a\nb",
            "values[1]: a line of text cannot hold a line break; escape it, or write JSON lines",
        ),
        (
            "a\r",
            "values[1]: a line of text cannot hold a line break; escape it, or write JSON lines",
        ),
        ("a\ud800", "values[1]: no UTF-8 at character 2 (surrogates not allowed)"),
    ],
)
async def test_what_is_no_line_of_text_refuses_the_block(
    tmp_path: Path, value: str, error: str
) -> None:
    path = tmp_path / "out.txt"
    async with TextLinesSink(path) as sink:
        await sink.open()

        with pytest.raises(EncodeError) as caught:
            await sink.write(["a", value])

    assert str(caught.value) == error
    assert path.read_bytes() == b""


@in_time
async def test_a_block_that_the_disk_does_not_take_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    sink = TextLinesSink(path)
    await sink.open()
    await sink.write(["first"])

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            await sink.write(["x" * 2_000])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (sink.offset, path.read_text()) == (6, "first\n")

    await sink.write(["last"])
    await sink.aclose()
    assert path.read_text() == "first\nlast\n"


@in_time
async def test_a_full_device_says_so() -> None:
    sink = TextLinesSink("/dev/full")
    await sink.open()

    with pytest.raises(OSError, match="No space left"):
        await sink.write(["x"])
    await sink.aclose()


HELP = "and start again; a run in a store goes on with the same command, and nothing is lost"


@in_time
async def test_an_error_of_writing_names_the_file_and_what_helps() -> None:
    sink = JsonLinesSink("/dev/full")
    await sink.open()

    with pytest.raises(OSError, match="No space left") as caught:
        await sink.write(["x"])
    await sink.aclose()

    assert str(caught.value) == "[Errno 28] No space left on device: '/dev/full'"
    assert caught.value.__notes__ == [f"/dev/full: make room on its disk {HELP}"]


@pytest.mark.parametrize("when", ["open", "reopen", "sync", "close"])
@in_time
async def test_an_error_of_the_disk_names_the_file_and_what_helps(
    tmp_path: Path, when: str
) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\n")
    sink = TextLinesSink(path)
    full = OSError(errno.ENOSPC, "No space left on device")
    calls: dict[str, Callable[[], Awaitable[None]]] = {
        "open": sink.open,
        "reopen": lambda: sink.open(4, fresh_inode=True),
        "sync": lambda: trio.to_thread.run_sync(sink.sync),
        "close": sink.aclose,
    }
    if when in ("sync", "close"):
        await sink.open()
        await sink.write(["two"])

    with (
        mock.patch("os.fsync", side_effect=full),
        pytest.raises(OSError, match="No space left") as caught,
    ):
        await calls[when]()
    with contextlib.suppress(OSError):
        await sink.aclose()  # After a failed sync it says so once more.

    assert caught.value is full
    assert str(full) == f"[Errno 28] No space left on device: {str(path)!r}"
    assert full.__notes__ == [f"{path}: make room on its disk {HELP}"]


@in_time
async def test_an_error_without_a_number_stays_as_it_is(tmp_path: Path) -> None:
    sink = TextLinesSink(tmp_path / "out.txt")

    with (
        mock.patch("os.fsync", side_effect=OSError("odd")),
        pytest.raises(OSError, match=r"^odd$"),
    ):
        await sink.open()


@in_time
async def test_closing_brings_the_file_to_the_disk_even_when_cancelled(tmp_path: Path) -> None:
    sink = TextLinesSink(tmp_path / "out.txt")
    await sink.open()

    with mock.patch("os.fsync") as fsync, trio.CancelScope() as scope:
        scope.cancel()
        await sink.aclose()

    fsync.assert_called_once()
    with pytest.raises(UsageError):
        await sink.write(["late"])


@in_time
async def test_a_cancelled_write_to_a_file_has_written_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    async with TextLinesSink(path) as sink:
        await sink.open()

        with trio.CancelScope() as scope:
            scope.cancel()
            await sink.write(["never"])

        assert scope.cancelled_caught
        assert (path.read_bytes(), sink.offset) == (b"", 0)


@contextlib.contextmanager
def piped_output() -> Iterator[io.BufferedReader]:
    """The reading end of a pipe that is standard output; reading it does not wait."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    # Not a fixture: pytest puts its own standard output back after those.
    with (
        open(reading, "rb") as reader,
        open(writing, "w") as stdout,
        mock.patch("sys.stdout", stdout),
    ):
        yield reader


async def read(reader: io.BufferedReader, size: int) -> bytes:
    data = b""
    while len(data) < size:
        await trio.lowlevel.wait_readable(reader)
        data += reader.read1()
    return data


@in_time
async def test_standard_output_gets_the_lines_after_what_was_printed() -> None:
    sink = JsonLinesSink("-")

    with piped_output() as reader:
        print("printed")
        await write(sink, [1], ["é" * 5_000])
        print("after", flush=True)
        got = reader.read()

    assert got.decode() == 'printed\n1\n"' + "é" * 5_000 + '"\nafter\n'
    assert sink.name == "stdout"
    assert sink.offset == 2 + 10_003


@in_time
async def test_a_reader_that_has_gone_is_a_broken_pipe() -> None:
    with piped_output() as reader:
        sink = JsonLinesSink("-")
        await sink.open()
        reader.close()

        with pytest.raises(BrokenPipeError):
            await sink.write([1])
        await sink.aclose()


@in_time
async def test_a_write_that_waits_for_its_reader_can_be_cancelled() -> None:
    with piped_output() as reader:
        sink = TextLinesSink("-")
        await sink.open()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, ["x" * 1_000_000])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

        assert sink.offset < 1_000_000
        assert (reader.read() or b"") == b"x" * sink.offset


@in_time
async def test_a_slow_reader_gets_everything() -> None:
    with piped_output() as reader:
        sink = TextLinesSink("-")
        await sink.open()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, ["x" * 1_000_000])
            got = await read(reader, 1_000_001)

    assert got == b"x" * 1_000_000 + b"\n"


@in_time
async def test_a_stand_in_for_standard_output_is_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = io.StringIO()
    monkeypatch.setattr("sys.stdout", text)
    await write(JsonLinesSink("-"), ["é"])
    assert text.getvalue() == '"é"\n'

    binary = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(binary))
    await write(JsonLinesSink("-"), [1])
    assert binary.getvalue() == b"1\n"


@in_time
async def test_a_process_without_standard_output_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)

    with pytest.raises(FileNotFoundError, match="this process has no standard output"):
        await JsonLinesSink("-").open()


@in_time
async def test_a_non_blocking_standard_output_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "PIPE_ROOM", 1_000_000)  # More than it has room for.

    with piped_output() as reader:
        os.set_blocking(sys.stdout.fileno(), False)
        sink = TextLinesSink("-")
        await sink.open()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, ["x" * 500_000])
            got = await read(reader, 500_001)

    assert got == b"x" * 500_000 + b"\n"


@in_time
async def test_a_function_is_called_with_each_value_and_awaited_if_async() -> None:
    plain: list[int] = []
    waiting: list[int] = []

    async def slow(value: int) -> None:
        await trio.lowlevel.checkpoint()
        waiting.append(value)

    await write(CallableSink(plain.append), [1, 2], [3])
    await write(as_sink(slow), [1, 2], [3])

    assert plain == waiting == [1, 2, 3]


@in_time
async def test_what_a_function_raises_comes_out_of_write() -> None:
    seen: list[int] = []

    def picky(value: int) -> None:
        if value == 2:
            raise OSError("no twos")
        seen.append(value)

    with pytest.raises(OSError, match="no twos"):
        await write(CallableSink(picky), [1, 2, 3])
    assert seen == [1]


@in_time
async def test_a_list_keeps_the_values_of_the_last_run() -> None:
    sink: ListSink[int] = ListSink()

    await write(sink, [1], [2, 3])
    first = sink.values
    await write(sink, [4])

    assert (first, sink.values) == ([1, 2, 3], [4])


def generator(value: int) -> Iterator[int]:
    yield value


@pytest.mark.parametrize("value", [None, "out.jsonl", [], JsonLinesSink, generator])
def test_what_is_no_sink_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_sink(value)

    assert str(caught.value) == (
        "sink must be a function of one value (JsonLinesSink(path) writes a file), "
        f"got {value!r:.200}"
    )


def test_a_sink_is_passed_on() -> None:
    sink = JsonLinesSink("out.jsonl", settled=True)

    assert as_sink(sink) is sink
    assert sink.settled


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TextLinesSink(3)  # type: ignore[arg-type]

    assert str(caught.value) == (
        "TextLinesSink.path must be a file name, or '-' for standard output, got 3"
    )


def joined(text: str) -> str:
    """*text* with the halves of a surrogate pair made one: JSON cannot tell these apart."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


any_text = st.text(st.characters()).map(joined)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
    | st.text(st.characters(categories=["Cs", "Cc", "Zl", "Zp"])).map(joined),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)


@given(blocks=st.lists(st.lists(json_values, max_size=5), max_size=4))
async def test_every_json_value_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    sink, source = JsonLinesSink(path), JsonLinesSource(path)

    with trio.fail_after(20):
        await write(sink, *blocks)
        back: list[Any] = []
        while entries := await source.pull(3):
            back += entries
        await source.aclose()

    # As text too, so that 1, 1.0, -0.0 and True differ.
    assert repr(back) == repr([value for block in blocks for value in block])
    assert source.offset == sink.offset == path.stat().st_size
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == back


@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))))
async def test_every_line_of_text_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.txt"
    # A byte order mark at the very beginning is none of the text.
    lines = ["first", *lines]

    with trio.fail_after(20):
        await write(TextLinesSink(path), lines)
        source = TextLinesSource(path)
        back: list[Any] = []
        while entries := await source.pull(3):
            back += entries
        await source.aclose()

    assert back == lines
