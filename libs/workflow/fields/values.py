"""Values that no field of their kind can have, whatever message it is part of.

They would be refused by a database, a file system or `execve` later, when nobody is there to be told; or, worse, do
something else than was asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from flyteidl.admin import common_pb2
from flyteidl.core import literals_pb2, tasks_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from libs.workflow import options
from libs.workflow.errors import InvalidArgument

_LOCATION: Final = re.compile(r"(/|[A-Za-z][A-Za-z0-9+.-]*://)[^\x00-\x1f\x7f]*")


def check_field(field: FieldDescriptor, value: Any, place: str) -> None:
    """Raise InvalidArgument for a number that its enumeration does not have, and for text with a NUL character."""
    if field.enum_type and not field.is_repeated and value not in field.enum_type.values_by_number:
        known = ", ".join(field.enum_type.values_by_name)
        raise InvalidArgument(f"{place}: {value} is none of {known}")
    if field.type == FieldDescriptor.TYPE_STRING:
        for text in value if field.is_repeated else (value,):
            if "\0" in text:
                raise InvalidArgument(f"{place}: contains a NUL character")


def check_message(message: Message, place: str) -> None:
    """Raise InvalidArgument for what a message of this type cannot say as a whole."""
    check = _CHECKS.get(message.DESCRIPTOR.full_name)
    if check is not None:
        check(message, place)


def _check_variable(pair: Any, place: str) -> None:
    if not pair.key or "=" in pair.key:
        raise InvalidArgument(f"{place}.key: {pair.key!r} cannot be the name of an environment variable")


def _check_location(config: Any, place: str) -> None:
    prefix = config.output_location_prefix
    if prefix and _LOCATION.fullmatch(prefix) is None:
        raise InvalidArgument(
            f"{place}.output_location_prefix: {prefix[:100]!r} is neither an absolute path nor an address such as "
            "s3://bucket/prefix"
        )


def _check_task(template: Any, place: str) -> None:
    options.retry_backoff_us(template.config, f"{place}.config")
    options.process(template.config, f"{place}.config")
    if template.metadata.discoverable and not template.metadata.discovery_version:
        raise InvalidArgument(f"{place}.metadata.discovery_version: a task whose outputs are cached needs one")


def _check_annotations(annotations: Any, place: str) -> None:
    options.deadline_us(annotations.values, f"{place}.values")


_CHECKS: Final[Mapping[str, Callable[[Message, str], None]]] = {
    literals_pb2.KeyValuePair.DESCRIPTOR.full_name: _check_variable,
    common_pb2.RawOutputDataConfig.DESCRIPTOR.full_name: _check_location,
    common_pb2.Annotations.DESCRIPTOR.full_name: _check_annotations,
    tasks_pb2.TaskTemplate.DESCRIPTOR.full_name: _check_task,
}
