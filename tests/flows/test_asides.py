"""Stages whose values come to no exit: what fails there is no fault of its item."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Graph, Report, stage


@stage
async def split(value: int) -> int:
    return value


@stage
async def round_and_round(value: int) -> int:
    raise ValueError(value)


@stage
async def out(value: int) -> int:
    return value


def is_first(value: int) -> bool:
    return value == 1


@pytest.mark.parametrize(("when", "done", "skipped"), [(None, 2, 0), (is_first, 1, 1)])
async def test_what_dies_where_nobody_waits_is_no_fault_of_its_item(
    when: Any, done: int, skipped: int
) -> None:
    """Be that one of several pieces of the item, or all that there is of it."""
    graph = Graph("aside").add(split, round_and_round, out)
    graph = graph.connect("split", "round_and_round")
    graph = graph.connect("round_and_round", "round_and_round", feedback=True, max_depth=2)
    report: Report = await graph.connect("split", "out", when=when).run([1, 2])

    assert report.counts == {"fed": 2, "done": done, "skipped": skipped, "dead": 0, "held": 0}
    assert sorted(each.item for each in report.dead) == [0, 1]
    assert {each.stage_or_actor for each in report.dead} == {"round_and_round"}
