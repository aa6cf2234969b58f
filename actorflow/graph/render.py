"""Draw a plan: as text, as Mermaid, as DOT.

Nodes are numbered in the drawing languages, and names stand in labels only, where
every character that means something there is written as an entity or escaped. So
any name that a stage may have can be drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from actorflow.graph.plan import Edge, Plan
from actorflow.graph.stage import Stage

__all__ = ["to_dot", "to_mermaid", "to_text"]


def to_text(plan: Plan) -> str:
    """A line per stage with what it feeds."""
    lines = [plan.name]
    for each in plan.stages:
        feeds = ", ".join(_end(edge) for edge in plan.edges if edge.start == each.name)
        lines.append(f"  {_label(each)}{f' -> {feeds}' if feeds else ''}")
    return "\n".join(lines) + "\n"


def to_mermaid(plan: Plan) -> str:
    """A Mermaid flowchart, from left to right."""
    title = json.dumps(plan.name, ensure_ascii=False)  # A JSON string is a YAML string.
    lines = ["---", f"title: {title}", "---", "flowchart LR"]
    lines += (f'    s{n}["{_entities(_label(each))}"]' for n, each in enumerate(plan.stages))
    for start, end, edge in _numbered(plan):
        arrow = "-.->" if edge.feedback else "-->"
        label = f'|"{_entities(edge.label())}"|' if edge.label() else ""
        lines.append(f"    s{start} {arrow}{label} s{end}")
    return "\n".join(lines) + "\n"


def to_dot(plan: Plan) -> str:
    """A DOT digraph for Graphviz, from left to right."""
    lines = [f"digraph {_quoted(plan.name)} {{", "    rankdir=LR;", "    node [shape=box];"]
    lines += (f"    s{n} [label={_quoted(_label(each))}];" for n, each in enumerate(plan.stages))
    for start, end, edge in _numbered(plan):
        facts = [f"label={_quoted(edge.label())}"] if edge.label() else []
        facts += ["style=dashed", "constraint=false"] if edge.feedback else []
        lines.append(f"    s{start} -> s{end}{' [' + ', '.join(facts) + ']' if facts else ''};")
    return "\n".join([*lines, "}"]) + "\n"


def _end(edge: Edge) -> str:
    return f"{edge.end} ({edge.label()})" if edge.label() else edge.end


def _label(stage: Stage[Any, Any]) -> str:
    """The name, with workers if more than one and the place if not the loop."""
    workers = f" x{stage.workers}" if stage.workers > 1 else ""
    place = f" ({stage.runs_in})" if stage.runs_in != "loop" else ""
    return f"{stage.name}{workers}{place}"


def _numbered(plan: Plan) -> Iterator[tuple[int, int, Edge]]:
    numbers = {each.name: n for n, each in enumerate(plan.stages)}
    return ((numbers[each.start], numbers[each.end], each) for each in plan.edges)


def _entities(text: str) -> str:
    """Mermaid writes a character as ``#`` and its number; quotes, ``#``, backticks and
    angle brackets mean something in a label.
    """
    return "".join(c if c.isalnum() or c in " _-.()" else f"#{ord(c)};" for c in text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
