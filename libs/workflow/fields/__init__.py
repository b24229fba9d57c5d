"""What becomes of each field of a request: enforced, recorded only, or refused. None is silently ignored.

*Enforced*: the field has the effect that Flyte's documentation gives it. *Recorded only*: it is stored and echoed and
has no effect here. *Refused*: a request that sets it is answered with the reason, because going on without it would do
something else than was asked.

The table is complete, which a test asserts: it has every field of every message that it names, and every message that
a request can carry in an enforced field. So a field that a newer flyteidl brings fails a test until somebody has
decided what becomes of it. Some fates depend on how tasks are run (`libs.workflow.backend`). `docs/requests.md` is this
table, written out by `deploy/dev/generate_docs.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from flyteidl.admin import execution_pb2
from flyteidl.core import condition_pb2, identifier_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2
from google.protobuf import duration_pb2, struct_pb2, wrappers_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from libs.workflow.backend import Backend
from libs.workflow.fields.requests import EXECUTIONS, FILES, NAMES, READING, REGISTRATION
from libs.workflow.fields.rules import Fate, Rule, Table
from libs.workflow.fields.templates import INTERFACES, TASKS, WORKFLOWS
from libs.workflow.fields.values import check_field, check_message

__all__ = ["AS_A_WHOLE", "CHAPTERS", "FIELDS", "Fate", "Rule", "refuse"]

CHAPTERS: Final[Mapping[str, Table]] = {
    "Registration": REGISTRATION,
    "Workflows": WORKFLOWS,
    "Tasks": TASKS,
    "Interfaces": INTERFACES,
    "Executions": EXECUTIONS,
    "Reading": READING,
    "Files": FILES,
    "Names of things": NAMES,
}

FIELDS: Final[Table] = {message: rules for chapter in CHAPTERS.values() for message, rules in chapter.items()}

AS_A_WHOLE: Final = frozenset(
    message.DESCRIPTOR.full_name
    for message in (
        types_pb2.LiteralType,
        literals_pb2.Literal,
        literals_pb2.LiteralMap,
        literals_pb2.Binding,
        types_pb2.Error,
        condition_pb2.BooleanExpression,
        duration_pb2.Duration,
        wrappers_pb2.BoolValue,
        struct_pb2.Struct,
    )
)
"""Types, data and conditions: compiler and launch understand all of them, and refuse what is not well-formed. What
Kubernetes itself defines (the specification of a pod) is for its API server to judge."""


_ALIKE_BYTES: Final = 4096
"""Clients send specifications of executions again and again as they are: one that has passed, and is no larger than
this, is not looked into a second time."""


def refuse(message: Message, path: str = "", *, backend: Backend = Backend.PROCESS) -> None:
    """Raise the refusal of the first field that is set and not supported under `backend`, or that has a value which it
    cannot have (`values`), naming it by its path.

    Messages inside the message are looked into as far as they are enforced.
    """
    rules = FIELDS[message.DESCRIPTOR.full_name]
    check_message(message, path)
    for field, value in message.ListFields():
        rule, place = rules[field.name].under(backend), f"{path}.{field.name}" if path else field.name
        if _says_nothing(field, value):
            continue
        if rule.error is not None:
            raise rule.error(f"{place}: {rule.reason}")
        check_field(field, value, place)
        if rule.fate is Fate.ENFORCED:
            for name, inside in _inside(field, value):
                if isinstance(inside, execution_pb2.ExecutionSpec) and inside.ByteSize() <= _ALIKE_BYTES:
                    _pass(inside.SerializeToString(), place, backend)
                else:
                    refuse(inside, f"{place}.{name}" if name else place, backend=backend)


@lru_cache(maxsize=1024)
def _pass(serialized: bytes, place: str, backend: Backend) -> None:
    """Refuses a specification. What is remembered is that one has passed, for what raises is not."""
    refuse(execution_pb2.ExecutionSpec.FromString(serialized), place, backend=backend)


def _says_nothing(field: FieldDescriptor, value: Any) -> bool:
    """Whether a field is as SDKs write it where nobody chose: an explicit False or 0, or an empty message."""
    if field.is_repeated:
        return False
    return not (value.ByteSize() if field.message_type else value)


def _inside(field: FieldDescriptor, value: Any) -> Iterator[tuple[str, Message]]:
    """The messages in a field that have rules of their own, and what each is called in a path."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"].message_type
        if inner is not None and inner.full_name in FIELDS:
            yield from sorted(value.items())
    elif kind is None or kind.full_name not in FIELDS:
        return
    elif field.is_repeated:
        yield from ((_name(item), item) for item in value)
    else:
        yield "", value


def _name(item: Message) -> str:
    match item:
        case workflow_pb2.Node(id=id):
            return str(id)
        case workflow_pb2.WorkflowTemplate(id=identifier_pb2.Identifier(name=name)):
            return str(name)
        case tasks_pb2.TaskTemplate(id=identifier_pb2.Identifier(name=name)):
            return str(name)
    return ""
