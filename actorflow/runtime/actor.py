"""What users write: an `Actor` with annotated fields and a `receive`.

    class Account(Actor):
        balance: int = 0

        async def receive(self, message, ctx):
            match message:
                case Deposit(amount):
                    self.balance += amount
                case GetBalance():
                    return self.balance

The fields are the state. A turn that fails puts them back as they were: replace
values, do not change them in place, or spawn with ``isolation="copy"``. In debug mode
(``ActorSystem(..., debug=True)``) an actor says so when a failed turn did not keep to it.
Each actor gets a copy of its own of a list, dict or set that is a default.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

import attrs

from actorflow.errors import ConfigurationError
from actorflow.runtime.cell import Cell
from actorflow.runtime.inplace import KeptFields
from actorflow.runtime.turn import Turn

__all__ = ["Actor", "ActorBehaviour"]

#: What crashes an actor although it is an `Exception`: its state is not to be trusted.
CRASH_ON: tuple[type[BaseException], ...] = (AssertionError, MemoryError, RecursionError)


@dataclass_transform(kw_only_default=True, field_specifiers=(attrs.field,))
class Actor:
    """Base of all actors. Annotated fields become keyword arguments of the class.

    Attributes:
        crash_on: Exception types that crash the actor instead of failing the message.
    """

    crash_on: ClassVar[tuple[type[BaseException], ...]] = CRASH_ON

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not inspect.iscoroutinefunction(cls.receive):
            raise ConfigurationError(
                f"{cls.__qualname__}.receive", cls.receive, "written as `async def receive`"
            )
        attrs.define(
            cls, slots=False, kw_only=True, eq=False, repr=True, field_transformer=_own_defaults
        )

    async def receive(self, message: Any, ctx: Turn) -> Any:
        """Handle one message; what it returns answers an ask.

        Args:
            message: What was sent.
            ctx: This turn's verbs and facts.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no receive()")

    async def on_start(self, ctx: Turn) -> None:
        """Prepare an incarnation; its sends, timers and watches happen when it returns."""

    async def on_stop(self, ctx: Turn) -> None:
        """Clean up: at every end of an incarnation whose `on_start` succeeded."""


def _own_defaults(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """No two actors, and no two incarnations, share a default that can change."""
    return [
        field.evolve(default=attrs.Factory(functools.partial(copy.deepcopy, field.default)))
        if type(field.default) in (list, dict, set)
        else field
        for field in fields
    ]


class ActorBehaviour:
    """Makes an actor's incarnations and wires each into its cell.

    Args:
        start: An `Actor` class or a callable that makes one, called at each start; or an
            instance, whose field values of now each start begins with.
        where: Path of the actor, for errors.
        isolation: "fields" keeps references of the fields for a failed turn, "copy" copies.
    """

    def __init__(self, start: Any, where: str, isolation: str = "fields") -> None:
        self._make = _maker(start, where)
        self._where = where
        self._save: Callable[[dict[str, Any]], dict[str, Any]] = (
            dict.copy if isolation == "fields" else copy.deepcopy
        )

    def begin(self, cell: Cell) -> None:
        """Make the instance of a new incarnation.

        Raises:
            ConfigurationError: What the start callable made is no actor.
        """
        instance = self._make()
        if not isinstance(instance, Actor):
            raise ConfigurationError(
                f"start of {self._where}", instance, "a callable that returns an Actor"
            )
        if self._save is copy.deepcopy:  # What earlier incarnations share must not be changed.
            instance.__dict__.update(copy.deepcopy(instance.__dict__))
        if cell.kept is not None:
            cell.kept.begin(instance)
        cell.instance = instance
        cell.call = functools.partial(_receive, cell, instance.receive)
        cell.state = instance.__dict__
        cell.turn_type = Turn
        cell.crash_on = type(instance).crash_on
        cell.save = KeptFields if cell.kernel.debug and self._save is dict.copy else self._save

    def starter(self, cell: Cell) -> Callable[[Turn], Any] | None:
        """`on_start` of the instance, if it has one of its own."""
        own = type(cell.instance).on_start is not Actor.on_start
        return cell.instance.on_start if own else None

    def stopper(self, cell: Cell) -> Callable[[Turn], Any] | None:
        """`on_stop` of the instance, if it has one of its own."""
        own = type(cell.instance).on_stop is not Actor.on_stop
        return cell.instance.on_stop if own else None


def _receive(cell: Cell, receive: Callable[[Any, Turn], Any], message: Any) -> Any:
    """Begin a turn: keep the fields for its failure, and hand it its `Turn`."""
    assert cell.state is not None
    assert cell.lease is not None
    cell.saved = cell.save(cell.state)
    turn = cell.turn = Turn(cell, cell.lease)
    return receive(message, turn)


def _maker(start: Any, where: str) -> Callable[[], Any]:
    if isinstance(start, Actor):
        kind, fields = type(start), start.__dict__.copy()

        def again() -> Actor:
            fresh = kind.__new__(kind)
            fresh.__dict__.update(fields)
            return fresh

        return again
    if callable(start):
        return start  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"actor {where}", start, "an Actor class or instance, a Supervisor, or a callable"
    )
