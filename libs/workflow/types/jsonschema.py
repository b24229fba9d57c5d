"""Whether values of one JSON schema may be read as values of another: dataclasses and pydantic models as inputs.

flytekit puts the JSON schema of a dataclass into its type's metadata. A value fits a variable if it has every field
that the variable's class declares, each with a type that fits: a child class may be passed where its parent is
expected, never the other way round. Only what tells a field's type is compared (`type`, `properties`, `items`,
`additionalProperties`, `anyOf`, `oneOf`, `enum`, `const`, `$ref`); titles, descriptions, defaults and bounds are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

_Schema = Mapping[str, Any]


def covers(upstream: struct_pb2.Struct, downstream: struct_pb2.Struct) -> bool:
    """Whether a value of the upstream schema has all that the downstream schema declares."""
    if upstream == downstream:
        return True
    return _Comparison(json_format.MessageToDict(upstream), json_format.MessageToDict(downstream)).run()


class _Comparison:
    """Two documents, held to resolve references inside each of them.

    Every pair of sub-schemas is compared once, so a hostile document costs at most the product of the two sizes. A pair
    that is met again while it is being compared belongs to a recursive class and counts as fitting.
    """

    def __init__(self, upstream: _Schema, downstream: _Schema) -> None:
        self._upstream = upstream
        self._downstream = downstream
        self._known: dict[tuple[int, int], bool] = {}
        self._alternatives: dict[int, list[Any] | None] = {}

    def run(self) -> bool:
        return self._covers(self._upstream, self._downstream)

    def _covers(self, upstream: Any, downstream: Any) -> bool:
        if not isinstance(upstream, Mapping) or not isinstance(downstream, Mapping):
            return bool(upstream == downstream)
        # Identity is a sound key: the documents, and the alternatives made from them, outlive the comparison.
        pair = (id(upstream), id(downstream))
        if pair not in self._known:
            self._known[pair] = True
            self._known[pair] = self._compare(upstream, downstream)
        return self._known[pair]

    def _compare(self, upstream: _Schema, downstream: _Schema) -> bool:
        if "$ref" in upstream or "$ref" in downstream:
            return self._covers(_resolve(self._upstream, upstream), _resolve(self._downstream, downstream))
        given, wanted = self._choices_of_type(upstream), self._choices_of_type(downstream)
        if given is not None or wanted is not None:
            return all(
                any(self._covers(one, place) for place in ([downstream] if wanted is None else wanted))
                for one in ([upstream] if given is None else given)
            )
        return (
            upstream.get("type", downstream.get("type")) == downstream.get("type", upstream.get("type"))
            and _values_expected(upstream, downstream)
            and self._properties(upstream, downstream)
            and self._parts(upstream, downstream)
        )

    def _properties(self, upstream: _Schema, downstream: _Schema) -> bool:
        if "properties" not in upstream and "type" not in upstream:
            return True  # not the schema of a class: says nothing about fields
        given = upstream.get("properties", {})
        wanted = downstream.get("properties", {})
        return all(name in given and self._covers(given[name], wanted[name]) for name in wanted)

    def _parts(self, upstream: _Schema, downstream: _Schema) -> bool:
        """The elements of arrays and the values of maps; a side that does not say takes anything."""
        return all(
            self._covers(upstream[keyword], downstream[keyword])
            for keyword in ("items", "additionalProperties")
            if isinstance(upstream.get(keyword), Mapping) and isinstance(downstream.get(keyword), Mapping)
        )

    def _choices_of_type(self, schema: _Schema) -> list[Any] | None:
        """The alternatives of a union, or None. A list of types is a union, too."""
        if id(schema) not in self._alternatives:
            self._alternatives[id(schema)] = _alternatives(schema)
        return self._alternatives[id(schema)]


def _alternatives(schema: _Schema) -> list[Any] | None:
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            return list(schema[keyword])
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    return None


def _values_expected(upstream: _Schema, downstream: _Schema) -> bool:
    """Every value that an enumeration may bring is one that is expected."""
    wanted = _values(downstream)
    given = _values(upstream)
    return wanted is None or (given is not None and all(value in wanted for value in given))


def _values(schema: _Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _resolve(document: _Schema, schema: _Schema) -> Any:
    """What a reference such as `#/$defs/Foo` points at; the schema itself if it is none, anything if it dangles."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = document
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part) if isinstance(found, Mapping) else None
    return _ANYTHING if found is None else found


_ANYTHING: _Schema = {}
