"""Case 8: a cache.

Of equal calls at the same time one runs. An entry is found by what the function *is*, the version
of its stage and what it declares to read, so that nothing else gets in the way and no other
function answers. And what is remembered is bounded.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actorflow import Cache, Context, Send, stage
from tests.flows.flowing import Boom, pipeline
from tests.stages.handlers import NOTED, noted

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Slow:
    """A call that takes a second, and how often it was made."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def __call__(self, value: Any) -> Any:
        self.made.append(value)
        await trio.sleep(1)
        return value


# One flight -----------------------------------------------------------------------------


async def test_of_ten_equal_calls_at_the_same_time_one_runs() -> None:
    slow = Slow()
    flow = pipeline([stage(slow, workers=10, policies=[Cache(60)])])

    values = await flow.map([7] * 10)

    assert values == [7] * 10
    assert slow.made == [7]
    assert trio.current_time() == 1


async def test_of_equal_calls_of_several_runs_one_runs() -> None:
    slow = Slow()
    flow = pipeline([stage(slow, name="slow", policies=[Cache(60)])])

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(flow.map, [7])

    assert slow.made == [7]


async def test_if_the_one_that_runs_fails_the_next_one_runs() -> None:
    tries: list[int] = []

    async def fails_first(value: int) -> int:
        tries.append(value)
        await trio.sleep(1)
        if len(tries) == 1:
            raise Boom
        return value

    flow = pipeline([stage(fails_first, workers=5, policies=[Cache(60)])])
    found = await flow.map([7] * 5, return_exceptions=True)

    assert len(tries) == 2
    assert [type(each) for each in found].count(int) == 4


# The key --------------------------------------------------------------------------------


def priced(factor: int) -> Any:
    """Functions of one name that do different things."""

    async def price(value: int) -> int:
        return value * factor

    return price


async def test_two_functions_of_one_name_never_answer_for_each_other() -> None:
    one = pipeline([stage(priced(2), policies=[Cache(60)])])
    other = pipeline([stage(priced(3), policies=[Cache(60)])])

    assert [await flow.invoke(10) for flow in (one, other, one, other)] == [20, 30, 20, 30]


async def test_another_version_of_a_stage_asks_anew() -> None:
    NOTED.clear()
    for version in (1, 2, 1):
        declared = stage(noted, version=version, policies=[Cache(60)])
        assert await pipeline([declared]).map(["a"]) == ["a"]

    assert len(NOTED) >= 2


async def test_keys_of_a_context_that_are_not_read_do_not_matter() -> None:
    calls: list[str] = []

    @stage(reads=["sku"], writes=["price"], policies=[Cache(60)])
    async def price(context: Context) -> dict[str, Any]:
        calls.append(context["sku"])
        return {"price": len(context["sku"])}

    found = await pipeline([price]).map([{"sku": "abc", "request": each} for each in range(5)])

    assert calls == ["abc"]
    assert [dict(each) for each in found] == [
        {"sku": "abc", "request": each, "price": 3} for each in range(5)
    ]


async def test_types_of_equal_values_are_told_apart() -> None:
    slow = Slow()
    flow = pipeline([stage(slow, policies=[Cache(60)])])

    values = await flow.map([1, 1.0, True, "1", b"1", [1], (1,)])

    assert [type(each) for each in values] == [int, float, bool, str, bytes, list, tuple]
    assert len(slow.made) == 7


async def test_a_stage_before_a_route_is_cached_with_where_it_sends() -> None:
    calls: list[int] = []

    async def choose(value: int) -> Send:
        calls.append(value)
        return Send("odd", value + 1) if value % 2 else Send("even")

    async def odd(value: int) -> str:
        return f"odd {value}"

    async def even(value: int) -> str:
        return f"even {value}"

    flow = pipeline([stage(choose, policies=[Cache(60)]), {"odd": odd, "even": even}])

    assert await flow.map([1, 1, 2, 2]) == ["odd 2", "odd 2", "even 2", "even 2"]
    assert calls == [1, 2]


async def test_of_contexts_a_hit_sends_each_item_with_all_that_is_its_own() -> None:
    calls: list[int] = []

    @stage(reads=["total"], writes=["rank"], policies=[Cache(60)])
    async def rank(order: Context) -> Send:
        calls.append(order["total"])
        return Send("gold", {"rank": 1}) if order["total"] > 10 else Send("tin")

    async def same(order: Context) -> Context:
        return order

    gold, tin = stage(same, name="gold"), stage(same, name="tin")
    flow = pipeline([rank, {"gold": gold, "tin": tin}])
    found = await flow.map([{"total": total, "id": each} for each in (1, 2) for total in (5, 20)])

    assert calls == [5, 20]
    assert [dict(each) for each in found] == [
        {"total": 5, "id": 1},
        {"total": 20, "id": 1, "rank": 1},
        {"total": 5, "id": 2},
        {"total": 20, "id": 2, "rank": 1},
    ]


# Bounds ---------------------------------------------------------------------------------


async def test_no_more_entries_are_kept_than_that_and_the_one_not_asked_for_longest_goes() -> None:
    slow = Slow()
    flow = pipeline([stage(slow, name="slow", policies=[Cache(600, max_entries=2)])])

    for value in (1, 2, 1, 3, 1, 2):
        await flow.invoke(value)

    assert slow.made == [1, 2, 3, 2]


async def test_an_entry_is_good_for_its_time_and_no_longer(autojump_clock: MockClock) -> None:
    slow = Slow()
    flow = pipeline([stage(slow, name="slow", policies=[Cache(10)])])

    for pause in (0, 8, 8):
        await trio.sleep(pause)
        await flow.invoke(1)

    assert slow.made == [1, 1]


async def test_of_five_thousand_keys_the_last_hundred_are_known() -> None:
    async def same(value: int) -> int:
        return value

    made: list[int] = []

    async def counts(value: int) -> int:
        made.append(value)
        return value

    flow = pipeline([same, stage(counts, policies=[Cache(1e6, max_entries=100)])])
    await flow.run(range(5_000))
    made.clear()
    await flow.run(range(4_900, 5_000))
    assert made == []
    await flow.run(range(100))
    assert made == list(range(100))
