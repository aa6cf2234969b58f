"""The gate, path by path. What is true of every gate is in test_gate_laws."""

import gc
from collections.abc import Hashable
from typing import Any

import pytest

from actorflow.policies import (
    Admit,
    Answer,
    Bulkhead,
    BulkheadMachine,
    CircuitBreaker,
    CircuitBreakerMachine,
    Divert,
    Gate,
    KeyedRateLimitMachine,
    RateLimit,
    RateLimitMachine,
    Reject,
    Wait,
)

Ours = RateLimit | CircuitBreaker | Bulkhead
Made = RateLimitMachine | KeyedRateLimitMachine | CircuitBreakerMachine | BulkheadMachine


def gate(*policies: Ours) -> tuple[Gate, list[Made]]:
    members = [(each, each.machine()) for each in policies]
    return Gate(members), [machine for _, machine in members]


def fail(subject: Gate, now: float, times: int) -> None:
    for _ in range(times):
        subject.record(now, subject.take(now, None), False)


def test_swift_takes_from_the_rate_limit_and_from_nothing_else() -> None:
    subject, (rate, _, bulkhead) = gate(RateLimit(1), CircuitBreaker(), Bulkhead(1))

    assert subject.calm
    assert subject.swift(0.0) is True
    assert rate.ready(0.0, None) == Wait(1.0)
    assert isinstance(bulkhead, BulkheadMachine)
    assert bulkhead.in_use == 0
    assert subject.swift(0.5) is False


def test_without_a_rate_limit_swift_is_always_right() -> None:
    subject, _ = gate(CircuitBreaker())

    assert [subject.swift(0.0) for _ in range(100)] == [True] * 100


def test_swift_with_two_rate_limits_takes_from_both_or_from_neither() -> None:
    subject, (first, second) = gate(RateLimit(10), RateLimit(2))

    assert subject.swift(0.0) is True
    assert subject.swift(0.2) is False
    assert (first.ready(0.2, None), second.ready(0.2, None)) == (Admit(), Wait(0.3))


def test_an_adopted_turn_takes_a_place_but_does_not_pay_again() -> None:
    subject, (rate, bulkhead) = gate(RateLimit(1, burst=5), Bulkhead(1))
    subject.swift(0.0)
    owed = rate.dump(0.0)

    token = subject.adopt(0.0)
    assert rate.dump(0.0) == owed
    assert subject.ready(0.0, None) == Wait(None)
    assert not subject.calm

    subject.record(0.0, token, True)
    assert subject.calm
    assert isinstance(bulkhead, BulkheadMachine)
    assert bulkhead.in_use == 0


def test_an_adopted_turn_that_fails_counts_for_the_breaker() -> None:
    subject, (breaker,) = gate(CircuitBreaker(2))

    for _ in range(2):
        assert subject.swift(0.0)
        subject.record(0.0, subject.adopt(0.0), False)

    assert isinstance(breaker, CircuitBreakerMachine)
    assert breaker.state() == "open"
    assert subject.ready(0.0, None) == Wait(30.0)


def test_a_gate_of_rate_limits_alone_is_calm_and_its_tokens_are_not_none() -> None:
    subject, _ = gate(RateLimit(1))

    assert subject.calm
    assert subject.adopt(0.0) is not None
    assert subject.take(0.0, None) is not None
    subject.record(0.0, subject.take(0.0, None), True)


def test_take_takes_from_all() -> None:
    subject, (rate, bulkhead) = gate(RateLimit(1), Bulkhead(3))

    subject.take(0.0, None)

    assert rate.ready(0.0, None) == Wait(1.0)
    assert isinstance(bulkhead, BulkheadMachine)
    assert bulkhead.in_use == 1


def test_of_two_waits_the_longer_counts() -> None:
    subject, _ = gate(RateLimit(1), RateLimit(0.1))
    subject.take(0.0, None)

    assert subject.ready(0.0, None) == Wait(10.0)


def test_until_somebody_records_is_the_longest_wait() -> None:
    orders: list[list[Ours]] = [[RateLimit(1), Bulkhead(1)], [Bulkhead(1), RateLimit(1)]]
    for policies in orders:
        subject, _ = gate(*policies)
        subject.take(0.0, None)

        assert subject.ready(0.0, None) == Wait(None)


def test_to_reject_beats_to_wait() -> None:
    subject, _ = gate(RateLimit(0.01), CircuitBreaker(1, when_open="reject"))
    fail(subject, 0.0, 1)

    assert subject.ready(1.0, None) == Reject("rejected", 29.0)


def test_to_divert_beats_to_wait() -> None:
    subject, _ = gate(CircuitBreaker(1, when_open=Divert("backup")), Bulkhead(1))
    subject.take(0.0, None)
    fail(subject, 0.0, 1)

    assert subject.ready(1.0, None) == Divert("backup")


def test_an_open_circuit_does_not_hold_a_drain() -> None:
    subject, _ = gate(CircuitBreaker(1))
    fail(subject, 0.0, 1)

    assert subject.ready(10.0, None) == Wait(20.0)
    assert subject.ready(10.0, None, draining=True) == Reject("rejected", 20.0)


