"""`airscrew trace`: where the time of an execution went, without a tracing backend."""

from __future__ import annotations

import time

import click

from services.cli import waterfall
from services.cli.options import Client, asks_admin


@click.command()
@click.argument("execution")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="Most lines.")
@asks_admin
async def trace(client: Client, execution: str, limit: int) -> int:
    """Draw when each node and each attempt waited and ran, and on which executor.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest. What is drawn comes from what is stored: nothing needs to
    collect traces. Where something does, the trace has the id that the first line tells.
    """
    tree = await client.admin.tree(await client.execution(execution))
    now_us = time.time_ns() // 1000
    width = client.output.console.width if client.output.live else 120
    client.output.show(
        waterfall.as_json(tree, waterfall.spans(tree, now_us)),
        lambda: waterfall.text(tree, now_us, width, limit),
    )
    return 0
