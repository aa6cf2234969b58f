"""Fixtures of the runtime's tests."""

from __future__ import annotations

import pytest

from actorflow.runtime.kernel import Kernel


@pytest.fixture(params=[True, False], ids=["fast", "full"])
def both_roads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Once with the fast branch, once without; answers which."""
    fast: bool = request.param
    monkeypatch.setattr(Kernel, "fast", fast)
    return fast
