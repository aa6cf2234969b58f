"""Bulkhead: at most so many turns at once."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorflow.errors import ConfigurationError
from actorflow.policies import Admit, Bulkhead, Wait


def test_a_full_bulkhead_waits_until_a_turn_ends() -> None:
    machine = Bulkhead(1).machine()

    token = machine.take(0.0, None)
    assert machine.ready(0.0, None) == Wait(None)

    machine.record(1.0, token, False)
    assert machine.ready(1.0, None) == Admit()


@pytest.mark.parametrize("outcome", [True, False, None])
def test_a_turn_frees_its_place_however_it_ends(outcome: bool | None) -> None:
    machine = Bulkhead(1).machine()

    machine.record(0.0, machine.take(0.0, None), outcome)

    assert machine.in_use == 0


def test_a_smaller_limit_lets_running_turns_end_and_admits_none_before() -> None:
    machine = Bulkhead(3).machine()
    for _ in range(3):
        machine.take(0.0, None)

    machine.change(Bulkhead(1), 0.0)
    machine.record(0.0, None, True)
    machine.record(0.0, None, True)
    assert (machine.ready(0.0, None), machine.calm) == (Wait(None), False)

    machine.record(0.0, None, True)
    assert (machine.ready(0.0, None), machine.calm) == (Admit(), True)


def test_places_are_free_after_a_restart_since_turns_are_leased_again() -> None:
    before, after = Bulkhead(1).machine(), Bulkhead(1).machine()
    before.take(0.0, None)

    after.load(before.dump(0.0), 0.0, 0.0)

    assert after.ready(0.0, None) == Admit()


def test_a_turn_that_was_never_taken_cannot_be_recorded() -> None:
    with pytest.raises(AssertionError, match="had not been taken"):
        Bulkhead(1).machine().record(0.0, None, True)


@pytest.mark.parametrize("limit", [0, -1, 1.0, None, True])
def test_a_wrong_limit_is_refused_in_these_words(limit: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Bulkhead(limit)  # type: ignore[arg-type]

    assert str(caught.value) == f"Bulkhead.limit must be a whole number, 1 or more, got {limit!r}"


class BulkheadAgainstCounter(RuleBasedStateMachine):
    @initialize(limit=st.integers(1, 4))
    def make(self, limit: int) -> None:
        self.limit, self.running = limit, 0
        self.machine = Bulkhead(limit).machine()

    @precondition(lambda self: self.running < self.limit)
    @rule()
    def begin(self) -> None:
        self.machine.take(0.0, None)
        self.running += 1

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from([True, False, None]))
    def end(self, outcome: bool | None) -> None:
        self.machine.record(0.0, None, outcome)
        self.running -= 1

    @rule(limit=st.integers(1, 4))
    def change(self, limit: int) -> None:
        self.limit = limit
        self.machine.change(Bulkhead(limit), 0.0)

    @invariant()
    def admits_exactly_while_there_is_room(self) -> None:
        if hasattr(self, "machine"):
            room = self.running < self.limit
            assert isinstance(self.machine.ready(0.0, None), Admit) is room
            assert self.machine.calm is room


TestBulkheadAgainstCounter = BulkheadAgainstCounter.TestCase
