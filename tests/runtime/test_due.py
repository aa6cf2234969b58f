"""The due heap: every moment comes once, in order, and a settled one never."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from trio.testing import wait_all_tasks_blocked

from actorflow.runtime.due import BURST, DueHeap, Entry

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_entries_are_done_in_order_of_time_and_then_of_arrival() -> None:
    done: list[Any] = []
    heap = DueHeap(trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        began = trio.current_time()
        for delay, name in ((3, "c"), (1, "a1"), (2, "b"), (1, "a2"), (0, "now"), (-5, "late")):
            heap.at(
                began + delay, lambda name: done.append((trio.current_time() - began, name)), name
            )
        await trio.sleep(10)
        nursery.cancel_scope.cancel()

    assert done == [(0, "late"), (0, "now"), (1, "a1"), (1, "a2"), (2, "b"), (3, "c")]


async def test_an_earlier_entry_is_not_kept_waiting_by_a_later_one() -> None:
    done: list[float] = []
    heap = DueHeap(trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        began = trio.current_time()
        heap.at(began + 100, lambda _: done.append(trio.current_time() - began))
        await trio.sleep(1)
        heap.at(began + 5, lambda _: done.append(trio.current_time() - began))
        await trio.sleep(200)
        nursery.cancel_scope.cancel()

    assert done == [5, 100]


async def test_an_action_may_add_and_settle_entries() -> None:
    done: list[str] = []
    heap = DueHeap(trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        now = trio.current_time()

        def first(_: Any) -> None:
            done.append("first")
            for entry in doomed:
                heap.settle(entry)
            heap.at(now + 1, lambda _: done.append("added"))

        heap.at(now + 1, first)
        doomed = [heap.at(now + 1, lambda _: done.append("doomed")) for _ in range(200)]
        heap.at(now + 1, lambda _: done.append("last"))
        await trio.sleep(2)
        assert len(heap) == 0
        nursery.cancel_scope.cancel()

    assert done == ["first", "last", "added"]


async def test_many_entries_at_one_moment_let_others_have_their_turn() -> None:
    steps: list[int] = []
    done: list[int] = []
    heap = DueHeap(trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        await wait_all_tasks_blocked()
        for number in range(3 * BURST):
            heap.at(trio.current_time(), done.append, number)
        while len(done) < 3 * BURST:
            steps.append(len(done))
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert done == list(range(3 * BURST))
    assert {BURST, 2 * BURST} & set(steps)


async def test_settling_twice_or_too_late_changes_nothing() -> None:
    done: list[str] = []
    heap = DueHeap(trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        entry = heap.at(trio.current_time() + 1, lambda _: done.append("done"))
        other = heap.at(trio.current_time() + 2, lambda _: done.append("never"))
        await trio.sleep(1.5)
        heap.settle(entry)
        heap.settle(other)
        heap.settle(other)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()

    assert done == ["done"]
    assert len(heap) == 0


class HeapAgainstList(RuleBasedStateMachine):
    """The heap against a sorted list, with a clock that is moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.heap = DueHeap(lambda: self.now)
        self.model: list[tuple[float, int, Entry]] = []
        self.done: list[int] = []
        self.expected: list[int] = []
        self.count = 0

    @rule(delay=st.integers(-3, 20), copies=st.integers(1, 40))
    def add(self, delay: int, copies: int) -> None:
        for _ in range(copies):
            self.count += 1
            entry = self.heap.at(self.now + delay, self.done.append, self.count)
            self.model.append((self.now + delay, self.count, entry))

    @rule(draw=st.data())
    def settle(self, draw: st.DataObject) -> None:
        for _ in range(min(30, len(self.model))):
            index = draw.draw(st.integers(0, len(self.model) - 1))
            self.heap.settle(self.model.pop(index)[2])

    @rule(seconds=st.integers(0, 10))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        due = sorted(each[:2] for each in self.model if each[0] <= self.now)
        self.expected += [number for _, number in due]
        self.model = [each for each in self.model if each[0] > self.now]
        while self.heap._fire():
            pass

    @invariant()
    def agree(self) -> None:
        assert self.done == self.expected
        assert len(self.heap) == len(self.model) == len(self.heap.entries())


TestHeapAgainstList = HeapAgainstList.TestCase
