"""Nothing is lost or doubled, however often the process is killed; see `tests.torture`."""

from __future__ import annotations

import pytest

from tests.torture import Tally, torture


def check(tally: Tally, kills: int) -> None:
    print(tally)
    assert tally.faults == []
    assert (tally.lost, tally.doubled) == (0, 0)
    assert tally.kills >= kills
    assert tally.acknowledged > 0


def test_a_few_kills() -> None:
    check(torture(5, seed=1), 5)


@pytest.mark.slow
def test_two_hundred_kills() -> None:
    check(torture(200, seed=2), 200)


@pytest.mark.slow
def test_stops_and_takeovers() -> None:
    tally = torture(20, seed=3, stops=True)

    check(tally, 20)
    assert tally.stops > 0
