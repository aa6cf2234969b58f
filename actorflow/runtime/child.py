"""One child as its supervisor sees it: a spec, a node, and a state from a small table.

down ──► starting ──► running ──► stopping ──► down
  ▲         │            │
  │         └─────┬──────┘ crash
  └── backoff ◄───┤
                  └──► parked, or gone
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from actorflow.policies.supervision import ChildSpec, RestartBudget, RestartDelay
from actorflow.runtime.due import Entry

__all__ = ["Child", "State", "Step"]


class State(enum.Enum):
    """Where a child is in its life."""

    DOWN = "down"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    PARKED = "parked"


class Step(enum.Enum):
    """What a supervisor does with a child, one step at a time."""

    START = "start"
    STOP = "stop"


class Child:
    """A child of one supervisor.

    Args:
        spec: How it is started, restarted and stopped.
        node: Its cell or supervisor.
        delay: How long it waits before a restart.
        settled: Called once with `None` when its first start is done, or with the error.
    """

    __slots__ = ("budget", "delay", "entry", "leaving", "lived", "node", "settled", "spec", "state")

    def __init__(
        self,
        spec: ChildSpec,
        node: Any,
        delay: RestartDelay,
        settled: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self.spec = spec
        self.node = node
        self.settled = settled
        self.state = State.DOWN
        self.entry: Entry | None = None  # The kill of a stop, or the end of a backoff.
        self.leaving = False  # It is being stopped for good.
        self.lived = False  # It has been up in this life of its supervisor.
        self.delay = delay
        self.budget: RestartBudget | None = None
        if spec.max_restarts is not None:
            self.budget = RestartBudget(spec.max_restarts, spec.window or 30.0)
            if node is not None and node.kernel.stored is not None:
                node.kernel.stored.recall(node.path, self.budget)
