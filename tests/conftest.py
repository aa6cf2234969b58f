"""No test may hang: an async one fails after a deadline, any other ends the test run.

A deadline in a test with `autojump_clock` is virtual, so a deadlock is found at once.
A whole module gets that clock by ``usefixtures("autojump_clock")``.
"""

from __future__ import annotations

import faulthandler
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

#: Seconds of real time for an async test, and of virtual time for one with `autojump_clock`.
REAL_SECONDS = 60
VIRTUAL_SECONDS = 100_000

#: Seconds after which a test that no deadline can end takes the whole run with it, and shows where.
HARD_SECONDS = int(os.environ.get("HARD_SECONDS", "120"))

_stderr: list[int] = []


def pytest_configure() -> None:
    _stderr.append(os.dup(2))  # Before pytest captures it.


def pytest_unconfigure() -> None:
    os.close(_stderr.pop())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            virtual = "autojump_clock" in item.fixturenames
            item.obj = bounded(item.obj, VIRTUAL_SECONDS if virtual else REAL_SECONDS)
            if virtual:  # pytest-trio looks for the clock among the arguments only.
                item.add_marker(pytest.mark.trio(run=jumping), append=False)


def bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Any]:
    """*test* under a deadline."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(seconds):
            await test(*args, **kwargs)

    return run


def jumping(main: Callable[[], Any], *, clock: Any = None, **options: Any) -> Any:
    """`trio.run` with a clock that jumps."""
    return trio.run(main, clock=clock or MockClock(autojump_threshold=0), **options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    seconds = HARD_SECONDS if item.get_closest_marker("slow") is None else 10 * HARD_SECONDS
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr[0])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
