"""Cursors: what is read on after an interruption, and which input is known again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import SourceChanged, UsageError
from actorflow.flows import cursors, files
from actorflow.flows.cursors import SAMPLE, SAMPLES, FilePrint
from actorflow.flows.sources import (
    IterableSource,
    JsonLinesSource,
    Malformed,
    Source,
    TextLinesSource,
    is_replayable,
)
from actorflow.wire.codec import decode, encode

KIND_OF_LINES = [JsonLinesSource, TextLinesSource]

#: The part of a cursor that is the position, of files and of sequences.
PLACE = {"kind", "offset", "line", "index"}


def still() -> float:
    """A clock that stands still, so that a pull takes as many as it may."""
    return 0.0


async def rest_of(source: Source[Any], most: int = 100) -> list[Any]:
    entries: list[Any] = []
    while taken := await source.pull(most):
        entries += taken
    await source.aclose()
    return entries


def told(entries: list[Any]) -> list[Any]:
    return [
        (each.place, each.text, str(each.error)) if isinstance(each, Malformed) else each
        for each in entries
    ]


async def cursor_after(source: Any, pulls: int, most: int = 1) -> Any:
    """The cursor after some pulls, as a store would give it back."""
    for _ in range(pulls):
        await source.pull(most)
    await source.aclose()
    return decode(encode(source.cursor()))


async def in_lives(
    make: Callable[[], Any], lives: list[list[int]], last: int
) -> tuple[list[Any], Any]:
    """Everything that is read if the source is left after each list of pulls."""
    entries: list[Any] = []
    cursor = None
    for pulls in [*lives, None]:
        source = make()
        if cursor is not None:
            await source.seek(cursor, "run-1")
            again = source.cursor()
            assert {key: again[key] for key in PLACE & again.keys()} == {
                key: cursor[key] for key in PLACE & cursor.keys()
            }
        if pulls is None:
            return entries + await rest_of(source, last), source
        for most in pulls:
            entries += await source.pull(most)
        await source.aclose()
        cursor = decode(encode(source.cursor()))
    raise AssertionError


async def change_of(source: Any, cursor: Any) -> str:
    """What the source says has changed."""
    with pytest.raises(SourceChanged) as caught:
        await source.seek(cursor, "run-1")
    await source.aclose()
    assert (caught.value.run, caught.value.source) == ("run-1", source.name)
    text = str(caught.value)
    head, tail = f"run 'run-1': its input {source.name} has changed: ", "; give another run_id"
    assert text.startswith(head)
    assert text.endswith(tail)
    return text[len(head) : -len(tail)]


# What has a cursor.


async def endless() -> AsyncIterator[int]:
    while True:
        yield 1


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([1], True),
        ((1,), True),
        (range(1), True),
        ({1}, False),
        (frozenset({1}), False),
        ({1: 2}.values(), False),
        (iter([1]), False),
        ((each for each in [1]), False),
        (endless(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sequences_have_a_cursor_and_other_iterables_have_none(values: Any, answer: bool) -> None:
    assert is_replayable(IterableSource(values)) is answer


@contextlib.contextmanager
def standard_input(stdin: TextIO) -> Iterator[None]:
    saved = os.dup(0)
    os.dup2(stdin.fileno(), 0)
    try:
        with mock.patch("sys.stdin", stdin):
            yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


async def test_files_have_a_cursor_and_pipes_and_standard_input_have_none(tmp_path: Path) -> None:
    path, pipe = tmp_path / "in.txt", tmp_path / "pipe"
    path.write_text("a\n")
    os.mkfifo(pipe)

    with open(path) as stdin, standard_input(stdin):  # noqa: ASYNC230
        names: list[str | Path] = [path, pipe, "-", "/dev/null", tmp_path / "missing"]
        assert [TextLinesSource(name).replayable for name in names] == [True, *[False] * 4]

    device = TextLinesSource("/dev/null")
    await device.open()
    assert not device.replayable
    await device.aclose()


def test_a_source_of_somebody_else_has_no_cursor() -> None:
    class Own:
        name = "own"

        async def pull(self, most: int) -> list[int]:
            return []

        async def aclose(self) -> None:
            pass

    own: Source[int] = Own()

    assert not is_replayable(own)


@pytest.mark.parametrize("source", [IterableSource({1, 2}), JsonLinesSource("/dev/null")])
def test_what_has_no_cursor_says_so(source: Any) -> None:
    with pytest.raises(UsageError) as caught:
        source.cursor()

    assert str(caught.value) == f"{source.name}: has no cursor, since it cannot be read again"


# Sequences.

pulls = st.lists(st.integers(1, 5), max_size=4)


@given(
    values=st.one_of(
        st.lists(st.integers() | st.text() | st.lists(st.none())),
        st.lists(st.integers()).map(tuple),
        st.integers(0, 30).map(range),
    ),
    lives=st.lists(pulls, max_size=4),
    last=st.integers(1, 5),
)
async def test_a_sequence_that_is_left_at_any_places_gives_every_item_once(
    values: Sequence[Any], lives: list[list[int]], last: int
) -> None:
    with trio.fail_after(20):
        entries, source = await in_lives(lambda: IterableSource(values, clock=still), lives, last)

    assert entries == list(values)
    assert source.total == len(values)


@pytest.mark.parametrize(
    ("values", "change"),
    [
        (list(range(9)), "it had 10 items and has 9"),
        (list(range(11)), "it had 10 items and has 11"),
        ([0, 9, *range(2, 9), 1], "its items are not what they were, or in another order"),
        ([*range(9), 9.0], "its items are not what they were, or in another order"),
        ([], "it had 10 items and has 0"),
        (iter(range(10)), "the run has read a sequence, and this is a plain iterator"),
        (set(range(10)), "the run has read a sequence, and this is a plain iterator"),
    ],
)
async def test_another_sequence_is_refused(values: Any, change: str) -> None:
    cursor = await cursor_after(IterableSource(list(range(10))), 3)

    assert await change_of(IterableSource(values), cursor) == change


async def test_a_list_may_have_become_a_tuple() -> None:
    cursor = await cursor_after(IterableSource([1, 2, 3]), 1)
    source = IterableSource((1, 2, 3))

    await source.seek(cursor, "run-1")

    assert await rest_of(source) == [2, 3]


async def test_items_without_bytes_are_known_by_their_number_only() -> None:
    class Thing:
        pass

    cursor = await cursor_after(IterableSource([Thing() for _ in range(3)]), 1)
    others = [Thing() for _ in range(3)]
    source = IterableSource(others)

    await source.seek(cursor, "run-1")

    assert await rest_of(source) == others[1:]
    assert (
        await change_of(IterableSource([1, 2, 3]), cursor)
        == "its items are not what they were, or in another order"
    )
    assert await change_of(IterableSource([Thing()] * 2), cursor) == "it had 3 items and has 2"


async def test_items_that_the_run_has_changed_are_still_known() -> None:
    def make() -> IterableSource[dict[str, int]]:
        return IterableSource([{"n": number} for number in range(3)])

    source = make()
    for item in await source.pull(1):
        assert isinstance(item, dict)
        item["n"] = 99
    again = make()

    await again.seek(source.cursor(), "run-1")

    assert await rest_of(again) == [{"n": 1}, {"n": 2}]


async def test_a_sequence_is_sampled_once_and_only_in_a_few_places() -> None:
    with mock.patch.object(cursors, "encode", wraps=encode) as spy:
        source = IterableSource(range(1_000_000))
        await source.pull(1)
        for _ in range(50):
            source.cursor()

    looked_at = [call.args[0] for call in spy.call_args_list]
    assert (len(looked_at), looked_at[0], looked_at[-1]) == (8, 0, 999_999)


@pytest.mark.parametrize(
    "large",
    [[0] * 1_001, [[[0] * 600, [0] * 600]], dict.fromkeys(range(1_001)), ["x" * 2_000_000]],
    ids=["list", "nested", "dict", "text"],
)
async def test_a_large_item_is_not_turned_into_bytes_on_the_loop(large: Any) -> None:
    with mock.patch.object(cursors, "encode", wraps=encode) as spy:
        cursor = IterableSource([1, large, 2]).cursor()

    assert [call.args[0] for call in spy.call_args_list] == [1, 2]
    assert await change_of(IterableSource([1, large, 3]), cursor) == (
        "its items are not what they were, or in another order"
    )


class Shelf(Sequence[int]):
    """Numbers that are fetched one by one; one of them cannot be."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken
        self.fetched: list[int] = []

    def __len__(self) -> int:
        return 1_000

    def __getitem__(self, index: Any) -> Any:
        if index == self.broken:
            raise OSError("gone")
        if index >= 1_000:
            raise IndexError
        self.fetched.append(index)
        return index


