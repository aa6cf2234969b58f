"""No bytes do harm: each ends in a value or in `DecodeError`, soon, and never otherwise.

The bombs are made by hand, to the full megabyte where size is what makes them bad.
"""

from __future__ import annotations

import datetime
import math
import sys
import time
import zoneinfo
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actorflow.errors import DecodeError, EncodeError
from actorflow.wire import MAX_BYTES, MAX_DEPTH, decode, encode, message
from tests.wire.pace import SOON, pace
from tests.wire.test_codec_laws import bodies, spelled

Ext = msgpack.ExtType
REFERENCE, TUPLE, SET, FROZENSET, INSTANCE = 16, 17, 18, 19, 20
MODULUS = sys.hash_info.modulus  # Ints that differ by it have one hash.


@message(tag="hostile.Order")
class Order:
    item: Any
    price: Any = 0

    def __attrs_post_init__(self) -> None:
        if self.item == "refuse":
            raise ValueError("never this item")
        if self.item == "overflow":
            math.exp(10**6)


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def mark(code: int, payload: bytes = b"") -> Any:
    return Ext(code, payload)


def order(**fields: Any) -> Any:
    return [mark(INSTANCE, b"1:hostile.Order"), fields]


def array(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


def table(count: int) -> bytes:
    return b"\xdf" + count.to_bytes(4, "big")


def big(number: int) -> Any:
    return Ext(1, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def filled(item: bytes, end: bytes = b"\xc0") -> bytes:
    """As many of *item* as fit in a megabyte, and *end*."""
    count = (MAX_BYTES - 5 - len(end)) // len(item)
    return array(count + 1) + item * count + end


def refused(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.where
    return str(caught.value)


@given(st.binary(max_size=200))
@example(b"\xc1")
@example(b"\xd6\xff\xff\xff\xff\xff")
@example(b"\xc7\x0c\xff" + b"\xff" * 12)
def test_any_bytes_end_in_a_value_or_in_decode_error(data: bytes) -> None:
    try:
        value = decode(data)
    except DecodeError:
        return
    assert spelled(decode(encode(value))) == spelled(value)


@given(bodies, st.data())
def test_damaged_bytes_end_in_a_value_or_in_decode_error(body: Any, data: st.DataObject) -> None:
    damaged = bytearray(encode(body))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        end = at + data.draw(st.integers(0, 3))
        damaged[at:end] = data.draw(st.binary(max_size=3))

    try:
        value = decode(damaged)
    except DecodeError:
        return
    try:
        again = encode(value)
    except EncodeError as error:  # A reference or constructor may keep what is not ours.
        pytest.fail(f"{error} from {bytes(damaged)!r}")
    assert encode(decode(again)) == again


@given(bodies, st.data())
def test_truncated_bytes_are_always_found_out(body: Any, data: st.DataObject) -> None:
    whole = encode(body)

    with pytest.raises(DecodeError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(bodies, st.binary(min_size=1, max_size=10))
def test_trailing_bytes_are_always_found_out(body: Any, rest: bytes) -> None:
    with pytest.raises(DecodeError, match=f"body: {len(rest)} bytes are left over"):
        decode(encode(body) + rest)


marks = st.sampled_from([Ext(code, b"") for code in (TUPLE, SET, FROZENSET)]) | st.just(
    mark(INSTANCE, b"1:hostile.Order")
)
scraps = st.recursive(
    st.none()
    | st.integers(-5, 300)
    | st.sampled_from(["item", "price", "refuse"])
    | marks
    | st.builds(Ext, st.integers(0, 127), st.binary(max_size=14)),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text("ab"), parts, max_size=2),
    max_leaves=8,
)


@given(scraps)
def test_well_formed_bytes_with_marks_anywhere_do_no_harm(scrap: Any) -> None:
    try:
        value = decode(packed(scrap))
    except DecodeError:
        return
    assert "Mark object" not in repr(value)
    assert spelled(decode(encode(value))) == spelled(value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "body: the bytes end before the value does"),
        (b"\x93\x01", "body: the bytes end before the value does"),
        (b"\x01\x02\x03", "body: 2 bytes are left over after the value"),
        (b"\xc1", "body: not msgpack: FormatError"),
        (b"\x91\xa2\xff\xfe", "body[0]: the text is not UTF-8"),
        (b"\x81\xa1\xff\x01", "body.keys()[0]: the text is not UTF-8"),
        (b"\x91\x82\xa1a\x01\xa1a\x02", "body[0]: key 'a' comes twice"),
        (b"\x82\x01\xc0\xcb\x3f\xf0" + bytes(6) + b"\xc0", "body: key 1.0 comes twice"),
        (b"\x81\x90\x01", "body: a key cannot be hashed: unhashable type: 'list'"),
        (packed([Ext(99, b"x")]), "body[0]: unknown ext code 99"),
        (b"\xd4\x80\x00", "body: unknown ext code -128"),
        (packed([mark(SET), 1, True]), "body: member True comes twice"),
        (packed([mark(SET), []]), "body: a member cannot be hashed: unhashable type: 'list'"),
        (packed(mark(TUPLE)), "body: ext code 17 may only stand at the head of an array"),
        (packed([1, mark(TUPLE)]), "body[1]: ext code 17 may only stand at the head of an array"),
        (packed([mark(TUPLE), mark(SET)]), "body[0]: ext code 18 may only stand at the head of an "
         "array"),
        (packed(order(item=mark(SET))), "body.item: ext code 18 may only stand at the head of an "
         "array"),
        (packed({"k": [mark(TUPLE, b"x")]}), "body['k']: ext code 17 carries 1 bytes; it has none"),
        (packed([order(item=1, pirce=2)]), "body[0]: hostile.Order has no field 'pirce'; "
         "its fields: item, price"),
        (packed([order()]), "body[0]: cannot make hostile.Order: Order.__init__() missing 1 "
         "required positional argument: 'item'"),
        (packed(order(item={1: order(item="refuse")})),
         "body.item[1]: cannot make hostile.Order: never this item"),
        (packed(order(item="overflow")),
         "body: cannot make hostile.Order: OverflowError: math range error"),
        (packed([order(item=1)[0], []]), "body: damaged hostile.Order: its fields are not one map"),
        (packed([order(item=1)[0]]), "body: damaged hostile.Order: its fields are not one map"),
        (packed([[mark(INSTANCE, b"hostile.Order"), {}]]), "body[0]: damaged tag b'hostile.Order'"),
        (packed([[mark(INSTANCE, b"0:hostile.Order"), {}]]), "body[0]: damaged tag "
         "b'0:hostile.Order'"),
        (packed([[mark(INSTANCE, b"\xff:"), {}]]), "body[0]: damaged tag b'\\xff:'"),
        (packed(Ext(REFERENCE, b"nobody\n/a")), "body: cannot resolve reference b'nobody\\n/a': "
         "KeyError: 'nobody'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(data: bytes, text: str) -> None:
    assert refused(data) == text


@pytest.mark.parametrize(
    ("code", "payload"),
    [
        (1, b""),
        (2, b""),
        (2, b"1e"),
        (2, b"\xff"),
        (2, "\u0661".encode()),  # A digit, but not one of ours.
        (2, b"1E+9999999999999999999"),
        (3, b"short"),
        (4, b"\x07\xe8\x02\x1e" + bytes(8)),  # The 30th of February.
        (4, b"\x07\xe8\x02\x01" + bytes(7)),
        (4, b"\x07\xe8\x02\x01" + bytes(7) + b"\x02"),  # A third fold.
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"@../../etc/passwd"),
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"@Nowhere/Land"),
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"@"),
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"@" + b"A/" * 4000),
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"+" + b"\x7f" * 8),
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"+" + bytes(8) + b"name"),
        (4, b"\x07\xe8\x02\x01" + bytes(8) + b"?"),
        (5, bytes(4)),
        (6, b"\x18" + bytes(7)),
        (7, b"\x7f" * 12),
        (8, b""),
        (8, b"xa"),
        (8, b"p\xff"),
        (REFERENCE, b"laws"),
        (REFERENCE, b"\xff\n"),
    ],
)
def test_a_payload_that_is_not_of_its_kind_is_refused(code: int, payload: bytes) -> None:
    assert refused(packed([Ext(code, payload)])).startswith(("body[0]: damaged", "body[0]: cannot"))


