"""`airscrew compile`: what the compiler makes of specifications, without a server."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from flyteidl.core import compiler_pb2
from google.protobuf import json_format

from libs.workflow import compiler
from services.cli import specs
from services.cli.names import UsageError

_SOMETHING_IS_WRONG: Final = 1


@click.command("compile")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--type",
    "kind",
    type=click.Choice([kind.value for kind in specs.Kind]),
    help="What the files hold, where they do not tell.",
)
@click.option(
    "--output",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write <name>_task.json and <name>_wf.json there instead of printing them.",
)
def compile_files(paths: tuple[Path, ...], kind: str | None, directory: Path | None) -> int:
    """Compile tasks and workflows as the server would, without one.

    FILE is a serialized (.pb) or JSON TaskSpec, WorkflowSpec, WorkflowClosure, DynamicJobSpec or LaunchPlan, a
    directory of such files, or an archive that `pyflyte package` wrote. What workflows refer to is looked for among
    all files.

    Prints each compiled task and workflow as JSON. Every error goes to standard error with its file, and then the exit
    code is 1.
    """
    found = _read(paths, None if kind is None else specs.Kind(kind))
    outcomes = compiler.compile_together(found.specs)
    errors = [*found.errors, *(f"{one.name}: {error}" for one in outcomes for error in one.errors)]
    compiled = {one.name: one.compiled for one in outcomes if one.compiled is not None}
    if directory is None:
        for message in compiled.values():
            print(json_format.MessageToJson(message))
    else:
        _write(directory, compiled)
    for error in errors:
        print(error, file=sys.stderr)
    return _SOMETHING_IS_WRONG if errors else 0


@dataclass(slots=True)
class _Found:
    """What is in the files."""

    specs: dict[str, compiler.Spec] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def _read(paths: Iterable[Path], kind: specs.Kind | None) -> _Found:
    found = _Found()
    for path in paths:
        try:
            files = specs.files(path)
        except specs.Unreadable as error:
            found.errors.append(f"{path}: {error}")
            continue
        for file in files:
            try:
                found.specs[file.name] = specs.read(file, kind)
            except specs.Unreadable as error:
                found.errors.append(f"{file.name}: {error}")
    return found


def _write(
    directory: Path, compiled: dict[str, compiler_pb2.CompiledTask | compiler_pb2.CompiledWorkflowClosure]
) -> None:
    names = {name: _file_name(name, message) for name, message in compiled.items()}
    twice = sorted(one for one, count in Counter(names.values()).items() if count > 1)
    if twice:
        raise UsageError(f"{', '.join(twice)} would be written more than once: compile into different directories")
    directory.mkdir(parents=True, exist_ok=True)
    for name, message in compiled.items():
        target = directory / names[name]
        target.write_text(json_format.MessageToJson(message) + "\n")
        print(target)


def _file_name(name: str, message: compiler_pb2.CompiledTask | compiler_pb2.CompiledWorkflowClosure) -> str:
    ending = "task" if isinstance(message, compiler_pb2.CompiledTask) else "wf"
    return f"{Path(name).stem}_{ending}.json"
