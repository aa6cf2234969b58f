"""Write the golden files of this release: what its stores look like in the middle of things.

    python -m tests.golden.write [--replace]

The clock stands still and ids are counted, so that a second writing differs in nothing that
matters. Files that are there stay as they are: they are the memory of the releases that wrote
them. Before a release they may be written anew, by --replace.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorflow import (
    ActorSystem,
    Fixed,
    JsonLinesSink,
    JsonLinesSource,
    Retry,
    StageError,
)
from actorflow.cli.replay import give_back
from actorflow.core.letters import render_traceback
from actorflow.durability.sqlite import SqliteStore
from actorflow.durability.sqlite_schema import STEPS
from actorflow.durability.store import DeadQuery, Session
from actorflow.errors import StoreError
from actorflow.runtime.ports import VIRTUAL_EPOCH
from actorflow.wire.snapshot import VERSION
from tests.golden.shop import (
    BODIES,
    FLOWS,
    Box,
    Colour,
    Door,
    Generous,
    Order,
    Starter,
    Teller,
    Till,
)

__all__ = ["CURRENT", "FILES", "LINES", "SUMS", "digest", "golden", "kept"]

FILES = Path(__file__).parent / "files"

#: The digest of every file, so that one that was changed by mistake is found.
SUMS = FILES / "sums.txt"

#: Version of the schema and of the format of cuts.
CURRENT = f"{len(STEPS)}.{VERSION}"

#: The input of "lines": two of them are no JSON.
LINES = "".join(
    "no JSON\n" if number in (5, 33) else f'{{"n": {number}, "text": "Grüße"}}\n'
    for number in range(40)
)

#: Other runs and lives begin when the one before was left: seconds on the clock.
BETWEEN = 60.0


def golden(name: str, version: str = CURRENT) -> str:
    """Name of a golden file: ``runs.db`` of that version."""
    stem, dot, ending = name.partition(".")
    return f"{stem}-{version}{dot}{ending}"


class Store(SqliteStore):
    """A store that is called in the loop, whose sessions are told apart by number alone."""

    blocking = False
    _sessions = 0

    def open(self, session: Session) -> None:
        Store._sessions += 1
        number = Store._sessions.to_bytes(16, "big")
        super().open(attrs.evolve(session, id=number, host="golden", pid=Store._sessions))


async def still() -> None:
    """Return when nothing moves any more."""
    await wait_all_tasks_blocked(0.002)


async def left(
    store: Store,
    name: str,
    *steps: Callable[[Any], Awaitable[Any]],
    source: Any = None,
    freed: trio.Event | None = None,
    **options: Any,
) -> None:
    """Have run *name* fed and work as far as a closed door lets it; then its process dies."""
    options = {"deps": Door(open=False), "seed": 1, "tune": False, **options}
    flow = FLOWS[name]
    async with flow.open(store=store, run_id=name, **options) as run, trio.open_nursery() as beside:
        for step in steps:
            await step(run)
            await still()
        if source is not None:
            beside.start_soon(run.feed_from, source)
        await still()
        await run._keeper.settled()
        store.die()
        if freed is not None:
            freed.set()
        run.cancel()
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(BETWEEN)


class Stuck(JsonLinesSink):
    """Writes the first value; the others wait until it is freed, which is too late."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.freed = trio.Event()
        self._taken = False

    async def write(self, values: Any) -> None:
        if self._taken:
            await self.freed.wait()
        self._taken = True
        await super().write(values)


# The runs ---------------------------------------------------------------------------------


async def write_runs(url: str) -> None:
    def store() -> Store:
        return Store(url)

    await left(store(), "bodies", feed_bodies, results="store")
    await left(store(), "late", fed(1, 2))
    sink = JsonLinesSink("pieces.jsonl")
    await left(store(), "pieces", fed(10, 20), sink=sink, ordered=True, results="store")
    stuck = Stuck("way-out.jsonl")
    more = fed(Order("out"), (2, 3), ids=[Colour.BLUE, "pair"])
    await left(store(), "way-out", fed(1), more, freed=stuck.freed, sink=stuck)
    await left(store(), "joined", fed(1, 2))
    await left(store(), "batched", fed(1, 2, 3))
    await left(store(), "steps", fed(1))
    await left(store(), "walk", fed(0), sink=JsonLinesSink("walk.jsonl"))
    await left(store(), "sequence", source=range(50, 60))
    await left(store(), "in-hand", source=Generous())
    orders = fed(["ann", 1], ["ann", 2], ["bob", 1])
    for name in ("keyed", "circuit"):
        await left(store(), name, orders, results="store")
    await left(store(), "rate", fed(["bob", 1], ["bob", 2]), results="store")
    await left(store(), "suspect", fed(1, 2, 3))
    for _ in range(3):
        await left(store(), "suspect")
    await write_ended(store)
    sink, source = JsonLinesSink("output.jsonl"), JsonLinesSource("lines.jsonl")
    await left(store(), "lines", source=source, sink=sink, results="store")


