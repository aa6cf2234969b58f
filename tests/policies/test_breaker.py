"""CircuitBreaker, path by path. The random walk against a model is in test_breaker_model."""

import pytest

from actorflow.errors import ConfigurationError
from actorflow.policies import Admit, CircuitBreaker, CircuitBreakerMachine, Divert, Reject, Wait
from actorflow.policies.breaker import MOVES


def fail(machine: CircuitBreakerMachine, now: float, times: int = 1, key: object = None) -> None:
    for _ in range(times):
        machine.record(now, machine.take(now, key), False)


def opened(**options: object) -> CircuitBreakerMachine:
    """A breaker that opened at 0 s and lets probes through at 30 s."""
    machine = CircuitBreaker(2, **options).machine()  # type: ignore[arg-type]
    fail(machine, 0.0, 2)
    assert machine.state() == "open"
    return machine


def test_the_table_of_moves_is_the_whole_automaton() -> None:
    assert MOVES == {
        ("closed", "tripped"): "open",
        ("open", "recovered"): "half_open",
        ("half_open", "proved"): "closed",
        ("half_open", "relapsed"): "open",
    }


def test_five_failures_in_a_row_open_it_and_four_do_not() -> None:
    machine = CircuitBreaker().machine()

    fail(machine, 0.0, 4)
    assert machine.state() == "closed"

    fail(machine, 0.0)
    assert machine.state() == "open"


def test_a_success_starts_the_count_anew() -> None:
    machine = CircuitBreaker(2).machine()

    for _ in range(10):
        fail(machine, 0.0)
        machine.record(0.0, machine.take(0.0, None), True)

    assert machine.state() == "closed"


def test_a_turn_that_we_ended_ourselves_is_neither_failure_nor_success() -> None:
    machine = CircuitBreaker(2).machine()
    fail(machine, 0.0)
    machine.record(0.0, machine.take(0.0, None), None)
    assert machine.state() == "closed"

    fail(machine, 0.0)

    assert machine.state() == "open"


def test_open_holds_for_what_remains_of_the_recovery_time() -> None:
    machine = opened()

    assert machine.ready(10.0, None) == Wait(20.0)
    assert machine.ready(30.0, None) == Admit()


def test_when_open_reject_says_in_how_long_to_come_back() -> None:
    assert opened(when_open="reject").ready(10.0, None) == Reject("rejected", 20.0)


def test_when_open_divert_names_the_way() -> None:
    assert opened(when_open=Divert("backup")).ready(10.0, None) == Divert("backup")


def test_to_ask_does_not_make_it_half_open() -> None:
    machine = opened()

    machine.ready(31.0, None)

    assert machine.state() == "open"


def test_half_open_admits_one_probe_and_the_others_wait_for_it() -> None:
    machine = opened()

    machine.take(30.0, None)

    assert machine.state() == "half_open"
    assert machine.ready(30.0, None) == Wait(None)


def test_half_open_rejects_the_others_where_open_would() -> None:
    machine = opened(when_open="reject")

    machine.take(30.0, None)

    assert machine.ready(30.0, None) == Reject("rejected", 0.0)


def test_a_probe_that_ends_well_closes_it() -> None:
    machine = opened()

    machine.record(31.0, machine.take(30.0, None), True)

    assert machine.state() == "closed"
    assert machine.calm


def test_a_probe_that_fails_opens_it_for_another_recovery_time() -> None:
    machine = opened()

    machine.record(31.0, machine.take(30.0, None), False)

    assert machine.ready(31.0, None) == Wait(30.0)


def test_a_cancelled_probe_frees_its_place() -> None:
    machine = opened()

    machine.record(31.0, machine.take(30.0, None), None)

    assert machine.state() == "half_open"
    assert machine.ready(31.0, None) == Admit()


def test_all_of_several_probes_must_end_well() -> None:
    machine = opened(probes=2)
    first, second = machine.take(30.0, None), machine.take(30.0, None)
    assert machine.ready(30.0, None) == Wait(None)

    machine.record(31.0, first, True)
    assert machine.state() == "half_open"
    assert machine.ready(31.0, None) == Wait(None)  # One proved, one running: no place.

    machine.record(31.0, second, True)
    assert machine.state() == "closed"


