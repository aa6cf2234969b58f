"""Check the data of a stage against its schema, and tell all that is wrong with it at once.

    attrs class      converters, annotations, validators, its own __init__
    dataclass        annotations, its own __init__
    TypedDict        keys and annotations
    pydantic model   all that pydantic checks; recognised by its methods, never imported

Keys that the schema does not have are not looked at. Annotations are checked as `hints`
does. What a schema changes is not lost: where a converter made a number of a text, or a
default filled a gap, `validate` answers the new value, so that the stage gets what its
schema promises. What pydantic makes of a mapping comes back as plain data, not as models,
for a store could not write these.

A class is asked by making one of it. Only where that fails is each field asked by itself,
which runs converters a second time.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from actorflow.core.hints import fits, is_typed_dict, named, unwrapped
from actorflow.errors import ConfigurationError, Problem, SchemaError

__all__ = ["check_schema", "validate"]

WANTED = "an attrs class, a dataclass, a TypedDict or a pydantic model"

Values = dict[str, Any]


class _Misfit(Exception):
    """What does not fit; the cause is what the schema itself raised."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems


def validate(
    schema: type, mapping: Mapping[str, Any], *, where: str, side: str = "input"
) -> dict[str, Any]:
    """Check *mapping* against *schema*.

    Args:
        schema: One of the kinds above.
        mapping: What is checked, a `Context` or any other.
        where: Name of the stage.
        side: "input" or "output", for the text.

    Returns:
        What the schema has otherwise than the mapping: converted values, and defaults for
        keys that were not there. Mostly empty.

    Raises:
        SchemaError: Keys are missing or values do not fit; it names them all.
        ConfigurationError: The schema is of no kind we know.
    """
    check = _check_of(schema)
    if check is None:
        raise ConfigurationError(f"stage {where!r}: {side}_schema", schema, WANTED)
    try:
        if not isinstance(mapping, Mapping):
            raise _Misfit([Problem("", f"must be a mapping, got {type(mapping).__name__}")])
        return check(schema, mapping)
    except _Misfit as misfit:
        error = SchemaError(where, side, schema.__name__, misfit.problems)
        raise error from misfit.__cause__


def check_schema(option: str, schema: object) -> None:
    """Refuse, when it is declared, what `validate` would not know.

    Raises:
        ConfigurationError: The schema is of no kind we know.
    """
    if _check_of(schema) is None:
        raise ConfigurationError(option, schema, WANTED)


def _check_of(schema: object) -> Callable[[Any, Mapping[str, Any]], Values] | None:
    if not isinstance(schema, type):
        return None
    if is_typed_dict(schema):
        return _check_typed_dict
    if hasattr(schema, "model_validate") and hasattr(schema, "model_fields"):
        return _check_model
    if attrs.has(schema) or dataclasses.is_dataclass(schema):
        return _check_class
    return None


# Classes --------------------------------------------------------------------------------


@attrs.frozen
class _Field:
    """One argument of the constructor, and the attribute that it becomes."""

    key: str
    name: str
    hint: Any
    required: bool
    attribute: Any = None  # That of attrs, with its converter and validator.


@functools.lru_cache(maxsize=256)
def _fields(cls: type) -> tuple[_Field, ...]:
    hints = _hints(cls)
    if attrs.has(cls):
        return tuple(
            _Field(
                each.alias or each.name,
                each.name,
                _hint(each, hints),
                each.default is attrs.NOTHING,
                each,
            )
            for each in attrs.fields(cls)
            if each.init
        )
    none = dataclasses.MISSING
    return tuple(
        _Field(
            each.name,
            each.name,
            _hint(each, hints),
            each.default is none and each.default_factory is none,
        )
        for each in dataclasses.fields(cls)
        if each.init
    )


def _hints(cls: type) -> dict[str, Any]:
    """The annotations, where what nobody can name (a class of a function) may be anything."""
    unknown: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(cls, None, unknown or None, include_extras=True)
        except NameError as error:
            if not error.name or error.name in unknown:
                return {}
            unknown[error.name] = cls if error.name == cls.__name__ else Any
        except Exception:  # An annotation may hold any expression; one that fails checks nothing.
            return {}


def _hint(field: Any, hints: Mapping[str, Any]) -> Any:
    plain = field.type if isinstance(field.type, type) else Any
    return hints.get(field.name, plain)


def _check_class(cls: type, mapping: Mapping[str, Any]) -> Values:
    fields = _fields(cls)
    given = {field.key: mapping[field.key] for field in fields if field.key in mapping}
    try:
        made = cls(**given)
    except Exception as error:
        problems = _told_by(error) or list(_misfits(cls, fields, given))
        raise _Misfit(problems or [Problem("", _text(error))]) from error
    has = {field.key: getattr(made, field.name) for field in fields}
    problems = [
        _wrong(field, has[field.key])
        for field in fields
        if field.key in given and not fits(field.hint, has[field.key])
    ]
    if problems:
        raise _Misfit(problems)
    return _changes(has, given)


