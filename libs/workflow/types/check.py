"""Whether a value fits a type, and where it does not.

`validate` walks value and type together once, so its cost grows with the size of the value (times the number of
variants where the type is a union and the value does not say which variant it is). It reports at most `MOST`
mismatches: a list of a million strings where integers belong is one mistake, not a million.

Structures (dataclasses, pydantic models) are opaque here: the schema in a type's metadata describes what flytekit
*writes*; what a task's own class accepts (defaults, coercions) only that class knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flyteidl.core import literals_pb2, types_pb2

from libs.workflow.errors import InvalidArgument
from libs.workflow.types.assign import assignable
from libs.workflow.types.infer import type_of_scalar
from libs.workflow.types.simple import PRIMITIVES, is_none, is_structure
from libs.workflow.types.text import describe

MOST: Final = 10
"""Mismatches that one call reports. More would not be read, and must not make the message too long to send."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where a value does not fit its type."""

    path: str
    """Where, as one would write it: `inputs.xs[3].name`. Keys that are not plain words are quoted in brackets."""
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"


def validate(literal: literals_pb2.Literal, literal_type: types_pb2.LiteralType, path: str) -> list[Mismatch]:
    """The places where a value does not fit a type, at most `MOST`; empty if it fits. `path` names the value itself."""
    found: list[Mismatch] = []
    _check(literal, literal_type, (None, path), found)
    return found


def require(literal: literals_pb2.Literal, literal_type: types_pb2.LiteralType, path: str) -> None:
    """Raise InvalidArgument listing the mismatches with their paths, if the value does not fit the type."""
    found = validate(literal, literal_type, path)
    if found:
        raise InvalidArgument("; ".join(map(str, found)))


# A path is kept as a chain, and becomes text only for a mismatch: most values fit.
_Path = tuple["_Path | None", str | int]


def _check(literal: literals_pb2.Literal, wanted: types_pb2.LiteralType, path: _Path, found: list[Mismatch]) -> None:
    kind = literal.WhichOneof("value")
    wanted_kind = wanted.WhichOneof("type")
    if kind == "offloaded_metadata":
        _check_type(literal.offloaded_metadata.inferred_type, wanted, path, found)
    elif kind == "scalar" and literal.scalar.WhichOneof("value") == "union":
        _check_tagged(literal.scalar.union, wanted, path, found)
    elif wanted_kind == "union_type":
        _check_untagged(literal, wanted, path, found)
    elif wanted_kind == "collection_type" and kind == "collection":
        element = wanted.collection_type
        for index, item in enumerate(literal.collection.literals):
            _check(item, element, (path, index), found)
            if len(found) >= MOST:
                return
    elif wanted_kind == "map_value_type" and kind == "map":
        element = wanted.map_value_type
        for key, item in literal.map.literals.items():
            _check(item, element, (path, key), found)
            if len(found) >= MOST:
                return
    elif kind != "scalar" or not _scalar_fits(literal.scalar, wanted, wanted_kind):
        _report(literal, wanted, path, found)


def _check_type(
    given: types_pb2.LiteralType, wanted: types_pb2.LiteralType, path: _Path, found: list[Mismatch]
) -> None:
    if not assignable(given, wanted):
        found.append(Mismatch(_text(path), describe(wanted), describe(given)))


def _check_tagged(union: literals_pb2.Union, wanted: types_pb2.LiteralType, path: _Path, found: list[Mismatch]) -> None:
    """A value that says which variant it is: that variant must be welcome, and the value must be what it says."""
    # Several places of the union may take it: which one is no question, for the value goes on saying what it is.
    places = wanted.union_type.variants
    if not assignable(union.type, wanted) and not any(assignable(union.type, place) for place in places):
        found.append(Mismatch(_text(path), describe(wanted), f"a union value of {describe(union.type)}"))
    else:
        _check(union.value, union.type, path, found)


def _check_untagged(
    literal: literals_pb2.Literal, wanted: types_pb2.LiteralType, path: _Path, found: list[Mismatch]
) -> None:
    """A plain value for a union: exactly one variant must take it, or nobody could tell which is meant. None is meant
    as None where that is a variant, though a dataset would take it, too.
    """
    if literal.scalar.HasField("none_type") and any(map(is_none, wanted.union_type.variants)):
        return
    fitting = [variant for variant in wanted.union_type.variants if _fits(literal, variant)]
    if len(fitting) > 1:
        ambiguous = f"{_got(literal)}, which is ambiguous: both {describe(fitting[0])} and {describe(fitting[1])} fit"
        found.append(Mismatch(_text(path), describe(wanted), ambiguous))
    elif not fitting:
        _report(literal, wanted, path, found)


def _fits(literal: literals_pb2.Literal, wanted: types_pb2.LiteralType) -> bool:
    found: list[Mismatch] = []
    _check(literal, wanted, (None, ""), found)
    return not found


def _scalar_fits(scalar: literals_pb2.Scalar, wanted: types_pb2.LiteralType, wanted_kind: str | None) -> bool:
    if wanted_kind == "simple":
        return bool(_simple_of(scalar) == wanted.simple)
    if wanted_kind == "enum_type":
        primitive = scalar.primitive
        return primitive.WhichOneof("value") == "string_value" and primitive.string_value in wanted.enum_type.values
    given = type_of_scalar(scalar)
    return given is not None and assignable(given, wanted)


def _simple_of(scalar: literals_pb2.Scalar) -> types_pb2.SimpleType | None:
    """`type_of_scalar` for what has a simple type, without building a message: most of all values are primitives."""
    kind = scalar.WhichOneof("value")
    if kind == "primitive":
        return PRIMITIVES.get(scalar.primitive.WhichOneof("value") or "")
    if kind == "binary":
        return types_pb2.STRUCT if is_structure(scalar.binary) else types_pb2.BINARY
    return _SIMPLE_OF_SCALAR.get(kind or "")


_SIMPLE_OF_SCALAR = {"none_type": types_pb2.NONE, "error": types_pb2.ERROR, "generic": types_pb2.STRUCT}


def _report(literal: literals_pb2.Literal, wanted: types_pb2.LiteralType, path: _Path, found: list[Mismatch]) -> None:
    found.append(Mismatch(_text(path), describe(wanted), _got(literal, wanted)))


def _got(literal: literals_pb2.Literal, wanted: types_pb2.LiteralType | None = None) -> str:
    """What came instead. Never looks into lists and maps: the first level tells enough and costs nothing."""
    match literal.WhichOneof("value"):
        case "collection":
            return "a list"
        case "map":
            return "a map"
        case "scalar":
            return _got_scalar(literal.scalar, wanted)
        case _:
            return "no value"


def _got_scalar(scalar: literals_pb2.Scalar, wanted: types_pb2.LiteralType | None) -> str:
    given = type_of_scalar(scalar)
    if given is None:
        return "a BLOB without metadata" if scalar.WhichOneof("value") == "blob" else "no value"
    if wanted is not None and wanted.WhichOneof("type") == "enum_type" and given.simple == types_pb2.STRING:
        return f"STRING {scalar.primitive.string_value[:100]!r}"
    return describe(given)


def _text(path: _Path) -> str:
    parent, segment = path
    if parent is None:
        return str(segment)
    if isinstance(segment, int):
        return f"{_text(parent)}[{segment}]"
    return f"{_text(parent)}.{segment}" if segment.isidentifier() else f"{_text(parent)}[{segment!r}]"
