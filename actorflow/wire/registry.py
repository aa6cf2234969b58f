"""Keep which class answers to which tag, and how old versions are read.

    @message / register / actor ──► Entry(cls, tag, version) ◄── codec, by class or by tag
    @upcast(tag, 1), (tag, 2) ...  ──► fields of version 1 ──► 2 ──► ... ──► current
    register_context               ──► the one class of Contexts, known here by its parts

Bytes name a class by its tag, never by its place in a module, so classes can be
moved and renamed. A tag belongs to one class for good; only a class of the same
module and qualified name may take it over, which is what a reload does.

`REGISTRY` is the one global of this package. Decorators run when modules are
imported, before there is a system that could be handed to them. It only grows,
it holds nothing about any run, and what is in it depends on imports alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError, DecodeError
from actorflow.wire.frozen import admit_frozen, admit_leaf, admit_message
from actorflow.wire.shape import Shape, shape_of

__all__ = [
    "REGISTRY",
    "ContextParts",
    "ContextShape",
    "Entry",
    "Reference",
    "Registry",
    "actor",
    "known",
    "message",
    "register",
    "register_context",
    "register_reference",
    "upcast",
]

C = TypeVar("C", bound=type)
Fields = dict[str, Any]
Upcaster = Callable[[Fields], Fields]
ContextParts = tuple[str, list[str], dict[str, Any]]
U = TypeVar("U", bound=Upcaster)


@attrs.frozen
class Entry:
    """One class under its tag. Actors have no shape: their state is written, they are not."""

    cls: type
    tag: str
    version: int
    shape: Shape | None


@attrs.frozen
class Reference:
    """How values of *cls* become a path and a path becomes such a value."""

    cls: type
    tag: str
    to_path: Callable[[Any], str]
    from_path: Callable[[str], Any]


@attrs.frozen
class ContextShape:
    """How a Context comes apart and together: its name, the keys written, key to value.

    A value that could change is `Packed`. What `together` gets came from bytes; it may
    raise any `Exception`.
    """

    cls: type
    apart: Callable[[Any], ContextParts]
    together: Callable[[str, list[str], dict[str, Any]], Any]


class Registry:
    """Tags, versions, upcasters and references. Nothing is ever taken out."""

    def __init__(self) -> None:
        self.by_class: dict[type, Entry] = {}
        self.by_tag: dict[str, Entry] = {}
        self.references: dict[type, Reference] = {}
        self.references_by_tag: dict[str, Reference] = {}
        self.context: ContextShape | None = None
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, verb: str, cls: type, tag: str, version: int, shape: Shape | None) -> None:
        """Bind *cls* and *tag* to each other."""
        options.name(f"{verb}({cls.__qualname__}).tag", tag)
        options.count(f"{verb}({cls.__qualname__}).version", version)
        holder = self.by_tag.get(tag)
        if holder is not None and _name(holder.cls) != _name(cls):
            _clash(verb, cls, holder.cls, tag)
        former = self.by_class.get(cls)
        if former is not None and former.tag != tag:
            wanted = f"{former.tag!r}, which the class has already"
            raise ConfigurationError(f"{verb}({cls.__qualname__}).tag", tag, wanted)
        self.by_class[cls] = self.by_tag[tag] = Entry(cls, tag, version, shape)

    def add_reference(self, reference: Reference) -> None:
        holder = self.references_by_tag.get(reference.tag)
        if holder is not None and _name(holder.cls) != _name(reference.cls):
            _clash("register_reference", reference.cls, holder.cls, reference.tag)
        self.references[reference.cls] = self.references_by_tag[reference.tag] = reference

    def add_upcaster(self, tag: str, from_version: int, step: Upcaster) -> None:
        options.name("upcast.tag", tag)
        options.count("upcast.from_version", from_version)
        former = self._upcasters.get((tag, from_version))
        if former is not None and _name(former) != _name(step):
            wanted = f"a version without upcaster ({_name(former)} is there, {_name(step)} came)"
            raise ConfigurationError(f"upcast({tag!r}).from_version", from_version, wanted)
        self._upcasters[tag, from_version] = step

    def is_context(self, cls: type) -> bool:
        """Whether *cls* is the class of Contexts."""
        return self.context is not None and cls is self.context.cls

    def known(self, tag: str) -> bool:
        """Whether a class answers to *tag*."""
        return tag in self.by_tag

    def entry(self, tag: str, version: int) -> Entry:
        """Who reads what was written as *version* of *tag*.

        Raises:
            DecodeError: Nobody has the tag, or the version is newer than ours.
        """
        entry = self.by_tag.get(tag)
        if entry is None:
            name = tag.rpartition(".")[2]
            raise DecodeError(f'unknown tag {tag!r}; add: actorflow.register({name}, "{tag}")')
        if version > entry.version:
            raise DecodeError(
                f"version {version} of {tag!r} is newer than ours ({entry.version}); "
                "run the program that wrote it"
            )
        return entry

    def upgrade(self, tag: str, version: int, fields: Fields) -> Fields:
        """*fields* as the current version of *tag* has them.

        Raises:
            DecodeError: A step is missing, or raised, or answered something else than a dict.
        """
        for step_from in range(version, self.entry(tag, version).version):
            step = self._upcasters.get((tag, step_from))
            if step is None:
                raise DecodeError(
                    f"no way up from version {step_from} of {tag!r}; "
                    f'add a function with: @actorflow.upcast("{tag}", {step_from})'
                )
            try:
                fields = step(fields)
            except Exception as error:
                detail = f"upcaster {_name(step)} raised {type(error).__name__}"
                raise DecodeError(detail) from error
            if type(fields) is not dict:
                kind = type(fields).__name__
                raise DecodeError(f"upcaster {_name(step)} must return a dict, got {kind}")
        return fields


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _clash(verb: str, cls: type, holder: type, tag: str) -> NoReturn:
    wanted = f"a tag no other class has ({_name(holder)} has it, {_name(cls)} wants it)"
    raise ConfigurationError(f"{verb}({cls.__qualname__}).tag", tag, wanted)


REGISTRY = Registry()


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def message(cls: C, /, *, tag: str | None = None, version: int = 1) -> C: ...
@overload
def message(
    cls: None = None, /, *, tag: str | None = None, version: int = 1
) -> Callable[[C], C]: ...
def message(cls: Any = None, /, *, tag: str | None = None, version: int = 1) -> Any:
    """Make a class a message: frozen, comparable, matchable and known to the codec.

    Fields are its annotations, as in a dataclass; attrs does the work.

    Args:
        cls: The class, when used without brackets.
        tag: What bytes call it; "module.QualName" if not given. Never change it.
        version: Counts up when fields change so that old bytes need an `upcast`.

    Raises:
        ConfigurationError: Another class has the tag.
    """

    def declare(cls: type) -> type:
        made: type = attrs.frozen(cls)
        REGISTRY.add("message", made, _name(made) if tag is None else tag, version, shape_of(made))
        admit_message(made)
        return made

    return declare if cls is None else declare(cls)


def actor(tag: str, *, version: int = 1) -> Callable[[C], C]:
    """Give a durable actor class the tag its stored state goes by. The class stays as it is.

    Raises:
        ConfigurationError: Another class has the tag.
    """

    def declare(cls: C) -> C:
        REGISTRY.add("actor", cls, tag, version, None)
        return cls

    return declare


def register(cls: type, tag: str, *, version: int = 1) -> None:
    """Let the codec write instances of a class that is not ours to decorate.

    Args:
        cls: An attrs class, dataclass, NamedTuple, Enum or pydantic model.
        tag: What bytes call it. Never change it.
        version: Counts up when fields change so that old bytes need an `upcast`.

    Raises:
        ConfigurationError: The kind of class is unknown, or another class has the tag.
    """
    shape = shape_of(cls)
    REGISTRY.add("register", cls, tag, version, shape)
    if issubclass(cls, enum.Enum):
        admit_leaf(cls)


def register_reference(
    cls: type, to_path: Callable[[Any], str], from_path: Callable[[str], Any], *, tag: str = "ref"
) -> None:
    """Let the codec write values of *cls* as the path they stand for.

    Args:
        cls: The type; instances of subclasses are not written.
        to_path: From a value to its path.
        from_path: From a path to a value, where `decode` is given no `resolve`.
        tag: Tells several reference types apart.

    Raises:
        ConfigurationError: Another class has the tag.
    """
    options.name("register_reference.tag", tag)
    REGISTRY.add_reference(Reference(cls, tag, to_path, from_path))
    admit_leaf(cls)


def register_context(
    cls: type,
    apart: Callable[[Any], ContextParts],
    together: Callable[[str, list[str], dict[str, Any]], Any],
) -> None:
    """Let the codec write Contexts, which are *cls*, and take them for frozen.

    Args:
        cls: The class. There is one; another takes its place.
        apart: From a Context to its name, the keys written, and key to value.
        together: From these parts to a Context.
    """
    REGISTRY.context = ContextShape(cls, apart, together)
    admit_frozen(cls)


def upcast(tag: str, from_version: int) -> Callable[[U], U]:
    """Read old fields: the decorated function turns version *from_version* into the next.

    It gets the fields as a dict, may change it, and returns a dict. Steps are
    chained until the current version is reached.

    Raises:
        ConfigurationError: The tag has an upcaster from that version already.
    """

    def declare(step: U) -> U:
        REGISTRY.add_upcaster(tag, from_version, step)
        return step

    return declare


def known(tag: str) -> bool:
    """Whether a class answers to *tag*; if not, `decode` refuses bytes that hold it."""
    return REGISTRY.known(tag)
