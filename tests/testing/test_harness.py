"""A StageHarness: one stage as it runs in a flow, and what it has written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actorflow import (
    ConfigurationError,
    Context,
    Fixed,
    Retry,
    StageError,
    Turn,
    UndeclaredKey,
    stage,
)
from actorflow.testing import StageHarness

pytestmark = pytest.mark.usefixtures("autojump_clock")


@stage(reads=["sku"], writes=["price", "currency"])
async def price(data: Context) -> dict[str, Any]:
    return {"price": 3, "currency": "EUR"}


async def test_a_stage_gives_its_value() -> None:
    async def double(number: int) -> int:
        return 2 * number

    async with StageHarness(double) as harness:
        assert await harness.run(4) == 8
    assert await StageHarness(stage(double, name="twice")).run(5) == 10


async def test_its_policies_are_in_force_and_its_error_is_told() -> None:
    attempts: list[int] = []

    @stage(policies=[Retry(3, backoff=Fixed(60.0))])
    async def fetch(url: str, ctx: Turn) -> str:
        attempts.append(ctx.attempt)
        raise OSError(url)

    with pytest.raises(StageError) as failed:
        await StageHarness(fetch).run("http://")

    assert attempts == [1, 2, 3]
    assert failed.value.attempts == 3
    assert isinstance(failed.value.__cause__, OSError)


async def test_all_values_of_a_generator_and_none_of_a_skip() -> None:
    async def words(line: str, ctx: Turn) -> AsyncIterator[str]:
        for word in line.split():
            yield word

    @stage(skip_if=lambda line: not line)
    async def keep(line: str) -> str:
        return line

    assert await StageHarness(words).run_all("a b c") == ["a", "b", "c"]
    assert await StageHarness(keep).run_all("") == []
    with pytest.raises(StageError, match="gave 2 values"):
        await StageHarness(words).run("a b")


async def test_a_handler_finds_deps_and_metadata() -> None:
    async def ask(question: str, ctx: Turn) -> Any:
        return ctx.deps[question], ctx.metadata.get("who")

    harness = StageHarness(ask, deps={"how": "so"})

    assert await harness.run("how", metadata={"who": "me"}) == ("so", "me")


async def test_what_a_stage_writes_is_what_is_said() -> None:
    harness = StageHarness(price)
    before = Context({"sku": "tea", "currency": "EUR"})
    after = await harness.run(before)

    harness.assert_writes(before, after, ["price", "currency"])
    with pytest.raises(AssertionError) as wrong:
        harness.assert_writes(before, after, ["price", "stock"])
    assert str(wrong.value) == (
        "stage 'price' must write 'price', 'stock', but wrote 'currency': 'EUR' became 'EUR'; "
        "did not write 'stock'"
    )
    with pytest.raises(AssertionError) as nothing:
        harness.assert_writes({"sku": "tea", "old": 1}, {"sku": "tea", "new": None}, [])
    assert str(nothing.value) == (
        "stage 'price' must write nothing, but wrote 'new': None; wrote 'old': removed 1"
    )


@pytest.mark.parametrize(
    ("before", "after"), [({"n": 1}, {"n": True}), ({"n": 1}, {"n": 1.0}), ({}, {"n": None})]
)
def test_a_value_of_another_type_or_none_is_a_write(before: Any, after: Any) -> None:
    harness = StageHarness(price)

    harness.assert_writes(before, after, {"n"})
    with pytest.raises(AssertionError):
        harness.assert_writes(before, after, [])


def test_keys_may_be_of_any_type() -> None:
    after: Any = {1: 2, "a": 3}
    keys: Any = ["b", 4]
    with pytest.raises(AssertionError) as wrong:
        StageHarness(price).assert_writes({}, after, keys)
    assert str(wrong.value) == (
        "stage 'price' must write 'b', 4, but wrote 'a': 3; wrote 1: 2; "
        "did not write 'b'; did not write 4"
    )


async def test_a_stage_that_writes_what_it_does_not_declare_fails() -> None:
    @stage(writes=["price"])
    async def sloppy(data: Context) -> dict[str, Any]:
        return {"prize": 3}

    with pytest.raises(StageError) as failed:
        await StageHarness(sloppy).run({"sku": "tea"})

    assert isinstance(failed.value.__cause__, UndeclaredKey)


def test_what_cannot_be_is_said() -> None:
    harness = StageHarness(price)

    with pytest.raises(ConfigurationError, match="several, such as \\['price'\\]"):
        harness.assert_writes({}, {}, "price")
    with pytest.raises(ConfigurationError, match=r"assert_writes\(\) keys must be several"):
        harness.assert_writes({}, {}, 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"assert_writes\(\) after must be a mapping"):
        harness.assert_writes({}, 3, [])  # type: ignore[arg-type]
