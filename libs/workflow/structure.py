"""Whether two specifications are the same, and what differs if they are not.

A version, once registered, never changes; registering it again is harmless if it is the same and refused if it is not.
*The same* means the same structure: the order in which a client happened to write a map or a set says nothing. SDKs
emit `Node.upstream_node_ids` from a set, so their order changes from one run to the next. Documentation
(`description`) is not structure either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from flyteidl.admin import task_pb2, workflow_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2
from google.protobuf.message import Message

from libs.workflow.compiler.requirements import every_node

_Spec = TypeVar("_Spec", bound=Message)

_SHOWN: Final = 3
"""Differences that are told. One change, such as another image, often shows in many places."""
_LONGEST_VALUE: Final = 80


def digest(spec: Message) -> bytes:
    """32 bytes that are equal for specifications (or templates) of the same structure."""
    return hashlib.blake2b(_normalised(spec).SerializeToString(deterministic=True), digest_size=32).digest()


def difference(old: Message, new: Message) -> str:
    """The first differences between two specifications of one type, with their paths; empty if there are none."""
    found = _differences(_normalised(old), _normalised(new), "")
    shown = [one for _, one in zip(range(_SHOWN + 1), found, strict=False)]
    return "; ".join([*shown[:_SHOWN], "…"] if len(shown) > _SHOWN else shown)


def _normalised(spec: _Spec) -> _Spec:
    copy = type(spec)()
    copy.CopyFrom(spec)
    if isinstance(copy, task_pb2.TaskSpec | workflow_pb2.WorkflowSpec):
        copy.ClearField("description")
    for template in _templates(copy):
        for node in every_node(template):
            node.upstream_node_ids.sort()
    return copy


def _templates(spec: Message) -> Iterator[core_workflow_pb2.WorkflowTemplate]:
    if isinstance(spec, core_workflow_pb2.WorkflowTemplate):
        yield spec
    elif isinstance(spec, workflow_pb2.WorkflowSpec):
        yield spec.template
        yield from spec.sub_workflows


def _differences(old: Message, new: Message, path: str) -> Iterator[str]:
    if old == new:
        return
    for field in old.DESCRIPTOR.fields:
        before, after = getattr(old, field.name), getattr(new, field.name)
        place = f"{path}.{field.name}" if path else field.name
        if field.is_repeated and _is_map(field):
            yield from _in_map(before, after, place)
        elif field.is_repeated:
            yield from _in_list(before, after, place)
        elif field.message_type is not None and (old.HasField(field.name) != new.HasField(field.name)):
            yield f"{place} was {'removed' if old.HasField(field.name) else 'added'}"
        else:
            yield from _in_value(before, after, place)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _in_map(before: Any, after: Any, place: str) -> Iterator[str]:
    for key in sorted({*before, *after}):
        if key not in after:
            yield f"{place}[{key!r}] was removed"
        elif key not in before:
            yield f"{place}[{key!r}] was added"
        else:
            yield from _in_value(before[key], after[key], f"{place}[{key!r}]")


def _in_list(before: Any, after: Any, place: str) -> Iterator[str]:
    for index, (one, other) in enumerate(zip(before, after, strict=False)):
        yield from _in_value(one, other, f"{place}[{index}]")
    if len(before) != len(after):
        yield f"{place} has {len(after)} instead of {len(before)} elements"


def _in_value(before: Any, after: Any, place: str) -> Iterator[str]:
    if isinstance(before, Message):
        yield from _differences(before, after, place)
    elif before != after:
        yield f"{place} was {_shown(before)} and is {_shown(after)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