async def test_going_on_does_not_walk_over_what_was_read() -> None:
    cursor = await cursor_after(IterableSource(Shelf(), clock=still), 5, most=100)
    shelf = Shelf()
    source = IterableSource(shelf, clock=still)

    await source.seek(cursor, "run-1")
    shelf.fetched.clear()

    assert await source.pull(3) == [500, 501, 502]
    assert shelf.fetched == [500, 501, 502]


async def test_an_item_that_cannot_be_had_fails_in_its_turn() -> None:
    source = IterableSource(Shelf(broken=999), clock=still)

    assert await source.pull(999) == list(range(999))
    with pytest.raises(OSError, match=r"^gone$"):
        await source.pull(1)
    assert source.cursor()["index"] == 999


async def test_items_before_an_error_count_as_pulled() -> None:
    source = IterableSource(Shelf(broken=5), clock=still)

    await source.pull(100)

    assert source.cursor()["index"] == 5


# Files.

lines_of_json = st.one_of(
    st.integers().map(lambda value: json.dumps(value).encode()),
    st.text(max_size=5).map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"  ", b"{", b"\xff", b"[" + b"1" * 30 + b"]"]),
)


@given(
    lines=st.lists(lines_of_json, max_size=20),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    ending=st.booleans(),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    block=st.integers(1, 40),
    lives=st.lists(pulls, max_size=4),
    last=st.integers(1, 5),
    kind=st.sampled_from(KIND_OF_LINES),
)
async def test_a_file_that_is_left_at_any_places_gives_every_line_once(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    newline: bytes,
    ending: bool,
    mark: bytes,
    block: int,
    lives: list[list[int]],
    last: int,
    kind: type[JsonLinesSource],
) -> None:
    path = tmp_path_factory.getbasetemp() / "lives.jsonl"
    path.write_bytes(mark + newline.join(lines) + (newline if ending else b""))

    def make() -> JsonLinesSource:
        return kind(path, max_line=20, clock=still)

    with mock.patch.object(files, "BLOCK", block), trio.fail_after(20):
        undisturbed = make()
        expected = await rest_of(undisturbed)
        entries, source = await in_lives(make, lives, last)

    assert told(entries) == told(expected)
    assert (source.offset, source.line) == (undisturbed.offset, undisturbed.line)


