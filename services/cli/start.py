"""`airscrew start`: the command line of `services.standalone`, under another name."""

from __future__ import annotations

import os
import sys

import click


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def start(arguments: tuple[str, ...]) -> None:
    """Start a whole system on this machine, until Ctrl-C (--help lists the options)."""
    # Becomes that program rather than calling it: signals and the exit code are its own. -P keeps a folder `services`
    # in the user's directory out of the way.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "services.standalone", *arguments])
