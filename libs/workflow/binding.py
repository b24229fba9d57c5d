"""From bindings to literals: what a node gets as inputs, once everything it reads is there.

The rules are FlytePropeller's (`nodes/resolve.go`, `nodes/attr_path_resolver.go`), with two differences in the user's
favour: a negative index is an error of the user instead of a crash, and integers found by an attribute path in msgpack
data stay integers. A `google.protobuf.Struct` has no integers; what an attribute path finds in one becomes an integer
again where the input is declared as one, if nothing is lost by it.

A task may have offloaded a large literal. Whoever passes it on passes on where it lies; whoever looks into it has to
load it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import msgpack  # type: ignore[import-untyped]
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import struct_pb2

from libs.workflow.errors import AirscrewError
from libs.workflow.identity import START_NODE_ID

MSGPACK_TAG = "msgpack"
_EXACT = 2**53
"""Up to here every integer is a float of its own."""
_VARIABLE = re.compile(r"(?:\[(\d+)\]\.)?(\w+)")


class BindingError(AirscrewError):
    """An input of a node cannot be made from what its upstream nodes produced."""


class NotRead(Exception):
    """A literal that was offloaded is needed, and nobody has read it yet."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri


Load = Callable[[str], literals_pb2.Literal]
"""The literal that was offloaded to this uri. Raises NotRead."""


class Lookup(Protocol):
    def __call__(self, node_id: str, var: str) -> literals_pb2.Literal:
        """The output `var` of the node with this spec id. Raises BindingError when there is none."""


def _not_read(uri: str) -> literals_pb2.Literal:
    raise NotRead(uri)


def resolve(
    bindings: Iterable[literals_pb2.Binding],
    lookup: Lookup,
    load: Load = _not_read,
    integers: Container[str] = frozenset(),
) -> literals_pb2.LiteralMap:
    """The literal map that `bindings` describe; `integers` are the variables in which all numbers are integers.

    Raises BindingError naming the variable and the reason, and NotRead.
    """
    result = literals_pb2.LiteralMap()
    for binding in bindings:
        try:
            _resolve(binding.binding, lookup, load, result.literals[binding.var])
        except BindingError as error:
            raise BindingError(f"{binding.var}: {error.message}") from None
        if binding.var in integers:
            _make_integers(result.literals[binding.var])
    return result


def passed_on(data: literals_pb2.BindingData) -> tuple[str, str] | None:
    """The node and its output that a binding passes on as it is; None for a binding that says anything else."""
    if data.WhichOneof("value") != "promise" or data.promise.attr_path:
        return None
    variable = _variable(data.promise.var)
    if variable is None or variable[0] is not None:
        return None
    return data.promise.node_id or START_NODE_ID, variable[1]


def loaded(literals: literals_pb2.LiteralMap, load: Load) -> literals_pb2.LiteralMap:
    """The same values, with those that were offloaded in their place. Raises NotRead."""
    apart = [name for name, literal in literals.literals.items() if literal.HasField("offloaded_metadata")]
    if not apart:
        return literals
    whole = literals_pb2.LiteralMap()
    whole.CopyFrom(literals)
    for name in apart:
        whole.literals[name].CopyFrom(load(literals.literals[name].offloaded_metadata.uri))
    return whole


def _resolve(binding: literals_pb2.BindingData, lookup: Lookup, load: Load, into: literals_pb2.Literal) -> None:
    kind = binding.WhichOneof("value")
    if kind == "scalar":
        into.scalar.CopyFrom(binding.scalar)
    elif kind == "promise":
        into.CopyFrom(_promise(binding.promise, lookup, load))
    elif kind == "collection":
        into.collection.SetInParent()
        for element in binding.collection.bindings:
            _resolve(element, lookup, load, into.collection.literals.add())
    elif kind == "map":
        into.map.SetInParent()
        for key, value in binding.map.bindings.items():
            _resolve(value, lookup, load, into.map.literals[key])
    elif kind == "offloaded_metadata":
        into.offloaded_metadata.CopyFrom(binding.offloaded_metadata)
    else:
        into.scalar.none_type.SetInParent()


def _promise(promise: types_pb2.OutputReference, lookup: Lookup, load: Load) -> literals_pb2.Literal:
    node_id = promise.node_id or START_NODE_ID
    variable = _variable(promise.var)
    if variable is None:
        raise BindingError(f"{promise.var!r} is not the name of an output of {node_id}")
    index, name = variable
    literal = lookup(node_id, name)
    if index is not None:
        if literal.HasField("offloaded_metadata"):
            literal = load(literal.offloaded_metadata.uri)
        literal = _element(literal.collection.literals, index, f"{node_id}.{name}")
    return follow(literal, promise.attr_path, f"{node_id}.{name}", load) if promise.attr_path else literal


@lru_cache(maxsize=10_000)
def _variable(written: str) -> tuple[int | None, str] | None:
    """Which of an output's elements is meant, if one is, and its name. The same few are written again and again."""
    match = _VARIABLE.fullmatch(written)
    if match is None:
        return None
    return (None if match[1] is None else int(match[1])), match[2]


