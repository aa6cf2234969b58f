"""One stage by itself, as it runs in a flow: its schemas, policies, reads and writes in force.

    harness = StageHarness(price)
    before = Context({"sku": "tea", "stock": 3})
    after = await harness.run(before)
    harness.assert_writes(before, after, ["price"])

Calling a stage calls its function and nothing else; the harness runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

import trio

from actorflow.core.context import Context
from actorflow.errors import ConfigurationError
from actorflow.flows.pipeline import Pipeline
from actorflow.graph.stage import Stage, stage

__all__ = ["StageHarness"]

_ABSENT: Any = object()


class StageHarness:
    """Runs one stage. What its policies count, such as failures for a breaker, stays between
    calls; that ends with the trio run, or with the block of ``async with StageHarness(...)``.

    Args:
        handler: A stage, or the function of one.
        deps: What the handler finds as ``ctx.deps``. With it each call begins anew.
        **flow_options: For the flow around it, such as ``middleware`` or ``policies``.

    Raises:
        ConfigurationError: It is neither, or an option is wrong.
    """

    def __init__(
        self,
        handler: Stage[Any, Any] | Callable[..., Any],
        *,
        deps: Any = None,
        **flow_options: Any,
    ) -> None:
        if not callable(handler):
            wanted = "a stage, or the function of one"
            raise ConfigurationError("StageHarness handler", handler, wanted)
        self.stage: Stage[Any, Any] = handler if isinstance(handler, Stage) else stage(handler)
        self._deps = deps
        self._flow: Pipeline[Any, Any] = Pipeline([self.stage], **flow_options)

    async def run(self, value: Any, *, metadata: Mapping[str, Any] | None = None) -> Any:
        """What the stage makes of *value*.

        Args:
            value: The item; a mapping or a `Context` for a stage of contexts.
            metadata: What the handler finds in ``ctx.metadata``.

        Raises:
            StageError: It failed, or gave no value or several; the handler's own error is the
                cause, and `attempts` says how often it was tried.
        """
        return await self._flow.invoke(value, context=metadata, deps=self._deps)

    async def run_all(self, value: Any, *, metadata: Mapping[str, Any] | None = None) -> list[Any]:
        """All values that the stage gives for *value*: of a generator, or none if it skips.

        Raises:
            StageError: It failed.
        """
        return await self._flow.invoke_all(value, context=metadata, deps=self._deps)

    def assert_writes(
        self, before: Mapping[str, Any], after: Mapping[str, Any], keys: Collection[str]
    ) -> None:
        """*after*, which the stage made of *before*, differs from it in *keys* and no others.

        A key that was set to the value that it had counts if *after* is a `Context`.

        Raises:
            AssertionError: It wrote others, or did not write one of these.
        """
        for option, value in (("before", before), ("after", after)):
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"assert_writes() {option}", value, "a mapping")
        if isinstance(keys, str) or not isinstance(keys, Collection):
            raise ConfigurationError("assert_writes() keys", keys, f"several, such as [{keys!r}]")
        written = {
            key
            for key in {*before, *after}
            if _differ(before.get(key, _ABSENT), after.get(key, _ABSENT))
        }
        if isinstance(after, Context):
            already = before.written if isinstance(before, Context) else frozenset()
            written |= after.written - already
        problems = [
            f"wrote {each!r}: {_change(before, after, each)}"
            for each in sorted(written.difference(keys), key=repr)
        ]
        problems += [f"did not write {each!r}" for each in sorted(set(keys) - written, key=repr)]
        if problems:
            expected = ", ".join(sorted(map(repr, keys))) or "nothing"
            raise AssertionError(
                f"stage {self.stage.name!r} must write {expected}, but {'; '.join(problems)}"
            )

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._flow.aclose()


def _differ(old: Any, new: Any) -> bool:
    return (old is _ABSENT) is not (new is _ABSENT) or (type(old), old) != (type(new), new)


def _change(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> str:
    old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
    if new is _ABSENT:
        return f"removed {old!r}"
    return repr(new) if old is _ABSENT else f"{old!r} became {new!r}"
