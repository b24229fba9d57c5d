"""What is bound to the inputs of a node, and whether its type is that of the input.

A binding is a constant, a promise of another node's output, or a list or map of bindings. A promise may go into the
output by an attribute path: `n0.o0[3].name`. Inside structures without a declared class nothing is known, and nothing
is checked; the value is, when it exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from flyteidl.core import literals_pb2, types_pb2, workflow_pb2

from libs.workflow import types
from libs.workflow.compiler.errors import Code, Report
from libs.workflow.compiler.interfaces import Outputs, Types
from libs.workflow.types.simple import NONE, is_optional

_INDEXED_VARIABLE = re.compile(r"(?:\[(\d+)\]\.)?(\w+)")

_Known: TypeAlias = types_pb2.LiteralType | None
"""The type of a binding, or None where nothing is known of it (or where a mistake is already reported)."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """Checks bindings against the outputs that are known so far: node id to types, None where a node is broken."""

    outputs: Mapping[str, Outputs | None]

    def check(self, node: workflow_pb2.Node, inputs: Types, report: Report) -> None:
        """Report what is wrong with the bindings of a node whose inputs are declared."""
        bound = set()
        for binding in self._each_once(node, report):
            bound.add(binding.var)
            if binding.var in inputs:
                self._check(node.id, f"input {binding.var!r}", binding.binding, inputs[binding.var], report)
            else:
                known = ", ".join(sorted(inputs)) or "none"
                report.add(
                    Code.VARIABLE_NAME_NOT_FOUND, node.id, f"there is no input {binding.var!r}; inputs are: {known}"
                )
        for name in sorted(inputs.keys() - bound):
            wanted = inputs[name]
            if not is_optional(wanted):
                report.add(
                    Code.PARAMETER_NOT_BOUND,
                    node.id,
                    f"input {name!r} ({types.describe(wanted)}) is not bound: bind a value or an output to it",
                )

    def infer(self, node: workflow_pb2.Node, report: Report) -> dict[str, _Known]:
        """The types of whatever is bound to a node that declares no inputs: a branch, or a gate to approve."""
        return {
            binding.var: self._infer(node.id, f"input {binding.var!r}", binding.binding, report)
            for binding in self._each_once(node, report)
        }

    def _each_once(self, node: workflow_pb2.Node, report: Report) -> Iterable[literals_pb2.Binding]:
        seen = set()
        for binding in node.inputs:
            if not binding.HasField("binding"):
                report.add(Code.VALUE_REQUIRED, node.id, f"nothing is bound to input {binding.var!r}: bind something")
            elif binding.var in seen:
                report.add(
                    Code.PARAMETER_BOUND_MORE_THAN_ONCE,
                    node.id,
                    f"input {binding.var!r} is bound more than once: keep one binding",
                )
            else:
                seen.add(binding.var)
                yield binding

    def _check(
        self, node_id: str, place: str, data: literals_pb2.BindingData, wanted: types_pb2.LiteralType, report: Report
    ) -> None:
        kind = data.WhichOneof("value")
        if kind == "promise":
            self._check_promise(node_id, place, data.promise, wanted, report)
        elif kind == "scalar":
            _check_scalar(node_id, place, data.scalar, wanted, report)
        elif wanted.WhichOneof("type") == "union_type":
            self._check_union(node_id, place, data, wanted, report)
        elif kind == "collection" and wanted.WhichOneof("type") == "collection_type":
            for index, item in enumerate(data.collection.bindings):
                self._check(node_id, f"{place}[{index}]", item, wanted.collection_type, report)
        elif kind == "map" and wanted.WhichOneof("type") == "map_value_type":
            for key, item in data.map.bindings.items():
                self._check(node_id, f"{place}[{key!r}]", item, wanted.map_value_type, report)
        else:
            given = {"collection": "a list", "map": "a map"}.get(kind or "", kind or "nothing")
            report.add(
                Code.MISMATCHING_BINDINGS,
                node_id,
                f"{place} is {types.describe(wanted)}, but {given} is bound to it: bind what the type asks for",
            )

    def _check_promise(
        self,
        node_id: str,
        place: str,
        promise: types_pb2.OutputReference,
        wanted: types_pb2.LiteralType,
        report: Report,
    ) -> None:
        given = self._of_promise(node_id, place, promise, report)
        if given is not None and not types.assignable(given, wanted):
            report.add(
                Code.MISMATCHING_TYPES,
                node_id,
                f"{place} is {types.describe(wanted)}, but {_name(promise)} is {types.describe(given)}: bind an output"
                " of the right type, or convert it in a task between them",
            )

    def _check_union(
        self, node_id: str, place: str, data: literals_pb2.BindingData, wanted: types_pb2.LiteralType, report: Report
    ) -> None:
        """A list or map for a union: exactly one variant must take it."""
        fitting = []
        for variant in wanted.union_type.variants:
            trial = Report()
            self._check(node_id, place, data, variant, trial)
            if not trial:
                fitting.append(variant)
        if not fitting:
            report.add(
                Code.INCOMPATIBLE_BINDING_UNION_VALUE,
                node_id,
                f"what is bound to {place} fits no variant of {types.describe(wanted)}: bind what one of them takes",
            )
        elif len(fitting) > 1:
            report.add(
                Code.AMBIGUOUS_BINDING_UNION_VALUE,
                node_id,
                f"what is bound to {place} fits both {types.describe(fitting[0])} and {types.describe(fitting[1])}: let"
                " a task return the union, so that it says which is meant",
            )

    def _infer(self, node_id: str, place: str, data: literals_pb2.BindingData, report: Report) -> _Known:
        match data.WhichOneof("value"):
            case "promise":
                return self._of_promise(node_id, place, data.promise, report)
            case "scalar":
                return types.type_of_scalar(data.scalar)
            case "collection":
                items = ((f"{place}[{index}]", item) for index, item in enumerate(data.collection.bindings))
                element = self._infer_one(node_id, place, items, report)
                return None if element is None else types_pb2.LiteralType(collection_type=element)
            case "map":
                entries = ((f"{place}[{key!r}]", item) for key, item in data.map.bindings.items())
                element = self._infer_one(node_id, place, entries, report)
                return None if element is None else types_pb2.LiteralType(map_value_type=element)
        return None

    def _infer_one(
        self, node_id: str, place: str, items: Iterable[tuple[str, literals_pb2.BindingData]], report: Report
    ) -> _Known:
        """The one type of all elements of a list or map: the widest of theirs, which takes what the others hold."""
        widest: _Known = None
        for item_place, item in items:
            given = self._infer(node_id, item_place, item, report)
            if given is None:
                return None
            if widest is None or types.assignable(widest, given):
                widest = given
            elif not types.assignable(given, widest):
                report.add(
                    Code.INCONSISTENT_TYPES,
                    node_id,
                    f"the elements of {place} are of different types, {types.describe(widest)} and"
                    f" {types.describe(given)}: bind elements of one type",
                )
                return None
        return NONE if widest is None else widest

    def _of_promise(self, node_id: str, place: str, promise: types_pb2.OutputReference, report: Report) -> _Known:
        outputs = self.outputs.get(promise.node_id)
        if outputs is None:
            return None  # an unknown or broken node, which is reported
        given = outputs[promise.var] if promise.var in outputs else _indexed(node_id, place, promise, outputs, report)
        return _at_path(node_id, promise, given, report) if given is not None and promise.attr_path else given


def _indexed(node_id: str, place: str, promise: types_pb2.OutputReference, outputs: Outputs, report: Report) -> _Known:
    """The old notation of an element: `[3].o0` is element 3 of output `o0`."""
    parsed = _INDEXED_VARIABLE.fullmatch(promise.var)
    if parsed is None:
        report.add(
            Code.SYNTAX_ERROR,
            node_id,
            f"{place} reads {promise.var!r}, which is no variable name: write name or [0].name",
        )
        return None
    index, name = parsed.groups()
    if name not in outputs:
        known = ", ".join(sorted(outputs)) or "none"
        report.add(
            Code.VARIABLE_NAME_NOT_FOUND,
            node_id,
            f"{place} reads {promise.node_id}.{name}, but the outputs of {promise.node_id} are: {known}",
        )
        return None
    given = outputs[name]
    if index is None or given is None:
        return given
    if given.WhichOneof("type") != "collection_type":
        report.add(
            Code.MISMATCHING_TYPES,
            node_id,
            f"{place} reads element {index} of {promise.node_id}.{name}, which is {types.describe(given)} and has no"
            " elements: bind the whole",
        )
        return None
    return given.collection_type


def _at_path(node_id: str, promise: types_pb2.OutputReference, given: types_pb2.LiteralType, report: Report) -> _Known:
    """The type at the end of an attribute path; None once it enters something of which no fields are known."""
    for attribute in promise.attr_path:
        by_name = attribute.WhichOneof("value") == "string_value"
        match given.WhichOneof("type"):
            case "collection_type" if not by_name:
                given = given.collection_type
            case "map_value_type" if by_name:
                given = given.map_value_type
            case "simple" if given.simple == types_pb2.STRUCT and not given.structure.dataclass_type:
                return None
            case "simple" if by_name and attribute.string_value in given.structure.dataclass_type:
                given = given.structure.dataclass_type[attribute.string_value]
            case "union_type":
                return None
            case _:
                step = repr(attribute.string_value) if by_name else str(attribute.int_value)
                fields = ", ".join(sorted(given.structure.dataclass_type))
                known = f"; its fields are: {fields}" if fields else ""
                report.add(
                    Code.FIELD_NOT_FOUND,
                    node_id,
                    f"{_name(promise)} goes through {types.describe(given)}, which has no {step}{known}",
                )
                return None
    return given


def _check_scalar(
    node_id: str, place: str, scalar: literals_pb2.Scalar, wanted: types_pb2.LiteralType, report: Report
) -> None:
    given = types.type_of_scalar(scalar)
    if given is None:
        report.add(
            Code.UNRECOGNIZED_VALUE,
            node_id,
            f"the constant bound to {place} has no known type: give it a value and type",
        )
    elif not types.assignable(given, wanted):
        report.add(
            Code.MISMATCHING_TYPES,
            node_id,
            f"{place} is {types.describe(wanted)}, but the constant bound to it is {types.describe(given)}: change it",
        )
    elif wanted.WhichOneof("type") == "enum_type" and scalar.primitive.string_value not in wanted.enum_type.values:
        report.add(
            Code.ILLEGAL_ENUM_VALUE,
            node_id,
            f"{place} is {types.describe(wanted)}, but {scalar.primitive.string_value!r} is bound to it: use one of its"
            " values",
        )


def _name(promise: types_pb2.OutputReference) -> str:
    """A promise as a user would write it: `n0.o0[3].name`."""
    steps = [
        f".{step.string_value}" if step.WhichOneof("value") == "string_value" else f"[{step.int_value}]"
        for step in promise.attr_path
    ]
    return f"{promise.node_id}.{promise.var}{''.join(steps)}"
