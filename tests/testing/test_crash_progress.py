"""How far `crash_points` has come is told now and then, and at the end."""

from __future__ import annotations

import io
import sys
from typing import Any

import attrs
import pytest

from actorflow.testing import CrashProgress, World, crash_points
from actorflow.testing.progress import EVERY, Teller, on_terminal
from tests.testing import systems


async def dying(world: World) -> None:
    """Is wrong in its second life."""
    await systems.linear(world)
    assert world.life == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_the_last_update_has_all_points_and_violations(processes: int) -> None:
    told: list[CrashProgress] = []

    report = crash_points(dying, steps=12, processes=processes, progress=told.append)

    last = told[-1]
    assert (last.explored, last.points) == (12, 12)
    assert last.violations == len(report.violations) > 0
    assert [each.explored for each in told] == sorted({each.explored for each in told})


def test_updates_are_bounded_in_time() -> None:
    told: list[CrashProgress] = []
    now = 0.0
    teller = Teller(1_000, told.append, lambda: now)
    for _ in range(1_000):
        now += EVERY / 10
        teller.went(1, 0)

    assert 90 <= len(told) <= 101
    assert told[-1].explored == 1_000
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told[-1].points = 3  # type: ignore[misc]


def test_an_update_reads_as_a_line() -> None:
    progress = CrashProgress(explored=1_200, points=2_000, violations=1, seconds=3.4)

    assert str(progress) == "crash points: 1,200 of 2,000, 1 violations, 3 s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_by_default_a_terminal_shows_one_line_that_ends_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    teller = Teller(2, None, iter([0.0, 1.0, 2.0]).__next__)
    teller.went(1, 0)
    teller.went(1, 1)

    assert terminal.getvalue() == (
        "\rcrash points: 1 of 2, 0 violations, 1 s\x1b[K"
        "\rcrash points: 2 of 2, 1 violations, 2 s\x1b[K\n"
    )


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_what_is_no_terminal_shows_nothing(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)

    assert on_terminal() is None
    crash_points(systems.linear, steps=1).check()
    assert stream is None or stream.getvalue() == ""
