"""A pipeline over a flaky service: retries, a rate limit, dead letters with their reason.

    python examples/orders.py

Output:
    fed 6, done 5, dead 1
    totals: [12, 24, 36, 48, 60]
    order 6 failed in fetch after 3 attempts: ConnectionError('service is down')
"""

import trio

from actorflow import Fixed, ItemResult, Pipeline, RateLimit, Retry, Turn, stage


@stage(workers=4, policies=[Retry(3, backoff=Fixed(0.01)), RateLimit(1000, burst=10)], timeout=5)
async def fetch(order: int, ctx: Turn) -> dict[str, int]:
    await trio.sleep(0.001)
    if order == 6 or (order % 2 and ctx.attempt == 1):
        raise ConnectionError("service is down")
    return {"order": order, "price": 10 * order}


@stage(workers=2, runs_in="loop")
def add_tax(order: dict[str, int]) -> int:
    return order["price"] * 12 // 10


flow: Pipeline[int, int] = Pipeline([fetch, add_tax], name="orders")


async def main() -> None:
    totals: list[int] = []
    failures: list[ItemResult[int]] = []
    async with flow.open() as run:
        results = run.results()
        await run.feed(range(1, 7))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.finish)
            async for result in results:
                if result.ok:
                    totals.append(result.value)
                else:
                    failures.append(result)
        assert run.report is not None
        counts = run.report.counts
    print(f"fed {counts['fed']}, done {counts['done']}, dead {counts['dead']}")
    print(f"totals: {sorted(totals)}")
    for failed in failures:
        print(
            f"order {failed.number + 1} failed in {failed.stage} "
            f"after {failed.attempts} attempts: {failed.error!r}"
        )


if __name__ == "__main__":
    trio.run(main)
