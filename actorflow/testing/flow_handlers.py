"""The handlers that generated flows are made of.

A value says what was done to it: stage ``b`` makes ``b(a(7))`` of ``a(7)``, so that two values
that are equal have gone the same way. What a handler does depends on the name of its stage and
the value alone, so that a plain function can say what comes out; see `flow_plain`.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Any

import trio

from actorflow.graph.nodes import Send
from actorflow.policies.backoff import Fixed
from actorflow.policies.retry import Retry
from actorflow.runtime.turn import Turn

__all__ = [
    "AGAIN",
    "LATER",
    "Broken",
    "Unlucky",
    "by_value",
    "failing",
    "flaky",
    "gather",
    "heads",
    "lot",
    "mark",
    "odd_or_even",
    "remote",
    "several",
    "slow",
    "some",
    "threaded",
]


class Unlucky(Exception):
    """The first attempt has failed; the next one does not."""


class Broken(Exception):
    """Every attempt fails."""


#: Tries again at once whatever is not `Broken`: crashes, timeouts, bad luck.
AGAIN = Retry(20, backoff=Fixed(0.0), never_on=(Broken,))

#: The same, a second later, ahead of the others.
LATER = Retry(20, backoff=Fixed(1.0), never_on=(Broken,), position="head")


def lot(name: str, value: Any, sides: int) -> int:
    """A number below *sides* for this name and value: the same one every time."""
    return zlib.crc32(f"{name} {value}".encode()) % sides


async def mark(value: Any, ctx: Turn) -> str:
    """Say where it was."""
    return f"{ctx.stage}({value})"


def threaded(value: Any, ctx: Turn) -> str:
    """The same, in a thread."""
    return f"{ctx.stage}({value})"


def remote(value: Any) -> str:
    """The same in a worker process, which does not know the name of its stage."""
    return f"remote({value})"


async def slow(value: Any, ctx: Turn) -> str:
    """The same after a wait, of up to 0.3 s."""
    await trio.sleep(lot(ctx.stage, value, 4) / 10)
    return f"{ctx.stage}({value})"


async def several(value: Any, ctx: Turn) -> AsyncIterator[str]:
    """None to three of one."""
    for index in range(lot(ctx.stage, value, 4)):
        await trio.lowlevel.checkpoint()
        yield f"{ctx.stage}{index}({value})"


async def some(value: Any, ctx: Turn) -> Any:
    """Every fourth is skipped."""
    await trio.lowlevel.checkpoint()
    if not lot(ctx.stage, value, 4):
        return ctx.skip()
    return f"{ctx.stage}({value})"


async def flaky(value: Any, ctx: Turn) -> str:
    """Every other fails at first."""
    await trio.lowlevel.checkpoint()
    if ctx.attempt == 1 and not lot(ctx.stage, value, 2):
        raise Unlucky(value)
    return f"{ctx.stage}({value})"


async def failing(value: Any, ctx: Turn) -> str:
    """Every sixth fails for good."""
    await trio.lowlevel.checkpoint()
    if not lot(ctx.stage, value, 6):
        raise Broken(value)
    return f"{ctx.stage}({value})"


async def gather(values: list[Any], ctx: Turn) -> AsyncIterator[str]:
    """A batch, of which each value goes on by itself."""
    await trio.lowlevel.checkpoint()
    for value in values:
        yield f"{ctx.stage}({value})"


async def odd_or_even(value: Any, ctx: Turn) -> Send:
    """One of two ways."""
    side = "odd" if lot(ctx.stage, value, 2) else "even"
    return Send(side, f"{ctx.stage}({value})")


def heads(value: Any) -> bool:
    """Whether the value goes along an edge: every other does."""
    return not lot("heads", value, 2)


def by_value(value: Any) -> str:
    """One of three keys."""
    return str(lot("key", value, 3))
