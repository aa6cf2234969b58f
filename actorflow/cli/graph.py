"""``actorflow graph``: draw a flow."""

from __future__ import annotations

import click

from actorflow.cli.front import debug_option

__all__ = ["graph"]


@click.command(short_help="Draw a flow as text, Mermaid or DOT.")
@click.argument("target", metavar="MODULE:FLOW")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "mermaid", "dot"]),
    default="text",
    show_default=True,
    help="How to draw it.",
)
@debug_option
def graph(target: str, style: str) -> None:
    """Draw the stages of a flow and what feeds what.

    \b
    Example: actorflow graph shop.flows:crawl --format dot | dot -Tsvg -o crawl.svg
    """
    from actorflow.cli.load import load_flow

    flow = load_flow(target)
    draw = {"text": flow.to_text, "mermaid": flow.to_mermaid, "dot": flow.to_dot}
    click.echo(draw[style](), nl=False)
