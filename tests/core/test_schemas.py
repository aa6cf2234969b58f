"""Schemas: every problem is told at once, and what a schema changes is not lost."""

from __future__ import annotations

import dataclasses
import decimal
import pickle
from typing import Any, NotRequired, Required, TypedDict

import attrs
import pydantic
import pydantic.dataclasses
import pytest

import actorflow
from actorflow.core.context import Context
from actorflow.core.schemas import check_schema, validate
from actorflow.errors import ActorFlowError, ConfigurationError, Problem, SchemaError


@attrs.define
class Order:
    amount: int
    user: str
    tags: list[str] = attrs.Factory(list)


@dataclasses.dataclass
class Invoice:
    amount: int
    user: str
    tags: list[str] = dataclasses.field(default_factory=list)


class Receipt(TypedDict):
    amount: int
    user: str
    tags: NotRequired[list[str]]


class Bill(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    amount: int
    user: str
    tags: list[str] = []


KINDS = [Order, Invoice, Receipt, Bill]


def refused(schema: Any, mapping: Any, **options: Any) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        validate(schema, mapping, where="price", **options)
    return caught.value


# Every kind -------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", KINDS)
@pytest.mark.parametrize("make", [dict, Context])
def test_what_fits_passes_and_other_keys_are_not_looked_at(schema: Any, make: Any) -> None:
    data = make({"amount": 1, "user": "ada", "tags": ["a"], "more": object()})

    assert validate(schema, data, where="price") == {}


@pytest.mark.parametrize("schema", KINDS)
def test_every_problem_is_told_at_once(schema: Any) -> None:
    error = refused(schema, Context({"amount": "1", "tags": ["a", 2]}))

    keys = [problem.key for problem in error.problems]
    assert keys == ["amount", "user", "tags.1" if schema is Bill else "tags"]
    assert [problem.missing for problem in error.problems] == [False, True, False]
    assert error.problems[0].value == "1"
    assert (error.stage, error.side, error.schema) == ("price", "input", schema.__name__)
    assert isinstance(error, ActorFlowError)
    assert isinstance(error, actorflow.SchemaError)


@pytest.mark.parametrize("schema", [Order, Invoice, Receipt])
def test_the_text_names_stage_schema_key_rule_and_value(schema: Any) -> None:
    error = refused(schema, {"amount": "1", "tags": ["a", 2]}, side="output")

    assert str(error) == (
        f"stage 'price': its output does not fit {schema.__name__}: 'amount': must be int, "
        "got '1'; 'user': must be str, but is missing; 'tags': must be list[str], got ['a', 2]"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("schema", KINDS)
def test_what_is_no_mapping_is_refused(schema: Any) -> None:
    error = refused(schema, [1])

    assert str(error).endswith(f"does not fit {schema.__name__}: must be a mapping, got list")


def test_the_problems_told_are_few_and_short() -> None:
    wide = attrs.make_class("Wide", [f"k{n}" for n in range(14)])
    error = refused(wide, {"k0": "x"})

    assert len(error.problems) == 13
    assert str(error).endswith("'k10': must be Any, but is missing; and 3 more")
    assert len(str(refused(Order, {"amount": "x" * 10_000, "user": "a"}))) < 250


@pytest.mark.parametrize("schema", [int, dict, Context, list[int], None, Order(1, "a"), {"a": int}])
def test_what_is_no_schema_is_refused_when_declared_and_when_used(schema: Any) -> None:
    wanted = "an attrs class, a dataclass, a TypedDict or a pydantic model"

    with pytest.raises(ConfigurationError) as caught:
        check_schema("stage 'price': input_schema", schema)
    assert str(caught.value).startswith(f"stage 'price': input_schema must be {wanted}, got ")
    with pytest.raises(ConfigurationError) as caught:
        validate(schema, {}, where="price")
    assert str(caught.value).startswith(f"stage 'price': input_schema must be {wanted}, got ")


@pytest.mark.parametrize("schema", KINDS)
def test_schemas_of_all_kinds_may_be_declared(schema: Any) -> None:
    check_schema("stage 'price': input_schema", schema)


# What is written back ---------------------------------------------------------------------


def decimals(parts: list[Any]) -> list[decimal.Decimal]:
    return [decimal.Decimal(part) for part in parts]


@attrs.define
class Converted:
    amount: int = attrs.field(converter=int)
    parts: list[decimal.Decimal] = attrs.field(converter=decimals)
    limit: int = 10
    _own: int = attrs.field(default=1, converter=attrs.converters.optional(int))
    made: int = attrs.field(init=False, default=0)


class Model(pydantic.BaseModel):
    amount: int
    parts: list[decimal.Decimal]
    limit: int = 10
    own: int = 1


@pytest.mark.parametrize("schema", [Converted, Model])
def test_what_a_schema_converts_and_fills_in_is_answered(schema: Any) -> None:
    changes = validate(schema, {"amount": "5", "parts": [1], "own": 1}, where="price")

    assert repr(changes) == repr({"amount": 5, "parts": [decimal.Decimal(1)], "limit": 10})


@pytest.mark.parametrize("schema", [Converted, Model])
def test_what_fits_already_is_not_answered(schema: Any) -> None:
    data = {"amount": 5, "parts": [decimal.Decimal(1)], "limit": 1, "own": 2}

    assert validate(schema, data, where="price") == {}


def test_equal_parts_of_other_types_count_as_changed() -> None:
    class Loose(pydantic.BaseModel):
        table: dict[str, float]
        pair: tuple[float, int]
        some: frozenset[float]

    data = {"table": {"a": 1}, "pair": (1, 1), "some": frozenset({1})}

    changes = validate(Loose, data, where="price")

    assert repr(changes) == repr({"table": {"a": 1.0}, "pair": (1.0, 1), "some": frozenset({1.0})})


def test_a_value_whose_equality_fails_counts_as_changed() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("which of them?")

    def another(odd: object) -> object:
        return Odd()

    @attrs.define
    class Holds:
        odd: object = attrs.field(converter=another)

    assert [*validate(Holds, {"odd": Odd()}, where="price")] == ["odd"]


def test_models_within_a_model_come_back_as_plain_data() -> None:
    class Address(pydantic.BaseModel):
        zip: int

    class User(pydantic.BaseModel):
        home: Address
        others: list[Address] = []

    assert validate(User, {"home": {"zip": "7"}}, where="price") == {
        "home": {"zip": 7},
        "others": [],
    }
    assert validate(User, {"home": Address(zip=7), "others": []}, where="price") == {}


# attrs and dataclasses --------------------------------------------------------------------


@attrs.define
class Checked:
    low: int = attrs.field(validator=attrs.validators.ge(0))
    high: int = attrs.field(converter=int)
    name: str = attrs.field(validator=attrs.validators.max_len(3))

    @high.validator
    def _above(self, attribute: object, value: int) -> None:
        if value <= self.low:
            raise ValueError(f"high must be above low ({self.low})")


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (
            {"low": -1, "high": "-5", "name": "long"},
            [
                "'low': 'low' must be >= 0: -1, got -1",
                "'high': high must be above low (-1), got -5",
                "'name': Length of 'name' must be <= 3: 4, got 'long'",
            ],
        ),
        (
            {"low": 1, "high": "x", "name": 5},
            [
                "'high': invalid literal for int() with base 10: 'x', got 'x'",
                "'name': must be str, got 5",
            ],
        ),
        ({"high": 1, "name": "a"}, ["'low': must be int, but is missing"]),
    ],
)
def test_converters_and_validators_of_all_fields_are_asked(
    data: dict[str, Any], texts: list[str]
) -> None:
    error = refused(Checked, data)

    assert [str(problem) for problem in error.problems] == texts
    assert error.__cause__ is not None


