"""`airscrew signal` and `airscrew approve`: what gates wait for."""

from __future__ import annotations

import click
from flyteidl.core import types_pb2

from libs.workflow.errors import NotFound
from libs.workflow.identity import ExecutionId
from services.cli import values
from services.cli.options import Client, asks_admin
from services.cli.views import Signal

_YES, _NO = "true", "false"


@click.command()
@click.argument("execution")
@click.argument("signal")
@click.argument("value")
@asks_admin
async def signal(client: Client, execution: str, signal: str, value: str) -> int:
    """Give a waiting execution the VALUE of SIGNAL.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest. VALUE is read by the signal's type: 3, 0.5, true, a text,
    2026-01-31T12:00:00Z, 1h30m; JSON for lists, maps and structures. `airscrew get signals EXECUTION` shows what waits.
    """
    id = await client.execution(execution)
    waiting = await _find(client, id, signal)
    await client.admin.set_signal(id, signal, values.parse(value, waiting.type))
    return _tell(client, id, signal, "is given")


@click.command()
@click.argument("execution")
@click.argument("signal")
@click.option("--reject", is_flag=True, help="Refuse: the node that waits fails.")
@asks_admin
async def approve(client: Client, execution: str, signal: str, reject: bool) -> int:
    """Let an execution go on that waits for the approval SIGNAL.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    id = await client.execution(execution)
    answer = values.parse(_NO if reject else _YES, types_pb2.LiteralType(simple=types_pb2.BOOLEAN))
    await client.admin.set_signal(id, signal, answer)
    return _tell(client, id, signal, "is refused" if reject else "is approved")


async def _find(client: Client, id: ExecutionId, signal: str) -> Signal:
    for known in await client.admin.signals(id):
        if known.id == signal:
            return known
    raise NotFound(f"no gate of execution {id} waits for a signal {signal!r}")


def _tell(client: Client, id: ExecutionId, signal: str, done: str) -> int:
    client.output.show({"execution": str(id), "signal": signal, "answer": done}, lambda: f"{signal} of {id} {done}")
    return 0
