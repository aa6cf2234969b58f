"""The gate after an unclean end: who may run, who alone, and what the disk is told before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow.core.envelope import Envelope
from actorflow.durability.alone import PATIENCE
from actorflow.durability.alone import SECONDS as ALONE
from actorflow.durability.careful import LIMIT, SECONDS, TOGETHER, Careful
from actorflow.durability.store import Change, Owned
from actorflow.durability.suspects import Entry
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.lanes import RankedQueue
from actorflow.runtime.ports import real_ports

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Box:
    """As much of a mailbox as the gate looks at."""

    def __init__(self, path: str, *messages: Envelope, readers: int = 1) -> None:
        self.path = path
        self.queue: Any = deque(messages)
        self.due: deque[Envelope] = deque()
        self.readers = [None] * readers
        self.idle: list[Any] = []
        self.careful = self.covered = False

    def look_again(self) -> None:
        """Nothing here is fast."""

    def wake_for_work(self) -> None:
        """Nobody sleeps here."""


class Disk:
    """Takes entries, and remembers them."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.writes = 0

    async def bring(self, provide: Callable[[], Change]) -> None:
        change = provide()
        await trio.lowlevel.checkpoint()
        self.writes += 1
        self.entries.update(change.blame)
        for key in change.cleared:
            self.entries.pop(key, None)

    @property
    def blame(self) -> dict[str, int]:
        """Unclean ends by message and place."""
        return {key: Entry.read(number).ends for key, number in self.entries.items()}

    @property
    def attempts(self) -> dict[str, int]:
        """Leases begun, likewise."""
        return {key: Entry.read(number).attempts for key, number in self.entries.items()}


class World:
    """A gate over boxes."""

    def __init__(self, *boxes: Box, blame: dict[str, int] | None = None) -> None:
        self.kernel = Kernel("f", real_ports(0))
        self.journal = Journal()
        self.disk = Disk()
        self.disk.entries.update(blame or {})
        checkpointer: Any = self.disk
        owned = Owned("run", 1, 0, "running", False, False, "", ())
        self.gate = Careful(
            self.kernel, self.journal, checkpointer, owned, self.disk.entries, self.fail
        )
        self.journal.careful = self.gate
        for each in boxes:
            self.gate.watch(each)

    def fail(self, error: BaseException) -> None:
        raise error

    async def lease(self, box: Box) -> Envelope | None:
        """Lease the head of *box* if that is allowed, perhaps after a write."""
        for _ in range(3):
            envelope = box.due[0] if box.due else box.queue[0]
            if self.gate.asked(envelope, box):
                (box.due or box.queue).popleft()
                envelope.attempt += 1
                self.gate.begun(envelope)
                return envelope
            await wait_all_tasks_blocked()
        return None


def message(number: int, *, priority: int = 100) -> Envelope:
    envelope = Envelope(number, number)
    envelope.priority = priority
    return envelope