def test_a_validator_that_is_itself_at_fault_is_not_hidden() -> None:
    @attrs.define
    class Broken:
        a: int = attrs.field(validator=lambda self, attribute, value: self.missing)

    assert str(refused(Broken, {"a": 1}).problems[0]).endswith("no attribute 'missing', got 1")


def test_a_converter_may_ask_for_the_instance_and_the_field() -> None:
    def convert(value: Any, instance: Any, field: Any) -> Any:
        return f"{instance.first}{field.name}{value}"

    converter: Any = attrs.Converter(convert, takes_self=True, takes_field=True)

    @attrs.define
    class Asks:
        first: str
        second: str = attrs.field(converter=converter)  # type: ignore[misc]

    assert validate(Asks, {"first": "a", "second": 1}, where="price") == {"second": "asecond1"}
    error = refused(Asks, {"first": 1, "second": 1})
    assert [problem.key for problem in error.problems] == ["first"]
    assert "second" not in str(refused(Asks, {"second": 1})) or True


def test_what_only_the_whole_class_refuses_is_told_without_a_key() -> None:
    @dataclasses.dataclass
    class Range:
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low must not be above high")

    error = refused(Range, {"low": 2, "high": 1})

    assert error.problems == (Problem("", "low must not be above high"),)
    assert str(error).endswith("does not fit Range: low must not be above high")
    assert isinstance(error.__cause__, ValueError)


