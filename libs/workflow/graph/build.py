"""From a compiled closure to the graph that the machine walks.

Who is asked first about what several may say of a node:

    retries             the node, then its task (0 says nothing; so writes an SDK that knows no better)
    timeout             the node
    pause of retries    the task
    resources           the node, then its task, then the installation's default
    image               the node, then its task
    cached, and how     the node, then its task; `overwrite_cache` of the execution before both
    interruptible       the node, then its task, then the execution, then any workflow around it
    items of an array   what the inner node says, then the array; of retries the larger number

`with_overrides` writes to the node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from flyteidl.core import compiler_pb2, identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2, workflow_pb2

from libs.workflow import binding, options
from libs.workflow.compiler.prepare import promises_in
from libs.workflow.compiler.requirements import cases_of, with_inner
from libs.workflow.errors import Internal
from libs.workflow.graph.model import (
    DEFAULT_SLOTS,
    ArrayTarget,
    BranchTarget,
    CachePolicy,
    Case,
    GateTarget,
    Graph,
    GraphNode,
    LaunchPlanTarget,
    Reads,
    Shape,
    TaskTarget,
)
from libs.workflow.identity import END_NODE_ID, START_NODE_ID, EntityId
from libs.workflow.phases import NodeKind
from libs.workflow.quantities import Slots, requested
from libs.workflow.retry import RetryPolicy
from libs.workflow.supported import ECHO

_Index = Mapping[str, int]
"""Where the nodes of a workflow stand, by id."""

_Declared: TypeAlias = interface_pb2.VariableMap | interface_pb2.ParameterMap

_NO_SLOTS = Slots()


def build(
    closure: compiler_pb2.CompiledWorkflowClosure,
    default_slots: Slots = DEFAULT_SLOTS,
    launch_plans: Mapping[EntityId, LaunchPlanTarget] | None = None,
) -> Graph:
    """The graph of a compiled closure, sub-workflows included.

    `launch_plans` are those that its nodes launch (`compiler.requirements` tells which). Raises Internal when the
    closure is not what our compiler makes.
    """
    return _Builder(closure, default_slots, launch_plans or {}).workflow(closure.primary)


def entity_id(identifier: identifier_pb2.Identifier) -> EntityId:
    return EntityId(identifier.project, identifier.domain, identifier.name, identifier.version)


class _Builder:
    def __init__(
        self,
        closure: compiler_pb2.CompiledWorkflowClosure,
        default_slots: Slots,
        launch_plans: Mapping[EntityId, LaunchPlanTarget],
    ) -> None:
        self._tasks = {entity_id(task.template.id): task.template for task in closure.tasks}
        self._workflows = {entity_id(workflow.template.id): workflow for workflow in closure.sub_workflows}
        self._launch_plans = launch_plans
        self._targets: dict[EntityId, TaskTarget] = {}
        self._graphs: dict[EntityId, Graph] = {}
        self._known_reads: dict[Reads, Reads] = {}
        self._default_slots = default_slots

    def workflow(self, compiled: compiler_pb2.CompiledWorkflow) -> Graph:
        template = compiled.template
        index = {node.id: position for position, node in enumerate(template.nodes)}
        upstream = _edges(template, index, compiled.connections.upstream)
        downstream = _inverted(upstream)
        nodes = [
            replace(self._node(position, node, index), upstream=upstream[position], downstream=downstream[position])
            for position, node in enumerate(template.nodes)
        ]
        start, end, failure = index[START_NODE_ID], index[END_NODE_ID], -1
        nodes[end] = replace(nodes[end], integers=_integers(template.nodes[end].inputs, template.interface.outputs))
        if template.HasField("failure_node"):
            failure = index[template.failure_node.id] = len(nodes)
            nodes.append(self._node(failure, template.failure_node, index))
        return Graph(
            nodes=tuple(nodes),
            index=index,
            start=start,
            end=end,
            fail_immediately=template.metadata.on_failure == workflow_pb2.WorkflowMetadata.FAIL_IMMEDIATELY,
            failure=failure,
            interruptible=template.metadata_defaults.interruptible,
        )

    def _whole(self, bindings: Iterable[literals_pb2.Binding], index: _Index) -> Reads | None:
        found = []
        for each in bindings:
            read = binding.passed_on(each.binding)
            if read is None:
                return None
            found.append((each.var, index[read[0]], read[1]))
        reads = tuple(found)
        return self._known_reads.setdefault(reads, reads)

    def _node(self, position: int, node: workflow_pb2.Node, index: _Index) -> GraphNode:
        """`index` is that of the graph whose outputs the node reads."""
        whole = self._whole(node.inputs, index)
        plain = GraphNode(
            index=position,
            id=node.id,
            kind=NodeKind.TASK,
            bindings=tuple(node.inputs),
            sources=_sources(node.inputs, index),
            whole=whole,
            relays=_relayed(whole),
            aliases={alias.alias: alias.var for alias in node.output_aliases},
            integers=_integers(node.inputs, self._inputs_of(node)),
            name=node.metadata.name,
            time_allowed_us=node.metadata.timeout.ToMicroseconds(),
            interruptible=node.metadata.interruptible if _says(node, "interruptible_value") else None,
        )
        if node.id == START_NODE_ID:
            return replace(plain, kind=NodeKind.START)
        if node.id == END_NODE_ID:
            return replace(plain, kind=NodeKind.END)
        match node.WhichOneof("target"):
            case "task_node":
                return self._task_node(plain, node)
            case "workflow_node":
                return self._workflow_node(plain, node.workflow_node)
            case "branch_node":
                return self._branch_node(plain, node, index)
            case "gate_node":
                return replace(plain, kind=NodeKind.GATE, gate=_gate(node.gate_node))
            case "array_node":
                return self._array_node(plain, node, index)
            case target:
                raise Internal(f"node {node.id}: there is no kind of node called {target}")

    def _task_node(self, plain: GraphNode, node: workflow_pb2.Node) -> GraphNode:
        task = entity_id(node.task_node.reference_id)
        target = self._target(task)
        overrides = node.task_node.overrides
        retries = node.metadata.retries.retries if node.metadata.HasField("retries") else 0
        slots = requested(overrides.resources, target.slots, f"node {node.id} resources")
        return replace(
            plain,
            task=target,
            retry=RetryPolicy(max_attempts=(retries or target.retries) + 1, backoff_us=target.backoff_us),
            # An eager task only waits, an echo task is answered without a process.
            slots=_NO_SLOTS if target.eager or self._tasks[task].type == ECHO else slots,
            image=overrides.container_image or target.image,
            overrides=overrides.SerializeToString(deterministic=True),
            interruptible=_interruptible(node, self._tasks[task]),
            cache=_cache_policy(self._tasks[task], node),
        )

    def _workflow_node(self, plain: GraphNode, node: workflow_pb2.WorkflowNode) -> GraphNode:
        if node.WhichOneof("reference") == "sub_workflow_ref":
            graph = self._sub_workflow(entity_id(node.sub_workflow_ref))
            return replace(plain, kind=NodeKind.SUBWORKFLOW, graph=graph)
        plan = entity_id(node.launchplan_ref)
        if plan not in self._launch_plans:
            raise Internal(f"node {plain.id}: launch plan {plan} is not at hand")
        return replace(plain, kind=NodeKind.LAUNCH_PLAN, launch_plan=self._launch_plans[plan])

    def _branch_node(self, plain: GraphNode, node: workflow_pb2.Node, index: _Index) -> GraphNode:
        if_else = node.branch_node.if_else
        conditions = [block.condition for block in (if_else.case, *if_else.other)]
        nodes = tuple(self._node(position, case, index) for position, case in enumerate(cases_of(node)))
        cases = [Case(condition, position) for position, condition in enumerate(conditions)]
        if if_else.WhichOneof("default") == "else_node":
            cases.append(Case(None, len(nodes) - 1))
        graph = Graph(
            nodes=nodes,
            index={case.id: case.index for case in nodes},
            start=-1,
            end=-1,
            fail_immediately=True,
            shape=Shape.CASES,
        )
        error = if_else.error.message if if_else.WhichOneof("default") == "error" else None
        return replace(plain, kind=NodeKind.BRANCH, graph=graph, branch=BranchTarget(tuple(cases), error))

    def _array_node(self, plain: GraphNode, node: workflow_pb2.Node, index: _Index) -> GraphNode:
        array = node.array_node
        item = self._node(-1, array.node, index)
        # What the array node itself says of its items counts where the inner node says nothing.
        if item.cache is None and array.node.WhichOneof("target") == "task_node":
            item = replace(item, cache=_cache_policy(self._tasks[entity_id(array.node.task_node.reference_id)], node))
        attempts = max(item.retry.max_attempts, node.metadata.retries.retries + 1)
        item = replace(
            item,
            bindings=(),
            sources=(),
            aliases={},
            retry=replace(item.retry, max_attempts=attempts),
            time_allowed_us=item.time_allowed_us or plain.time_allowed_us,
            interruptible=plain.interruptible if item.interruptible is None else item.interruptible,
        )
        target = ArrayTarget(
            item=item,
            sliced=item.kind is not NodeKind.TASK or array.is_original_sub_node_interface.value,
            bound=frozenset(array.bound_inputs),
            outputs=self._outputs_of(array.node),
            parallelism=array.parallelism,
            min_successes=array.min_successes if array.WhichOneof("success_criteria") == "min_successes" else None,
            min_success_ratio=(
                array.min_success_ratio if array.WhichOneof("success_criteria") == "min_success_ratio" else None
            ),
            run_all=array.run_all_sub_nodes,
        )
        # The time allowed is each item's own.
        return replace(plain, kind=NodeKind.ARRAY, array=target, time_allowed_us=0)

    def _inputs_of(self, node: workflow_pb2.Node) -> _Declared | None:
        """What is declared of the inputs of a node that runs something registered; of an array, of its items."""
        if node.WhichOneof("target") == "array_node":
            return self._inputs_of(node.array_node.node)
        if node.WhichOneof("target") == "task_node":
            task = self._tasks.get(entity_id(node.task_node.reference_id))
            return task.interface.inputs if task is not None else None
        if node.workflow_node.WhichOneof("reference") == "sub_workflow_ref":
            workflow = self._workflows.get(entity_id(node.workflow_node.sub_workflow_ref))
            return workflow.template.interface.inputs if workflow is not None else None
        plan = self._launch_plans.get(entity_id(node.workflow_node.launchplan_ref))
        return plan.expected_inputs if plan is not None else None

    def _outputs_of(self, node: workflow_pb2.Node) -> tuple[str, ...]:
        if node.WhichOneof("target") == "task_node":
            return tuple(sorted(self._tasks[entity_id(node.task_node.reference_id)].interface.outputs.variables))
        if node.workflow_node.WhichOneof("reference") == "sub_workflow_ref":
            workflow = self._workflows[entity_id(node.workflow_node.sub_workflow_ref)]
            return tuple(sorted(workflow.template.interface.outputs.variables))
        return self._launch_plans[entity_id(node.workflow_node.launchplan_ref)].outputs

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
        backoff_us=options.retry_backoff_us(template.config, f"task {task.name} config"),
        eager=template.metadata.is_eager,
    )


def _cache_policy(template: tasks_pb2.TaskTemplate, node: workflow_pb2.Node) -> CachePolicy | None:
    """What the task says about caching, unless its node says otherwise."""
    task, own = template.metadata, node.metadata
    if not (own.cacheable if _says(node, "cacheable_value") else task.discoverable):
        return None
    serialize = own.cache_serializable if _says(node, "cache_serializable_value") else task.cache_serializable
    return CachePolicy(
        version=own.cache_version if _says(node, "cache_version_value") else task.discovery_version,
        interface=template.interface.SerializeToString(deterministic=True),
        ignored=frozenset(task.cache_ignore_input_vars),
        serialize=serialize,
    )


def _interruptible(node: workflow_pb2.Node, template: tasks_pb2.TaskTemplate) -> bool | None:
    """What the node says, else what the task says, if it says anything."""
    for metadata in (node.metadata, template.metadata):
        if metadata.WhichOneof("interruptible_value") is not None:
            return bool(metadata.interruptible)
    return None


def _says(node: workflow_pb2.Node, choice: str) -> bool:
    return node.metadata.WhichOneof(choice) is not None


def _gate(node: workflow_pb2.GateNode) -> GateTarget:
    match node.WhichOneof("condition"):
        case "approve":
            return GateTarget(node.approve.signal_id, types_pb2.LiteralType(simple=types_pb2.BOOLEAN))
        case "signal":
            return GateTarget(node.signal.signal_id, node.signal.type, node.signal.output_variable_name)
        case _:
            return GateTarget(sleep_us=node.sleep.duration.ToMicroseconds())


def _edges(
    template: workflow_pb2.WorkflowTemplate,
    index: _Index,
    upstream: Mapping[str, compiler_pb2.ConnectionSet.IdList],
) -> list[tuple[int, ...]]:
    """Per node the nodes that it waits for. A branch waits for what its cases read, too."""
    edges: list[tuple[int, ...]] = [()] * len(index)
    for position, node in enumerate(template.nodes):
        sources: set[int] = set()
        for each in with_inner(node) if node.WhichOneof("target") == "branch_node" else (node,):
            if each.id in upstream:
                sources.update(index[other] for other in upstream[each.id].ids)
        sources.discard(position)
        edges[position] = tuple(sorted(sources))
    return edges


def _inverted(upstream: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    downstream: list[list[int]] = [[] for _ in upstream]
    for position, sources in enumerate(upstream):
        for source in sources:
            downstream[source].append(position)
    return [tuple(targets) for targets in downstream]


def _integers(bindings: Iterable[literals_pb2.Binding], declared: _Declared | None) -> frozenset[str]:
    """Of the variables that are read by attribute paths, those in which all numbers are integers."""
    names = [binding.var for binding in bindings if any(promise.attr_path for promise in promises_in(binding.binding))]
    return frozenset(name for name in names if _is_of_integers(_type_of(name, declared)))


def _type_of(name: str, declared: _Declared | None) -> types_pb2.LiteralType:
    if isinstance(declared, interface_pb2.VariableMap) and name in declared.variables:
        return declared.variables[name].type
    if isinstance(declared, interface_pb2.ParameterMap) and name in declared.parameters:
        return declared.parameters[name].var.type
    return types_pb2.LiteralType()


def _is_of_integers(declared: types_pb2.LiteralType) -> bool:
    match declared.WhichOneof("type"):
        case "collection_type":
            return _is_of_integers(declared.collection_type)
        case "map_value_type":
            return _is_of_integers(declared.map_value_type)
        case "union_type":  # None beside it, usually
            simple = {variant.simple for variant in declared.union_type.variants}
            return types_pb2.INTEGER in simple and types_pb2.FLOAT not in simple
        case "simple":
            return bool(declared.simple == types_pb2.INTEGER)
    return False


def _relayed(whole: Reads | None) -> int:
    """The node that all is read from, by the same names; -1 if there is none."""
    sources = {source if name == var else -1 for name, source, var in whole or ()}
    return sources.pop() if len(sources) == 1 else -1


def _sources(bindings: Iterable[literals_pb2.Binding], index: _Index) -> tuple[int, ...]:
    found = {
        index[promise.node_id or START_NODE_ID] for binding in bindings for promise in promises_in(binding.binding)
    }
    return tuple(sorted(found))
