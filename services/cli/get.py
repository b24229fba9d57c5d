"""`airscrew get`: what there is, and how it stands."""

from __future__ import annotations

import time

import click

from libs.workflow.phases import ExecutionPhase
from services.cli import render
from services.cli.options import Client, asks_admin

PHASES = [phase.name for phase in ExecutionPhase if phase is not ExecutionPhase.UNDEFINED]


@click.group()
def get() -> None:
    """Show executions, and the signals that they wait for."""


@get.command("executions")
@click.option(
    "--phase",
    "phases",
    multiple=True,
    type=click.Choice(PHASES, case_sensitive=False),
    help="Only those in this phase; may be given more than once.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, the newest first."
)
@asks_admin
async def executions(client: Client, phases: tuple[str, ...], limit: int) -> int:
    """List executions, the newest first."""
    wanted = [ExecutionPhase[phase.upper()] for phase in phases]
    found = await client.admin.executions(client.project, client.domain, wanted, limit)
    now_us = time.time_ns() // 1000
    client.output.show(
        [execution.as_json() for execution in found],
        lambda: render.executions_text(found, now_us),
        lambda: render.executions_rich(found, now_us),
    )
    return 0


@get.command("execution")
@click.argument("execution")
@asks_admin
async def execution(client: Client, execution: str) -> int:
    """Show one execution as a tree: its nodes with phases, durations, attempts and errors.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    tree = await client.admin.tree(await client.execution(execution))
    now_us = time.time_ns() // 1000
    client.output.show(
        tree.as_json(),
        lambda: render.tree_text(tree, now_us),
        lambda: render.tree_rich(tree, now_us),
    )
    if client.output.live and (error := render.full_error(tree)):
        client.output.line(error)
    return 0


@get.command("signals")
@click.argument("execution")
@asks_admin
async def signals(client: Client, execution: str) -> int:
    """List the signals of an execution: those that its gates wait for, and those that were given.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    found = await client.admin.signals(await client.execution(execution))
    client.output.show([signal.as_json() for signal in found], lambda: render.signals_text(found))
    return 0
