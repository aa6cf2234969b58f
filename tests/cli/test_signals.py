"""What each signal asks for, after each that may have come before."""

from __future__ import annotations

from signal import SIGINT, SIGTERM

import pytest

from actorflow.cli.signals import Ask, asked


@pytest.mark.parametrize(
    ("before", "number", "wanted"),
    [
        (Ask.NOTHING, SIGTERM, Ask.DRAIN),
        (Ask.DRAIN, SIGTERM, Ask.STOP),
        (Ask.STOP, SIGTERM, Ask.EXIT),
        (Ask.NOTHING, SIGINT, Ask.STOP),
        (Ask.DRAIN, SIGINT, Ask.STOP),
        (Ask.STOP, SIGINT, Ask.EXIT),
    ],
)
def test_each_signal_asks_for_more_than_the_one_before(
    before: Ask, number: int, wanted: Ask
) -> None:
    assert asked(before, number) is wanted


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_nothing_is_asked_beyond_an_exit(number: int) -> None:
    assert asked(Ask.EXIT, number) is Ask.EXIT
