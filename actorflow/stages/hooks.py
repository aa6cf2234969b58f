"""Tell hooks what became of a message, when that is decided and nothing can change it.

    before_stage ──► handler ──► settle ──► commit ──► on_success | on_skip ──► after_stage
       in the turn,                            │
       off its clock                           └─► on_failure, of the ledger, with the dead letter

Hooks of a turn run in its worker's task after the commit: a slow one slows its stage and
nothing else, and there are never more of them than workers. An async one is shielded, so
that the end of a run waits for it, and has `HOOK_SECONDS`. What a hook raises is logged and
counted under ``hook_errors``. Values are given as copies where they can be changed.

`on_failure` belongs to the dead letter, which need not come from a turn. An async one runs
in a task beside the stages; a run does not end before it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from actorflow.core.envelope import Envelope
from actorflow.errors import ConfigurationError
from actorflow.graph.stage import Stage
from actorflow.policies.decision import Ack, Skip
from actorflow.runtime.cell import Cell
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.turn import Turn
from actorflow.stages.clock import off_the_clock
from actorflow.stages.copies import Keepsake, keep

__all__ = ["HOOK_SECONDS", "check_hooks", "hear_the_rest", "is_hooked", "tell_of", "with_hooks"]

#: How long an async hook may take, in seconds.
HOOK_SECONDS = 5.0

_VERBS = ("before_stage", "after_stage")


def check_hooks(option: str, hooks: Any) -> tuple[Any, ...]:
    """*hooks* as a tuple, if each is an object with one of the two methods at least."""
    wanted = f"an object with {' or '.join(_VERBS)}"
    if isinstance(hooks, (str, bytes)) or not isinstance(hooks, Sequence):
        raise ConfigurationError(option, hooks, f"a list; each is {wanted}")
    for index, hook in enumerate(hooks):
        verbs = [each for each in _VERBS if callable(getattr(hook, each, None))]
        if isinstance(hook, type) or not verbs:
            raise ConfigurationError(f"{option}[{index}]", hook, wanted)
    return tuple(hooks)


def is_hooked(stage: Stage[Any, Any], kernel: Kernel) -> bool:
    """Whether anybody wants to hear of the turns of *stage*."""
    return bool(kernel.hooks) or stage.on_success is not None or stage.on_skip is not None


def with_hooks(
    stage: Stage[Any, Any], cell: Cell, call: Callable[[Any, Turn], Awaitable[Any]]
) -> Callable[[Any, Turn], Awaitable[Any]]:
    """*call*, of a value and a `Turn`, with what hooks are to hear of it."""
    before = [hook.before_stage for hook in cell.kernel.hooks if hasattr(hook, "before_stage")]

    async def told(body: Any, turn: Turn) -> Any:
        assert cell.lease is not None
        story = _Story(stage, cell, cell.lease, body)
        turn.told(story.decided)
        for hook in before:
            args = (stage.name, story.item, story.value.copy())
            run = functools.partial(_run, cell.kernel, cell.path, "before_stage", hook, *args)
            await off_the_clock(cell, run)
        result = await call(body, turn)
        story.note(turn, result)
        return result

    return told


class _Story:
    """One turn, as hooks are told it."""

    __slots__ = ("_came", "_cell", "_envelope", "_result", "_stage", "item", "value")

    def __init__(self, stage: Stage[Any, Any], cell: Cell, envelope: Envelope, body: Any) -> None:
        self._stage = stage
        self._cell = cell
        self._envelope = envelope
        self._result = Keepsake(None, None)
        self._came = False
        names = getattr(cell.mailbox.ledger, "ids", {})
        self.item = names.get(envelope.root, envelope.root)
        wanted = stage.on_skip is not None or cell.kernel.hooks
        self.value = (keep(body) if wanted else None) or Keepsake(body, None)

    def note(self, turn: Turn, result: Any) -> None:
        """The handler has returned *result*."""
        effects = turn.effects
        assert effects is not None
        self._came = not effects.skipped
        if self._came:
            self._result = keep(result) or Keepsake(result, None)
        else:
            self._came = bool(effects.emits or self._envelope.emitted)

    async def decided(self, decision: Any, error: BaseException | None) -> None:
        """It is decided: the turn has committed, or failed with *error* and *decision*."""
        stage, value = self._stage, self.value
        if error is None and self._came:
            if stage.on_success is not None:
                await self._tell("on_success", stage.on_success, self._result.copy())
        elif (error is None or isinstance(decision, (Ack, Skip))) and stage.on_skip is not None:
            await self._tell("on_skip", stage.on_skip, value.copy())
        for hook in self._cell.kernel.hooks:
            if hasattr(hook, "after_stage"):
                result = self._result.copy() if error is None else None
                args = (stage.name, self.item, value.copy(), result, error)
                await self._tell("after_stage", hook.after_stage, *args)

    async def _tell(self, what: str, hook: Callable[..., Any], *args: Any) -> None:
        await _run(self._cell.kernel, self._cell.path, what, hook, *args, shield=True)


async def _run(
    kernel: Kernel,
    path: str,
    what: str,
    hook: Callable[..., Any],
    *args: Any,
    shield: bool = False,
) -> None:
    try:
        answer = hook(*args)
    except BaseException as error:
        _report(kernel, path, what, error)
        return
    if inspect.isawaitable(answer):
        await _finish(kernel, path, what, answer, shield)


async def _finish(kernel: Kernel, path: str, what: str, answer: Any, shield: bool) -> None:
    try:
        with trio.CancelScope(deadline=trio.current_time() + HOOK_SECONDS, shield=shield) as scope:
            await answer
    except GeneratorExit:
        raise
    except BaseException as error:
        if not shield and trio.current_effective_deadline() == -math.inf:
            raise  # The turn is ended, by us.
        _report(kernel, path, what, error)
        return
    if scope.cancelled_caught:
        _report(kernel, path, what, TimeoutError(f"took longer than {HOOK_SECONDS:g} s"))


def _report(kernel: Kernel, path: str, what: str, error: BaseException) -> None:
    kernel.counters["hook_errors"] += 1
    kernel.report(path, what, error)


# Dead letters ---------------------------------------------------------------------------


def tell_of(kernel: Kernel, hook: Callable[[Any], Any], letter: Any) -> None:
    """Call the `on_failure` *hook* with *letter*; an async one is finished in a task."""
    try:
        answer = hook(letter)
    except BaseException as error:
        _report(kernel, f"/{kernel.name}", "on_failure", error)
        return
    if inspect.isawaitable(answer):
        kernel.unheard.append(answer)
        hear_the_rest(kernel)


def hear_the_rest(kernel: Kernel) -> None:
    """Finish async `on_failure` hooks; those that came before the run had begun, when it has."""
    if kernel.services is None:
        return
    while kernel.unheard:
        answer = kernel.unheard.pop(0)
        try:
            kernel.services.start_soon(_finish_beside, kernel, answer)
        except RuntimeError as error:  # The run is over.
            if inspect.iscoroutine(answer):
                answer.close()
            _report(kernel, f"/{kernel.name}", "on_failure", error)


@trio.lowlevel.enable_ki_protection
async def _finish_beside(kernel: Kernel, answer: Any) -> None:
    await _finish(kernel, f"/{kernel.name}", "on_failure", answer, True)
