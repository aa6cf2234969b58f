"""Sources: what a pull gives, what it waits for, what it makes of broken input."""

from __future__ import annotations

import errno
import functools
import io
import json
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actorflow.errors import ConfigurationError, DecodeError
from actorflow.flows import files
from actorflow.flows.lines import LineSplitter
from actorflow.flows.sources import (
    IterableSource,
    JsonLinesSource,
    Malformed,
    Source,
    TextLinesSource,
    as_source,
)


def in_time(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def limited(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(20):
            await test(*args, **kwargs)

    return limited


class StepClock:
    """A clock that stands still unless told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def everything(source: Source[Any], most: int = 100) -> list[Any]:
    entries: list[Any] = []
    while taken := await source.pull(most):
        assert len(taken) <= most
        entries += taken
    await source.aclose()
    return entries


def told(entries: list[Any]) -> list[Any]:
    """The entries, each malformed one as the text of its error."""
    return [str(each.error) if isinstance(each, Malformed) else each for each in entries]


@in_time
async def test_an_iterable_gives_its_items_in_order_and_then_nothing() -> None:
    source = IterableSource(range(5), clock=StepClock())

    assert await source.pull(3) == [0, 1, 2]
    assert await source.pull(3) == [3, 4]
    assert await source.pull(3) == ()
    assert await source.pull(3) == ()


@in_time
async def test_an_iterable_is_never_advanced_further_than_asked() -> None:
    numbers = iter(range(10))
    source = IterableSource(numbers, clock=StepClock())

    await source.pull(4)

    assert next(numbers) == 4


@in_time
async def test_a_slow_generator_hands_on_each_item_as_it_makes_it() -> None:
    clock = StepClock()

    def slow() -> Iterator[int]:
        for number in range(3):
            clock.now += 0.5
            yield number

    source = IterableSource(slow(), clock=clock)

    assert [await source.pull(100) for _ in range(4)] == [[0], [1], [2], []]


@in_time
async def test_a_pull_takes_what_fits_into_a_millisecond() -> None:
    clock = StepClock()

    def quick() -> Iterator[int]:
        for number in range(6):
            clock.now += 0.0003
            yield number

    source = IterableSource(quick(), clock=clock)

    assert await source.pull(100) == [0, 1, 2, 3]
    assert await source.pull(100) == [4, 5]


@in_time
async def test_what_the_iterator_raises_comes_after_the_items_before_it() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    source = IterableSource(breaking(), clock=StepClock())

    assert await source.pull(100) == [1, 2]
    with pytest.raises(OSError, match=r"^gone$"):
        await source.pull(100)
    assert await source.pull(100) == []


@in_time
async def test_an_iterator_that_recovers_goes_on_after_its_error() -> None:
    class Flaky:
        def __init__(self) -> None:
            self.calls = 0

        def __iter__(self) -> Flaky:
            return self

        def __next__(self) -> int:
            self.calls += 1
            if self.calls == 1:
                raise OSError("try again")
            return self.calls

    source = IterableSource(Flaky(), clock=StepClock())

    with pytest.raises(OSError, match=r"^try again$"):
        await source.pull(2)
    assert await source.pull(2) == [2, 3]


@in_time
async def test_an_async_iterable_is_not_asked_for_a_second_item_while_the_first_is_in_hand() -> (
    None
):
    first_was_used = trio.Event()

    async def feedback() -> AsyncIterator[int]:
        yield 1
        await first_was_used.wait()  # Would wait for ever if the pull asked on.
        yield 2

    source = IterableSource(feedback())

    assert await source.pull(100) == (1,)
    first_was_used.set()
    assert await source.pull(100) == (2,)
    assert await source.pull(100) == ()
    assert await source.pull(100) == ()


@in_time
async def test_a_cancelled_pull_loses_no_item_of_an_async_iterable() -> None:
    send, receive = trio.open_memory_channel[int](0)
    source = IterableSource(receive)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.pull, 10)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send.send, 1)
        assert await source.pull(10) == (1,)
    await send.aclose()
    assert await source.pull(10) == ()


@in_time
async def test_what_an_async_generator_raises_comes_out_of_pull() -> None:
    async def breaking() -> AsyncIterator[int]:
        yield 1
        raise OSError("gone")

    source = IterableSource(breaking())

    assert await source.pull(10) == (1,)
    with pytest.raises(OSError, match=r"^gone$"):
        await source.pull(10)


@in_time
async def test_pulls_let_other_tasks_run_even_if_the_clock_stands_still() -> None:
    async def endless() -> AsyncIterator[int]:
        while True:
            yield 1

    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async with IterableSource(endless(), clock=StepClock()) as source:
            for _ in range(640):
                await source.pull(10)
        nursery.cancel_scope.cancel()

    assert turns >= 5


@pytest.mark.parametrize("value", ["abc", b"abc", bytearray(b"abc"), {"a": 1}, 5, None])
def test_what_has_no_items_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        as_source(value)

    assert str(caught.value) == (
        "source must be an iterable or async iterable of items "
        f"(wrap a single value in a list), got {value!r}"
    )


@in_time
@pytest.mark.parametrize("pulls", [0, 1])
async def test_closing_runs_the_finally_of_a_generator(pulls: int) -> None:
    ended: list[str] = []

    def plain() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("plain")

    async def waiting() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await trio.lowlevel.checkpoint()
            ended.append("waiting")

    for generator in (plain(), waiting()):
        source: IterableSource[int] = IterableSource(generator)
        for _ in range(pulls):
            await source.pull(1)
        await source.aclose()
        await source.aclose()

        assert list(await as_source([1]).pull(1)) == [1]
    assert ended == ["plain", "waiting"][: 2 * pulls]


@in_time
async def test_closing_closes_a_generator_that_was_never_pulled() -> None:
    numbers = (number for number in range(3))

    await IterableSource(numbers).aclose()

    assert list(numbers) == []


@in_time
async def test_closing_leaves_what_is_not_a_generator_open(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("a\nb\n")

    with open(path) as file:  # noqa: ASYNC230
        async with IterableSource(file) as source:
            await source.pull(1)
        assert not file.closed


@in_time
async def test_a_closed_source_says_so() -> None:
    source = IterableSource([1, 2])
    await source.aclose()

    with pytest.raises(trio.ClosedResourceError) as caught:
        await source.pull(1)

    assert str(caught.value) == "list: the source is closed; make a new one to read again"


def test_names_and_totals_of_iterables() -> None:
    numbers = (number for number in range(3))

    assert (IterableSource([1, 2]).name, IterableSource([1, 2]).total) == ("list", 2)
    assert (IterableSource(numbers).name, IterableSource(numbers).total) == ("<genexpr>", None)
    assert IterableSource({1, 2}).total == 2


def test_a_length_that_may_cost_a_query_is_not_asked_for() -> None:
    class Query:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2])

        def __len__(self) -> int:
            raise AssertionError("fetches everything")

    assert IterableSource(Query()).total is None


@in_time
async def test_what_has_ended_is_not_asked_again() -> None:
    send, receive = trio.open_memory_channel[int](1)
    answers = iter([1])

    class Waiting:
        def __aiter__(self) -> Waiting:
            return self

        async def __anext__(self) -> int:
            for answer in answers:
                return answer
            send.send_nowait(0)
            raise StopAsyncIteration

    source: IterableSource[int] = IterableSource(Waiting())

    assert [await source.pull(1) for _ in range(3)] == [(1,), (), ()]
    assert receive.statistics().current_buffer_used == 1


def test_as_source_passes_a_source_on_but_not_its_class() -> None:
    class Own:
        name = "own"

        async def pull(self, most: int) -> list[int]:
            return []

        async def aclose(self) -> None:
            pass

    own = Own()
    source = JsonLinesSource("in.jsonl")

    assert as_source(own) is own
    assert as_source(source) is source
    with pytest.raises(ConfigurationError):
        as_source(Own)  # type: ignore[arg-type]


@in_time
@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", []),
        (b'1\n"two"\n{"three": [3.5, null, true]}\n', [1, "two", {"three": [3.5, None, True]}]),
        (b"1\n2", [1, 2]),
        (b"1\r\n2\r\n", [1, 2]),
        (b"\n1\n  \n\r\n\n2\n\n", [1, 2]),
        (b"\xef\xbb\xbf1\n2\n", [1, 2]),
        (b"\xef\xbb\xbf", []),
        ('"\u2028é\x85"\n'.encode(), ["\u2028é\x85"]),
        (b"null\nnull", [None, None]),
    ],
)
async def test_json_lines_are_decoded(tmp_path: Path, data: bytes, values: list[Any]) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)

    assert await everything(JsonLinesSource(path)) == values


@in_time
@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"{", "not JSON at column 2 (Expecting property name enclosed in double quotes)"),
        (b"1 2", "not JSON at column 3 (Extra data)"),
        (b'"\x01"', "not JSON at column 2 (Invalid control character)"),
        (b'{"a": NaN}', "not JSON (NaN is no JSON number)"),
        (b"-Infinity", "not JSON (-Infinity is no JSON number)"),
        (b"[1e999]", "not JSON (1e999 is beyond a float)"),
        (b'"a\xffb"', "not utf-8 at byte 3 (invalid start byte)"),
        (b"[" * 100_000, "JSON nested too deeply"),
        (b"\xef\xbb\xbf1", "not JSON at column 1 (Expecting value)"),
    ],
)
async def test_a_broken_line_is_malformed_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, error: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"1\n\n" + line + b"\n2\n")

    first, broken, last = await everything(JsonLinesSource(path))

    assert (first, last) == (1, 2)
    assert broken.place == f"{path}:3"
    assert broken.text == line.decode(errors="backslashreplace")
    assert type(broken.error) is DecodeError
    assert str(broken.error) == f"{path}:3: {error}"


@in_time
@pytest.mark.parametrize("block", [7, 65_536])
async def test_a_line_above_max_line_is_malformed_and_only_its_head_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(files, "BLOCK", block)
    path = tmp_path / "in.jsonl"
    fits = b"[" + b"1" * 1_998 + b"]"
    path.write_bytes(fits + b"\n" + b"[" + b"2" * 2_000 + b"\n3\n" + b"4" * 2_001)

    values = await everything(JsonLinesSource(path, max_line=2_000))

    assert [values[0], values[2]] == [json.loads(fits), 3]
    assert values[1].text == "[" + "2" * 1_023
    assert str(values[1].error) == f"{path}:2: a line of 2,001 bytes, above `max_line` (2,000)"
    assert str(values[3].error) == f"{path}:4: a line of 2,001 bytes, above `max_line` (2,000)"


@in_time
async def test_the_offset_is_where_the_next_line_begins(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    data = b"\xef\xbb\xbf1\r\n\n{\n22\n333"
    path.write_bytes(data)
    source = JsonLinesSource(path, clock=StepClock())
    rests = []

    while await source.pull(1):
        rests.append((data[source.offset :], source.line))
    await source.aclose()

    assert source.offset == len(data)
    assert rests == [(b"\n{\n22\n333", 1), (b"22\n333", 3), (b"333", 4), (b"", 5)]


@in_time
async def test_a_pull_of_lines_ends_with_its_millisecond(tmp_path: Path) -> None:
    clock = StepClock()

    def tick() -> float:
        clock.now += 1.0
        return clock.now

    path = tmp_path / "in.jsonl"
    path.write_text("1\n2\n3\n4\n5\n")
    async with JsonLinesSource(path, clock=tick) as source:
        pulls = [await source.pull(100) for _ in range(6)]

    assert pulls == [[1], [2], [3], [4], [5], []]


@pytest.mark.parametrize("kind", [JsonLinesSource, TextLinesSource])
@pytest.mark.parametrize(
    ("name", "error"), [("missing", FileNotFoundError), (".", IsADirectoryError)]
)
def test_a_file_that_cannot_be_opened_says_so_early_and_late(
    tmp_path: Path, kind: type[JsonLinesSource], name: str, error: type[OSError]
) -> None:
    path = tmp_path / name

    with pytest.raises(error) as early:
        kind(path).check()
    with pytest.raises(error) as late:
        trio.run(kind(path).pull, 1)
    with pytest.raises(error):
        trio.run(kind(path).open)

    assert early.value.filename == late.value.filename == str(path)


def test_a_file_without_permission_says_so_early_and_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.jsonl"
    path.write_text("1\n")

    def denied(name: str, mode: str) -> Any:  # As to anybody but root, who may read everything.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)

    monkeypatch.setattr(files, "open", denied, raising=False)
    monkeypatch.setattr(io, "FileIO", denied)

    with pytest.raises(PermissionError) as early:
        JsonLinesSource(path).check()
    with pytest.raises(PermissionError) as late:
        trio.run(JsonLinesSource(path).pull, 1)

    assert early.value.filename == late.value.filename == str(path)


@in_time
async def test_what_is_left_of_a_file_is_known_before_its_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n22\n")
    source = JsonLinesSource(path)
    lefts = [source.left]

    while await source.pull(1):
        lefts.append(source.left)
    await source.aclose()

    assert lefts == [5, 3, 0]
    assert JsonLinesSource("/dev/null").left is None
    assert JsonLinesSource(tmp_path / "missing").left is None


def test_check_of_a_readable_file_and_of_standard_input_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.touch()

    JsonLinesSource(path).check()
    JsonLinesSource("-").check()
    JsonLinesSource("/dev/null").check()


def test_a_process_without_standard_input_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)

    with pytest.raises(FileNotFoundError, match="this process has no standard input"):
        JsonLinesSource("-").check()


@in_time
async def test_a_closed_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n")
    source = JsonLinesSource(path)
    await source.aclose()
    await source.aclose()

    with pytest.raises(trio.ClosedResourceError) as caught:
        await source.pull(1)

    assert str(caught.value) == f"{path}: the source is closed; make a new one to read again"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a pipe that is standard input."""
    reading, writing = os.pipe()
    with open(reading) as stdin, open(writing, "wb"):
        monkeypatch.setattr("sys.stdin", stdin)
        yield writing


@in_time
async def test_standard_input_hands_on_a_line_before_the_next_is_there(pipe: int) -> None:
    source = JsonLinesSource("-")
    os.write(pipe, b"1\n{\n2")

    one, broken = await source.pull(100)
    assert one == 1
    assert broken.place == "stdin:2"

    os.write(pipe, b"2\n3\n")
    assert await source.pull(100) == [22, 3]
    await source.aclose()
    os.write(pipe, b"still open")


@in_time
async def test_a_cancelled_pull_loses_no_line_of_standard_input(pipe: int) -> None:
    source = JsonLinesSource("-")
    os.write(pipe, b"1\n2")
    assert await source.pull(100) == [1]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.pull, 100)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    os.write(pipe, b"3\n")
    assert await source.pull(100) == [23]


@in_time
async def test_a_stand_in_for_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1\n2\n")))
    assert await everything(JsonLinesSource("-")) == [1, 2]

    monkeypatch.setattr("sys.stdin", io.StringIO("3\n4\n"))
    assert await everything(JsonLinesSource("-")) == [3, 4]


@in_time
async def test_standard_input_that_somebody_else_was_quicker_to_read_is_waited_for_again(
    pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.set_blocking(sys.stdin.fileno(), False)
    really_wait = trio.lowlevel.wait_readable
    waits = 0

    async def wait_readable(fd: int) -> None:
        nonlocal waits
        waits += 1
        if waits == 2:
            os.write(pipe, b"1\n")
        if waits > 1:
            await really_wait(fd)

    monkeypatch.setattr("trio.lowlevel.wait_readable", wait_readable)

    assert await JsonLinesSource("-").pull(10) == [1]
    assert waits == 2


@in_time
async def test_what_is_always_ready_is_read_to_its_end() -> None:
    assert await everything(TextLinesSource("/dev/null")) == []


@in_time
async def test_a_named_pipe_whose_opening_was_cancelled_is_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = TextLinesSource(path)
    source.check()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.pull, 1)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write() -> None:
            await trio.to_thread.run_sync(path.write_text, "a\nb\n")

        assert await everything(source) == ["a", "b"]


@in_time
async def test_text_lines_come_without_their_newline_and_empty_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\n  b \nc\rd\ne\xffe\n" + b"x" * 9 + b"\nlast")

    entries = await everything(TextLinesSource(path, max_line=8))

    assert told(entries) == [
        "a",
        "",
        "  b ",
        "c\rd",
        f"{path}:5: not utf-8 at byte 2 (invalid start byte)",
        f"{path}:6: a line of 9 bytes, above `max_line` (8)",
        "last",
    ]
    assert entries[4].text == "e\\xffe"


@in_time
async def test_lines_are_decoded_as_told(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"\xe9t\xe9\n")

    assert await everything(TextLinesSource(path, encoding="latin-1")) == ["été"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "rot13", "hex", "klingon", 5])
