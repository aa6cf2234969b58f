"""Backoffs, path by path, and what is true of every one of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import ConfigurationError
from actorflow.policies import Exponential, Fixed, Retry

attempts = st.integers(1, 10**6)
draws = st.floats(0, 1, exclude_max=True)


@st.composite
def exponentials(draw: st.DrawFn) -> Exponential:
    initial = draw(st.floats(1e-6, 1e3))
    return Exponential(
        initial,
        factor=draw(st.floats(1, 100) | st.integers(1, 100)),
        max=draw(st.floats(initial, 1e6)),
        jitter=draw(st.sampled_from(["full", "none"])),
    )


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0)])
def test_without_jitter_the_wait_doubles_up_to_the_limit(attempt: int, delay: float) -> None:
    assert Exponential(1.0, max=5.0, jitter="none").delay(attempt, 0.0) == delay


def test_full_jitter_is_the_drawn_share_of_the_cap() -> None:
    assert Exponential(1.0).delay(3, 0.25) == 1.0


def test_fixed_waits_the_same_after_every_attempt() -> None:
    assert [Fixed(2.5).delay(attempt, 0.9) for attempt in (1, 2, 1000)] == [2.5, 2.5, 2.5]


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Exponential() == Exponential(0.1, factor=2.0, max=30.0, jitter="full")


def test_a_limit_below_the_first_wait_names_both() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Exponential(5.0, max=1.0)

    assert str(caught.value) == "Exponential.max must be at least initial (5 s), got 1.0"


def test_a_number_for_a_backoff_says_what_to_write() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Retry(backoff=5)  # type: ignore[arg-type]

    assert str(caught.value) == (
        "Retry.backoff must be a backoff such as Exponential() or Fixed(5), got 5"
    )


@pytest.mark.parametrize("backoff", [Fixed, Exponential, "fixed", object()])
def test_what_has_no_delay_of_its_own_is_no_backoff(backoff: object) -> None:
    with pytest.raises(ConfigurationError, match=r"Retry\.backoff must be a backoff"):
        Retry(backoff=backoff)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial": 0},
        {"initial": -1.0},
        {"initial": float("nan")},
        {"factor": 0.5},
        {"factor": float("inf")},
        {"max": float("inf")},
        {"jitter": "half"},
        {"initial": True},
        {"initial": "1"},
    ],
)
def test_a_wrong_option_is_refused_when_declared(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=rf"Exponential\.{next(iter(wrong))} must be"):
        Exponential(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5", None])
def test_fixed_refuses_what_is_no_time(seconds: object) -> None:
    with pytest.raises(ConfigurationError, match=r"Fixed\.seconds must be a number of seconds"):
        Fixed(seconds)  # type: ignore[arg-type]


@given(exponentials(), attempts, draws)
def test_wait_is_never_negative_and_never_above_the_limit(
    backoff: Exponential, attempt: int, draw: float
) -> None:
    assert 0 <= backoff.delay(attempt, draw) <= backoff.max


@given(exponentials(), attempts, draws)
def test_a_later_attempt_never_waits_less(backoff: Exponential, attempt: int, draw: float) -> None:
    assert backoff.delay(attempt + 1, draw) >= backoff.delay(attempt, draw)


@given(exponentials(), attempts, draws)
def test_the_same_facts_give_the_same_wait(backoff: Exponential, attempt: int, draw: float) -> None:
    assert backoff.delay(attempt, draw) == backoff.delay(attempt, draw)


@given(st.floats(1.01, 1e300) | st.integers(2, 10**9))
def test_a_million_attempts_do_not_overflow(factor: float) -> None:
    assert Exponential(0.1, factor=factor, jitter="none").delay(10**6, 0.0) == 30.0