def fed(*items: Any, **options: Any) -> Callable[[Any], Awaitable[Any]]:
    """Feeds a run."""
    return lambda run: run.feed(list(items), **options)


async def feed_bodies(run: Any) -> None:
    """Every body with its name as id, at three priorities; then one by its number."""
    for index, (name, body) in enumerate(BODIES.items()):
        await run.feed([body], ids=[name], priority=50 + index % 3 * 50)
    await run.feed(["by number"])


async def write_ended(store: Callable[[], Store]) -> None:
    """A run that was drained, one that has finished, one that has failed, one of letters."""
    closed: dict[str, Any] = {"deps": Door(open=False), "seed": 1, "tune": False}
    async with FLOWS["parked"].open(store=store(), run_id="parked", **closed) as run:
        await run.feed([1, 2, 3])
        await still()
        await run.drain(timeout=0)
    await FLOWS["finished"].run(
        range(6), store=store(), run_id="finished", results="store", **closed
    )
    try:
        await FLOWS["failed"].run([2, 4, 5, 6, 8], store=store(), run_id="failed", **closed)
    except StageError as error:
        print("as it should be:", error)
    tools = store()
    tools.open(Session(b"", "", 0))
    with mock.patch("time.time", return_value=VIRTUAL_EPOCH):
        give_back(tools, FLOWS["finished"], DeadQuery(run="finished", id="3"))
    tools.close()


# The system -------------------------------------------------------------------------------


async def write_system(url: str) -> None:
    store = Store(url)
    with contextlib.suppress(StoreError):  # That the store has died is what it ends with.
        await live_system(store)


async def live_system(store: Store) -> None:
    async with ActorSystem("shop", store=store, seed=1, tune=False) as system:
        till = await system.spawn(
            Till(cents=1000, last=list(BODIES.values())),
            name="till",
            durable=True,
            max_restarts=2,
            window=1e6,
            capacity=8,
            isolation="copy",
        )
        await till.tell(Order("wind up"))
        stash = await system.spawn(Box(), name="stash", durable=True)
        for each in ("a", Order("b"), ("c",)):
            await stash.tell(each)
        await stash.tell("refuse")
        mail = await system.spawn(Box(shut=False), name="mail", durable=True)
        await mail.tell("door")
        for name in ("starter", "starter too"):
            await system.spawn(Starter(to=mail), name=name, durable=True)
        for priority, each in ((100, "a"), (50, Order("first")), (100, ("c",))):
            await mail.tell(each, priority=priority, headers={"at": (priority, Colour.RED)})
        await write_patient(system)
        teller = await system.spawn(Teller(till=till), name="teller", durable=True)
        for cents in (1, 2):
            await teller.tell(cents)
        crashed = await system.spawn(
            Till(cents=7), name="crashed", durable=True, max_restarts=0, window=1e6
        )
        await crashed.tell("crash")
        await still()
        await system.settled()
        store.die()
        system.cancel()
        await system.stop()


async def write_patient(system: ActorSystem) -> None:
    """An actor that waits for a retry; with policies, so it comes back when it is spawned."""
    patient = await system.spawn(
        Box(shut=False), name="patient", durable=True, policies=[Retry(3, backoff=Fixed(3600))]
    )
    await patient.tell("refuse")
    await still()


# ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Let neither chance nor anything of this machine into the files."""

    def rendered(error: BaseException) -> str:
        return re.sub(r'File ".*/', 'File "', render_traceback(error))

    with (
        mock.patch("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch("trio._core._run._r", random.Random(1)),
        mock.patch("actorflow.durability.sqlite.boot_id", return_value="golden"),
        mock.patch("actorflow.flows.ledger.render_traceback", rendered),
        mock.patch("actorflow.runtime.kernel.render_traceback", rendered),
    ):
        yield


async def write_all() -> None:
    await write_runs("runs.db")
    await write_system("system.db")


def main(*args: str) -> int:
    there = [each.name for each in kept() if each.stem.endswith(f"-{CURRENT}")]
    if there and "--replace" not in args:
        print("these are there already; --replace writes them anew:", *there, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), repeatable():
        Path("lines.jsonl").write_text(LINES, encoding="utf-8")
        trio.run(write_all, clock=MockClock())
        with open("output.jsonl", "a", encoding="utf-8") as output:
            output.write('{"n": 99, "torn')  # No checkpoint knows of it.
        FILES.mkdir(exist_ok=True)
        for each in Path(folder).iterdir():
            if each.suffix in (".db", ".jsonl"):
                shutil.copyfile(each, FILES / golden(each.name))
    SUMS.write_text("".join(f"{digest(each)}  {each.name}\n" for each in kept()))
    print(SUMS.read_text(), end="")
    return 0


def kept() -> list[Path]:
    """The golden files of all releases."""
    return sorted(each for each in FILES.glob("*-*") if each != SUMS)


def digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
