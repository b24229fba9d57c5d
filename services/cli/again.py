"""`airscrew relaunch` and `airscrew recover`: run what ran before."""

from __future__ import annotations

import click

from libs.workflow.identity import ExecutionId
from services.cli.options import Client, asks_admin

_NAME = click.option("--name", default="", help="Of the new execution; made up by the server if left out.")


@click.command()
@click.argument("execution")
@_NAME
@click.option("--overwrite-cache", is_flag=True, help="Compute cached results anew.")
@asks_admin
async def relaunch(client: Client, execution: str, name: str, overwrite_cache: bool) -> int:
    """Run an execution once more, with the same inputs.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest. Prints the name of the new one.
    """
    id = await client.execution(execution)
    return _tell(client, await client.admin.relaunch(id, name, overwrite_cache))


@click.command()
@click.argument("execution")
@_NAME
@asks_admin
async def recover(client: Client, execution: str, name: str) -> int:
    """Run an execution once more from where it failed: what has succeeded is taken over.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest. Prints the name of the new one.
    """
    return _tell(client, await client.admin.recover(await client.execution(execution), name))


def _tell(client: Client, created: ExecutionId) -> int:
    client.output.show({"execution": str(created)}, lambda: created.name)
    return 0
