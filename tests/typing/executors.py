"""Never run: a type checker reads here what executors and futures keep of a function's types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import assert_type

from actorflow import Executor, Future, Retry


async def fetch(url: str, *, limit: int = 10) -> bytes:
    return url.encode()[:limit]


def parse(page: bytes) -> list[int]:
    return list(page)


class Parser:
    async def __call__(self, page: bytes) -> int:
        return len(page)


async def main() -> None:
    async with Executor(2, policies=[Retry(3)], timeout=5, runs_in="thread") as executor:
        assert_type(executor, Executor)
        page = await executor.submit(fetch, "http://a", limit=5)
        assert_type(page, Future[bytes])
        assert_type(await page.result(timeout=1), bytes)
        assert_type(await page.exception(), Exception | None)
        assert_type(await executor.submit(parse, b""), Future[list[int]])
        assert_type(await executor.submit(Parser(), b""), Future[int])
        assert_type(await executor.submit(partial(fetch, "http://a")), Future[bytes])
        assert_type(await executor.map(fetch, ["http://a"]), list[bytes])
        assert_type(await executor.map(parse, [b""]), list[list[int]])
        found = await executor.map(fetch, ["http://a"], return_exceptions=True)
        assert_type(found, list[bytes | Exception])
        assert_type(executor.map_iter(parse, [b""]), AsyncIterator[list[int]])
        assert_type(executor.as_completed([page]), AsyncIterator[Future[bytes]])
        done, pending = await executor.wait({page}, return_when="first_completed", timeout=1)
        assert_type(done, set[Future[bytes]])
        assert_type(pending, set[Future[bytes]])
        await executor.submit(fetch)  # type: ignore[call-overload]
        await executor.submit(fetch, 3)  # type: ignore[call-overload]
        await executor.submit(fetch, "http://a", retries=3)  # type: ignore[call-arg]
        await executor.wait([page], return_when="any")  # type: ignore[arg-type]
