"""`airscrew submit`: an execution for each line of a file."""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import click

from libs.clients.bulk import Outcome
from services.cli.lines import Lines
from services.cli.options import Client, asks_admin

_SHOW_SECONDS = 0.2
"""Between two looks at the progress."""


@dataclass(slots=True)
class _Tally:
    """How far it is."""

    created: int = 0
    existed: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    @property
    def settled(self) -> int:
        return self.created + self.existed + len(self.refused)

    def refuse(self, line: int, reason: str) -> None:
        self.refused.append((line, reason))
        self.clear()
        print(f"line {line}: {reason}", file=sys.stderr)

    def show(self) -> None:
        """On a terminal, a line that is written over."""
        now = time.monotonic()
        if now - self.shown >= _SHOW_SECONDS and sys.stderr.isatty():
            self.shown = now
            rate = self.created / max(now - self.begun, 1e-6)
            print(f"\r{self.settled:,} lines, {self.text()}, {rate:,.0f}/s", end="\033[K", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def text(self) -> str:
        parts = [f"{self.created:,} created"]
        if self.existed:
            parts.append(f"{self.existed:,} were there already")
        if self.refused:
            parts.append(f"{len(self.refused):,} refused")
        return ", ".join(parts)


@click.command()
@click.argument("source", metavar="FILE|-", type=click.File("rb"))
@click.option(
    "--launch-plan",
    required=True,
    metavar="NAME[@VERSION]",
    help="What each line becomes an execution of; without a version the active one, or else the newest.",
)
@click.option(
    "--name",
    metavar="BATCH",
    help="Of the batch. The same file under the same name again creates only what is not there.  [default: made up]",
)
@click.option("--tag", "tags", multiple=True, help="For the executions to be found by; may be repeated.")
@asks_admin
async def submit(client: Client, source: BinaryIO, launch_plan: str, name: str | None, tags: tuple[str, ...]) -> int:
    """Create an execution for each line of FILE: a JSON object with a value for each input.

    A line that is refused is told with its number and hurts no other; then the exit code is 1. What was interrupted
    goes on with the same file, --launch-plan and --name: each execution is named after the batch and the number of its
    line.
    """
    plan, _, version = launch_plan.partition("@")
    found = await client.admin.launch_plan(client.project, client.domain, plan, version)
    batch = name or secrets.token_hex(6)
    if name is None:
        print(f"batch {batch}: if this is interrupted, --name {batch} goes on with it", file=sys.stderr)
    tally = _Tally()
    lines = Lines(source, found.expected, tally.refuse)
    async for portion, results in client.admin.bulk(found, client.project, client.domain, batch, tags).submit(
        lines.portions
    ):
        for place, result in enumerate(results, portion.first):
            if result.outcome is Outcome.CREATED:
                tally.created += 1
            elif result.outcome is Outcome.EXISTS:
                tally.existed += 1
            else:
                tally.refuse(place + 1, result.reason)
        tally.show()
    if lines.failure is not None:
        raise lines.failure
    tally.clear()
    client.output.show(_answer(batch, tally), lambda: f"batch {batch}: {tally.text()}")
    return 1 if tally.refused else 0


def _answer(batch: str, tally: _Tally) -> dict[str, Any]:
    refused = [{"line": line, "reason": reason} for line, reason in sorted(tally.refused)]
    return {"batch": batch, "created": tally.created, "existed": tally.existed, "refused": refused}
