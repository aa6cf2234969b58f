"""What the golden files hold: bodies of every kind, flows and actors. Theirs for ever.

Files in `files` name these classes by their tags, these flows by their versions and these
stages by their names. So nothing here is changed or taken away; what is new is added.

A closed door (``ctx.deps``, `DOORS`) is where the files were left: handlers hang at it.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
import zoneinfo
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import attrs
import trio

from actorflow import (
    Actor,
    ActorRef,
    Batch,
    CircuitBreaker,
    Context,
    Deadline,
    Fixed,
    Graph,
    Parallel,
    Pipeline,
    RateLimit,
    Retry,
    Steps,
    Turn,
    actor,
    message,
    register,
    stage,
)

# Bodies -----------------------------------------------------------------------------------


@message(tag="tests.golden.order")
class Order:
    item: str
    count: int = 1
    more: Any = None


@attrs.define
class Crate:
    label: str
    orders: list[Any] = attrs.Factory(list)


@dataclasses.dataclass
class Page:
    url: str
    links: dict[str, Any] = dataclasses.field(default_factory=dict)


class Point(NamedTuple):
    x: int
    y: float


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Right(enum.Flag):
    READ = 1
    WRITE = 2
    OWN = 4


class Model:
    """What a pydantic model looks like from outside."""

    model_config: dict[str, Any] = {}  # noqa: RUF012
    model_fields: dict[str, Any] = {  # noqa: RUF012
        "name": None,
        "size": type("FieldInfo", (), {"validation_alias": "Size"})(),
    }

    def __init__(self, *, name: str, Size: int) -> None:
        self.name = name
        self.size = Size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and (self.name, self.size) == (other.name, other.size)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        return cls(**value)


for _cls in (Crate, Page, Point, Colour, Right, Model):
    register(_cls, f"tests.golden.{_cls.__name__.lower()}")

_BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
_NAMED = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30), "NST")
_DAY = datetime.datetime(2024, 10, 27, 2, 30, 0, 1)

#: Every type that may be in a body, by a name that is the id of its item.
BODIES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "small": -1,
    "64 bits": 2**64 - 1,
    "-64 bits": -(2**63),
    "big": 2**64,
    "-big": -(10**30),
    "float": 0.1,
    "-0": -0.0,
    "inf": float("inf"),
    "nan": float("nan"),
    "str": "",
    "text": "Grüße \x00 \U0001f600",
    "long": "x" * 300,
    "bytes": b"\x00\xff",
    "list": [1, [2.5, ["three", None]]],
    "dict": {"a": 1, 2: "b", None: 3, True: 4, (5, "c"): {}, b"d": []},
    "tuple": (1, (2, ()), [3]),
    "set": {3, 1, 2},
    "frozenset": frozenset({"a", (1, 2), frozenset()}),
    "decimal": decimal.Decimal("1.50"),
    "decimal -0": decimal.Decimal("-0E+3"),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "datetime": _DAY,
    "datetime utc": _DAY.replace(tzinfo=datetime.UTC),
    "datetime named": _DAY.replace(tzinfo=_NAMED),
    "datetime zone": _DAY.replace(tzinfo=_BERLIN, fold=1),
    "date": datetime.date(1, 12, 31),
    "time": datetime.time(23, 59, 59, 999_999, tzinfo=datetime.UTC),
    "timedelta": datetime.timedelta(days=-1, microseconds=1),
    "path": pathlib.PurePosixPath("a/ü"),
    "windows path": pathlib.PureWindowsPath("C:/a"),
    "message": Order("tea", 2, more=(Order("milk"), {"sugar": decimal.Decimal(0)})),
    "attrs": Crate("x", [Order("tea"), Colour.RED]),
    "dataclass": Page("http://x", {"next": Page("http://y")}),
    "named tuple": Point(1, 2.0),
    "enum": Colour.BLUE,
    "flag": Right.READ | Right.OWN,
    "model": Model(name="m", Size=3),
    "reference": ActorRef("/shop/till"),
    "context": Context({"a": 1, "rows": [1, [Order("x")]]}).fork("f").set("b", Order("y")),
    "nested": {"all": [(Point(0, 0.0), {Colour.RED: Right.WRITE}), {Order("a"), Point(1, 1.0)}]},
}

# Flows ------------------------------------------------------------------------------------


@message(tag="tests.golden.door")
class Door:
    """What handlers hang at unless it is open."""

    open: bool


async def at_door(door: Door) -> None:
    if not door.open:
        await trio.sleep_forever()


class Refused(Exception):
    """What a handler says to what it does not take."""


async def at_once(value: Any) -> Any:
    return Order("at once", value)


async def in_time(value: Any, ctx: Turn) -> Any:
    await at_door(ctx.deps)
    return Order("in time", value)


async def not_three(value: int, ctx: Turn) -> int:
    if value == 3:
        await at_door(ctx.deps)
    return value


async def total(values: list[int]) -> int:
    return sum(values)


async def weigh(value: int, ctx: Turn) -> Order:
    return Order("weighed", value, ctx.deps)


async def wrap(value: Order, ctx: Turn) -> Order:
    if not ctx.deps.open:
        raise Refused("later")
    return value


async def visit(page: int, ctx: Turn) -> AsyncIterator[int]:
    """Every page links to the next two; there are seven."""
    if page >= 3:
        await at_door(ctx.deps)
    for link in (page + 1, page + 2):
        if link < 7:
            yield link


class Generous:
    """A source of orders that gives more than is asked for, as one that reads blocks may."""

    name = "generous"
    replayable = True
    total = None

    def __init__(self) -> None:
        self.orders = [Order(str(number)) for number in range(10)]
        self.index = 0

    async def pull(self, most: int) -> list[Order]:
        await trio.lowlevel.checkpoint()
        given = self.orders[self.index : self.index + most + 3]
        self.index += len(given)
        return given

    def cursor(self) -> int:
        return self.index

    async def seek(self, cursor: int, run: str) -> None:
        await trio.lowlevel.checkpoint()
        self.index = cursor

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def mark(value: Any, ctx: Turn) -> Any:
    ctx.metadata["marks"] = (Order("mark"), 1)
    return value


async def hold(value: Any, ctx: Turn) -> Any:
    await at_door(ctx.deps)
    return value


async def refuse(value: Any, ctx: Turn) -> Any:
    """Takes no odd numbers, and none above 9 while the door is closed."""
    if value % 2:
        raise Refused(f"{value} is odd")
    if value > 9:
        await at_door(ctx.deps)
    return value


async def split(value: int, ctx: Turn) -> AsyncIterator[Any]:
    """Gives four pieces; of 10 only two while the door is closed."""
    for index in range(4):
        if value == 10 and index == 2:
            await at_door(ctx.deps)
        yield Order("piece", value, index)


async def first_piece(value: Order, ctx: Turn) -> Order:
    """Passes the first piece of 10 and all of the others at a closed door."""
    if value.count == 10 and value.more:
        await at_door(ctx.deps)
    return value


async def first_lines(value: Any, ctx: Turn) -> Any:
    """Passes lines below 20 at a closed door, and refuses every tenth."""
    if value["n"] >= 20:
        await at_door(ctx.deps)
    if value["n"] % 10 == 7:
        raise Refused(f"{value['n']} is no good")
    return value


async def for_ann(value: Any, ctx: Turn) -> Any:
    """Refuses the first order of Ann, once; answers with the attempt."""
    if value == ["ann", 1] and ctx.attempt == 1:
        raise Refused("not yet")
    return [*value, ctx.attempt]


def who(value: Any) -> Any:
    return value[0]


HOUR = 3600.0

#: Longer than anybody will keep these files.
FOR_EVER = 1e11

AGAIN = [Retry(3, backoff=Fixed(HOUR), budget=1.0)]


def _flow(name: str, *stages: Any, policies: Any = ()) -> Any:
    return Pipeline(stages, name=name, policies=policies)


def _page(page: int) -> int:
    return page


_ALL: tuple[Any, ...] = (
    _flow("bodies", mark, hold, policies=[Deadline(FOR_EVER)]),
    _flow("late", hold, policies=[Deadline(HOUR)]),
    _flow("pieces", stage(split, workers=2), stage(first_piece, workers=2)),
    _flow("way-out", mark),
    _flow("joined", Parallel({"left": at_once, "right": in_time}, name="both")),
    _flow("batched", not_three, stage(total, batch=Batch(3))),
    _flow("steps", stage(Steps(weigh, wrap), name="steps", policies=AGAIN)),
    Graph("walk").add(visit).connect(visit, visit, feedback=True, dedupe=_page),
    _flow("lines", stage(first_lines, capacity=4, workers=2)),
    _flow("sequence", stage(hold, capacity=2)),
    _flow("in-hand", stage(hold, capacity=2)),
    _flow("keyed", stage(for_ann, key=who, workers=2, policies=AGAIN)),
    _flow("circuit", stage(for_ann, policies=[*AGAIN, CircuitBreaker(1, HOUR)])),
    _flow("rate", stage(for_ann, policies=[RateLimit(1, per=HOUR)])),
    _flow("suspect", hold),
    _flow("parked", hold),
    _flow("finished", refuse),
    _flow("failed", stage(refuse, on_failure="halt")),
)

#: By the id of the run, which is the name of the flow.
FLOWS = {each.name: each for each in _ALL}

# Actors -----------------------------------------------------------------------------------

#: At which actors hang; written only by who opens their system.
DOORS = {"actors": Door(open=False)}


@actor("tests.golden.till")
class Till(Actor):
    """Has a state of many kinds; answers each withdrawal with what is left."""

    cents: int = 0
    last: Any = None
    seen: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case Order("wind up"):
                ctx.timers.start("bell", HOUR, Order("bell"))
                ctx.timers.start(Colour.RED, HOUR, (1, "tick"), every=HOUR)
                ctx.tell(ctx.self, Order("delayed"), delay=HOUR)
            case ["withdraw", int(cents)]:
                self.cents -= cents
                return self.cents
            case "state":
                return self.cents, self.last, self.seen
            case "crash":
                raise SystemExit
            case _:
                self.seen = (*self.seen, message)
        return None


@actor("tests.golden.box")
class Box(Actor):
    """Stashes what comes until it is opened; hangs at the door with what says so."""

    shut: bool = True
    taken: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        match message:
            case "door":
                await at_door(DOORS["actors"])
            case "open":
                self.shut = False
                ctx.unstash_all()
            case "refuse" if not DOORS["actors"].open:
                raise Refused("refused")
            case "taken":
                return self.taken
            case _ if self.shut:
                ctx.stash()
            case _:
                self.taken = (*self.taken, [message, dict(ctx.headers), ctx.attempt])
        return None


@actor("tests.golden.teller")
class Teller(Actor):
    """Withdraws by an ask, then hangs at the door: the answer is kept for when it asks again."""

    till: ActorRef[Any]
    answers: tuple[Any, ...] = ()

    async def receive(self, message: Any, ctx: Turn) -> Any:
        if message == "answers":
            return self.answers
        left = await ctx.ask(self.till, ["withdraw", message])
        await at_door(DOORS["actors"])
        self.answers = (*self.answers, left)
        return None


@actor("tests.golden.starter")
class Starter(Actor):
    """Sends when it starts."""

    to: ActorRef[Any]

    async def on_start(self, ctx: Turn) -> None:
        ctx.tell(self.to, Order("started"))

    async def receive(self, message: Any, ctx: Turn) -> None:
        """Takes nothing."""
