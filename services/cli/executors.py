"""`airscrew executors`: who runs tasks, and emptying one of them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from libs.workflow.waits import shown
from services.cli import render
from services.cli.api.executors import Executor
from services.cli.options import Client, asks_admin
from services.cli.queue import seconds_in


@click.group(invoke_without_command=True)
@click.pass_context
def executors(context: click.Context) -> None:
    """List executors (`list`), and empty one of them (`drain`)."""
    if context.invoked_subcommand is None:
        context.exit(context.invoke(list_executors) or 0)


@executors.command("list")
@asks_admin
async def list_executors(client: Client) -> int:
    """Show executors with what they have, what of it is taken, and whether they take more."""
    found = await client.admin.executors.list()
    client.output.show([executor.as_json() for executor in found], lambda: _text(found))
    return 0


@executors.command()
@click.argument("name")
@click.option("--deadline", default="5m", show_default=True, metavar="TIME", help="For example 90s, 10m or 2h.")
@asks_admin
async def drain(client: Client, name: str, deadline: str) -> int:
    """Let executor NAME take nothing new until it is started again.

    What still runs at the deadline is ended and begun anew elsewhere, with its checkpoint and without using up a retry.
    """
    seconds = seconds_in(deadline)
    await client.admin.executors.drain(name, seconds)
    client.output.show(
        {"executor": name, "draining": True, "seconds": seconds},
        lambda: f"{name} takes nothing new; what still runs in {render.duration(seconds)} is begun anew elsewhere",
    )
    return 0


def _text(found: Sequence[Executor]) -> str:
    if not found:
        return "no executor is known"
    rows = [
        [each.name, each.state, str(each.attempts), shown(each.used), _capacity(each), each.trouble] for each in found
    ]
    return "\n".join(render.columns([["EXECUTOR", "STATE", "ATTEMPTS", "TAKEN", "OF", "TROUBLE"], *rows]))


def _capacity(executor: Executor) -> str:
    return f"{executor.places} pods" if executor.places else shown(executor.capacity)
