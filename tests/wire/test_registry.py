"""The registry: tags, versions, upcasters, and what is frozen."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Annotated, Any, Literal, NamedTuple, NewType

import attrs
import msgpack
import pytest

from actorflow.errors import ConfigurationError, DecodeError
from actorflow.wire import (
    FROZEN,
    REGISTRY,
    actor,
    decode,
    encode,
    is_frozen,
    known,
    message,
    register,
    register_reference,
    upcast,
)


@message
class Deposit:
    amount: int
    note: str = ""


class Colour(enum.Enum):
    RED = 1


register(Colour, "registry.Colour")


def test_a_message_is_frozen_comparable_and_matchable() -> None:
    match Deposit(5, note="rent"):
        case Deposit(amount, note):
            assert (amount, note) == (5, "rent")
    assert Deposit(5) == Deposit(amount=5)
    assert hash(Deposit(5)) == hash(Deposit(5))
    assert not hasattr(Deposit(5), "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Deposit(5).amount = 6  # type: ignore[misc]


def test_a_message_goes_by_its_module_and_name_unless_told_otherwise() -> None:
    @message(tag="registry.told", version=3)
    class Told:
        pass

    assert REGISTRY.by_class[Deposit].tag == f"{__name__}.Deposit"
    assert (REGISTRY.by_tag["registry.told"].cls, REGISTRY.by_class[Told].version) == (Told, 3)
    assert known("registry.told")
    assert not known("registry.untold")


def test_an_actor_class_stays_as_it_is() -> None:
    class Account:
        pass

    assert actor("registry.account", version=2)(Account) is Account
    assert REGISTRY.by_tag["registry.account"].version == 2


def test_two_classes_cannot_have_one_tag() -> None:
    @message(tag="registry.taken")
    class First:
        pass

    with pytest.raises(ConfigurationError) as caught:

        @message(tag="registry.taken")
        class Second:
            pass

    there = "test_two_classes_cannot_have_one_tag.<locals>"
    assert str(caught.value) == (
        f"message({there}.Second).tag must be a tag no other class has ({__name__}.{there}.First "
        f"has it, {__name__}.{there}.Second wants it), got 'registry.taken'"
    )


def test_a_class_cannot_have_two_tags() -> None:
    with pytest.raises(ConfigurationError, match=r"must be 'registry.Colour', which the class has"):
        register(Colour, "registry.Color")


def test_a_reloaded_class_takes_its_tag_over() -> None:
    def load(default: int) -> Any:
        @message(tag="registry.reloaded")
        class Reloaded:
            size: int = default

        return Reloaded

    old, new = load(1), load(2)

    assert decode(encode(old())) == new(1)
    assert type(decode(encode(new()))) is new


@pytest.mark.parametrize("tag", ["", "a\nb", "a/b", 5, "x" * 201])
def test_a_tag_that_could_not_be_told_apart_is_refused(tag: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^register\(Colour\).tag must be 1 to 200 print"):
        register(Colour, tag)


def test_a_version_counts_from_one() -> None:
    with pytest.raises(ConfigurationError, match=r"^register\(Colour\).version must be a whole"):
        register(Colour, "registry.Colour", version=0)


class Plain:
    pass


@attrs.define
class Cached:
    size: int
    cache: dict[str, int] = attrs.field(init=False, factory=dict)


@dataclasses.dataclass
class Opened:
    path: str
    mode: dataclasses.InitVar[str]


class Model:
    """What a pydantic model looks like from outside."""

    model_config: dict[str, Any] = {}  # noqa: RUF012
    model_fields: dict[str, Any] = {  # noqa: RUF012
        "name": Deposit(1),
        "size": type("FieldInfo", (), {"validation_alias": "Size"})(),
    }

    def __init__(self, *, name: str, Size: int) -> None:
        self.name = name
        self.size = Size

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        return cls(**value)


class Loose(Model):
    model_config: dict[str, Any] = {"extra": "allow"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("cls", "wanted"),
    [
        (Plain, "an attrs class, a dataclass, a NamedTuple, an Enum or a pydantic model"),
        (Cached, "a class whose fields are what its constructor takes"),
        (Opened, "a class whose fields are what its constructor takes"),
        (Loose, "a model without extra='allow', whose extras get lost"),
    ],
)
def test_a_class_that_would_not_come_back_whole_is_refused(cls: type, wanted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        register(cls, "registry.never")

    assert str(caught.value).startswith(f"register({cls.__name__}) must be {wanted}")
    assert not known("registry.never")


def test_a_pydantic_model_is_built_by_its_aliases() -> None:
    register(Model, "registry.Model")

    read = decode(encode(Model(name="a", Size=3)))

    assert (type(read), read.name, read.size) == (Model, "a", 3)


def test_old_bytes_go_up_step_by_step() -> None:
    def declare(version: int, **fields: Any) -> Any:
        return message(tag="registry.Address", version=version)(
            type("Address", (), {"__annotations__": fields, "__module__": __name__})
        )

    first = encode([declare(1, text=str)("Via Roma 1, Bari")])

    @upcast("registry.Address", 1)
    def split(fields: dict[str, Any]) -> dict[str, Any]:
        street, city = fields.pop("text").split(", ")
        return {"street": street, "city": city}

    @upcast("registry.Address", 2)
    def add_country(fields: dict[str, Any]) -> dict[str, Any]:
        fields["country"] = "IT"
        return fields

    address = declare(3, street=str, city=str, country=str)

    assert decode(first) == [address("Via Roma 1", "Bari", "IT")]


def stored(tag: str, version: int, **fields: Any) -> bytes:
    """What a program wrote in which *tag* had these fields."""
    mark = msgpack.ExtType(20, f"{version}:{tag}".encode())
    packed: bytes = msgpack.packb([[mark, fields]])
    return packed


def unread(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    return caught.value


def test_a_step_that_is_missing_is_named_with_the_line_to_add() -> None:
    @message(tag="registry.Gap", version=3)
    class Gap:
        pass

    upcast("registry.Gap", 1)(lambda fields: fields)

    assert str(unread(stored("registry.Gap", 1))) == (
        "body[0]: no way up from version 2 of 'registry.Gap'; "
        'add a function with: @actorflow.upcast("registry.Gap", 2)'
    )


def test_a_version_from_the_future_is_refused() -> None:
    assert str(unread(stored(f"{__name__}.Deposit", 2))) == (
        f"body[0]: version 2 of '{__name__}.Deposit' is newer than ours (1); "
        "run the program that wrote it"
    )


def test_an_unknown_tag_is_refused_with_the_line_to_add() -> None:
    assert str(unread(stored("crawl.Page", 1))) == (
        "body[0]: unknown tag 'crawl.Page'; add: actorflow.register(Page, \"crawl.Page\")"
    )


def test_an_upcaster_that_fails_is_named_and_is_the_cause() -> None:
    @message(tag="registry.Broken", version=2)
    class Broken:
        pass

    @upcast("registry.Broken", 1)
    def raise_it(fields: dict[str, Any]) -> dict[str, Any]:
        return fields["gone"]  # type: ignore[no-any-return]

    error = unread(stored("registry.Broken", 1))

    assert str(error).startswith("body[0]: upcaster ")
    assert str(error).endswith("raise_it raised KeyError")
    assert isinstance(error.__cause__, KeyError)


def test_an_upcaster_answers_with_a_dict() -> None:
    @message(tag="registry.Wrong", version=2)
    class Wrong:
        pass

    @upcast("registry.Wrong", 1)
    def answer(fields: dict[str, Any]) -> Any:
        return None

    assert str(unread(stored("registry.Wrong", 1))).endswith("must return a dict, got NoneType")


def test_a_version_has_one_way_up() -> None:
    @upcast("registry.Forked", 1)
    def left(fields: dict[str, Any]) -> dict[str, Any]:
        return fields

    with pytest.raises(ConfigurationError, match=r"left is there, .*right came"):

        @upcast("registry.Forked", 1)
        def right(fields: dict[str, Any]) -> dict[str, Any]:
            return fields


def test_a_field_added_with_a_default_needs_no_new_version() -> None:
    assert decode(stored(f"{__name__}.Deposit", 1, amount=5)) == [Deposit(5)]


def test_two_reference_types_have_two_tags() -> None:
    class One(NamedTuple):
        path: str

    class Two(NamedTuple):
        path: str

    register_reference(One, lambda ref: ref.path, One, tag="registry.one")
    with pytest.raises(ConfigurationError, match="a tag no other class has"):
        register_reference(Two, lambda ref: ref.path, Two, tag="registry.one")
    register_reference(Two, lambda ref: ref.path, Two, tag="registry.two")

    read = decode(encode([One("/a"), Two("/a")]))

    assert [type(ref) for ref in read] == [One, Two]
    assert {One, Two} <= FROZEN


UserId = NewType("UserId", int)


@message
class Small:
    amount: decimal.Decimal
    when: datetime.datetime | None
    user: UserId
    where: pathlib.Path
    kind: Literal["a", "b"]
    key: Annotated[uuid.UUID, "id"]
    path: tuple[str, ...]
    pair: tuple[int, frozenset[str]]
    colour: Colour
    deposit: Deposit


@message
class Tree:
    left: Tree | None
    right: Tree | None


def test_a_message_of_nothing_but_frozen_annotations_is_frozen_at_a_glance() -> None:
    assert {Deposit, Small, Tree} <= FROZEN


THAWING = [
    Any,
    object,
    Plain,
    list,
    list[int],
    tuple,
    tuple[list[int], ...],
    dict[str, int],
    frozenset[Any],
    int | list[int],
    None | Any,
    "Missing",
    "1 / 0",
]


@pytest.mark.parametrize("annotation", THAWING)
def test_an_annotation_that_proves_nothing_thaws_the_message(annotation: Any) -> None:
    made: Any = message(
        type("Thawed", (), {"__annotations__": {"part": annotation}, "__module__": __name__})
    )

    assert made not in FROZEN
    assert is_frozen(made(part=1))
    assert not is_frozen(made(part=[1]))


@pytest.mark.parametrize("value", [[], {}, set(), object(), bytearray(), Plain, ([],), ((), {})])
def test_what_can_change_is_not_frozen(value: object) -> None:
    assert not is_frozen(value)


def test_frozen_is_asked_of_values_however_deep_or_often_shared() -> None:
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep, deep)

    assert is_frozen(deep)
    assert not is_frozen((deep, []))
