"""The chain: which policies stand together, and what becomes of a failed message."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import ConfigurationError, DeadlineExceeded
from actorflow.policies import (
    Ack,
    Admit,
    BaseMachine,
    Bulkhead,
    Chain,
    CircuitBreaker,
    Deadline,
    Decision,
    Divert,
    Escalate,
    Exponential,
    Fixed,
    Gate,
    Machine,
    Quarantine,
    RateLimit,
    Redeliver,
    Restart,
    Retry,
    Skip,
    Stop,
    Timeout,
    Wait,
)

FAILED, EXPIRED = Quarantine("failed"), Quarantine("expired")


def chain(*policies: object, **options: Any) -> Chain:
    return Chain(policies, where="stage 'fetch'", **options)


def answer(
    subject: Chain,
    attempt: int = 1,
    error: BaseException | None = None,
    *,
    crashed: bool = False,
    age: float = 0.0,
) -> Decision:
    return subject.decide(attempt, error or OSError(), crashed=crashed, age=age, draw=0.5)


def gate(subject: Chain, worker: int = 0) -> Gate:
    found = subject.gate_for(worker)
    assert found is not None
    return found


def test_a_chain_of_nothing_guards_nothing_and_fails_at_once() -> None:
    subject = chain()

    assert (subject.gate, subject.retry, subject.timeout, subject.deadline) == (None,) * 4
    assert (subject.may_retry, subject.dated, subject.budgeted) == (False, False, False)
    assert answer(subject) == answer(subject, crashed=True) == FAILED


def test_a_chain_says_what_it_holds() -> None:
    retry = Retry(5, budget=0.1)
    subject = chain(Timeout(3), retry, RateLimit(5), Deadline(60))

    assert (subject.retry, subject.timeout, subject.deadline) == (retry, 3, 60)
    assert (subject.may_retry, subject.dated, subject.budgeted) == (True, True, True)
    assert subject.gate is not None


def test_one_attempt_is_no_retry() -> None:
    assert chain(Retry(1)).may_retry is False


def test_retry_decides_about_a_failure() -> None:
    subject = chain(Retry(3, backoff=Fixed(2.0), position="head"))

    assert answer(subject, 2) == Redeliver(2.0, "head")
    assert answer(subject, 3) == FAILED


@pytest.mark.parametrize(("age", "expected"), [(8.0, Redeliver(2.0)), (8.1, EXPIRED)])
def test_a_retry_that_would_come_due_after_the_deadline_is_not_waited_for(
    age: float, expected: Decision
) -> None:
    assert answer(chain(Retry(backoff=Fixed(2.0)), Deadline(10)), age=age) == expected


def test_the_sooner_of_two_deadlines_holds() -> None:
    subject = chain(Retry(backoff=Fixed(2.0), deadline=5.0), Deadline(10))

    assert answer(subject, age=4.0) == EXPIRED


def test_an_attempt_that_its_deadline_ended_has_expired_with_or_without_retry() -> None:
    for subject in (chain(), chain(Retry())):
        assert answer(subject, error=DeadlineExceeded("/fetch")) == EXPIRED


def test_a_message_that_failed_for_good_before_its_deadline_failed() -> None:
    assert answer(chain(Retry(3), Deadline(10)), 3, age=99.0) == FAILED


def test_when_the_budget_is_spent_failures_are_final() -> None:
    subject = chain(Retry(5, backoff=Fixed(0), budget=0.5))

    assert [answer(subject) for _ in range(11)] == [Redeliver(0.0)] * 10 + [FAILED]

    subject.first_lease()
    subject.first_lease()
    assert [answer(subject), answer(subject)] == [Redeliver(0.0), FAILED]


def test_what_expires_or_is_not_worth_it_costs_no_budget() -> None:
    subject = chain(Retry(3, backoff=Fixed(5.0), budget=0.5), Deadline(10))

    for _ in range(20):
        answer(subject, age=6.0)
        answer(subject, 3)

    assert answer(subject) == Redeliver(5.0)


def test_first_lease_without_a_budget_does_nothing() -> None:
    chain(Retry()).first_lease()


@pytest.mark.parametrize(("option", "expected"), [(5.0, 5.0), (20.0, 10)])
def test_the_smaller_of_timeout_and_the_stages_own_holds(option: float, expected: float) -> None:
    assert chain(Timeout(10), timeout=option).timeout == expected


def test_timeout_as_an_option_names_the_kind_so_no_default_replaces_it() -> None:
    assert chain(timeout=30.0, defaults=[Timeout(10)]).timeout == 30.0


def test_defaults_fill_the_kinds_that_are_not_named() -> None:
    subject = chain(Retry(7), defaults=[Retry(2), Timeout(5), CircuitBreaker()])

    assert subject.retry == Retry(7)
    assert subject.timeout == 5
    assert subject.gate is not None


def test_a_default_does_not_stand_beside_a_policy_of_its_kind() -> None:
    subject = chain(RateLimit(1000), Bulkhead(50), defaults=[RateLimit(1), Bulkhead(1)])

    gate(subject).take(0.0, None)

    assert gate(subject).ready(0.01, None) == Admit()


def test_two_rate_limits_or_bulkheads_hold_both() -> None:
    subject = chain(RateLimit(10), Bulkhead(9), RateLimit(2, burst=2), Bulkhead(1))

    gate(subject).take(0.0, None)

    assert gate(subject).ready(0.0, None) == Wait(None)
    assert gate(chain(RateLimit(2), RateLimit(10))).swift(0.0)


policies_of_each_kind = [
    RateLimit(10),
    RateLimit(2, burst=3),
    CircuitBreaker(1),
    Bulkhead(2),
    Bulkhead(5),
    Retry(4, backoff=Fixed(1.0)),
    Timeout(3),
    Deadline(60),
]


@given(st.permutations(policies_of_each_kind))
def test_the_order_in_the_list_means_nothing(policies: list[object]) -> None:
    here, there = chain(*policies_of_each_kind), chain(*policies)
    now = 0.0

    for step in range(20):
        now += 0.2
        one, other = gate(here), gate(there)
        reply = one.ready(now, None)
        assert other.ready(now, None) == reply
        if reply == Admit():
            one.record(now, one.take(now, None), step % 3 > 0)
            other.record(now, other.take(now, None), step % 3 > 0)
        assert here.dump(now) == there.dump(now)
        assert answer(here) == answer(there)


@pytest.mark.parametrize(
    ("policies", "text"),
    [
        (
            [Retry(), Retry],
            "stage 'fetch' policies[1] must be an instance; write Retry(), got "
            "<class 'actorflow.policies.retry.Retry'>",
        ),
        (
            [RateLimit],
            "stage 'fetch' policies[0] must be an instance; write RateLimit(50), got "
            "<class 'actorflow.policies.ratelimit.RateLimit'>",
        ),
        (
            [5],
            "stage 'fetch' policies[0] must be a policy such as Retry() or RateLimit(50), or an "
            "object with machine() or decide(), got 5",
        ),
        (
            [Fixed(3)],
            "stage 'fetch' policies[0] must be a policy; write Retry(backoff=Fixed(seconds=3)), "
            "got Fixed(seconds=3)",
        ),
        ([Exponential], "stage 'fetch' policies[0] must be a policy such as"),
        ("retry", "stage 'fetch' policies must be a list of policies, such as [Retry()], got 're"),
        (Timeout(3), "stage 'fetch' policies must be a list of policies, such as [Retry()], got T"),
        (
            [Timeout(3), Retry(), Timeout(5)],
            "stage 'fetch' policies must be a list with one Timeout, got [Timeout(",
        ),
        ([CircuitBreaker(), CircuitBreaker(2)], "must be a list with one CircuitBreaker, got "),
        ([Retry(), Retry()], "must be a list with one Retry, got "),
        ([Deadline(1), Deadline(1)], "must be a list with one Deadline, got "),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_in_these_words(policies: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Chain(policies, where="stage 'fetch'")

    assert text in str(caught.value)


def test_wrong_defaults_are_called_defaults() -> None:
    with pytest.raises(ConfigurationError, match=r"stage 'fetch' default policies\[0\] must be"):
        chain(defaults=[Retry])


class Says:
    """A decider that always answers the same."""

    def __init__(self, decision: Any) -> None:
        self.decision = decision

    def decide(
        self, attempt: int, error: BaseException, *, crashed: bool, age: float, draw: float
    ) -> Any:
        return self.decision


class SaysToo(Says):
    """Another kind, so that two may stand in one list."""


def test_a_decider_of_ones_own_comes_before_retry() -> None:
    subject = chain(Retry(), Says(Skip()))

    assert answer(subject) == Skip()
    assert subject.may_retry


def test_a_decider_without_an_opinion_leaves_it_to_retry() -> None:
    assert answer(chain(Says(None), Retry(backoff=Fixed(1.0)))) == Redeliver(1.0)
    assert answer(chain(Says(None))) == FAILED


gravities = [
    Ack(),
    Redeliver(0.0),
    Skip(),
    Divert("x"),
    Quarantine("rejected"),
    Restart(),
    Stop(),
    Escalate(),
]


@given(st.sampled_from(gravities), st.sampled_from(gravities))
def test_of_two_deciders_the_graver_answer_counts_in_any_order(
    one: Decision, other: Decision
) -> None:
    expected = max(one, other, key=gravities.index)

    assert answer(chain(Says(one), SaysToo(other))) == expected
    assert answer(chain(SaysToo(other), Says(one))) == expected


def test_a_crashed_actor_is_not_told_to_crash_again() -> None:
    subject = chain(Says(Restart()), Retry(backoff=Fixed(1.0)))

    assert answer(subject) == Restart()
    assert answer(subject, crashed=True) == Redeliver(1.0)


def test_a_redelivery_of_ones_own_keeps_the_deadline_and_costs_no_budget() -> None:
    subject = chain(Says(Redeliver(4.0)), Retry(budget=0.1), Deadline(10))

    assert {answer(subject, age=6.0) for _ in range(50)} == {Redeliver(4.0)}
    assert answer(subject, age=6.1) == EXPIRED


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (True, "stage 'fetch' Says.decide() must be a decision such as Skip(), or None, got True"),
        (
            Redeliver(float("nan")),
            "stage 'fetch' Says.decide().delay must be a number of seconds, 0 or more, got nan",
        ),
    ],
)
def test_a_decider_that_answers_nonsense_is_named(wrong: object, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        answer(chain(Says(wrong)))

    assert str(caught.value) == text


class Turnstile(BaseMachine):
    """Admits a fixed number of turns, ever."""

    def __init__(self, policy: "OnlySoMany") -> None:
        super().__init__(policy, calm=False)
        self.left = policy.number

    def ready(self, now: float, key: object) -> Any:
        return Admit() if self.left else Wait(None)

    def take(self, now: float, key: object) -> object:
        self.left -= 1
        return None

    def dump(self, now: float) -> dict[str, Any]:
        return {"left": self.left}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        self.left = state["left"]


class OnlySoMany:
    def __init__(self, number: int) -> None:
        self.number = number

    def machine(self) -> Turnstile:
        return Turnstile(self)


def test_a_policy_of_ones_own_guards_the_lease_and_survives_a_restart() -> None:
    before, after = chain(OnlySoMany(2), RateLimit(5)), chain(RateLimit(5), OnlySoMany(2))
    gate(before).take(0.0, None)

    after.load(before.dump(9.0), 9.0, 0.0)
    assert gate(after).ready(9.0, None) == Admit()

    gate(after).take(9.0, None)
    assert gate(after).ready(10.0, None) == Wait(None)


class Plain:
    """A policy and machine that inherit nothing and cannot be changed live."""

    calm = True

    def machine(self) -> "Plain":
        return self

    def ready(self, now: float, key: object) -> Any:
        return Admit()

    def take(self, now: float, key: object) -> object:
        return None

    def record(self, now: float, token: object, outcome: bool | None) -> None:
        pass

    def dump(self, now: float) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any], now: float, elapsed: float) -> None:
        pass


def test_a_machine_that_cannot_be_changed_live_says_so() -> None:
    with pytest.raises(ConfigurationError, match="one whose machine has change"):
        chain(Plain()).change(Plain(), 0.0)


class HalfMade:
    def machine(self) -> object:
        return object()


def test_a_machine_that_lacks_a_method_is_refused_when_the_chain_is_made() -> None:
    with pytest.raises(ConfigurationError) as caught:
        chain(HalfMade())

    assert str(caught.value).startswith(
        "stage 'fetch' HalfMade.machine() must be a machine with calm, ready, take, record, dump, "
        "load, got <object object"
    )


def test_stages_do_not_share_unless_they_say_so() -> None:
    limit = RateLimit(1)
    one, other = chain(limit), chain(limit)

    gate(one).take(0.0, None)

    assert gate(other).ready(0.0, None) == Admit()


def test_policies_of_one_name_are_one_whatever_the_stage() -> None:
    shared: dict[str, Machine] = {}
    one = chain(RateLimit(1, shared="api"), shared=shared)
    other = Chain([RateLimit(1, shared="api")], where="stage 'store'", shared=shared)

    gate(one).take(0.0, None)

    assert gate(other).ready(0.0, None) == Wait(1.0)
    assert list(shared) == ["RateLimit/api"]


def test_a_name_may_stand_for_a_limit_and_a_breaker() -> None:
    shared: dict[str, Machine] = {}

    chain(RateLimit(1, shared="api"), CircuitBreaker(shared="api"), shared=shared)

    assert sorted(shared) == ["CircuitBreaker/api", "RateLimit/api"]


def test_a_retry_budget_may_be_shared() -> None:
    shared: dict[str, Machine] = {}
    retry = Retry(budget=0.1, backoff=Fixed(0), shared="api")
    one, other = chain(retry, shared=shared), chain(retry, shared=shared)

    for _ in range(10):
        answer(one)

    assert answer(other) == FAILED


def test_one_name_declared_in_two_ways_is_refused() -> None:
    shared: dict[str, Machine] = {}
    chain(Bulkhead(1, shared="db"), shared=shared)

    with pytest.raises(ConfigurationError) as caught:
        Chain([Bulkhead(2, shared="db")], where="stage 'store'", shared=shared)

    assert str(caught.value) == (
        "stage 'store' Bulkhead must be declared as where shared='db' was first used: "
        "Bulkhead(shared='db', per_worker=False, scope='system', limit=1), got "
        "Bulkhead(shared='db', per_worker=False, scope='system', limit=2)"
    )


def test_one_name_twice_in_one_list_is_refused() -> None:
    limit = RateLimit(1, shared="api")

    with pytest.raises(ConfigurationError, match="must be a list that uses shared='api' once"):
        chain(limit, limit)


def test_all_workers_have_one_gate_unless_a_policy_is_per_worker() -> None:
    subject = chain(RateLimit(1), CircuitBreaker(), workers=4)

    assert len({id(subject.gate_for(worker)) for worker in range(4)}) == 1


def test_per_worker_gives_each_worker_a_limit_of_its_own_and_leaves_the_rest_common() -> None:
    subject = chain(RateLimit(1, per_worker=True), Bulkhead(2), workers=3)

    for worker in (0, 1):
        assert gate(subject, worker).ready(0.0, None) == Admit()
        gate(subject, worker).take(0.0, None)

    assert gate(subject, 0).ready(5.0, None) == Wait(None)  # The common bulkhead is full.
    assert gate(subject, 2).ready(0.0, None) == Wait(None)
    assert subject.gate is subject.gate_for(0)


def test_a_worker_added_later_gets_a_gate_too() -> None:
    subject = chain(RateLimit(1, per_worker=True), workers=1)
    gate(subject, 0).take(0.0, None)

    assert gate(subject, 5).ready(0.0, None) == Admit()


def test_the_state_of_each_worker_survives_a_restart() -> None:
    before = chain(RateLimit(1, per_worker=True), workers=2)
    after = chain(RateLimit(1, per_worker=True), workers=2)
    gate(before, 1).take(0.0, None)

    after.load(before.dump(0.0), 0.0, 0.25)

    assert gate(after, 0).ready(0.0, None) == Admit()
    assert gate(after, 1).ready(0.0, None) == Wait(0.75)


def test_a_snapshot_names_machines_by_kind_whatever_else_there_is() -> None:
    before = chain(Bulkhead(1), RateLimit(1), Retry(budget=0.1))
    after = chain(CircuitBreaker(), RateLimit(1))
    gate(before).take(0.0, None)

    state = before.dump(0.0)
    after.load(state, 0.0, 0.0)

    assert sorted(state) == ["Bulkhead.0", "RateLimit.0", "Retry"]
    assert gate(after).ready(0.0, None) == Wait(1.0)


def test_a_live_change_keeps_what_was_counted() -> None:
    subject = chain(RateLimit(1), Bulkhead(1), Retry(2), Timeout(5))
    gate(subject).take(0.0, None)

    subject.change(RateLimit(0.1), 0.0)
    subject.change(Bulkhead(2), 0.0)
    subject.change(Retry(5), 0.0)
    subject.change(Timeout(9), 0.0)

    assert gate(subject).ready(0.0, None) == Wait(10.0)
    assert (subject.retry, subject.timeout) == (Retry(5), 9)
    subject.change(RateLimit(1000), 0.0)
    faster = gate(subject).ready(0.0, None)
    assert isinstance(faster, Wait)
    assert faster.seconds == pytest.approx(0.001)


def test_a_live_change_holds_for_every_worker() -> None:
    subject = chain(RateLimit(1, per_worker=True), workers=2)
    for worker in range(2):
        gate(subject, worker).take(0.0, None)

    subject.change(RateLimit(2, per_worker=True), 0.0)

    assert [gate(subject, worker).ready(0.0, None) for worker in range(2)] == [Wait(0.5)] * 2


def test_a_budget_can_come_change_and_go() -> None:
    subject = chain(Retry(3))

    subject.change(Retry(3, budget=0.5, backoff=Fixed(0)), 0.0)
    for _ in range(10):
        answer(subject)
    subject.change(Retry(3, budget=1.0, backoff=Fixed(0)), 0.0)
    assert (subject.budgeted, answer(subject)) == (True, FAILED)

    subject.first_lease()
    assert answer(subject) == Redeliver(0.0)

    subject.change(Retry(3, backoff=Fixed(0)), 0.0)
    assert (subject.budgeted, answer(subject)) == (False, Redeliver(0.0))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (Deadline(5), "of a kind that is there once; Deadline is there 0 times"),
        (Bulkhead(5), "of a kind that is there once; Bulkhead is there 2 times"),
        (RateLimit(5, key=str), "declared with key=None as before"),
        (RateLimit(5, shared="api"), "declared with shared=None as before"),
        (OnlySoMany(5), "of a kind that is there once; OnlySoMany is there 0 times"),
        (Retry, "an instance; write Retry\\(\\)"),
    ],
)
def test_a_change_that_is_none_is_refused(policy: object, text: str) -> None:
    subject = chain(RateLimit(1), Bulkhead(1), Bulkhead(2))

    with pytest.raises(ConfigurationError, match=f"must be {text}, got"):
        subject.change(policy, 0.0)
