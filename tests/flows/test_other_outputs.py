"""A run goes on only with the output that it has written: another one is left as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actorflow import ConfigurationError, JsonLinesSink, Pipeline, SinkChanged, TextLinesSink
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.flows import endings, tails
from actorflow.flows.sinks import KnownSink, ListSink
from actorflow.flows.tails import Tail
from tests.flows.flowing import Gate, counted, pipeline
from tests.flows.lives import (
    SECONDS,
    Disk,
    Killable,
    Mortal,
    TapeSink,
    aged,
    fed_and_killed,
    finished,
    status_of,
)

FRESH = pytest.mark.parametrize("fresh", [False, True], ids=["same file", "fresh inode"])


def known_after(text: str, name: str = "out.txt") -> Any:
    """The mark of a file that has *text*."""
    tail = Tail()
    tail.add(memoryview(text.encode()))
    return tail.mark(name)


class Blocked:
    """A handler that lets some values through and holds the others until it is opened."""

    def __init__(self, *through: Any) -> None:
        self.through = through

    async def __call__(self, value: Any) -> Any:
        if self.through and value not in self.through:
            await trio.sleep_forever()
        return value


def flow_of(handler: Any) -> Pipeline[Any, Any]:
    async def work(value: Any) -> Any:
        return await handler(value)

    return pipeline([work], name="f")


async def part(store: Any, sink: Any, through: Sequence[Any], fed: Sequence[Any]) -> None:
    """A part of a run that is killed when *through* are all that its sink has taken."""

    def taken() -> int:
        if isinstance(sink, JsonLinesSink):
            return (sink.position() or 0) // len("1\n")
        return len(sink.tape if isinstance(sink, TapeSink) else sink.values)

    flow, wanted = flow_of(Blocked(*through)), sum(type(each) is int for each in through)
    await fed_and_killed(flow, store, list(fed), until=lambda: taken() >= wanted, sink=sink)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# The sink --------------------------------------------------------------------------------


@FRESH
@pytest.mark.parametrize("size", [4, tails.SIZE * 3])
async def test_a_file_with_other_content_is_refused_before_one_byte_is_changed(
    tmp_path: Path, fresh: bool, size: int
) -> None:
    path = tmp_path / "other.txt"
    path.write_text("x" * (size - 1) + "\n" + "and more")
    before = path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns
    mark = known_after("y" * (size - 1) + "\n", "written.txt")

    with pytest.raises(SinkChanged) as caught:
        await TextLinesSink(path).open(size, fresh_inode=fresh, tail=mark)

    assert (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) == before
    assert (caught.value.sink, caught.value.at) == (str(path), size)
    assert str(caught.value) == (
        f"{path}: has other bytes before byte {size:,} than were written to written.txt; "
        "give the file that has them, or begin a new run"
    )
    assert os.listdir(tmp_path) == ["other.txt"]


@FRESH
@pytest.mark.parametrize("size", [4, tails.SIZE, tails.SIZE * 3])
async def test_the_file_itself_is_gone_on_with_under_any_name(
    tmp_path: Path, fresh: bool, size: int
) -> None:
    path, moved = tmp_path / "out.txt", tmp_path / "moved.txt"
    async with TextLinesSink(path) as sink:
        await sink.open()
        await sink.write(["x" * (size - 1)])
        at, mark = sink.position(), sink.tail()
        await sink.write(["more"])
    path.rename(moved)

    async with TextLinesSink(moved) as sink:
        await sink.open(at, fresh_inode=fresh, tail=mark)
        assert sink.tail() == {**mark, "name": str(moved)}
        await sink.write(["end"])

    assert moved.read_text() == "x" * (size - 1) + "\nend\n"


async def test_a_mark_covers_what_earlier_openings_have_written(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    at, mark = None, None
    for text in ("one", "two"):
        async with TextLinesSink(path) as sink:
            await sink.open(at, tail=mark)
            await sink.write([text])
            at, mark = sink.position(), sink.tail()

    assert mark == known_after("one\ntwo\n", str(path))
    path.write_text("ONE\ntwo\n")
    with pytest.raises(SinkChanged):
        await TextLinesSink(path).open(at, tail=mark)


async def test_a_block_that_failed_is_not_in_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actorflow.flows import files

    def full(file: Any, data: memoryview) -> int:
        raise OSError(28, "disk is full")

    async with TextLinesSink(tmp_path / "out.txt") as sink:
        await sink.open()
        await sink.write(["one"])
        with monkeypatch.context() as patched:
            patched.setattr(files, "_write_some", full)
            with pytest.raises(OSError, match="full"):
                await sink.write(["two"])
        await sink.write(["three"])

        assert sink.tail() == known_after("one\nthree\n", sink.name)


@given(st.lists(st.binary(max_size=50)), st.integers(1, 40))
def test_a_tail_is_the_last_bytes_however_they_came(blocks: list[bytes], size: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tails, "SIZE", size)
        tail = Tail()
        for block in blocks:
            tail.add(memoryview(block))
            whole = tail.mark("a")  # Asked for in between, as cuts do.

        whole = tail.mark("a")
        data = b"".join(blocks)[-size:]
        assert whole == {"kind": "file", "name": "a", "size": len(data), "digest": digest(data)}


def digest(data: bytes) -> str:
    return str(tails._digest(data))


@FRESH
async def test_nothing_to_keep_needs_no_file(tmp_path: Path, fresh: bool) -> None:
    path = tmp_path / "out.txt"

    async with TextLinesSink(path) as sink:
        await sink.open(0, fresh_inode=fresh, tail=known_after(""))
        await sink.write(["one"])

    assert path.read_text() == "one\n"


async def test_what_was_no_file_is_not_gone_on_with_in_one(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("something")

    with pytest.raises(SinkChanged, match="is a file, and what was written before was none"):
        await TextLinesSink(path).open(4, tail={"kind": "table", "rows": 4})

    assert path.read_text() == "something"


def test_file_sinks_know_what_they_have_written() -> None:
    assert isinstance(JsonLinesSink("out.jsonl"), KnownSink)
    assert not isinstance(TapeSink([]), KnownSink)


# The run ---------------------------------------------------------------------------------


async def test_a_run_leaves_an_unrelated_file_alone_and_goes_on_with_its_own(
    disk: Callable[[], Any], tmp_path: Path
) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    other.write_text("something of the user's\n" * 1000)
    before = other.read_bytes()
    await part(disk(), JsonLinesSink(own), [1, 2], [1, 2, 3, 4])

    with pytest.raises(SinkChanged) as caught:
        await finished(flow_of(Blocked()), disk(), sink=JsonLinesSink(other))

    assert other.read_bytes() == before
    assert caught.value.at == 4
    assert str(own) in str(caught.value)
    assert status_of(disk(), "run") == "running"  # It was killed, and the next part is careful.
    report = await finished(flow_of(Blocked()), disk(), sink=JsonLinesSink(own))
    assert lines(own) == [1, 2, 3, 4]
    assert report.counts == counted(fed=4, done=4)


async def test_a_run_goes_on_with_its_file_under_another_name(
    disk: Callable[[], Any], tmp_path: Path
) -> None:
    own, moved = tmp_path / "own.jsonl", tmp_path / "moved.jsonl"
    await part(disk(), JsonLinesSink(own), [1, 2], [1, 2, 3, 4])
    own.rename(moved)

    await part(disk(), JsonLinesSink(moved), [1, 2, 3], [])
    await finished(flow_of(Blocked()), disk(), sink=JsonLinesSink(moved))

    assert lines(moved) == [1, 2, 3, 4]
    assert not own.exists()


async def test_a_missing_file_is_refused_if_something_was_written(
    disk: Callable[[], Any], tmp_path: Path
) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    await part(disk(), JsonLinesSink(own), [1], [1, 2])

    with pytest.raises(SinkChanged, match="is missing, and 2 bytes were written to it before"):
        await finished(flow_of(Blocked()), disk(), sink=JsonLinesSink(other))

    assert not other.exists()


async def test_a_missing_file_is_made_if_nothing_was_written(
    disk: Callable[[], Any], tmp_path: Path
) -> None:
    own, other = tmp_path / "own.jsonl", tmp_path / "other.jsonl"
    await part(disk(), JsonLinesSink(own), ["nothing"], [1, 2])
    own.unlink()

    await finished(flow_of(Blocked()), disk(), sink=JsonLinesSink(other))

    assert lines(other) == [1, 2]


@pytest.mark.parametrize("now", ["file", "tape"])
async def test_a_place_in_one_kind_of_sink_is_none_in_another(tmp_path: Path, now: str) -> None:
    disk, path, tape = MemoryDisk(), tmp_path / "out.jsonl", list[Any]()
    file, own = JsonLinesSink(path), TapeSink(tape)
    if now == "file":
        path.write_text("something of the user's")
    else:
        tape += "something of the user's"
    await part(Mortal(disk), own if now == "file" else file, [1], [1, 2])
    before = path.read_bytes(), list(tape)

    store, sink = MemoryStore(disk=disk), file if now == "file" else own
    with pytest.raises(SinkChanged, match="is of another kind than"):
        await finished(flow_of(Blocked()), store, sink=sink)

    assert (path.read_bytes(), tape) == before


async def test_a_checkpoint_of_an_earlier_release_allows_any_file_that_is_long_enough(
    tmp_path: Path,
) -> None:
    disk, path = MemoryDisk(), tmp_path / "out.jsonl"
    await part(Mortal(disk), JsonLinesSink(path), [1, 2], [1, 2, 3])
    aged(disk, "run")
    assert "output" not in Disk(disk).facts("run")

    await part(Mortal(disk), JsonLinesSink(path), [1, 2, 3], [4])
    assert Disk(disk).facts("run")["output"]["tail"]["name"] == str(path)
    await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=JsonLinesSink(path))

    assert lines(path) == [1, 2, 3, 4]


async def test_a_mark_of_another_place_than_the_sinks_says_nothing(tmp_path: Path) -> None:
    disk, path = MemoryDisk(), tmp_path / "out.jsonl"
    await part(Mortal(disk), JsonLinesSink(path), [1, 2], [1, 2, 3])
    path.write_text("8\n9\n")
    aged(disk, "run", output={"at": 2, "name": "x", "known": True, "tail": {"kind": "else"}})

    await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=JsonLinesSink(path))

    assert lines(path) == [8, 9, 3]


# With a sink and without -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "tape", "list", "older"])
async def test_a_run_with_a_sink_is_not_gone_on_with_without_one(tmp_path: Path, kind: str) -> None:
    disk, path = MemoryDisk(), tmp_path / "out.jsonl"
    sinks = {"tape": TapeSink([]), "list": ListSink[Any]()}
    await part(Mortal(disk), sinks.get(kind, JsonLinesSink(path)), [1], [1, 2])
    if kind == "older":
        aged(disk, "run")

    with pytest.raises(ConfigurationError, match="run option sink must be given") as caught:
        await finished(flow_of(Blocked()), MemoryStore(disk=disk))

    named = {"file": str(path), "tape": "TapeSink", "list": "ListSink", "older": "one"}[kind]
    assert f"the run began with {named}, or" in str(caught.value)


async def test_values_that_no_sink_has_taken_are_not_lost_for_want_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endings, "REST_SECONDS", 0.01)

    class Stuck(ListSink[Any]):
        async def write(self, values: Sequence[Any]) -> None:
            await trio.sleep_forever()

    disk, found = MemoryDisk(), list[Any]()
    await fed_and_killed(flow_of(Blocked()), Mortal(disk), [1, 2], sink=Stuck())
    aged(disk, "run")  # It knew nothing of sinks that have no place.

    with pytest.raises(ConfigurationError, match="run option sink must be given"):
        await finished(flow_of(Blocked()), MemoryStore(disk=disk))
    report = await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=found.append)

    assert found == [1, 2]
    assert report.counts == counted(fed=2, done=2)


async def test_a_run_without_a_sink_may_get_one(tmp_path: Path) -> None:
    disk, gate, path = MemoryDisk(), Gate(), tmp_path / "out.jsonl"
    await fed_and_killed(flow_of(gate), Mortal(disk), [1, 2])

    await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=JsonLinesSink(path))

    assert lines(path) == [1, 2]


async def test_a_file_keeps_its_place_while_another_part_writes_elsewhere(tmp_path: Path) -> None:
    disk, path = MemoryDisk(), tmp_path / "out.jsonl"
    elsewhere = ListSink[Any]()
    await part(Mortal(disk), JsonLinesSink(path), [1], [1, 2, 3])
    await part(Mortal(disk), elsewhere, [2], [])
    other = JsonLinesSink(tmp_path / "other.jsonl")
    (tmp_path / "other.jsonl").write_text("8\n9\n")

    with pytest.raises(SinkChanged):
        await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=other)
    await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=JsonLinesSink(path))

    assert (lines(path)[0], *elsewhere.values) == (1, 2)
    assert 3 in lines(path)


# What a sink of one's own must do --------------------------------------------------------


class Hasty(TapeSink):
    """Its position is ahead while it waits for something else."""

    def __init__(self, tape: list[Any], waits: list[bool]) -> None:
        super().__init__(tape)
        self._waits = waits

    async def write(self, values: Sequence[Any]) -> None:
        await super().write(values)
        if self._waits:
            await trio.sleep_forever()


async def test_a_position_that_moves_early_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endings, "REST_SECONDS", 0.01)
    disk, tape = MemoryDisk(), list[Any]()

    async with flow_of(Blocked()).open(
        store=Killable(MemoryStore(disk=disk)), run_id="run", sink=Hasty(tape, [True])
    ) as run:
        await run.feed([1])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert tape == [1]
        await run.feed([2])  # A cut, while the write of 1 has not returned.
        await trio.testing.wait_all_tasks_blocked(0.01)
        run.cancel()
    await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=Hasty(tape, []))

    assert tape == [1, 2]


class KnownTape(Hasty):
    """Knows its values again, and keeps none of the contract's pace."""

    async def open(
        self, at: int | None = None, *, fresh_inode: bool = False, tail: Any = None
    ) -> None:
        if tail is not None and tail != self.tape[: at or 0]:
            raise SinkChanged("tape", at or 0, "has other values")
        await super().open(at)

    def tail(self) -> Any:
        return list(self.tape)


