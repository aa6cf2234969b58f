"""Case 10: what is written is what is read again.

A value that goes to the disk and comes back is equal and of the same types to its last part:
tuples and sets stay so, bytes are bytes, keys may be numbers, times keep their zone. What cannot
be kept so is refused and named, never turned into something else.
"""

from __future__ import annotations

import datetime
import math
import zoneinfo
from collections.abc import Hashable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow import stage
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.errors import EncodeError
from actorflow.wire.codec import decode, encode
from tests.flows.flowing import Gate, counted, pipeline
from tests.flows.lives import Killable, TapeSink, fed_and_killed, finished

ZONES = [datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3)), None]

moments = st.datetimes(timezones=st.sampled_from([datetime.UTC, zoneinfo.ZoneInfo("Europe/Paris")]))

keys: st.SearchStrategy[Hashable] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
        st.datetimes(),
        moments,
        st.dates(),
        st.timedeltas(),
        st.uuids(),
        st.decimals(allow_nan=False),
    ),
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=3)
    ),
    max_leaves=4,
)

values: st.SearchStrategy[Any] = st.recursive(
    keys,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(keys, max_size=3),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


def spelled(value: Any) -> Any:
    """*value* with the type of each of its parts, so that 1, 1.0 and True differ."""
    match value:
        case dict():
            inside: Any = [(spelled(key), spelled(each)) for key, each in value.items()]
        case list() | tuple():
            inside = [spelled(each) for each in value]
        case set() | frozenset():
            inside = sorted(repr(spelled(each)) for each in value)
        case float():
            inside = (value, math.copysign(1, value))
        case datetime.datetime():
            inside = (value.replace(tzinfo=None), value.fold, str(value.tzinfo))
        case _:
            inside = value
    return type(value).__name__, inside


@settings(max_examples=300)
@given(values)
def test_any_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    back = decode(encode(value), max_bytes=None)

    assert back == value
    assert spelled(back) == spelled(value)


PARTS: list[Any] = [
    (1, (2, [3])),
    {1, 2, 3},
    frozenset({b"x", ("y", 2)}),
    b"xy",
    {1: "a", 2.5: "b", False: "c", None: "d", (1, 2): "e", b"k": "f", "1": "g"},
    datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    *(datetime.datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=zone) for zone in ZONES),
    datetime.timedelta(microseconds=-1),
    2**200,
    float("inf"),
    -0.0,
    "\N{PILE OF POO}",
]


@pytest.mark.parametrize("value", PARTS, ids=[f"part {number}" for number in range(len(PARTS))])
def test_each_kind_comes_back_as_itself(value: Any) -> None:
    assert spelled(decode(encode(value))) == spelled(value)


@given(values)
@settings(max_examples=20, deadline=None)
def test_an_item_that_waits_in_a_store_comes_out_as_it_was_fed(value: Any) -> None:
    tape: list[Any] = []
    disk = MemoryDisk()
    gate = Gate()
    flow = pipeline([stage(gate, name="gate")], name="exact")
    killed, alive = (Killable(MemoryStore(disk=disk)) for _ in range(2))

    async def main() -> Any:
        await fed_and_killed(flow, killed, [value], sink=TapeSink(tape))
        gate.open()
        return await finished(flow, alive, sink=TapeSink(tape))

    assert trio.run(main).counts == counted(fed=1, done=1)
    assert [spelled(each) for each in tape] == [spelled(value)]


class Unknown:
    """Of no type that is registered."""


@pytest.mark.parametrize(
    "value",
    [Unknown(), bytearray(b"xy"), object, print],
    ids=["an object", "bytearray", "class", "function"],
)
def test_what_cannot_be_kept_is_refused_with_its_place_and_never_made_text(value: Any) -> None:
    with pytest.raises(EncodeError, match="lines"):
        encode({"lines": [1, (value,)]})


async def test_such_an_item_of_a_durable_run_is_a_dead_letter_and_the_others_go_on() -> None:
    tape: list[Any] = []

    async def make(value: int) -> Any:
        return Unknown() if value == 1 else value

    report = await pipeline([make], name="exact").run(
        range(3), store=MemoryStore(disk=MemoryDisk()), sink=TapeSink(tape)
    )

    assert report.counts == counted(fed=3, done=2, dead=1)
    assert tape == [0, 2]
    assert isinstance(report.dead[0].error, EncodeError)
