"""What has failed in a run, in one value."""

from __future__ import annotations

import json
import pickle
from typing import Any

import attrs
import pytest

from actorflow import Fixed, Retry, stage
from actorflow.core.letters import DeadLetter
from actorflow.flows.faults import ERRORS_KEPT, Faults
from actorflow.flows.results import ErrorCount, ErrorSummary, FailedItem
from tests.flows.flowing import Boom, increment, pipeline


async def fetch(value: int) -> int:
    if value == 1:
        raise ValueError("no \x1b[31mroute")
    if value == 2:
        raise Boom("two")
    return value


async def parse(value: int) -> int:
    if value > 3:
        raise Boom(f"item {value}")
    return value


async def failing(count: int = 6) -> Any:
    nodes = [stage(fetch, policies=[Retry(2, backoff=Fixed(0), never_on=(Boom,))]), parse]
    async with pipeline(nodes).open() as run:
        await run.feed(range(count), ids=[f"i{number}" for number in range(count)])
        await run.finish()
        return run


async def test_failures_are_told_by_type_by_stage_and_one_by_one() -> None:
    errors = (await failing()).errors()

    assert errors.total == 4
    assert errors.by_type == {"Boom": 3, "ValueError": 1}
    assert errors.by_stage == {"fetch": 2, "parse": 2}
    assert errors.counts == (
        ErrorCount(stage="parse", type="Boom", count=2, example="item 4"),
        ErrorCount(stage="fetch", type="Boom", count=1, example="two"),
        ErrorCount(stage="fetch", type="ValueError", count=1, example="no \x1b[31mroute"),
    )
    told = {each.id: (each.stage, each.type, each.error, each.attempts) for each in errors.failed}
    assert told == {
        "i1": ("fetch", "ValueError", "no \x1b[31mroute", 2),
        "i2": ("fetch", "Boom", "two", 1),
        "i4": ("parse", "Boom", "item 4", 1),
        "i5": ("parse", "Boom", "item 5", 1),
    }
    assert all(each.at > 1.7e9 and each.reason == "failed" for each in errors.failed)


async def test_it_reads_as_words() -> None:
    run = await failing(3)

    assert sorted(str(run.errors()).splitlines()) == sorted(
        [
            "2 failed",
            "  by type   Boom 1, ValueError 1",
            "  by stage  fetch 2",
            "  1 x fetch: Boom: two",
            "  1 x fetch: ValueError: no  [31mroute",
            "  item 'i2' in fetch after 1 attempt: Boom: two",
            "  item 'i1' in fetch after 2 attempts: ValueError: no  [31mroute",
        ]
    )


async def test_nothing_may_have_failed() -> None:
    async with pipeline([increment]).open() as run:
        errors = run.errors()

    assert str(errors) == "nothing has failed"
    assert (errors.total, len(errors), list(errors), errors.failed) == (0, 0, [], ())


async def test_as_a_sequence_it_is_its_counts() -> None:
    errors = (await failing()).errors()

    assert list(errors) == list(errors.counts)
    assert (len(errors), errors[0]) == (3, errors.counts[0])


async def test_only_the_last_failed_items_are_told_of() -> None:
    run = await failing()

    assert [each.id for each in run.errors(failed=2).failed] == [
        each.id for each in run.errors().failed
    ][-2:]
    assert run.errors(failed=0).failed == ()
    assert run.errors(failed=0).total == 4


async def test_it_cannot_be_changed() -> None:
    errors = (await failing()).errors()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        errors.total = 0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        errors.failed[0].id = 0
    for mapping in (errors.by_type, errors.by_stage):
        with pytest.raises(TypeError, match="cannot be changed"):
            mapping["Boom"] = 0
        for verb in ("clear", "popitem", "update", "pop", "setdefault"):
            with pytest.raises(TypeError, match="cannot be changed"):
                getattr(mapping, verb)("Boom")


async def test_figures_of_a_run_cannot_be_changed_but_copied() -> None:
    run = await failing()
    stats, report = run.stats(), run.report
    assert report is not None

    for mapping in (stats.counts, stats.stages, report.counts, report.stages):
        with pytest.raises(TypeError, match="cannot be changed"):
            mapping["fed"] = 0
        with pytest.raises(TypeError, match="cannot be changed"):
            del mapping["fed"]
    with pytest.raises(TypeError, match="cannot be changed"):
        stats.counts |= {"fed": 0}
    assert json.loads(json.dumps(stats.counts)) == dict(stats.counts) == stats.counts
    assert pickle.loads(pickle.dumps(stats.counts)) == stats.counts


def letter(number: int, error: BaseException | None = None) -> DeadLetter:
    return DeadLetter(
        id=number, body=None, stage_or_actor=f"s{number}", reason="expired", error=error
    )


def test_errors_of_too_many_kinds_are_counted_together() -> None:
    faults = Faults()
    for number in range(ERRORS_KEPT + 7):
        faults.add(letter(number))

    summary = faults.summary([letter(0)], ERRORS_KEPT + 7, 10)

    assert summary.counts[0] == ErrorCount(stage="*", type="others", count=7, example="expired")
    assert summary.by_type == {"expired": ERRORS_KEPT, "others": 7}
    assert summary.failed == (
        FailedItem(
            id=0, stage="s0", type="expired", error="expired", reason="expired", attempts=0, at=0.0
        ),
    )
    assert str(summary).endswith("  item 0 in s0 after 0 attempts: expired")


def test_what_was_counted_before_goes_on() -> None:
    before, after = Faults(), Faults()
    before.add(letter(1, Boom("x")))

    after.load(before.dump())
    after.add(letter(1, Boom("y")))

    assert after.counts() == (ErrorCount(stage="s1", type="Boom", count=2, example="x"),)


def test_a_summary_is_a_value() -> None:
    given: dict[str, Any] = {"total": 0, "by_type": {}, "by_stage": {}, "counts": (), "failed": ()}
    assert ErrorSummary(**given) == ErrorSummary(**given)