def test_a_probe_of_an_earlier_try_changes_nothing() -> None:
    machine = opened(probes=2)
    first, second = machine.take(30.0, None), machine.take(30.0, None)
    machine.record(31.0, first, False)
    assert machine.take(61.0, None)

    machine.record(61.0, second, False)
    assert machine.state() == "half_open"

    machine.record(61.0, second, True)
    assert machine.ready(61.0, None) == Admit()  # Its success took no place and proved nothing.


def test_a_call_from_before_it_opened_can_neither_close_nor_reopen_it() -> None:
    machine = CircuitBreaker(2).machine()
    slow, slower = machine.take(0.0, None), machine.take(0.0, None)
    fail(machine, 0.0, 2)

    machine.record(10.0, slow, True)
    assert machine.ready(10.0, None) == Wait(20.0)

    machine.record(20.0, slower, False)
    assert machine.ready(20.0, None) == Wait(10.0)


def test_a_failure_from_before_it_opened_does_not_count_after_it_closed() -> None:
    machine = CircuitBreaker(2).machine()
    slow = machine.take(0.0, None)
    fail(machine, 0.0, 2)
    machine.record(30.0, machine.take(30.0, None), True)

    machine.record(31.0, slow, False)

    assert machine.calm


def test_a_turn_that_was_not_admitted_proves_nothing() -> None:
    machine = opened()
    token = machine.take(10.0, None)

    machine.record(11.0, token, True)

    assert machine.ready(11.0, None) == Wait(19.0)


def test_a_turn_taken_beyond_the_probes_proves_nothing() -> None:
    machine = opened()
    machine.take(30.0, None)
    beyond = machine.take(30.0, None)

    machine.record(30.0, beyond, True)
    machine.record(30.0, machine.take(30.0, None), False)

    assert machine.state() == "half_open"
    assert machine.ready(30.0, None) == Wait(None)


def test_with_a_window_old_failures_do_not_count() -> None:
    machine = CircuitBreaker(3, window=10.0).machine()

    for now in (0.0, 6.0, 12.0, 18.0):
        fail(machine, now)
    assert machine.state() == "closed"

    fail(machine, 21.0)
    assert machine.state() == "open"


def test_with_a_window_successes_between_do_not_help() -> None:
    machine = CircuitBreaker(2, window=10.0).machine()

    fail(machine, 0.0)
    machine.record(1.0, machine.take(1.0, None), True)
    fail(machine, 2.0)

    assert machine.state() == "open"


def test_a_failure_rate_needs_enough_calls() -> None:
    machine = CircuitBreaker(4, window=10.0, failure_rate=0.5).machine()

    fail(machine, 0.0, 3)
    assert machine.state() == "closed"

    fail(machine, 0.0)
    assert machine.state() == "open"


def test_a_failure_rate_below_the_limit_leaves_it_closed() -> None:
    machine = CircuitBreaker(4, window=10.0, failure_rate=0.5).machine()

    for number in range(100):
        machine.record(0.0, machine.take(0.0, None), number % 5 < 3)

    assert machine.state() == "closed"


def test_one_failing_key_leaves_the_others_alone() -> None:
    machine = CircuitBreaker(2, key=str.lower).machine()

    fail(machine, 0.0, 2, key="ann")

    assert machine.ready(0.0, "ann") == Wait(30.0, keyed=True)
    assert machine.ready(0.0, "bob") == Admit()
    assert machine.state("ann") == "open"


def test_keys_are_bounded_and_an_open_circuit_is_not_the_first_to_go() -> None:
    machine = CircuitBreaker(1, key=str.lower, max_keys=3).machine()
    fail(machine, 0.0, key="down")

    for number in range(100):
        machine.record(1.0, machine.take(1.0, number), True)

    assert len(machine) == 3
    assert machine.state("down") == "open"


def test_calm_is_closed_and_clean() -> None:
    machine = CircuitBreaker(2).machine()
    assert machine.calm

    fail(machine, 0.0)
    assert not machine.calm

    machine.record(0.0, machine.take(0.0, None), True)
    assert machine.calm


@pytest.mark.parametrize(
    "policy",
    [
        CircuitBreaker(window=10.0),
        CircuitBreaker(window=10.0, failure_rate=0.5),
        CircuitBreaker(key=str.lower),
    ],
)
def test_what_must_count_every_call_is_never_calm(policy: CircuitBreaker) -> None:
    assert not policy.machine().calm


