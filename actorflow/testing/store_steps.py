"""What the checks of a store are made of: a process begins, writes, and what it sees is compared.

They do not rely on ``assert``, which ``python -O`` takes away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from actorflow.durability.store import Change, DeadRow, Owned, Store
from actorflow.errors import ActorFlowError
from actorflow.testing.store_worlds import StoreWorld, new_session

__all__ = ["Check", "begin", "letter", "raises", "same", "write"]

Check: TypeAlias = Callable[[StoreWorld], None]


def same(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"got {found!r:.500}, wanted {wanted!r:.500}")


def raises(kind: type[ActorFlowError], verb: Callable[..., object], *args: Any, **more: Any) -> Any:
    """The error of exactly this kind that the verb raises."""
    try:
        answer = verb(*args, **more)
    except ActorFlowError as error:
        if type(error) is kind:
            return error
        raise AssertionError(f"got {error!r:.300}, wanted a {kind.__name__}") from error
    raise AssertionError(f"got {answer!r:.300}, wanted a {kind.__name__}")


def letter(name: str, **more: Any) -> DeadRow:
    fields: dict[str, Any] = {
        "seq": 0, "id": name, "place": "parse", "reason": "failed", "error": "ValueError",
        "text": "no number", "traceback": "Traceback ...", "attempts": 3, "at": 5.0,
        "replays": 1, "body": b"body", "facts": b"facts",
    }  # fmt: skip
    return DeadRow(**(fields | more))


def begin(world: StoreWorld, run: str = "run", lease: float = 30.0) -> tuple[Store, Owned]:
    """A process that holds *run* since time 0."""
    store = world.open(new_session(lease))
    return store, store.acquire(run, 0.0)


def write(store: Store, owned: Owned, number: int, cut: bytes, **more: Any) -> None:
    store.commit(Change(run=owned.run, epoch=owned.epoch, number=number, cut=cut, **more))