class Living:
    """Runs the gate for a block."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> World:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._world.kernel.heap.run)
        self._nursery.start_soon(self._world.gate.run)
        return self._world

    async def __aexit__(self, *error: Any) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)


async def test_an_entry_is_on_the_disk_before_its_message_runs() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box)) as world:
        assert not world.gate.asked(box.queue[0], box)
        assert world.disk.blame == {}
        await wait_all_tasks_blocked()

        assert world.disk.blame == {"1 /f/a": 1}
        assert world.gate.asked(box.queue[0], box)


async def test_the_next_leases_share_a_write() -> None:
    box = Box("/f/a", *map(message, range(TOGETHER + 1)))
    async with Living(World(box)) as world:
        for _ in range(TOGETHER):
            await world.lease(box)

        assert world.disk.writes == 1
        assert world.disk.blame == {f"{number} /f/a": 1 for number in range(TOGETHER)}
        await world.lease(box)

        assert world.disk.writes == 2


async def test_who_has_left_is_cleared_with_the_next_write() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box)) as world:
        first = await world.lease(box)
        assert first is not None
        world.gate.left(first)
        box.queue.append(message(2))
        await world.lease(box)

        assert world.disk.blame == {"2 /f/a": 1}


async def test_who_is_tried_again_at_once_keeps_its_entry() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box)) as world:
        first = await world.lease(box)
        assert first is not None
        world.gate.left(first)
        box.due.append(first)
        await world.lease(box)

        assert world.disk.blame == {"1 /f/a": 1}
        assert world.gate.take_cleared() == []


async def test_who_was_there_at_an_unclean_end_runs_alone() -> None:
    first, other = Box("/f/a", message(1)), Box("/f/b", message(2))
    async with Living(World(first, other, blame={"1 /f/a": 1})) as world:
        suspect = await world.lease(first)
        assert suspect is not None
        assert world.disk.blame == {"1 /f/a": 2}
        assert await world.lease(other) is None
        world.gate.left(suspect)

        assert await world.lease(other) is not None


async def test_it_waits_until_nobody_runs() -> None:
    first, other = Box("/f/a", message(1)), Box("/f/b", message(2))
    async with Living(World(first, other, blame={"1 /f/a": 1})) as world:
        running = await world.lease(other)
        assert running is not None
        assert await world.lease(first) is None
        world.gate.left(running)

        assert await world.lease(first) is not None


async def test_too_many_unclean_ends_are_poison() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box, blame={"1 /f/a": LIMIT})) as world:
        assert world.gate.asked(box.queue[0], box) is False
        assert world.gate.convicted(box.queue[0], box).ends == LIMIT
        assert world.gate.take_cleared(cut=True) == ["1 /f/a"]


async def test_the_entry_of_poison_stays_until_the_cut_with_its_letter() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box, blame={"1 /f/a": LIMIT})) as world:
        assert world.gate.asked(box.queue[0], box) is False
        world.gate.convicted(box.queue.popleft(), box)
        box.queue.append(message(2))
        await world.lease(box)

        assert world.disk.blame == {"1 /f/a": LIMIT, "2 /f/a": 1}
        assert world.gate.take_cleared(cut=True) == ["1 /f/a"]


async def test_the_limit_is_that_of_its_attempts_if_there_are_more() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(blame={"1 /f/a": LIMIT})) as world:
        world.gate.watch(box, LIMIT + 1)

        assert await world.lease(box) is not None


async def test_who_was_overtaken_is_not_blamed_for_what_then_happens() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box, blame={"1 /f/a": 1})) as world:
        world.gate.asked(box.queue[0], box)
        await wait_all_tasks_blocked()
        box.due.append(message(2))  # A retry whose time has come.

        assert await world.lease(box) is not None
        assert world.disk.blame == {"1 /f/a": 1, "2 /f/a": 1}


async def test_who_must_run_alone_does_not_wait_for_those_that_could_only_run_after_it() -> None:
    full, box = Box("/f/a", message(1), readers=2), Box("/f/b", message(2))
    async with Living(World(full, box, blame={"2 /f/b": 1})) as world:
        world.gate.asked(full.queue[0], full)
        await wait_all_tasks_blocked()  # It may run, and its readers wait for room in the other.

        assert await world.lease(box) is not None
        assert world.disk.blame == {"1 /f/a": 0, "2 /f/b": 2}


async def test_the_head_itself_is_wanted_whatever_the_order_of_the_others() -> None:
    box = Box("/f/a")
    box.queue = RankedQueue()
    for number in range(10):
        box.queue.append(message(number, priority=100 - number))
    async with Living(World(box)) as world:
        for _ in range(10):  # The eighth is the oldest, so that it does not starve.
            envelope = await world.lease(box)
            assert envelope is not None
            world.gate.left(envelope)


async def test_one_that_has_gone_before_its_entry_was_written_holds_nobody_up() -> None:
    box = Box("/f/a", message(1), message(2))
    async with Living(World(box, blame={"1 /f/a": 1})) as world:
        gone = box.queue.popleft()
        world.gate.asked(gone, box)
        world.gate.left(gone, for_good=True)

        assert await world.lease(box) is not None
        assert world.disk.blame == {"2 /f/a": 1}


async def test_who_goes_on_after_a_wait_has_its_entry_again() -> None:
    box, other = Box("/f/a", message(1)), Box("/f/b", message(2))
    async with Living(World(box, other, blame={"1 /f/a": 1, "2 /f/b": 1})) as world:
        generator = await world.lease(box)
        assert generator is not None
        world.gate.rests(generator)
        alone = await world.lease(other)
        assert alone is not None
        went_on = []
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                await world.gate.again(generator)
                went_on.append(dict(world.disk.blame))

            nursery.start_soon(go_on)
            await wait_all_tasks_blocked()
            assert went_on == []
            assert world.disk.blame == {"1 /f/a": 1, "2 /f/b": 2}  # As before it ran.
            world.gate.left(alone)

        assert went_on == [{"1 /f/a": 2}]


async def test_it_is_over_when_the_restored_are_gone_and_the_time_is_up() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box)) as world:
        world.gate.restored(box.queue)
        envelope = await world.lease(box)
        assert envelope is not None
        await trio.sleep(SECONDS + 1)
        assert world.journal.careful is world.gate
        world.gate.left(envelope, for_good=True)
        await wait_all_tasks_blocked()

        assert world.journal.careful is None
        assert not box.careful


async def test_the_attempts_of_the_entry_are_those_of_what_is_made_again() -> None:
    entry = Entry(ends=1, attempts=1).number()
    for most, lives in ((3, [2, 3, 3]), (1, [1, 1, 1])):
        found = []
        for _ in lives:
            box = Box("/f/a", message(1))
            async with Living(World(blame={"1 /f/a": entry})) as world:
                world.gate.watch(box, most)
                envelope = await world.lease(box)
                assert envelope is not None
                found.append(envelope.attempt)
                entry = world.disk.entries["1 /f/a"] - 1  # As if that had not been its fault.
        assert found == lives
        entry = Entry(ends=1, attempts=1).number()


async def test_an_entry_of_an_older_release_has_ends_only() -> None:
    box = Box("/f/a", message(1))
    async with Living(World(box, blame={"1 /f/a": 2})) as world:
        assert world.gate.entry(box.queue[0], box) == Entry(ends=2, attempts=0)


async def test_what_runs_for_long_keeps_no_suspect_from_running() -> None:
    first, other = Box("/f/a", message(1)), Box("/f/b", message(2))
    async with Living(World(first, other, blame={"1 /f/a": 1})) as world:
        world.gate.restored(first.queue)
        assert await world.lease(other) is not None
        assert await world.lease(first) is None
        await trio.sleep(PATIENCE + 0.5)

        assert await world.lease(first) is not None
        other.queue.append(message(3))
        assert await world.lease(other) is None
        await trio.sleep(ALONE + 1)

        assert await world.lease(other) is not None
