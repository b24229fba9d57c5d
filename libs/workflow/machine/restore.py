"""From rows to memory: how a new leader goes on with an execution that it has not seen before.

Only what is durable counts. Whatever a former leader had merely wished for (a slot, a blob) is wished for again by the
first step; attempts that were placed are kept, for their executor may be running them.
"""

from __future__ import annotations

from collections.abc import Iterable

from libs.workflow.errors import Internal
from libs.workflow.graph import Graph
from libs.workflow.machine.execution import Execution, LiveNode, Scope, is_leaf, new_execution
from libs.workflow.phases import ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import EMPTY, NodeState, Snapshot


def restore(snapshot: Snapshot, graph: Graph) -> Execution:
    """The execution as its last commit left it. Raises Internal when the rows don't fit the graph."""
    execution = new_execution(snapshot.execution, graph)
    execution.resumed = True
    if execution.state.phase is ExecutionPhase.QUEUED:
        return execution
    nodes: dict[str, LiveNode] = {}
    for state in _parents_first(snapshot.nodes):
        nodes[state.id] = _restore_node(execution, state, nodes)
    for attempt in snapshot.attempts:
        nodes[attempt.node_id].attempt = attempt
        execution.running += 1
    for scope in _scopes(execution.root):
        _restore_progress(execution, scope)
    root = execution.root
    root.closing = execution.state.phase in (ExecutionPhase.FAILING, ExecutionPhase.ABORTING)
    root.error = execution.state.error or root.error
    return execution


def _parents_first(states: Iterable[NodeState]) -> list[NodeState]:
    depths: dict[str, int] = {"": 0}
    parents = {state.id: state.parent_id for state in states}

    def depth(node_id: str) -> int:
        if node_id not in depths:
            depths[node_id] = depth(parents[node_id]) + 1
        return depths[node_id]

    return sorted(states, key=lambda state: depth(state.id))


def _restore_node(execution: Execution, state: NodeState, known: dict[str, LiveNode]) -> LiveNode:
    parent = known.get(state.parent_id)
    scope = execution.root if parent is None else parent.child
    if scope is None or state.spec_id not in scope.graph.index:
        raise Internal(f"the row of node {state.id} does not fit the graph of its execution")
    spec = scope.graph.nodes[scope.graph.index[state.spec_id]]
    node = LiveNode(scope, spec, state)
    scope.nodes[spec.index] = node
    if spec.kind is NodeKind.SUBWORKFLOW and spec.graph is not None:
        node.child = Scope(spec.graph, node, state.inputs or EMPTY)
        node.child.closing = state.phase is NodePhase.FAILING
        node.child.error = state.error
    if not state.phase.terminal:
        scope.open.add(spec.index)
        execution.live[state.id] = node
        if state.wake_at_us is not None:
            execution.set_timer(node, state.wake_at_us)
    return node


def _scopes(root: Scope) -> Iterable[Scope]:
    pending = [root]
    while pending:
        scope = pending.pop()
        yield scope
        pending.extend(
            node.child for node in scope.nodes if node is not None and node.child and not node.state.phase.terminal
        )


def _restore_progress(execution: Execution, scope: Scope) -> None:
    """Counts again what is done, and finds the nodes that are ready without having started."""
    failures: list[tuple[int, bytes]] = []
    for node in scope.nodes:
        if node is None or not node.state.phase.terminal:
            continue
        for target in node.spec.downstream:
            scope.missing[target] -= 1
            if node.state.phase in (NodePhase.FAILED, NodePhase.SKIPPED):
                scope.poisoned.add(target)
        if node.state.phase is NodePhase.FAILED and node.state.error is not None:
            failures.append((node.state.ended_at_us or 0, node.state.error))
    if failures and scope.error is None:
        scope.error = min(failures)[1]
    for index, missing in enumerate(scope.missing):
        if missing == 0 and scope.nodes[index] is None:
            execution.ready.append((scope, index))


def unfinished(execution: Execution) -> Iterable[LiveNode]:
    """Leaf nodes under way, in the order in which they were created."""
    leaves = [node for node in execution.live.values() if is_leaf(node)]
    return sorted(leaves, key=lambda node: (node.state.created_at_us or 0, node.state.id))
