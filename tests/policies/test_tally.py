"""The three ways to count failures, each against a list of all outcomes."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from actorflow.policies.tally import SLICES, Recent, Share, Streak, Tally

Outcomes = list[tuple[float, bool]]


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    """Outcomes in the order of time; steps hit window edges as well as their neighbourhood."""
    steps = st.sampled_from([0.0, 0.25, 0.5, 1.0, 5.0, 10.0]) | st.floats(0, 12)
    now = draw(st.floats(-10, 1e5))
    found = []
    for step, ok in draw(st.lists(st.tuples(steps, st.booleans()), max_size=60)):
        now += step
        found.append((now, ok))
    return found


thresholds = st.integers(1, 6)


@given(thresholds, outcomes())
def test_streak_is_at_its_limit_after_so_many_failures_in_a_row(
    threshold: int, given_outcomes: Outcomes
) -> None:
    tally = Streak(threshold)
    row = 0

    for now, ok in given_outcomes:
        row = 0 if ok else row + 1
        assert tally.count(now, ok) is (row >= threshold)


@given(thresholds, outcomes())
def test_recent_is_at_its_limit_when_the_window_holds_so_many_failures(
    threshold: int, given_outcomes: Outcomes
) -> None:
    tally = Recent(threshold, 10.0)
    failures: list[float] = []

    for now, ok in given_outcomes:
        answer = tally.count(now, ok)
        if not ok:
            failures.append(now)
            assert answer is (sum(now - each <= 10.0 for each in failures) >= threshold)
        else:
            assert answer is False


@given(thresholds, st.floats(0.01, 1.0), outcomes())
def test_share_is_at_its_limit_when_so_great_a_share_of_enough_calls_failed(
    least: int, rate: float, given_outcomes: Outcomes
) -> None:
    tally = Share(least, 10.0, rate)
    calls: list[tuple[int, bool]] = []

    for now, ok in given_outcomes:
        answer = tally.count(now, ok)
        here = int(now // (10.0 / SLICES))
        calls.append((here, ok))
        within = [good for place, good in calls if place > here - SLICES]
        share = within.count(False) / len(within)
        assert answer is (len(within) >= least and share >= rate)


def test_a_share_is_exact_where_a_product_is_not() -> None:
    tally = Share(100, 10.0, 0.07)

    answers = [tally.count(0.0, ok) for ok in [True] * 93 + [False] * 7]

    assert answers == [False] * 99 + [True]


def test_a_success_can_be_the_call_that_makes_the_share_count() -> None:
    tally = Share(3, 10.0, 0.5)

    assert [tally.count(0.0, ok) for ok in (False, False, True)] == [False, False, True]


def test_share_keeps_as_many_numbers_for_a_million_calls_as_for_a_few() -> None:
    tally = Share(5, 10.0, 1.0)

    for number in range(10_000):
        tally.count(number * 0.01, True)

    assert len(tally.dump(100.0)) <= SLICES


def test_recent_keeps_as_many_times_as_it_takes_to_decide() -> None:
    tally = Recent(3, 1.0)

    for number in range(1_000):
        tally.count(number * 0.9, False)

    assert len(tally.dump(900.0)) == 3


Maker = Callable[[], Tally]
makers: list[Maker] = [lambda: Streak(4), lambda: Recent(4, 10.0), lambda: Share(4, 10.0, 0.5)]
tallies = st.sampled_from(makers)
#: Quarter seconds are exact in binary, so that being stored rounds nothing.
quarters = st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=40)


@given(tallies, quarters, quarters, st.integers(0, 40))
def test_a_tally_that_was_stored_counts_on_as_if_it_had_not_been(
    make: Maker, before: list[tuple[int, bool]], after: list[tuple[int, bool]], elapsed: int
) -> None:
    kept, restored = make(), make()
    now = 1000.0
    for step, ok in before:
        now += step / 4
        if kept.count(now, ok):
            kept.clear()

    state = kept.dump(now)
    now += elapsed / 4
    restored.load(state, now, elapsed / 4)

    for step, ok in after:
        now += step / 4
        assert restored.count(now, ok) is kept.count(now, ok)


@given(tallies, outcomes())
def test_a_cleared_tally_is_as_good_as_new(make: Maker, before: Outcomes) -> None:
    tally, new = make(), make()
    for now, ok in before:
        tally.count(now, ok)

    tally.clear()

    assert tally.quiet(0.0)
    assert tally.dump(0.0) == new.dump(0.0)


@given(tallies, outcomes())
def test_a_quiet_tally_decides_like_a_new_one(make: Maker, before: Outcomes) -> None:
    tally, new = make(), make()
    now = 0.0
    for now, ok in before:
        tally.count(now, ok)

    if tally.quiet(now + 9.0):
        for _ in range(5):
            assert tally.count(now + 9.0, False) is new.count(now + 9.0, False)
