"""Disks and clocks for lives of durable runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import actorflow.flows.lodging
from actorflow.durability.memory import MemoryDisk, MemoryStore
from actorflow.durability.sqlite import SqliteStore
from actorflow.runtime.ports import Ports, real_ports
from tests.flows.lives import Killable


@pytest.fixture(params=["memory", "sqlite"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Gives a store per life, all with the same disk."""
    if request.param == "sqlite":
        return lambda: Killable(SqliteStore(str(tmp_path / "runs.db")))
    memory = MemoryDisk()
    return lambda: Killable(MemoryStore(disk=memory))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the wall clock of runs that are opened from now on."""

    def move(seconds: float) -> None:
        def moved(seed: int | None = None) -> Ports:
            ports = real_ports(seed)
            return attrs.evolve(ports, wall=lambda: ports.wall() + seconds)

        monkeypatch.setattr(actorflow.flows.lodging, "real_ports", moved)

    return move
