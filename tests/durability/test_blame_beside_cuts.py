"""An entry of the blame list that is written while a cut is on its way to the disk."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow.durability.hold import Hold
from actorflow.durability.memory import MemoryDisk
from actorflow.durability.store import Change
from actorflow.runtime.journal import Journal
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.ports import real_ports
from tests.durability.faulty import FaultyStore

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Clears:
    """As much of the gate as a cut asks: who has left since the last one."""

    def take_cleared(self, *, cut: bool) -> list[str]:
        return ["1 /f/a"]

    def give_in(self) -> None:
        """Nothing waits here."""


def raised(error: BaseException) -> None:
    raise error


async def test_a_cut_that_is_tried_again_does_not_clear_the_entry_of_who_runs_once_more() -> None:
    store = FaultyStore(MemoryDisk(), {0: "fails"}, blocking=False)
    kernel = Kernel("f", real_ports(0))
    kernel.journal = Journal()
    hold = Hold(store, "run", kernel, on_failure=raised)
    await hold.open()
    checkpointer = hold.keep(about=("1", (), "f"))
    kernel.journal.careful = Clears()

    def entries() -> Change:
        return Change(run="run", epoch=hold.owned.epoch, blame={"1 /f/a": 2})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(checkpointer.checkpoint)
        await wait_all_tasks_blocked()  # It has cleared the entry, failed, and waits.
        bring: Any = functools.partial(checkpointer.bring, entries)
        nursery.start_soon(bring)

    assert store.tried == 3
    assert store.load("run").blame == {"1 /f/a": 2}
    await hold.close(None)
