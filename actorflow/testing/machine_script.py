"""What a `SystemMachine` writes down and keeps: its script, and how far it has come; and the checks
of what is declared for one."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeAlias

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError
from actorflow.testing.fault_strategies import OF_HANDLERS, SURVIVED
from actorflow.testing.faults import Fault

__all__ = [
    "Body",
    "Command",
    "Progress",
    "check_arguments",
    "check_async",
    "check_declared",
    "plannable",
]

#: An async method of a machine.
Body: TypeAlias = "Callable[..., Awaitable[object]]"


@attrs.frozen
class Command:
    """One line of a script.

    Attributes:
        body: What is called with the machine, the system and *args*; `None` kills the process.
        args: Beside those.
    """

    body: Body | None
    args: Mapping[str, Any]


@attrs.define
class Progress:
    """How far a script has come; survives every death of the process.

    Attributes:
        done: Commands that were begun.
        interrupted: Whether the last of them has not come to its end.
        spawned: Names of the actors that there are.
        model: Of the machine.
    """

    done: int
    spawned: list[str]
    model: Any
    interrupted: bool = False


def plannable(where: str, kinds: Collection[type[Fault]]) -> tuple[type[Fault], ...]:
    """*kinds* of faults that may be planned while a script is run, the simplest first.

    Raises:
        ConfigurationError: One of them is none that a system gets over by itself.
    """
    usable = (*SURVIVED, *OF_HANDLERS)
    if not isinstance(kinds, Collection) or any(each not in usable for each in kinds):
        names = ", ".join(each.__name__ for each in usable)
        raise ConfigurationError(f"{where}.faults", kinds, f"some of {names}, in a tuple")
    return tuple(each for each in usable if each in kinds)


def check_declared(where: str, machine: Any, *, whole: bool) -> None:
    """What the *machine*, or a class of such, declares can be; a property is not looked into.

    Args:
        where: Name of the class.
        machine: What has the attributes.
        whole: Whether there must be all actors; else a subclass may declare them.

    Raises:
        ConfigurationError: Something cannot.
    """
    actors, always = machine.actors, machine.always
    if not isinstance(actors, property):
        if not isinstance(actors, Mapping):
            wanted = "a dict by name, such as {'account': Account}"
            raise ConfigurationError(f"{where}.actors", actors, wanted)
        for each in actors:
            options.name(f"{where}.actors name", each)
    if not isinstance(always, property):
        if isinstance(always, str) or not isinstance(always, Collection):
            wanted = "names of actors in a tuple, such as ('account',)"
            raise ConfigurationError(f"{where}.always", always, wanted)
        if isinstance(actors, Mapping) and (actors or whole):
            unknown = [each for each in always if each not in actors]
            if unknown:
                wanted = (
                    f"names of its actors, {', '.join(map(repr, actors)) or 'of which it has none'}"
                )
                raise ConfigurationError(f"{where}.always", unknown[0], wanted)
    if not isinstance(machine.options, (Mapping, property)):
        wanted = "a dict of options of ActorSystem.spawn()"
        raise ConfigurationError(f"{where}.options", machine.options, wanted)
    if not isinstance(machine.faults, property):
        plannable(where, machine.faults)
    if type(machine.seed) is not int and not isinstance(machine.seed, property):
        raise ConfigurationError(f"{where}.seed", machine.seed, "a whole number")


def check_async(where: str, body: Any) -> None:
    """*body* is an async method, or something around one."""
    if not (callable(body) and inspect.iscoroutinefunction(inspect.unwrap(body))):
        raise ConfigurationError(where, body, "an async method: write `async def`")


def check_arguments(where: str, body: Body, given: Collection[str]) -> None:
    """*body* can be called with a machine, a system and what is *given* by name."""
    signature = inspect.signature(body)
    try:
        signature.bind(None, None, **dict.fromkeys(given))
    except TypeError as error:
        wanted = f"given a strategy for each argument of {signature} after system ({error})"
        raise ConfigurationError(where, list(given), wanted) from None
