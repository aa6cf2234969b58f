"""The ranked queue against the simplest thing that could be right: a list."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorflow.core.envelope import Envelope
from actorflow.runtime.lanes import OLDEST_EVERY, RankedQueue


class RankedAgainstList(RuleBasedStateMachine):
    """Lower priority first, in order within one; every eighth lease takes the oldest."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RankedQueue()
        self.model: list[Envelope] = []  # In order of arrival.
        self.leases = 0
        self.count = 0

    @rule(priority=st.sampled_from([1, 50, 100, 100, 100, 900]))
    def append(self, priority: int) -> None:
        self.count += 1
        envelope = Envelope(self.count, self.count)
        envelope.priority = priority
        self.queue.append(envelope)
        self.model.append(envelope)

    @precondition(lambda self: self.model)
    @rule()
    def lease(self) -> None:
        oldest = self.leases % OLDEST_EVERY == OLDEST_EVERY - 1
        expected = self.model[0] if oldest else min(self.model, key=lambda each: each.priority)
        self.leases += 1
        self.model.remove(expected)

        assert self.queue[0] is expected
        assert self.queue.popleft() is expected

    @precondition(lambda self: self.model)
    @rule()
    def drop_oldest(self) -> None:
        expected = self.model.pop(0)

        assert self.queue.drop_oldest() is expected

    @invariant()
    def the_same_are_there(self) -> None:
        assert len(self.queue) == len(self.model)
        assert list(self.queue) == sorted(self.model, key=lambda each: each.priority)


TestRankedAgainstList = RankedAgainstList.TestCase


def test_a_queue_goes_on_where_the_plain_one_ended() -> None:
    waiting = [Envelope(number, number) for number in range(3)]
    queue = RankedQueue(waiting)
    urgent = Envelope("urgent", 9)
    urgent.priority = 1
    queue.append(urgent)

    assert [queue.popleft().body for _ in range(4)] == ["urgent", 0, 1, 2]
