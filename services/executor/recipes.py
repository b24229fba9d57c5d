"""Which commands can run in a process forked from a warm one, and from which. Pure.

Those that flytekit writes into its tasks: `pyflyte-execute` and `pyflyte-map-execute`, by themselves or wrapped in
`pyflyte-fast-execute`, which fetches code first. Any other command, also a path to one of these, starts a process of
its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flyteidl.core import identifier_pb2

from services.executor.commandline import FAST_EXECUTE
from services.executor.framing import Reply
from services.executor.runner import Exit, Launch, Recipe, Warm
from services.executor.wardens import Warden

_TOOLS: Final = ("pyflyte-execute", "pyflyte-map-execute")
_DISTRIBUTION: Final = "--additional-distribution"
_DESTINATION: Final = "--dest-dir"

# Variables that name the attempt, and of which flytekit's configuration is no part.
_PERSONAL: Final = (
    "FLYTE_INTERNAL_",
    "FLYTE_ATTEMPT_NUMBER",
    "FLYTE_EXECUTION_URL",
    "FLYTE_K8S_ARRAY_INDEX",
    "BATCH_JOB_ARRAY_INDEX_",
    "HOME",
    "TMPDIR",
    "TRACEPARENT",
    "CUDA_VISIBLE_DEVICES",
)


_OF_ZYGOTES: Final = ("HOME", "TMPDIR")
"""What a zygote has of its own in its environment, beside what its recipe says."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command of flytekit's, without the fetching of code."""

    words: tuple[str, ...]
    distribution: str = ""
    destination: str = ""

    @property
    def module(self) -> str:
        """The user's module that the task is in, as flytekit's default resolver is told; empty for another's."""
        if "--" in self.words:
            arguments = self.words[self.words.index("--") + 1 :]
            for name, value in itertools.pairwise(arguments):
                if name == "task-module":
                    return value
        return ""


def call_of(words: Sequence[str]) -> Call | None:
    """What `words` call; None when a process forked from a warm one could not do it."""
    if words and words[0] in _TOOLS:
        return Call(tuple(words))
    if not words or words[0] != FAST_EXECUTE or "--" not in words:
        return None
    end = words.index("--")
    options = dict(zip(words[1:end:2], words[2:end:2], strict=False))
    inner = tuple(words[end + 1 :])
    if len(words[1:end]) % 2 or set(options) != {_DISTRIBUTION, _DESTINATION} or not inner or inner[0] not in _TOOLS:
        return None
    distribution, destination = options[_DISTRIBUTION], options[_DESTINATION]
    return Call(_with_code(inner, distribution, destination), distribution, destination)


def _with_code(words: tuple[str, ...], distribution: str, destination: str) -> tuple[str, ...]:
    """As `pyflyte-fast-execute` rewrites them: a dynamic task tells the nodes that it asks for where the code lies."""
    rewritten: list[str] = []
    for word in words:
        if word == "--resolver":
            rewritten += ["--dynamic-addl-distro", distribution, "--dynamic-dest-dir", destination]
        rewritten.append(word)
    return tuple(rewritten)


def recipe_of(call: Call, commands: Path, shared: Mapping[str, str], task: identifier_pb2.Identifier) -> Recipe:
    """The zygote that suits `call`; `shared` is what all attempts of the task find in theirs."""
    version = "" if call.distribution else f"{task.project}:{task.domain}:{task.version}"
    return Recipe(commands, tuple(sorted(shared.items())), call.distribution, version)


def warm(call: Call, recipe: Recipe, warden: Warden, launch: Launch, inputs: bytes | None, inline_limit: int) -> Warm:
    """How `launch` is done by a fork of that zygote's, by one of its wardens."""
    words = (str(recipe.commands / call.words[0]), *call.words[1:])
    names = dict(recipe.environment)
    strange = [name for name in launch.environment if name not in names and not name.startswith(_PERSONAL)]
    found = environment(call, launch.environment, launch.working_directory)
    return Warm(warden, words, inputs, inline_limit, changes(known(recipe), found), configured=not strange)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """What makes one environment the other; None takes a variable away."""
    told: dict[str, str | None] = dict.fromkeys(before.keys() - after.keys())
    told.update(after.items() - before.items())
    return told


def known(recipe: Recipe) -> Mapping[str, str]:
    """What a process that is forked from that zygote's has in its environment as the recipe says, but for what modules
    have set when they were imported: tasks are told what is not in here, and so find what is as modules have set it.
    """
    return {name: value for name, value in recipe.environment if name not in _OF_ZYGOTES}


def environment(call: Call, given: Mapping[str, str], work: Path | str) -> Mapping[str, str]:
    """As `pyflyte-fast-execute` gives it to the command that it wraps: what this starts finds the code too."""
    if not call.distribution:
        return given
    path = given.get("PYTHONPATH", "")
    return {**given, "PYTHONPATH": f"{path}:{work}" if path else str(work)}


def handed_back(ended: Exit, reply: Reply | None) -> Exit:
    """How it ended, with what it said before. Outputs count only where it ended well."""
    if reply is None or reply.outputs is None or ended.code != 0:
        return ended
    return Exit(code=0, out_of_memory=ended.out_of_memory, outputs=reply.outputs, deck=reply.deck)
