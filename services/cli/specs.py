"""What a file holds: specifications as `pyflyte package` writes them, or as a program of the user's wrote them down.

A serialized message does not say of which type it is, so the types are tried, strictly: a message fits if it has no
field that the type does not know, and the fields without which it would mean nothing. The names that `pyflyte package`
gives its files (`<n>_<name>_1.pb` a task, `_2` a workflow, `_3` a launch plan) say what to try first.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final

from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import dynamic_job_pb2, identifier_pb2, workflow_closure_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from libs.workflow.compiler import Spec


class Kind(StrEnum):
    """The types of messages that are understood, as users name them."""

    TASK = "task"
    WORKFLOW = "workflow"
    CLOSURE = "closure"
    DYNAMIC = "dynamic"
    LAUNCH_PLAN = "launch-plan"


class Unreadable(Exception):
    """What a file holds is not, or not certainly, a message of a known type; the message says why."""


@dataclass(frozen=True, slots=True)
class File:
    """A file on disk, or one in an archive."""

    name: str
    """How messages call it."""
    content: bytes

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.name)


_TYPES: Final[Mapping[Kind, type[Any]]] = {
    Kind.TASK: task_pb2.TaskSpec,
    Kind.WORKFLOW: workflow_pb2.WorkflowSpec,
    Kind.CLOSURE: workflow_closure_pb2.WorkflowClosure,
    Kind.DYNAMIC: dynamic_job_pb2.DynamicJobSpec,
    Kind.LAUNCH_PLAN: launch_plan_pb2.LaunchPlan,
}

_PACKAGED: Final = re.compile(r"\d+_.*_([123])\.pb")
_KIND_IN_PACKAGE: Final = {"1": Kind.TASK, "2": Kind.WORKFLOW, "3": Kind.LAUNCH_PLAN}
_ARCHIVES: Final = (".tgz", ".tar.gz")
_SUFFIXES: Final = (".pb", ".json")


def files(path: Path) -> list[File]:
    """The file at a path; of a directory the specifications in it, of an archive those that it contains.

    Raises Unreadable, also for a directory or an archive without any.
    """
    try:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and one.is_file())
            found = [File(str(one), one.read_bytes()) for one in inside]
        elif path.name.endswith(_ARCHIVES):
            found = sorted(_in_archive(path), key=lambda file: file.name)
        else:
            return [File(str(path), path.read_bytes())]
    except (OSError, tarfile.TarError) as error:
        raise Unreadable(f"cannot be read: {str(error).splitlines()[0]}") from error
    if not found:
        raise Unreadable("contains no file that ends in .pb or .json")
    return found


def _in_archive(path: Path) -> Iterator[File]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(_SUFFIXES):
                content = archive.extractfile(member)
                assert content is not None  # as of every regular file
                yield File(f"{path}/{member.name.removeprefix('./')}", content.read())


def read(file: File, kind: Kind | None = None) -> Spec:
    """The specification in a file, of the type `kind` if that is given. Raises Unreadable."""
    parse = _reader(file)
    if kind is not None:
        return _strictly(parse, kind)
    packaged = _PACKAGED.fullmatch(file.path.name)
    if packaged is not None:
        try:
            return _strictly(parse, _KIND_IN_PACKAGE[packaged[1]])
        except Unreadable:
            pass  # a name of the user's own, which means nothing
    fitting: dict[Kind, Spec] = {}
    for one in Kind:
        try:
            fitting[one] = _strictly(parse, one)
        except Unreadable:
            continue
    if set(fitting) == {Kind.WORKFLOW, Kind.CLOSURE}:
        # Without sub-workflows and tasks both are written alike, and mean the same.
        return fitting[Kind.WORKFLOW]
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if fitting:
        raise Unreadable(f"may hold one of {', '.join(fitting)}: say which with --type")
    names = ", ".join(one.__name__ for one in _TYPES.values())
    raise Unreadable(f"holds none of {names}: say with --type which it should be, to see why it is not")


def _reader(file: File) -> Callable[[Any], Any]:
    """How a message of a given type is read from the file: as JSON or as bytes, by name or by content."""
    if file.path.suffix != ".pb":
        try:
            document = json.loads(file.content)
        except ValueError as error:
            if file.path.suffix == ".json":
                raise Unreadable(f"is no JSON: {error}") from error
        else:
            return lambda message_type: json_format.ParseDict(document, message_type())
    return lambda message_type: message_type.FromString(file.content)


def _strictly(parse: Callable[[Any], Any], kind: Kind) -> Spec:
    message_type = _TYPES[kind]
    try:
        spec: Spec = parse(message_type)
    except (DecodeError, json_format.ParseError) as error:
        raise Unreadable(f"is no {message_type.__name__}: {error}") from error
    size = spec.ByteSize()
    spec.DiscardUnknownFields()
    if spec.ByteSize() != size:
        raise Unreadable(f"is no {message_type.__name__}: it has fields that are unknown there")
    if missing := _missing(spec):
        raise Unreadable(f"is no {message_type.__name__}: {missing}")
    return spec


def _missing(spec: Spec) -> str:
    """What a specification lacks without which it can't be what it claims to be; empty if it is complete."""
    match spec:
        case task_pb2.TaskSpec():
            return _not_named("template.id", spec.template.id, identifier_pb2.TASK)
        case workflow_pb2.WorkflowSpec():
            return _not_named("template.id", spec.template.id, identifier_pb2.WORKFLOW)
        case workflow_closure_pb2.WorkflowClosure():
            return _not_named("workflow.id", spec.workflow.id, identifier_pb2.WORKFLOW)
        case launch_plan_pb2.LaunchPlan():
            return _not_named("id", spec.id, identifier_pb2.LAUNCH_PLAN) or _not_named(
                "spec.workflow_id", spec.spec.workflow_id, identifier_pb2.WORKFLOW
            )
        case _:
            # Bytes of something else make ids, too, but not such as anybody would write.
            named = spec.nodes and all(node.id and node.id.isprintable() for node in spec.nodes)
            return "" if named else "it has no nodes, or one without a readable id"


def _not_named(field: str, id: identifier_pb2.Identifier, kind: int) -> str:
    if not id.name:
        return f"{field}.name is empty"
    if id.resource_type not in (identifier_pb2.UNSPECIFIED, kind):
        return f"{field} is that of another kind of thing"
    return ""
