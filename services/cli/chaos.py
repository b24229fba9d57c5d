"""`airscrew chaos`: breaking one's own system, to see that it goes on."""

from __future__ import annotations

import sys

import click

from services.cli.api.chaos import Step
from services.cli.names import UsageError
from services.cli.options import Client, asks_admin
from services.cli.queue import seconds_in


@click.group()
def chaos() -> None:
    """Break something on purpose, and see that the system goes on."""


@chaos.command("kill-leader")
@click.option("--shard", type=click.IntRange(0), default=0, show_default=True, help="Whose leader.")
@click.option("--patience", default="1m", show_default=True, metavar="TIME", help="How long the take-over may last.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@asks_admin
async def kill_leader(client: Client, shard: int, patience: str, yes: bool) -> int:
    """Kill the process that leads a shard, as kill -9 does, and show how another one takes over.

    No task is interrupted by that, and nothing is lost. Nothing new begins until another one leads, which takes as long
    as the lease of the dead one lasts (AIRSCREW_PROPELLER_LEASE_TTL_SECONDS, by default 5). Propellers let themselves
    be killed only where AIRSCREW_PROPELLER_CHAOS_ALLOWED is set; `airscrew start` sets it.
    """
    seconds = seconds_in(patience)
    if not yes and not sys.stdin.isatty():
        raise UsageError("this kills a process, and nobody can be asked whether that is meant: give --yes")
    if not yes:
        click.confirm(f"Kill the leader of shard {shard}?", abort=True, err=True)
    async for step in client.admin.chaos.kill_leader(shard, seconds):
        client.output.record(step.as_json(), _line(step))
    return 0


def _line(step: Step) -> str:
    return f"{step.seconds:7.2f} s  shard {step.shard}: {_told(step)}"


def _told(step: Step) -> str:
    match step.what:
        case "killed":
            return f"{step.holder} at {step.address}, which led in epoch {step.epoch}, is killed"
        case "claimed":
            return f"{step.holder} at {step.address} leads in epoch {step.epoch}"
        case "committed":
            return "its first commit is durable"
        case "warm":
            return f"all {step.executions} live executions are in its memory"
        case other:
            return other
