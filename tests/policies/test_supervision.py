"""Supervision against OTP's documented rules, and what is true of every supervisor.

The rules are those of the `supervisor` manual page of Erlang/OTP and its chapter
"Supervisor Behaviour" in the Design Principles.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from actorflow.errors import ConfigurationError
from actorflow.policies import (
    ChildSpec,
    Exponential,
    Fixed,
    RestartBudget,
    RestartDelay,
    Retry,
    affected,
    auto_shutdown,
    restart_wanted,
)


class Charge:
    """Stands for an actor."""


def test_a_child_spec_has_otps_defaults() -> None:
    spec = ChildSpec("charge", Charge)

    assert (spec.id, spec.start) == ("charge", Charge)
    assert (spec.restart, spec.shutdown, spec.significant) == ("permanent", 5.0, False)
    assert (spec.policies, spec.backoff, spec.max_restarts, spec.window) == ((), None, None, None)
    assert spec.options == {}


def test_a_child_spec_keeps_what_it_is_given() -> None:
    spec = ChildSpec(
        "charge",
        Charge(),
        restart="transient",
        shutdown=0,
        significant=True,
        policies=[Retry()],
        backoff=Fixed(1),
        max_restarts=0,
        window=5,
        capacity=0,
        overflow="drop_old",
    )

    assert spec.policies == (Retry(),)
    assert (spec.shutdown, spec.max_restarts, spec.window) == (0.0, 0, 5.0)
    assert spec.options == {"capacity": 0, "overflow": "drop_old"}


def test_specs_written_alike_are_equal_and_hash_alike() -> None:
    assert ChildSpec("a", Charge, capacity=5) == ChildSpec("a", Charge, capacity=5)
    assert hash(ChildSpec("a", Charge, capacity=5)) == hash(ChildSpec("a", Charge, capacity=5))
    assert ChildSpec("a", Charge, capacity=5) != ChildSpec("a", Charge, capacity=6)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            {"significant": True},
            "child 'charge' significant must be False for a permanent child; write "
            "restart='transient' or 'temporary', got True",
        ),
        (
            {"restart": "always"},
            "child 'charge' restart must be one of 'permanent', 'transient', 'temporary', got "
            "'always'",
        ),
        (
            {"shutdown": -1},
            "child 'charge' shutdown must be a number of seconds, 0 or more, got -1",
        ),
        (
            {"shutdown": None},
            "child 'charge' shutdown must be a number of seconds, 0 or more, got None",
        ),
        (
            {"capasity": 5},
            "child 'charge' option must be one of 'capacity', 'durable', 'effects', 'isolation', "
            "'overflow', 'replace' (did you mean 'capacity'?), got 'capasity'",
        ),
        (
            {"capacity": -1},
            "child 'charge' capacity must be a whole number, 0 or more, got -1",
        ),
        (
            {"overflow": "drop"},
            "child 'charge' overflow must be one of 'block', 'fail', 'drop_new', 'drop_old', got "
            "'drop'",
        ),
        (
            {"isolation": "share"},
            "child 'charge' isolation must be one of 'fields', 'copy', got 'share'",
        ),
        ({"effects": "yes"}, "child 'charge' effects must be True or False, got 'yes'"),
        ({"significant": 1}, "child 'charge' significant must be True or False, got 1"),
        (
            {"max_restarts": -1},
            "child 'charge' max_restarts must be a whole number, 0 or more, got -1",
        ),
        (
            {"window": 0},
            "child 'charge' window must be a number of seconds, above 0, got 0",
        ),
        (
            {"backoff": 5},
            "child 'charge' backoff must be a backoff such as Exponential() or Fixed(5), got 5",
        ),
        (
            {"policies": [Retry]},
            "child 'charge' policies[0] must be an instance; write Retry(), got "
            "<class 'actorflow.policies.retry.Retry'>",
        ),
        (
            {"id": "a/b"},
            "ChildSpec.id must be 1 to 200 printable characters without '/', got 'a/b'",
        ),
        (
            {"start": None},
            "child 'charge' start must be an Actor class or instance, a supervisor, or a callable "
            "that makes one, got None",
        ),
        (
            {"start": "Charge"},
            "child 'charge' start must be an Actor class or instance, a supervisor, or a callable "
            "that makes one, got 'Charge'",
        ),
    ],
)  # fmt: skip
def test_a_wrong_child_spec_is_refused_in_these_words(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ChildSpec(**{"id": "charge", "start": Charge, **wrong})

    assert str(caught.value) == text


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_child_that_can_end_by_itself_may_be_significant(restart: Any) -> None:
    assert ChildSpec("a", Charge, restart=restart, significant=True).significant


@pytest.mark.parametrize(
    ("restart", "normal", "wanted"),
    [
        ("permanent", True, True),  # "always restarted"
        ("permanent", False, True),
        ("transient", True, False),  # "restarted only if it terminates abnormally"
        ("transient", False, True),
        ("temporary", True, False),  # "never restarted"
        ("temporary", False, False),
    ],
)
def test_restart_types_mean_what_they_mean_in_otp(restart: Any, normal: bool, wanted: bool) -> None:
    assert restart_wanted(restart, normal) is wanted


@pytest.mark.parametrize(
    ("strategy", "failed", "stop", "start"),
    [
        ("one_for_one", "b", "", "b"),
        ("one_for_all", "b", "dca", "abcd"),
        ("one_for_all", "a", "dcb", "abcd"),
        ("rest_for_one", "b", "dc", "bcd"),
        ("rest_for_one", "a", "dcb", "abcd"),
        ("rest_for_one", "d", "", "d"),
    ],
)
def test_strategies_stop_right_to_left_and_start_left_to_right(
    strategy: Any, failed: str, stop: str, start: str
) -> None:
    assert affected(strategy, "abcd", failed) == (tuple(stop), tuple(start))


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [("one_for_one", "", "b"), ("one_for_all", "dca", "bd"), ("rest_for_one", "dc", "bd")],
)
def test_temporary_siblings_are_stopped_and_not_started_again(
    strategy: Any, stop: str, start: str
) -> None:
    assert affected(strategy, "abcd", "b", "ac") == (tuple(stop), tuple(start))


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_temporary_child_takes_nobody_along(strategy: Any) -> None:
    assert affected(strategy, "abcd", "b", "b") == ((), ())


@pytest.mark.parametrize(
    ("mode", "others_alive", "ends"),
    [
        ("never", False, False),
        ("never", True, False),
        ("any_significant", True, True),
        ("any_significant", False, True),
        ("all_significant", True, False),
        ("all_significant", False, True),  # "when the last active significant child terminates"
    ],
)
def test_auto_shutdown_of_a_significant_child_that_ended_by_itself(
    mode: Any, others_alive: bool, ends: bool
) -> None:
    assert auto_shutdown(mode, significant=True, by_itself=True, others_alive=others_alive) is ends


@pytest.mark.parametrize(("significant", "by_itself"), [(True, False), (False, True)])
@pytest.mark.parametrize("mode", ["never", "any_significant", "all_significant"])
def test_only_a_significant_child_that_ended_by_itself_ends_its_supervisor(
    mode: Any, significant: bool, by_itself: bool
) -> None:
    assert not auto_shutdown(mode, significant=significant, by_itself=by_itself, others_alive=False)


def test_more_than_max_restarts_within_the_window_exhaust_a_budget() -> None:
    budget = RestartBudget(3, 30.0)

    assert [budget.record(now) for now in (0.0, 1.0, 2.0, 3.0)] == [False, False, False, True]


def test_restarts_older_than_the_window_do_not_count() -> None:
    budget = RestartBudget(1, 10.0)

    assert [budget.record(now) for now in (0.0, 10.5, 21.0)] == [False, False, False]


def test_a_restart_exactly_a_window_ago_counts_as_in_otp() -> None:
    budget = RestartBudget(1, 10.0)

    assert [budget.record(now) for now in (0.0, 10.0)] == [False, True]


def test_no_restarts_allowed_means_that_the_first_crash_exhausts() -> None:
    assert RestartBudget(0, 1.0).record(0.0) is True


def test_a_budget_that_is_cleared_is_new() -> None:
    budget = RestartBudget(1, 10.0)
    budget.record(0.0)
    assert budget.record(0.0)

    budget.clear()

    assert (budget.record(0.0), budget.used(0.0)) == (False, 1)


def test_a_budget_survives_a_restart_of_the_process() -> None:
    before, after = RestartBudget(2, 10.0), RestartBudget(2, 10.0)
    before.record(100.0)
    before.record(104.0)

    after.load(before.dump(105.0), 1.0, 4.0)  # They are now 9 and 5 seconds old.

    assert after.used(1.0) == 2
    assert after.used(2.5) == 1
    assert after.record(1.0)


def test_a_clock_set_back_makes_no_restart_older_or_younger() -> None:
    before, after = RestartBudget(2, 10.0), RestartBudget(2, 10.0)
    before.record(100.0)

    after.load(before.dump(105.0), 1.0, -1e6)

    assert (after.used(6.0), after.used(6.5)) == (1, 0)


@pytest.mark.parametrize(("max_restarts", "window"), [(-1, 5.0), (1.5, 5.0), (3, 0.0), (3, "5")])
def test_a_wrong_budget_is_refused(max_restarts: Any, window: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        RestartBudget(max_restarts, window)


class BudgetAgainstOtp(RuleBasedStateMachine):
    """RestartBudget against `add_restart` of OTP's supervisor.erl, transcribed."""

    @initialize(most=st.integers(0, 4), window=st.sampled_from([1.0, 5.0]))
    def make(self, most: int, window: float) -> None:
        self.most, self.window, self.now = most, window, 0.0
        self.budget = RestartBudget(most, window)
        self.restarts: list[float] = []

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.5, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.restarts = [
            then for then in [self.now, *self.restarts] if self.now <= then + self.window
        ]
        assert self.budget.record(self.now) is (len(self.restarts) > self.most)

    @rule(elapsed=st.sampled_from([0.0, 0.5, 1.0]))
    def the_process_restarts(self, elapsed: float) -> None:
        state = self.budget.dump(self.now)
        self.now += elapsed
        self.budget = RestartBudget(self.most, self.window)
        self.budget.load(state, self.now, elapsed)


