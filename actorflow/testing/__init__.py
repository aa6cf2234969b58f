"""The laboratory: what the house uses to test itself, for tests of your own.

`store_conformance` holds a store of your own to the promises that the runtime builds on:

    from actorflow.testing import store_conformance

    def test_my_store_keeps_its_promises():
        store_conformance(MyWorld)

where ``MyWorld`` is a `StoreWorld`: a disk, and what happens to the processes on it.
"""

from actorflow.testing.store_checks import CHECKS
from actorflow.testing.store_conformance import store_agreement, store_conformance
from actorflow.testing.store_worlds import MemoryWorld, SqliteWorld, StoreWorld, new_session

__all__ = [
    "CHECKS",
    "MemoryWorld",
    "SqliteWorld",
    "StoreWorld",
    "new_session",
    "store_agreement",
    "store_conformance",
]
