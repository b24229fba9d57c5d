"""`airscrew explain` and `airscrew events`: why something stands where it stands, and what has happened."""

from __future__ import annotations

import click

from libs.workflow.identity import ExecutionId
from services.cli import follow, names, render
from services.cli.options import Client, asks_admin
from services.cli.views import Event


@click.command()
@click.argument("what", metavar="EXECUTION[/NODE]")
@asks_admin
async def explain(client: Client, what: str) -> int:
    """Say why an execution, or a node of it, waits, where it runs, or why it failed.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    id, node = await _target(client, what)
    found = await client.admin.explain(id, node)
    client.output.show(
        {
            "execution": str(id),
            "node": node or None,
            "phase": found.phase,
            "live": found.live,
            "causes": [cause.as_json() for cause in found.causes],
        },
        lambda: render.explanation_text(id, node, found),
    )
    return 0


@click.command()
@click.argument("what", metavar="EXECUTION[/NODE]")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until the execution ends.")
@asks_admin
async def events(client: Client, what: str, following: bool) -> int:
    """Print what has happened in an execution, or to a node of it: when, what, and why.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    id, node = await _target(client, what)
    told: set[Event] = set()
    await _tell_news(client, id, node, told)
    if following:
        async for _ in follow.changes(client.admin, id):
            await _tell_news(client, id, node, told)
    return 0


async def _target(client: Client, what: str) -> tuple[ExecutionId, str]:
    id, node = names.target(what, client.project, client.domain)
    return await client.admin.resolve(id), node


async def _tell_news(client: Client, id: ExecutionId, node: str, told: set[Event]) -> None:
    """What was not told yet. Read from the beginning: what executors report late has happened early."""
    async for event in client.admin.events(id, node):
        if event not in told:
            told.add(event)
            client.output.record(event.as_json(), render.event_line(event))
