"""From a task template to the words of its command line, before and after its variables are put in.

Where a container would have a file system of its own, tasks here share the machine's. So fast-registered code is
unpacked into the attempt's private working directory, whatever directory its registration names (`/root`, usually).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flyteidl.core import tasks_pb2

from libs.workflow import errors

FAST_EXECUTE: Final = "pyflyte-fast-execute"
_DEST_DIR: Final = "--dest-dir"


@dataclass(frozen=True, slots=True)
class Command:
    """What the template wants to run, with its variables still in it."""

    words: tuple[str, ...]
    env: Mapping[str, str]


def of_template(template: tasks_pb2.TaskTemplate) -> Command:
    """The command of the task's container.

    Raises InvalidArgument, naming the field, when there is none. What only a pod can run has been refused before.
    """
    target, container = template.WhichOneof("target"), template.container
    if target != "container":
        raise errors.InvalidArgument(f"a task of type {template.type!r} with target {target!r} has no command line")
    words = (*container.command, *container.args)
    if not words:
        raise errors.InvalidArgument("container: neither command nor args are given")
    return Command(words, {pair.key: pair.value for pair in container.env})


def with_private_code(words: Sequence[str], directory: Path | str) -> tuple[str, ...]:
    """`words` with the value of fast-execute's own `--dest-dir` replaced; the wrapped command stays as it is."""
    if words[0].rpartition("/")[2] != FAST_EXECUTE:
        return tuple(words)
    rewritten = list(words)
    end = words.index("--") if "--" in words else len(words)
    for position in range(end):
        if words[position] == _DEST_DIR and position + 1 < end:
            rewritten[position + 1] = str(directory)
        elif words[position].startswith(f"{_DEST_DIR}="):
            rewritten[position] = f"{_DEST_DIR}={directory}"
    return tuple(rewritten)
