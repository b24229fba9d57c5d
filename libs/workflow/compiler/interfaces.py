"""What goes into a node and what comes out of it, as far as that follows from what the node refers to.

=============  ======================================================================================================
node           interface
=============  ======================================================================================================
task           the task's
sub-workflow   the sub-workflow's
launch plan    inputs: what the plan requires, and of what it has defaults for those that the node binds; its outputs
array          of the inner node; wrapped in lists, except bound inputs, if the inner node's interface is its original
               one (SDKs wrap the interface of map tasks themselves)
gate: signal   no inputs, one output of the signal's type
gate: sleep    nothing
gate: approve  whatever is bound comes out again       (follows from bindings: see `typecheck`)
branch         what all cases have in common comes out (follows from its cases: see `typecheck`)
=============  ======================================================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from flyteidl.core import interface_pb2, tasks_pb2, types_pb2, workflow_pb2

from libs.workflow import types
from libs.workflow.compiler.errors import Code, Report
from libs.workflow.compiler.requirements import entity_id, target_of
from libs.workflow.identity import EntityId
from libs.workflow.types.simple import NONE

Types: TypeAlias = Mapping[str, types_pb2.LiteralType]

Outputs: TypeAlias = Mapping[str, types_pb2.LiteralType | None]
"""What a node produces; None for an output that exists and of whose type nothing is known."""


@dataclass(frozen=True, slots=True)
class LaunchPlanInterface:
    """What is known of a registered launch plan when a workflow that runs it is compiled."""

    id: EntityId
    inputs: interface_pb2.ParameterMap
    """Its expected inputs: parameters that are required or have a default."""
    outputs: interface_pb2.VariableMap


@dataclass(frozen=True, slots=True)
class Interface:
    inputs: Types
    outputs: Types


@dataclass(slots=True)
class Library:
    """Everything that the nodes of one closure may refer to. Interfaces are read once per entity, not once per node."""

    own: workflow_pb2.WorkflowTemplate
    """The workflow that is compiled: its own launch plan, run recursively, is registered only after it."""
    tasks: Mapping[EntityId, tasks_pb2.TaskTemplate]
    sub_workflows: Mapping[EntityId, workflow_pb2.WorkflowTemplate]
    launch_plans: Mapping[EntityId, LaunchPlanInterface]
    _known: dict[tuple[str, EntityId], Interface] = field(default_factory=dict)

    def interface_of(
        self, node: workflow_pb2.Node, node_id: str, bound: Collection[str], report: Report
    ) -> Interface | None:
        """The interface of what a task, sub-workflow or launch plan node refers to; None, with a report, if unknown.

        `node_id` is whom the report is about: the node, or the array node that it is inside of.
        """
        target = target_of(node)
        if target is None:
            kind = node.WhichOneof("target") or "the node"
            report.add(Code.VALUE_REQUIRED, node_id, f"{kind} refers to nothing: name what it runs")
            return None
        kind, referred = target
        if kind == "launch_plan":
            return self._of_launch_plan(node_id, referred, bound, report)
        if target not in self._known:
            found = (self._of_task if kind == "task" else self._of_workflow)(referred, node_id, report)
            if found is None:
                return None
            self._known[target] = found
        return self._known[target]

    def _of_task(self, task_id: EntityId, node_id: str, report: Report) -> Interface | None:
        if task_id not in self.tasks:
            report.add(Code.TASK_REFERENCE_NOT_FOUND, node_id, f"task {task_id} is not registered: register it first")
            return None
        return of_typed(self.tasks[task_id].interface, node_id, f"task {task_id}", report)

    def _of_workflow(self, workflow: EntityId, node_id: str, report: Report) -> Interface | None:
        template = self.own if workflow == entity_id(self.own.id) else self.sub_workflows.get(workflow)
        if template is None:
            report.add(
                Code.WORKFLOW_REFERENCE_NOT_FOUND,
                node_id,
                f"sub-workflow {workflow} is not part of the request: send it along with the workflow that runs it",
            )
            return None
        if not template.HasField("interface"):
            report.add(Code.VALUE_REQUIRED, node_id, f"sub-workflow {workflow} has no interface: declare one")
            return None
        return of_typed(template.interface, node_id, f"sub-workflow {workflow}", report)

    def _of_launch_plan(self, node_id: str, plan: EntityId, bound: Collection[str], report: Report) -> Interface | None:
        if plan in self.launch_plans:
            known = self.launch_plans[plan]
            inputs = {
                name: parameter.var.type
                for name, parameter in known.inputs.parameters.items()
                if parameter.required or name in bound
            }
            return Interface(inputs, types_of(known.outputs))
        if plan == entity_id(self.own.id):
            return of_typed(self.own.interface, node_id, f"launch plan {plan}", report)
        report.add(
            Code.WORKFLOW_REFERENCE_NOT_FOUND, node_id, f"launch plan {plan} is not registered: register it first"
        )
        return None


def of_typed(interface: interface_pb2.TypedInterface, node_id: str, owner: str, report: Report) -> Interface | None:
    """A declared interface, or None with a report if a variable has no name, or a type that cannot be meant."""
    complete = True
    for direction, variables in (("input", interface.inputs.variables), ("output", interface.outputs.variables)):
        for name, variable in sorted(variables.items()):
            if not name:
                report.add(Code.VALUE_REQUIRED, node_id, f"{owner} has an {direction} without a name: name it")
                complete = False
            complete &= _is_sound(variable.type, f"{direction} {name!r} of {owner}", node_id, report)
    return Interface(types_of(interface.inputs), types_of(interface.outputs)) if complete else None


def _is_sound(declared: types_pb2.LiteralType, variable: str, node_id: str, report: Report) -> bool:
    flaws = list(types.flaws(declared))
    if not flaws and declared.WhichOneof("type") is None:
        report.add(Code.VALUE_REQUIRED, node_id, f"{variable} has no type: declare one")
        return False
    for flaw in flaws:
        if flaw.fault is types.Fault.UNKNOWN:
            advice = "declare another type, or use a newer release of the engine"
            report.add(Code.INVALID_LITERAL_TYPE, node_id, f"{variable}: {flaw.reason}: {advice}")
        else:
            report.add(Code.INCONSISTENT_TYPES, node_id, f"{variable}: {flaw.reason}: keep one")
    return not flaws


def types_of(variables: interface_pb2.VariableMap) -> dict[str, types_pb2.LiteralType]:
    return {name: variable.type for name, variable in variables.variables.items()}


def of_signal(gate: workflow_pb2.GateNode, node_id: str, report: Report) -> Interface | None:
    """The interface of a gate that waits for a value."""
    signal = gate.signal
    if signal.type.WhichOneof("type") is None:
        report.add(Code.VALUE_REQUIRED, node_id, "gate_node.signal.type is missing: say which value is waited for")
        return None
    if not signal.output_variable_name:
        report.add(Code.VALUE_REQUIRED, node_id, "gate_node.signal.output_variable_name is missing: name the output")
        return None
    return Interface({}, {signal.output_variable_name: signal.type})


def of_array(node: workflow_pb2.Node, inner: Interface, report: Report) -> Interface:
    """The interface of an array node over what its inner node refers to."""
    array = node.array_node
    for name in array.bound_inputs:
        if name not in inner.inputs:
            known = ", ".join(sorted(inner.inputs)) or "none"
            report.add(
                Code.VARIABLE_NAME_NOT_FOUND,
                node.id,
                f"array_node.bound_inputs names {name!r}, which is no input; inputs are: {known}",
            )
    if not array.is_original_sub_node_interface.value:
        _require_lists(node, inner, report)
        return inner
    # Whoever tolerates failures must expect holes in the results.
    holes = array.WhichOneof("success_criteria") == "min_success_ratio" and array.min_success_ratio != 1
    return Interface(
        {
            name: one if name in array.bound_inputs else types_pb2.LiteralType(collection_type=one)
            for name, one in inner.inputs.items()
        },
        {
            name: types_pb2.LiteralType(collection_type=_or_none(one) if holes else one)
            for name, one in inner.outputs.items()
        },
    )


def _require_lists(node: workflow_pb2.Node, inner: Interface, report: Report) -> None:
    """Report an interface that whoever wrote the array node should have wrapped in lists, and did not."""
    spread = {name: one for name, one in inner.inputs.items() if name not in node.array_node.bound_inputs}
    if spread and not any(_is_list(one) for one in spread.values()):
        report.add(
            Code.MISMATCHING_INTERFACES,
            node.id,
            f"the array node has nothing to run over, because none of {', '.join(sorted(spread))} is a list: declare"
            " lists, or set is_original_sub_node_interface",
        )
    for name, one in sorted(inner.outputs.items()):
        if not _is_list(one):
            report.add(
                Code.MISMATCHING_INTERFACES,
                node.id,
                f"the array node gathers output {name!r} in a list, but it is declared as {types.describe(one)}:"
                " declare a list, or set is_original_sub_node_interface",
            )


def _is_list(one: types_pb2.LiteralType) -> bool:
    return bool(one.WhichOneof("type") == "collection_type")


def _or_none(one: types_pb2.LiteralType) -> types_pb2.LiteralType:
    return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[one, NONE]))


def with_aliases(node_id: str, outputs: Outputs, aliases: Iterable[workflow_pb2.Alias], report: Report) -> Outputs:
    """Outputs under the names that other nodes know them by."""
    renamed: dict[str, str] = {}
    for alias in aliases:
        if alias.var in renamed:
            report.add(Code.DUPLICATE_ALIAS, node_id, f"output {alias.var!r} is aliased twice: keep one alias")
        elif alias.var not in outputs:
            report.add(
                Code.PARAMETER_NOT_BOUND,
                node_id,
                f"alias {alias.alias!r} is of output {alias.var!r}, which the node does not have: drop the alias",
            )
        else:
            renamed[alias.var] = alias.alias
    if not renamed:
        return outputs
    known: dict[str, types_pb2.LiteralType | None] = {}
    for name, one in outputs.items():
        called = renamed.get(name, name)
        if called in known:
            report.add(Code.VALUE_COLLISION, node_id, f"two outputs are called {called!r}: alias one of them otherwise")
        known[called] = one
    return known
