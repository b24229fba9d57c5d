"""The graphs of dynamic nodes: from what a task left when it ended to nodes that can run.

A task that asks for more nodes leaves a `DynamicJobSpec`. It is compiled like any workflow, with the outputs that the
task has promised; what comes out is stored beside it, for clients and for the next leader, before the machine hears of
it. Stores that are away are waited for; everything else that goes wrong is an error of the node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import task_pb2
from flyteidl.core import (
    compiler_pb2,
    dynamic_job_pb2,
    identifier_pb2,
    interface_pb2,
    literals_pb2,
    tasks_pb2,
    workflow_pb2,
)
from google.protobuf.message import DecodeError

from libs.blob import BlobStore
from libs.store.records import LaunchPlanRecord
from libs.workflow import compiler, fields, supported
from libs.workflow.backend import Backend
from libs.workflow.errors import AirscrewError, InvalidArgument, NotFound, ResourceExhausted
from libs.workflow.graph import Graph
from libs.workflow.identity import END_NODE_ID, START_NODE_ID, EntityId, ExecutionId
from libs.workflow.machine import Execution
from libs.workflow.machine import messages as m
from services.propeller.assignments import Assignments
from services.propeller.graphs import READ_LIMIT_BYTES, Graphs
from services.propeller.patience import patiently
from services.propeller.store import LeaderStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Order:
    """What there is to be built, and for whom."""

    key: int
    execution: ExecutionId
    command: m.BuildGraph
    task: tasks_pb2.TaskTemplate
    image: str


@dataclass(slots=True)
class _Known:
    """What the nodes refer to and the task did not bring along."""

    tasks: list[compiler_pb2.CompiledTask]
    launch_plans: dict[EntityId, LaunchPlanRecord]
    sub_workflows: Sequence[workflow_pb2.WorkflowTemplate]


class Dynamics:
    """Carries out `BuildGraph` and tells the machine the outcome."""

    def __init__(
        self,
        store: LeaderStore,
        blob: BlobStore,
        graphs: Graphs,
        assignments: Assignments,
        tell: Callable[[int, m.Event], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        backend: Backend,
    ) -> None:
        """`spawn` starts a task that ends with the leadership; what `backend` cannot run is refused."""
        self._backend = backend
        self._store = store
        self._blob = blob
        self._graphs = graphs
        self._assignments = assignments
        self._tell = tell
        self._spawn = spawn

    def carry_out(self, execution: Execution, command: m.BuildGraph) -> None:
        """Starts building."""
        node = execution.node(command.node_id)
        if node is None or node.spec.task is None:
            return
        template = tasks_pb2.TaskTemplate.FromString(node.spec.task.template)
        order = _Order(execution.state.key, execution.state.id, command, template, node.spec.image)
        self._spawn(f"build-graph-{order.key}", self._build(order))

    async def _build(self, order: _Order) -> None:
        command = order.command
        try:
            graph, uri = await self._built(order)
        except AirscrewError as error:
            self._tell(order.key, m.GraphBuilt(command.node_id, command.attempt, None, error=error.message))
        except Exception as error:
            # Users decide what is in there: a case that we have not thought of must not end the leadership.
            logger.exception("execution %s: the nodes of %s cannot be built", order.key, command.node_id)
            text = f"{type(error).__name__}: {error}"
            self._tell(order.key, m.GraphBuilt(command.node_id, command.attempt, None, error=text))
        else:
            self._tell(order.key, m.GraphBuilt(command.node_id, command.attempt, graph, uri))

    async def _built(self, order: _Order) -> tuple[Graph, str]:
        source = order.command.futures_uri
        content = await patiently(lambda: self._blob.read(source, READ_LIMIT_BYTES), f"reading {source}")
        spec = await asyncio.to_thread(_parsed, content, order, self._backend)
        known = await patiently(lambda: self._look_up(spec), f"looking up what {source} refers to")
        closure, serialized = await asyncio.to_thread(_compiled, spec, order, known)
        uri = self._assignments.compiled_uri(order.execution, order.command.node_id, order.command.attempt)
        await patiently(lambda: self._blob.write(uri, serialized), f"writing {uri}", ResourceExhausted)
        return await self._graphs.build(closure, known.launch_plans), uri

    async def _look_up(self, spec: dynamic_job_pb2.DynamicJobSpec) -> _Known:
        """What is not registered is left out: the compiler tells who needs it."""
        closures: list[compiler_pb2.CompiledWorkflowClosure] = []
        asked: set[EntityId] = set()
        while True:
            # In rounds: what the task brings may be part of what it only names, and name others in turn.
            found = compiler.registered(closures)
            needed = await asyncio.to_thread(compiler.dynamic_requirements, spec, found.sub_workflows)
            missing = set(needed.sub_workflows) - asked
            if not missing:
                break
            asked |= missing
            closures += await self._closures(sorted(missing))
        own = found.task_ids
        tasks = await self._tasks([task for task in needed.tasks if task not in own])
        plans = await self._store.launch_plans(needed.launch_plans) if needed.launch_plans else {}
        return _Known([*tasks, *found.tasks], plans, found.sub_workflows)

    async def _tasks(self, ids: Sequence[EntityId]) -> list[compiler_pb2.CompiledTask]:
        found = await self._store.tasks(ids) if ids else {}
        return [task_pb2.TaskClosure.FromString(closure).compiled_task for closure in found.values()]

    async def _closures(self, workflows: Iterable[EntityId]) -> list[compiler_pb2.CompiledWorkflowClosure]:
        closures = []
        for workflow in workflows:
            with suppress(NotFound):
                program = await self._store.program(workflow)
                closures.append(compiler_pb2.CompiledWorkflowClosure.FromString(program))
        return closures


def _parsed(content: bytes, order: _Order, backend: Backend) -> dynamic_job_pb2.DynamicJobSpec:
    try:
        spec = dynamic_job_pb2.DynamicJobSpec.FromString(content)
    except DecodeError as error:
        raise InvalidArgument(f"what the task has left is no specification of nodes: {error}") from None
    # Nobody has registered this: what would be refused there is refused here.
    fields.refuse(spec, backend=backend)
    for task in spec.tasks:
        _inherit(task, order)
        supported.refuse_unbuilt_task(task, backend)
    return spec


def _inherit(task: tasks_pb2.TaskTemplate, order: _Order) -> None:
    """Containers that don't say what they run in run in what their parent ran in."""
    if task.WhichOneof("target") != "container":
        return
    task.container.image = task.container.image or order.image
    if not task.container.config:
        task.container.config.extend(order.task.container.config)