def ext_in_ext() -> bytes:
    data = b"\xc0"
    for level in range(5_000):
        data = packed(Ext((TUPLE, 1, 3, INSTANCE)[level % 4], data))
    return data


def marks_in_marks(levels: int) -> bytes:
    return (b"\x92" + packed(mark(TUPLE))) * levels + b"\xc0"


NESTED: dict[str, bytes] = {
    "ext in ext": ext_in_ext(),
    "lists": b"\x91" * 5_000 + b"\xc0",
    "lists to the brim": b"\x91" * (MAX_BYTES - 1) + b"\xc0",
    "maps": b"\x81\xc0" * 5_000 + b"\xc0",
    "keys": b"\x81" * 5_000 + b"\xc0" * 5_001,
    "tuples": marks_in_marks(5_000),
    "instances": (b"\x92" + packed(order()[0]) + b"\x81\xa4item") * 5_000 + b"\xc0",
    "frozensets": (b"\x92" + packed(mark(FROZENSET))) * 5_000 + b"\xc0",
    "one list too many": b"\x91" * (MAX_DEPTH + 1) + b"\xc0",
    "one tuple too many": marks_in_marks(MAX_DEPTH + 1),
}


@pytest.mark.parametrize("data", NESTED.values(), ids=NESTED)
def test_nesting_is_refused_before_anything_recurses(data: bytes) -> None:
    text = refused(data)

    assert "nested deeper" in text or "carries" in text or "damaged" in text


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1, 1_000])
def test_the_place_of_what_is_too_deep_is_told_while_msgpack_can_follow(levels: int) -> None:
    data = b"\x91" * levels + b"\xc0"

    if levels == MAX_DEPTH:
        assert encode(decode(data)) == data
    else:
        assert refused(data).startswith("body[0][0][0]")