async def test_lines_that_cannot_be_read_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n" * 16 + "{\n")
    cursor = await cursor_after(JsonLinesSource(path, clock=still), 1, most=10)
    source = JsonLinesSource(path, clock=still)

    await source.seek(cursor, "run-1")

    assert source.left == path.stat().st_size - 20
    assert (await rest_of(source))[-1].place == f"{path}:17"


async def test_a_cursor_reads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\nb\n")
    source = TextLinesSource(path, clock=still)
    await source.pull(1)

    with (
        mock.patch("os.stat", side_effect=AssertionError),
        mock.patch("os.fstat", side_effect=AssertionError),
        mock.patch.object(FilePrint, "take", side_effect=AssertionError),
    ):
        cursor = source.cursor()

    await source.aclose()
    assert (cursor["offset"], cursor["line"], cursor["size"]) == (2, 1, 4)


async def test_a_file_that_was_not_open_yet_may_be_any(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    cursor = TextLinesSource(path).cursor()
    path.write_text("other\n")
    source = TextLinesSource(path)

    await source.seek(cursor, "run-1")

    assert await rest_of(source) == ["other"]


async def test_a_file_that_was_opened_must_be_the_same_before_its_first_line_is_pulled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    source = TextLinesSource(path)
    await source.open()
    await source.aclose()
    path.write_text("b\n")

    change = await change_of(TextLinesSource(path), source.cursor())

    assert change == "its first 2 bytes are not what they were"


async def test_a_file_may_have_grown_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\nb\n")
    for pulled in (0, 1, 2, 3):
        path.write_text("a\nb\n")
        cursor = await cursor_after(TextLinesSource(path, clock=still), pulled)
        path.write_text("a\nb\nc\nd\n")
        source = TextLinesSource(path, clock=still)

        await source.seek(cursor, "run-1")

        assert await rest_of(source) == ["a", "b", "c", "d"][min(pulled, 2) :]


@pytest.mark.parametrize("more", ["\n", "c", "c\nd\n"])
async def test_a_last_line_without_newline_may_grow_only_until_it_is_pulled(
    tmp_path: Path, more: str
) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\nb")
    before = await cursor_after(TextLinesSource(path, clock=still), 1)
    behind = await cursor_after(TextLinesSource(path, clock=still), 2)
    source = TextLinesSource(path, clock=still)
    await source.seek(behind, "run-1")
    assert await rest_of(source) == []

    path.write_text("a\nb" + more)
    source = TextLinesSource(path, clock=still)
    await source.seek(before, "run-1")

    assert await rest_of(source) == ("b" + more).splitlines()
    assert await change_of(TextLinesSource(path), behind) == (
        "its last line had no newline when it was read, at byte 3, and goes on"
    )


@pytest.mark.parametrize(
    ("data", "change"),
    [
        (b"", "it had 1,500 bytes and has 0"),
        (b"abcd\n" * 299, "it had 1,500 bytes and has 1,495"),
        (b"abcd\n" * 299 + b"abcc\n", "its first 1,500 bytes are not what they were"),
        (b"xbcd\n" + b"abcd\n" * 400, "its first 1,500 bytes are not what they were"),
    ],
    ids=["empty", "shorter", "same size", "longer"],
)
async def test_another_file_is_refused(tmp_path: Path, data: bytes, change: str) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"abcd\n" * 300)
    times = path.stat()
    cursor = await cursor_after(TextLinesSource(path), 2)

    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # A date proves nothing.

    assert await change_of(TextLinesSource(path), cursor) == change


async def test_a_copy_of_the_file_will_do(tmp_path: Path) -> None:
    path, copy = tmp_path / "in.txt", tmp_path / "copy.txt"
    path.write_text("a\nb\nc\n")
    cursor = await cursor_after(TextLinesSource(path, clock=still), 1)
    shutil.copyfile(path, copy)
    source = TextLinesSource(copy)

    await source.seek(cursor, "run-1")

    assert await rest_of(source) == ["b", "c"]


@pytest.mark.parametrize("size", [1, SAMPLE, SAMPLE * SAMPLES, SAMPLE * SAMPLES + 1, 7_654_321])
def test_the_first_the_last_and_some_blocks_between_are_known(tmp_path: Path, size: int) -> None:
    path = tmp_path / "in"
    path.write_bytes(bytes(size))
    with io.FileIO(path, "rb+") as file:
        file.seek(5)
        known = FilePrint.take(file)
        assert file.tell() == 5
        assert known.change(file, 0) == ""

        for number in range(SAMPLES):
            place = (size - 1) * number // (SAMPLES - 1)
            file.seek(place)
            file.write(b"x")
            assert known.change(file, 0) == f"its first {size:,} bytes are not what they were"
            file.seek(place)
            file.write(b"\0")

        file.seek(size)
        file.write(b"more")
        assert known.change(file, 0) == ""


@given(size=st.integers(1, 300), place=st.integers(0, 299))
def test_every_change_of_a_small_file_is_found(
    tmp_path_factory: pytest.TempPathFactory, size: int, place: int
) -> None:
    place %= size
    path = tmp_path_factory.getbasetemp() / "small"
    path.write_bytes(b"." * size)
    with mock.patch.object(cursors, "SAMPLE", 20), io.FileIO(path, "rb+") as file:
        known = FilePrint.take(file)
        file.seek(place)
        file.write(b"x")

        assert known.change(file, 0) != ""


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "in"
    with open(path, "wb") as file:
        file.truncate(1 << 40)

    class Counting(io.FileIO):
        got = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size) or b""
            self.got += len(data)
            return data

    with Counting(path) as counting:
        FilePrint.take(counting)

    assert counting.got == SAMPLE * SAMPLES


