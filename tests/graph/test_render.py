"""A plan is drawn word for word as promised, whatever its names are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actorflow.graph import Edge, Plan, compile_pipeline, stage, to_dot, to_mermaid, to_text


async def fetch(url: str) -> str:
    return url


def parse(page: str) -> int:
    return len(page)


def crawl() -> Plan:
    return compile_pipeline([stage(fetch, workers=8), parse], name="crawl")


#: Each character of it means something in one of the languages.
TRICKY = 'a"b\\c#d`e<f>&"];|{g}%h'


def tricky() -> Plan:
    return compile_pipeline([stage(fetch, name=TRICKY), stage(fetch, name="größe")], name=TRICKY)


def fork() -> Plan:
    a, b, c = (stage(fetch, name=name) for name in "abc")
    edges = (Edge("a", "b"), Edge("a", "c"))
    return Plan(name="fork", stages=(a, b, c), edges=edges, entry="a", exits=("b", "c"))


def test_text_has_a_line_for_each_stage() -> None:
    assert to_text(crawl()) == "crawl\n  fetch x8 -> parse\n  parse (thread)\n"


def test_mermaid_draws_a_flowchart() -> None:
    assert to_mermaid(crawl()) == (
        "---\n"
        'title: "crawl"\n'
        "---\n"
        "flowchart LR\n"
        '    s0["fetch x8"]\n'
        '    s1["parse (thread)"]\n'
        "    s0 --> s1\n"
    )


def test_dot_draws_a_digraph() -> None:
    assert to_dot(crawl()) == (
        'digraph "crawl" {\n'
        "    rankdir=LR;\n"
        "    node [shape=box];\n"
        '    s0 [label="fetch x8"];\n'
        '    s1 [label="parse (thread)"];\n'
        "    s0 -> s1;\n"
        "}\n"
    )


def test_mermaid_writes_what_means_something_there_as_numbers() -> None:
    drawing = to_mermaid(tricky())

    assert (
        '    s0["a#34;b#92;c#35;d#96;e#60;f#62;#38;#34;#93;#59;#124;#123;g#125;#37;h"]\n' in drawing
    )
    assert '    s1["größe"]\n' in drawing
    assert 'title: "a\\"b\\\\c#d`e<f>&\\"];|{g}%h"\n' in drawing


def test_letters_of_any_script_are_drawn_as_they_are() -> None:
    plan = compile_pipeline([stage(fetch, name="größe")], name="größe")

    assert 'title: "größe"' in to_mermaid(plan)
    assert '["größe"]' in to_mermaid(plan)
    assert 'label="größe"' in to_dot(plan)


def test_dot_escapes_quotes_and_backslashes() -> None:
    drawing = to_dot(tricky())

    assert '    s0 [label="a\\"b\\\\c#d`e<f>&\\"];|{g}%h"];\n' in drawing
    assert drawing.startswith('digraph "a\\"b\\\\c#d`e<f>&\\"];|{g}%h" {\n')


@pytest.mark.parametrize(
    ("draw", "lines"),
    [
        (to_text, ["  a -> b, c", "  b", "  c"]),
        (to_mermaid, ["    s0 --> s1", "    s0 --> s2"]),
        (to_dot, ["    s0 -> s1;", "    s0 -> s2;"]),
    ],
)
def test_every_edge_is_drawn(draw: Callable[[Plan], str], lines: list[str]) -> None:
    assert [line for line in draw(fork()).splitlines() if line in lines] == lines
