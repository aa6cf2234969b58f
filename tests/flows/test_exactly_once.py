"""File sinks over any number of ends: each value is in the file once, whatever writes there."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import UsageError
from actorflow.flows import files, reopening
from actorflow.flows.sinks import (
    CallableSink,
    JsonLinesSink,
    ListSink,
    ResumableSink,
    Sink,
    TextLinesSink,
)

FRESH = pytest.mark.parametrize("fresh", [False, True], ids=["same file", "fresh inode"])


async def written(path: Path, *values: str, at: int | None = None, **options: Any) -> int:
    """Write one block; answers the position after it."""
    async with TextLinesSink(path) as sink:
        await sink.open(at, **options)
        await sink.write(values)
        position = sink.position()
    assert position is not None
    return position


def drafts(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each != path)


# Going on.


@given(
    blocks=st.lists(st.lists(st.text(st.characters(codec="ascii")), min_size=1), max_size=8),
    lives=st.lists(
        st.tuples(
            st.integers(0, 4),  # Blocks that are written.
            st.integers(0, 4),  # Blocks of them that no checkpoint has named.
            st.integers(0, 50),  # Bytes of the next block that are written too.
            st.booleans(),  # Whether the next life cannot know that this one is over.
        ),
        max_size=5,
    ),
    kind=st.sampled_from([JsonLinesSink, TextLinesSink]),
)
async def test_a_file_is_as_if_its_writer_had_never_been_killed(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[list[str]],
    lives: list[tuple[int, int, int, bool]],
    kind: type[JsonLinesSink] | type[TextLinesSink],
) -> None:
    blocks = [[value.replace("\n", " ").replace("\r", " ") for value in block] for block in blocks]
    base = tmp_path_factory.getbasetemp()
    path, undisturbed = base / "lives.out", base / "undisturbed.out"
    with trio.fail_after(20):
        async with kind(undisturbed) as sink:
            await sink.open()
            ends = [0]
            for block in blocks:
                await sink.write(block)
                ends.append(sink.position() or 0)
        whole = undisturbed.read_bytes()

        done, at, fresh = 0, None, False
        for count, unnamed, torn, suspect in [*lives, (len(blocks), 0, 0, False)]:
            async with kind(path) as sink:
                await sink.open(at, fresh_inode=fresh)
                positions = [(done, sink.position())]
                for block in blocks[done:][:count]:
                    await sink.write(block)
                    positions.append((positions[-1][0] + 1, sink.position()))
            with open(path, "ab") as file:  # noqa: ASYNC230
                file.write(whole[ends[positions[-1][0]] :][:torn])
            last = positions[-1]
            done, at = positions[max(0, len(positions) - 1 - unnamed)]
            assert at == ends[done]
            fresh = suspect

    # What was torn off the last life is behind everything.
    assert last == (len(blocks), len(whole))
    assert path.read_bytes() == whole


KILLED = """
import os, signal, sys, trio
from actorflow.flows import files
from actorflow.flows.sinks import TextLinesSink

write_some, writes = files._write_some, []

def torn(file, data):
    writes.append(data)
    if len(writes) == 3:
        write_some(file, data[:5])
        os.kill(os.getpid(), signal.SIGKILL)
    return write_some(file, data)

async def main():
    files._write_some = torn
    sink = TextLinesSink(sys.argv[1])
    await sink.open()
    for number in range(3):
        await sink.write([f"block {number}"])
        sink.sync()
        print(sink.position(), flush=True)

