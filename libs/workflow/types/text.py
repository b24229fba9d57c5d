"""Types in words, for messages that people read."""

from __future__ import annotations

from typing import Any

from flyteidl.core import types_pb2

_LONGEST = 300
"""Characters of one description. A wide schema or enum would otherwise drown the sentence it is part of."""


def describe(literal_type: types_pb2.LiteralType) -> str:
    """A type as its reader would write it: `INTEGER`, `LIST[STRING]`, `MAP[INTEGER | NONE]`, `ENUM(red, blue)`."""
    text = _describe(literal_type)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _describe(literal_type: types_pb2.LiteralType) -> str:
    match literal_type.WhichOneof("type"):
        case "simple":
            text = _simple(literal_type)
        case "collection_type":
            text = f"LIST[{_describe(literal_type.collection_type)}]"
        case "map_value_type":
            text = f"MAP[{_describe(literal_type.map_value_type)}]"
        case "union_type":
            text = " | ".join(_describe(variant) for variant in literal_type.union_type.variants) or "UNION of nothing"
        case "enum_type":
            text = f"ENUM({', '.join(literal_type.enum_type.values)})"
        case "blob":
            text = blob(literal_type.blob)
        case "schema":
            text = _schema(literal_type.schema)
        case "structured_dataset_type":
            text = _dataset(literal_type.structured_dataset_type)
        case _:
            return "no type"
    tag = literal_type.structure.tag
    return text if not tag or tag.lower() == text.lower() else f"{text} ({tag})"


def _simple(literal_type: types_pb2.LiteralType) -> str:
    name = _name(types_pb2.SimpleType, literal_type.simple)
    title = literal_type.metadata.fields["title"].string_value if "title" in literal_type.metadata.fields else ""
    return f"{name} {title}" if title else name


def _name(kinds: Any, number: int) -> str:
    """The name of an enum's value; the number itself if a newer client sent one that is unknown here."""
    return str(kinds.Name(number)) if number in kinds.values() else f"unknown type {number}"


def blob(blob_type: types_pb2.BlobType) -> str:
    kind = "BLOB" if blob_type.dimensionality == types_pb2.BlobType.SINGLE else "MULTIPART BLOB"
    return f"{kind}({blob_type.format})" if blob_type.format else kind


def _schema(schema: types_pb2.SchemaType) -> str:
    kinds = types_pb2.SchemaType.SchemaColumn.SchemaColumnType
    columns = ", ".join(f"{column.name}: {_name(kinds, column.type)}" for column in schema.columns)
    return f"SCHEMA({columns})" if columns else "SCHEMA"


def _dataset(dataset: types_pb2.StructuredDatasetType) -> str:
    parts = [f"{column.name}: {_describe(column.literal_type)}" for column in dataset.columns]
    if dataset.format:
        parts.append(f"format {dataset.format}")
    return f"STRUCTURED_DATASET({', '.join(parts)})" if parts else "STRUCTURED_DATASET"
