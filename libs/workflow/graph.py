"""The runtime form of a compiled workflow: nodes as integers, edges both ways, what each node needs to run.

Built once per workflow version and shared by all its executions, so it is immutable. Whatever is decided per node and
never changes is decided here (retry budget, time allowed, resources), not in every turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2, tasks_pb2, workflow_pb2

from libs.workflow.errors import Internal, Unimplemented
from libs.workflow.identity import END_NODE_ID, START_NODE_ID, EntityId
from libs.workflow.phases import NodeKind
from libs.workflow.quantities import Slots, requested
from libs.workflow.retry import RetryPolicy

DEFAULT_SLOTS = Slots(cpu_millis=1000, memory_bytes=512 * 2**20)
"""What a task takes that asks for nothing: one core, half a GiB. (Flyte's own default is one core and 1 GiB.)"""


@dataclass(frozen=True, slots=True)
class TaskTarget:
    """A registered task as its nodes run it: everything that the executor needs and that all attempts share."""

    id: EntityId
    template: bytes
    digest: bytes
    image: str
    has_outputs: bool
    slots: Slots
    retries: int


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node of a graph. `upstream` and `downstream` are indices into `Graph.nodes`."""

    index: int
    id: str
    kind: NodeKind
    bindings: tuple[literals_pb2.Binding, ...] = ()
    upstream: tuple[int, ...] = ()
    downstream: tuple[int, ...] = ()
    sources: tuple[int, ...] = ()
    """The nodes whose outputs the bindings read: a subset of `upstream`."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of this node's outputs: alias to variable."""
    task: TaskTarget | None = None
    graph: Graph | None = None
    retry: RetryPolicy = RetryPolicy()
    time_allowed_us: int = 0
    """For one attempt, from its start; 0 is unlimited."""
    slots: Slots = DEFAULT_SLOTS
    image: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A workflow's or sub-workflow's nodes; `start` and `end` are indices."""

    nodes: tuple[GraphNode, ...]
    index: Mapping[str, int]
    start: int
    end: int
    fail_immediately: bool
    """False: nodes that do not depend on the failed one still run (FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)."""


def build(closure: compiler_pb2.CompiledWorkflowClosure, default_slots: Slots = DEFAULT_SLOTS) -> Graph:
    """The graph of a compiled closure, sub-workflows included. Raises Unimplemented for node kinds that can't run."""
    return _Builder(closure, default_slots).workflow(closure.primary)


def entity_id(identifier: identifier_pb2.Identifier) -> EntityId:
    return EntityId(identifier.project, identifier.domain, identifier.name, identifier.version)


class _Builder:
    def __init__(self, closure: compiler_pb2.CompiledWorkflowClosure, default_slots: Slots) -> None:
        self._tasks = {entity_id(task.template.id): task.template for task in closure.tasks}
        self._workflows = {entity_id(workflow.template.id): workflow for workflow in closure.sub_workflows}
        self._targets: dict[EntityId, TaskTarget] = {}
        self._graphs: dict[EntityId, Graph] = {}
        self._default_slots = default_slots

    def workflow(self, compiled: compiler_pb2.CompiledWorkflow) -> Graph:
        template = compiled.template
        index = {node.id: position for position, node in enumerate(template.nodes)}
        upstream = _edges(index, compiled.connections.upstream)
        downstream = _inverted(upstream)
        nodes = tuple(
            replace(self._node(position, node, index), upstream=upstream[position], downstream=downstream[position])
            for position, node in enumerate(template.nodes)
        )
        return Graph(
            nodes=nodes,
            index=index,
            start=index[START_NODE_ID],
            end=index[END_NODE_ID],
            fail_immediately=template.metadata.on_failure == workflow_pb2.WorkflowMetadata.FAIL_IMMEDIATELY,
        )

    def _node(self, position: int, node: workflow_pb2.Node, index: Mapping[str, int]) -> GraphNode:
        plain = GraphNode(
            index=position,
            id=node.id,
            kind=NodeKind.TASK,
            bindings=tuple(node.inputs),
            sources=_sources(node.inputs, index),
            aliases={alias.alias: alias.var for alias in node.output_aliases},
        )
        if node.id == START_NODE_ID:
            return replace(plain, kind=NodeKind.START)
        if node.id == END_NODE_ID:
            return replace(plain, kind=NodeKind.END)
        target = node.WhichOneof("target")
        if target == "task_node":
            return self._task_node(plain, node)
        if target == "workflow_node" and node.workflow_node.WhichOneof("reference") == "sub_workflow_ref":
            graph = self._sub_workflow(entity_id(node.workflow_node.sub_workflow_ref))
            return replace(plain, kind=NodeKind.SUBWORKFLOW, graph=graph)
        raise Unimplemented(f"node {node.id}: this engine cannot run a {target} yet")

    def _task_node(self, plain: GraphNode, node: workflow_pb2.Node) -> GraphNode:
        target = self._target(entity_id(node.task_node.reference_id))
        overrides = node.task_node.overrides
        retries = node.metadata.retries.retries if node.metadata.HasField("retries") else 0
        return replace(
            plain,
            task=target,
            retry=RetryPolicy(max_attempts=(retries or target.retries) + 1),
            time_allowed_us=node.metadata.timeout.ToMicroseconds(),
            slots=requested(overrides.resources, target.slots, f"node {node.id} resources"),
            image=overrides.container_image or target.image,
        )

    def _target(self, task: EntityId) -> TaskTarget:
        if task not in self._targets:
            if task not in self._tasks:
                raise Internal(f"the compiled workflow lacks the task {task}")
            self._targets[task] = _task_target(task, self._tasks[task], self._default_slots)
        return self._targets[task]

    def _sub_workflow(self, workflow: EntityId) -> Graph:
        if workflow not in self._graphs:
            if workflow not in self._workflows:
                raise Internal(f"the compiled workflow lacks the sub-workflow {workflow}")
            self._graphs[workflow] = self.workflow(self._workflows[workflow])
        return self._graphs[workflow]


def _task_target(task: EntityId, template: tasks_pb2.TaskTemplate, default_slots: Slots) -> TaskTarget:
    serialized = template.SerializeToString(deterministic=True)
    return TaskTarget(
        id=task,
        template=serialized,
        digest=hashlib.sha256(serialized).digest(),
        image=template.container.image,
        has_outputs=bool(template.interface.outputs.variables),
        slots=requested(template.container.resources, default_slots, f"task {task.name} resources"),
        retries=template.metadata.retries.retries,
    )


def _edges(
    index: Mapping[str, int], upstream: Mapping[str, compiler_pb2.ConnectionSet.IdList]
) -> list[tuple[int, ...]]:
    edges: list[tuple[int, ...]] = [()] * len(index)
    for node_id, ids in upstream.items():
        edges[index[node_id]] = tuple(sorted({index[other] for other in ids.ids}))
    return edges


def _inverted(upstream: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    downstream: list[list[int]] = [[] for _ in upstream]
    for position, sources in enumerate(upstream):
        for source in sources:
            downstream[source].append(position)
    return [tuple(targets) for targets in downstream]


def _sources(bindings: Iterable[literals_pb2.Binding], index: Mapping[str, int]) -> tuple[int, ...]:
    found: set[int] = set()
    pending = [binding.binding for binding in bindings]
    while pending:
        binding = pending.pop()
        kind = binding.WhichOneof("value")
        if kind == "promise":
            found.add(index[binding.promise.node_id or START_NODE_ID])
        elif kind == "collection":
            pending.extend(binding.collection.bindings)
        elif kind == "map":
            pending.extend(binding.map.bindings.values())
    return tuple(sorted(found))
