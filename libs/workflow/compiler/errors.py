"""What is wrong with a workflow or task: codes that Flyte's users know, and sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from libs.workflow.errors import InvalidArgument


class Code(StrEnum):
    """The kinds of mistakes; names and values are those of Flyte's compiler.

    Some of them Flyte defines and never raises, or raises only when an execution starts. Here they mean:

    - MISMATCHING_INTERFACES: an array node over what neither takes nor gives lists, a launch plan that does not fit its
      workflow.
    - INCONSISTENT_TYPES: a list or map of different types where no input declares one, a type that contradicts itself.
    - NO_ENTRY_NODE_FOUND: every node waits for another one.
    - WORKFLOW_BUILD_ERROR: the workflow cannot be laid out, because names that arise in it are too long.
    - VALUE_COLLISION: two different tasks or files with one id, two outputs with one name.
    - INVALID_LITERAL_TYPE: a declared type that this engine does not know.
    """

    CYCLE_DETECTED = "CycleDetected"
    BRANCH_NODE_ID_NOT_FOUND = "BranchNodeIdNotFound"
    BRANCH_NODE_HAS_NO_CONDITION = "BranchNodeHasNoCondition"
    BRANCH_NODE_HAS_NO_DEFAULT = "BranchNodeHasNoDefault"
    VALUE_REQUIRED = "ValueRequired"
    INVALID_VALUE = "InvalidValue"
    NODE_REFERENCE_NOT_FOUND = "NodeReferenceNotFound"
    TASK_REFERENCE_NOT_FOUND = "TaskReferenceNotFound"
    WORKFLOW_REFERENCE_NOT_FOUND = "WorkflowReferenceNotFound"
    VARIABLE_NAME_NOT_FOUND = "VariableNameNotFound"
    DUPLICATE_ALIAS = "DuplicateAlias"
    DUPLICATE_ID = "DuplicateId"
    MISMATCHING_TYPES = "MismatchingTypes"
    MISMATCHING_BINDINGS = "MismatchingBindings"
    MISMATCHING_INTERFACES = "MismatchingInterfaces"
    INCONSISTENT_TYPES = "InconsistentTypes"
    PARAMETER_BOUND_MORE_THAN_ONCE = "ParameterBoundMoreThanOnce"
    PARAMETER_NOT_BOUND = "ParameterNotBound"
    NO_ENTRY_NODE_FOUND = "NoEntryNodeFound"
    UNREACHABLE_NODES = "UnreachableNodes"
    UNRECOGNIZED_VALUE = "UnrecognizedValue"
    WORKFLOW_BUILD_ERROR = "WorkflowBuildError"
    VALUE_COLLISION = "ValueCollision"
    SYNTAX_ERROR = "SyntaxError"
    NO_NODES_FOUND = "NoNodesFound"
    ILLEGAL_ENUM_VALUE = "IllegalEnumValue"
    AMBIGUOUS_BINDING_UNION_VALUE = "AmbiguousBindingUnionValue"
    INCOMPATIBLE_BINDING_UNION_VALUE = "IncompatibleBindingUnionValue"
    NO_CONDITION_FOUND = "NoConditionFound"
    FIELD_NOT_FOUND = "FieldNotFound"
    INVALID_LITERAL_TYPE = "InvalidLiteralType"


@dataclass(frozen=True, slots=True)
class CompileError:
    """One mistake: its kind, where it is, and a sentence that says what to do."""

    code: Code
    node: str
    """Id of the node, as in the compiled workflow (`n0-n1` for the second case of branch `n0`); empty for a task."""
    message: str
    workflow: str = ""
    """Id of the sub-workflow that the node is part of; empty for the workflow that was to be compiled."""

    def __str__(self) -> str:
        place = f"node {self.node}" if self.node else ""
        if self.workflow:
            place = f"{place} of sub-workflow {self.workflow}".strip()
        return f"{self.code}: {place}: {self.message}" if place else f"{self.code}: {self.message}"


_SHOWN: Final = 100
"""Errors that the text of a `CompileErrors` spells out. The text travels in a status message of limited size."""


class CompileErrors(InvalidArgument):
    """The workflow or task is wrong in the listed ways."""

    def __init__(self, subject: str, errors: Iterable[CompileError]) -> None:
        self.errors: Final = tuple(errors)
        lines = [f"Collected Errors: {len(self.errors)} in {subject}"]
        lines += [f"  {number}. {error}" for number, error in enumerate(self.errors[:_SHOWN], start=1)]
        if len(self.errors) > _SHOWN:
            lines.append(f"  … and {len(self.errors) - _SHOWN} more")
        super().__init__("\n".join(lines))


@dataclass(slots=True)
class Report:
    """Where mistakes are collected: each once, in the order of finding."""

    workflow: str = ""
    _errors: dict[CompileError, None] = field(default_factory=dict)

    def add(self, code: Code, node: str, message: str) -> None:
        self._errors[CompileError(code, node, message, self.workflow)] = None

    @property
    def errors(self) -> tuple[CompileError, ...]:
        return tuple(self._errors)

    def __bool__(self) -> bool:
        return bool(self._errors)
