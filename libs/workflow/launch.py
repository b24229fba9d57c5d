"""Launching: which inputs a launch plan asks for, and what an execution starts with.

Used where executions are created, by request or by a parent's launch plan node. Nothing here reads or writes anything:
whoever launches brings the launch plan and gets the inputs and settings that the execution runs with, or
InvalidArgument that names every input that is wrong and why.

A child is launched under a name and a key that follow from its parent, its node and the attempt, so that a launch which
was not committed is repeated as the same launch.

A launch plan's *expected inputs* are settled when it is registered: the workflow's inputs without the fixed ones, each
with its default or required. An execution by task has the same, from the task's interface, with everything required.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flyteidl.admin import execution_pb2, launch_plan_pb2
from flyteidl.core import execution_pb2 as execution_messages
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2

from libs.workflow import identity, types
from libs.workflow.errors import InvalidArgument
from libs.workflow.identity import EntityId
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import Data, ExecutionState, Intent
from libs.workflow.types.simple import PRIMITIVES

GENERATED_PREFIX: Final = ".flytegen."
"""Name prefix of workflows that exist to run one task. No user's workflow has it: names of modules don't start so."""

_MAX_NODE_ID_LENGTH = 63
_NOT_IN_NODE_IDS = re.compile(r"[^A-Za-z0-9]")

_INHERITED: Final = (
    "labels",
    "annotations",
    "security_context",
    "auth_role",
    "quality_of_service",
    "max_parallelism",
    "raw_output_data_config",
    "cluster_assignment",
    "interruptible",
    "overwrite_cache",
    "envs",
)
"""Settings of a launch plan that an execution takes over whole, where its own specification has none."""

_PASSED_ON: Final = (
    "labels",
    "annotations",
    "security_context",
    "auth_role",
    "quality_of_service",
    "max_parallelism",
    "raw_output_data_config",
    "interruptible",
    "overwrite_cache",
    "envs",
)
"""Settings of an execution that its children have too, whatever their launch plans say."""

_REMEMBERED: Final = 64
_FIELDS: Final = {simple: field for field, simple in PRIMITIVES.items()}

_PRIORITIES: Final[Mapping[int, int]] = {
    execution_messages.QualityOfService.HIGH: 2,
    execution_messages.QualityOfService.MEDIUM: 1,
    execution_messages.QualityOfService.LOW: 0,
}
"""Of tiers; an execution without one is as urgent as a LOW one."""


class Asked:
    """The inputs that a launch plan asks for, made ready for many executions.

    Args:
        expected: the expected inputs of the launch plan, or of the task if there is no plan.
        fixed: those that the launch plan fixes.
    """

    def __init__(self, expected: interface_pb2.ParameterMap, fixed: literals_pb2.LiteralMap) -> None:
        self.expected = expected
        self._fixed = fixed
        self._types = {name: parameter.var.type for name, parameter in expected.parameters.items()}
        self._names = frozenset(self._types)
        self._primitives = {
            name: _FIELDS[wanted.simple] for name, wanted in self._types.items() if wanted.simple in _FIELDS
        }
        """The field that is set in a primitive of the type; of inputs that are primitives."""
        self._added: dict[frozenset[str], bytes | None] = {}
        """By which inputs are not given: the rest, serialized, or None when one of them is required. Those that clients
        leave out are few of all that they could."""

    def complete(self, given: literals_pb2.LiteralMap) -> bytes:
        """A serialized LiteralMap with a value for every input of the workflow: given, default or fixed.

        Raises InvalidArgument as `resolve_inputs`, which this is a faster form of: what is given is checked, and the
        rest put behind it as it was serialized once.
        """
        added = self._rest(self._names.difference(given.literals))
        if added is not None:
            for name, literal in given.literals.items():
                if not self._fits(name, literal):
                    break
            else:
                return bytes(given.SerializeToString() + added)
        return bytes(resolve_inputs(given, self.expected, self._fixed).SerializeToString())

    def _fits(self, name: str, literal: literals_pb2.Literal) -> bool:
        field = self._primitives.get(name)
        # Only a scalar that is a primitive has a primitive with a value.
        if field is not None and literal.scalar.primitive.WhichOneof("value") == field:
            return True
        wanted = self._types.get(name)
        return wanted is not None and not types.validate(literal, wanted, name)

    def _rest(self, missing: frozenset[str]) -> bytes | None:
        if missing not in self._added:
            if len(self._added) >= _REMEMBERED:
                self._added.clear()
            self._added[missing] = self._serialized_rest(missing)
        return self._added[missing]

    def _serialized_rest(self, missing: frozenset[str]) -> bytes | None:
        rest = literals_pb2.LiteralMap()
        for name in missing:
            if not self.expected.parameters[name].HasField("default"):
                return None
            rest.literals[name].CopyFrom(self.expected.parameters[name].default)
        rest.MergeFrom(self._fixed)
        return bytes(rest.SerializeToString())


def resolve_spec(
    spec: execution_pb2.ExecutionSpec, plan: launch_plan_pb2.LaunchPlanSpec | None = None
) -> execution_pb2.ExecutionSpec:
    """The settings in effect: the request's, completed by the launch plan's. Inputs are not repeated in it."""
    effective = execution_pb2.ExecutionSpec()
    effective.CopyFrom(spec)
    effective.ClearField("inputs")
    if plan is not None:
        _complete(effective, plan, _INHERITED)
    return effective


def given_inputs(spec: execution_pb2.ExecutionSpec, inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """What a request gives: `inputs`, or where these are empty the deprecated ones of its specification."""
    return inputs if inputs.literals else spec.inputs


def resolve_inputs(
    given: literals_pb2.LiteralMap, expected: interface_pb2.ParameterMap, fixed: literals_pb2.LiteralMap
) -> literals_pb2.LiteralMap:
    """Given values checked, defaults and fixed values added.

    Raises InvalidArgument listing every input that is missing, unknown, fixed, or not of its type (with the path of the
    mismatch).
    """
    problems: list[str] = []
    full = literals_pb2.LiteralMap()
    for name in sorted(given.literals):
        if name in fixed.literals:
            problems.append(f"inputs.{name}: is fixed by the launch plan and cannot be overridden: leave it out")
        elif name not in expected.parameters:
            known = ", ".join(sorted(expected.parameters)) or "none"
            problems.append(f"inputs.{name}: there is no such input; inputs are: {known}")
        else:
            wanted = expected.parameters[name].var.type
            problems += map(str, types.validate(given.literals[name], wanted, f"inputs.{name}"))
            full.literals[name].CopyFrom(given.literals[name])
    for name in sorted(expected.parameters):
        parameter = expected.parameters[name]
        if name in given.literals:
            continue
        if parameter.HasField("default"):
            full.literals[name].CopyFrom(parameter.default)
        else:
            described = types.describe(parameter.var.type)
            problems.append(f"inputs.{name}: is missing: it is required ({described}) and has no default")
    for name, literal in fixed.literals.items():
        full.literals[name].CopyFrom(literal)
    _raise(problems)
    return full


def expected_inputs(
    workflow_inputs: interface_pb2.VariableMap, plan: launch_plan_pb2.LaunchPlanSpec | None = None
) -> interface_pb2.ParameterMap:
    """The inputs that launching asks for: a workflow's (or task's), completed by a launch plan's defaults.

    Fixed inputs are not among them. Raises InvalidArgument if the plan names inputs that the workflow lacks, or gives
    them values or types that do not fit: a launch plan that exists can be launched.
    """
    plan = launch_plan_pb2.LaunchPlanSpec() if plan is None else plan
    defaults, fixed = plan.default_inputs.parameters, plan.fixed_inputs.literals
    problems = _unknown("default_inputs", defaults, workflow_inputs) + _unknown("fixed_inputs", fixed, workflow_inputs)
    expected = interface_pb2.ParameterMap()
    for name in sorted(workflow_inputs.variables):
        variable = workflow_inputs.variables[name]
        if name in fixed:
            problems += map(str, types.validate(fixed[name], variable.type, f"fixed_inputs.{name}"))
            if name in defaults:
                problems.append(f"default_inputs.{name}: is fixed as well: give it a default or fix it, not both")
        elif name in defaults:
            problems += _wrong_default(name, defaults[name], variable.type)
            expected.parameters[name].CopyFrom(defaults[name])
        else:
            expected.parameters[name].var.CopyFrom(variable)
            expected.parameters[name].required = True
    _raise(problems)
    return expected


def expected_outputs(workflow: interface_pb2.TypedInterface) -> interface_pb2.VariableMap:
    """What an execution of a launch plan returns: whatever its workflow does."""
    outputs = interface_pb2.VariableMap()
    outputs.CopyFrom(workflow.outputs)
    return outputs


def launch_child(
    parent: ExecutionState,
    node_id: str,
    attempt: int,
    plan_id: EntityId,
    plan: launch_plan_pb2.LaunchPlanSpec,
    workflow: EntityId,
    inputs: Data,
    now_us: int,
    *,
    order: int = 0,
    traceparent: str = "",
    recovers_key: int | None = None,
) -> ExecutionState:
    """The execution that an attempt of a launch plan node starts, as it is submitted.

    Settings come from the parent; where it has none, from the launch plan. `inputs` are complete (`resolve_inputs`).
    `order` is how many children the parent has launched at this very time before: it keeps their keys apart.
    """
    spec = _child_spec(parent, node_id, plan_id)
    _complete(spec, plan, _INHERITED)
    digest = hashlib.blake2b(f"{parent.key}/{node_id}/{attempt}".encode(), digest_size=20).digest()
    return ExecutionState(
        # A millisecond of its own for each: those of one time differ in the few bits of the digest only.
        key=identity.execution_key(now_us + 1000 * order, digest[16:]),
        phase=ExecutionPhase.QUEUED,
        observed_generation=0,
        next_wake_at_us=None,
        started_at_us=None,
        ended_at_us=None,
        updated_at_us=now_us,
        outputs=None,
        error=None,
        id=parent.id._replace(name=identity.execution_name(digest[:16])),
        shard=parent.shard,
        root_key=parent.root_key,
        workflow=workflow,
        launch_plan=plan_id,
        spec=spec.SerializeToString(),
        inputs=inputs,
        created_at_us=now_us,
        traceparent=traceparent,
        intent=Intent(generation=1, desired=Desired.RUN),
        principal=parent.principal,
        parent_key=parent.key,
        parent_node_id=node_id,
        recovers_key=recovers_key,
    )


def priority(spec: execution_pb2.ExecutionSpec) -> int:
    """How urgent an execution is among others: higher first, 0 for what asks for nothing."""
    return _PRIORITIES.get(spec.quality_of_service.tier, 0)


def task_workflow(template: tasks_pb2.TaskTemplate) -> workflow_pb2.WorkflowTemplate:
    """The workflow that runs a task on its own: one node, every input and output passed through.

    It has the task's project, domain and version, so that one version of a task always runs as the same workflow. The
    node takes over retries and timeout, which otherwise whoever calls the task writes there.
    """
    node_id = task_node_id(template.id.name)
    node = workflow_pb2.Node(
        id=node_id,
        metadata=workflow_pb2.NodeMetadata(name=template.id.name),
        inputs=_pass_through(template.interface.inputs.variables, ""),
        task_node=workflow_pb2.TaskNode(reference_id=template.id),
    )
    for field in ("retries", "timeout"):
        if template.metadata.HasField(field):
            getattr(node.metadata, field).CopyFrom(getattr(template.metadata, field))
    return workflow_pb2.WorkflowTemplate(
        id=task_workflow_id(template.id),
        interface=template.interface,
        nodes=[node],
        outputs=_pass_through(template.interface.outputs.variables, node_id),
    )


def task_workflow_id(task: identifier_pb2.Identifier) -> identifier_pb2.Identifier:
    """The id of the workflow that runs a task on its own."""
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.WORKFLOW,
        project=task.project,
        domain=task.domain,
        name=GENERATED_PREFIX + task.name,
        version=task.version,
        org=task.org,
    )


def task_node_id(task_name: str) -> str:
    """The id of a task's node in its own workflow: the letters and digits of the name, the last 63 of them."""
    return _NOT_IN_NODE_IDS.sub("", task_name)[-_MAX_NODE_ID_LENGTH:] or "task"