TestBudgetAgainstOtp = BudgetAgainstOtp.TestCase


def test_the_first_restart_is_at_once_and_the_next_ones_back_off() -> None:
    delay = RestartDelay(None, 30.0)

    assert [delay.next(0.0, 0.5) for _ in range(4)] == [0.0, 0.05, 0.1, 0.2]


def test_a_backoff_of_its_own_holds_from_the_first_restart() -> None:
    delay = RestartDelay(Exponential(1.0, jitter="none"), 30.0)

    assert [delay.next(0.0, 0.0) for _ in range(3)] == [1.0, 2.0, 4.0]


def test_a_quiet_window_starts_the_count_anew() -> None:
    delay = RestartDelay(None, 30.0)
    for _ in range(5):
        delay.next(0.0, 0.5)

    assert delay.next(31.0, 0.5) == 0.0


def test_the_wait_for_a_restart_is_no_quiet_time() -> None:
    delay = RestartDelay(Exponential(20.0, max=60.0, jitter="none"), 30.0)

    assert delay.next(0.0, 0.0) == 20.0
    assert delay.next(20.0, 0.0) == 40.0
    assert delay.next(60.0, 0.0) == 60.0  # Up for no time at all, though 40 s have passed.
    assert delay.next(150.5, 0.0) == 20.0  # Up since 120 s.


