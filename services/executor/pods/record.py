"""What a pod carries so that a later life of its executor, or a person, knows whose it is. Pure.

    label       airscrew/executor      which executor made it: what that watches, adopts and removes
    label       airscrew/ended         its attempt's end has been reported: it is only kept to be looked at
    annotation  airscrew/attempt       the assignment, without inputs, variables and secrets, and what its template says
                                       of outputs: all that is needed to go on with it
    labels      execution-id, project, domain, workflow-name, node-id, task-name, interruptible: as Flyte has them

The name is made of the attempt alone: who tries to create it a second time finds that it is there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flyteidl.core import identifier_pb2, interface_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from libs.wire import codec
from libs.wire.session import Assignment
from libs.workflow import errors, options
from libs.workflow.state import EMPTY
from services.executor.pods import datafiles

EXECUTOR: Final = options.PREFIX + "executor"
ENDED: Final = options.PREFIX + "ended"
ATTEMPT: Final = options.PREFIX + "attempt"
_TEMPLATE: Final = options.PREFIX + "template"
PRIMARY: Final = "primary_container_name"
"""Flyte's annotation: the container that is the task."""

_NAME_CHARACTERS: Final = 63
_HASH_CHARACTERS: Final = 10


def pod_name(assignment: Assignment) -> str:
    """A DNS label that no other attempt has, and that a person recognizes."""
    id = assignment.id
    whole = f"{assignment.project}/{assignment.domain}/{assignment.name}/{id.execution}/{id.node}/{id.attempt}"
    digest = hashlib.sha256(f"{whole}/{assignment.output_prefix}".encode()).hexdigest()[:_HASH_CHARACTERS]
    shown = re.sub(r"[^a-z0-9]+", "-", f"{assignment.name}-{id.node}-{id.attempt}".lower()).strip("-")
    return f"{shown[: _NAME_CHARACTERS - _HASH_CHARACTERS - 1].strip('-')}-{digest}".strip("-")


def label_value(text: str) -> str:
    """`text` as the value of a label: what may not be in one becomes `-`; a long one is cut, and marked by a hash."""
    clean = re.sub(r"[^A-Za-z0-9_.-]", "-", text)
    if len(clean) > _NAME_CHARACTERS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]
        clean = f"{clean[: _NAME_CHARACTERS - _HASH_CHARACTERS - 1]}-{digest}"
    return clean.strip("_.-")


def labels(assignment: Assignment, task: identifier_pb2.Identifier, executor: str) -> dict[str, str]:
    """Who the pod belongs to, for selectors."""
    return {
        EXECUTOR: label_value(executor),
        "app.kubernetes.io/managed-by": "airscrew",
        "execution-id": label_value(assignment.name),
        "project": label_value(assignment.project),
        "domain": label_value(assignment.domain),
        "workflow-name": label_value(assignment.workflow.rpartition(":")[2]),
        "node-id": label_value(assignment.id.node),
        "task-name": label_value(task.name),
        "interruptible": str(assignment.interruptible).lower(),
    }


def notes(assignment: Assignment, template: tasks_pb2.TaskTemplate, primary: str) -> dict[str, str]:
    """What a later life of the executor needs to go on with the attempt, and which container is its own."""
    bare = replace(assignment, inputs=EMPTY, envs={}, security_context=b"", overrides=b"")
    outputs = {name: interface_pb2.Variable() for name in template.interface.outputs.variables}
    shape = tasks_pb2.TaskTemplate(
        id=template.id,
        type=template.type,
        interface=interface_pb2.TypedInterface(outputs=interface_pb2.VariableMap(variables=outputs)),
    )
    shape.container.data_config.enabled = datafiles.config_of(template) is not None
    return {
        ATTEMPT: _text(codec.assignment_to_bytes(bare)),
        _TEMPLATE: _text(shape.SerializeToString(deterministic=True)),
        PRIMARY: primary,
    }


def read(pod: Mapping[str, Any]) -> tuple[Assignment, tasks_pb2.TaskTemplate]:
    """What `notes` wrote. Raises InvalidArgument when the pod does not say it."""
    found = pod.get("metadata", {}).get("annotations") or {}
    try:
        assignment = codec.assignment_from_bytes(base64.b64decode(found[ATTEMPT], validate=True))
        template = tasks_pb2.TaskTemplate.FromString(base64.b64decode(found[_TEMPLATE], validate=True))
    except (KeyError, binascii.Error, DecodeError) as error:
        name = pod.get("metadata", {}).get("name")
        raise errors.InvalidArgument(f"pod {name} does not say which attempt it runs: {error}") from error
    return assignment, template


def primary_of(pod: Mapping[str, Any]) -> str:
    """The container that is the task."""
    found = pod.get("metadata", {}).get("annotations") or {}
    return str(found.get(PRIMARY, ""))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