def follow(
    literal: literals_pb2.Literal, path: Sequence[types_pb2.PromiseAttribute], origin: str, load: Load = _not_read
) -> literals_pb2.Literal:
    """The literal found at `path` inside `literal`: through collections, maps, structs and msgpack data.

    `origin` names the literal in errors. Raises BindingError and NotRead.
    """
    for position, step in enumerate(path):
        if literal.HasField("offloaded_metadata"):
            literal = load(literal.offloaded_metadata.uri)
        kind = literal.WhichOneof("value")
        if kind == "collection":
            literal = _element(literal.collection.literals, _index(step, origin), origin)
        elif kind == "map":
            key = _key(step, origin)
            if key not in literal.map.literals:
                raise BindingError(f"{origin} has no key {key!r}")
            literal = literal.map.literals[key]
        elif kind == "scalar" and literal.scalar.WhichOneof("value") == "union":
            return follow(literal.scalar.union.value, path[position:], origin, load)
        elif kind == "scalar" and literal.scalar.WhichOneof("value") in ("generic", "binary"):
            return _to_literal(_walk(_decoded(literal.scalar, origin), path[position:], origin))
        else:
            raise BindingError(f"{origin} is not a list, a map or a structure: nothing to look up in it")
        origin = f"{origin}{_shown(step)}"
    return literal


def _make_integers(literal: literals_pb2.Literal) -> None:
    kind = literal.WhichOneof("value")
    if kind == "collection":
        for element in literal.collection.literals:
            _make_integers(element)
    elif kind == "map":
        for element in literal.map.literals.values():
            _make_integers(element)
    elif literal.scalar.primitive.WhichOneof("value") == "float_value":
        number = literal.scalar.primitive.float_value
        if number.is_integer() and abs(number) <= _EXACT:
            literal.scalar.primitive.integer = int(number)


def _element(literals: Sequence[literals_pb2.Literal], index: int, origin: str) -> literals_pb2.Literal:
    if not 0 <= index < len(literals):
        raise BindingError(f"{origin} has {len(literals)} elements, no element {index}")
    return literals[index]


def _index(step: types_pb2.PromiseAttribute, origin: str) -> int:
    if step.WhichOneof("value") != "int_value":
        raise BindingError(f"{origin} is a list: it is indexed by a number, not by {step.string_value!r}")
    return int(step.int_value)


def _key(step: types_pb2.PromiseAttribute, origin: str) -> str:
    if step.WhichOneof("value") != "string_value":
        raise BindingError(f"{origin} has names, not positions: {step.int_value} finds nothing in it")
    return str(step.string_value)


def _shown(step: types_pb2.PromiseAttribute) -> str:
    return f"[{step.int_value}]" if step.WhichOneof("value") == "int_value" else f".{step.string_value}"


def _decoded(scalar: literals_pb2.Scalar, origin: str) -> object:
    if scalar.WhichOneof("value") == "generic":
        return _plain_struct(scalar.generic)
    if scalar.binary.tag != MSGPACK_TAG:
        raise BindingError(f"{origin} is binary data tagged {scalar.binary.tag!r}: only {MSGPACK_TAG} has attributes")
    try:
        return msgpack.unpackb(scalar.binary.value, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # TypeError: a key that cannot be one
        raise BindingError(f"{origin} is not valid msgpack: {error}") from None


def _plain_struct(struct: struct_pb2.Struct) -> dict[str, object]:
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: struct_pb2.Value) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(element) for element in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def _walk(value: object, path: Sequence[types_pb2.PromiseAttribute], origin: str) -> object:
    for step in path:
        if isinstance(value, list):
            index = _index(step, origin)
            if not 0 <= index < len(value):
                raise BindingError(f"{origin} has {len(value)} elements, no element {index}")
            value = value[index]
        elif isinstance(value, dict):
            key = _key(step, origin)
            if key not in value:
                raise BindingError(f"{origin} has no attribute {key!r}")
            value = value[key]
        else:
            raise BindingError(f"{origin} is a plain value: it has no {_shown(step)}")
        origin = f"{origin}{_shown(step)}"
    return value


def _to_literal(value: object) -> literals_pb2.Literal:
    """Lists become collections of typed literals, objects msgpack again: flytekit's conformance tests expect it."""
    literal = literals_pb2.Literal()
    if value is None:
        literal.scalar.none_type.SetInParent()
    elif isinstance(value, bool):
        literal.scalar.primitive.boolean = value
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise BindingError(f"{value} does not fit a 64-bit integer")
        literal.scalar.primitive.integer = value
    elif isinstance(value, float):
        literal.scalar.primitive.float_value = value
    elif isinstance(value, str):
        literal.scalar.primitive.string_value = value
    elif isinstance(value, list):
        literal.collection.SetInParent()
        literal.collection.literals.extend(_to_literal(element) for element in value)
    else:
        literal.scalar.binary.value = msgpack.packb(value)
        literal.scalar.binary.tag = MSGPACK_TAG
    return literal
