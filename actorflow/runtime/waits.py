"""Who waits for whom, and how a circle of waits is untied.

    a blocked commit  ──►  the readers of the mailbox that is full
    an ask            ──►  the actor that is asked

A circle of asks alone can never be answered and is refused. In any other circle some
commit waits for room: it goes above the capacity, by no more than its outbox.
"""

from __future__ import annotations

from collections.abc import Iterable

from actorflow.errors import AskCycle
from actorflow.runtime.cell import Cell
from actorflow.runtime.mailbox import Mailbox

__all__ = ["hopeless", "refuse_cycle", "untie"]


def hopeless(cell: Cell, mailbox: Mailbox) -> bool:
    """Whether no reader that *cell* would wait for at *mailbox*, or through others, can move."""
    readers: Iterable[Cell] = mailbox.readers  # type: ignore[assignment]  # Readers are cells.
    return bool(readers) and _stuck(cell, readers) is not None


def untie(cell: Cell, target: Cell) -> None:
    """*cell* asks *target* now: what thereby waits for itself may commit without room."""
    if target.blocked is None and not target.asking:
        return
    for each in _stuck(cell, [target]) or ():
        if each.blocked is not None and cell in each.blocked.readers:
            each.blocked.grant(each.task)


def _stuck(cell: Cell, first: Iterable[Cell]) -> set[Cell] | None:
    """All that waits for *cell*, seen from *first* on; `None` if any of them can move."""
    stuck: set[Cell] = set()
    mailboxes: set[Mailbox] = set()
    frontier = list(first)
    while frontier:
        here = frontier.pop()
        if here is cell or here in stuck:
            continue
        stuck.add(here)
        full = here.blocked
        if full is not None:
            if not full.readers:
                return None  # Read from outside, by somebody who is not waiting for us.
            if full not in mailboxes:
                mailboxes.add(full)
                frontier.extend(full.readers)  # type: ignore[arg-type]
        elif here.asking:
            frontier.extend(here.asking)
        else:
            return None
    return stuck


def refuse_cycle(cell: Cell, target: Cell) -> None:
    """Refuse an ask of *target* that waits, directly or through others, for *cell*.

    Raises:
        AskCycle: It does.
    """
    seen = {target}
    frontier = [(target, [cell.path, target.path])]
    while frontier:
        here, way = frontier.pop()
        if here is cell:
            raise AskCycle(way)
        for further in here.asking or ():
            if further not in seen or further is cell:
                seen.add(further)
                frontier.append((further, [*way, further.path]))