async def test_a_mark_is_of_the_place_that_the_cut_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "REST_SECONDS", 0.01)
    disk, tape, waits = MemoryDisk(), list[Any](), list[bool]()
    store, sink = MemoryStore(disk=disk), KnownTape(tape, waits)
    async with flow_of(Blocked()).open(store=store, run_id="run", sink=sink, interval=3600) as run:
        for value in (1, 2, 3):
            waits[:] = [True] if value == 3 else []
            await run.feed_from([value])
            await trio.testing.wait_all_tasks_blocked(0.01)
        await run.stop()
    assert tape == [1, 2, 3]
    assert Disk(disk).facts("run")["sink"] == 2

    tape[:2] = [1, 8]
    await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=KnownTape(tape, []))
    assert tape == [1, 8, 3]  # No mark was taken of that place, so it is not looked at.
    with pytest.raises(SinkChanged):
        await KnownTape([1, 8], []).open(2, tail=[1, 2])


class Unsound(TapeSink):
    """Breaks the contract in the way that it is told."""

    def __init__(self, tape: list[Any], how: str) -> None:
        super().__init__(tape)
        self.how = how
        self.moved = 5

    async def write(self, values: Sequence[Any]) -> None:
        await super().write(values)
        if self.how == "goes back":
            self.moved -= len(values) + 1

    def position(self) -> Any:
        if self.how == "moves":
            self.moved += 1
        if self.how == "text":
            return "one"
        if self.how == "gives up" and self.tape:
            return None
        return super().position() + self.moved


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("moves", "one that stays 6 between two writes, got 7"),
        ("goes back", "one that is not below 5 after a write, got 4"),
        ("gives up", "one that is not below 5 after a write, got None"),
        ("text", "one that is a whole number of 0 or more, or None, got 'one'"),
    ],
)
async def test_a_sink_that_breaks_its_contract_fails_the_run(how: str, text: str) -> None:
    with trio.fail_after(SECONDS), pytest.raises(ConfigurationError) as caught:
        await flow_of(Blocked()).run([1, 2], store=MemoryStore(), sink=Unsound([], how))

    assert text in str(caught.value)


async def test_a_sink_that_keeps_more_than_it_is_told_cannot_be_gone_on_with() -> None:
    class Keeps(TapeSink):
        async def open(self, at: int | None = None, *, fresh_inode: bool = False) -> None:
            await super().open(len(self.tape))

    disk, tape = MemoryDisk(), list[Any]()
    await part(Mortal(disk), Keeps(tape), [1], [1, 2])
    tape.append("torn")

    with pytest.raises(ConfigurationError, match="one that is 1 after open"):
        await finished(flow_of(Blocked()), MemoryStore(disk=disk), sink=Keeps(tape))
