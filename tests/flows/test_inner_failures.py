"""A mistake of ours on the way of a result fails the run at once, and no handler for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.lowlevel

from actorflow import Pipeline, Retry, Turn, stage
from actorflow.flows.ledger import Ledger, Outlet
from tests.flows.flowing import increment, pipeline


async def twice(value: int) -> AsyncIterator[int]:
    yield value
    yield value


async def skips(value: int, ctx: Turn) -> None:
    ctx.skip()


async def fails(value: int) -> None:
    raise ValueError(value)


class Mistake(Exception):
    pass


def breaks(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: int) -> None:
    """Let the *at*-th call of ``owner.name`` fail."""
    calls, inner = iter(range(1, 1000)), getattr(owner, name)

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise Mistake(name)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, broken)


@pytest.mark.parametrize("at", [1, 5])
@pytest.mark.parametrize(
    ("owner", "name", "handler"),
    [
        (Ledger, "_publish", increment),
        (Ledger, "_publish", twice),
        (Ledger, "_item_ended", increment),
        (Ledger, "_item_ended", skips),
        (Ledger, "_piece_gone", twice),
        (Ledger, "_letter", fails),
        (Ledger, "fork", twice),
        (Outlet, "put", twice),
    ],
)
async def test_a_mistake_on_the_way_of_a_result_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, handler: Any, at: int
) -> None:
    breaks(monkeypatch, owner, name, at)
    flow = pipeline([stage(handler, name="only", workers=2, policies=[Retry(3)])])
    if handler is fails:
        flow = pipeline([stage(fails, name="only")])

    with trio.fail_after(20), pytest.raises(Mistake, match=name):
        await taken(flow)


async def taken(flow: Pipeline[Any, Any]) -> None:
    async with flow.stream(range(20)) as results:
        async for _ in results:
            pass


async def test_a_mistake_never_cancels_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch, Ledger, "_item_ended", 1)

    with trio.fail_after(20), pytest.raises(Mistake):
        await fed_and_finished(pipeline([increment]))


async def fed_and_finished(flow: Pipeline[Any, Any]) -> None:
    async with flow.open() as run:
        await run.feed([1])
        await run.over.wait()
        await trio.lowlevel.checkpoint()
        assert run.failed
        await run.finish()
