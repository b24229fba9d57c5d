"""What is true of an execution after every step. Tests call `violations` after each one; the list must be empty."""

from __future__ import annotations

from collections.abc import Iterator

from libs.workflow.graph import Shape
from libs.workflow.machine.execution import Execution, LiveNode, Scope
from libs.workflow.machine.items import Items
from libs.workflow.phases import NodePhase


def violations(execution: Execution) -> list[str]:
    """One sentence for each invariant that does not hold."""
    found = [*_of_scope(execution.root), *_forgotten(execution)]
    attempts = sum(node.attempt is not None and node.counted for node in execution.live.values())
    if attempts != execution.running:
        found.append(f"{attempts} attempts are under way, but {execution.running} are counted")
    limit = execution.settings.max_parallelism
    if limit and attempts > limit:
        found.append(f"{attempts} attempts are under way, more than max_parallelism {limit}")
    if attempts < limit and any(_may_seek(node) for node in execution.parked):
        found.append(f"only {attempts} attempts are under way, but max_parallelism {limit} holds others back")
    if execution.state.phase.terminal:
        if execution.live:
            found.append(f"the execution is {execution.state.phase.name}, but {sorted(execution.live)} are not final")
        if execution.state.next_wake_at_us is not None:
            found.append("the execution is final, but has a timer")
    elif _at_rest(execution.root):
        found.append("the execution is ending and nothing runs any more, but it is not final")
    elif execution.state.next_wake_at_us != execution.next_wake():
        found.append("next_wake_at is not the earliest timer or the deadline")
    return found


def _of_scope(scope: Scope) -> Iterator[str]:
    if _at_rest(scope) and scope.parent is not None:
        yield f"all that ran in node {scope.parent.state.id} has come to rest, but it is not final"
    if scope.items is not None:
        yield from _of_items(scope, scope.items)
        return
    for spec in scope.graph.nodes:
        node = scope.nodes[spec.index]
        missing = sum(not _done(scope.nodes[upstream]) for upstream in spec.upstream)
        if scope.missing and scope.missing[spec.index] != missing:
            yield f"node {scope.node_id(spec)} waits for {missing} nodes, but {scope.missing[spec.index]} are counted"
        if node is not None:
            yield from _of_node(scope, node)


def _of_items(scope: Scope, items: Items) -> Iterator[str]:
    name = scope.parent.state.id if scope.parent is not None else ""
    limit = items.target.parallelism
    if limit and items.under_way > limit and not scope.closing:
        yield f"{items.under_way} items of array {name} are under way, more than {limit}"
    if items.under_way < len(scope.open):
        yield f"{len(scope.open)} items of array {name} are open, but {items.under_way} are counted"
    ended = sum(result is not None for result in items.results)
    if ended != items.succeeded + items.failed:
        yield f"{ended} items of array {name} have ended, but {items.succeeded + items.failed} are counted"
    if items.lost and not scope.closing:
        yield f"array {name} can succeed no more, but goes on"
    for index, node in enumerate(scope.nodes):
        if (node is not None) != (index in scope.open):
            yield f"item {index} of array {name} is listed as {'open' if node is None else 'final'}, but is not"
        if node is not None:
            yield from _of_node(scope, node)


def _of_node(scope: Scope, node: LiveNode) -> Iterator[str]:
    state = node.state
    if state.phase.terminal == (node.spec.index in scope.open):
        yield f"node {state.id} is {state.phase.name}, but listed as {'open' if state.phase.terminal else 'final'}"
    if state.phase.terminal and node.attempt is not None:
        yield f"node {state.id} is final, but attempt {node.attempt.attempt} is not"
    if state.phase in (NodePhase.SUCCEEDED, NodePhase.RECOVERED) and state.outputs is None:
        yield f"node {state.id} has succeeded without outputs"
    if state.phase is NodePhase.FAILED and state.error is None:
        yield f"node {state.id} has failed without an error"
    if node.attempt is not None and node.attempt.phase.terminal:
        yield f"attempt {node.attempt.attempt} of node {state.id} is final, but still current"
    if node.child is None:
        return
    if not state.phase.terminal:
        yield from _of_scope(node.child)
    elif node.child.open:
        yield f"node {state.id} is final, but nodes in it are not"


def _forgotten(execution: Execution) -> Iterator[str]:
    """What is not final goes on by some event: each node that is open, and each that is ready, waits for one."""
    parked = {id(node) for node in execution.parked}
    waiting = {id(node) for nodes in execution.waiting.values() for node in nodes.values()}
    for node in execution.live.values():
        state = node.state
        known = node.child is not None or node.attempt is not None or state.wake_at_us is not None
        known |= state.futures_uri is not None or state.child_key is not None
        known |= id(node) in parked | waiting or state.id in execution.asking
        known |= any(state.id in nodes for nodes in execution.gates.values())
        if not known:
            yield f"node {state.id} is {state.phase.name}, but waits for nothing"
    if not execution.state.phase.terminal:
        pending = {*_pending(execution), *((id(scope), index) for scope, index in execution.ready)}
        for scope in _running(execution.root):
            for index in _ready(scope):
                if (id(scope), index) not in pending:
                    yield f"node {scope.node_id(scope.graph.nodes[index])} is ready, but does not start"
            if scope.items is not None and scope.parent is not None and not scope.closing:
                yield from _of_idle(scope.items, scope.parent, pending)


def _of_idle(items: Items, array: LiveNode, pending: set[tuple[int, int]]) -> Iterator[str]:
    """An array does what it can."""
    reads = (id(array.scope), array.spec.index) in pending
    if items.room and not reads and array.state.wake_at_us is None:
        yield f"array {array.state.id} has room for item {items.cursor}, but does not start it"
    if items.ended and not items.reading and not items.writing:
        yield f"all items of array {array.state.id} have ended, but it has not"


def _pending(execution: Execution) -> Iterator[tuple[int, int]]:
    """Ready nodes that cannot start yet."""
    for nodes in execution.awaiting.values():
        yield from nodes
    for scope, index, _ in execution.writing.values():
        yield id(scope), index
    for asked in execution.asking.values():
        yield id(asked.scope), asked.spec.index


def _running(scope: Scope) -> Iterator[Scope]:
    yield scope
    for index in scope.open:
        node = scope.nodes[index]
        if node is not None and node.child is not None:
            yield from _running(node.child)


def _ready(scope: Scope) -> Iterator[int]:
    """Nodes that have everything they wait for; of an array, those are ready for which there is room."""
    if scope.graph.shape is Shape.WORKFLOW and not scope.closing:
        failure = scope.graph.failure
        yield from (i for i, missing in enumerate(scope.missing) if not missing and i != failure and scope.admits(i))
    elif scope.graph.shape is Shape.WORKFLOW and scope.graph.failure >= 0 and scope.admits(scope.graph.failure):
        yield scope.graph.failure
    elif scope.graph.shape is Shape.CASES and scope.parent is not None and scope.parent.state.choice is not None:
        yield from (i for i in (scope.parent.state.choice,) if scope.admits(i))


def _may_seek(node: LiveNode) -> bool:
    waits = not node.state.phase.terminal and node.attempt is None and node.state.wake_at_us is None
    return waits and not node.stopping


def _at_rest(scope: Scope) -> bool:
    """Whether it should have ended: it is closing, and neither runs a node nor has its failure node before it."""
    failure = scope.graph.failure
    return scope.closing and not scope.open and not (failure >= 0 and scope.admits(failure))


def _done(node: LiveNode | None) -> bool:
    return node is not None and node.state.phase.terminal
