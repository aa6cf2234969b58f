"""What is true of every value there is to write."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import struct
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.errors import EncodeError
from actorflow.wire import (
    FROZEN,
    decode,
    encode,
    is_frozen,
    message,
    register,
    register_reference,
    tags,
)


@message
class Order:
    item: Any
    price: Any = None


@message
class Ping:
    pass


@message
class Holder:
    """Hashed by what it is, so that it can hold anything and still be a key."""

    part: Any = attrs.field(eq=False)


@attrs.define
class Basket:
    _owner: Any
    lines: Any = attrs.field(factory=list)


@dataclasses.dataclass
class Page:
    url: Any
    links: Any = ()


class Point(NamedTuple):
    x: Any
    y: Any = 0


class Colour(enum.Enum):
    RED = ("r", 1)
    BLUE = None


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Ref:
    path: str


for cls in (Basket, Page, Point, Colour, Level, Mood, Right):
    register(cls, f"laws.{cls.__name__}")
register_reference(Ref, lambda ref: ref.path, Ref, tag="laws")

SHAPES = {
    Order: ("item", "price"),
    Ping: (),
    Basket: ("_owner", "lines"),
    Page: ("url", "links"),
    Point: ("x", "y"),
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
zones = (
    st.none()
    | st.just(datetime.UTC)
    | st.builds(datetime.timezone, st.timedeltas(*[datetime.timedelta(hours=h) for h in (-23, 23)]))
    | st.just(datetime.timezone(datetime.timedelta(hours=1), "CET"))
    | st.just(datetime.timezone(datetime.timedelta(0), ""))
    | st.sampled_from([zoneinfo.ZoneInfo(key) for key in ("Europe/Rome", "UTC", "Asia/Tokyo")])
)
folds = st.sampled_from([0, 1])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**600), 2**600)
    | st.floats()
    | texts
    | st.binary(max_size=300)
    | st.datetimes(timezones=zones)
    | st.builds(lambda when, fold: when.replace(fold=fold), st.datetimes(timezones=zones), folds)
    | st.dates()
    | st.builds(
        lambda when, fold: when.replace(fold=fold),
        st.times(timezones=zones),
        folds,
    )
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.sampled_from([decimal.Decimal(t) for t in ("-NaN7", "-0E+9", "1.00", "1E-999")])
    | st.uuids()
    | st.builds(pathlib.PurePosixPath, texts)
    | st.builds(pathlib.PureWindowsPath, texts)
    | st.builds(pathlib.Path, texts)
    | st.sampled_from([*Colour, *Level, *Mood, *Right, Right.READ | Right.WRITE, Right(0)])
    | st.builds(Ref, texts)
)


def short(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same with a short repr; Hypothesis writes it out thousands of times."""

    @st.composite
    def scalar(draw: st.DrawFn) -> Any:
        return draw(strategy)

    return scalar()


keyable = short(scalars)
leaves = keyable | st.decimals() | st.just(decimal.Decimal("sNaN"))  # Has no hash.
keys = st.recursive(
    keyable,
    lambda parts: (
        st.lists(parts, max_size=3).map(tuple)
        | st.frozensets(parts, max_size=3)
        | st.builds(Point, parts, parts)
        | st.builds(Order, parts, parts)
    ),
    max_leaves=4,
)


