"""What a run has counted beside its items: in every cut, and gone on with by the next part.

    mailboxes, workers, kernel ──► dump_figures ──► part of the fact "run"
                               ◄── load_figures ◄──
    circuits, rates ──► dump_policies ──► policy/<stage>, rate
                    ◄── load_policies ◄──

A crash takes what was counted after the last cut, as it takes the work: both are done again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from actorflow.flows.ledger import Outlet
from actorflow.flows.watching import Timing, timing_of
from actorflow.policies.chain import Chain
from actorflow.runtime.kernel import Kernel
from actorflow.runtime.ports import dump_chance, load_chance
from actorflow.stages.build import StageCell

__all__ = ["POLICY", "dump_figures", "dump_policies", "load_figures", "load_policies"]

logger = logging.getLogger("actorflow")

#: What the fact about the policies of a stage begins with,
POLICY = "policy/"

#: and the one about the flow's own rate limits.
RATE = "rate"


def dump_figures(
    kernel: Kernel, stages: Mapping[str, StageCell], before: Mapping[str, Timing]
) -> dict[str, Any]:
    """The figures of a run, as plain values.

    Args:
        kernel: Of the run.
        stages: By name.
        before: What the stages measured in earlier parts.
    """
    boxes = {name: cell.mailbox for name, cell in stages.items()}
    timings = {name: before.get(name, Timing()) + timing_of(cell) for name, cell in stages.items()}
    return {
        "stages": {
            name: [box.accepted, box.acked, box.failed, box.retried, box.skipped]
            for name, box in boxes.items()
        },
        "timings": {
            name: [each.turns, each.seconds, each.longest] for name, each in timings.items()
        },
        "emitted": {name: cell.emitted for name, cell in stages.items()},
        "parts": {name: cell.parts for name, cell in stages.items() if cell.parts},
        "restarts": kernel.counters["restarts"],
        "budgets": {
            name: cell.budget.dump(kernel.now())
            for name, cell in stages.items()
            if cell.budget is not None and cell.budget.used(kernel.now())
        },
        "chance": dump_chance(kernel.ports),
    }


def load_figures(
    figures: Mapping[str, Any],
    kernel: Kernel,
    stages: Mapping[str, StageCell],
    outlet: Outlet,
    renamed: Mapping[str, str],
    down: float,
) -> dict[str, Timing]:
    """Go on from what `dump_figures` gave; answers what the stages measured.

    Args:
        figures: Of an earlier part.
        kernel: Of the run.
        stages: By name.
        outlet: Where values come out.
        renamed: New names of stages by their old ones.
        down: Seconds since then.
    """
    # An earlier release did not count what came out; each item that is done gave one value.
    outlet.accepted = figures["counts"][1]
    for old, counts in figures["stages"].items():  # Also of what went past the stage before.
        cell = stages.get(renamed.get(old, old))
        if cell is not None:
            box = cell.mailbox
            box.accepted, box.acked, box.failed, box.retried, box.skipped = counts
            cell.parts = figures.get("parts", {}).get(old, 0)
    for old, count in figures.get("emitted", {}).items():
        cell = stages.get(renamed.get(old, old))
        if cell is not None and cell.target is not None:
            target: Any = cell.target
            if target.forked or target.direct:
                target.accepted = count
            else:
                target.outside = target.accepted - count
    kernel.counters["restarts"] = figures["restarts"]
    load_chance(kernel.ports, figures.get("chance"))
    for old, budget in figures.get("budgets", {}).items():
        cell = stages.get(renamed.get(old, old))
        if cell is not None and cell.budget is not None:
            cell.budget.load(budget, kernel.now(), down)
    timings = figures.get("timings", {}).items()
    return {renamed.get(old, old): Timing(*each) for old, each in timings}


def dump_policies(chains: Mapping[str | None, Chain], now: float) -> dict[str, Any]:
    """The facts about policies that have a state; *chains* by stage, the flow's under `None`."""
    return {_fact_of(name): chain.dump(now) for name, chain in chains.items() if chain.keeps}


def load_policies(
    facts: Mapping[str, Any],
    chains: Mapping[str | None, Chain],
    renamed: Mapping[str, str],
    now: float,
    down: float,
) -> None:
    """Give policies the state that *facts* have of them.

    Args:
        facts: Of an earlier part.
        chains: As for `dump_policies`.
        renamed: New names of stages by their old ones.
        now: Monotonic seconds.
        down: Seconds since then.
    """
    old = {new: name for name, new in renamed.items()}
    for name, chain in chains.items():
        own = _fact_of(name)
        before = _fact_of(name if name is None else old.get(name, name))
        state = facts.get(before, facts.get(own))  # It may have been renamed before.
        if state is not None:
            try:
                chain.load(state, now, down)
            except Exception:  # Of another kind than it was, such as a limit that has keys now.
                where = "the flow" if name is None else f"stage {name!r}"
                logger.warning("the policies of %s have changed and begin anew", where)


def _fact_of(name: str | None) -> str:
    return RATE if name is None else f"{POLICY}{name}"