trio.run(main)
"""


async def test_a_block_that_was_torn_by_a_kill_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    killed = await trio.run_process(
        [sys.executable, "-c", KILLED, str(path)],
        capture_stdout=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "block 0\nblock 1\nblock"
    at = int(killed.stdout.split()[-1])

    await written(path, "block 2", at=at)

    assert path.read_text() == "block 0\nblock 1\nblock 2\n"


@FRESH
async def test_what_is_before_the_position_stays_and_what_follows_goes(
    tmp_path: Path, fresh: bool
) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\ntwo\nthr")

    sink = TextLinesSink(path)
    await sink.open(8, fresh_inode=fresh)

    assert (path.read_text(), sink.position(), sink.offset) == ("one\ntwo\n", 8, 8)
    await sink.write(["three"])
    await sink.aclose()
    assert (path.read_text(), sink.position(), sink.offset) == ("one\ntwo\nthree\n", 14, 14)
    assert drafts(path) == []


@FRESH
@pytest.mark.parametrize("at", [0, 1_234, 7_654])
@pytest.mark.parametrize(
    "copier", ["system", "none", "other device", "in parts", "gives up half way"]
)
async def test_a_file_of_many_blocks_is_kept_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool, at: int, copier: str
) -> None:
    monkeypatch.setattr(reopening, "BLOCK", 100)
    really = os.copy_file_range
    calls = 0

    def copy(old: int, new: int, count: int, *places: int) -> int:
        nonlocal calls
        calls += 1
        if copier == "other device" or (copier == "gives up half way" and calls > 3):
            raise OSError(errno.EXDEV, "other device")
        return really(old, new, min(count, 1_000), *places)

    if copier == "none":
        monkeypatch.delattr(os, "copy_file_range")
    elif copier != "system":
        monkeypatch.setattr(os, "copy_file_range", copy)
    path = tmp_path / "out.txt"
    data = bytes(number * number % 251 for number in range(7_654))
    path.write_bytes(data)

    await written(path, "end", at=at, fresh_inode=fresh)

    assert path.read_bytes() == data[:at] + b"end\n"


@pytest.mark.parametrize("at", [None, 4])
async def test_a_writer_that_wakes_up_later_changes_nothing(tmp_path: Path, at: int | None) -> None:
    path = tmp_path / "out.txt"
    stale = TextLinesSink(path)
    await stale.open()
    await stale.write(["one"])
    descriptor = os.open(path, os.O_RDWR)

    sink = TextLinesSink(path)
    await sink.open(at, fresh_inode=True)
    await stale.write(["stale"])
    await sink.write(["two"])
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"stale", 2)
    os.close(descriptor)
    await stale.write(["stale"])
    await stale.aclose()
    await sink.write(["three"])
    await sink.aclose()

    assert path.read_text() == ("one\n" if at else "") + "two\nthree\n"


async def test_a_new_file_has_mode_and_owner_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\n")
    path.chmod(0o4640)
    before = path.stat()

    with mock.patch("os.chown", side_effect=PermissionError) as chown:
        await written(path, "two", at=4, fresh_inode=True)

    after = path.stat()
    assert after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o4640
    assert chown.call_args.args[1:] == (before.st_uid, before.st_gid)


async def test_a_link_goes_on_to_lead_to_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path, link = folder / "out.txt", tmp_path / "link.txt"
    path.write_text("one\n")
    link.symlink_to(path)

    await written(link, "two", at=4, fresh_inode=True)

    assert link.is_symlink()
    assert path.read_text() == "one\ntwo\n"
    assert drafts(path) == []


@pytest.mark.parametrize("name", ["o" * 255, "é" * 127])
async def test_a_long_name_leaves_room_for_that_of_the_copy(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("one\n")

    await written(path, "two", at=4, fresh_inode=True)

    assert path.read_text() == "one\ntwo\n"


async def test_a_fresh_inode_of_a_missing_file_is_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"

    await written(path, "one", fresh_inode=True)

    assert path.read_text() == "one\n"


async def test_a_name_without_folder_is_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    at = await written(Path("out.txt"), "one")
    await written(Path("out.txt"), "two", at=at, fresh_inode=True)

    assert (tmp_path / "out.txt").read_text() == "one\ntwo\n"


# What cannot be gone on with.


@FRESH
async def test_a_file_that_lacks_what_was_written_is_refused_and_left_alone(
    tmp_path: Path, fresh: bool
) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\n")
    sink = TextLinesSink(path)

    with pytest.raises(UsageError) as caught:
        await sink.open(1_234, fresh_inode=fresh)

    assert str(caught.value) == (
        f"{path}: has 4 bytes, and 1,234 bytes were written to it before; "
        "give the file that has them, or begin a new run"
    )
    assert path.read_text() == "one\n"
    assert drafts(path) == []
    await sink.open(4)  # The sink itself is none the worse.
    await sink.aclose()


@FRESH
async def test_a_missing_file_is_refused_and_not_created(tmp_path: Path, fresh: bool) -> None:
    path = tmp_path / "out.txt"

    with pytest.raises(UsageError) as caught:
        await TextLinesSink(path).open(12, fresh_inode=fresh)

    assert str(caught.value) == (
        f"{path}: is missing, and 12 bytes were written to it before; "
        "give the file that has them, or begin a new run"
    )
    assert not path.exists()


@FRESH
async def test_what_is_no_regular_file_is_refused(tmp_path: Path, fresh: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in ("/dev/null", str(pipe)):
        with pytest.raises(UsageError) as caught:
            await TextLinesSink(path).open(12, fresh_inode=fresh)
        assert str(caught.value).startswith(f"{path}: is no regular file, and 12 bytes were")


async def test_standard_output_cannot_be_gone_on_with(tmp_path: Path) -> None:
    with (
        open(tmp_path / "out.txt", "w") as stdout,  # noqa: ASYNC230
        mock.patch("sys.stdout", stdout),
        pytest.raises(UsageError) as caught,
    ):
        await TextLinesSink("-").open(0)

    assert str(caught.value) == "stdout: nothing can be continued here; open it without `at`"


async def test_an_open_sink_is_not_opened_again(tmp_path: Path) -> None:
    async with TextLinesSink(tmp_path / "out.txt") as sink:
        await sink.open()

        with pytest.raises(UsageError, match="open already"):
            await sink.open(0, fresh_inode=True)


def broken_copy(*_: object) -> int:
    raise OSError(errno.EIO, "disk")


async def test_a_copy_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\n")

    with (
        mock.patch("os.copy_file_range", broken_copy),
        pytest.raises(OSError, match="disk"),
    ):
        await TextLinesSink(path).open(4, fresh_inode=True)

    assert path.read_text() == "one\n"
    assert drafts(path) == []


async def test_a_file_that_shrinks_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\ntwo\n")

    def shrink(*_: object) -> int:
        os.truncate(path, 2)
        return 0

    with mock.patch("os.copy_file_range", shrink), pytest.raises(UsageError, match=": has 2 bytes"):
        await TextLinesSink(path).open(8, fresh_inode=True)
    assert drafts(path) == []


async def test_two_that_take_the_file_over_at_once_do_not_both_get_it(tmp_path: Path) -> None:
    path, other = tmp_path / "out.txt", tmp_path / "other"
    path.write_text("one\n")
    other.write_text("one\n")

    def replace(*_: object) -> int:
        os.rename(other, path)
        return 0

    with mock.patch("os.copy_file_range", replace), pytest.raises(UsageError) as caught:
        await TextLinesSink(path).open(4, fresh_inode=True)

    assert str(caught.value) == (
        f"{path}: somebody else has just replaced it; only one may write it"
    )
    assert drafts(path) == []


# The position.


async def test_the_position_is_the_length_of_what_was_written(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    seen = [sink.position()]

    await sink.open()
    seen.append(sink.position())
    await sink.write(["é"])
    seen.append(sink.position())
    await sink.aclose()
    seen.append(sink.position())
    await sink.open()
    seen.append(sink.position())
    await sink.aclose()

    assert seen == [None, 0, 5, 5, 0]


async def test_pipes_devices_and_standard_output_have_no_position(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with open(tmp_path / "out.txt", "w") as stdout, mock.patch("sys.stdout", stdout):  # noqa: ASYNC230
        for path in (str(pipe), "/dev/null", "-"):
            async with TextLinesSink(path) as sink:
                await sink.open()
                await sink.write(["one"])
                sink.sync()
                assert sink.position() is None
    os.close(reader)


@contextlib.contextmanager
def held_write() -> Iterator[tuple[threading.Event, threading.Event]]:
    """The file's thread stops in the middle of a write: events for *it is there*, *go on*."""
    there, go_on = threading.Event(), threading.Event()
    write_some = files._write_some

    def hold(file: Any, data: memoryview) -> int:
        count = write_some(file, data[:2])
        if not there.is_set():
            there.set()
            assert go_on.wait(20)
        return count

    with mock.patch.object(files, "_write_some", hold):
        try:
            yield there, go_on
        finally:
            go_on.set()


