"""A crawler over a small site: a graph with a way back, each page once, three links deep.

    python examples/crawler.py

Output:
    0  /             Home
    1  /actors       Actors
    1  /flows        Flows
    2  /actors/mail  Mail
    2  /flows/loops  Loops
    3  /archive      Archive
    not found: /flows/gone, after 2 attempts
    1 item fed, 6 pages kept
"""

from collections.abc import AsyncIterator

import trio

from actorflow import Fixed, Graph, Retry, Turn, message, stage

#: Title and links of each page.
SITE = {
    "/": ("Home", ["/actors", "/flows"]),
    "/actors": ("Actors", ["/", "/actors/mail"]),
    "/actors/mail": ("Mail", ["/actors", "/archive"]),
    "/flows": ("Flows", ["/", "/actors", "/flows/loops", "/flows/gone"]),
    "/flows/loops": ("Loops", ["/flows", "/flows/loops", "/archive"]),
    "/archive": ("Archive", ["/", "/archive/old"]),
    "/archive/old": ("Old", ["/archive"]),
}


@message
class Page:
    url: str
    title: str
    links: list[str]
    depth: int


@stage(workers=4, policies=[Retry(2, backoff=Fixed(0.01))], timeout=5)
async def fetch(url: str, ctx: Turn) -> Page:
    await trio.sleep(0.001)  # Where a real one asks the network.
    if url not in SITE:
        raise LookupError(url)
    title, links = SITE[url]
    return Page(url, title, links, ctx.metadata.get("depth", 0))


async def links(page: Page) -> AsyncIterator[str]:
    for url in page.links:
        yield url


async def keep(page: Page) -> Page:
    return page


crawl: Graph[str, Page] = Graph("crawl").add(fetch, links, keep)
crawl.connect(fetch, links).connect(fetch, keep)
crawl.connect(links, fetch, feedback=True, dedupe=lambda url: url, max_depth=3)


async def main() -> None:
    pages: list[Page] = []
    report = await crawl.run(["/"], sink=pages.append)
    for page in sorted(pages, key=lambda page: (page.depth, page.url)):
        print(f"{page.depth}  {page.url:12}  {page.title}")
    for letter in report.dead:
        print(f"not found: {letter.error}, after {letter.attempts} attempts")
    print(f"{report.counts['fed']} item fed, {len(pages)} pages kept")


if __name__ == "__main__":
    trio.run(main)
