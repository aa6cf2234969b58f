"""A Context as bytes: its parts come back, packed values go through as they are."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.core.context import Context
from actorflow.errors import DecodeError, EncodeError
from actorflow.wire import (
    FROZEN,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_LAYERS,
    REGISTRY,
    Packed,
    decode,
    encode,
    is_frozen,
    message,
    pack,
    register,
    register_reference,
    tags,
    unpack,
)
from tests.wire.pace import SOON, pace
from tests.wire.test_codec_laws import bodies, spelled, texts

Ext = msgpack.ExtType
CONTEXT, PACKED = 21, 22


@message(tag="contexts.Holder")
class Holder:
    context: Context


READS: list[str] = []


@attrs.define
class Counted:
    """Notes each reading of its field, which is each packing."""

    number: int

    def __getattribute__(self, name: str) -> Any:
        if name == "number":
            READS.append(name)
        return object.__getattribute__(self, name)


@attrs.define
class Row:
    number: int


@attrs.frozen
class Ref:
    path: str


register(Row, "contexts.Row")
register(Counted, "contexts.Counted")
register_reference(Ref, lambda ref: ref.path, Ref, tag="contexts.Ref")


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def raw(values: Any, name: Any = "", written: Any = ()) -> Any:
    """What a Context is before it is bytes."""
    return [Ext(CONTEXT, b""), name, list(written), values]


def refused(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.where
    return str(caught.value)


def layered(count: int) -> Context:
    """So many lists in one another, each in a Context."""
    context = Context()
    for _ in range(count):
        context = Context({"inner": [context]})
    return context


def spelled_context(context: Context) -> Any:
    inside = {key: spelled(value) for key, value in context.items()}
    return context.name, sorted(context.written), inside


tables = st.dictionaries(texts, bodies, max_size=4)
contexts = st.builds(
    lambda data, name, new, gone: Context(data | gone).fork(name).update(new | gone),
    tables,
    texts,
    tables,
    tables,
).map(lambda context: context.remove(min(context)) if context else context)
nested = st.recursive(
    contexts | bodies,
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.tuples(parts, parts)
        | st.builds(Holder, contexts)
        | st.builds(lambda table: Context(table).fork("inner"), st.dictionaries(texts, parts))
    ),
    max_leaves=4,
)


# What the bytes are -----------------------------------------------------------------------


def test_the_bytes_on_disk_stay_what_they_are() -> None:
    context = Context({"b": 1, "gone": 2}).fork("x").set("a", [3]).remove("gone")

    assert encode(Context()) == b"\x94\xc7\x00\x15\xa0\x90\x80"
    assert encode(context) == (
        b"\x94\xc7\x00\x15\xa1x\x92\xa1a\xa4gone\x82\xa1a\xd5\x16\x91\x03\xa1b\x01"
    )


@given(contexts)
def test_what_is_read_is_what_was_written_with_name_and_written_keys(context: Context) -> None:
    read = decode(encode(context))

    assert spelled_context(read) == spelled_context(context)


@given(nested)
def test_writing_again_what_was_read_gives_the_same_bytes(body: Any) -> None:
    data = encode(body)

    assert encode(decode(data)) == data


@given(tables)
def test_the_bytes_do_not_tell_in_which_order_it_was_filled(table: dict[str, Any]) -> None:
    one, other = Context(table), Context()
    for key in reversed(table):
        other = other.set(key, table[key])

    assert encode(one) == encode(Context(other))


def test_the_bytes_are_the_same_in_each_process() -> None:
    program = (
        "import sys; from actorflow import Context; from actorflow.wire import encode\n"
        "context = Context().update({f'key{n}': [n] for n in range(100)})\n"
        "sys.stdout.write(encode(context).hex() + repr(list(context)))"
    )
    root = pathlib.Path(__file__).parents[2]
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(told) == 1


def test_a_value_is_packed_once_when_it_is_set() -> None:
    READS.clear()
    context = Context().set("row", [Counted(1)])
    assert READS

    READS.clear()
    for name in ("a", "b"):
        context = context.fork(name).set(name, 1)
        assert context["row"]
        assert b"contexts.Counted" in encode(context)
    encode(decode(encode(context)).merge([context]))

    assert READS == []


# Frozen -----------------------------------------------------------------------------------


def test_a_context_is_frozen_whatever_it_holds() -> None:
    context = Context({"rows": [1], "lock": threading.Lock()})

    assert {Context, Packed, Holder} <= FROZEN
    assert is_frozen(context)
    assert is_frozen(("a", Holder(context)))
    assert not is_frozen((context, []))


def test_a_context_within_a_context_is_kept_as_it_is() -> None:
    inner = Context({"rows": [1]})
    read = decode(encode(Context({"inner": inner, "pair": (inner, 1)})))

    assert Context({"inner": inner})["inner"] is inner
    assert read["inner"] == read["pair"][0] == inner


def test_what_comes_unfrozen_from_bytes_is_packed() -> None:
    context = decode(packed(raw({"rows": [1], "row": {"a": [2]}})))

    context["rows"].append(2)
    context["row"]["a"].clear()

    assert context == {"rows": [1], "row": {"a": [2]}}
    assert encode(context) == encode(Context({"rows": [1], "row": {"a": [2]}}))


# What cannot be written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("lock", threading.Lock(), "body['lock']: cannot write _thread.lock; "
         "make it a @message, a dataclass or plain data"),
        ("rows", [1, {"it": bytearray(b"x")}], "body['rows'][1]['it']: cannot write bytearray; "
         "convert it with bytes()"),
        ("raw", memoryview(b"x"), "body['raw']: cannot write memoryview; convert it with bytes()"),
        ("ext", (1, Ext(1, b"\x01")), "body['ext'][1]: cannot write msgpack.ext.ExtType, "
         "a subclass of tuple; convert it with tuple()"),
        ("\ud800", 1, "body.keys()[1]: half a surrogate pair in text, at character 0; "
         "encode it with errors='replace'"),
    ],
)  # fmt: skip
def test_what_has_no_bytes_is_refused_by_its_place(key: str, value: Any, text: str) -> None:
    context = Context({key: value, "z": 1})

    with pytest.raises(EncodeError) as caught:
        encode(context)
    assert str(caught.value) == text
    with pytest.raises(EncodeError) as caught:
        encode([Holder(context)])
    assert str(caught.value) == text.replace("body", "body[0].context", 1)


def test_the_limit_of_bytes_holds_for_what_is_packed_too() -> None:
    context = Context({"rows": ["x" * 50] * 10})
    size = len(encode(context))

    assert decode(encode(context, max_bytes=size), max_bytes=size) == context
    with pytest.raises(EncodeError, match=f"{size} bytes, more than max_bytes={size - 1}"):
        encode(context, max_bytes=size - 1)
    with pytest.raises(DecodeError, match=f"{size} bytes, more than max_bytes={size - 1}"):
        decode(encode(context), max_bytes=size - 1)


def test_a_context_counts_two_levels_of_nesting() -> None:
    context = Context()
    for _ in range(MAX_DEPTH // 2 - 1):
        context = Context({"k": context})

    assert decode(encode(context)) == context
    with pytest.raises(EncodeError, match=r"^body\['k'\]\['k'\].*nested deeper than 100 levels"):
        encode(Context({"k": context}))
    data = packed(raw({"k": 1}))
    deep = data
    for _ in range(MAX_DEPTH // 2):
        deep = data[:-1] + deep
    assert refused(deep).startswith("body['k']['k']['k']")
    assert "nested deeper than 100 levels" in refused(deep)


def test_as_many_layers_of_packed_values_as_allowed_go_both_ways() -> None:
    context = layered(MAX_LAYERS)

    assert decode(encode(context)) == context
    inner = context
    for _ in range(MAX_LAYERS):
        inner = inner["inner"][0]
    assert inner == {}


def test_one_layer_too_many_is_not_packed_but_shared() -> None:
    most = [layered(MAX_LAYERS)]

    with pytest.raises(EncodeError, match=r"^body: more than 8 packed values inside one another"):
        pack(most)
    context = Context({"inner": most})
    assert context["inner"] is most
    assert decode(encode(context)) == context


@pytest.mark.parametrize("layers", [MAX_LAYERS + 1, 1_000, 3_000])
def test_bytes_of_too_many_layers_are_refused(layers: int) -> None:
    data = packed([raw({})])
    for _ in range(layers):
        data = packed([raw({"k": Ext(PACKED, data)})])

    text = refused(data)

    assert text.startswith("body" + "[0]['k']" * 3)
    assert text.endswith("more than 8 packed values inside one another; keep the parts apart, "
                         "refer by id")  # fmt: skip
    with pytest.raises(DecodeError, match="more than 8 packed values"):
        tags(data)


# What comes from bytes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (raw({"rows": Ext(PACKED, b"\x92\x01")}),
         "body['rows']: the bytes end before the value does"),
        (raw({"rows": Ext(PACKED, b"\x01\x02")}),
         "body['rows']: 1 bytes are left over after the value"),
        (raw({"a": 1, "rows": Ext(PACKED, packed([1, {"k": Ext(99, b"x")}]))}),
         "body['rows'][1]['k']: unknown ext code 99"),
        ([{"c": raw({"o": Ext(PACKED, packed([raw({"i": Ext(PACKED, b"\xc1")})]))})}],
         "body[0]['c']['o'][0]['i']: not msgpack: FormatError"),
        (raw({"rows": Ext(PACKED, packed([Ext(17, b"")]))}), None),
        (raw({"rows": Ext(PACKED, packed([1, Ext(17, b"")]))}),
         "body['rows'][1]: ext code 17 may only stand at the head of an array"),
        (raw({"rows": Ext(PACKED, b"\x91" * 101 + b"\xc0")}),
         "body['rows']" + "[0]" * 30 + "..."),
        (raw({"k": 1})[:3], "body: damaged Context: it has a name, the keys written, "
         "and its values"),
        (raw([]), "body: damaged Context: it has a name, the keys written, and its values"),
        (raw({}, name=1), "body: damaged Context: it has a name, the keys written, "
         "and its values"),
        (raw({1: 2}), "body: damaged Context: one of its keys is no text"),
        (raw({}, written=[None]), "body: damaged Context: one of its keys is no text"),
        ([Ext(CONTEXT, b"x"), "", [], {}], "body: ext code 21 carries 1 bytes; it has none"),
        ([1, Ext(CONTEXT, b"")],
         "body[1]: ext code 21 may only stand at the head of an array"),
        (raw({"k": Ext(CONTEXT, b"")}),
         "body['k']: ext code 21 may only stand at the head of an array"),
        (raw({"k": [1, Ext(18, b"")]}),
         "body['k'][1]: ext code 18 may only stand at the head of an array"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(data: Any, text: str | None) -> None:
    if text is None:
        assert decode(packed(data)) == {"rows": ()}
    else:
        assert refused(packed(data)).startswith(text.removesuffix("..."))


def test_a_tag_that_nobody_has_is_found_in_what_is_packed() -> None:
    data = encode(Context({"rows": [Row(1)]})).replace(b"contexts.Row", b"contexts.Gone"[:12])

    assert tags(encode(Context({"rows": [Row(1), Context({"r": Row(1)})]}))) == {"contexts.Row"}
    assert tags(data) == {"contexts.Gon"}
    assert refused(data).startswith("body['rows'][0]: unknown tag 'contexts.Gon'")


def test_a_reference_in_a_packed_value_is_made_by_the_one_who_decoded() -> None:
    context = decode(encode(Context({"refs": [Ref("/a")], "ref": Ref("/a")})), resolve=str.upper)

    assert context["ref"] == "/A"
    assert context["refs"] == ["/A"]
    assert context.fork("b")["refs"] == ["/A"]


def test_a_packed_value_is_a_value_like_others() -> None:
    held = pack([1, {"a": (2,)}])

    assert unpack(held) == [1, {"a": (2,)}]
    assert decode(encode([held, {held: 1}])) == [held, {held: 1}]


def test_without_the_class_of_contexts_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Context())
    monkeypatch.setattr(REGISTRY, "context", None)

    assert refused(data) == "body: nobody reads a Context here; import actorflow.core.context"
    with pytest.raises(EncodeError, match=r"cannot write actorflow\.core\.context\.Context"):
        encode(Context())


# Hostile bytes ----------------------------------------------------------------------------


@given(nested, st.data())
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


@given(nested, st.data())
def test_truncated_bytes_are_always_found_out(body: Any, data: st.DataObject) -> None:
    whole = encode(body)

    with pytest.raises(DecodeError):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


scraps = st.recursive(
    st.none()
    | st.integers(-5, 300)
    | st.sampled_from(["a", "b"])
    | st.builds(Ext, st.sampled_from([CONTEXT, 17, 18]), st.just(b""))
    | st.builds(Ext, st.just(PACKED), st.binary(max_size=14)),
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.dictionaries(st.text("ab"), parts, max_size=2)
        | st.builds(raw, st.dictionaries(st.text("ab"), parts, max_size=2))
        | st.builds(lambda part: Ext(PACKED, packed(part)), parts)
    ),
    max_leaves=8,
)


@given(scraps)
def test_well_formed_bytes_with_contexts_anywhere_do_no_harm(scrap: Any) -> None:
    try:
        value = decode(packed(scrap))
    except DecodeError:
        return
    assert "Mark object" not in repr(value)
    if isinstance(value, Context):
        value.to_dict()
    assert encode(decode(encode(value))) == encode(value)


def filled(item: bytes) -> bytes:
    """As many of *item* as fit in a megabyte."""
    count = (MAX_BYTES - 5) // len(item)
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def bomb_of_layers() -> bytes:
    data = b"\xc0"
    for _ in range(20_000):
        data = packed(Ext(PACKED, data))
    return data


HEAVY: dict[str, Callable[[], bytes]] = {
    "empty contexts": lambda: filled(packed(raw({}))),
    "contexts of one list": lambda: filled(packed(raw({"k": []}))),
    "packed nothing": lambda: filled(packed(Ext(PACKED, b"\xc0"))),
    "packed, and a fault": lambda: filled(packed(raw({"k": Ext(PACKED, b"\x90")})))[:-1] + b"\x91",
    "one packed full of claims": lambda: packed(
        raw({"k": Ext(PACKED, (b"\xdd\x00\x0f\x42\x40" * 90).ljust(MAX_BYTES - 50, b"\0"))})
    ),
    "layers": bomb_of_layers,
    "large, in all layers there may be": lambda: encode(
        Context({"k": [layered(MAX_LAYERS - 1), "x" * 1_000_000]})
    ),
    "deep in every value": lambda: filled(packed(raw({"k": Ext(PACKED, b"\x91" * 101 + b"\xc0")}))),
}


@pytest.mark.parametrize("bomb", HEAVY.values(), ids=HEAVY)
def test_a_megabyte_never_takes_long(bomb: Callable[[], bytes]) -> None:
    data = bomb()
    assert len(data) <= MAX_BYTES

    text = ""
    before, started = pace(), time.process_time()
    for read in (decode, tags):
        try:
            read(data)
        except DecodeError as error:
            text = str(error)
    took = time.process_time() - started
    assert took < SOON * max(before, pace())
    assert len(text) < 1_000