def _child_spec(parent: ExecutionState, node_id: str, plan: EntityId) -> execution_pb2.ExecutionSpec:
    """What the parent says of its child."""
    inherited = execution_pb2.ExecutionSpec.FromString(parent.spec)
    spec = execution_pb2.ExecutionSpec()
    spec.launch_plan.resource_type = identifier_pb2.LAUNCH_PLAN
    spec.launch_plan.project, spec.launch_plan.domain, spec.launch_plan.name, spec.launch_plan.version = plan
    spec.metadata.mode = execution_pb2.ExecutionMetadata.CHILD_WORKFLOW
    spec.metadata.principal = parent.principal
    spec.metadata.nesting = inherited.metadata.nesting + 1
    launching = spec.metadata.parent_node_execution
    launching.node_id = node_id
    owner = launching.execution_id
    owner.project, owner.domain, owner.name = parent.id
    _complete(spec, inherited, _PASSED_ON)
    return spec


def _complete(effective: execution_pb2.ExecutionSpec, source: Any, fields: Iterable[str]) -> None:
    """Complete settings whole, never value by value: an execution with envs of its own has none of the source's."""
    for field in fields:
        own, offered = getattr(effective, field), getattr(source, field)
        if not _is_set(effective, field, own) and _is_set(source, field, offered):
            if isinstance(offered, bool | int):
                setattr(effective, field, offered)
            else:
                getattr(effective, field).CopyFrom(offered)


