"""A pytest plugin of one fixture; a test suite names it in its ``conftest.py``:

    pytest_plugins = ["actorflow.testing.plugin"]

It is not loaded by itself: pytest would rewrite the assertions of the whole library for every
test suite on the machine, and import it for those that never use it. With pytest-trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actorflow.testing.systems import StrictSystem

__all__ = ["actor_system"]


@pytest.fixture
async def actor_system() -> AsyncIterator[StrictSystem]:
    """An `actorflow.testing.StrictSystem` called "test"; fails a test that loses a message."""
    async with StrictSystem("test") as system:
        yield system
