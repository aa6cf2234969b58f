"""Retry, path by path, and what is true of every one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import ConfigurationError
from actorflow.policies import Fixed, Quarantine, Redeliver, Retry, RetryBudget
from actorflow.policies.decision import Decision
from actorflow.policies.retry import RESERVE

FAILED, EXPIRED = Quarantine("failed"), Quarantine("expired")


def answer(
    policy: Retry,
    attempt: int = 1,
    error: BaseException | None = None,
    *,
    crashed: bool = False,
    age: float = 0.0,
) -> Decision:
    return policy.decide(attempt, error or OSError(), crashed=crashed, age=age, draw=0.5)


def test_a_failure_is_delivered_again_after_the_backoff() -> None:
    assert answer(Retry(backoff=Fixed(2.0))) == Redeliver(2.0, "tail")


def test_position_head_is_handed_on() -> None:
    assert answer(Retry(backoff=Fixed(2.0), position="head")) == Redeliver(2.0, "head")


@pytest.mark.parametrize(("attempt", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_max_attempts_counts_the_first_run(attempt: int, again: bool) -> None:
    assert isinstance(answer(Retry(3), attempt), Redeliver) is again


def test_the_last_attempt_fails_whatever_the_deadline_says() -> None:
    assert answer(Retry(3, deadline=1.0), 3, age=5.0) == FAILED


def test_an_error_that_is_not_listed_fails_at_once() -> None:
    assert answer(Retry(retry_on=(OSError,)), error=KeyError("id")) == FAILED


def test_a_subclass_of_a_listed_error_is_listed() -> None:
    assert isinstance(answer(Retry(retry_on=OSError), error=ConnectionResetError()), Redeliver)


def test_never_on_beats_retry_on() -> None:
    policy = Retry(retry_on=Exception, never_on=(ValueError, TypeError))

    assert answer(policy, error=UnicodeDecodeError("utf-8", b"", 0, 1, "bad")) == FAILED


def test_a_crash_is_worth_a_retry_though_retry_on_does_not_list_it() -> None:
    assert isinstance(answer(Retry(retry_on=OSError), error=SystemExit(), crashed=True), Redeliver)


def test_never_on_holds_for_a_crash_too() -> None:
    policy = Retry(never_on=AssertionError)

    assert answer(policy, error=AssertionError(), crashed=True) == FAILED


def test_what_is_no_exception_is_not_retried_by_default_unless_it_crashed_the_actor() -> None:
    assert answer(Retry(), error=KeyboardInterrupt()) == FAILED


@pytest.mark.parametrize(("age", "expected"), [(8.0, Redeliver(2.0)), (8.001, EXPIRED)])
def test_a_retry_that_would_come_due_after_the_deadline_expires_at_once(
    age: float, expected: Decision
) -> None:
    assert answer(Retry(backoff=Fixed(2.0), deadline=10.0), age=age) == expected


def test_one_class_and_a_tuple_of_it_are_the_same_declaration() -> None:
    assert Retry(retry_on=OSError, never_on=KeyError) == Retry(
        retry_on=(OSError,), never_on=(KeyError,)
    )


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"max_attempts": 0}, "Retry.max_attempts must be a whole number, 1 or more, got 0"),
        ({"max_attempts": 2.0}, "Retry.max_attempts must be a whole number, 1 or more, got 2.0"),
        (
            {"retry_on": [OSError]},
            "Retry.retry_on must be an exception class or a tuple of them, got "
            "[<class 'OSError'>]",
        ),
        (
            {"never_on": (OSError, "ValueError")},
            "Retry.never_on must be an exception class or a tuple of them, got 'ValueError'",
        ),
        ({"deadline": 0}, "Retry.deadline must be a number of seconds, above 0, got 0"),
        ({"position": "front"}, "Retry.position must be one of 'tail', 'head', got 'front'"),
        (
            {"budget": 10},
            "Retry.budget must be a share of first attempts, up to 1 (0.1 is 10 %), got 10",
        ),
        ({"budget": 0}, "Retry.budget must be a number above 0, got 0"),
        (
            {"budget": 0.1, "per_worker": True},
            "Retry.per_worker must be False with a budget, which is one for all workers, got True",
        ),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_in_these_words(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Retry(**wrong)  # type: ignore[arg-type]

    assert str(caught.value) == text


class Nonsense:
    def delay(self, attempt: int, draw: float) -> float:
        return float("nan")


def test_a_backoff_of_ones_own_that_answers_nonsense_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        answer(Retry(backoff=Nonsense()))

    assert str(caught.value) == (
        "Retry.backoff.delay() must be a number of seconds, 0 or more, got nan"
    )


def budget(share: float) -> RetryBudget:
    machine = Retry(budget=share).machine()
    assert machine is not None
    return machine


def test_without_a_budget_there_is_no_state_to_keep() -> None:
    assert Retry().machine() is None


def test_a_budget_begins_with_its_reserve_in_hand() -> None:
    machine = budget(0.1)

    assert [machine.spend() for _ in range(11)] == [True] * 10 + [False]


def test_ten_first_attempts_at_10_percent_earn_one_retry() -> None:
    machine = budget(0.1)
    while machine.spend():
        pass

    for _ in range(10):
        assert not machine.spend()
        machine.earn()

    assert [machine.spend(), machine.spend()] == [True, False]


def test_a_quiet_million_saves_no_more_than_the_reserve() -> None:
    machine = budget(1.0)

    for _ in range(1000):
        machine.earn()

    assert machine.tokens == RESERVE


def test_a_budget_survives_a_restart() -> None:
    before, after = budget(0.5), budget(0.5)
    for _ in range(7):
        before.spend()

    after.load(before.dump(1.0), 99.0, 60.0)

    assert after.tokens == before.tokens == 3.0


attempts = st.integers(1, 10**6)
retries = st.builds(
    Retry,
    st.integers(1, 10**6),
    retry_on=st.sampled_from([OSError, Exception, (KeyError, ValueError), ()]),
    never_on=st.sampled_from([(), ConnectionError]),
    deadline=st.none() | st.floats(0.1, 1e3),
    position=st.sampled_from(["tail", "head"]),
)
errors = st.sampled_from([OSError(), ConnectionResetError(), KeyError(), SystemExit()])
draws = st.floats(0, 1, exclude_max=True)


@given(retries, attempts, errors, st.booleans(), st.floats(0, 2e3), draws)
def test_no_message_runs_more_often_than_max_attempts(
    policy: Retry, attempt: int, error: BaseException, crashed: bool, age: float, draw: float
) -> None:
    decision = policy.decide(attempt, error, crashed=crashed, age=age, draw=draw)

    if isinstance(decision, Redeliver):
        assert attempt < policy.max_attempts


@given(retries, attempts, errors, st.booleans(), st.floats(0, 2e3), draws)
def test_no_retry_comes_due_after_the_deadline(
    policy: Retry, attempt: int, error: BaseException, crashed: bool, age: float, draw: float
) -> None:
    decision = policy.decide(attempt, error, crashed=crashed, age=age, draw=draw)

    if isinstance(decision, Redeliver) and policy.deadline is not None:
        assert age + decision.delay <= policy.deadline


@given(retries, attempts, errors, draws)
def test_a_crash_is_always_worth_a_retry_whatever_retry_on_says(
    policy: Retry, attempt: int, error: BaseException, draw: float
) -> None:
    decision = policy.decide(attempt, error, crashed=True, age=0.0, draw=draw)

    if attempt < policy.max_attempts and not isinstance(error, policy.never_on):
        assert decision != FAILED


@given(st.floats(0.001, 1.0), st.lists(st.booleans(), max_size=300))
def test_retries_never_exceed_the_share_of_first_attempts_plus_the_reserve(
    share: float, firsts: list[bool]
) -> None:
    machine = budget(share)
    spent = earned = 0

    for first in firsts:
        if first:
            machine.earn()
            earned += 1
        else:
            spent += machine.spend()
        assert 0 <= machine.tokens <= RESERVE
        assert spent <= RESERVE + share * earned + 1e-6
