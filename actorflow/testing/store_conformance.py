"""Hold a store to its contract: named checks, then a random machine against the reference.

factory() ──► a world ──► one check      a fresh disk for each
factory() ──► a world ──► one history, beside the same one on a MemoryStore
"""

from __future__ import annotations

from collections.abc import Callable

from actorflow import options
from actorflow.errors import ConfigurationError, MissingExtra
from actorflow.testing.store_checks import CHECKS, Check
from actorflow.testing.store_worlds import StoreWorld

__all__ = ["run_check", "store_agreement", "store_conformance"]


def store_conformance(
    factory: Callable[[], StoreWorld], *, examples: int = 100, steps: int = 30
) -> None:
    """Run every check, then `store_agreement`.

    Args:
        factory: Makes a `StoreWorld` with an empty disk; called once for each check and each
            random history, and each world is closed after it.
        examples: Random histories.
        steps: Longest history.

    Raises:
        AssertionError: The store breaks its contract; the text begins with the check's name.
        MissingExtra: hypothesis is not installed.
        ConfigurationError: An argument is wrong.
    """
    _check_call("store_conformance()", factory, examples, steps)
    for check in CHECKS:
        run_check(check, factory)
    store_agreement(factory, examples=examples, steps=steps)


def run_check(check: Check, factory: Callable[[], StoreWorld]) -> None:
    """Run one of `CHECKS` in a world of its own.

    Raises:
        AssertionError: It failed, or the store raised what it should not have.
    """
    world = factory()
    try:
        check(world)
    except Exception as error:
        raise AssertionError(f"{check.__name__}: {type(error).__name__}: {error}") from error
    finally:
        world.close()


def store_agreement(
    factory: Callable[[], StoreWorld], *, examples: int = 100, steps: int = 30
) -> None:
    """Drive the store and a `MemoryStore` through random histories, and demand equal answers.

    Args:
        factory: As for `store_conformance`; its worlds must prove death.
        examples: Random histories.
        steps: Longest history.

    Raises:
        AssertionError: They disagree; Hypothesis prints the shortest history that shows it.
        MissingExtra: hypothesis is not installed.
        ConfigurationError: An argument is wrong.
    """
    _check_call("store_agreement()", factory, examples, steps)
    try:
        from actorflow.testing.store_machine import drive
    except ImportError as error:
        raise MissingExtra("store_agreement", "hypothesis", "test") from error
    drive(factory, examples=examples, steps=steps)


def _check_call(call: str, factory: object, examples: int, steps: int) -> None:
    if not callable(factory):
        wanted = "what makes a StoreWorld when it is called, such as the class MemoryWorld"
        raise ConfigurationError(f"{call} factory", factory, wanted)
    options.count(f"{call} examples", examples)
    options.count(f"{call} steps", steps)
