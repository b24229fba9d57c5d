"""The second step of the compiler: node by node, whether what comes out of one fits what goes into the next."""

from __future__ import annotations

from collections.abc import Iterable

from flyteidl.core import workflow_pb2

from libs.workflow.compiler import conditions
from libs.workflow.compiler.bindings import Bindings
from libs.workflow.compiler.errors import Code, Report
from libs.workflow.compiler.interfaces import Interface, Library, Outputs, of_array, of_signal, types_of, with_aliases
from libs.workflow.compiler.prepare import Scope
from libs.workflow.compiler.requirements import cases_of
from libs.workflow.compiler.tasks import check_resources
from libs.workflow.identity import END_NODE_ID, START_NODE_ID

_MAX_DURATION_SECONDS = 315_576_000_000
"""Ten thousand years: the range of google.protobuf.Duration."""


class Typing:
    """Checks the nodes of one workflow. `run` needs them in topological order: a node reads what is typed already."""

    def __init__(self, scope: Scope, library: Library, infer_outputs: bool) -> None:
        self._scope = scope
        self._library = library
        self._infer_outputs = infer_outputs
        self._report: Report = scope.report
        self._outputs: dict[str, Outputs | None] = {}
        """What each node produces, under the names that others know; None for a node that is reported as broken."""
        self._bindings = Bindings(self._outputs)

    def run(self, order: Iterable[str]) -> None:
        interface = self._scope.template.interface
        for node_id in order:
            node = self._scope.nodes[node_id]
            if node_id == START_NODE_ID:
                self._outputs[node_id] = types_of(interface.inputs)
            elif node_id == END_NODE_ID and self._infer_outputs:
                self._declare_outputs(node)
            elif node_id == END_NODE_ID:
                self._bindings.check(node, types_of(interface.outputs), self._report)
            else:
                self._outputs[node_id] = self._check_node(node)
        if self._scope.template.HasField("failure_node"):
            self._check_node(self._scope.template.failure_node)

    def _declare_outputs(self, end: workflow_pb2.Node) -> None:
        """Give the workflow outputs of the types that are bound to them; one of unknown type stays undeclared."""
        outputs = self._scope.template.interface.outputs
        for name, inferred in self._bindings.infer(end, self._report).items():
            if inferred is not None:
                outputs.variables[name].type.CopyFrom(inferred)

    def _check_node(self, node: workflow_pb2.Node) -> Outputs | None:
        """Report what is wrong with a node, and return its outputs."""
        self._check_metadata(node, node.id)
        outputs: Outputs | None
        match node.WhichOneof("target"):
            case "branch_node":
                outputs = self._check_branch(node)
            case "gate_node" if node.gate_node.WhichOneof("condition") == "approve":
                outputs = self._bindings.infer(node, self._report)
            case _:
                interface = self._declared(node)
                if interface is not None:
                    self._bindings.check(node, interface.inputs, self._report)
                outputs = None if interface is None else interface.outputs
        return None if outputs is None else with_aliases(node.id, outputs, node.output_aliases, self._report)

    def _declared(self, node: workflow_pb2.Node) -> Interface | None:
        bound = {binding.var for binding in node.inputs}
        match node.WhichOneof("target"):
            case "task_node" | "workflow_node":
                return self._library.interface_of(node, node.id, bound, self._report)
            case "array_node":
                return self._array(node, bound)
            case "gate_node":
                return self._gate(node)
        self._report.add(
            Code.VALUE_REQUIRED, node.id, "the node has no target: make it a task, workflow, branch, gate or array node"
        )
        return None

    def _array(self, node: workflow_pb2.Node, bound: set[str]) -> Interface | None:
        array = node.array_node
        if array.node.WhichOneof("target") not in ("task_node", "workflow_node"):
            self._report.add(
                Code.VALUE_REQUIRED,
                node.id,
                "array_node.node runs no task, sub-workflow or launch plan: an array node needs one of them",
            )
            return None
        if not 0 <= array.min_success_ratio <= 1:
            self._report.add(
                Code.INVALID_VALUE,
                node.id,
                f"array_node.min_success_ratio {array.min_success_ratio:g} is not a share: give one from 0 to 1",
            )
        self._check_metadata(array.node, node.id)
        inner = self._library.interface_of(array.node, node.id, bound, self._report)
        return None if inner is None else of_array(node, inner, self._report)

    def _gate(self, node: workflow_pb2.Node) -> Interface | None:
        match node.gate_node.WhichOneof("condition"):
            case "signal":
                return of_signal(node.gate_node, node.id, self._report)
            case "sleep":
                return Interface({}, {})
        self._report.add(
            Code.NO_CONDITION_FOUND, node.id, "the gate waits for nothing: let it approve, wait for a signal or sleep"
        )
        return None

    def _check_branch(self, node: workflow_pb2.Node) -> Outputs | None:
        if_else = node.branch_node.if_else
        inputs = self._bindings.infer(node, self._report)
        blocks = [if_else.case, *if_else.other] if if_else.HasField("case") else list(if_else.other)
        if not if_else.HasField("case"):
            self._report.add(Code.BRANCH_NODE_HAS_NO_CONDITION, node.id, "the branch has no first case: add one")
        for block in blocks:
            conditions.check(node.id, block.condition, inputs, self._report)
            if not block.HasField("then_node"):
                self._report.add(
                    Code.BRANCH_NODE_ID_NOT_FOUND, node.id, "a case has no node: say what runs when it is taken"
                )
        if if_else.WhichOneof("default") is None:
            self._report.add(
                Code.BRANCH_NODE_HAS_NO_DEFAULT, node.id, "the branch has neither an else node nor an error: add one"
            )
        return self._common([(case.id, self._check_node(case)) for case in cases_of(node)])

    def _common(self, cases: list[tuple[str, Outputs | None]]) -> Outputs | None:
        """The outputs that all cases have: what a reader may count on, whichever case is taken."""
        known = [(case_id, outputs) for case_id, outputs in cases if outputs is not None]
        if not known or len(known) < len(cases):
            return None
        first_id, first = known[0]
        common = {name: one for name, one in first.items() if all(name in outputs for _, outputs in known)}
        for case_id, outputs in known[1:]:
            for name in sorted(common):
                if None not in (outputs[name], common[name]) and outputs[name] != common[name]:
                    self._report.add(
                        Code.MISMATCHING_TYPES,
                        case_id,
                        f"output {name!r} has another type than in case {first_id}: return one type from all cases",
                    )
        return common

    def _check_metadata(self, node: workflow_pb2.Node, node_id: str) -> None:
        timeout = node.metadata.timeout
        if not (0 <= timeout.seconds <= _MAX_DURATION_SECONDS and 0 <= timeout.nanos < 1_000_000_000):
            self._report.add(
                Code.SYNTAX_ERROR, node_id, "metadata.timeout is not a valid duration: give a positive one or none"
            )
        if node.WhichOneof("target") == "task_node":
            check_resources(node.task_node.overrides.resources, "task_node.overrides.resources", node_id, self._report)
