"""`airscrew intake`: task lists in Redis that become executions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from libs.workflow.identity import EntityId
from libs.workflow.intake import Codec, DeadItem, Intake, IntakeId, Kind
from libs.workflow.intake.definition import DEFAULT_FIELD, DEFAULT_LIMIT, DEFAULT_TRIES
from services.cli import render, views
from services.cli.names import UsageError
from services.cli.options import Client, asks_admin

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_SHOWN = 20
_ITEM = 60
"""Characters of an item that a line shows."""


@click.group()
def intake() -> None:
    """Redis lists and streams whose items become executions."""


@intake.command()
@click.argument("source", metavar="redis://HOST:PORT/KEY")
@click.option(
    "--launch-plan",
    required=True,
    metavar="NAME[@VERSION]",
    help="What each item becomes; without a version the active one, or else the newest.",
)
@click.option(
    "--codec",
    type=click.Choice([codec.value for codec in Codec]),
    default=Codec.JSON.value,
    show_default=True,
    help="How items are written: objects with a value for each input, or serialized LiteralMaps.",
)
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), default=Kind.LIST.value, show_default=True)
@click.option("--field", default=DEFAULT_FIELD, show_default=True, help="Of a stream's entries: what holds the item.")
@click.option("--id-field", default="", help="Of JSON items: what names the item for good; the same twice is one.")
@click.option("--name", help="Of the intake.  [default: made of the key]")
@click.option(
    "--limit", type=click.IntRange(1), default=DEFAULT_LIMIT, show_default=True, help="Unfinished executions at a time."
)
@click.option(
    "--tries", type=click.IntRange(1), default=DEFAULT_TRIES, show_default=True, help="To create an item's execution."
)
@asks_admin
async def add(
    client: Client,
    source: str,
    launch_plan: str,
    codec: str,
    kind: str,
    field: str,
    id_field: str,
    name: str | None,
    limit: int,
    tries: int,
) -> int:
    """Take in a list or stream, from now on."""
    plan, _, version = launch_plan.partition("@")
    asked = Intake(
        id=IntakeId(client.project, client.domain, name or _name_of(source)),
        source=source,
        kind=Kind(kind),
        codec=Codec(codec),
        launch_plan=EntityId(client.project, client.domain, plan, version),
        field=field,
        id_field=id_field,
        limit=limit,
        tries=tries,
    )
    added = await client.admin.intakes.add(asked)
    client.output.show(
        {"intake": added.id.name, "launch_plan": added.launch_plan.name, "version": added.launch_plan.version},
        lambda: f"intake {added.id.name}: {source} becomes {added.launch_plan.name} {added.launch_plan.version}",
    )
    return 0


@intake.command("list")
@asks_admin
async def list_(client: Client) -> int:
    """Show all intakes: how far they are, how fast, and what they wait for."""
    found = await client.admin.intakes.list(client.project, client.domain)
    client.output.show([one.as_json() for one in found], lambda: _table(found))
    return 0


@intake.command()
@click.argument("name")
@asks_admin
async def pause(client: Client, name: str) -> int:
    """Take in nothing more until it is resumed."""
    await client.admin.intakes.pause(_id(client, name), True)
    client.output.show({"intake": name, "paused": True}, lambda: f"intake {name} is paused")
    return 0


@intake.command()
@click.argument("name")
@asks_admin
async def resume(client: Client, name: str) -> int:
    """Go on with an intake that was paused."""
    await client.admin.intakes.pause(_id(client, name), False)
    client.output.show({"intake": name, "paused": False}, lambda: f"intake {name} goes on")
    return 0


@intake.command()
@click.argument("name")
@asks_admin
async def remove(client: Client, name: str) -> int:
    """Forget an intake. What is in Redis stays there, what was given up too."""
    await client.admin.intakes.remove(_id(client, name))
    client.output.show({"intake": name, "removed": True}, lambda: f"intake {name} is removed")
    return 0


@intake.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), default=_SHOWN, show_default=True, help="How many, the oldest first.")
@asks_admin
async def dead(client: Client, name: str, limit: int) -> int:
    """Show the items that were given up, and why."""
    found = await client.admin.intakes.dead(_id(client, name), limit)
    client.output.show([_dead_json(item) for item in found], lambda: _dead_table(found))
    return 0


@intake.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first.  [default: all]")
@asks_admin
async def replay(client: Client, name: str, limit: int | None) -> int:
    """Take in once more what was given up."""
    replayed = await client.admin.intakes.replay(_id(client, name), limit or 0)
    client.output.show(
        {"intake": name, "replayed": replayed},
        lambda: f"{replayed} {'item is' if replayed == 1 else 'items are'} taken in once more",
    )
    return 0


def _id(client: Client, name: str) -> IntakeId:
    if not name:
        raise UsageError("the name of an intake is empty")
    return IntakeId(client.project, client.domain, name)


def _name_of(source: str) -> str:
    """A name that the last part of the address suggests."""
    name = _NOT_IN_NAMES.sub("-", source.rpartition("/")[2].lower()).strip("-")
    if not name:
        raise UsageError(f"{source!r} suggests no name: give --name")
    return name[:63].rstrip("-")


def _table(found: Sequence[views.Intake]) -> str:
    head = ["NAME", "SOURCE", "LAUNCH PLAN", "STATE", "WAITING", "CLAIMED", "DONE", "PENDING", "DEAD", "RATE", "NOTE"]
    return "\n".join(render.columns([head, *map(_cells, found)]))


def _cells(one: views.Intake) -> list[str]:
    plan, progress = one.intake.launch_plan, one.progress
    waiting = "?" if progress.waiting is None else str(progress.waiting)
    numbers = (waiting, progress.claimed, progress.done, one.pending, progress.dead)
    return [
        one.intake.id.name,
        one.intake.source,
        f"{plan.name}@{plan.version}",
        one.state,
        *map(str, numbers),
        f"{progress.rate:g}/s",
        progress.note,
    ]


def _dead_table(found: Sequence[DeadItem]) -> str:
    rows = [[item.claim, _time(item.at_us), _shown(item.item), item.reason] for item in found]
    return "\n".join(render.columns([["ITEM", "GIVEN UP", "CONTENT", "REASON"], *rows]))


def _shown(item: bytes) -> str:
    text = repr(item.decode(errors="backslashreplace"))
    return text if len(text) <= _ITEM else f"{text[:_ITEM]} …"


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _dead_json(item: DeadItem) -> dict[str, Any]:
    return {
        "item": item.claim,
        "given_up_at": _time(item.at_us),
        "content": item.item.decode(errors="backslashreplace"),
        "reason": item.reason,
    }
