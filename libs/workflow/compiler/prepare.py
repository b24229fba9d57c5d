"""The shape that a compiled template has, before anything is checked beyond names.

- Nodes `start-node` (it produces the workflow's inputs) and `end-node` (it consumes the workflow's outputs) come first.
- The nodes inside a branch are renamed `<branch>-<case>`: SDKs number them from `n0` again, while the events and files
  of a run need ids that are unique in the workflow. What they bind refers to the nodes around the branch.
- A promise without node id means the workflow's inputs, and names `start-node` from here on.
- `upstream_node_ids` holds what the client wrote there, sorted; it never names `start-node`. Flyte's compiler returns
  just that, and flytekit, which looks each of these ids up among the *user's* nodes, would fail on `start-node`. The
  edge from the start is not lost: it stands in the closure's connections, with all edges that follow from bindings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from flyteidl.core import compiler_pb2, literals_pb2, types_pb2, workflow_pb2

from libs.workflow.compiler.errors import Code, Report
from libs.workflow.compiler.requirements import cases_of
from libs.workflow.identity import END_NODE_ID, START_NODE_ID

_RESERVED = (START_NODE_ID, END_NODE_ID)


@dataclass(slots=True)
class Scope:
    """One workflow on its way through the compiler: its template in compiled shape, and its nodes by id."""

    compiled: compiler_pb2.CompiledWorkflow
    report: Report
    nodes: dict[str, workflow_pb2.Node] = field(default_factory=dict)
    """Top-level nodes, start and end included, in the order of the template."""
    inner: dict[str, workflow_pb2.Node] = field(default_factory=dict)
    """Nodes inside branches, and the failure node with those inside it: nobody can read what they produce."""
    owner: dict[str, str] = field(default_factory=dict)
    """For each inner node the top-level node that it is part of; the failure node is its own."""

    @property
    def template(self) -> workflow_pb2.WorkflowTemplate:
        return self.compiled.template


def prepare(template: workflow_pb2.WorkflowTemplate, report: Report) -> Scope:
    """Bring a copy of a template into compiled shape, and report ids that are missing or repeated."""
    scope = Scope(compiler_pb2.CompiledWorkflow(), report)
    compiled = scope.template
    compiled.CopyFrom(template)
    compiled.interface.inputs.SetInParent()
    compiled.interface.outputs.SetInParent()
    del compiled.nodes[:]
    compiled.nodes.add(id=START_NODE_ID)
    compiled.nodes.add(id=END_NODE_ID, inputs=template.outputs)
    # A template that was compiled before brings its own start and end, which are replaced, and its cases have their
    # long names already.
    compiled.nodes.extend(node for node in template.nodes if node.id not in _RESERVED)
    again = any(node.id == START_NODE_ID for node in template.nodes)
    _resolve_inputs(compiled.outputs)
    for node in compiled.nodes:
        _prepare_node(node, again)
        _add(scope, scope.nodes, node)
        for case in _all_cases(node):
            scope.owner[case.id] = node.id
            _add(scope, scope.inner, case)
    if compiled.HasField("failure_node"):
        _prepare_node(compiled.failure_node, again)
        for node in (compiled.failure_node, *_all_cases(compiled.failure_node)):
            scope.owner[node.id] = compiled.failure_node.id
            _add(scope, scope.inner, node)
    return scope


def _prepare_node(node: workflow_pb2.Node, again: bool) -> None:
    _resolve_inputs(node.inputs)
    upstream = sorted(one for one in node.upstream_node_ids if one not in ("", START_NODE_ID))
    if upstream != node.upstream_node_ids:
        node.upstream_node_ids[:] = upstream
    if node.WhichOneof("target") == "branch_node":
        for case in cases_of(node):
            if case.id and not again:
                case.id = f"{node.id}-{case.id}"
            _prepare_node(case, again)


def _add(scope: Scope, index: dict[str, workflow_pb2.Node], node: workflow_pb2.Node) -> None:
    if not node.id:
        scope.report.add(Code.VALUE_REQUIRED, "", "a node has no id: give each node an id of its own")
    elif node.id in scope.nodes or node.id in scope.inner:
        scope.report.add(Code.DUPLICATE_ID, node.id, "the id is used by more than one node: give each its own")
    else:
        index[node.id] = node


def _all_cases(node: workflow_pb2.Node) -> Iterator[workflow_pb2.Node]:
    if node.WhichOneof("target") == "branch_node":
        for case in cases_of(node):
            yield case
            yield from _all_cases(case)


def _resolve_inputs(bindings: list[literals_pb2.Binding]) -> None:
    for binding in bindings:
        for promise in promises_in(binding.binding):
            if not promise.node_id:
                promise.node_id = START_NODE_ID


def promises_in(data: literals_pb2.BindingData) -> Iterator[types_pb2.OutputReference]:
    """The promises of a binding, at any depth."""
    match data.WhichOneof("value"):
        case "promise":
            yield data.promise
        case "collection":
            for item in data.collection.bindings:
                yield from promises_in(item)
        case "map":
            for item in data.map.bindings.values():
                yield from promises_in(item)