def test_delays_go_on_after_a_restart_of_the_process() -> None:
    before, after = RestartDelay(None, 30.0), RestartDelay(None, 30.0)
    for _ in range(3):
        before.next(100.0, 0.5)

    after.load(before.dump(101.0), 5.0, 2.0)

    assert after.next(5.0, 0.5) == 0.2
    assert after.next(50.0, 0.5) == 0.0


ids = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])


@st.composite
def crashes(draw: st.DrawFn) -> tuple[list[str], str, set[str]]:
    children = draw(ids)
    temporary = draw(st.sets(st.sampled_from(children)))
    return children, draw(st.sampled_from(children)), temporary


@given(strategies, crashes())
def test_stop_order_is_the_reverse_of_start_order(
    strategy: Any, crash: tuple[Sequence[str], str, set[str]]
) -> None:
    children, failed, temporary = crash

    stop, start = affected(strategy, children, failed, temporary)

    assert list(stop) == sorted(stop, key=children.index, reverse=True)
    assert list(start) == sorted(start, key=children.index)


@given(strategies, crashes())
def test_who_is_stopped_is_started_again_unless_temporary(
    strategy: Any, crash: tuple[Sequence[str], str, set[str]]
) -> None:
    children, failed, temporary = crash

    stop, start = affected(strategy, children, failed, temporary)

    assert failed not in stop
    assert not temporary & set(start)
    if failed not in temporary:
        assert set(start) == (set(stop) | {failed}) - temporary


@given(crashes())
def test_rest_for_one_leaves_those_started_before_alone(
    crash: tuple[Sequence[str], str, set[str]],
) -> None:
    children, failed, temporary = crash

    stop, start = affected("rest_for_one", children, failed, temporary)

    assert not {*stop, *start} & set(children[: children.index(failed)])


@given(
    st.lists(st.floats(0, 100), max_size=30),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.1, 60),
)
def test_a_restart_delay_is_never_negative_nor_above_30_seconds(
    steps: list[float], draw: float, window: float
) -> None:
    delay, now = RestartDelay(None, window), 0.0

    for step in steps:
        now += step
        seconds = delay.next(now, draw)
        assert 0 <= seconds <= 30.0
        now += seconds