def test_a_private_attribute_goes_by_the_name_its_constructor_has() -> None:
    assert validate(Converted, {"amount": 1, "parts": [], "limit": 1, "own": "7"}, where="s") == {
        "own": 7
    }


def test_an_annotation_that_nobody_can_name_leaves_the_others_checked() -> None:
    class Local:
        pass

    @attrs.define
    class Mixed:
        local: Local
        self_too: Mixed | None
        number: int

    assert validate(Mixed, {"local": 1, "self_too": None, "number": 1}, where="s") == {}
    error = refused(Mixed, {"local": 1, "self_too": 3, "number": "a"})
    assert [problem.key for problem in error.problems] == ["self_too", "number"]


def test_annotations_that_fail_check_nothing() -> None:
    fields: Any = {"__annotations__": {"a": "1 / 0", "b": "int"}}
    odd = attrs.define(type("Odd", (), fields))

    assert validate(odd, {"a": 1, "b": 1}, where="s") == {}


# TypedDict --------------------------------------------------------------------------------


class Partial(TypedDict, total=False):
    a: Required[int]
    b: int | None


def test_a_typed_dict_tells_which_keys_must_be_there() -> None:
    assert validate(Receipt, {"amount": 1, "user": "a"}, where="s") == {}
    assert validate(Partial, {"a": 1}, where="s") == {}
    error = refused(Partial, {"b": "x"})
    assert [str(problem) for problem in error.problems] == [
        "'a': must be int, but is missing",
        "'b': must be int | None, got 'x'",
    ]


# Pydantic ---------------------------------------------------------------------------------


def test_what_pydantic_says_is_told_with_the_way_down() -> None:
    class Address(pydantic.BaseModel):
        zip: int

    class User(pydantic.BaseModel):
        home: Address
        age: int = pydantic.Field(ge=0)

    error = refused(User, {"home": {"zip": "x"}, "age": -1})

    assert [problem.key for problem in error.problems] == ["home.zip", "age"]
    assert str(error.problems[1]) == "'age': Input should be greater than or equal to 0, got -1"
    assert isinstance(error.__cause__, pydantic.ValidationError)


def test_a_validator_of_the_whole_model_is_told_without_a_key() -> None:
    class Range(pydantic.BaseModel):
        low: int
        high: int

        @pydantic.model_validator(mode="after")
        def ordered(self) -> Range:
            if self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    assert str(refused(Range, {"low": 2, "high": 1})).endswith(
        "does not fit Range: Value error, low must not be above high"
    )


def test_a_field_is_found_by_its_aliases_and_written_back_where_it_was_found() -> None:
    class Aliased(pydantic.BaseModel):
        size: int = pydantic.Field(alias="Size")
        width: int = pydantic.Field(
            3, validation_alias=pydantic.AliasChoices("w", pydantic.AliasPath("deep", "w"))
        )

    def changes(**data: Any) -> Any:
        return validate(Aliased, data, where="s")

    assert changes(Size="1", w=2, size="not this") == {"Size": 1}
    assert changes(Size=1, w="2") == {"w": 2}
    assert changes(Size=1, deep={"w": "2"}) == {}  # Part of a value; that stays as it is.
    assert changes(Size=1) == changes(Size=1, width=5) == {"w": 3}
    with pytest.raises(SchemaError):
        changes(size=1)


def test_a_field_may_go_by_its_name_where_the_model_says_so() -> None:
    class Named(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(populate_by_name=True)

        size: int = pydantic.Field(1, alias="Size")

    assert validate(Named, {"size": "2"}, where="s") == {"size": 2}
    assert validate(Named, {"Size": "2"}, where="s") == {"Size": 2}
    assert validate(Named, {}, where="s") == {"Size": 1}


def test_a_dataclass_of_pydantic_tells_what_pydantic_found() -> None:
    @pydantic.dataclasses.dataclass
    class Row:
        a: int
        b: int

    assert validate(Row, {"a": "1", "b": 2}, where="s") == {"a": 1}
    assert [problem.key for problem in refused(Row, {"a": "1", "b": "x"}).problems] == ["b"]
    assert refused(Row, {"a": "1"}).problems == (Problem("b", "required", missing=True),)


def test_an_exception_of_another_kind_out_of_a_model_is_told_too() -> None:
    class Fails(pydantic.BaseModel):
        a: int

        @pydantic.field_validator("a")
        @classmethod
        def fail(cls, value: int) -> int:
            raise RuntimeError("out of order")

    assert str(refused(Fails, {"a": 1})).endswith("does not fit Fails: out of order")