def test_a_drain_waits_for_a_probe_and_for_rates_and_places() -> None:
    breaker, _ = gate(CircuitBreaker(1))
    fail(breaker, 0.0, 1)
    breaker.take(30.0, None)
    other, _ = gate(RateLimit(1))
    other.take(0.0, None)

    assert breaker.ready(30.0, None, draining=True) == Wait(None)
    assert other.ready(0.0, None, draining=True) == Wait(1.0)


def first_letter(body: str) -> str:
    return body[0]


def test_keys_are_worked_out_from_the_body() -> None:
    subject, _ = gate(RateLimit(1, key=first_letter))
    subject.take(0.0, "apple")

    assert subject.keyed
    assert not subject.calm
    assert subject.ready(0.0, "avocado") == Wait(1.0, keyed=True)
    assert subject.ready(0.0, "banana") == Admit()


def test_a_wait_that_concerns_everybody_beats_that_of_one_key() -> None:
    subject, _ = gate(RateLimit(10), RateLimit(1, key=first_letter))
    subject.take(0.0, "apple")

    assert subject.ready(0.0, "apple") == Wait(0.1)
    assert subject.ready(0.5, "apple") == Wait(0.5, keyed=True)


def test_what_a_key_function_raises_goes_to_the_caller_and_nothing_is_taken() -> None:
    subject, (bulkhead, _) = gate(Bulkhead(1), RateLimit(1, key=first_letter))

    with pytest.raises(IndexError):
        subject.ready(0.0, "")
    with pytest.raises(IndexError):
        subject.take(0.0, "")

    assert isinstance(bulkhead, BulkheadMachine)
    assert bulkhead.in_use == 0


def test_calm_follows_a_shared_machine_that_another_gate_uses() -> None:
    policy = CircuitBreaker(5, shared="api")
    machine = policy.machine()
    ours, theirs = Gate([(policy, machine)]), Gate([(policy, machine)])

    fail(theirs, 0.0, 1)
    assert not ours.calm

    theirs.record(0.0, theirs.take(0.0, None), True)
    assert ours.calm


def test_who_waits_for_a_shared_place_is_woken_when_another_frees_it() -> None:
    policy = Bulkhead(1, shared="db")
    machine = policy.machine()
    ours, theirs = Gate([(policy, machine)]), Gate([(policy, machine)])
    woken: list[str] = []
    ours.on_wake = lambda: woken.append("ours")
    token = theirs.take(0.0, None)
    assert ours.ready(0.0, None) == Wait(None)

    theirs.record(0.0, token, True)

    assert woken == ["ours"]


def test_who_waits_for_a_shared_probe_is_woken_when_it_ends() -> None:
    policy = CircuitBreaker(1, shared="api")
    machine = policy.machine()
    ours, theirs = Gate([(policy, machine)]), Gate([(policy, machine)])
    fail(theirs, 0.0, 1)
    token = theirs.take(30.0, None)
    woken: list[Answer] = []
    ours.on_wake = lambda: woken.append(ours.ready(30.0, None))

    theirs.record(30.0, token, False)

    assert woken == [Wait(30.0)]


def test_a_live_change_wakes_who_waits() -> None:
    subject, (rate, bulkhead) = gate(RateLimit(1), Bulkhead(1))
    woken: list[str] = []
    subject.on_wake = lambda: woken.append("woken")

    rate.change(RateLimit(100), 0.0)  # type: ignore[arg-type]
    bulkhead.change(Bulkhead(2), 0.0)  # type: ignore[arg-type]

    assert woken == ["woken", "woken"]


def test_a_gate_that_is_gone_is_not_kept_by_a_shared_machine() -> None:
    policy = Bulkhead(1, shared="db")
    machine = policy.machine()
    for _ in range(100):
        Gate([(policy, machine)])
    gc.collect()

    assert not list(machine._watchers or ())


class Weekdays:
    """A policy and machine of somebody else's, which inherits nothing of ours."""

    def __init__(self) -> None:
        self.calm = True
        self.open = True
        self.ended: list[bool | None] = []

    def machine(self) -> "Weekdays":
        return self

    def ready(self, now: float, key: Hashable) -> Answer:
        return Admit() if self.open else Wait(60.0)

    def take(self, now: float, key: Hashable) -> object:
        self.calm = False
        return "token"

    def record(self, now: float, token: Any, outcome: bool | None) -> None:
        assert token == "token"
        self.calm = True
        self.ended.append(outcome)

    def dump(self, now: float) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        pass


def test_a_machine_of_ones_own_that_has_a_key_is_never_passed_by() -> None:
    class ByCustomer(Weekdays):
        key = staticmethod(first_letter)

    own = ByCustomer()
    assert own.calm

    assert not Gate([(own, own.machine())]).calm


def test_a_machine_of_ones_own_is_asked_taken_from_and_recorded() -> None:
    own = Weekdays()
    subject = Gate([(own, own.machine())])
    assert subject.ready(0.0, None) == Admit()

    token = subject.take(0.0, None)
    assert not subject.calm

    subject.record(0.0, token, None)
    assert subject.calm
    assert own.ended == [None]

    own.open = False
    assert subject.ready(0.0, None) == Wait(60.0)
