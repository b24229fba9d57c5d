"""Whether a declared type can be meant: what is wrong with it before any value comes.

A type may be of a kind that a newer client knows and this engine does not, or say two things at once. Both would
otherwise show up as a value that fits nothing, far from the declaration that causes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from flyteidl.core import types_pb2
from google.protobuf.unknown_fields import UnknownFieldSet

from libs.workflow.types.text import describe


class Fault(Enum):
    """What can be wrong with a declared type."""

    UNKNOWN = auto()
    """It is of a kind that this engine does not know."""
    CONTRADICTORY = auto()
    """It says of one thing that it is of two types."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with a declared type, and a part of a sentence that tells it."""

    fault: Fault
    reason: str


def flaws(literal_type: types_pb2.LiteralType) -> Iterator[Flaw]:
    """Everything that is wrong with a type, at any depth. That a type is missing is not for this function to say."""
    match literal_type.WhichOneof("type"):
        case None:
            if len(UnknownFieldSet(literal_type)):
                yield Flaw(Fault.UNKNOWN, "it has a type of a kind that is not known here")
        case "simple":
            if literal_type.simple not in types_pb2.SimpleType.values():
                yield Flaw(Fault.UNKNOWN, f"{describe(literal_type)} is not known here")
        case "collection_type":
            yield from flaws(literal_type.collection_type)
        case "map_value_type":
            yield from flaws(literal_type.map_value_type)
        case "union_type":
            for variant in literal_type.union_type.variants:
                yield from flaws(variant)
        case "schema":
            yield from _columns((column.name, column.type) for column in literal_type.schema.columns)
        case "structured_dataset_type":
            columns = literal_type.structured_dataset_type.columns
            yield from _columns((column.name, column.literal_type) for column in columns)
            for column in columns:
                yield from flaws(column.literal_type)
    for field_type in literal_type.structure.dataclass_type.values():
        yield from flaws(field_type)


def _columns(columns: Iterable[tuple[str, Any]]) -> Iterator[Flaw]:
    """A table may repeat a column, but not with another type: which of the two a reader gets would be chance."""
    first: dict[str, Any] = {}
    for name, column_type in columns:
        if first.setdefault(name, column_type) != column_type:
            yield Flaw(Fault.CONTRADICTORY, f"column {name!r} is declared with two types")
