"""The codec, promise by promise. What holds for every value is in test_codec_laws."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import sys
import zoneinfo
from typing import Any, NamedTuple

import attrs
import msgpack
import pytest

from actorflow.errors import DecodeError, EncodeError
from actorflow.wire import (
    MAX_DEPTH,
    MAX_NUMBER_BYTES,
    actor,
    decode,
    encode,
    message,
    register,
    register_reference,
    tags,
)


@message(tag="codec.Item")
class Item:
    name: Any
    price: Any = 0


@message(tag="codec.Body")
class Body:
    items: Any


@dataclasses.dataclass
class Page:
    url: str


class Stranger(NamedTuple):
    x: int


class Shade(enum.Enum):
    DARK = 1


class Name(str):
    pass


@attrs.frozen
class Ref:
    path: str


register_reference(Ref, lambda ref: ref.path, Ref, tag="codec.Ref")


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


register(Right, "codec.Right")


def refused(value: object) -> str:
    with pytest.raises(EncodeError) as caught:
        encode(value)
    return str(caught.value)


def nested(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = [value]
    return value


def test_a_plain_body_is_the_msgpack_that_any_language_reads() -> None:
    body = {"id": 7, "tags": ["a", None], "ok": True, "raw": b"\x00", "x": 0.5}

    assert encode(body) == msgpack.packb(body)


def test_the_bytes_on_disk_stay_what_they_are() -> None:
    assert encode((1, 2**64)) == b"\x93\xc7\x00\x11\x01\xc7\x09\x01\x01" + bytes(8)
    assert encode({3, 1}) == b"\x93\xc7\x00\x12\x01\x03"
    assert encode(Item("a", 1)) == b"\x92\xc7\x0c\x141:codec.Item\x82\xa4name\xa1a\xa5price\x01"
    assert encode(Ref("/a")) == b"\xc7\x0c\x10codec.Ref\n/a"
    assert encode(decimal.Decimal("1.50")) == b"\xd6\x021.50"
    assert encode(datetime.date(2024, 2, 29)) == b"\xd6\x05\x07\xe8\x02\x1d"
    assert encode(pathlib.PurePosixPath("a")) == b"\xd5\x08Pa"


def test_both_hours_of_a_clock_set_back_stay_apart() -> None:
    rome = zoneinfo.ZoneInfo("Europe/Rome")
    first = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=rome)

    read = decode(encode([first, first.replace(fold=1)]))

    assert [when.utcoffset() for when in read] == [
        datetime.timedelta(hours=2),
        datetime.timedelta(hours=1),
    ]


def test_two_keys_that_are_not_a_number_stay_two() -> None:
    assert len(decode(encode({float("nan"): 1, float("nan"): 2}))) == 2


def test_a_timestamp_of_another_program_is_read_as_utc() -> None:
    data = msgpack.packb(msgpack.Timestamp(1_700_000_000))

    assert decode(data) == datetime.datetime.fromtimestamp(1_700_000_000, datetime.UTC)


def test_a_reference_is_made_by_the_one_who_asks() -> None:
    data = encode([Ref("/bank/alice")])

    assert decode(data) == [Ref("/bank/alice")]
    assert decode(data, resolve=str.upper) == ["/BANK/ALICE"]


@pytest.mark.parametrize("members", [(0, 8), ("a", 1), ((0,), (8,)), (Right.READ, Right.WRITE)])
def test_a_set_is_written_in_one_order_whichever_it_is_kept_in(members: tuple[Any, Any]) -> None:
    first, second = members  # 0 and 8 meet in a small table: who comes first stays first.

    assert encode({first, second}) == encode({second, first})
    assert decode(encode({first, second})) == {first, second}


def test_sets_in_sets_are_sorted_without_doubling_the_work_a_level() -> None:
    body: Any = frozenset()
    for level in range(40):
        body = frozenset({body, str(level), level})

    assert decode(encode(body)) == body


def test_tags_are_found_without_the_classes() -> None:
    data = encode([Body([Item("a")]), 1]).replace(b"codec.Item", b"codec.Gone")

    assert tags(data) == {"codec.Body", "codec.Gone"}
    with pytest.raises(DecodeError):
        decode(data)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_tags_of_damaged_bytes_are_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        tags(encode(Item("a"))[:size])


def test_an_unregistered_class_is_refused_with_the_line_to_add() -> None:
    assert refused(Body([0, 1, 2, Page("x")])) == (
        f"body.items[3]: cannot write {__name__}.Page; "
        f'add: actorflow.register(Page, "{__name__}.Page")'
    )
    assert refused({"a": Shade.DARK}).endswith(
        f'add: actorflow.register(Shade, "{__name__}.Shade")'
    )
    assert refused(Stranger(1)).endswith(
        f'add: actorflow.register(Stranger, "{__name__}.Stranger")'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            Name("a"),
            f"body: cannot write {__name__}.Name, a subclass of str; convert it with str()",
        ),
        (
            [collections.OrderedDict(a=1)],
            "body[0]: cannot write collections.OrderedDict, a subclass of dict; "
            "convert it with dict()",
        ),
        ({"raw": bytearray(b"x")}, "body['raw']: cannot write bytearray; convert it with bytes()"),
        ({1, memoryview(b"x")}, "body{}: cannot write memoryview; convert it with bytes()"),
        ({memoryview(b"x"): 1}, "body.keys()[0]: cannot write memoryview; convert it with bytes()"),
        (
            [msgpack.ExtType(1, b"\x01")],
            "body[0]: cannot write msgpack.ext.ExtType, a subclass of tuple; "
            "convert it with tuple()",
        ),
        (
            (msgpack.Timestamp(1),),
            "body[0]: cannot write msgpack.ext.Timestamp; "
            "make it a @message, a dataclass or plain data",
        ),
        (len, "body: cannot write builtin_function_or_method; "
         "make it a @message, a dataclass or plain data"),
        (
            Item("ok\ud800"),
            "body.name: half a surrogate pair in text, at character 2; "
            "encode it with errors='replace'",
        ),
        (
            {"when": datetime.datetime(2024, 1, 1, tzinfo=type("Zone", (datetime.tzinfo,), {
                "__repr__": lambda self: "<a zone>"})())},
            "body['when']: cannot write datetime: its tzinfo is <a zone>; "
            "use datetime.timezone or zoneinfo.ZoneInfo(key)",
        ),
        (Right(9), "body: cannot read a field of codec.Right: "
         "9 has bits no member of Right has"),
    ],
)  # fmt: skip
def test_what_would_be_changed_by_writing_is_refused(value: object, text: str) -> None:
    assert refused(value) == text


def test_a_number_too_long_to_be_used_is_neither_written_nor_read() -> None:
    bits = MAX_NUMBER_BYTES * 8 - 1
    longest = -(2**bits)

    assert decode(encode(longest)) == longest
    assert refused([longest - 1]) == (
        "body[0]: cannot write int: a number of 65537 bytes; at most 65536 are kept"
    )
    assert "at most 65536 are kept" in refused(decimal.Decimal("9" * (MAX_NUMBER_BYTES + 1)))


def test_a_value_that_contains_itself_is_refused_where_it_does() -> None:
    ring: list[Any] = [1]
    ring.append({"again": ring})
    far: list[Any] = []
    far.append(Body(items=(far,)))

    assert refused(ring) == (
        "body[1]['again']: the value contains itself; keep ids instead of objects"
    )
    assert refused(far).startswith("body[0].items[0]: the value contains itself")


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 600, 50_000])
def test_what_is_nested_too_deep_is_refused_by_its_place(levels: int) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(nested(levels))

    assert str(caught.value).startswith("body" + "[0]" * 30)
    assert str(caught.value).endswith(
        f"[0]: nested deeper than {MAX_DEPTH} levels; keep the parts apart and refer by id"
    )


def test_what_is_nested_as_deep_as_allowed_goes_both_ways() -> None:
    half = MAX_DEPTH // 2
    instances: Any = None
    for _ in range(half):
        instances = Item("a", instances)
    mixed: Any = 0
    for _ in range(half):
        mixed = {(1, mixed)}.pop() if mixed == 0 else [{"a": mixed}]

    for body in (nested(MAX_DEPTH), instances, [frozenset({nested_tuple(MAX_DEPTH - 2)})], mixed):
        assert decode(encode(body)) == body
    assert "nested deeper" in refused(Item("a", instances))
    assert "nested deeper" in refused([[frozenset({nested_tuple(MAX_DEPTH - 2)})]])


def nested_tuple(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = (value,)
    return value


def test_many_values_side_by_side_are_not_deep() -> None:
    body = [{"row": [number, [Item("x")]]} for number in range(1_000)]

    assert decode(encode(body)) == body


@pytest.mark.parametrize("extra", [0, 1])
def test_the_size_limit_is_told_with_both_numbers(extra: int) -> None:
    data = encode("x" * 100)

    with pytest.raises(EncodeError) as caught:
        encode("x" * (100 + extra), max_bytes=100)
    assert str(caught.value) == f"body: {102 + extra} bytes, more than max_bytes=100"
    with pytest.raises(DecodeError, match="body: 102 bytes, more than max_bytes=101"):
        decode(data, max_bytes=101)


def test_a_megabyte_is_the_limit_unless_told_otherwise() -> None:
    data = encode(b"\xff" * 2_000_000)

    with pytest.raises(DecodeError, match="more than max_bytes=1048576"):
        decode(data)
    assert len(decode(data, max_bytes=None)) == 2_000_000


def test_only_bytes_are_read() -> None:
    with pytest.raises(TypeError, match=r"^decode\(\) takes bytes, got int$"):
        decode(5)  # type: ignore[arg-type]


def test_an_actor_is_not_a_value() -> None:
    @actor("codec.Account")
    class Account:
        pass

    assert refused(Account()).startswith("body: cannot write")
    data = encode(Item("a")).replace(b"\x0c\x141:codec.Item", b"\x0f\x141:codec.Account")
    with pytest.raises(DecodeError, match=r"'codec.Account' is the tag of an actor"):
        decode(data)


def test_a_small_plain_body_is_written_in_one_python_call() -> None:
    calls: list[str] = []

    def watch(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(watch)
    try:
        encode({"n": 1, "u": "http://x", "tags": ["a"] * 30})
    finally:
        sys.setprofile(None)

    assert calls == ["encode"]
