"""Assignability: whether a value of an upstream type may be bound to a downstream variable.

The rules are Flyte's (nominal where users would be surprised otherwise: an INTEGER is never a FLOAT):

=====================  ==============================================================================================
downstream             accepts
=====================  ==============================================================================================
simple                 the same simple type; STRING also any enum. An upstream structure tag must be the same tag
STRUCT                 STRUCT; if both carry a JSON schema, every field that downstream declares must fit
NONE                   NONE
enum                   STRING, or an enum with the same values in the same order
collection             the empty list, or a collection whose element is assignable
map                    the empty map, or a map whose value is assignable
blob                   a blob of the same format, or either without format (one file or many is not compared)
schema                 schema or parquet dataset with at least these columns; either without columns
structured dataset     NONE, schema, or dataset of the same format (or either without) with at least these columns
union                  a union whose every variant finds a place; else what fits exactly one variant
=====================  ==============================================================================================

An upstream union of one variant counts as that variant, too. Consequently an optional value never fits a variable that
is not optional.
"""

from __future__ import annotations

from flyteidl.core import types_pb2

from libs.workflow.types import jsonschema
from libs.workflow.types.simple import is_none

_COLUMN_AS_SIMPLE = {
    types_pb2.SchemaType.SchemaColumn.INTEGER: types_pb2.INTEGER,
    types_pb2.SchemaType.SchemaColumn.FLOAT: types_pb2.FLOAT,
    types_pb2.SchemaType.SchemaColumn.STRING: types_pb2.STRING,
    types_pb2.SchemaType.SchemaColumn.BOOLEAN: types_pb2.BOOLEAN,
    types_pb2.SchemaType.SchemaColumn.DATETIME: types_pb2.DATETIME,
    types_pb2.SchemaType.SchemaColumn.DURATION: types_pb2.DURATION,
}


def assignable(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> bool:
    """Whether a value of type `upstream` may be bound to a variable of type `downstream`."""
    if upstream == downstream:
        return True
    variants = upstream.union_type.variants
    if len(variants) == 1 and assignable(variants[0], downstream):
        return True
    match downstream.WhichOneof("type"):
        case "simple":
            return _to_simple(upstream, downstream)
        case "enum_type":
            return _to_enum(upstream, downstream)
        case "collection_type":
            return upstream.WhichOneof("type") == "collection_type" and _to_item(
                upstream.collection_type, downstream.collection_type
            )
        case "map_value_type":
            return upstream.WhichOneof("type") == "map_value_type" and _to_item(
                upstream.map_value_type, downstream.map_value_type
            )
        case "union_type":
            return _to_union(upstream, downstream.union_type)
        case "blob":
            return upstream.WhichOneof("type") == "blob" and blob_fits(upstream.blob, downstream.blob)
        case "schema":
            return _to_schema(upstream, downstream.schema)
        case "structured_dataset_type":
            return _to_dataset(upstream, downstream.structured_dataset_type)
        case _:
            return False


def _to_simple(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> bool:
    if is_none(downstream):
        return is_none(upstream)
    kind = upstream.WhichOneof("type")
    if kind == "enum_type":
        return bool(downstream.simple == types_pb2.STRING)
    if kind != "simple" or upstream.simple != downstream.simple or not _tags_agree(upstream, downstream):
        return False
    if upstream.simple == types_pb2.STRUCT and upstream.HasField("metadata") and downstream.HasField("metadata"):
        return jsonschema.covers(upstream.metadata, downstream.metadata)
    return True


def _to_enum(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> bool:
    match upstream.WhichOneof("type"):
        case "simple":
            return bool(upstream.simple == types_pb2.STRING)
        case "enum_type":
            return upstream.enum_type == downstream.enum_type and _tags_agree(upstream, downstream)
        case _:
            return False


def _tags_agree(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> bool:
    """A value that is tagged with how it was made is only for those who expect that; an untagged one is for all."""
    tag = upstream.structure.tag
    return not tag or tag == downstream.structure.tag


def _to_item(upstream: types_pb2.LiteralType, downstream: types_pb2.LiteralType) -> bool:
    """The elements of a list or map; NONE is the element type of an empty one."""
    return is_none(upstream) or assignable(upstream, downstream)


def _to_union(upstream: types_pb2.LiteralType, downstream: types_pb2.UnionType) -> bool:
    if upstream.WhichOneof("type") == "union_type":
        return all(
            any(assignable(variant, place) for place in downstream.variants) for variant in upstream.union_type.variants
        )
    return sum(assignable(upstream, place) for place in downstream.variants) == 1


def blob_fits(upstream: types_pb2.BlobType, downstream: types_pb2.BlobType) -> bool:
    return not upstream.format or not downstream.format or upstream.format == downstream.format


def _to_schema(upstream: types_pb2.LiteralType, downstream: types_pb2.SchemaType) -> bool:
    match upstream.WhichOneof("type"):
        case "schema":
            given = {column.name: column.type for column in upstream.schema.columns}
            return not given or all(given.get(column.name) == column.type for column in downstream.columns)
        case "structured_dataset_type":
            dataset = upstream.structured_dataset_type
            types = {column.name: column.literal_type for column in dataset.columns}
            return _is_parquet(dataset.format) and (
                not types
                or all(
                    column.name in types and _column_is(column.type, types[column.name])
                    for column in downstream.columns
                )
            )
        case _:
            return False


def _to_dataset(upstream: types_pb2.LiteralType, downstream: types_pb2.StructuredDatasetType) -> bool:
    match upstream.WhichOneof("type"):
        case "simple":
            return bool(upstream.simple == types_pb2.NONE)
        case "schema":
            kinds = {column.name: column.type for column in upstream.schema.columns}
            return _is_parquet(downstream.format) and (
                not kinds
                or all(
                    column.name in kinds and _column_is(kinds[column.name], column.literal_type)
                    for column in downstream.columns
                )
            )
        case "structured_dataset_type":
            return dataset_fits(upstream.structured_dataset_type, downstream)
        case _:
            return False


def dataset_fits(upstream: types_pb2.StructuredDatasetType, downstream: types_pb2.StructuredDatasetType) -> bool:
    formats = {dataset.format.lower() for dataset in (upstream, downstream) if dataset.format}
    if len(formats) > 1:
        return False
    types = {column.name: column.literal_type for column in upstream.columns}
    return not types or all(
        column.name in types and assignable(types[column.name], column.literal_type) for column in downstream.columns
    )


def _is_parquet(dataset_format: str) -> bool:
    """A schema is stored as parquet and as nothing else; a dataset without format may be any."""
    return dataset_format.lower() in ("", "parquet")


def _column_is(column: int, literal_type: types_pb2.LiteralType) -> bool:
    return bool(literal_type.WhichOneof("type") == "simple" and _COLUMN_AS_SIMPLE.get(column) == literal_type.simple)