def _misfits(cls: Any, fields: tuple[_Field, ...], given: Values) -> Iterator[Problem]:
    """What is wrong with each field; nothing if only the whole is wrong."""
    half: Any = cls.__new__(cls)  # For validators that look at other fields.
    sound = []
    for field in fields:
        if field.key not in given:
            if field.required:
                yield Problem(field.key, f"must be {named(field.hint)}", missing=True)
            continue
        try:
            value = _converted(field.attribute, half, given[field.key])
        except Exception as error:
            yield Problem(field.key, _text(error), given[field.key])
            continue
        object.__setattr__(half, field.name, value)
        if fits(field.hint, value):
            sound.append((field, value))
        else:
            yield _wrong(field, value)
    for field, value in sound:
        validator = getattr(field.attribute, "validator", None)
        try:
            if validator is not None:
                validator(half, field.attribute, value)
        except Exception as error:
            if isinstance(error, AttributeError) and len(sound) < len(fields):
                continue  # It looked at a field that is not there.
            yield Problem(field.key, _text(error), value)


def _converted(attribute: Any, half: Any, value: Any) -> Any:
    converter: Any = getattr(attribute, "converter", None)
    if converter is None:
        return value
    knows_more = isinstance(converter, attrs.Converter)
    if not knows_more:
        return converter(value)
    more = [half] * converter.takes_self + [attribute] * converter.takes_field
    return converter.converter(value, *more)


def _wrong(field: _Field, value: object) -> Problem:
    return Problem(field.key, f"must be {named(field.hint)}", value)


def _text(error: Exception) -> str:
    """What an exception says; attrs puts the text first and facts for programs after it."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return f"{said:.200}" or type(error).__name__


# TypedDict ------------------------------------------------------------------------------


def _check_typed_dict(schema: Any, mapping: Mapping[str, Any]) -> Values:
    hints = _hints(schema)
    problems = []
    for key in schema.__annotations__:
        hint, around = unwrapped(hints.get(key, Any))
        if key not in mapping:
            # Where annotations are texts, only they themselves know that one is not required.
            required = key in schema.__required_keys__ and "NotRequired" not in around
            if required or "Required" in around:
                problems.append(Problem(key, f"must be {named(hint)}", missing=True))
            continue
        value = mapping[key]
        if not fits(hint, value):
            problems.append(Problem(key, f"must be {named(hint)}", value))
    if problems:
        raise _Misfit(problems)
    return {}


# Pydantic -------------------------------------------------------------------------------


def _check_model(model: Any, mapping: Mapping[str, Any]) -> Values:
    names = {name: _keys(model, name, info) for name, info in model.model_fields.items()}
    given = {key: mapping[key] for own, deep in names.values() for key in (*own, *deep)
             if key in mapping}  # fmt: skip
    try:
        made = model.model_validate(given)
    except Exception as error:
        raise _Misfit(_told_by(error) or [Problem("", _text(error))]) from error
    has = {}
    for name, (own, deep) in names.items():
        key = next((key for key in own if key in given), "")
        if key or not any(part in given for part in deep):
            has[key or own[0]] = name
    changed = _changes({key: getattr(made, name) for key, name in has.items()}, given)
    plain = made.model_dump(include={has[key] for key in changed}) if changed else {}
    return {key: plain[has[key]] for key in changed if has[key] in plain}


def _keys(model: Any, name: str, info: Any) -> tuple[list[str], list[str]]:
    """Keys that may hold the field, the usual one first, and keys that hold it deeper down."""
    alias = getattr(info, "validation_alias", None) or getattr(info, "alias", None)
    own: list[str] = []
    deep: list[str] = []
    for choice in getattr(alias, "choices", [alias]):
        path = getattr(choice, "path", [choice])
        if isinstance(path[0], str):
            (own if len(path) == 1 else deep).append(path[0])
    config = getattr(model, "model_config", {})
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return [*own, name] if by_name or not own else own, deep


def _told_by(error: Exception) -> list[Problem]:
    """All that pydantic found, which is in one exception."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return []
    return [
        Problem(".".join(map(str, each["loc"])), "required", missing=True)
        if each["type"] == "missing"
        else Problem(".".join(map(str, each["loc"])), each["msg"], each["input"])
        for each in errors()
    ]


# What was changed -----------------------------------------------------------------------


def _changes(has: Values, given: Values) -> Values:
    return {
        key: value for key, value in has.items() if key not in given or not _same(value, given[key])
    }


def _same(one: Any, other: Any) -> bool:
    """Whether they are equal, and their parts are of the same types: 1 is not 1.0 here."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return _same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (set, frozenset)):
        return {(type(each), each) for each in one} == {(type(each), each) for each in other}
    try:
        return bool(one == other)
    except Exception:  # An == is somebody's code; that of an array has no one answer.
        return False
