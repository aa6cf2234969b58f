"""What a flow compiles to: its stages by name and what feeds what.

    Pipeline([fetch, parse, save])  ──►  Plan   fetch ──► parse ──► save

A plan is a value that all else is read from: the tree of actors, the drawings,
the version that a stored run is compared with. Whatever a flow is written as, here it is
stages and edges; where several branches are joined there is a stage that joins them.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import typing
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import attrs

from actorflow.errors import CompilationError
from actorflow.graph.nodes import Batch, Send
from actorflow.graph.stage import Stage

__all__ = ["Edge", "Join", "Plan", "check_names", "check_sends"]


@attrs.frozen
class Edge:
    """One stage feeds another.

    Attributes:
        start: Name of the stage that gives.
        end: Name of the stage that gets.
        when: Whether a value goes this way; `None` is always.
        map: What is made of the value on the way.
        batch: Values go on as lists.
        route: Taken by what the stage sends to the route of this name.
        otherwise: Taken by what is sent to a route that no other edge has.
        slot: Which branch of the joined `Parallel` begins here, from 0.
        join: Name of the stage that joins that branch.
        feedback: Whether it leads back, so that the flow has a circle.
        max_depth: Most edges that lead back which one value takes; `None` is no limit.
        dedupe: Gives a key; of each key only the first value goes back.
    """

    start: str
    end: str
    when: Callable[[Any], Any] | None = None
    map: Callable[[Any], Any] | None = None
    batch: Batch | None = None
    route: str | None = None
    otherwise: bool = False
    slot: int | None = None
    join: str | None = None
    feedback: bool = False
    max_depth: int | None = None
    dedupe: Callable[[Any], Any] | None = None

    @property
    def plain(self) -> bool:
        """Whether every value goes this way as it is."""
        return self == Edge(self.start, self.end)

    def label(self) -> str:
        """What is said of it in a drawing; empty for a plain one."""
        facts = []
        if self.route is not None:
            facts.append(self.route)
        if self.otherwise:
            facts.append("otherwise")
        if self.when is not None:
            facts.append("when")
        if self.map is not None:
            facts.append("map")
        if self.batch is not None:
            facts.append(f"batches of {self.batch.size}")
        if self.feedback:
            facts.append("feedback")
        return ", ".join(facts)


@attrs.frozen
class Join:
    """A stage that waits for all branches of a `Parallel`.

    Attributes:
        stage: Its name.
        keys: Names of the branches, if they have any.
        many: Of each branch, whether it may give several values, which it then gives as a list.
        strict: Whether an item that was skipped in one branch is skipped as a whole, as if the
            branches stood one behind the other.
    """

    stage: str
    keys: tuple[str, ...] | None
    many: tuple[bool, ...]
    strict: bool = False


@attrs.frozen
class Plan:
    """A flow that can work.

    Attributes:
        name: Name of the flow.
        stages: Every stage once, in the order of declaration.
        edges: What feeds what, in the order of declaration.
        entry: The stage that is fed from outside.
        exits: The stages whose values are the results.
        joins: The stages that join branches.
        loose: Names of stages that were put together by edges alone: in what order they were
            declared means nothing.
        version: Fingerprint of `identity`, 16 hexadecimal digits.
    """

    name: str
    stages: tuple[Stage[Any, Any], ...]
    edges: tuple[Edge, ...]
    entry: str
    exits: tuple[str, ...]
    joins: tuple[Join, ...] = ()
    loose: tuple[frozenset[str], ...] = ()
    version: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        names = [each.name for each in self.stages]
        assert len(set(names)) == len(names), names
        mentioned = {self.entry, *self.exits, *(edge.start for edge in self.edges)}
        mentioned |= {edge.end for edge in self.edges} | {join.stage for join in self.joins}
        assert mentioned <= set(names), mentioned - set(names)

    @version.default
    def _fingerprint(self) -> str:
        text = "\n".join(self.identity())
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def identity(self) -> tuple[str, ...]:
        """What makes this flow another one, a line each: the lines that differ say why a
        stored run cannot go on.

        Names, order but for what is `loose`, each stage's `version`, and the options that
        decide what a stored message means. How many workers, how large, how long, how often:
        not in it, so that a run can be tuned and continued.
        """
        lines = [f"flow {self.name!r}"]
        lines += self._ordered((each.name, _identity_of(each)) for each in self.stages)
        lines += self._ordered((each.start, _identity_of_edge(each)) for each in self.edges)
        lines.append(f"entry {self.entry!r}")
        exits = self._ordered((each, repr(each)) for each in self.exits)
        lines.append(f"exits {', '.join(exits)}")
        return tuple(lines)

    def _ordered(self, lines: Iterable[tuple[str, str]]) -> list[str]:
        """*lines*, each about a stage, those of loose stages in alphabetical order."""
        pairs = list(lines)
        texts = [text for _, text in pairs]
        for group in self.loose:
            places = [place for place, (name, _) in enumerate(pairs) if name in group]
            for place, text in zip(places, sorted(texts[each] for each in places), strict=True):
                texts[place] = text
        return texts

    @functools.cached_property
    def halts(self) -> bool:
        """Whether one item that fails at some stage ends the run."""
        return any(each.on_failure == "halt" for each in self.stages)

    @functools.cached_property
    def batches(self) -> bool:
        """Whether an item may wait for others: for a batch to be full, or the input to end."""
        at_stages = any(each.batch is not None for each in self.stages)
        return at_stages or any(each.batch is not None for each in self.edges)

    @functools.cached_property
    def asides(self) -> frozenset[str]:
        """Names of the stages whose values come to no exit: nobody waits for them."""
        leading = _reached(self.exits, self.predecessors, "")
        return frozenset(each.name for each in self.stages if each.name not in leading)

    @functools.cached_property
    def strays(self) -> tuple[str, ...]:
        """Names of the stages that say they choose a route, and that none follows, nor an edge
        that looks at what they give."""
        chosen = {
            edge.start
            for edge in self.edges
            if edge.route is not None or edge.otherwise or edge.when or edge.map
        }
        unchosen = (each for each in self.stages if each.name not in chosen)
        return tuple(each.name for each in unchosen if _returns_send(each))

    @functools.cached_property
    def gives_one(self) -> bool:
        """Whether an item gives one value at most, by what the stages and edges are."""
        joined = {name for join in self.joins for name in self.inside(join)}
        return not self.batches and all(
            each.name in joined or (not each.many and self._main_ways(each.name) <= 1)
            for each in self.stages
            if each.name not in self.asides
        )

    def _main_ways(self, name: str) -> int:
        """How many ways a value of the stage *name* may go at once, but for those to asides."""
        ways: set[Any] = {"out"} if name in self.exits else set()
        for edge in self.edges:
            if edge.start == name and edge.end not in self.asides:
                chosen = edge.route is not None or edge.otherwise
                ways.add("route" if chosen else ("join", edge.join) if edge.join else edge)
        return len(ways)

    def stage(self, name: str) -> Stage[Any, Any]:
        """The stage of that name.

        Raises:
            CompilationError: There is none; the message lists those there are.
        """
        for each in self.stages:
            if each.name == name:
                return each
        names = [each.name for each in self.stages]
        near = get_close_matches(str(name), names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        detail = f"no stage is named {name!r}{hint}; it has {', '.join(map(repr, names))}"
        raise CompilationError(self.name, detail)

    def successors(self, name: str) -> tuple[str, ...]:
        """Names of the stages that *name* feeds."""
        return tuple(dict.fromkeys(edge.end for edge in self.edges if edge.start == name))

    def predecessors(self, name: str) -> tuple[str, ...]:
        """Names of the stages that feed *name*."""
        return tuple(dict.fromkeys(edge.start for edge in self.edges if edge.end == name))

    def inside(self, join: Join) -> tuple[str, ...]:
        """Names of the stages between the fork of *join* and itself. One that does not lead there
        is none of them: nobody waits for what it gives."""
        begun = [edge.end for edge in self.edges if edge.join == join.stage]
        behind = _reached(begun, self.successors, join.stage)
        before = _reached(
            self.predecessors(join.stage),
            lambda name: [each for each in self.predecessors(name) if each in behind],
            join.stage,
        )
        return tuple(name for name in behind if name in before)

    def within(self, name: str) -> tuple[Join, ...]:
        """Those that a message in the stage *name* is on its way to, outermost first. One that
        waits for its siblings is in the branches no more."""
        found = [(self.inside(join), join) for join in self.joins]
        around = [(inside, join) for inside, join in found if name in inside]
        around.sort(key=lambda pair: -len(pair[0]))
        return tuple(join for _, join in around)

    def gather(self, name: str) -> str | None:
        """Where the values of the batches that the stage *name* gets wait for others; empty if it
        gets none; `None` if it gets single values too, so that nobody can tell."""
        if self.stage(name).batch is not None:
            return "gather"
        edges = [edge for edge in self.edges if edge.end == name]
        batched = [edge for edge in edges if edge.batch is not None]
        if batched and (len(batched) < len(edges) or name == self.entry):
            return None
        return f"from {batched[0].start}" if batched else ""

    def explain(self) -> str:
        """A table of the stages with the options that decide how they run."""
        rows: list[tuple[str, ...]] = []
        rows.append(
            ("#", "stage", "workers", "runs in", "capacity", "timeout", "policies", "feeds")
        )
        for number, each in enumerate(self.stages, 1):
            rows.append((str(number), *_row(each), ", ".join(self.successors(each.name)) or "-"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join((f"flow {self.name!r}, version {self.version}", "", *table))


def _reached(
    begun: Iterable[str], further: Callable[[str], Iterable[str]], end: str
) -> dict[str, None]:
    """All names that are *begun* or *further*, but not behind *end*."""
    found: dict[str, None] = {}
    frontier = list(begun)
    while frontier:
        name = frontier.pop()
        if name != end and name not in found:
            found[name] = None
            frontier += further(name)
    return found


def check_names(flow: str, named: Iterable[tuple[str, str]]) -> None:
    """Every name is used once.

    Args:
        flow: Name of the flow.
        named: Pairs of a stage's name and where it stands, such as ``nodes[2]``.

    Raises:
        CompilationError: Two stages have one name; it says which and how to rename one.
    """
    places: dict[str, str] = {}
    for name, place in named:
        if name in places:
            detail = (
                f"{places[name]} and {place} are both named {name!r}; "
                f"rename one: stage(fn, name={name + '-2'!r})"
            )
            raise CompilationError(flow, detail, (name,))
        places[name] = place


def check_sends(plan: Plan) -> None:
    """What a stage says it sends to routes has routes to go to.

    Only now, as a flow may be a part of another one, where they follow.

    Raises:
        CompilationError: No `Route` follows a stage that is annotated to return `Send`.
    """
    if plan.strays:
        detail = (
            f"stage {plan.strays[0]!r} returns Send(...) and no Route follows; put one behind it, "
            "such as Route({'name': stage}), or return the value itself"
        )
        raise CompilationError(plan.name, detail, plan.strays)


def _returns_send(stage: Stage[Any, Any]) -> bool:
    """Whether its handler says so; one whose annotations cannot be read says nothing."""
    fn = stage.steps[-1].fn if stage.steps else stage.fn
    try:
        made = typing.get_type_hints(inspect.unwrap(fn)).get("return")
    except Exception:  # A name that is not there at run time, or an object without annotations.
        return False
    if stage.many:
        made = next(iter(typing.get_args(made)), None)
    return made is Send


def _identity_of_edge(edge: Edge) -> str:
    label = attrs.evolve(edge, batch=None).label()
    facts = [label] if label else []
    if edge.batch is not None:
        facts.append("batches")
    if edge.join is not None:
        facts.append(f"branch {edge.slot} of {edge.join!r}")
    if edge.dedupe is not None:
        facts.append("each key once")
    return ", ".join([f"edge {edge.start!r} to {edge.end!r}", *facts])


def _identity_of(stage: Stage[Any, Any]) -> str:
    many = stage.many
    facts = [f"version {stage.version}", "gives many values" if many else "gives one value"]
    if many and stage.atomic:
        facts.append("all at once")
    if stage.unpack:
        facts.append("unpacks")
    if stage.batch is not None:
        facts.append("gets batches")
    if stage.steps:
        facts.append(f"steps {', '.join(each.name for each in stage.steps)}")
    if stage.key is not None:
        facts.append("has a key")
    return f"stage {stage.name!r}: {', '.join(facts)}"


def _row(stage: Stage[Any, Any]) -> tuple[str, ...]:
    return (
        stage.name,
        str(stage.workers),
        stage.runs_in,
        str(stage.capacity),
        "-" if stage.timeout is None else f"{stage.timeout:g} s",
        ", ".join(type(each).__name__ for each in stage.policies) or "-",
    )