def zones() -> bytes:
    """Each zone again and again, so that none of them stays in a small cache."""
    day = datetime.datetime(2024, 1, 1)
    each = [
        encode(day.replace(tzinfo=zoneinfo.ZoneInfo(key)))
        for key in sorted(zoneinfo.available_timezones())
    ]
    rounds = (MAX_BYTES - 5) // len(b"".join(each))
    return array(rounds * len(each)) + b"".join(each) * rounds


HEAVY: dict[str, Callable[[], bytes]] = {
    "nested claims of arrays": lambda: (array(1_000_000) * 90).ljust(MAX_BYTES, b"\0"),
    "nested claims of maps": lambda: ((table(500_000) + b"\1") * 90).ljust(MAX_BYTES, b"\0"),
    "nested claims, too deep": lambda: (array(1_000_000) * 1_000).ljust(MAX_BYTES, b"\0"),
    "ints of one hash as keys": lambda: table(40_000)
    + b"".join(packed(big(MODULUS * (2**70 + n))) + b"\xc0" for n in range(40_000)),
    "uuids of one hash in a set": lambda: packed(
        [mark(SET), *(Ext(3, (MODULUS * (n + 1)).to_bytes(16, "big")) for n in range(50_000))]
    ),
    "small sets of one hash": lambda: filled(
        packed([mark(SET), *(Ext(3, (MODULUS * (n + 1)).to_bytes(16, "big")) for n in range(60))])
    ),
    "empty lists": lambda: filled(b"\x90"),
    "empty maps and a fault": lambda: filled(b"\x80", packed(Ext(99, b"x"))),
    "tuples and a fault": lambda: filled(b"\x91" + packed(mark(TUPLE)), packed(Ext(99, b"x"))),
    "instances and a fault": lambda: filled(packed(order(item=1)), packed(order(x=1))),
    "decimals": lambda: filled(packed(Ext(2, b"1E+999999"))),
    "paths": lambda: filled(packed(Ext(8, b"Pa"))),
    "zones": zones,
    "one decimal": lambda: packed(Ext(2, b"9" * (MAX_BYTES - 10))),
    "one int": lambda: packed(Ext(1, b"\x7f" * (MAX_BYTES - 10))),
    "many long ints": lambda: filled(packed(Ext(1, b"\x7f" * 60_000))),
    "one path": lambda: packed(Ext(8, b"P" + b"a/" * 500_000)),
    "a text that is none": lambda: b"\xdb" + (MAX_BYTES - 5).to_bytes(4, "big") + b"\xff" * (
        MAX_BYTES - 5
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", HEAVY.values(), ids=HEAVY)
def test_a_megabyte_never_takes_long(bomb: Callable[[], bytes]) -> None:
    data = bomb()
    assert len(data) <= MAX_BYTES

    text = ""
    before, started = pace(), time.process_time()
    try:
        decode(data)
    except DecodeError as error:
        text = str(error)
    took = time.process_time() - started
    assert took < SOON * max(before, pace())
    assert len(text) < 1_000


def test_a_zone_is_looked_up_once_however_often_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = zoneinfo.ZoneInfo

    def counted(key: str) -> zoneinfo.ZoneInfo:
        made.append(key)
        return real(key)

    data = zones()
    monkeypatch.setattr(zoneinfo, "ZoneInfo", counted)
    decode(data)

    assert len(made) == len(set(made))


def test_keys_that_collide_are_refused_and_counted() -> None:
    data = table(100) + b"".join(packed(big(MODULUS * (2**70 + n))) + b"\xc0" for n in range(100))

    assert refused(data) == "body: 99 of 100 keys share their hash with another"


def test_a_large_body_is_not_read_at_all() -> None:
    with pytest.raises(DecodeError, match="more than max_bytes=10"):
        decode(memoryview(b"\xc1" * 11), max_bytes=10)


def test_the_exception_of_a_constructor_is_the_cause() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(packed([order(item="refuse")]))

    assert isinstance(caught.value.__cause__, ValueError)


def test_what_is_not_an_exception_passes_untouched() -> None:
    @message(tag="hostile.Stop")
    class Stop:
        def __attrs_post_init__(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(packed([mark(INSTANCE, b"1:hostile.Stop"), {}]))


def test_a_path_that_cannot_be_resolved_is_named() -> None:
    def nowhere(path: str) -> Any:
        raise LookupError(path)

    with pytest.raises(DecodeError) as caught:
        decode(packed(["", Ext(REFERENCE, b"laws\n/gone")]), resolve=nowhere)

    assert str(caught.value) == (
        "body[1]: cannot resolve reference b'laws\\n/gone': LookupError: /gone"
    )


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


def test_a_key_whose_repr_raises_still_gets_its_error() -> None:
    with pytest.raises(EncodeError) as caught:
        encode({2**100_000: Rude()})

    assert caught.value.where == "body[<int>]"
