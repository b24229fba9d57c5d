"""Which node waits for which: the edges of a workflow, without cycles.

An edge comes from `upstream_node_ids` or from a promise. A node that waits for nothing is put after the start, one that
nobody waits for before the end, so that every node runs and the workflow ends when all have.

The closure's connections list both directions for top-level nodes. Nodes inside a branch and the failure node appear
as *readers* only (`upstream`, for what they bind): the branch decides whether they run at all, and nobody can wait for
them. A branch nevertheless cannot run a case before that case's inputs exist, so such a dependency counts as one of the
branch when cycles are sought, and when nodes are put in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from flyteidl.core import workflow_pb2

from libs.workflow.compiler.errors import Code
from libs.workflow.compiler.prepare import Scope, promises_in
from libs.workflow.identity import END_NODE_ID, START_NODE_ID

_Edges = dict[str, set[str]]
_Readers = dict[str, list[str]]
"""In the order of the template: whatever follows from it, such as the order of errors, is the same in every run."""


def wire(scope: Scope) -> list[str]:
    """Write the connections of a workflow and return its top-level nodes in topological order, start first.

    Reports unknown nodes, cycles and nodes that cannot be reached. Nodes on or behind a cycle come last, in the order
    of the template.
    """
    upstream: _Edges = {}
    waits: _Edges = {}
    for node_id, node in scope.nodes.items():
        upstream[node_id] = _sources(scope, node_id, node) | _explicit(scope, node_id, node)
        waits[node_id] = set(upstream[node_id])
    for node_id, node in scope.inner.items():
        upstream[node_id] = _sources(scope, node_id, node)
        waits.get(scope.owner[node_id], set()).update(upstream[node_id], _explicit(scope, node_id, node))
    _close(scope, upstream)
    downstream = _reversed({node_id: upstream[node_id] for node_id in scope.nodes})
    _write(scope, upstream, downstream)
    return _ordered(scope, {node_id: waits[node_id] | upstream[node_id] for node_id in scope.nodes}, downstream)


def _sources(scope: Scope, node_id: str, node: workflow_pb2.Node) -> set[str]:
    """The nodes whose outputs a node reads."""
    found = set()
    for binding in node.inputs:
        for promise in promises_in(binding.binding):
            if promise.node_id in scope.nodes and promise.node_id != END_NODE_ID:
                found.add(promise.node_id)
            else:
                scope.report.add(
                    Code.NODE_REFERENCE_NOT_FOUND,
                    node_id,
                    f"input {binding.var!r} reads node {promise.node_id!r}, which is not in the workflow: bind the"
                    " output of a top-level node",
                )
    return found


def _explicit(scope: Scope, node_id: str, node: workflow_pb2.Node) -> set[str]:
    for upstream in node.upstream_node_ids:
        if upstream not in scope.nodes:
            scope.report.add(
                Code.NODE_REFERENCE_NOT_FOUND,
                node_id,
                f"upstream_node_ids names {upstream!r}, which is not in the workflow: name a top-level node or drop it",
            )
    return {upstream for upstream in node.upstream_node_ids if upstream in scope.nodes}


def _close(scope: Scope, upstream: _Edges) -> None:
    """Put nodes without edges after the start and before the end."""
    waited_for = {source for node_id in scope.nodes for source in upstream[node_id]}
    for node_id in scope.nodes:
        if node_id in (START_NODE_ID, END_NODE_ID):
            continue
        if not upstream[node_id]:
            upstream[node_id].add(START_NODE_ID)
        if node_id not in waited_for:
            upstream[END_NODE_ID].add(node_id)


def _reversed(edges: Mapping[str, set[str]]) -> _Readers:
    found: _Readers = {}
    for node_id, sources in edges.items():
        for source in sources:
            found.setdefault(source, []).append(node_id)
    return found


def _write(scope: Scope, upstream: _Edges, downstream: _Readers) -> None:
    connections = scope.compiled.connections
    connections.SetInParent()
    for node_id, sources in upstream.items():
        if sources:
            connections.upstream[node_id].ids.extend(sorted(sources))
    for node_id, readers in downstream.items():
        connections.downstream[node_id].ids.extend(sorted(readers))


def _ordered(scope: Scope, waits: _Edges, downstream: _Readers) -> list[str]:
    readers = _reversed(waits)
    missing = {node_id: len(sources) for node_id, sources in waits.items()}
    ready = deque(node_id for node_id, count in missing.items() if not count)
    order = []
    while ready:
        node_id = ready.popleft()
        order.append(node_id)
        for reader in readers.get(node_id, ()):
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(order) == len(scope.nodes):
        return order
    stuck = [node_id for node_id, count in missing.items() if count]
    _report_cycles(scope, stuck, waits)
    _report_unreachable(scope, downstream)
    return order + stuck


def _report_cycles(scope: Scope, stuck: list[str], waits: _Edges) -> None:
    """Walk against the edges: every stuck node waits for another stuck one, so each walk ends in a cycle."""
    among = set(stuck)
    seen: set[str] = set()
    for first in stuck:
        walk: dict[str, None] = {}
        node_id = first
        while node_id not in seen and node_id not in walk:
            walk[node_id] = None
            node_id = min(source for source in waits[node_id] if source in among)
        if node_id in walk:
            path = list(walk)
            cycle = [node_id, *reversed(path[path.index(node_id) :])]
            scope.report.add(
                Code.CYCLE_DETECTED,
                node_id,
                f"nodes wait for each other: {_some(cycle, ' > ')}: drop one of these edges",
            )
        seen.update(walk)


def _report_unreachable(scope: Scope, downstream: _Readers) -> None:
    if not downstream.get(START_NODE_ID):
        scope.report.add(
            Code.NO_ENTRY_NODE_FOUND,
            START_NODE_ID,
            "no node can run first, because each waits for another: let one wait for the workflow's inputs only",
        )
    reached = {START_NODE_ID, END_NODE_ID}
    waiting = [START_NODE_ID]
    while waiting:
        for reader in downstream.get(waiting.pop(), ()):
            if reader not in reached:
                reached.add(reader)
                waiting.append(reader)
    if unreached := [node_id for node_id in scope.nodes if node_id not in reached]:
        scope.report.add(
            Code.UNREACHABLE_NODES,
            START_NODE_ID,
            f"nodes {_some(unreached, ', ')} cannot be reached from the start: they wait for one another only",
        )


def _some(node_ids: list[str], separator: str, most: int = 20) -> str:
    """The ids, or the first of them: a cycle may lead through a whole workflow."""
    shown = node_ids if len(node_ids) <= most else [*node_ids[: most - 1], "…", node_ids[-1]]
    return separator.join(shown)
