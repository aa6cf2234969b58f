"""``actorflow check``: can this flow work, and what is it made of?"""

from __future__ import annotations

import click

from actorflow.cli.front import debug_option

__all__ = ["check"]


@click.command(short_help="Say whether a flow can work, and what it is made of.")
@click.argument("target", metavar="MODULE:FLOW")
@debug_option
def check(target: str) -> None:
    """Compile a flow and show its stages with their options; nothing is run.

    Exits with 1 if the flow is wrong, with 2 if it does not exist.

    \b
    Example: actorflow check shop.flows:crawl
    """
    from actorflow.cli.load import load_flow

    click.echo(load_flow(target).explain())