def test_an_open_circuit_stays_open_over_a_restart_for_what_remains() -> None:
    after = CircuitBreaker(2).machine()

    after.load(opened().dump(10.0), 1000.0, 5.0)

    assert after.ready(1000.0, None) == Wait(15.0)
    assert not after.calm


def test_a_recovery_time_that_passed_while_down_is_over() -> None:
    after = CircuitBreaker(2).machine()

    after.load(opened().dump(10.0), 1000.0, 3600.0)

    assert after.ready(1000.0, None) == Admit()


def test_probes_that_a_kill_ended_have_free_places_after_it() -> None:
    before, after = opened(), CircuitBreaker(2).machine()
    before.take(30.0, None)

    after.load(before.dump(31.0), 0.0, 0.0)

    assert after.state() == "half_open"
    assert after.ready(0.0, None) == Admit()


def test_failures_before_a_restart_count_after_it() -> None:
    before, after = CircuitBreaker(3).machine(), CircuitBreaker(3).machine()
    fail(before, 0.0, 2)

    after.load(before.dump(0.0), 0.0, 0.0)
    fail(after, 0.0)

    assert after.state() == "open"


def test_circuits_by_key_survive_a_restart_and_clean_ones_are_not_stored() -> None:
    policy = CircuitBreaker(2, key=str.lower)
    before, after = policy.machine(), policy.machine()
    fail(before, 0.0, 2, key="ann")
    before.record(0.0, before.take(0.0, "bob"), True)
    fail(before, 0.0, 2, key=object())

    state = before.dump(10.0)
    after.load(state, 0.0, 0.0)

    assert state == {"circuits": [["ann", "open", 20.0, 0, 0]]}
    assert after.ready(0.0, "ann") == Wait(20.0, keyed=True)


def test_a_shorter_recovery_time_holds_for_a_circuit_that_is_open() -> None:
    machine = opened()

    machine.change(CircuitBreaker(2, 5.0), 10.0)

    assert machine.ready(10.0, None) == Wait(5.0)


def test_a_new_threshold_holds_from_the_next_failure() -> None:
    machine = CircuitBreaker(10).machine()
    fail(machine, 0.0, 5)

    machine.change(CircuitBreaker(2), 0.0)
    fail(machine, 0.0, 2)

    assert machine.state() == "open"


def test_fewer_probes_wait_for_one_more_to_end_well() -> None:
    machine = opened(probes=3)
    machine.record(30.0, machine.take(30.0, None), True)
    machine.record(30.0, machine.take(30.0, None), True)

    machine.change(CircuitBreaker(2, probes=1), 30.0)
    assert machine.ready(30.0, None) == Admit()

    machine.record(30.0, machine.take(30.0, None), True)
    assert machine.state() == "closed"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            {"failure_threshold": 0},
            "CircuitBreaker.failure_threshold must be a whole number, 1 or more, got 0",
        ),
        (
            {"recovery_timeout": -1},
            "CircuitBreaker.recovery_timeout must be a number of seconds, 0 or more, got -1",
        ),
        (
            {"failure_rate": 0.5},
            "CircuitBreaker.window must be given where failure_rate=0.5 is, got None",
        ),
        (
            {"failure_rate": 50, "window": 10.0},
            "CircuitBreaker.failure_rate must be a share of calls, up to 1 (0.5 is half), got 50",
        ),
        (
            {"window": 0},
            "CircuitBreaker.window must be a number of seconds, above 0, got 0",
        ),
        ({"probes": 0}, "CircuitBreaker.probes must be a whole number, 1 or more, got 0"),
        (
            {"when_open": "wait"},
            "CircuitBreaker.when_open must be 'hold', 'reject' or Divert(to), got 'wait'",
        ),
        (
            {"when_open": Divert},
            "CircuitBreaker.when_open must be 'hold', 'reject' or Divert(to), got "
            "<class 'actorflow.policies.decision.Divert'>",
        ),
        (
            {"key": 5},
            "CircuitBreaker.key must be a function of the message body, or None, got 5",
        ),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_in_these_words(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CircuitBreaker(**wrong)  # type: ignore[arg-type]

    assert str(caught.value) == text
