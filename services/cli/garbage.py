"""`airscrew gc`: what the garbage collector would do, has done, and shall do now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import click

from services.cli import render
from services.cli.api.garbage import Garbage, Pass, Project, Shard
from services.cli.options import Client, asks_admin

_LOOK_SECONDS: Final = 0.2


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.pass_context
def gc(context: click.Context, dry_run: bool) -> None:
    """Show what the garbage collector has done (`status`), would do (`--dry-run`), or have it begin now (`run`)."""
    if context.invoked_subcommand is None:
        context.exit(context.invoke(preview if dry_run else status) or 0)
    elif dry_run:
        raise click.UsageError("--dry-run is a command of its own: say `airscrew gc preview`, or --dry-run alone")


@gc.command()
@asks_admin
async def status(client: Client) -> int:
    """Show how long what is kept, and what the last pass has removed."""
    found = await client.admin.garbage.status()
    client.output.show([shard.as_json() for shard in found], lambda: "\n".join(map(_status_text, found)))
    return 0


@gc.command()
@click.option("--days", type=click.FloatRange(0), help="As if everything went that ended longer ago than this.")
@asks_admin
async def preview(client: Client, days: float | None = None) -> int:
    """Show what would be removed, and how much that is. Nothing is changed."""
    found = await client.admin.garbage.preview(days)
    if not found and days is None and not _limited(await client.admin.garbage.status()):
        client.output.show([], lambda: f"{_FOREVER}; --days 30 shows what would go if it were kept for 30 days")
        return 0
    client.output.show([project.as_json() for project in found], lambda: _preview_text(found))
    return 0


@gc.command()
@asks_admin
async def run(client: Client) -> int:
    """Have every leader look now for what may go, and wait until they have.

    What is marked in this pass goes in a later one: the delay is kept.
    """
    before = {shard.shard: shard.passes for shard in await client.admin.garbage.status(begin=True)}
    found = await _passed(client.admin.garbage, before)
    client.output.show([shard.as_json() for shard in found], lambda: "\n".join(map(_status_text, found)))
    return 1 if any(shard.last is not None and shard.last.trouble for shard in found) else 0


async def _passed(garbage: Garbage, before: dict[int, int]) -> Sequence[Shard]:
    """Waits until every leader has ended a pass. One that has just begun to lead counts anew."""
    while True:
        found = await garbage.status()
        if all(shard.passes != before.get(shard.shard) and shard.now is None for shard in found):
            return found
        await asyncio.sleep(_LOOK_SECONDS)


_FOREVER = "everything is kept for ever: see AIRSCREW_PROPELLER_RETENTION_DAYS in docs/retention.md"


def _limited(shards: Sequence[Shard]) -> bool:
    return any(shard.retention_days or shard.retention_executions or shard.cache_retention_days for shard in shards)


def _status_text(shard: Shard) -> str:
    lines = [f"shard {shard.shard}"]
    for what, limits in (
        ("executions are kept, in days", shard.retention_days),
        ("executions are kept, at most", shard.retention_executions),
        ("cached outputs are kept unused, in days", shard.cache_retention_days),
    ):
        if limits:
            lines.append(f"  {what}: {', '.join(f'{project}={limit}' for project, limit in sorted(limits.items()))}")
    if len(lines) == 1:
        lines.append(f"  {_FOREVER}")
    lines.append(f"  marked, to be looked at again: {shard.marked}; being removed: {shard.condemned}")
    if shard.now is not None:
        lines.append(f"  a pass is under way: {_pass_text(shard.now)}")
    if shard.last is not None:
        lines.append(f"  the last pass took {render.duration(shard.last.seconds)}: {_pass_text(shard.last)}")
        if shard.last.trouble:
            lines.append(f"  it ended early: {shard.last.trouble}")
    return "\n".join(lines)


def _pass_text(done: Pass) -> str:
    return (
        f"{done.marked} marked, {done.kept} kept after all, {done.executions} executions removed with {done.rows} rows "
        f"and {done.blobs} blobs ({render.size(done.bytes)}), {done.entries} cached outputs forgotten"
    )


def _preview_text(found: Sequence[Project]) -> str:
    if not found:
        return "nothing is old enough"
    rows = [["PROJECT", "EXECUTIONS", "TOP LEVEL", "BLOBS", "SIZE", "STAY: STILL LIVE", "IN CACHE", "NEEDED BY OTHERS"]]
    for each in found:
        more = "+" if each.more else ""
        partly = "" if each.measured == each.executions else f" in {each.measured}"
        rows.append(
            [
                each.project,
                f"{each.executions}{more}",
                f"{each.heads}{more}",
                f"{each.blobs}{partly}",
                f"{render.size(each.bytes)}{partly}",
                *(f"{count}{more}" for count in (each.live, each.cached, each.held)),
            ]
        )
    return "\n".join(render.columns(rows))
