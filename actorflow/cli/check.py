"""``actorflow check``: can this flow work, and what is it made of?"""

from __future__ import annotations

import click

from actorflow.cli.front import Code, Trouble, debug_option

__all__ = ["check"]


@click.command(short_help="Say whether a flow can work, and what it is made of.")
@click.argument("target", metavar="MODULE:FLOW")
@debug_option
def check(target: str) -> None:
    """Check a flow as far as a run would and show its stages; nothing is run.

    Exits with 1 if the flow is wrong, with 2 if it does not exist.

    \b
    Example: actorflow check shop.flows:crawl
    """
    from actorflow.cli.load import load_flow
    from actorflow.errors import ActorFlowError

    flow = load_flow(target)
    try:
        flow.check()
    except ActorFlowError as error:
        text = f"{target} cannot work: {error}"
        raise Trouble(text, Code.FAILED, error) from error
    click.echo(flow.explain())
