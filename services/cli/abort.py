"""`airscrew abort`: stop an execution."""

from __future__ import annotations

import click

from services.cli.options import Client, asks_admin


@click.command()
@click.argument("execution")
@click.option("--reason", default="aborted from the command line", show_default=True, help="Kept with the execution.")
@asks_admin
async def abort(client: Client, execution: str, reason: str) -> int:
    """Abort an execution: its tasks are killed. One that has ended stays as it is.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    id = await client.execution(execution)
    await client.admin.abort(id, reason)
    client.output.show({"execution": str(id), "asked_to_abort": True}, lambda: f"{id} is asked to abort")
    return 0
