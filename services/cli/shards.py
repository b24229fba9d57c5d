"""`airscrew shards`: who leads which part of the executions."""

from __future__ import annotations

from collections.abc import Sequence

import click

from services.cli import render
from services.cli.api.shards import Shard
from services.cli.options import Client, asks_admin


@click.command()
@asks_admin
async def shards(client: Client) -> int:
    """Show who leads each shard, and what it has to do."""
    found = await client.admin.shards.list()
    client.output.show([shard.as_json() for shard in found], lambda: _text(found))
    return 0


def _text(found: Sequence[Shard]) -> str:
    head = ["SHARD", "LEADER", "ADDRESS", "EPOCH", "STATE", "EXECUTIONS", "COLD", "WAITING", "EXECUTORS"]
    return "\n".join(render.columns([head, *map(_cells, found)]))


def _cells(shard: Shard) -> list[str]:
    if not shard.leader:
        return [str(shard.shard), "-", "-", "-", "never led", *["-"] * 4]
    numbers = (shard.executions, shard.cold, shard.pending_attempts, shard.executors)
    told = [str(number) if shard.leading else "-" for number in numbers]
    state = "leads" if shard.leading else "no answer"
    return [str(shard.shard), shard.leader, shard.address, str(shard.epoch), state, *told]
