"""The tree of commands.

A command's module is imported when it is called: together they need gRPC, Rich and half of the libraries, a fifth of a
second which everybody would wait for whatever they asked. `--help` imports them all, for their first lines.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "start": "start",
    "demo": "demo",
    "get": "get",
    "watch": "watch",
    "explain": "explain",
    "events": "explain",
    "trace": "trace",
    "logs": "logs",
    "abort": "abort",
    "approve": "signals",
    "signal": "signals",
    "relaunch": "again",
    "recover": "again",
    "cache": "cache",
    "compile": "compile",
    "submit": "submit",
    "intake": "intake",
    "queue": "queue",
    "shards": "shards",
    "executors": "executors",
    "gc": "garbage",
    "chaos": "chaos",
    "migrate": "operate",
    "etcd": "operate",
    "version": "operate",
}
"""By name, the module in which a command of that name is found."""


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        members = vars(import_module(f"services.cli.{module}")).values()
        return next(each for each in members if isinstance(each, click.Command) and each.name == cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def airscrew() -> None:
    """Run typed workflows, and see what they do.

    Exit codes: 0 all is well; 1 the execution that was watched did not succeed,
    or what was compiled is wrong; 2 the command itself failed.
    """
