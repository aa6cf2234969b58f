"""One life of the demo under ``--kill``: it says how far it got, until it is killed.

Each time it waits for leave to write on, so that a life which is to be killed is alive then;
its workers and its checkpoints go on meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import trio

from actorflow.flows.sinks import JsonLinesSink

__all__ = ["TellingSink"]


class TellingSink(JsonLinesSink):
    """A file of JSON lines that says on standard output how many this process has for it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._made = 0

    async def write(self, values: Sequence[Any]) -> None:
        """Say how far it got, wait for an answer, and write a line per value.

        In this order: a checkpoint must not find lines that are written and not yet ours.
        """
        self._made += len(values)
        print(self._made, flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        await super().write(values)
