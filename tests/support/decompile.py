"""From what the compiler returned back to what it was given: the inverse of compiling, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flyteidl.core import compiler_pb2, tasks_pb2, workflow_pb2

from libs.workflow.compiler.prepare import promises_in
from libs.workflow.compiler.requirements import cases_of
from libs.workflow.identity import END_NODE_ID, START_NODE_ID


@dataclass(frozen=True)
class Source:
    """What a closure was compiled from."""

    template: workflow_pb2.WorkflowTemplate
    sub_workflows: list[workflow_pb2.WorkflowTemplate]
    tasks: list[tasks_pb2.TaskTemplate]


def decompile(closure: compiler_pb2.CompiledWorkflowClosure) -> Source:
    """The templates as a client would write them: without start and end, with short names inside branches."""
    return Source(
        _template(closure.primary),
        [_template(one) for one in closure.sub_workflows],
        [task.template for task in closure.tasks],
    )


def _template(compiled: compiler_pb2.CompiledWorkflow) -> workflow_pb2.WorkflowTemplate:
    template = workflow_pb2.WorkflowTemplate()
    template.CopyFrom(compiled.template)
    del template.nodes[:]
    template.nodes.extend(one for one in compiled.template.nodes if one.id not in (START_NODE_ID, END_NODE_ID))
    for node in template.nodes:
        _shorten(node, "")
    if template.HasField("failure_node"):
        _shorten(template.failure_node, "")
    nodes = [*template.nodes, template.failure_node] if template.HasField("failure_node") else template.nodes
    for binding in [*template.outputs, *(one for node in nodes for each in _with_cases(node) for one in each.inputs)]:
        for promise in promises_in(binding.binding):
            if promise.node_id == START_NODE_ID:
                promise.node_id = ""
    return template


def _shorten(node: workflow_pb2.Node, outer: str) -> None:
    inner = f"{node.id}-"
    if node.WhichOneof("target") == "branch_node":
        for case in cases_of(node):
            _shorten(case, inner)
    node.id = node.id.removeprefix(outer)


def _with_cases(node: workflow_pb2.Node) -> Iterator[workflow_pb2.Node]:
    yield node
    if node.WhichOneof("target") == "branch_node":
        for case in cases_of(node):
            yield from _with_cases(case)
