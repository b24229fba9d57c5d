"""`airscrew queue`: what waits for a leader, and holding it back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import click

from services.cli import queueviews as views
from services.cli import render
from services.cli.names import UsageError
from services.cli.options import Client, asks_admin

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SHOWN = 20

_of_shard = click.option("--shard", type=click.IntRange(0), help="Only this one.  [default: all]")


@click.group()
def queue() -> None:
    """The queue of executions that want attention."""


@queue.command()
@asks_admin
async def stats(client: Client) -> int:
    """Show how much waits: by shard, lane and priority, how old it is, and who has what."""
    found = await client.admin.queue.stats()
    client.output.show(found.as_json(), lambda: _stats_text(found))
    return 0


@queue.command()
@_of_shard
@click.option("--limit", type=click.IntRange(1), default=_SHOWN, show_default=True, help="How many of each shard.")
@asks_admin
async def inspect(client: Client, shard: int | None, limit: int) -> int:
    """List executions in the queue: what a leader has, what waits, what is delayed."""
    found = await client.admin.queue.inspect(shard, limit)
    client.output.show([entry.as_json() for entry in found], lambda: _entries_text(found))
    return 0


@queue.command()
@click.option("--for", "span", required=True, metavar="TIME", help="How long at most, for example 90s, 10m or 2h.")
@_of_shard
@asks_admin
async def pause(client: Client, span: str, shard: int | None) -> int:
    """Let nothing new begin for a while. What runs goes on, and so does everything once the time is over."""
    seconds = seconds_in(span)
    await client.admin.queue.pause(shard, seconds)
    client.output.show(
        {"paused": True, "shard": shard, "seconds": seconds},
        lambda: f"{_name(shard)} is paused for {render.duration(seconds)}, or until `airscrew queue resume`",
    )
    return 0


@queue.command()
@_of_shard
@asks_admin
async def resume(client: Client, shard: int | None) -> int:
    """Go on before a pause is over."""
    await client.admin.queue.resume(shard)
    client.output.show({"paused": False, "shard": shard}, lambda: f"{_name(shard)} goes on")
    return 0


def seconds_in(span: str) -> float:
    """Of a time as people write it. Raises UsageError."""
    found = _SPAN.fullmatch(span)
    if found is None or not float(found[1]):
        raise UsageError(f"{span!r} is no time: give for example 90s, 10m or 2h")
    return float(found[1]) * _SECONDS[found[2]]


def _name(shard: int | None) -> str:
    return "the queue" if shard is None else f"shard {shard} of the queue"


def _stats_text(found: views.Queue) -> str:
    lines = [f"{found.depth} of {found.limit} places taken"]
    if not found.shards:
        return lines[0]
    head = ["SHARD", "STATE", "LEADER", "EPOCH", "WAITING", "GATHERING", "DELAYED", "LEASED", "OLDEST", "RETRIES"]
    lines += render.columns([head, *map(_shard_cells, found.shards)])
    if any(shard.lanes for shard in found.shards):
        lanes = [[str(one.shard), *_lane_cells(lane)] for one in found.shards for lane in one.lanes]
        lines += ["", *render.columns([["SHARD", "PRIORITY", "LANE", "WAITING"], *lanes])]
    lines += ["", *render.columns([_DONE, *map(_done_cells, found.shards)])]
    leases = Counter({shard.propeller: 0 for shard in found.shards if shard.propeller})
    for shard in found.shards:
        leases[shard.propeller] += shard.leased
    if any(leases):
        rows = [[propeller, str(count)] for propeller, count in sorted(leases.items()) if propeller]
        lines += ["", *render.columns([["PROPELLER", "LEASES"], *rows])]
    return "\n".join(lines)


_DONE = ["SHARD", "ADDED", "COLLAPSED", "DELIVERED", "REDELIVERED", "MEAN WAIT", "MEAN WORK", "LONGEST RUNNING"]


def _shard_cells(shard: views.Shard) -> list[str]:
    state = f"paused {render.duration(shard.paused_us / 1e6)}" if shard.paused_us else "open"
    numbers = (shard.epoch, shard.waiting, shard.gathering, shard.delayed, shard.leased)
    oldest = render.duration(shard.oldest_us / 1e6)
    return [str(shard.shard), state, shard.propeller or "-", *map(str, numbers), oldest, str(shard.retries)]


def _lane_cells(lane: views.Lane) -> list[str]:
    return [str(lane.priority), lane.lane or "-", str(lane.waiting)]


def _done_cells(shard: views.Shard) -> list[str]:
    numbers = (shard.shard, shard.added, shard.collapsed, shard.delivered, shard.redelivered)
    spans = (shard.queue_latency.mean_us, shard.work_duration.mean_us, shard.longest_running_us)
    return [*map(str, numbers), *(render.duration(span / 1e6) for span in spans)]


def _entries_text(found: Sequence[views.Entry]) -> str:
    if not found:
        return "the queue is empty"
    head = ["EXECUTION", "SHARD", "STATE", "AGE", "PRIORITY", "LANE", "WHY", "RETRIES", "PROPELLER"]
    return "\n".join(render.columns([head, *map(_entry_cells, found)]))


def _entry_cells(entry: views.Entry) -> list[str]:
    age = f"due in {render.duration(entry.due_us / 1e6)}" if entry.due_us else render.duration(entry.age_us / 1e6)
    return [
        str(entry.execution) if entry.execution else f"key {entry.key}",
        str(entry.shard),
        entry.state,
        age,
        str(entry.priority),
        entry.lane or "-",
        " ".join(entry.reasons) or "-",
        str(entry.retries),
        entry.propeller or "-",
    ]
