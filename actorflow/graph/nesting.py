"""What a flow that is a node of another brings with it besides its stages.

    policies      defaults for its stages: a stage's own count first, then those of the innermost
                  flow that it is in, and last those of the flow that is run; each kind alone
    on_failure    likewise

Everything else that a flow may have is about a run or about whole items. A part of a flow has
neither, so it is refused rather than forgotten.
"""

from __future__ import annotations

from typing import Any

import attrs

from actorflow.errors import CompilationError
from actorflow.graph.joining import is_wiring
from actorflow.graph.plan import Plan
from actorflow.graph.stage import Stage
from actorflow.policies.bulkhead import Bulkhead
from actorflow.policies.cache import Cache
from actorflow.policies.kinds import kind_of, with_defaults
from actorflow.policies.ratelimit import RateLimit
from actorflow.policies.timeout import Deadline, Timeout

__all__ = ["stages_of"]

#: What a flow says of each item as a whole.
_OF_ITEMS = (RateLimit, Bulkhead, Deadline)


def stages_of(flow: str, node: Any, inner: Plan, place: str) -> tuple[Stage[Any, Any], ...]:
    """The stages of *node*, a flow with the plan *inner* that stands at *place* of *flow*, with
    what it says of them.

    Raises:
        CompilationError: It has what cannot hold for a part of a flow.
    """
    policies, on_failure = getattr(node, "policies", ()), getattr(node, "on_failure", None)
    where = f"{place} (flow {inner.name!r})"
    for each in policies:
        kind = kind_of(each)
        if kind in _OF_ITEMS:
            detail = (
                f"{where} has the policy {kind.__name__}, which a flow has for whole items; give "
                f"it to the flow that is run, or to a stage: stage(fn, policies=[{each!r}])"
            )
            raise CompilationError(flow, detail)
    for name in ("observers", "middleware", "hooks"):
        if getattr(node, name, ()):
            detail = f"{where} has {name}=, which is about a whole run; give it to {flow!r} instead"
            raise CompilationError(flow, detail)
    if not policies and on_failure is None:
        return inner.stages
    return tuple(_settled(each, policies, on_failure) for each in inner.stages)


def _settled(stage: Stage[Any, Any], policies: Any, on_failure: Any) -> Stage[Any, Any]:
    own = stage.on_failure or on_failure
    if is_wiring(stage):  # No policies are about what nobody wrote.
        return attrs.evolve(stage, on_failure=own)
    left_out: tuple[type, ...] = ()
    if stage.timeout is not None:
        left_out += (Timeout,)
    if "generator" in stage.kind:
        left_out += (Cache,)
    held = [each for each in policies if not isinstance(each, left_out)]
    return attrs.evolve(stage, policies=tuple(with_defaults(stage.policies, held)), on_failure=own)
