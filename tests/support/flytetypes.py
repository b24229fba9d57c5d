"""Short ways to write Flyte's types, values and templates in tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyteidl.core import interface_pb2, literals_pb2, types_pb2
from google.protobuf import json_format, struct_pb2


def simple(name: str, **more: Any) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(simple=types_pb2.SimpleType.Value(name), **more)


INTEGER = simple("INTEGER")
FLOAT = simple("FLOAT")
STRING = simple("STRING")
BOOLEAN = simple("BOOLEAN")
STRUCT = simple("STRUCT")
NONE = simple("NONE")


def listed(element: types_pb2.LiteralType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(collection_type=element)


def mapped(value: types_pb2.LiteralType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(map_value_type=value)


def union(*variants: types_pb2.LiteralType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=variants))


def tagged(literal_type: types_pb2.LiteralType, tag: str) -> types_pb2.LiteralType:
    copy = types_pb2.LiteralType()
    copy.CopyFrom(literal_type)
    copy.structure.tag = tag
    return copy


def enum(*values: str) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=values))


def blob(blob_format: str = "", multipart: bool = False) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(blob=types_pb2.BlobType(format=blob_format, dimensionality=int(multipart)))


def schema(**columns: str) -> types_pb2.LiteralType:
    column = types_pb2.SchemaType.SchemaColumn
    return types_pb2.LiteralType(
        schema=types_pb2.SchemaType(
            columns=[column(name=name, type=column.SchemaColumnType.Value(kind)) for name, kind in columns.items()]
        )
    )


def dataset(dataset_format: str = "", **columns: types_pb2.LiteralType) -> types_pb2.LiteralType:
    column = types_pb2.StructuredDatasetType.DatasetColumn
    return types_pb2.LiteralType(
        structured_dataset_type=types_pb2.StructuredDatasetType(
            format=dataset_format,
            columns=[column(name=name, literal_type=one) for name, one in columns.items()],
        )
    )


def dataclass_type(json_schema: Mapping[str, Any]) -> types_pb2.LiteralType:
    return simple("STRUCT", metadata=json_format.ParseDict(dict(json_schema), struct_pb2.Struct()))


def value(thing: Any) -> literals_pb2.Literal:
    """The literal of a plain Python value: int, float, str, bool, None, list, dict."""
    match thing:
        case literals_pb2.Literal():
            return thing
        case bool():
            primitive = literals_pb2.Primitive(boolean=thing)
        case int():
            primitive = literals_pb2.Primitive(integer=thing)
        case float():
            primitive = literals_pb2.Primitive(float_value=thing)
        case str():
            primitive = literals_pb2.Primitive(string_value=thing)
        case None:
            return literals_pb2.Literal(scalar=literals_pb2.Scalar(none_type=literals_pb2.Void()))
        case list():
            return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=map(value, thing)))
        case dict():
            return literals_pb2.Literal(map=literal_map(**thing))
        case _:
            raise TypeError(type(thing))
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))


def literal_map(**things: Any) -> literals_pb2.LiteralMap:
    return literals_pb2.LiteralMap(literals={key: value(thing) for key, thing in things.items()})


def union_value(thing: Any, literal_type: types_pb2.LiteralType) -> literals_pb2.Literal:
    return literals_pb2.Literal(
        scalar=literals_pb2.Scalar(union=literals_pb2.Union(value=value(thing), type=literal_type))
    )


def variables(**types: types_pb2.LiteralType) -> interface_pb2.VariableMap:
    return interface_pb2.VariableMap(
        variables={name: interface_pb2.Variable(type=one, description=name) for name, one in types.items()}
    )
