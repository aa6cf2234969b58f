"""RateLimit, path by path. The laws that hold for every limit are in test_ratelimit_laws."""

import pytest

from actorflow.errors import ConfigurationError
from actorflow.policies import Admit, KeyedRateLimitMachine, RateLimit, RateLimitMachine, Wait


def limit(rate: float, *, per: float = 1.0, burst: int = 1) -> RateLimitMachine:
    machine = RateLimit(rate, per=per, burst=burst).machine()
    assert isinstance(machine, RateLimitMachine)
    return machine


def keyed(rate: float, *, burst: int = 1, max_keys: int = 10_000) -> KeyedRateLimitMachine:
    policy = RateLimit(rate, burst=burst, key=str.lower, max_keys=max_keys)
    machine = policy.machine()
    assert isinstance(machine, KeyedRateLimitMachine)
    return machine


def test_the_first_turn_is_admitted_and_the_second_waits_one_interval() -> None:
    machine = limit(4)

    machine.take(10.0, None)

    assert machine.ready(10.0, None) == Wait(0.25)
    assert machine.ready(10.25, None) == Admit()


def test_half_a_turn_a_second_is_one_in_two_seconds() -> None:
    machine = limit(0.5)
    taken = 0

    for tenth in range(60):
        taken += machine.swift(tenth / 10)

    assert taken == 3  # At 0, 2 and 4 s.


def test_a_burst_is_there_at_once_and_comes_back_one_by_one() -> None:
    machine = limit(1, burst=3)

    assert [machine.swift(5.0) for _ in range(4)] == [True, True, True, False]
    assert [machine.swift(6.0) for _ in range(2)] == [True, False]
    assert [machine.swift(99.0) for _ in range(4)] == [True, True, True, False]


def test_no_burst_hides_at_the_edge_of_a_window() -> None:
    machine = limit(10)

    assert sum(machine.swift(0.9 + number / 1000) for number in range(200)) == 2


def test_per_names_the_unit_of_the_rate() -> None:
    machine = limit(3, per=60.0)

    machine.take(0.0, None)

    assert machine.ready(0.0, None) == Wait(20.0)


def test_a_take_beyond_the_limit_delays_those_after_it() -> None:
    machine = limit(1)
    for _ in range(3):
        machine.take(0.0, None)

    assert machine.ready(0.0, None) == Wait(3.0)


def test_a_limit_is_never_calm() -> None:
    assert limit(1e9).calm is False
    assert keyed(1e9).calm is False


def test_what_is_owed_survives_a_restart_less_the_time_that_passed() -> None:
    before, after = limit(1, burst=2), limit(1, burst=2)
    for _ in range(2):
        before.take(100.0, None)

    after.load(before.dump(100.0), 7.0, 0.25)

    assert after.ready(7.0, None) == Wait(0.75)


def test_more_time_passed_than_is_owed_leaves_a_new_limit() -> None:
    before, after = limit(1), limit(1)
    before.take(100.0, None)

    after.load(before.dump(100.0), 7.0, 3600.0)

    assert [after.swift(7.0), after.swift(7.0)] == [True, False]


def test_a_wall_clock_set_back_adds_no_wait() -> None:
    before, after = limit(1), limit(1)
    before.take(100.0, None)

    after.load(before.dump(100.0), 7.0, -3600.0)

    assert after.ready(7.0, None) == Wait(1.0)


def test_a_faster_rate_holds_at_once() -> None:
    machine = limit(1, per=3600.0)
    machine.take(0.0, None)

    machine.change(RateLimit(1000), 1.0)

    answer = machine.ready(1.0, None)
    assert isinstance(answer, Wait)
    assert answer.seconds == pytest.approx(0.001, rel=0.01)


def test_a_slower_rate_holds_at_once() -> None:
    machine = limit(100)
    machine.take(0.0, None)

    machine.change(RateLimit(1, per=60.0), 0.0)

    assert machine.ready(0.0, None) == Wait(60.0)


def test_a_change_does_not_hand_out_what_was_already_taken() -> None:
    machine = limit(10, burst=5)
    for _ in range(5):
        machine.take(0.0, None)

    machine.change(RateLimit(10, burst=5), 0.0)

    assert machine.swift(0.0) is False


def test_after_a_smaller_burst_nobody_waits_longer_than_one_interval() -> None:
    machine = limit(1, burst=100)
    for _ in range(100):
        machine.take(0.0, None)

    machine.change(RateLimit(1), 0.0)

    assert machine.ready(0.0, None) == Wait(1.0)


def test_each_key_has_a_limit_of_its_own() -> None:
    machine = keyed(1)

    machine.take(0.0, "ann")

    assert machine.ready(0.0, "ann") == Wait(1.0, keyed=True)
    assert machine.ready(0.0, "bob") == Admit()


def test_to_ask_about_a_key_remembers_nothing() -> None:
    machine = keyed(1)

    machine.ready(0.0, "ann")

    assert len(machine) == 0


def test_keys_are_bounded() -> None:
    machine = keyed(1, max_keys=10)

    for number in range(1000):
        machine.take(0.0, f"user {number}")

    assert len(machine) == 10
    assert machine.ready(0.0, "user 999") == Wait(1.0, keyed=True)


def test_a_key_that_owes_nothing_is_forgotten_before_one_that_does() -> None:
    machine = keyed(1, max_keys=2)
    machine.take(0.0, "busy")
    machine.take(0.0, "busy")  # Beyond its limit: it owes until 2 s.
    machine.take(0.0, "done")

    machine.take(1.5, "new")

    assert machine.ready(1.5, "busy") == Wait(0.5, keyed=True)


def test_keys_survive_a_restart_if_they_owe_something() -> None:
    before, after = keyed(1), keyed(1)
    before.take(0.0, "ann")
    before.take(0.5, ("bob", 7))
    before.take(0.5, object())

    state = before.dump(1.0)
    after.load(state, 50.0, 0.25)

    assert state == {"keys": [[("bob", 7), 0.5]]}
    assert after.ready(50.0, ("bob", 7)) == Wait(0.25, keyed=True)


def test_a_change_holds_for_every_key() -> None:
    machine = keyed(1)
    machine.take(0.0, "ann")

    machine.change(RateLimit(2, key=str.lower), 0.0)
    machine.take(0.0, "bob")

    assert machine.ready(0.0, "ann") == machine.ready(0.0, "bob") == Wait(0.5, keyed=True)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"rate": 0}, "RateLimit.rate must be a number above 0, got 0"),
        ({"rate": -1.5}, "RateLimit.rate must be a number above 0, got -1.5"),
        ({"rate": "50/s"}, "RateLimit.rate must be a number above 0, got '50/s'"),
        ({"rate": float("inf")}, "RateLimit.rate must be a number above 0, got inf"),
        ({"rate": True}, "RateLimit.rate must be a number above 0, got True"),
        ({"per": 0}, "RateLimit.per must be a number of seconds, above 0, got 0"),
        ({"burst": 0}, "RateLimit.burst must be a whole number, 1 or more, got 0"),
        ({"burst": 1.5}, "RateLimit.burst must be a whole number, 1 or more, got 1.5"),
        (
            {"key": "user"},
            "RateLimit.key must be a function of the message body, or None, got 'user'",
        ),
        ({"max_keys": 0}, "RateLimit.max_keys must be a whole number, 1 or more, got 0"),
        (
            {"rate": 1e-308, "per": 100.0},
            "RateLimit.rate must be large enough for a finite interval at per=100 s, got 1e-308",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_these_words(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RateLimit(**{"rate": 5, **wrong})  # type: ignore[arg-type]

    assert str(caught.value) == text
