"""Handlers that a worker process can import."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actorflow import Failed, stage
from tests.flows.flowing import Boom


@stage(runs_in="process")
def decorated(value: int) -> int:
    return value * 2


@stage(runs_in="process", workers=2)
def process_of(value: int) -> int:
    return os.getpid()


@stage(runs_in="process")
def up_to(value: int) -> Iterator[int]:
    yield from range(value)


@stage(runs_in="process", unpack=True)
def added(left: int, right: int) -> int:
    return left + right


@stage(runs_in="process", unpack=True)
def between(first: int, last: int) -> Iterator[int]:
    yield from range(first, last)


def scaled(factor: int, value: int) -> int:
    return factor * value


class Nested:
    @staticmethod
    @stage(runs_in="process")
    def inside(value: int) -> int:
        return value + 100


class NeedsTwo(Exception):
    """Can be pickled, but not be made again from that."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.second = second
        self.lock = threading.Lock()


class Worded(Exception):
    """Its text is made of what it is given, so that made twice it has another."""

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}")


def raises(kind: str) -> Any:
    """Fail in the way that *kind* names; anything else comes back."""
    if kind == "plain":
        raise KeyError("plain")
    if kind == "caused":
        try:
            raise NeedsTwo("a", "b")
        except NeedsTwo as error:
            raise ValueError("caused") from error
    if kind == "unpicklable":
        needs = NeedsTwo("salt", "pepper")
        needs.add_note("of the kitchen")
        raise needs
    if kind == "worded":
        raise Worded("salt")
    if kind == "local":

        class Local(NeedsTwo):
            pass

        raise Local("salt", "pepper")
    if kind == "exit":
        sys.exit("bye")
    if kind == "interrupt":
        raise KeyboardInterrupt
    return kind


def returns(kind: str) -> Any:
    """Give what cannot be sent back, in the way that *kind* names."""
    if kind == "lock":
        return threading.Lock()
    if kind == "half":
        return Half()
    return kind


class Half:
    """Can be pickled, but not be made again from that."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("no way back")


async def never_awaited(value: int) -> int:
    return value


def gives_coroutine(value: int) -> Any:
    return never_awaited(value)


def dies_once(marker: str) -> str:
    """Kill the process that works on it, the first time."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os._exit(3)
    return path.name


def dies_if_negative(value: int) -> int:
    if value < 0:
        os._exit(3)
    return value


def hangs_if_negative(value: int) -> int:
    if value < 0:
        time.sleep(600)
    return value


def _plain(value: int) -> int:
    return -value


@stage(runs_in="process", name="shadowed")
def _shadowed(value: int) -> int:
    return value


#: Looks like `_plain` and is something else.
def impostor(value: int) -> int:
    return value


impostor.__qualname__ = "_plain"


def own_process(value: int) -> int:
    return os.getpid()


def with_turn(value: int, ctx: Any) -> int:
    return value


@stage(runs_in="process")
def broken_pages(value: int) -> Iterator[Any]:
    for page in range(value):
        yield Failed(Boom(f"page {page}")) if page % 2 else page


def scaled_by_two(value: int) -> int:
    return value * 2


#: What `noted` was called with.
NOTED: list[Any] = []


async def noted(value: Any) -> Any:
    NOTED.append(value)
    return value


def refilled(_: Any) -> Iterator[list[int]]:
    """Yields one list again and again."""
    row: list[int] = []
    for number in range(3):
        row[:] = [number]
        yield row
