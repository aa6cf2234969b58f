"""The runs of a store, looked at from outside: compare two, and begin one with what another had.

runs = flow.runs("sqlite:///run.db")
new = await runs.fork("monday", from_stage="price")     mended code, from there on
report = await flow.run(store="sqlite:///run.db", run_id=new)
difference = await runs.diff("monday", new)

Each call opens the store in a thread of its own, does one thing, and closes it. No run is taken
hold of but the new one, so the others may be running, here or anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, final

import attrs

from actorflow.durability.hold import visiting
from actorflow.durability.store import RunRow, Store
from actorflow.errors import RunNotFoundError
from actorflow.flows.checkpoints import run_row
from actorflow.flows.differing import RunDiff, diff_runs
from actorflow.flows.forking import fork_run
from actorflow.graph.plan import Plan
from actorflow.runtime.ports import wall_time

__all__ = ["Runs"]

T = TypeVar("T")


@final
@attrs.frozen
class Runs:
    """The runs of a store, for one flow; made by ``flow.runs(store)``.

    Attributes:
        plan: Of the flow.
        store: Not open, but while a call needs it.
    """

    plan: Plan
    store: Store

    async def fork(
        self,
        run_id: str,
        *,
        from_stage: str | None = None,
        at: int | None = None,
        new_id: str | None = None,
    ) -> str:
        """Make a run that begins with what the kept checkpoints of *run_id* have; that one is only
        read. The new run goes on by ``flow.run(store=..., run_id=...)``.

        Its items have the ids they had, begin with attempt 1, and are with this flow, whatever
        version of it the other run had. There is nothing left to read: what had not been fed then
        is not in it. A sink begins anew, and so do policies.

        Args:
            run_id: The run; of any status.
            from_stage: Take each item as the latest checkpoint has it in which all its messages
                are at this stage or before it. Those that died before they came here are left
                out; of those that died here or behind it, the ones that have such a checkpoint
                are taken. By default all that one checkpoint holds is taken as it is.
            at: The number of that checkpoint, or of the only one that counts for *from_stage*. By
                default it is the last one, and all for *from_stage*.
            new_id: Id of the new run; the first free ``RUN_ID.fork-N`` by default.

        Returns:
            The id of the new run.

        Raises:
            RunNotFoundError: There is no such run.
            RunExistsError: There is a run with the new id.
            ConfigurationError: There is no such checkpoint; `CompilationError`: the flow has no
                such stage, or not those that the messages are in.
            ResumeError: An item is in no kept checkpoint at the stage or before it, or there is no
                item at all. Nothing was written.
        """
        work = functools.partial(
            fork_run,
            plan=self.plan,
            run=run_id,
            from_stage=from_stage,
            at=at,
            new_id=new_id,
            now=wall_time(),
        )
        new, _ = await self._visit(work)
        return new

    async def diff(self, a: str, b: str) -> RunDiff:
        """Compare what is known last of each item of two runs: its stored result, or else its
        messages in the last kept checkpoint that has it, or else its dead letter.

        Items are told apart by their ids. Store results (``results="store"``) to compare runs that
        have finished.

        Raises:
            RunNotFoundError: There is no such run.
        """
        return await self._visit(functools.partial(diff_runs, a=a, b=b))

    async def list(self) -> tuple[RunRow, ...]:
        """What is known of each run, the latest first."""
        return tuple(await self._visit(lambda store: store.runs()))

    async def get(self, run_id: str) -> RunRow:
        """What is known of one run.

        Raises:
            RunNotFoundError: There is no such run.
        """
        return await self._visit(lambda store: run_row(store, run_id))

    async def delete(self, run_id: str) -> None:
        """Forget a run: its checkpoints, results and dead letters.

        Raises:
            RunNotFoundError: There is no such run.
            RunInUseError: Somebody holds it.
        """
        if not await self._visit(lambda store: store.delete_run(run_id)):
            raise RunNotFoundError(run_id)

    async def _visit(self, work: Callable[..., T], *args: Any) -> T:
        """Open the store, do *work* with it in its thread, and close it."""
        async with visiting(self.store) as bridge:
            return await bridge.call(work, bridge.store, *args)
