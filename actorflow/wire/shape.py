"""Read the fields of a class by name, and make an instance from them again.

    instance ──► shape.read() ──► {name: value} ──► shape.build() ──► equal instance

One shape per kind of class: attrs, dataclass, NamedTuple, Enum, Flag, pydantic.
Pydantic is recognised by its attributes and never imported. Fields are read one
level deep (what is inside them is written by the codec in its turn), and built
through the constructor, so converters and validators see what comes from disk.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from actorflow.errors import ConfigurationError

__all__ = ["Shape", "is_shapely", "shape_of"]

WANTED = "an attrs class, a dataclass, a NamedTuple, an Enum or a pydantic model"


@attrs.frozen
class Shape:
    """How instances of one class come apart and together.

    Args:
        names: The fields, as written.
        read: From an instance to its fields.
        build: From fields, all of them in *names*, to an instance.
    """

    names: frozenset[str]
    read: Callable[[Any], dict[str, Any]]
    build: Callable[[dict[str, Any]], Any]


def is_shapely(cls: type) -> bool:
    """Whether `shape_of` knows this kind of class."""
    return issubclass(cls, enum.Enum) or _keywords(cls) is not None


def shape_of(cls: type) -> Shape:
    """The shape of *cls*.

    Raises:
        ConfigurationError: It is of no kind we know, or cannot be made from its fields alone.
    """
    if issubclass(cls, enum.Flag):
        return _flag(cls)
    if issubclass(cls, enum.Enum):
        return Shape(
            frozenset({"name"}), lambda member: {"name": member.name}, lambda it: cls[it["name"]]
        )
    keywords = _keywords(cls)
    option = f"register({cls.__qualname__})"
    if keywords is None:
        raise ConfigurationError(option, cls, WANTED)
    if _takes_extras(cls):
        raise ConfigurationError(
            option, cls, "a model without extra='allow', whose extras get lost"
        )
    try:
        inspect.signature(cls).bind(**dict.fromkeys(keywords.values()))
    except TypeError as error:
        wanted = f"a class whose fields are what its constructor takes ({error})"
        raise ConfigurationError(option, cls, wanted) from error
    return _fields(cls, keywords)


def _keywords(cls: type) -> dict[str, str] | None:
    """Field names and the constructor keyword of each; None for a kind we do not know."""
    if attrs.has(cls):
        return {field.name: field.alias or field.name for field in attrs.fields(cls)}
    if dataclasses.is_dataclass(cls):
        return {field.name: field.name for field in dataclasses.fields(cls)}
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return {name: name for name in cls._fields}
    model = getattr(cls, "model_fields", None)
    if isinstance(model, Mapping) and hasattr(cls, "model_validate"):
        return {name: _pydantic_keyword(name, info) for name, info in model.items()}
    return None


def _takes_extras(cls: type) -> bool:
    config = getattr(cls, "model_config", None)
    return isinstance(config, Mapping) and config.get("extra") == "allow"


def _pydantic_keyword(name: str, info: object) -> str:
    alias = getattr(info, "validation_alias", None) or getattr(info, "alias", None)
    return alias if isinstance(alias, str) else name


def _fields(cls: type, keywords: dict[str, str]) -> Shape:
    names = tuple(keywords)

    def read(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in names}

    def build(fields: dict[str, Any]) -> Any:
        return cls(**fields)

    def build_renamed(fields: dict[str, Any]) -> Any:
        return cls(**{keywords[name]: value for name, value in fields.items()})

    same = all(name == keyword for name, keyword in keywords.items())
    return Shape(frozenset(names), read, build if same else build_renamed)


def _flag(cls: type[enum.Flag]) -> Shape:
    known = 0
    for member in cls.__members__.values():
        known |= member.value

    def check(bits: object) -> int:
        # A stranger's bits would each leave a pseudo-member in the class for ever.
        if type(bits) is not int or bits & ~known:
            raise ValueError(f"{bits!r:.40} has bits no member of {cls.__name__} has")
        return bits

    return Shape(
        frozenset({"value"}),
        lambda member: {"value": check(member.value)},
        lambda fields: cls(check(fields["value"])),
    )
