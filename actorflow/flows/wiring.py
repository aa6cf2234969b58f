"""Connect the stages of a run: which mailbox, or what stands before it, each one's values go to.

one plain edge                         the next stage's mailbox itself
several, or one with a question        a `Junction` with a `Way` for each
branches that are joined               one `Way` to a `Fork`; they meet at a `Joiner`
batches                                a `Batcher` before the mailbox
no edge                                the way out, or nothing: what a branch that
                                       nobody waits for has given is dropped
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actorflow.core.envelope import Envelope
from actorflow.graph.joining import is_wiring
from actorflow.graph.plan import Edge, Join, Plan, check_sends
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.mailbox import Mailbox
from actorflow.stages.build import StageCell
from actorflow.stages.gather import Batcher, Fork, Gather, Joiner
from actorflow.stages.ways import Junction, Seen, Way

__all__ = ["Wiring"]


class Wiring:
    """The connections of one run.

    Args:
        plan: The compiled flow.
        stages: Its stages by name, each of which is given its target.
        outlet: The way out.
        kernel: The run's services.

    Attributes:
        entrances: What stands before a stage's mailbox, by the mailbox's path; nothing before most.
        gathers: All that holds messages besides the mailboxes, by the part of its path that a cut
            knows it by.
        seen: Keys that stages have taken, by what they are kept under.
    """

    def __init__(
        self,
        plan: Plan,
        stages: Mapping[str, StageCell],
        outlet: Mailbox,
        kernel: Kernel,
    ) -> None:
        check_sends(plan)
        self._plan = plan
        self._stages = stages
        self._kernel = kernel
        self.entrances: dict[str, Any] = {}
        self.gathers: dict[str, Gather] = {}
        self.seen: dict[str, Seen] = {}
        inside = {join.stage: plan.inside(join) for join in plan.joins}
        self._joiners = {join.stage: self._joiner(join, inside[join.stage]) for join in plan.joins}
        self._within: dict[str, list[Joiner]] = {each.name: [] for each in plan.stages}
        for joined in sorted(inside, key=lambda each: -len(inside[each])):  # Outermost first.
            for name in inside[joined]:
                self._within[name].append(self._joiners[joined])
        for each in plan.stages:
            if each.batch is not None:
                mailbox = stages[each.name].mailbox
                batcher = Batcher(mailbox, each.batch, f"{mailbox.path}//gather")
                self._gathers(each.name, "gather", batcher)
                self.entrances[mailbox.path] = batcher
        self._note_keys()
        for name, cell in stages.items():
            cell.target = self._target(name, self._exit(name, outlet))

    def batchers(self) -> tuple[Batcher, ...]:
        """Those of the stages and of the edges, in the order of the flow."""
        order = {each.name: number for number, each in enumerate(self._plan.stages)}
        found = [(key, each) for key, each in self.gathers.items() if isinstance(each, Batcher)]
        found.sort(key=lambda pair: order[pair[0].partition("//")[0]])
        return tuple(each for _, each in found)

    def mailbox_path(self, stage: str) -> str:
        """Of *stage*; of one that is gone, a path that nothing has."""
        cell = self._stages.get(stage)
        return f"//{stage}" if cell is None else cell.mailbox.path

    def around(self, stage: str, box: str) -> list[Joiner]:
        """Where the branches meet that a message is in, outermost first.

        Args:
            stage: Where it waits.
            box: The path of what it waits in, there.
        """
        found = list(self._within.get(stage, ()))
        if stage in self._joiners and "//" in box:
            found.append(self._joiners[stage])
        return found

    def joins(self) -> dict[str, Any]:
        """By path, the mailboxes whose messages go to a place where branches meet, with that."""
        found: dict[str, Any] = {}
        for name, joiners in self._within.items():
            if joiners:
                found[self._stages[name].mailbox.path] = joiners[-1]
        for joiner in self._joiners.values():
            found[joiner.mailbox.path] = joiner
        return found

    def busy(self) -> bool:
        """Whether any message waits in a mailbox or is worked on."""
        boxes = [cell.mailbox for cell in self._stages.values()]
        return any(len(box) or any(each.lease is not None for each in box.readers) for box in boxes)

    def entrance(self, name: str) -> Any:
        """Where messages for the stage *name* are put."""
        mailbox = self._stages[name].mailbox
        return self.entrances.get(mailbox.path, mailbox)

    def _gathers(self, stage: str, what: str, gather: Gather) -> None:
        self.gathers[f"{stage}//{what}"] = gather

    def _joiner(self, join: Join, names_inside: Sequence[str]) -> Joiner:
        first = {edge.slot: edge.end for edge in self._plan.edges if edge.join == join.stage}
        names = join.keys or tuple(first[slot] for slot in range(len(join.many)))
        leaks = any(
            edge.start in names_inside and edge.end not in (*names_inside, join.stage)
            for edge in self._plan.edges
        )
        inside = [self._stages[name] for name in names_inside]
        joiner = Joiner(self._stages[join.stage], names, join, inside, leaks=leaks)
        self._gathers(join.stage, "gather", joiner)
        self.entrances[joiner.mailbox.path] = joiner
        return joiner

    def _note_keys(self) -> None:
        """A stage that takes each key once knows those that it is fed from outside too."""
        journal = self._kernel.journal
        for edge in self._plan.edges:
            if edge.dedupe is not None and edge.end not in self.seen:
                seen = Seen(edge.dedupe, edge.end, journal)
                self.seen[edge.end] = seen
                mailbox = self._stages[edge.end].mailbox
                self.entrances[mailbox.path] = _Noting(seen, self.entrance(edge.end))

    # What a stage's values go to ----------------------------------------------------------

    def _exit(self, name: str, outlet: Mailbox) -> Any:
        """The way out for the stage *name*, if it is an exit."""
        exits = self._plan.exits
        if name not in exits:
            return None
        return outlet if len(exits) == 1 else _Exit(name, outlet)

    def _target(self, name: str, outlet: Any) -> Any:
        edges = [edge for edge in self._plan.edges if edge.start == name]
        ways = [self._way(edge) for edge in edges if edge.join is None]
        joins = dict.fromkeys(edge.join for edge in edges if edge.join is not None)
        ways += (self._fork([each for each in edges if each.join == join], join) for join in joins)
        if outlet is not None:
            ways.append(Way(outlet, None))
        alone = ways[0].target if len(ways) == 1 else None
        plain = all(edge.plain and self._alone(edge.end) for edge in edges)
        if plain and isinstance(alone, Mailbox):
            return alone
        return Junction(name, self._kernel, ways)

    def _alone(self, name: str) -> bool:
        """Whether one stage alone feeds the stage *name*, and nothing looks at what it gives."""
        return name not in self.seen and len(self._plan.predecessors(name)) == 1

    def _way(self, edge: Edge) -> Way:
        target = self._behind(edge.end)
        if edge.batch is not None:
            cell = self._stages[edge.end]
            target = Batcher(cell.mailbox, edge.batch, f"{cell.path}//from {edge.start}")
            self._gathers(edge.end, f"from {edge.start}", target)
        seen, shares = self.seen.get(edge.end), self._shares(edge.end)
        return Way(target, edge, shares=shares, seen=seen, leaves=self._leaves(edge))

    def _leaves(self, edge: Edge) -> bool:
        """Whether *edge* leads out of the branches of joined `Parallel`s."""
        around = self._within[edge.start]
        if not around or edge.end == around[-1].stage:
            return False
        return around[-1] not in self._within[edge.end]

    def _fork(self, edges: list[Edge], join: str) -> Way:
        edges.sort(key=_slot)
        targets = [self.entrance(edge.end) for edge in edges]
        shares = [self._shares(edge.end) for edge in edges]
        contextual = any(self._contextual(edge.end) for edge in edges)
        fork = Fork(self._joiners[join], targets, shares=shares, contextual=contextual)
        return Way(fork, None)

    def _contextual(self, name: str) -> bool:
        """Whether the stage *name* works on a Context, or those that it only passes values to."""
        stage = self._stages[name].stage
        if is_wiring(stage):
            return any(map(self._contextual, self._plan.successors(name)))
        return stage.contextual

    def _behind(self, name: str) -> Any:
        """The entrance of the stage *name* for what comes from inside the flow."""
        entrance = self.entrance(name)
        return entrance.target if isinstance(entrance, _Noting) else entrance

    def _shares(self, name: str) -> bool:
        return self._stages[name].stage.isolation == "share"


class _Noting:
    """Notes the keys of what is fed from outside, or begins a branch.

    Args:
        seen: The keys.
        target: Where it goes then.
    """

    def __init__(self, seen: Seen, target: Any) -> None:
        self._seen = seen
        self.target = target

    def rooms(self) -> Sequence[Mailbox]:
        """Whose room a message needs that is put here."""
        rooms: Sequence[Mailbox] = self.target.rooms()
        return rooms

    def put(self, envelope: Envelope) -> None:
        try:
            self._seen.add(self._seen.digest(envelope.body))
        except BaseException as error:  # A key function of the user's; the item pays for it.
            mailbox: Any = getattr(self.target, "mailbox", self.target)
            mailbox.failed += 1
            mailbox.ledger.give_up(envelope, "failed", error, mailbox.path)
            if mailbox.writers:
                mailbox.room_made()  # A place was promised and is not taken.
            return
        self.target.put(envelope)


class _Exit:
    """One of several ways out: says whose value it is."""

    direct = True

    def __init__(self, stage: str, outlet: Mailbox) -> None:
        self._stage = stage
        self._outlet = outlet

    def rooms(self) -> tuple[Mailbox, ...]:
        return (self._outlet,)

    def put(self, envelope: Envelope) -> None:
        ledger: Any = self._outlet.ledger
        ledger.leaving = self._stage
        self._outlet.put(envelope)


def _slot(edge: Edge) -> int:
    assert edge.slot is not None
    return edge.slot
