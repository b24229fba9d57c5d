"""`airscrew cache`: results that later executions take over."""

from __future__ import annotations

import click

from libs.workflow.identity import ExecutionId
from services.cli import names
from services.cli.names import UsageError
from services.cli.options import Client, asks_admin


@click.group()
def cache() -> None:
    """Cached results of tasks."""


@cache.command()
@click.argument("made", metavar="[EXECUTION[/NODE]]", required=False)
@click.option("--task", help="Name of a task instead: whatever it has computed.")
@click.option("--version", "task_version", default="", help="Only this version of the task.")
@asks_admin
async def evict(client: Client, made: str | None, task: str | None, task_version: str) -> int:
    """Forget cached results, so that they are computed anew.

    Either those that an execution, or one node of it, has made or used (a name, PROJECT:DOMAIN:NAME, or @latest), or
    those of a task.
    """
    if (made is None) == (task is None):
        raise UsageError("say whose results: EXECUTION, EXECUTION/NODE, or --task NAME")
    if task is not None:
        evicted = await client.admin.evict_task(client.project, client.domain, task, task_version)
    else:
        execution, node = _split(made or "", client)
        evicted = await client.admin.evict_made(await client.admin.resolve(execution), node)
    client.output.show(
        {"evicted": evicted}, lambda: f"{evicted} cached {'result' if evicted == 1 else 'results'} evicted"
    )
    return 0


def _split(text: str, client: Client) -> tuple[ExecutionId, str]:
    """An execution and a node of it, or nothing for all of them."""
    try:
        return names.execution(text, client.project, client.domain), ""
    except UsageError:
        found = names.node(text, client.project, client.domain)
        return found.execution, found.node