def larger(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(parts, max_size=4)
        | st.lists(parts, max_size=4).map(tuple)
        | st.dictionaries(keys, parts, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.builds(Order, parts, parts)
        | st.builds(Ping)
        | st.builds(Basket, parts, parts)
        | st.builds(Page, parts, parts)
        | st.builds(Point, parts, parts)
    )


bodies = st.recursive(leaves, larger, max_leaves=12)


def spelled(value: Any) -> Any:
    """*value* written out so that only what is the same in every respect is equal."""
    cls = type(value)
    inside: Any
    if cls is float:
        inside = struct.pack(">d", value)
    elif cls is decimal.Decimal:
        inside = value.as_tuple()
    elif cls is datetime.datetime or cls is datetime.time:
        zone = value.tzinfo
        shown = zone.key if isinstance(zone, zoneinfo.ZoneInfo) else repr(zone)
        inside = (value.replace(tzinfo=None).isoformat(), value.fold, type(zone), shown)
    elif cls in (list, tuple):
        inside = [spelled(part) for part in value]
    elif cls in (set, frozenset):
        inside = sorted((spelled(part) for part in value), key=repr)
    elif cls is dict:
        inside = [(spelled(key), spelled(part)) for key, part in value.items()]
    elif cls in SHAPES:
        inside = [spelled(getattr(value, name)) for name in SHAPES[cls]]
    else:
        inside = value
    return cls, inside


@given(bodies)
def test_what_is_read_is_what_was_written_type_for_type(body: Any) -> None:
    assert spelled(decode(encode(body))) == spelled(body)


@given(bodies)
def test_writing_again_what_was_read_gives_the_same_bytes(body: Any) -> None:
    data = encode(body)

    assert encode(decode(data)) == data


@given(st.lists(keys, max_size=20))
def test_equal_sets_are_written_alike_however_they_were_filled(members: list[Any]) -> None:
    forwards = set(members)
    backwards = set[Any]()
    for member in reversed(list(forwards)):
        backwards.add(member)

    assert encode(forwards) == encode(backwards)
    assert encode((frozenset(forwards), 1)) == encode((frozenset(backwards), 1))


@given(bodies)
def test_any_kind_of_buffer_reads_alike(body: Any) -> None:
    data = encode(body)

    assert spelled(decode(bytearray(data))) == spelled(decode(memoryview(data))) == spelled(body)


@given(bodies)
def test_a_limit_lets_through_exactly_what_fits(body: Any) -> None:
    size = len(encode(body))

    assert spelled(decode(encode(body, max_bytes=size), max_bytes=size)) == spelled(body)
    with pytest.raises(EncodeError):
        encode(body, max_bytes=size - 1)


@given(bodies)
def test_the_tags_in_the_bytes_are_those_of_the_instances(body: Any) -> None:
    named = repr(body)

    for tag in tags(encode(body)):
        assert tag.rpartition(".")[2] in named


WRAPPINGS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda part: [1, part], "[1]"),
    (lambda part: ("a", None, part), "[2]"),
    (lambda part: {"k": 1, "key": part}, "['key']"),
    (lambda part: {(1, "a"): part}, "[(1, 'a')]"),
    (lambda part: {Order(1, Holder(part)): 0}, ".keys()[0].price.part"),
    (lambda part: {Holder(part)}, "{}.part"),
    (lambda part: Order(0, part), ".price"),
    (lambda part: Page(part), ".url"),
    (lambda part: Basket(part), "._owner"),
    (lambda part: Point(0, part), ".y"),
]
MISFITS = [object(), bytearray(b"x"), memoryview(b"x"), 1j, pytest]


@given(st.sampled_from(MISFITS), st.lists(st.sampled_from(WRAPPINGS), max_size=5))
def test_what_cannot_be_written_is_named_by_its_place(misfit: Any, wrappings: list[Any]) -> None:
    value, place = misfit, ""
    for wrap, segment in wrappings:
        value, place = wrap(value), segment + place

    with pytest.raises(EncodeError) as caught:
        encode(value)

    assert caught.value.where == f"body{place}"
    assert str(caught.value).startswith(f"body{place}: cannot write ")


frozen_values = st.recursive(
    leaves, lambda parts: st.lists(parts).map(tuple) | st.builds(Order, parts, parts), max_leaves=8
)


@given(frozen_values)
def test_leaves_tuples_and_messages_of_them_are_frozen(value: Any) -> None:
    assert is_frozen(value)


@given(frozen_values, frozen_values)
def test_one_list_anywhere_inside_thaws_the_whole(left: Any, right: Any) -> None:
    assert not is_frozen((left, Order(right, (left, []))))


@given(bodies)
def test_a_type_that_is_frozen_at_a_glance_is_frozen_on_inspection(body: Any) -> None:
    if type(body) in FROZEN:
        assert is_frozen(body)
