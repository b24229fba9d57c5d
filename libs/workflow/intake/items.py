"""What becomes of an item: the inputs that it means, and the name of its execution.

The name follows from the item, so that an item that is delivered again is the same execution: from what it is known by
in Redis (the number of its claim, the id of the stream's entry) together with its content, or from the field in which
whoever wrote it named it for good.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, NamedTuple

from flyteidl.core import interface_pb2, literals_pb2
from google.protobuf.message import DecodeError

from libs.workflow import identity, values
from libs.workflow.errors import InvalidArgument
from libs.workflow.intake.definition import Codec, Intake, IntakeId

_MOST: Final = 20
"""Wrong inputs that a reason lists."""


class Decoded(NamedTuple):
    """What an item means."""

    inputs: literals_pb2.LiteralMap
    own_id: str | None
    """What the item calls itself, where the intake says that it does."""


def decode(intake: Intake, item: bytes, expected: interface_pb2.ParameterMap) -> Decoded:
    """The inputs that an item means to a launch plan with the inputs `expected`.

    Raises InvalidArgument with everything that is wrong with it. Inputs that are missing or fixed are found when the
    execution is created.
    """
    if intake.codec is Codec.LITERALS:
        return Decoded(_literal_map(item), None)
    fields = _object(item)
    own_id = _own_id(fields, intake.id_field, expected) if intake.id_field else None
    return Decoded(_inputs(fields, expected), own_id)


def inputs_of_json(item: bytes, expected: interface_pb2.ParameterMap) -> literals_pb2.LiteralMap:
    """The inputs that a JSON object means, with a value for each. Raises InvalidArgument as `decode`."""
    return _inputs(_object(item), expected)


def name_of(intake: IntakeId, claim: str, item: bytes, own_id: str | None) -> str:
    """The name of the item's execution."""
    digest = hashlib.blake2b(digest_size=16)
    of_item = (own_id.encode(),) if own_id is not None else (claim.encode(), item)
    for part in (*(text.encode() for text in intake), *of_item):
        digest.update(len(part).to_bytes(8, "big") + part)
    return identity.execution_name(digest.digest())


def _literal_map(item: bytes) -> literals_pb2.LiteralMap:
    """Strictly: bytes of something else often parse, as a message without fields that are known."""
    try:
        inputs = literals_pb2.LiteralMap.FromString(item)
    except DecodeError as error:
        raise InvalidArgument(f"is no serialized LiteralMap: {error}") from None
    size = inputs.ByteSize()
    inputs.DiscardUnknownFields()
    if inputs.ByteSize() != size:
        raise InvalidArgument("is no serialized LiteralMap: it has fields that are unknown there")
    return inputs


def _object(item: bytes) -> dict[str, Any]:
    try:
        found = json.loads(item)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidArgument("is no JSON object: each item must be one, with a value for each input")
    return found


def _own_id(fields: dict[str, Any], name: str, expected: interface_pb2.ParameterMap) -> str:
    """Takes the id out, unless it is an input too."""
    own_id = fields.get(name)
    if isinstance(own_id, bool) or not isinstance(own_id, str | int) or own_id == "":
        raise InvalidArgument(f"{name}: names the item, so that it must be there, a text or a whole number")
    if not _storable(str(own_id)):
        raise InvalidArgument(f"{name}: is no text that can be encoded")
    if name not in expected.parameters:
        del fields[name]
    return str(own_id)


def _storable(text: str) -> bool:
    """JSON can say halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _inputs(fields: dict[str, Any], expected: interface_pb2.ParameterMap) -> literals_pb2.LiteralMap:
    inputs = literals_pb2.LiteralMap()
    problems = []
    for name, value in fields.items():
        if name not in expected.parameters:
            known = ", ".join(sorted(expected.parameters)) or "none"
            problems.append(f"inputs.{name[:100]}: there is no such input; inputs are: {known}")
            continue
        try:
            inputs.literals[name].CopyFrom(values.of_json(value, expected.parameters[name].var.type))
        except InvalidArgument as error:
            problems.append(f"inputs.{name}: {error.message}")
    if problems:
        raise InvalidArgument("; ".join(problems[:_MOST]))
    return inputs