async def test_what_a_file_got_while_it_was_read_must_stay_too(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    source = TextLinesSource(path, clock=still)
    with mock.patch.object(files, "BLOCK", 2):
        assert await source.pull(1) == ["a"]
        path.write_text("a\nb\n")
        assert await source.pull(1) == ["b"]
    await source.aclose()
    cursor = source.cursor()

    path.write_text("a\nc\n")
    change = await change_of(TextLinesSource(path), cursor)

    assert change == "its first 4 bytes are not what they were"


async def test_what_a_file_got_while_it_was_read_on_must_stay_too(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\nb\n")
    cursor = await cursor_after(TextLinesSource(path, clock=still), 1)
    source = TextLinesSource(path, clock=still)
    await source.seek(cursor, "run-1")
    path.write_text("a\nb\nc\n")
    assert await rest_of(source) == ["b", "c"]

    path.write_text("a\nb\nd\n")
    change = await change_of(TextLinesSource(path), source.cursor())

    assert change == "its first 6 bytes are not what they were"


async def test_no_block_is_lost_if_a_file_that_grows_cannot_be_sampled(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    source = TextLinesSource(path, clock=still)
    await source.open()
    path.write_text("a\nb\n")

    with (
        mock.patch.object(FilePrint, "take", side_effect=OSError("disk")),
        pytest.raises(OSError, match=r"^disk$"),
    ):
        await source.pull(1)

    assert await rest_of(source) == ["a", "b"]


async def test_a_file_that_was_cut_while_it_was_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\nb\n")
    cursor = await cursor_after(TextLinesSource(path, clock=still), 2)

    path.write_text("a\n")

    assert await change_of(TextLinesSource(path), cursor) == "it had 4 bytes and has 2"
    assert await change_of(TextLinesSource(path), {**cursor, "size": 0, "offset": 3}) == (
        "it had 3 bytes and has 2"
    )


async def test_a_pipe_in_the_place_of_the_file_is_refused_and_not_waited_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    cursor = await cursor_after(TextLinesSource(path), 1)
    path.unlink()
    os.mkfifo(path)

    assert await change_of(TextLinesSource(path), cursor) == "it is no regular file any more"


async def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    cursor = await cursor_after(TextLinesSource(path), 1)
    path.unlink()

    with pytest.raises(FileNotFoundError) as caught:
        await TextLinesSource(path).seek(cursor, "run-1")
    assert caught.value.filename == str(path)


async def test_a_cursor_into_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("a\n")
    of_file, of_list = TextLinesSource(path).cursor(), IterableSource([1]).cursor()

    assert await change_of(TextLinesSource(path), of_list) == (
        "the run has read a sequence, and this is a file"
    )
    assert await change_of(IterableSource([1]), of_file) == (
        "the run has read a file, and this is a sequence"
    )
    assert await change_of(IterableSource([1]), 7) == (
        "the run has read something else, and this is a sequence"
    )


@pytest.fixture
def sources(tmp_path: Path) -> list[Any]:
    path, empty = tmp_path / "in.txt", tmp_path / "empty.txt"
    path.write_text("a\nb\n")
    empty.touch()
    return [
        IterableSource([1, 2]),
        IterableSource([]),
        TextLinesSource(path),
        JsonLinesSource(empty),
    ]


async def test_who_has_pulled_may_not_seek(sources: list[Any]) -> None:
    for source in sources:
        cursor = source.cursor()
        await source.pull(1)

        with pytest.raises(UsageError) as caught:
            await source.seek(cursor, "run-1")

        assert str(caught.value) == f"{source.name}: seek() comes before the first pull"
        await source.aclose()


async def test_who_is_closed_may_not_seek(sources: list[Any]) -> None:
    for source in sources:
        cursor = source.cursor()
        await source.aclose()

        with pytest.raises(trio.ClosedResourceError):
            await source.seek(cursor, "run-1")
