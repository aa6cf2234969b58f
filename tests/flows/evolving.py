"""Programs that follow each other, and what a run of one may hold when the next goes on with it.

program     one message class in three versions, or without it, always by the same tag
scene       a place where such a message is when its program ends
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorflow import Fixed, Pipeline, Retry, Turn, message, stage, upcast
from actorflow.wire.registry import REGISTRY
from tests.flows.flowing import Boom, Gate, pipeline
from tests.flows.lives import Slow, TapeSink, fed_and_killed

__all__ = [
    "FAULTS",
    "SCENES",
    "TAG",
    "Program",
    "Scene",
    "Store",
    "Stuck",
    "closed",
    "killed",
    "passing",
    "show",
]

TAG = "tests.evolving.order"

_FIELDS: dict[int, dict[str, Any]] = {
    1: {"item": str, "price": float},
    2: {"item": str, "cents": int},
    3: {"item": str, "cents": int, "currency": str},
}

#: How the next program differs, and what it then says of an order of version 2.
FAULTS = {
    "unknown": f'unknown tag {TAG!r}; add: actorflow.register(order, "{TAG}")',
    "newer": f"version 2 of {TAG!r} is newer than ours (1); run the program that wrote it",
    "no way up": (
        f'no way up from version 2 of {TAG!r}; add a function with: @actorflow.upcast("{TAG}", 2)'
    ),
}


class Program:
    """The registry, as one program after the other has it; after the test as it was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("by_class", "by_tag", "_upcasters"):
            monkeypatch.setattr(REGISTRY, name, dict(getattr(REGISTRY, name)))

    def order(self, version: int, *, upcasters: bool = True) -> Any:
        """Begin a program in which orders have this version; answers their class."""
        self.forget()
        if upcasters:
            upcast(TAG, 1)(to_cents)
            upcast(TAG, 2)(with_currency)
        return message(tag=TAG, version=version)(
            type("Order", (), {"__annotations__": _FIELDS[version], "__module__": __name__})
        )

    def forget(self) -> None:
        """Begin a program that has no orders."""
        REGISTRY.by_tag.pop(TAG, None)
        for version in (1, 2):
            REGISTRY._upcasters.pop((TAG, version), None)

    def fail(self, fault: str) -> None:
        """Begin a program that cannot read orders of version 2, for one of the `FAULTS`."""
        match fault:
            case "unknown":
                self.forget()
            case "newer":
                self.order(1)
            case "no way up":
                self.order(3, upcasters=False)


def to_cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"item": fields["item"], "cents": round(fields["price"] * 100)}


def with_currency(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "currency": "EUR"}


# Scenes -----------------------------------------------------------------------------------

#: Gives a store per life, all with the same disk.
Store = Callable[[], Any]


async def show(value: Any, ctx: Turn) -> Any:
    """The order that the item carries beside it, or the item itself."""
    return ctx.metadata.get("order", value)


async def closed(value: Any) -> Any:
    await trio.sleep_forever()


@attrs.frozen
class Scene:
    """A place where an item may be. Beside the order there are three plain items in the run.

    Attributes:
        leave: A life that leaves the run so.
        flow: What goes on with it.
        place: Where the order is then.
        sourced: Whether the next life reads on.
    """

    leave: Callable[[Store, Any], Awaitable[None]]
    flow: Pipeline[Any, Any]
    place: str = "a"
    sourced: bool = False


def passing(handler: Any = show, **options: Any) -> Pipeline[Any, Any]:
    return pipeline([stage(handler, name="a", **options)], name="f")


async def waiting(disk: Store, order: Any) -> None:
    await fed_and_killed(passing(closed), disk(), [1, order, 2, 3])


async def leased(disk: Store, order: Any) -> None:
    await fed_and_killed(passing(closed), disk(), [order, 1, 2, 3])


AGAIN = [Retry(3, backoff=Fixed(100))]


async def retrying(disk: Store, order: Any) -> None:
    async def fail(value: Any) -> Any:
        raise Boom

    flow = passing(fail, policies=AGAIN, workers=4)
    await fed_and_killed(flow, disk(), [1, order, 2, 3])


async def nested(disk: Store, order: Any) -> None:
    await fed_and_killed(passing(closed), disk(), [1, {"orders": [order]}, 2, 3])


async def split(value: Any) -> AsyncIterator[Any]:
    yield 1
    yield value
    yield 2


def pieces(handler: Any) -> Pipeline[Any, Any]:
    return pipeline([split, stage(handler, name="a")], name="f")


async def in_pieces(disk: Store, order: Any) -> None:
    gate = Gate()
    await fed_and_killed(pieces(gate), disk(), [order], until=lambda: gate.inside == [1])


def marking(handler: Any) -> Pipeline[Any, Any]:
    async def mark(value: Any, ctx: Turn) -> Any:
        if type(value) is not int:
            ctx.metadata["order"] = value
            return 0
        return value

    return pipeline([mark, stage(handler, name="a", workers=4)], name="f")


async def beside(disk: Store, order: Any) -> None:
    gate = Gate()
    items = [1, order, 2, 3]
    await fed_and_killed(marking(gate), disk(), items, until=lambda: len(gate.inside) == 4)


async def in_hand(disk: Store, order: Any) -> None:
    store = disk()
    items: list[Any] = [1, 2, order, 3]
    flow = passing(closed, capacity=1)
    async with flow.open(store=store, run_id="run") as run, trio.open_nursery() as nursery:
        nursery.start_soon(run.feed_from, Slow(items))
        await wait_all_tasks_blocked(0.02)
        await run._keeper.settled()  # type: ignore[union-attr]
        store.die()
        run.cancel()


class Stuck(TapeSink):
    """A sink that takes nothing before its store is dead."""

    def __init__(self) -> None:
        super().__init__([])
        self.free = trio.Event()

    async def write(self, values: Any) -> None:
        await self.free.wait()


async def on_its_way_out(disk: Store, order: Any) -> None:
    store, sink = disk(), Stuck()
    async with passing().open(store=store, run_id="run", sink=sink) as run:
        await run.feed([1, order, 2, 3])
        await killed(run, store, sink)


async def killed(run: Any, store: Any, sink: Stuck) -> None:
    """End a life in which values have come out and none was written."""
    await wait_all_tasks_blocked(0.02)
    await run._keeper.settled()
    store.die()
    sink.free.set()
    run.cancel()


SCENES = {
    "waiting": Scene(waiting, passing()),
    "leased": Scene(leased, passing()),
    "retrying": Scene(retrying, passing(policies=AGAIN)),
    "nested": Scene(nested, passing()),
    "in pieces": Scene(in_pieces, pieces(show)),
    "beside": Scene(beside, marking(show)),
    "in hand": Scene(in_hand, passing(capacity=1), sourced=True),
    "on its way out": Scene(on_its_way_out, passing(), "results"),
}
