"""Generate what users declare, for Hypothesis: trees of supervisors.

    @given(supervision_trees(start=Worker))
    def test_my_law(tree):
        ...

What is generated shrinks towards one supervisor with one permanent child, and prints as the
Python that makes it again. Hypothesis is imported when a strategy is made, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import attrs

from actorflow import options
from actorflow.errors import ConfigurationError, MissingExtra
from actorflow.policies.backoff import Fixed
from actorflow.policies.supervision import (
    AutoShutdown,
    ChildSpec,
    OnExhausted,
    RestartType,
    Strategy,
)
from actorflow.runtime.actor import Actor
from actorflow.runtime.declare import Supervisor
from actorflow.runtime.turn import Turn

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["Mortal", "supervision_trees"]

#: Waits before a restart, the simplest first. None of them draws a jitter but the default one.
BACKOFFS = (None, Fixed(0.0), Fixed(1.0))

#: Restarts that are allowed, and seconds in which; first what a `Supervisor` has by default.
BUDGETS = (3, 0, 1, 2)
WINDOWS = (30.0, 5.0)

NAMES = "abcdefghijklmnopqrstuvwxyz"


class Death(BaseException):
    """Crashes the actor that raises it, and says nothing else."""


class Mortal(Actor):
    """A worker that ends as it is told, by ``"crash"`` or ``"stop"``, and echoes anything else."""

    async def receive(self, message: Any, ctx: Turn) -> Any:
        """End, or answer with the message."""
        if message == "crash":
            raise Death(f"{ctx.self.name} was told to")
        if message == "stop":
            ctx.stop()
        return message


def supervision_trees(
    *,
    start: Any = Mortal,
    depth: int = 3,
    width: int = 4,
    on_exhausted: Sequence[OnExhausted] = get_args(OnExhausted),
    backoffs: Sequence[Any] = BACKOFFS,
    **spec_options: Any,
) -> SearchStrategy[Supervisor]:
    """Trees of supervisors: all strategies, restart types, budgets and rules of shutdown.

    Children are called ``a``, ``b`` and so on, so that ``top/b/a`` is the first child of the
    second child of a tree that is spawned as ``top``.

    Args:
        start: What every worker is: an `Actor` class or instance, a callable that makes one, or
            a strategy of such, which draws one for each.
        depth: Most supervisors above a worker; 1 is a flat tree.
        width: Most children of a supervisor; 26 at most.
        on_exhausted: What there may be when a budget is spent, the simplest first.
        backoffs: Waits before a restart that there may be, the simplest first.
        **spec_options: For the `ChildSpec` of each worker, such as ``policies``.

    Raises:
        MissingExtra: hypothesis is not installed.
        ConfigurationError: *depth* or *width* is out of range, or *on_exhausted* is no list of
            what there may be.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingExtra("supervision_trees", "hypothesis", "test") from error
    options.count("supervision_trees() depth", depth)
    if options.count("supervision_trees() width", width) > len(NAMES):
        raise ConfigurationError("supervision_trees() width", width, "26 at most")
    known = get_args(OnExhausted)
    several = isinstance(on_exhausted, Sequence) and not isinstance(on_exhausted, str)
    if not several or not on_exhausted or any(each not in known for each in on_exhausted):
        wanted = f"a list of one or more of {', '.join(map(repr, known))}"
        raise ConfigurationError("supervision_trees() on_exhausted", on_exhausted, wanted)
    starts = start if isinstance(start, st.SearchStrategy) else st.just(start)
    grower = _Grower(starts, width, tuple(on_exhausted), tuple(backoffs), spec_options)
    return st.composite(grower.tree)(depth)


@attrs.frozen
class _Grower:
    """Draws a tree from the top down, so that a smaller one is fewer choices."""

    starts: Any
    width: int
    on_exhausted: tuple[str, ...]
    backoffs: tuple[Any, ...]
    spec_options: dict[str, Any]

    def tree(self, draw: DrawFn, depth: int) -> Supervisor:
        from hypothesis import strategies as st

        given = {
            option: draw(st.sampled_from(choices))
            for option, choices in (
                ("strategy", get_args(Strategy)),
                ("max_restarts", BUDGETS),
                ("window", WINDOWS),
                ("auto_shutdown", get_args(AutoShutdown)),
                ("on_exhausted", self.on_exhausted),
                ("backoff", self.backoffs),
            )
        }
        shuts = given["auto_shutdown"] != "never"
        children: list[ChildSpec] = []
        more = 1
        while more and len(children) < self.width:
            children.append(self._spec(draw, NAMES[len(children)], depth, shuts))
            more = draw(st.integers(0, 3))  # So that one child less is one piece of choices less.
        return Supervisor(children, **given)

    def _spec(self, draw: DrawFn, name: str, depth: int, shuts: bool) -> ChildSpec:
        from hypothesis import strategies as st

        restart = draw(st.sampled_from(get_args(RestartType)))
        given: dict[str, Any] = {"restart": restart}
        if shuts and restart != "permanent":  # A permanent child cannot be significant.
            given["significant"] = draw(st.booleans())
        if draw(st.integers(0, 5)) == 5:
            given["max_restarts"] = draw(st.sampled_from(BUDGETS))
        if depth > 1 and draw(st.integers(0, 2)) == 2:
            return ChildSpec(name, self.tree(draw, depth - 1), **given)
        return ChildSpec(name, draw(self.starts), **given, **self.spec_options)
