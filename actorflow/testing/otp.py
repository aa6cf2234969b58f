"""Tell what a supervision tree must do: OTP's documented rules, written down once more.

    tree ──► Reference ── start() ── exits((path, kind)) ── advance(now) ──► log, alive(), ended

To compare the runtime with: it takes the same `Supervisor` and shares no rule with what carries
it out. Pure; it is told the time. ``on_exhausted="park"`` and dynamic children are not told.

Where actorflow means to differ from OTP, and why:

* *Exhausted is a crash.* OTP's supervisor exits with ``shutdown``, so a transient one is not
  started again. Here it crashes: "after a crash only" is meant for what has failed.
* *Stopped is for good*, also if permanent: whoever asks for the end of an actor (a policy, by
  `Stop`) gets it. OTP starts a permanent child again whatever its reason was.
* *A restart may wait* (`backoff`). Who waits counts as alive, and its group takes it along.
* *A child may have a budget of its own*, which is asked before its supervisor's.
* *A start that fails in a later life is a crash of the child*, also when its supervisor is new;
  OTP fails the supervisor's start. But its mail, and the child, outlive their supervisor's life.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from actorflow.errors import ConfigurationError
from actorflow.policies.backoff import Fixed
from actorflow.policies.supervision import ChildSpec
from actorflow.runtime.declare import Supervisor

__all__ = ["Exit", "Member", "Reference"]

Exit: TypeAlias = Literal["normal", "stopped", "crash"]
Fails: TypeAlias = Mapping[str, Collection[int]]

AGAIN = {"permanent": ("normal", "crash"), "transient": ("crash",), "temporary": ()}


class Member:
    """A supervisor or a child as the rules see it."""

    def __init__(self, spec: ChildSpec, path: str, above: Member | None) -> None:
        self.spec, self.path, self.above = spec, path, above
        self.plan: Any = spec.start.plan if isinstance(spec.start, Supervisor) else None
        specs = () if self.plan is None else self.plan.children
        self.children = [Member(each, f"{path}/{each.id}", self) for each in specs]
        self.up = self.gone = False  # Gone: ended for good, unless its group brings a new one.
        self.incarnation = self.starts = 0
        self.unheard: Exit | None = None  # Its end, until its supervisor has heard of it.
        self.waits_until: float | None = None  # When it is started again, with its group.
        self.group: list[Member] = []
        self.restarts: dict[Member, list[float]] = {}  # Times of its children's, and of all.

    def everybody(self) -> Iterator[Member]:
        yield self
        for child in self.children:
            yield from child.everybody()


class Reference:
    """One tree, and what must have happened in it.

    Args:
        tree: Its restarts wait for a `Fixed` time.
        name: First part of every path.
        fails: Which starts of workers fail, by path; the first is 1.

    Attributes:
        log: ``+path`` for the start of a worker, ``!path`` if it failed, ``-path`` for its end.
        ended: How the whole tree has ended, or `None`.
        choose: Of all ends that supervisors have not heard of, which one is heard of next.
    """

    def __init__(self, tree: Supervisor, name: str = "top", fails: Fails | None = None) -> None:
        self.choose: Callable[[list[Member]], Member] = operator.itemgetter(0)
        self.top = Member(ChildSpec(name, tree, restart="temporary"), name, None)
        self.members = {member.path: member for member in self.top.everybody()}
        self.log: list[str] = []
        self.ended: Exit | None = None
        self.now = 0.0
        self._fails = {} if fails is None else fails

    def alive(self) -> dict[str, int]:
        """The workers that are up, in the order of the tree, and which incarnation each is."""
        workers = [each for each in self.members.values() if each.up and each.plan is None]
        return {each.path: each.incarnation for each in workers}

    def start(self) -> None:
        """Start the tree."""
        self.ended = None if self._start(self.top) else "crash"
        self._settle()

    def exits(self, *ends: tuple[str, Exit]) -> None:
        """Workers end by themselves at one moment; `choose` says what is heard of first."""
        for path, kind in ends:
            self._down(self.members[path], kind)
        self._settle()

    def advance(self, now: float) -> None:
        """Let time pass; restarts that are due happen, the earliest first."""
        waits = [(m.waits_until, m) for m in self.members.values() if m.waits_until]
        due, member = min(waits, key=operator.itemgetter(0), default=(math.inf, self.top))
        self.now = min(due, now)
        if due <= now and member.above is not None:
            member.waits_until = None
            self._start_all(member.above, member.group)
            self._settle()
            self.advance(now)

    def _settle(self) -> None:
        while unheard := [each for each in self.members.values() if each.unheard]:
            self._heard(self.choose(unheard))

    def _start(self, member: Member) -> bool:
        if member.gone:
            for each in member.everybody():
                each.gone, each.incarnation = False, 0
        member.incarnation += 1
        member.starts += 1
        if member.plan is None:
            member.up = member.starts not in self._fails.get(member.path, ())
            self.log.append(("+" if member.up else "!") + member.path)
            return member.up
        member.up, member.restarts = True, {}
        return self._start_all(member, member.children, new=True)

    def _start_all(self, above: Member, group: list[Member], *, new: bool = False) -> bool:
        for child in group:
            if self._start(child):
                continue
            if new and child.incarnation == 1:
                self._stop(above)
                return False
            child.unheard = "crash"
            self._heard(child)
            if not above.up or (not child.gone and above.plan.strategy != "one_for_one"):
                break  # Who is still to start is in the group of that restart.
        return True

    def _down(self, member: Member, unheard: Exit | None = None) -> None:
        member.up, member.unheard = False, unheard
        if member.plan is None:
            self.log.append(f"-{member.path}")

    def _stop(self, member: Member) -> None:
        for child in reversed(member.children):
            self._stop(child)
        member.waits_until = member.unheard = None
        if member.up:
            self._down(member)

    def _bury(self, member: Member) -> None:
        for each in member.everybody():
            each.gone = True

    def _heard(self, member: Member) -> None:
        kind, member.unheard = member.unheard, None
        spec, above = member.spec, member.above or self.top
        if kind in AGAIN[spec.restart]:
            return self._restart(above, member)
        self._bury(member)
        others = (each for each in above.children if each.spec.significant)
        alone = not any(each.up or each.unheard or each.waits_until for each in others)
        ends = {"never": False, "any_significant": True, "all_significant": alone}
        if spec.significant and ends[above.plan.auto_shutdown]:
            self._end(above, "normal")

    def _restart(self, above: Member, member: Member) -> None:
        spec, plan = member.spec, above.plan
        for whose, most, window in (
            (member, spec.max_restarts, spec.window or 30.0),
            (above, plan.max_restarts, plan.window),
        ):
            times = above.restarts.setdefault(whose, [])
            times.append(self.now)
            if most is not None and sum(self.now - each <= window for each in times) > most:
                return self._end(above, "stopped" if plan.on_exhausted == "stop" else "crash")
        group = above.children if plan.strategy == "one_for_all" else [member]
        if plan.strategy == "rest_for_one":
            group = above.children[above.children.index(member) :]
        for each in reversed(group):
            if each.spec.restart == "temporary" and (each.up or each.unheard):
                self._bury(each)
            self._stop(each)
        backoff = spec.backoff or plan.backoff
        if not isinstance(backoff, Fixed):
            raise ConfigurationError(f"{member.path} backoff", backoff, "a Fixed()")
        member.group = [each for each in group if each.spec.restart != "temporary"]
        if backoff.seconds:
            member.waits_until = self.now + backoff.seconds
        else:
            self._start_all(above, member.group)

    def _end(self, above: Member, kind: Exit) -> None:
        self._stop(above)
        if above is self.top:
            self.ended = kind
        else:
            above.unheard = kind
