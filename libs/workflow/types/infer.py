"""Which type a value has.

A value knows less than its variable: a dataclass is a STRUCT, an enum a STRING, an empty list a list of NONE. Hence the
type found here is to be compared with `assign.assignable`, never for equality.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flyteidl.core import literals_pb2, types_pb2

from libs.workflow.types.simple import NONE, PRIMITIVES, is_none, is_structure, of_simple

_OF_PRIMITIVE = {field: of_simple(simple) for field, simple in PRIMITIVES.items()}
_BINARY = of_simple(types_pb2.BINARY)
_ERROR = of_simple(types_pb2.ERROR)
_STRUCT = of_simple(types_pb2.STRUCT)


def type_of(literal: literals_pb2.Literal) -> types_pb2.LiteralType | None:
    """The type of a value, or None if it has none (no value set, a blob or an offloaded value that does not record it,
    a newer kind).

    A list or map of different types is one of a union of those types, in the order of their serialized form, so that
    the answer does not depend on the order of the elements. The result may be shared: callers must not change it.
    """
    match literal.WhichOneof("value"):
        case "scalar":
            return type_of_scalar(literal.scalar)
        case "collection":
            items = _type_of_items(literal.collection.literals)
            return None if items is None else types_pb2.LiteralType(collection_type=items)
        case "map":
            values = _type_of_items(literal.map.literals.values())
            return None if values is None else types_pb2.LiteralType(map_value_type=values)
        case "offloaded_metadata":
            recorded = literal.offloaded_metadata
            return recorded.inferred_type if recorded.HasField("inferred_type") else None
        case _:
            return None


def type_of_scalar(scalar: literals_pb2.Scalar) -> types_pb2.LiteralType | None:
    """The type of a scalar, or None as in `type_of`."""
    match scalar.WhichOneof("value"):
        case "primitive":
            return _OF_PRIMITIVE.get(scalar.primitive.WhichOneof("value") or "")
        case "none_type":
            return NONE
        case "generic":
            return _STRUCT
        case "binary":
            return _STRUCT if is_structure(scalar.binary) else _BINARY
        case "error":
            return _ERROR
        case "blob":
            return types_pb2.LiteralType(blob=scalar.blob.metadata.type) if scalar.blob.HasField("metadata") else None
        case "schema":
            return types_pb2.LiteralType(schema=scalar.schema.type)
        case "structured_dataset":
            dataset = scalar.structured_dataset.metadata.structured_dataset_type
            return types_pb2.LiteralType(structured_dataset_type=dataset)
        case "union":
            return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[scalar.union.type]))
        case _:
            return None


def _type_of_items(literals: Iterable[literals_pb2.Literal]) -> types_pb2.LiteralType | None:
    """The one type of all elements: NONE for no elements, a union for elements of different types."""
    distinct: dict[bytes, types_pb2.LiteralType] = {}
    for literal in literals:
        found = type_of(literal)
        if found is None:
            return None
        distinct[found.SerializeToString(deterministic=True)] = found
    return _join(distinct.values())


def _join(types: Iterable[types_pb2.LiteralType]) -> types_pb2.LiteralType:
    """One type for values of all these types.

    Lists become one list and maps one map: two lists that differ only in what they happen to hold are values of one
    variable. For the same reason the type of an empty list vanishes beside that of a longer one.
    """
    elements: dict[str, list[types_pb2.LiteralType]] = {}
    variants: dict[bytes, types_pb2.LiteralType] = {}
    for one in _flattened(types):
        kind = one.WhichOneof("type")
        if kind == "collection_type":
            elements.setdefault(kind, []).append(one.collection_type)
        elif kind == "map_value_type":
            elements.setdefault(kind, []).append(one.map_value_type)
        else:
            variants[one.SerializeToString(deterministic=True)] = one
    for kind, inner in elements.items():
        known = [element for element in inner if not is_none(element)]
        merged = _join(known) if known else NONE
        joined = (
            types_pb2.LiteralType(collection_type=merged)
            if kind == "collection_type"
            else types_pb2.LiteralType(map_value_type=merged)
        )
        variants[joined.SerializeToString(deterministic=True)] = joined
    if not variants:
        return NONE
    if len(variants) == 1:
        return next(iter(variants.values()))
    return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[variants[key] for key in sorted(variants)]))


def _flattened(types: Iterable[types_pb2.LiteralType]) -> Iterator[types_pb2.LiteralType]:
    for one in types:
        if one.WhichOneof("type") == "union_type":
            yield from _flattened(one.union_type.variants)
        else:
            yield one
