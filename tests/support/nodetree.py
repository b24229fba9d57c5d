"""What a client sees of an execution's nodes, as a tree of short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from flyteidl.admin import common_pb2, node_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2

from tests.support.flyte import Stubs

_PHASE = execution_pb2.NodeExecution.Phase


def nodes_of(
    stubs: Stubs, execution: identifier_pb2.WorkflowExecutionIdentifier, parent: str = ""
) -> list[node_execution_pb2.NodeExecution]:
    """The node executions directly below `parent`, oldest first, over all pages."""
    found: list[node_execution_pb2.NodeExecution] = []
    token = ""
    while True:
        page = stubs.admin.ListNodeExecutions(
            node_execution_pb2.NodeExecutionListRequest(
                workflow_execution_id=execution,
                unique_parent_id=parent,
                limit=100,
                token=token,
                sort_by=common_pb2.Sort(key="created_at", direction=common_pb2.Sort.ASCENDING),
            ),
            timeout=30,
        )
        found += page.node_executions
        token = page.token
        if not token:
            return found


def tree(stubs: Stubs, execution: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, str]:
    """Phase and properties of every node at any depth, by unique id; start and end nodes are left out.

    Properties: `parent`, `dynamic`, `array`, and `child` for a launch plan node that has its execution.
    """
    return dict(_below(stubs, execution, ""))


def _below(
    stubs: Stubs, execution: identifier_pb2.WorkflowExecutionIdentifier, parent: str
) -> Iterator[tuple[str, str]]:
    for node in nodes_of(stubs, execution, parent):
        if node.metadata.spec_node_id not in ("start-node", "end-node"):
            yield node.id.node_id, _told(node)
        yield from _below(stubs, execution, node.id.node_id)


def _told(node: node_execution_pb2.NodeExecution) -> str:
    words = [_PHASE.Name(node.closure.phase)]
    words += ["parent"] * node.metadata.is_parent_node
    words += ["dynamic"] * node.metadata.is_dynamic
    words += ["array"] * node.metadata.is_array
    words += ["child"] * bool(node.closure.workflow_node_metadata.executionId.name)
    return " ".join(words)


def child_of(
    stubs: Stubs, execution: identifier_pb2.WorkflowExecutionIdentifier, node_id: str
) -> identifier_pb2.WorkflowExecutionIdentifier:
    """The execution that a launch plan node at the top level has launched; its name is empty before it has one."""
    found = [node for node in nodes_of(stubs, execution) if node.id.node_id == node_id]
    metadata = found[0].closure.workflow_node_metadata if found else node_execution_pb2.WorkflowNodeMetadata()
    return metadata.executionId
