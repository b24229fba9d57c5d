"""`airscrew watch`: an execution as it goes on. On a terminal a tree that redraws itself, off it one line a change.

Leaving changes nothing: the execution runs on without its watchers.
"""

from __future__ import annotations

import asyncio
import time

import click
from rich.console import RenderableType
from rich.live import Live

from libs.workflow.identity import ExecutionId
from libs.workflow.phases import ExecutionPhase
from services.cli import follow, render
from services.cli.options import Client, asks_admin
from services.cli.views import Change, Execution, Tree

REDRAWS_PER_SECOND = 4
"""Often enough that durations tick; the tree itself is fetched at most as often."""
SUCCEEDED, FAILED = 0, 1
"""Exit codes that tell a script how the execution ended."""


@click.command()
@click.argument("execution")
@asks_admin
async def watch(client: Client, execution: str) -> int:
    """Watch an execution until it ends. Exit code 0 if it succeeded, 1 if not.

    EXECUTION is a name, PROJECT:DOMAIN:NAME, or @latest.
    """
    return await until_end(client, await client.execution(execution))


async def until_end(client: Client, id: ExecutionId) -> int:
    """Shows the execution until it is final; the exit code says how it ended."""
    last = await (_live(client, id) if client.output.live else _lines(client, id))
    return SUCCEEDED if last.phase is ExecutionPhase.SUCCEEDED else FAILED


async def _lines(client: Client, id: ExecutionId) -> Execution:
    """One line for each change; ends with the full error of what failed."""
    last: Execution | None = None
    async for change in follow.changes(client.admin, id):
        last = change.execution or last
        _print(client, change)
    assert last is not None, "a watch ends with the execution's final state"
    if last.error and not client.output.as_json:
        client.output.line(f"\n{last.error.rstrip()}")
    return last


def _print(client: Client, change: Change) -> None:
    if client.output.as_json:
        for node in change.nodes:
            client.output.record({"node": node.as_json()}, "")
        if change.execution is not None:
            client.output.record({"execution": change.execution.as_json()}, "")
        return
    for line in render.change_lines(change, time.time_ns() // 1000):
        client.output.line(line)


async def _live(client: Client, id: ExecutionId) -> Execution:
    """A tree that redraws itself, then the tree as it ended with the full error."""
    screen = _Screen(await client.admin.tree(id), client.output.console.height)
    with Live(
        get_renderable=screen.draw,
        console=client.output.console,
        refresh_per_second=REDRAWS_PER_SECOND,
        transient=True,
    ):
        await _keep_fresh(client, id, screen)
    tree = await client.admin.tree(id)
    client.output.console.print(render.tree_rich(tree, time.time_ns() // 1000))
    if error := render.full_error(tree):
        client.output.line(error)
    return tree.execution


class _Screen:
    """The tree that is shown at the moment. Drawn from rich's thread, so it is replaced, never changed."""

    def __init__(self, tree: Tree, height: int) -> None:
        self.tree = tree
        self._height = height

    def draw(self) -> RenderableType:
        return render.tree_rich(self.tree, time.time_ns() // 1000, self._height)


async def _keep_fresh(client: Client, id: ExecutionId, screen: _Screen) -> None:
    """Fetches the tree after changes: at most as often as it is drawn, and more rarely when it takes long."""
    changed = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(_listen(client, id, changed), name=f"listen to {id}")
        while not listening.done():
            await changed.wait()
            changed.clear()
            began = time.monotonic()
            screen.tree = await client.admin.tree(id)
            took = time.monotonic() - began
            await asyncio.wait((listening,), timeout=max(1 / REDRAWS_PER_SECOND, 5 * took))


async def _listen(client: Client, id: ExecutionId, changed: asyncio.Event) -> None:
    try:
        async for _ in follow.changes(client.admin, id):
            changed.set()
    finally:
        changed.set()  # the end is news too, and nobody may wait for it for ever
