"""What is true of every RateLimit there can be, in exact arithmetic."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actorflow.policies import Admit, RateLimit, RateLimitMachine, Wait
from actorflow.policies.ratelimit import SLACK

#: Exact, plus the rounding of clock readings as great as those that the tests use.
NEAR = Fraction(SLACK) + Fraction(1, 10**9)

limits = st.builds(
    RateLimit,
    st.floats(1e-3, 1e4) | st.integers(1, 1000) | st.sampled_from([0.5, 1 / 3, 0.1, 7.7]),
    per=st.sampled_from([1.0, 60.0, 0.1, 1 / 7]) | st.floats(0.01, 100),
    burst=st.integers(1, 20),
)


def machine_of(policy: RateLimit) -> RateLimitMachine:
    machine = policy.machine()
    assert isinstance(machine, RateLimitMachine)
    return machine


def interval_of(policy: RateLimit) -> Fraction:
    return Fraction(policy.per) / Fraction(policy.rate)


@st.composite
def arrivals(draw: st.DrawFn, policy: RateLimit) -> list[float]:
    """Times in order, many of them at, just before or just after a multiple of the interval."""
    interval = policy.per / policy.rate
    near = st.sampled_from([0.0, 0.5, 0.999999, 1.0, 1.000001, 2.0, 30.0])
    steps = near | st.floats(0, 3)
    now = draw(st.sampled_from([0.0, 1.0, 1e3, 1e6]) | st.floats(0, 1e6))
    times = []
    for step in draw(st.lists(steps, max_size=80)):
        now += step * interval
        times.append(now)
    return times


@given(st.data(), limits)
def test_no_window_admits_more_than_burst_and_its_length_allow(
    data: st.DataObject, policy: RateLimit
) -> None:
    machine = machine_of(policy)
    admitted = [each for each in data.draw(arrivals(policy)) if machine.swift(each)]

    interval = interval_of(policy)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            length = Fraction(admitted[last]) - Fraction(start)
            assert last - first + 1 <= policy.burst + (length + NEAR) / interval


@given(st.data(), limits)
def test_who_is_told_to_wait_is_admitted_then_and_not_sooner(
    data: st.DataObject, policy: RateLimit
) -> None:
    machine = machine_of(policy)

    for now in data.draw(arrivals(policy)):
        answer = machine.ready(now, None)
        assert machine.swift(now) is isinstance(answer, Admit)
        if isinstance(answer, Wait):
            assert answer.seconds is not None
            assert now < now + answer.seconds
            assert isinstance(machine.ready(now + answer.seconds * 0.99, None), Wait) or (
                answer.seconds < 1e-6
            )
            assert isinstance(machine.ready(now + answer.seconds + 1e-9, None), Admit)


@given(st.data(), limits)
def test_to_ask_or_to_be_refused_changes_nothing(data: st.DataObject, policy: RateLimit) -> None:
    asked, left = machine_of(policy), machine_of(policy)

    for now in data.draw(arrivals(policy)):
        for _ in range(3):
            asked.ready(now, None)
            if isinstance(asked.ready(now, None), Wait):
                assert not asked.swift(now)
        asked.dump(now)
        assert asked.swift(now) is left.swift(now)


@given(
    st.sampled_from([1.0, 3.0, 7.0, 10.0, 1 / 3, 0.1, 0.7, 50.0, 1e-3])
    | st.floats(1e-3, 1e5, allow_subnormal=False),
    st.sampled_from([0.0, 12_345.678]),
)
def test_a_steady_caller_gets_the_full_rate(rate: float, start: float) -> None:
    machine = machine_of(RateLimit(rate))

    assert all(machine.swift(start + number / rate) for number in range(2_000))


@given(st.sampled_from([3.0, 7.0, 10.0, 0.1, 1.1, 49.9]), st.sampled_from([0.0, 0.1, 12_345.678]))
def test_a_steady_caller_is_not_turned_away_for_how_its_clock_rounds(
    rate: float, start: float
) -> None:
    machine = machine_of(RateLimit(rate))
    interval = 1 / rate

    assert all(machine.swift(start + number * interval) for number in range(2_000))


def test_a_hundred_thousand_takes_do_not_drift() -> None:
    for rate in (3, 7, 10, 0.1, 1 / 3, 49.9):
        machine = machine_of(RateLimit(rate))

        assert all(machine.swift(number / rate) for number in range(100_000))
        assert not machine.swift((99_999 + 0.999) / rate)


def test_who_waits_as_told_a_hundred_thousand_times_is_neither_late_nor_early() -> None:
    for rate, burst in ((7, 1), (1 / 3, 5), (0.1, 1)):
        machine, now = machine_of(RateLimit(rate, burst=burst)), 0.0
        for _ in range(100_000 + burst):
            answer = machine.ready(now, None)
            if isinstance(answer, Wait):
                assert answer.seconds is not None
                now += answer.seconds
            assert machine.swift(now)

        exact = 100_000 / rate
        assert abs(now - exact) <= 1e-12 * exact + SLACK


@given(st.data(), limits, st.floats(0, 100))
def test_a_limit_that_was_stored_goes_on_as_if_it_had_not_been(
    data: st.DataObject, policy: RateLimit, elapsed: float
) -> None:
    """Stored, and restored on a clock that starts anew, *elapsed* seconds later."""
    kept, restored = machine_of(policy), machine_of(policy)
    now = 0.0
    for now in data.draw(arrivals(policy)):
        kept.swift(now)

    restored.load(kept.dump(now), 5.0, elapsed)

    left, right = kept.meter.wait(now + elapsed), restored.meter.wait(5.0)
    assert abs(left - right) <= 1e-6


class MeterAgainstFractions(RuleBasedStateMachine):
    """The machine against GCRA as it is in the book, in exact fractions."""

    @initialize(policy=limits, start=st.sampled_from([0.0, 1e3, 1e6]))
    def make(self, policy: RateLimit, start: float) -> None:
        self.policy, self.now = policy, start
        self.machine = machine_of(policy)
        self.arrival = Fraction(-(10**12))
        self.interval = interval_of(policy)

    def wait(self) -> Fraction:
        due = self.arrival - (self.policy.burst - 1) * self.interval
        return due - Fraction(self.now)

    def taken(self) -> None:
        self.arrival = max(Fraction(self.now), self.arrival) + self.interval

    @rule(share=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]) | st.floats(0, 5))
    def time_passes(self, share: float) -> None:
        self.now += share * self.policy.per / self.policy.rate

    @rule()
    def wait_as_told(self) -> None:
        answer = self.machine.ready(self.now, None)
        if isinstance(answer, Wait):
            assert answer.seconds is not None
            self.now += answer.seconds

    @rule(times=st.integers(1, 8))
    def ask_and_take(self, times: int) -> None:
        for _ in range(times):
            wait = self.wait()
            answer = self.machine.ready(self.now, None)
            if isinstance(answer, Admit):
                assert wait <= NEAR
                self.machine.take(self.now, None)
                self.taken()
            else:
                assert isinstance(answer, Wait)
                assert answer.seconds is not None
                assert abs(Fraction(answer.seconds) - wait) <= NEAR + wait / 10**9

    @rule()
    def take_without_asking(self) -> None:
        self.machine.take(self.now, None)
        self.taken()

    @precondition(lambda self: self.arrival > self.now)
    @rule()
    def owes_what_the_model_owes(self) -> None:
        owed = self.arrival - Fraction(self.now)
        assert abs(Fraction(self.machine.meter.remaining(self.now)) - owed) <= NEAR + owed / 10**9


TestMeterAgainstFractions = MeterAgainstFractions.TestCase
