"""Names in requests: complete, well-formed, and turned into our own ids.

Every name that may become part of a row or of a path passes through here before anything is stored. Lookups are checked
for completeness only: a name that cannot exist is simply not found.
"""

from __future__ import annotations

import re

from flyteidl.admin import common_pb2
from flyteidl.core import identifier_pb2

from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import (
    MAX_EXECUTION_NAME_LENGTH,
    EntityId,
    ExecutionId,
    valid_execution_name,
)

MAX_NAME_LENGTH = 255
"""Of an entity's name or version: what Flyte's own database allows."""

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label, as Flyte asks of projects: it becomes part of paths and, on Kubernetes, of names."""
_VERSION = re.compile(r"[A-Za-z0-9._~-]+")
"""What needs no escaping in an address, as Flyte asks of versions."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def required(value: str, field: str) -> str:
    """The value, or `InvalidArgument` that names the missing field."""
    if not value:
        raise InvalidArgument(f"{field}: missing")
    return value


def no_org(org: str, field: str) -> None:
    """Refuses organisations: an installation is one."""
    if org:
        raise InvalidArgument(f"{field}.org: this installation has no organisations, leave it empty")


def kind_name(kind: int) -> str:
    """The name of a `core.ResourceType`, or its number if it is none."""
    known: dict[int, str] = {number: name for name, number in identifier_pb2.ResourceType.items()}
    return known.get(kind, str(kind))


def entity(message: identifier_pb2.Identifier, kind: int, field: str = "id") -> EntityId:
    """The id of a task, workflow or launch plan. A resource type that is not given is taken from the context."""
    if message.resource_type not in (identifier_pb2.UNSPECIFIED, kind):
        raise InvalidArgument(
            f"{field}.resource_type: is {kind_name(message.resource_type)}, expected {kind_name(kind)}"
        )
    no_org(message.org, field)
    return EntityId(
        required(message.project, f"{field}.project"),
        required(message.domain, f"{field}.domain"),
        required(message.name, f"{field}.name"),
        required(message.version, f"{field}.version"),
    )


def new_entity(message: identifier_pb2.Identifier, kind: int, field: str = "id") -> EntityId:
    """The id of an entity that is to be registered: its parts must be fit to be stored for good."""
    found = entity(message, kind, field)
    fit_project(found.project, f"{field}.project")
    for part, value in (("name", found.name), ("version", found.version)):
        if len(value) > MAX_NAME_LENGTH:
            raise InvalidArgument(f"{field}.{part}: has {len(value)} characters, at most {MAX_NAME_LENGTH} are allowed")
    if _CONTROL.search(found.name):
        raise InvalidArgument(f"{field}.name: contains a control character")
    if _VERSION.fullmatch(found.version) is None:
        raise InvalidArgument(f"{field}.version: {found.version!r} must consist of letters, digits and . _ ~ -")
    return found


def named(message: common_pb2.NamedEntityIdentifier, field: str = "id") -> tuple[str, str, str]:
    """Project, domain and name of an entity whose version is left open."""
    no_org(message.org, field)
    return (
        required(message.project, f"{field}.project"),
        required(message.domain, f"{field}.domain"),
        required(message.name, f"{field}.name"),
    )


def listed(message: common_pb2.NamedEntityIdentifier, field: str = "id") -> tuple[str, str, str]:
    """Project, domain and name of a list, whose name may be left open."""
    no_org(message.org, field)
    return required(message.project, f"{field}.project"), required(message.domain, f"{field}.domain"), message.name


def execution(message: identifier_pb2.WorkflowExecutionIdentifier, field: str = "id") -> ExecutionId:
    """The id of an execution that should exist."""
    no_org(message.org, field)
    return ExecutionId(
        required(message.project, f"{field}.project"),
        required(message.domain, f"{field}.domain"),
        required(message.name, f"{field}.name"),
    )


def node(message: identifier_pb2.NodeExecutionIdentifier, field: str = "id") -> tuple[ExecutionId, str]:
    """The execution and the id of a node in it."""
    return execution(message.execution_id, f"{field}.execution_id"), required(message.node_id, f"{field}.node_id")


def attempt(message: identifier_pb2.TaskExecutionIdentifier, field: str = "id") -> tuple[ExecutionId, str, int]:
    """The execution, the id of a node in it, and the number of one of its attempts."""
    owner, node_id = node(message.node_execution_id, f"{field}.node_execution_id")
    return owner, node_id, message.retry_attempt


def fit_project(project: str, field: str = "project") -> str:
    """A project id that may be recorded: a DNS label."""
    if LABEL.fullmatch(required(project, field)) is None:
        raise InvalidArgument(
            f"{field}: {project!r} must be at most 63 lower-case letters, digits and -, and not begin or end with -"
        )
    return project


def fit_execution_name(name: str, field: str = "name") -> str:
    """A name that an execution may be given."""
    if not valid_execution_name(name):
        raise InvalidArgument(
            f"{field}: {name[:100]!r} must begin with a lower-case letter, go on with lower-case letters, digits "
            f"and -, and have at most {MAX_EXECUTION_NAME_LENGTH} characters"
        )
    return name
