"""From rows to memory: how a new leader goes on with an execution that it has not seen before.

Only what is durable counts. Whatever a former leader had merely wished for (a slot, a blob) is wished for again by the
first step; attempts that were placed are kept, for their executor may be running them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from libs.workflow.errors import Internal
from libs.workflow.graph import Graph, Shape, items_of
from libs.workflow.machine.execution import Execution, LiveNode, Scope, inputs_of, is_leaf, new_execution
from libs.workflow.machine.items import Items
from libs.workflow.machine.recovery import recoverable
from libs.workflow.phases import Desired, ExecutionPhase, NodePhase
from libs.workflow.state import ExecutionState, NodeState, Snapshot


def restore(snapshot: Snapshot, graph: Graph, dynamics: Mapping[str, Graph] | None = None) -> Execution:
    """The execution as its last commit left it.

    `dynamics` are the graphs that tasks have asked for, by the `closure_uri` of the open nodes that run them. Raises
    Internal when the rows don't fit the graph.
    """
    execution = new_execution(snapshot.execution, graph)
    execution.resumed = True
    execution.recovery = recoverable(snapshot.recoverable)
    if execution.state.phase is ExecutionPhase.QUEUED:
        return execution
    nodes: dict[str, LiveNode] = {}
    for state in _without_forgotten(_parents_first(snapshot.nodes)):
        nodes[state.id] = _restore_node(execution, state, nodes, dynamics or {})
    for attempt in snapshot.attempts:
        node = nodes[attempt.node_id]
        node.attempt = attempt
        execution.running += node.counted
    for node in nodes.values():
        if node.state.phase.terminal:
            node.child = None  # it was needed to find the places of what ran in it
    root = execution.root
    root.closing = execution.state.phase in (ExecutionPhase.FAILING, ExecutionPhase.ABORTING)
    root.cut = execution.state.phase is ExecutionPhase.ABORTING or (root.closing and _abort_is_known(execution.state))
    for scope in _scopes(root):
        _restore_progress(execution, scope)
    root.error = execution.state.error or root.error
    return execution


def _abort_is_known(state: ExecutionState) -> bool:
    """Whether an abort of an execution that was failing already has been acted on."""
    return state.intent.desired is Desired.ABORT and state.observed_generation >= state.intent.generation


def _parents_first(states: Iterable[NodeState]) -> list[NodeState]:
    depths: dict[str, int] = {"": 0}
    parents = {state.id: state.parent_id for state in states}

    def depth(node_id: str) -> int:
        if node_id not in depths:
            depths[node_id] = depth(parents[node_id]) + 1
        return depths[node_id]

    return sorted(states, key=lambda state: depth(state.id))


def _without_forgotten(states: Iterable[NodeState]) -> Iterable[NodeState]:
    """Leaves out what stands below final dynamic nodes: their graphs are not at hand, for nobody needs them."""
    forgotten: set[str] = set()
    for state in states:
        if state.parent_id in forgotten:
            forgotten.add(state.id)
            continue
        if state.closure_uri is not None and state.phase.terminal:
            forgotten.add(state.id)
        yield state


def _restore_node(
    execution: Execution, state: NodeState, known: dict[str, LiveNode], dynamics: Mapping[str, Graph]
) -> LiveNode:
    parent = known.get(state.parent_id)
    scope = execution.root if parent is None else parent.child
    if scope is None or state.spec_id not in scope.graph.index:
        raise Internal(f"the row of node {state.id} does not fit the graph of its execution")
    spec = scope.graph.nodes[scope.graph.index[state.spec_id]]
    node = LiveNode(scope, spec, state)
    scope.nodes[spec.index] = node
    own = _own_graph(node, dynamics)
    if own is not None:
        node.child = Scope(own, node, inputs_of(node))
        node.child.error = state.error
        if node.spec.array is not None and state.items is not None:
            node.child.items = Items(node.spec.array, state.items)
    if not state.phase.terminal:
        scope.open.add(spec.index)
        execution.live[state.id] = node
        if state.wake_at_us is not None:
            execution.set_timer(node, state.wake_at_us)
    return node


def _own_graph(node: LiveNode, dynamics: Mapping[str, Graph]) -> Graph | None:
    """The graph that runs in a node, or that its rows stand in. Of a final dynamic node nobody needs it any more."""
    if node.spec.graph is not None:
        return node.spec.graph
    if node.spec.array is not None and node.state.items is not None:
        return items_of(node.spec.array.item, node.state.items)
    return dynamics.get(node.state.closure_uri) if node.state.closure_uri is not None else None


def _scopes(root: Scope) -> Iterable[Scope]:
    """The scopes that still run, outer ones first."""
    pending = [root]
    while pending:
        scope = pending.pop()
        yield scope
        for node in scope.nodes:
            if node is not None and node.child is not None and not node.state.phase.terminal:
                _restore_closing(node, node.child)
                pending.append(node.child)


def _restore_closing(node: LiveNode, child: Scope) -> None:
    child.closing = node.state.phase is NodePhase.FAILING
    child.cut = child.closing and node.stopping


def _restore_progress(execution: Execution, scope: Scope) -> None:
    """Counts again what is done, and finds the nodes that are ready without having started."""
    if scope.items is not None:
        _restore_items(execution, scope, scope.items)
        return
    failures: list[tuple[int, bytes, str]] = []
    for node in scope.nodes:
        if node is None or not node.state.phase.terminal:
            continue
        for target in node.spec.downstream:
            scope.missing[target] -= 1
            if node.state.phase in (NodePhase.FAILED, NodePhase.SKIPPED):
                scope.poisoned.add(target)
        if node.state.phase is NodePhase.FAILED and node.state.error is not None:
            failures.append((node.state.ended_at_us or 0, node.state.error, node.state.id))
    if failures:
        _, error, failed = min(failures)
        scope.error = scope.error or error
        scope.failed = failed
    execution.ready.extend((scope, index) for index in _ready(scope))


def _restore_items(execution: Execution, scope: Scope, items: Items) -> None:
    """Items that have ended are nothing but their results again; those that wait are found by their attempts."""
    for index, node in enumerate(scope.nodes):
        if node is not None and node.state.phase.terminal:
            items.end(index, node.state)
            scope.nodes[index] = None
        elif node is not None and _waits_for_a_slot(node):
            items.waiting.add(index)
    items.under_way = len(scope.open)
    items.skip_to(scope.first_unstarted(0))
    execution.attend(scope)


def _waits_for_a_slot(node: LiveNode) -> bool:
    """Only of tasks: what other items have done so far does not show in rows that are open."""
    if not is_leaf(node) or node.child is not None or node.state.futures_uri is not None:
        return False
    return node.attempt is None or node.attempt.executor is None


def _ready(scope: Scope) -> Iterable[int]:
    if scope.closing:
        failure = scope.graph.failure
        return [failure] if failure >= 0 and scope.admits(failure) else []
    if scope.graph.shape is Shape.CASES:
        choice = scope.parent.state.choice if scope.parent else None
        return [choice] if choice is not None and scope.nodes[choice] is None else []
    return [
        index
        for index, missing in enumerate(scope.missing)
        if missing == 0 and scope.nodes[index] is None and index != scope.graph.failure
    ]


def unfinished(execution: Execution) -> Iterable[LiveNode]:
    """Nodes under way, in the order in which they were created."""
    return sorted(execution.live.values(), key=lambda node: (node.state.created_at_us or 0, node.state.id))