def _is_set(message: Any, field: str, value: Any) -> bool:
    """Whether a setting says anything. Clients send empty messages for what nobody set; False may be a choice."""
    if isinstance(value, bool | int):
        return bool(value)
    return bool(message.HasField(field) and (field == "interruptible" or value.ByteSize()))


def _unknown(field: str, named: Iterable[str], workflow_inputs: interface_pb2.VariableMap) -> list[str]:
    known = ", ".join(sorted(workflow_inputs.variables)) or "none"
    return [
        f"{field}.{name}: the workflow has no such input; inputs are: {known}"
        for name in sorted(named)
        if name not in workflow_inputs.variables
    ]


def _wrong_default(name: str, parameter: interface_pb2.Parameter, wanted: types_pb2.LiteralType) -> list[str]:
    declared = parameter.var.type
    if not types.assignable(declared, wanted):
        message = f"expected {types.describe(wanted)} as in the workflow, got {types.describe(declared)}"
        return [f"default_inputs.{name}: {message}"]
    if parameter.HasField("default"):
        return list(map(str, types.validate(parameter.default, declared, f"default_inputs.{name}")))
    return []


def _pass_through(variables: Mapping[str, interface_pb2.Variable], source: str) -> list[literals_pb2.Binding]:
    references = [types_pb2.OutputReference(node_id=source, var=name) for name in sorted(variables)]
    return [
        literals_pb2.Binding(var=reference.var, binding=literals_pb2.BindingData(promise=reference))
        for reference in references
    ]


def _raise(problems: list[str]) -> None:
    if problems:
        raise InvalidArgument("; ".join(problems))
