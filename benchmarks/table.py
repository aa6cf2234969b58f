"""Answers as a table: for a terminal, for Markdown, for JSON.

    question | ours | against | theirs | ratio | must reach | reach for | met

A line per figure and peer, and one for the figure itself where that has a target of
its own. Which round a line shows is said in `benchmarks.measure`. *met* says how far
ours got: "no", "must", or "reach".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from benchmarks.measure import Answer
from benchmarks.question import Figure, Target

__all__ = ["Row", "rows_of", "to_markdown", "to_text"]

#: How a missing peer is to be had.
INSTALL = "pip install -e '.[bench]'"

HEADINGS = ("question", "ours", "against", "theirs", "ratio", "must reach", "reach for", "met")

#: Columns of text; numbers stand at the right.
LEFT = {"question", "against", "met"}


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        question: Name of the question.
        title: What the figure is.
        unit: Of the figure.
        least: Whether less is better.
        ours: Our figure: beside a peer the middle round, alone the best, or the worst of a bound.
        peer: Whom against; `None`: the figure stands alone.
        theirs: The peer's, in its middle round; `None` if it is not installed.
        ratio: How many times the peer's ours is.
        must: The bound that counts: on the ratio if there is a peer, else on the figure.
        reach: The one we would like.
        met: "no", "must" or "reach"; empty where there is nothing to say.
    """

    question: str
    title: str
    unit: str
    least: bool
    ours: float
    peer: str | None = None
    theirs: float | None = None
    ratio: float | None = None
    must: float | None = None
    reach: float | None = None
    met: str = ""


def rows_of(answer: Answer) -> list[Row]:
    """The lines that *answer* fills."""
    found = []
    for figure in answer.question.figures:
        ours = answer.extreme(answer.question.ours.name, figure)
        if ours is None:
            continue
        own = figure.target(None)
        peers = [_against(answer, figure, peer.name) for peer in answer.question.peers]
        if own is not None or not any(peers):
            found.append(_row(answer, figure, ours, own, measured=ours))
        found += [each for each in peers if each is not None]
    return found


def _against(answer: Answer, figure: Figure, peer: str) -> Row | None:
    theirs, target = answer.middle(peer, figure), figure.target(peer)
    missing = any(each.name == peer for each in answer.missing)
    if theirs is None and not (missing and figure is answer.question.figures[0]):
        return None  # It has no such figure; one that is missing is named once.
    ours = answer.middle(answer.question.ours.name, figure)
    assert ours is not None
    ratio = None if theirs is None else answer.ratio(peer, figure)
    row = _row(answer, figure, ours, target, measured=ratio)
    return attrs.evolve(row, peer=peer, theirs=theirs, ratio=ratio)


def _row(
    answer: Answer, figure: Figure, ours: float, target: Target | None, measured: float | None
) -> Row:
    return Row(
        question=answer.question.name,
        title=figure.title,
        unit=figure.unit,
        least=figure.least,
        ours=ours,
        must=None if target is None else target.must,
        reach=None if target is None else target.reach,
        met="" if target is None or measured is None else _met(figure, target, measured),
    )


def _met(figure: Figure, target: Target, measured: float) -> str:
    def within(bound: float | None) -> bool:
        return bound is not None and (measured <= bound if figure.least else measured >= bound)

    if target.must is not None and not within(target.must):
        return "no"
    if within(target.reach):
        return "reach"
    return "" if target.must is None else "must"


def to_text(rows: Sequence[Row]) -> str:
    """The table in aligned columns."""
    lines = [HEADINGS, *_cells(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if heading in LEFT else cell.rjust(width)
            for cell, width, heading in zip(line, widths, HEADINGS, strict=True)
        ).rstrip()
        for line in lines
    )


def to_markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown, as it stands in ``docs/performance.md``."""
    ruler = ["---" if heading in LEFT else "---:" for heading in HEADINGS]
    lines = [HEADINGS, ruler, *_cells(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """The lines as text; a title that a line shares with the one above it is left out."""
    found: list[tuple[str, ...]] = []
    before = ""
    for row in rows:
        title = row.title if row.title != before else ""
        before = row.title
        found.append((title, f"{amount(row.ours)} {row.unit}", *_against_cells(row)))
    return found


def _against_cells(row: Row) -> tuple[str, ...]:
    bounds = tuple(_bound(row, each) for each in (row.must, row.reach))
    if row.peer is None:
        return "", "", "", *bounds, row.met
    if row.theirs is None:
        return row.peer, "not installed", INSTALL, *bounds, row.met
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"  # Of a peer that uses nothing.
    return row.peer, amount(row.theirs), ratio, *bounds, row.met


def _bound(row: Row, bound: float | None) -> str:
    if bound is None:
        return ""
    sign = "≤" if row.least else "≥"
    return f"{sign} {amount(bound)}{'x' if row.peer else ''}"


def amount(value: float) -> str:
    """A number as people read it: three figures, thousands as k."""
    if value >= 99_950:
        return f"{value / 1000:.0f} k"
    if value >= 1000:
        return f"{value / 1000:.1f} k"
    return f"{value:.3g}"