def test_an_encoding_whose_lines_cannot_be_told_apart_is_refused(encoding: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TextLinesSource("in.txt", encoding=encoding)

    assert str(caught.value) == (
        "TextLinesSource.encoding must be a text encoding with one-byte newlines, "
        f"such as 'utf-8' or 'latin-1', got {encoding!r}"
    )


def test_wrong_options_of_a_file_are_refused() -> None:
    with pytest.raises(ConfigurationError) as path:
        JsonLinesSource(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as max_line:
        JsonLinesSource("in.jsonl", max_line=0)

    assert str(path.value) == (
        "JsonLinesSource.path must be a file name, or '-' for standard input, got 5"
    )
    assert str(max_line.value) == (
        "JsonLinesSource.max_line must be a whole number, 1 or more, got 0"
    )


@in_time
async def test_a_long_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"id": {n}, "pad": "{"x" * 60}"}}\n' for n in range(200_000)))
    source = JsonLinesSource(path)
    seen = 0

    tracemalloc.start()
    try:
        while entries := await source.pull(1_000):
            seen += len(entries)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await source.aclose()

    assert seen == 200_000
    assert path.stat().st_size > 16_000_000
    assert peak < 8 * 1024 * 1024


@in_time
async def test_an_endless_line_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with open(path, "wb") as file:  # noqa: ASYNC230
        file.truncate(64 * 1024 * 1024)
    source = JsonLinesSource(path, max_line=1024 * 1024)

    tracemalloc.start()
    try:
        (entry,) = await source.pull(10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await source.aclose()

    assert str(entry.error).endswith("a line of 67,108,864 bytes, above `max_line` (1,048,576)")
    assert peak < 4 * 1024 * 1024


def is_json(line: bytes) -> bool:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(line.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


good_lines = st.one_of(st.integers(), st.text(), st.lists(st.booleans())).map(
    lambda value: (json.dumps(value).encode(), value)
)
broken_lines = (
    st.one_of(st.binary(min_size=1), st.sampled_from([b"{", b"nul", b"NaN", b"[1,", b"'a'"]))
    .filter(lambda line: b"\n" not in line and line.strip() and not is_json(line))
    .map(lambda line: (line, Malformed))
)


@given(
    lines=st.lists(st.one_of(good_lines, broken_lines)),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    block=st.integers(1, 40),
    most=st.integers(1, 5),
)
async def test_a_file_gives_every_good_line_and_one_malformed_per_broken_one(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[bytes, Any]],
    newline: bytes,
    block: int,
    most: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.jsonl"
    path.write_bytes(newline.join(line for line, _ in lines))

    with mock.patch.object(files, "BLOCK", block), trio.fail_after(20):
        entries = await everything(JsonLinesSource(path), most)

    assert [Malformed if isinstance(each, Malformed) else each for each in entries] == [
        value for _, value in lines
    ]
    assert [each.place for each in entries if isinstance(each, Malformed)] == [
        f"{path}:{number}" for number, (_, value) in enumerate(lines, 1) if value is Malformed
    ]


@given(
    blocks=st.lists(st.lists(st.sampled_from([b"\n", b"a", b"bb"]), min_size=1).map(b"".join)),
    max_line=st.integers(1, 8),
)
def test_lines_do_not_depend_on_where_the_blocks_end(blocks: list[bytes], max_line: int) -> None:
    splitter = LineSplitter(max_line)
    for block in blocks:
        splitter.add(block)
    splitter.finish()

    expected = b"".join(blocks).split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [len(line) for line in splitter.lines] == [len(line) for line in expected]
    for line, whole in zip(splitter.lines, expected, strict=True):
        assert line == whole if len(whole) <= max_line else not isinstance(line, bytes)
