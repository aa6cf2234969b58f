"""Run the functions of `Steps`, and go on at the step that failed.

    step 1 ──► step 2 ──► step 3        step 2 fails: what step 1 gave is marked on the envelope
                 ▲                      with the number of steps done, and the turn fails
                 └── the next attempt begins here; a restart too, as a cut has the mark

A value that a step may change is packed before it gets it, so that the next attempt has it
as it was. Attempts belong to a step: where one begins that is not the first of its turn, they
begin anew. What cannot be packed is shared between attempts in a run without a store; with
one there is no mark for it, so the message goes on at the last step that could be marked.
Nor is there one behind a step that has sent or emitted something: that leaves when the turn
commits, so what fails takes it back, and the step has to run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.core.context import Context
from actorflow.core.envelope import STEP, Envelope
from actorflow.core.partway import mark, marked
from actorflow.graph.nodes import UNCHANGED, Send
from actorflow.graph.stage import Stage
from actorflow.graph.steps import Steps
from actorflow.runtime.bodies import pack_body
from actorflow.runtime.cell import Cell
from actorflow.runtime.effects import Addressed
from actorflow.runtime.turn import Turn
from actorflow.stages.around import Around
from actorflow.stages.copies import Keepsake, keep
from actorflow.wire.codec import decode

__all__ = ["StepsCall"]


@attrs.frozen
class Runnable:
    """One step as a worker runs it.

    Attributes:
        name: Its name.
        call: Of a value and a turn.
        door: Where those wait whom its limit holds up, or `None`.
    """

    name: str
    call: Around
    door: Any


@attrs.frozen
class _Mark:
    """Where the next attempt goes on, with what, and with which metadata if they changed."""

    done: int
    name: str
    value: Keepsake
    facts: Keepsake | None

    def put(self, envelope: Envelope) -> None:
        """Mark *envelope*."""
        if self.facts is not None:
            envelope.headers = self.facts.copy()
        mark(envelope, self.done, self.name, self.value.packed, self.value.original)


class StepsCall:
    """The call of a stage that has steps.

    Args:
        stage: The declaration.
        cell: The worker.
        calls: The steps, each as a call of a value and a turn.
        doors: Those of steps that have a limit, by name.
    """

    def __init__(
        self, stage: Stage[Any, Any], cell: Cell, calls: list[Around], doors: dict[str, Any]
    ) -> None:
        assert isinstance(stage.fn, Steps)
        self._cell = cell
        self._shares = stage.isolation == "share"
        self._contextual = stage.contextual
        self._by_step = stage.fn.retry == "step"
        self._names = stage.fn.names
        self._steps = [
            Runnable(name, call, doors.get(name))
            for name, call in zip(self._names, calls, strict=True)
        ]

    async def __call__(self, body: Any, turn: Turn) -> Any:
        """Run the steps that are still to be run; answers what the last one gave."""
        cell = self._cell
        envelope = cell.lease
        assert envelope is not None
        first, value = self._begin(envelope, body)
        keeps = self._by_step and (cell.chain.may_retry or cell.mailbox.journal is not None)
        again: _Mark | None = None
        for index in range(first, len(self._steps)):
            step = self._steps[index]
            if keeps and index > first and (here := self._mark(index, value, turn)) is not None:
                again, envelope.attempt = here, 1
            emitted = 0 if turn.effects is None else len(turn.effects.emits)
            try:
                made = await self._run(step, value, turn)
                if self._contextual and turn.effects is not None:
                    self._complete(value, turn.effects.emits, emitted)
                value = self._went_on(value, made)
            except BaseException as error:
                _note(error, f"in step {step.name!r}, {index + 1} of {len(self._steps)}")
                if again is not None:
                    again.put(envelope)
                raise
            if turn.effects is not None and turn.effects.skipped:
                envelope.emitted = 0
                return None
        if envelope.emitted:
            turn.metadata.pop(STEP, None)  # What goes on has no mark: metadata never has it.
        return value

    def _went_on(self, before: Any, value: Any) -> Any:
        """What goes on when a step that got *before* gave *value*: of a Context all of it, though
        the step said only what is new."""
        if not self._contextual or type(before) is not Context:
            unchanged = type(value) is Send and value.patch is UNCHANGED
            return Send(value.route, before) if unchanged else value
        if type(value) is Send:
            patch = {} if value.patch is UNCHANGED else value.patch
            return Send(value.route, self._went_on(before, patch))
        news = isinstance(value, Mapping) and type(value) is not Context
        return before.update(value) if news else value

    def _complete(self, before: Any, emits: list[Any], first: int) -> None:
        """What a step that got *before* has emitted, from the *first* on, goes on likewise."""
        for index in range(first, len(emits)):
            each = emits[index]
            if type(each) is Addressed:
                emits[index] = Addressed(each.to, self._went_on(before, each.value))
            else:
                emits[index] = self._went_on(before, each)

    def _begin(self, envelope: Envelope, body: Any) -> tuple[int, Any]:
        """Which step is the first to run, and its value."""
        found = marked(envelope) if self._by_step else None
        if found is None or found[0] not in self._names:
            envelope.emitted = 0
            return 0, body
        name, packed, value = found
        if packed is not None:
            value = decode(packed, max_bytes=None)
        return self._names.index(name), value

    def _mark(self, index: int, value: Any, turn: Turn) -> _Mark | None:
        """How to go on at the step *index* with *value*; `None` if nobody could."""
        facts = None
        if (effects := turn.effects) is not None:
            if effects.asked:
                return None
            if effects.metadata is not None:
                facts = self._keep(effects.metadata)
                if facts is None:
                    return None
        kept = self._keep(value)
        return None if kept is None else _Mark(index, self._names[index], kept, facts)

    def _keep(self, value: Any) -> Keepsake | None:
        """*value* as the next attempt is to have it; `None` if it cannot be kept."""
        cell = self._cell
        if cell.mailbox.journal is not None:
            return keep(value)
        probe = Envelope(value, None)
        if not self._shares:
            pack_body(probe, cell.kernel, cell.mailbox.path)
        return Keepsake(value, probe.packed)

    async def _run(self, step: Runnable, value: Any, turn: Turn) -> Any:
        if step.door is None:
            return await step.call(value, turn)
        await step.door.enter(self)
        try:
            return await step.call(value, turn)
        finally:
            stuck = self._cell.stuck
            if stuck is None:
                step.door.leave(self)
            else:  # A thread is still inside.
                self._cell.kernel.services.start_soon(_leave_after, list(stuck), step.door, self)


async def _leave_after(stuck: list[Any], door: Any, who: Any) -> None:
    for job in stuck:
        await job.ended.wait()
    door.leave(who)


def _note(error: BaseException, place: str) -> None:
    if place not in getattr(error, "__notes__", ()):
        error.add_note(place)
