"""Flyte's rules of assignability, read literally and one by one: what the fast answer is compared with.

Nothing is shared with the code under test, nothing is cut short, and columns are looked for one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from flyteidl.core import types_pb2
from google.protobuf import json_format

_Type: TypeAlias = types_pb2.LiteralType

_COLUMN_NAMES = {"INTEGER": 1, "FLOAT": 2, "STRING": 3, "BOOLEAN": 4, "DATETIME": 5, "DURATION": 6}
"""The simple types that a column of a schema can have, by name, and their numbers in `SimpleType`."""


def assignable(upstream: _Type, downstream: _Type) -> bool:
    """Whether `downstream` accepts `upstream`."""
    single = _kind(upstream) == "union_type" and len(upstream.union_type.variants) == 1
    if single and assignable(upstream.union_type.variants[0], downstream):
        return True
    return _ACCEPTS[_kind(downstream)](upstream, downstream)


def _kind(one: _Type) -> str:
    kind = str(one.WhichOneof("type"))
    if kind != "simple":
        return kind
    return {types_pb2.STRUCT: "struct", types_pb2.NONE: "none", types_pb2.STRING: "string"}.get(one.simple, "simple")


def _tag_rejects(upstream: _Type, downstream: _Type) -> bool:
    return bool(upstream.structure.tag != "" and upstream.structure.tag != downstream.structure.tag)


def _simple(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) != "simple" or _tag_rejects(upstream, downstream):
        return False
    return bool(upstream.simple == downstream.simple)


def _string(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) == "enum_type":
        return True
    return _kind(upstream) == "string" and not _tag_rejects(upstream, downstream)


def _struct(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) != "struct" or _tag_rejects(upstream, downstream):
        return False
    if not upstream.HasField("metadata") or not downstream.HasField("metadata"):
        return True
    given = json_format.MessageToDict(upstream.metadata)["properties"]
    wanted = json_format.MessageToDict(downstream.metadata)["properties"]
    return all(any(name == other and wanted[name] == given[other] for other in given) for name in wanted)


def _none(upstream: _Type, downstream: _Type) -> bool:
    return _kind(upstream) == "none"


def _enum(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) == "string":
        return True
    if _kind(upstream) != "enum_type" or _tag_rejects(upstream, downstream):
        return False
    return list(upstream.enum_type.values) == list(downstream.enum_type.values)


def _collection(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) != "collection_type":
        return False
    if _kind(upstream.collection_type) == "none":
        return True
    return assignable(upstream.collection_type, downstream.collection_type)


def _map(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) != "map_value_type":
        return False
    if _kind(upstream.map_value_type) == "none":
        return True
    return assignable(upstream.map_value_type, downstream.map_value_type)


def _blob(upstream: _Type, downstream: _Type) -> bool:
    if _kind(upstream) != "blob":
        return False
    given, wanted = upstream.blob.format, downstream.blob.format
    return given == "" or wanted == "" or bool(given == wanted)


def _schema(upstream: _Type, downstream: _Type) -> bool:
    wanted = downstream.schema.columns
    if _kind(upstream) == "schema":
        given = upstream.schema.columns
        if len(given) == 0 or len(wanted) == 0:
            return True
        return all(any(one.name == other.name and one.type == other.type for other in given) for one in wanted)
    if _kind(upstream) == "structured_dataset_type":
        dataset = upstream.structured_dataset_type
        if dataset.format.lower() not in ("", "parquet"):
            return False
        if len(dataset.columns) == 0 or len(wanted) == 0:
            return True
        return all(
            any(one.name == other.name and _column(one.type, other.literal_type) for other in dataset.columns)
            for one in wanted
        )
    return False


def _dataset(upstream: _Type, downstream: _Type) -> bool:
    wanted = downstream.structured_dataset_type
    if _kind(upstream) == "none":
        return True
    if _kind(upstream) == "schema":
        if wanted.format.lower() not in ("", "parquet"):
            return False
        if len(upstream.schema.columns) == 0 or len(wanted.columns) == 0:
            return True
        return all(
            any(one.name == other.name and _column(other.type, one.literal_type) for other in upstream.schema.columns)
            for one in wanted.columns
        )
    if _kind(upstream) == "structured_dataset_type":
        given = upstream.structured_dataset_type
        if given.format.lower() != wanted.format.lower() and given.format != "" and wanted.format != "":
            return False
        if len(given.columns) == 0 or len(wanted.columns) == 0:
            return True
        return all(
            any(one.name == other.name and assignable(other.literal_type, one.literal_type) for other in given.columns)
            for one in wanted.columns
        )
    return False


def _column(column: int, literal_type: _Type) -> bool:
    name = types_pb2.SchemaType.SchemaColumn.SchemaColumnType.Name(column)
    return bool(literal_type.WhichOneof("type") == "simple" and literal_type.simple == _COLUMN_NAMES[name])


def _union(upstream: _Type, downstream: _Type) -> bool:
    places = downstream.union_type.variants
    if _kind(upstream) == "union_type":
        return all(any(assignable(one, place) for place in places) for one in upstream.union_type.variants)
    return [assignable(upstream, place) for place in places].count(True) == 1


_ACCEPTS: dict[str, Callable[[_Type, _Type], bool]] = {
    "simple": _simple,
    "string": _string,
    "struct": _struct,
    "none": _none,
    "enum_type": _enum,
    "collection_type": _collection,
    "map_value_type": _map,
    "blob": _blob,
    "schema": _schema,
    "structured_dataset_type": _dataset,
    "union_type": _union,
}
