"""Commands for whoever runs a system: `migrate`, `etcd retire`, `version`.

`migrate` and `etcd retire` work on the database itself, because they are needed exactly when no service runs; the code
for it is imported only then, so that a machine with just the client can do the rest.
"""

from __future__ import annotations

from importlib import metadata

import click

from libs.runtime import native
from services.cli import options
from services.cli.names import UsageError
from services.cli.options import Client, asks_admin
from services.cli.output import Output

DATABASE = click.option(
    "--database",
    envvar="AIRSCREW_DATABASE",
    required=True,
    metavar="URL",
    show_envvar=True,
    help="sqlite:///ABSOLUTE/PATH or postgresql://USER@HOST:PORT/NAME",
)


@click.command()
@DATABASE
@options.output
def migrate(database: str, output: str) -> int:
    """Bring the database to the schema of this release."""
    from libs.store import migrate as store

    store.upgrade(database)
    Output(output == "json").show({"migrated": True}, lambda: "the database is up to date")
    return 0


@click.group()
def etcd() -> None:
    """What an operator decides about etcd."""


@etcd.command()
@click.argument("cluster_id")
@DATABASE
@options.output
def retire(cluster_id: str, database: str, output: str) -> int:
    """Declare that etcd cluster CLUSTER_ID is gone for ever, so that leaders of a new cluster may claim.

    A leader elected by another cluster than the recorded one is refused, because both could elect at the same time.
    Say this only when no propeller can reach the old cluster any more.
    """
    from libs.store import clusters

    present = clusters.present(database)
    if cluster_id != present:
        raise UsageError(f"the etcd cluster that elects leaders is {present or 'not known yet'}, not {cluster_id}")
    clusters.retire(database, cluster_id)
    Output(output == "json").show({"retired": cluster_id}, lambda: f"etcd cluster {cluster_id} is retired")
    return 0


@click.command()
@asks_admin
async def version(client: Client) -> int:
    """Show the version of this command, whether its code is interpreted or compiled, and the version of the server."""
    here, there = metadata.version("airscrew"), await client.admin.version()
    code = native.form()
    client.output.show(
        {"client": here, "code": code, "server": there}, lambda: f"airscrew {here} ({code})\nserver   {there}"
    )
    return 0
