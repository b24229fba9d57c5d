"""Small facts about `LiteralType` that more than one module needs."""

from __future__ import annotations

from typing import Final

from flyteidl.core import literals_pb2, types_pb2

MSGPACK: Final = "msgpack"
"""Tag of a `Binary` that holds a structure (dataclass, dict, pydantic model) rather than raw bytes."""

PRIMITIVES: Final[dict[str, types_pb2.SimpleType]] = {
    "integer": types_pb2.INTEGER,
    "float_value": types_pb2.FLOAT,
    "string_value": types_pb2.STRING,
    "boolean": types_pb2.BOOLEAN,
    "datetime": types_pb2.DATETIME,
    "duration": types_pb2.DURATION,
}
"""The simple type of each kind of primitive, by the name of the field that is set."""


def of_simple(simple: types_pb2.SimpleType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(simple=simple)


NONE: Final = of_simple(types_pb2.NONE)


def is_none(literal_type: types_pb2.LiteralType) -> bool:
    return bool(literal_type.WhichOneof("type") == "simple" and literal_type.simple == types_pb2.NONE)


def is_optional(literal_type: types_pb2.LiteralType) -> bool:
    """Whether a variable of this type may stay unbound: a union with NONE among its variants."""
    return any(is_none(variant) for variant in literal_type.union_type.variants)


def is_structure(binary: literals_pb2.Binary) -> bool:
    return bool(binary.tag == MSGPACK)
