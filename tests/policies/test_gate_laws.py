"""What is true of every gate: any policies, any road, any ending."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from actorflow.policies import (
    Admit,
    Bulkhead,
    BulkheadMachine,
    Chain,
    CircuitBreaker,
    Gate,
    RateLimit,
)

rates = st.lists(
    st.builds(RateLimit, st.sampled_from([1, 3, 0.5, 10]), burst=st.integers(1, 3)), max_size=2
)
breakers = st.lists(
    st.builds(
        CircuitBreaker,
        st.integers(1, 3),
        st.sampled_from([0.0, 5.0]),
        window=st.none() | st.just(10.0),
        probes=st.integers(1, 2),
        when_open=st.sampled_from(["hold", "reject"]),
    ),
    max_size=1,
)
bulkheads = st.lists(st.builds(Bulkhead, st.integers(1, 3)), max_size=2)


@st.composite
def policy_lists(draw: st.DrawFn) -> list[Any]:
    policies: list[Any] = [*draw(rates), *draw(breakers), *draw(bulkheads)]
    assume(policies)
    return policies


def chain_of(policies: list[Any]) -> Chain:
    return Chain(policies, where="stage 'law'")


def gate_of(chain: Chain) -> Gate:
    assert chain.gate is not None
    return chain.gate


class TheSwiftRoadAndTheSlowRoad(RuleBasedStateMachine):
    """Two equal chains: one takes the swift road wherever it is calm, one never does.

    Both must admit the same turns and be left in the same state.
    """

    turns = Bundle("turns")

    @initialize(policies=policy_lists())
    def make(self, policies: list[Any]) -> None:
        self.swift, self.slow = chain_of(policies), chain_of(policies)
        self.now = 50.0

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def admitted(self) -> bool:
        """Whether the slow road admits; it must also find what it found, asked again."""
        gate = gate_of(self.slow)
        before = self.slow.dump(self.now)
        answer = gate.ready(self.now, None)
        assert gate.ready(self.now, None) == answer
        assert self.slow.dump(self.now) == before
        return isinstance(answer, Admit)

    @rule()
    def a_turn_that_ends_well_at_once(self) -> None:
        gate, slow = gate_of(self.swift), gate_of(self.slow)
        if not gate.calm:
            return
        expected = self.admitted()
        assert gate.swift(self.now) is expected
        if expected:
            slow.record(self.now, slow.take(self.now, None), True)

    @rule(target=turns)
    def a_turn_that_suspends(self) -> object:
        gate, slow = gate_of(self.swift), gate_of(self.slow)
        expected = self.admitted()
        if gate.calm:
            assert gate.swift(self.now) is expected
            token = gate.adopt(self.now) if expected else None
        else:
            assert isinstance(gate.ready(self.now, None), Admit) is expected
            token = gate.take(self.now, None) if expected else None
        return (token, slow.take(self.now, None)) if expected else None

    @rule(turn=consumes(turns), outcome=st.sampled_from([True, False, None]))
    def it_ends(self, turn: tuple[object, object] | None, outcome: bool | None) -> None:
        if turn is not None:
            gate_of(self.swift).record(self.now, turn[0], outcome)
            gate_of(self.slow).record(self.now, turn[1], outcome)

    @invariant()
    def both_roads_lead_to_the_same_state(self) -> None:
        if hasattr(self, "swift"):
            assert self.swift.dump(self.now) == self.slow.dump(self.now)
            assert gate_of(self.swift).calm is gate_of(self.slow).calm
            assert self.used(self.swift) == self.used(self.slow)

    def used(self, chain: Chain) -> list[int]:
        found = [machine for machine, _ in gate_of(chain)._members]
        return [each.in_use for each in found if isinstance(each, BulkheadMachine)]


TestTheSwiftRoadAndTheSlowRoad = TheSwiftRoadAndTheSlowRoad.TestCase


@given(policy_lists(), st.lists(st.sampled_from([True, False, None]), max_size=30))
def test_a_gate_admits_only_what_each_of_its_machines_admits(
    policies: list[Any], outcomes: list[bool | None]
) -> None:
    gate = gate_of(chain_of(policies))

    for step, outcome in enumerate(outcomes):
        now = step * 0.7
        each = [machine.ready(now, None) for machine, _ in gate._members]
        admitted = gate.ready(now, None) == Admit()
        assert admitted is all(answer == Admit() for answer in each)
        if admitted:
            gate.record(now, gate.take(now, None), outcome)


@given(policy_lists(), st.lists(st.sampled_from([True, False, None]), max_size=30), st.data())
def test_no_gate_stays_shut_when_every_turn_has_ended(
    policies: list[Any], outcomes: list[bool | None], data: st.DataObject
) -> None:
    """However turns end, after long enough one is admitted: no probe or place is lost."""
    gate = gate_of(chain_of(policies))
    now, running = 0.0, []
    for outcome in outcomes:
        now += 0.7
        if gate.ready(now, None) == Admit():
            running.append((gate.take(now, None), outcome))
    for token, outcome in data.draw(st.permutations(running)):
        gate.record(now, token, outcome)

    assert gate.ready(now + 1000.0, None) == Admit()