async def in_thread(fn: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(fn)


async def test_a_block_counts_when_all_of_it_is_written_and_sync_does_not_wait_for_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.txt"
    async with TextLinesSink(path) as sink:
        await sink.open()
        await sink.write(["one"])

        with held_write() as (there, go_on):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.write, ["two"])
                await in_thread(lambda: there.wait(20))
                assert (path.read_text(), sink.position()) == ("one\ntw", 4)
                with trio.fail_after(20):
                    await in_thread(sink.sync)
                go_on.set()

        assert (path.read_text(), sink.position()) == ("one\ntwo\n", 8)


# What is on the disk.


def kind_of(number: int) -> str:
    return "folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file"


@contextlib.contextmanager
def steps() -> Iterator[list[str]]:
    """What is brought to the disk, and renamed, in its order."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(number: int) -> None:
        size = os.fstat(number).st_size
        done.append(kind_of(number) if kind_of(number) == "folder" else f"file of {size}")
        sync(number)

    def rename(old: str, new: str) -> None:
        done.append("rename")
        replace(old, new)

    with mock.patch("os.fsync", fsync), mock.patch("os.replace", rename):
        yield done


async def test_a_name_is_on_the_disk_before_the_first_value_is(tmp_path: Path) -> None:
    with steps() as done:
        async with TextLinesSink(tmp_path / "out.txt") as sink:
            await sink.open()
            assert done == ["folder"]
            await sink.write(["one"])
            await in_thread(sink.sync)
            assert done == ["folder", "file of 4"]


async def test_a_copy_is_on_the_disk_before_it_has_the_name_and_then_the_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\ntwo\n")

    with steps() as done:
        async with TextLinesSink(path) as sink:
            await sink.open(4, fresh_inode=True)
            assert done == ["file of 4", "rename", "folder"]


async def test_a_folder_that_cannot_be_brought_to_the_disk_is_left_to_the_system(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.txt"
    sync, really_open = os.fsync, os.open

    def fsync(number: int) -> None:
        if kind_of(number) == "folder":
            raise OSError(errno.EINVAL, "not here")
        sync(number)

    def refuse(name: str, *args: Any, **options: Any) -> int:
        if name == str(tmp_path):
            raise PermissionError
        return really_open(name, *args, **options)

    with mock.patch("os.fsync", fsync):
        await written(path, "one")
    with mock.patch("os.open", refuse):
        await written(path, "two", at=4)

    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize("at", [None, 4])
async def test_a_folder_that_fails_is_told(tmp_path: Path, at: int | None) -> None:
    path = tmp_path / "out.txt"
    path.write_text("one\n")

    with (
        mock.patch("os.fsync", side_effect=OSError(errno.EIO, "disk")),
        pytest.raises(OSError, match="disk"),
    ):
        await TextLinesSink(path).open(at)


async def test_there_is_nothing_to_bring_to_the_disk_when_the_sink_is_closed(
    tmp_path: Path,
) -> None:
    sink = TextLinesSink(tmp_path / "out.txt")
    sink.sync()
    await sink.open()
    await sink.aclose()

    with steps() as done:
        await in_thread(sink.sync)

    assert done == []


class ToldLock:
    """A lock that says when somebody has to wait for it."""

    def __init__(self, waiting: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waiting = waiting

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waiting.set()
            assert self._lock.acquire(timeout=20)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


async def test_sync_waits_for_a_close_that_is_on_its_way_to_the_disk(tmp_path: Path) -> None:
    sink = TextLinesSink(tmp_path / "out.txt")
    await sink.open()
    await sink.write(["one"])
    came_so_far = threading.Event()  # It waits, or has returned.
    done: list[str] = []
    sink._writer._disk = ToldLock(came_so_far)  # type: ignore[assignment]

    def sync() -> None:
        sink.sync()
        done.append("sync")
        came_so_far.set()

    other = threading.Thread(target=sync)

    def fsync(number: int) -> None:
        other.start()
        assert came_so_far.wait(20)
        done.append("on the disk")

    with mock.patch("os.fsync", fsync):
        await sink.aclose()
        other.join(20)

    assert done == ["on the disk", "sync"]


async def test_a_disk_that_failed_once_is_not_trusted_until_the_file_is_opened_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.txt"
    sink = TextLinesSink(path)
    await sink.open()
    await sink.write(["one"])

    with (
        mock.patch("os.fsync", side_effect=OSError(errno.EIO, "disk")),
        pytest.raises(OSError, match="disk"),
    ):
        await in_thread(sink.sync)
    for attempt in (sink.sync, sink.sync):  # The system would say that all is well.
        with pytest.raises(OSError, match="disk") as caught:
            await in_thread(attempt)
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))
    with pytest.raises(OSError, match="disk"):
        await sink.aclose()
    with pytest.raises(OSError, match="disk"):
        await in_thread(sink.sync)

    await sink.open()
    await in_thread(sink.sync)
    await sink.aclose()


# What a sink has to be.


def test_sinks_with_a_plain_open_are_sinks_and_those_for_files_can_be_resumed() -> None:
    class Own:
        async def open(self) -> None: ...
        async def write(self, values: Any) -> None: ...
        async def aclose(self) -> None: ...

    own: Sink[Any] = Own()
    resumable: ResumableSink[Any] = JsonLinesSink("out.jsonl")
    everyone: list[Sink[Any]] = [own, resumable, TextLinesSink("out.txt"), ListSink()]
    everyone.append(CallableSink(print))

    assert all(isinstance(each, Sink) for each in everyone)
    assert [isinstance(each, ResumableSink) for each in everyone] == [
        False,
        True,
        True,
        False,
        False,
    ]
