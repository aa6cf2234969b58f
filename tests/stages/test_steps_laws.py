"""What is true of all `Steps`: they do what a plain loop over the functions would do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actorflow import Fixed, Report, Retry, Steps, Turn, stage
from tests.flows.flowing import Boom, pipeline


@attrs.frozen
class Recipe:
    """One step, as data.

    Attributes:
        fails: How often it fails first, for values that it picks.
        skips: Whether it skips values that it picks.
        crash: Whether failing is crashing.
        spoils: Whether it changes the list it got before it fails.
    """

    fails: int
    skips: bool
    crash: bool
    spoils: bool
    waits: bool


Trace = dict[int, list[tuple[int, int]]]

recipes = st.builds(
    Recipe,
    fails=st.integers(0, 3),
    skips=st.sampled_from([False, False, False, True]),
    crash=st.booleans(),
    spoils=st.booleans(),
    waits=st.booleans(),
)


def picks(recipe: Recipe, place: int, number: int) -> bool:
    return (number + place) % 3 == 0


def plain_loop(
    given: list[Recipe], retry: str, attempts: int, number: int
) -> tuple[str, list[int], list[tuple[int, int]]]:
    """How an item ends, its value, and which step ran in which attempt."""
    trace: list[tuple[int, int]] = []
    calls: Counter[int] = Counter()
    value, place, attempt = [number], 0, 1
    while place < len(given):
        recipe = given[place]
        calls[place] += 1
        trace.append((place, attempt))
        if picks(recipe, place, number) and calls[place] <= recipe.fails:
            if attempt >= attempts:
                return "failed", value, trace
            attempt += 1
            if retry == "stage":
                value, place = [number], 0
            continue
        value = [*value, place]
        if recipe.skips and picks(recipe, place, number):
            return "skipped", value, trace
        place += 1
        if retry == "step":
            attempt = 1
    return "done", value, trace


def make_step(recipe: Recipe, place: int, calls: Counter[Any], trace: Trace) -> Callable[..., Any]:
    async def step(value: list[int], ctx: Turn) -> list[int]:
        number = value[0]
        calls[place, number] += 1
        trace[number].append((place, ctx.attempt))
        if recipe.waits:
            await trio.sleep(1)
        value.append(place)
        if picks(recipe, place, number) and calls[place, number] <= recipe.fails:
            if recipe.spoils:
                value.clear()
            raise SystemExit if recipe.crash else Boom
        if recipe.skips and picks(recipe, place, number):
            ctx.skip()
        return value

    step.__name__ = f"step{place}"
    return step


@settings(max_examples=60, deadline=None)
@given(
    st.lists(recipes, min_size=1, max_size=4),
    st.sampled_from(["step", "stage"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
)
def test_steps_do_what_a_plain_loop_does(
    made: list[Recipe], retry: Any, attempts: int, workers: int, limited: bool
) -> None:
    calls: Counter[Any] = Counter()
    trace: Trace = defaultdict(list)
    steps = Steps(
        *(make_step(recipe, place, calls, trace) for place, recipe in enumerate(made)),
        retry=retry,
        limits={"step0": 1} if limited else None,
    )
    policy = Retry(attempts, backoff=Fixed(5))
    flow = pipeline([stage(steps, workers=workers, policies=[policy])])
    numbers = range(7)
    statuses: dict[int, str] = {}
    values: dict[int, Any] = {}

    async def main() -> Report:
        async with flow.open() as run:
            results = run.results()
            await run.feed([[number] for number in numbers])
            for _ in numbers:
                found = await anext(results)
                statuses[found.number], values[found.number] = found.status, found.value
                assert found.metadata == {}
            return await run.finish()

    report = trio.run(main, clock=MockClock(autojump_threshold=0))

    for number in numbers:
        status, value, expected = plain_loop(made, retry, attempts, number)
        assert statuses[number] == status
        assert trace[number] == expected
        if status == "done":
            assert values[number] == value
    if attempts > 1:  # With one attempt nothing is packed, so a handler may change the letter.
        letters = sorted(report.dead, key=lambda each: each.id)
        dead = [number for number in numbers if statuses[number] == "failed"]
        assert [letter.body for letter in letters] == [[number] for number in dead]