def _compiled(
    spec: dynamic_job_pb2.DynamicJobSpec, order: _Order, known: _Known
) -> tuple[compiler_pb2.CompiledWorkflowClosure, bytes]:
    """The compiled closure, also serialized. Raises CompileErrors."""
    if spec.nodes:
        closure = compiler.compile_dynamic(
            spec,
            _workflow_id(order),
            order.task.interface,
            tasks=known.tasks,
            launch_plans=[_interface(record) for record in known.launch_plans.values()],
            sub_workflows=known.sub_workflows,
        )
    else:
        closure = _without_nodes(spec, order)
    return closure, closure.SerializeToString()


def _without_nodes(spec: dynamic_job_pb2.DynamicJobSpec, order: _Order) -> compiler_pb2.CompiledWorkflowClosure:
    """There was nothing to do: the outputs are what the task says they are."""
    bound = {binding.var for binding in spec.outputs}
    missing = sorted(set(order.task.interface.outputs.variables) - bound)
    if missing or any(_refers(binding.binding) for binding in spec.outputs):
        what = f"does not say what {', '.join(missing)} is" if missing else "refers to nodes that it does not have"
        raise InvalidArgument(f"the task asks for no nodes, and {what}")
    closure = compiler_pb2.CompiledWorkflowClosure()
    template = closure.primary.template
    template.id.CopyFrom(_workflow_id(order))
    template.interface.outputs.CopyFrom(order.task.interface.outputs)
    template.nodes.add(id=START_NODE_ID)
    template.nodes.add(id=END_NODE_ID, inputs=spec.outputs)
    template.outputs.extend(spec.outputs)
    closure.primary.connections.downstream[START_NODE_ID].ids.append(END_NODE_ID)
    closure.primary.connections.upstream[END_NODE_ID].ids.append(START_NODE_ID)
    return closure


def _refers(binding: literals_pb2.BindingData) -> bool:
    """Whether a binding reads the output of a node."""
    match binding.WhichOneof("value"):
        case "promise":
            return True
        case "collection":
            return any(map(_refers, binding.collection.bindings))
        case "map":
            return any(map(_refers, binding.map.bindings.values()))
    return False


def _workflow_id(order: _Order) -> identifier_pb2.Identifier:
    """The same for the same attempt, whoever builds it."""
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.WORKFLOW,
        project=order.execution.project,
        domain=order.execution.domain,
        name=f"dynamic_{order.command.node_id}",
        version=f"{order.execution.name}-{order.command.attempt}",
    )


def _interface(record: LaunchPlanRecord) -> compiler.LaunchPlanInterface:
    return compiler.LaunchPlanInterface(
        id=record.id,
        inputs=interface_pb2.ParameterMap.FromString(record.expected_inputs),
        outputs=interface_pb2.VariableMap.FromString(record.expected_outputs),
    )
