"""The tree of commands."""

from __future__ import annotations

import click

from services.cli.abort import abort
from services.cli.again import recover, relaunch
from services.cli.cache import cache
from services.cli.chaos import chaos
from services.cli.compile import compile_files
from services.cli.demo import demo
from services.cli.executors import executors
from services.cli.explain import events, explain
from services.cli.garbage import gc
from services.cli.get import get
from services.cli.intake import intake
from services.cli.logs import logs
from services.cli.operate import etcd, migrate, start, version
from services.cli.queue import queue
from services.cli.shards import shards
from services.cli.signals import approve, signal
from services.cli.submit import submit
from services.cli.trace import trace
from services.cli.watch import watch


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def airscrew() -> None:
    """Run typed workflows, and see what they do.

    Exit codes: 0 all is well; 1 the execution that was watched did not succeed,
    or what was compiled is wrong; 2 the command itself failed.
    """


for command in (
    *(start, demo, get, watch, explain, events, trace, logs),
    *(abort, approve, signal, relaunch, recover, cache, compile_files),
    *(submit, intake, queue, shards, executors, gc, chaos),
    *(migrate, etcd, version),
):
    airscrew.add_command(command)
