"""Rows into Flyte's messages, as flytekit needs them; the only place that does.

Where our phases are finer than what flytekit's client can read, they are shown as it expects: a retried or lost attempt
is FAILED, a rejected placement ABORTED, a recovered node SUCCEEDED. While an abort is wanted and not done, an execution
is ABORTING. Our own API (`airscrew.v1`) has the exact phases beside these messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    signal_pb2,
    task_execution_pb2,
    task_pb2,
    workflow_pb2,
)
from flyteidl.core import catalog_pb2, identifier_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from google.protobuf import duration_pb2, timestamp_pb2

from libs.store.executions import AttemptRecord
from libs.store.records import (
    ExecutionRecord,
    LaunchPlanRecord,
    NamedId,
    ProjectRecord,
    SignalRecord,
    TaskRecord,
    WorkflowRecord,
)
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, CacheStatus, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import NodeState
from services.admin import flyte_urls as urls
from services.admin.data import outputs_of
from services.admin.related import NOTHING, Related

_MICROS = 1_000_000

_ATTEMPT_PHASES: Mapping[AttemptPhase, AttemptPhase] = {
    AttemptPhase.RETRYABLE_FAILED: AttemptPhase.FAILED,
    AttemptPhase.LOST: AttemptPhase.FAILED,
    AttemptPhase.REJECTED: AttemptPhase.ABORTED,
    AttemptPhase.HANDED_BACK: AttemptPhase.ABORTED,
}
"""Phases that flytekit's client has no name for. All others are Flyte's own numbers."""

_DATASET_PREFIX = "flyte_task-"
_TAG_PREFIX = "flyte_cached-"
"""How Flyte's catalogue names what a task has computed, and one value of it."""


def timestamp(at_us: int | None) -> timestamp_pb2.Timestamp | None:
    """A point in time; nothing stays nothing."""
    if at_us is None:
        return None
    return timestamp_pb2.Timestamp(seconds=at_us // _MICROS, nanos=at_us % _MICROS * 1000)


def elapsed(started_at_us: int | None, ended_at_us: int | None) -> duration_pb2.Duration | None:
    """The time between the two; nothing while one of them is missing."""
    if started_at_us is None or ended_at_us is None:
        return None
    length_us = max(0, ended_at_us - started_at_us)
    return duration_pb2.Duration(seconds=length_us // _MICROS, nanos=length_us % _MICROS * 1000)


def entity_id(id: EntityId, kind: int) -> identifier_pb2.Identifier:
    """The id of a task, workflow or launch plan."""
    return identifier_pb2.Identifier(
        resource_type=kind,
        project=id.project,
        domain=id.domain,
        name=id.name,
        version=id.version,
    )


def execution_id(id: ExecutionId) -> identifier_pb2.WorkflowExecutionIdentifier:
    """The id of an execution."""
    return identifier_pb2.WorkflowExecutionIdentifier(project=id.project, domain=id.domain, name=id.name)


def node_id(execution: ExecutionId, node: str) -> identifier_pb2.NodeExecutionIdentifier:
    """The id of a node execution."""
    return identifier_pb2.NodeExecutionIdentifier(node_id=node, execution_id=execution_id(execution))


def named_id(id: NamedId) -> common_pb2.NamedEntityIdentifier:
    """A name without its versions."""
    return common_pb2.NamedEntityIdentifier(project=id.project, domain=id.domain, name=id.name)


def project(record: ProjectRecord, domains: tuple[str, ...]) -> project_pb2.Project:
    """A project, which has all the domains of the installation."""
    return project_pb2.Project(
        id=record.id,
        name=record.name,
        description=record.description,
        domains=[domain(name) for name in domains],
    )


def domain(name: str) -> project_pb2.Domain:
    """A domain, called by its id."""
    return project_pb2.Domain(id=name, name=name)


def task(record: TaskRecord) -> task_pb2.Task:
    """A registered task with its whole template."""
    return task_pb2.Task(
        id=entity_id(record.id, identifier_pb2.TASK),
        closure=task_pb2.TaskClosure.FromString(record.closure),
    )


def workflow(record: WorkflowRecord) -> workflow_pb2.Workflow:
    """A registered workflow with its compiled closure."""
    shown = workflow_row(record)
    shown.closure.compiled_workflow.ParseFromString(record.closure)
    return shown


def workflow_row(record: WorkflowRecord) -> workflow_pb2.Workflow:
    """A registered workflow as lists have it: a closure may be large, and a client that wants one asks for it."""
    return workflow_pb2.Workflow(
        id=entity_id(record.id, identifier_pb2.WORKFLOW),
        closure=workflow_pb2.WorkflowClosure(created_at=timestamp(record.created_at_us)),
    )


def launch_plan(record: LaunchPlanRecord) -> launch_plan_pb2.LaunchPlan:
    """A registered launch plan with what it expects and gives."""
    shown = launch_plan_pb2.LaunchPlan(
        id=entity_id(record.id, identifier_pb2.LAUNCH_PLAN),
        closure=launch_plan_pb2.LaunchPlanClosure(
            state=record.state,
            created_at=timestamp(record.created_at_us),
            updated_at=timestamp(record.updated_at_us),
        ),
    )
    shown.spec.ParseFromString(record.spec)
    shown.closure.expected_inputs.ParseFromString(record.expected_inputs)
    shown.closure.expected_outputs.ParseFromString(record.expected_outputs)
    return shown


def execution(record: ExecutionRecord) -> execution_pb2.Execution:
    """An execution: what was asked for and how far it has come."""
    shown = execution_pb2.Execution()
    _fill(shown, record)
    return shown


def execution_with_outputs(record: ExecutionRecord) -> execution_pb2.Execution:
    """An execution for those who are told of its end: its outputs are there too, if they are in its row."""
    shown = execution_pb2.Execution()
    fill_with_outputs(shown, record)
    return shown


def fill_with_outputs(shown: execution_pb2.Execution, record: ExecutionRecord) -> None:
    """The same, into a message that is empty."""
    _fill(shown, record)
    outputs = record.execution.outputs
    if record.shown_phase is ExecutionPhase.SUCCEEDED and outputs is not None and outputs.inline is not None:
        shown.closure.outputs.values.ParseFromString(outputs.inline)
        shown.closure.outputs.values.SetInParent()


def _fill(shown: execution_pb2.Execution, record: ExecutionRecord) -> None:
    """Field by field, which takes half the time of building each message by itself: every end is told so."""
    state = record.execution
    id, closure = shown.id, shown.closure
    id.project, id.domain, id.name = state.id
    shown.spec.ParseFromString(state.spec)
    shown.spec.SetInParent()
    phase = record.shown_phase
    closure.phase = int(phase)
    workflow = closure.workflow_id
    workflow.resource_type = identifier_pb2.WORKFLOW
    workflow.project, workflow.domain, workflow.name, workflow.version = state.workflow
    _set(closure.created_at, state.created_at_us)
    if state.started_at_us is not None:
        _set(closure.started_at, state.started_at_us)
        if state.ended_at_us is not None:
            _set(closure.duration, max(0, state.ended_at_us - state.started_at_us))
    _set(closure.updated_at, max(state.updated_at_us, state.created_at_us))
    details = closure.state_change_details
    details.state, details.principal = record.state, state.principal
    _set(details.occurred_at, state.created_at_us)
    _execution_result(closure, record, phase)


def _set(time: timestamp_pb2.Timestamp | duration_pb2.Duration, us: int) -> None:
    time.seconds, time.nanos = us // _MICROS, us % _MICROS * 1000
    time.SetInParent()


def _execution_result(
    closure: execution_pb2.ExecutionClosure,
    record: ExecutionRecord,
    phase: ExecutionPhase,
) -> None:
    """Fills the one of error, outputs and abort that belongs to the phase."""
    state = record.execution
    if phase in (ExecutionPhase.ABORTING, ExecutionPhase.ABORTED):
        closure.abort_metadata.cause = state.intent.abort_cause
        closure.abort_metadata.principal = state.intent.abort_principal
    elif state.error is not None:
        closure.error.ParseFromString(state.error)
    elif state.outputs is not None and state.outputs.uri is not None:
        closure.outputs.uri = state.outputs.uri


def node(owner: ExecutionId, state: NodeState, related: Related = NOTHING) -> node_execution_pb2.NodeExecution:
    """A node execution."""
    shown_phase = NodePhase.SUCCEEDED if state.phase is NodePhase.RECOVERED else state.phase
    dynamic = state.kind is NodeKind.TASK and state.closure_uri is not None
    shown = node_execution_pb2.NodeExecution(
        id=node_id(owner, state.id),
        input_uri=(state.inputs.uri or "") if state.inputs else "",
        metadata=node_execution_pb2.NodeExecutionMetaData(
            spec_node_id=state.spec_id,
            # Of a dynamic node only when its nodes can be shown: before, flytekit's client does not know what it is.
            is_parent_node=state.kind is NodeKind.SUBWORKFLOW or dynamic,
            is_dynamic=dynamic,
            is_array=state.kind is NodeKind.ARRAY,
            retry_group=_retry_group(state),
        ),
        closure=node_execution_pb2.NodeExecutionClosure(
            phase=int(shown_phase),
            created_at=timestamp(state.created_at_us),
            started_at=timestamp(state.started_at_us),
            updated_at=timestamp(state.updated_at_us),
            duration=elapsed(state.started_at_us, state.ended_at_us),
            deck_uri=state.deck_uri or "",
            dynamic_job_spec_uri=state.futures_uri or "",
        ),
    )
    child = related.children.get(state.child_key) if state.child_key is not None else None
    if child is not None:
        shown.closure.workflow_node_metadata.executionId.CopyFrom(execution_id(child))
    elif state.cache_status is not CacheStatus.DISABLED:
        shown.closure.task_node_metadata.CopyFrom(_cache_metadata(state, related))
    if state.error is not None and shown_phase is not NodePhase.SUCCEEDED:
        shown.closure.error.ParseFromString(state.error)
    elif state.outputs is not None and state.outputs.uri is not None:
        shown.closure.output_uri = state.outputs.uri
    return shown


def _cache_metadata(state: NodeState, related: Related) -> node_execution_pb2.TaskNodeMetadata:
    """How a node met the cache, and where what it found comes from."""
    metadata = node_execution_pb2.TaskNodeMetadata(cache_status=int(state.cache_status))
    if state.task is None or state.cache_key is None:
        return metadata
    dataset = state.task._replace(name=_DATASET_PREFIX + state.task.name)
    tag = _TAG_PREFIX + state.cache_key.hex()
    metadata.catalog_key.dataset_id.CopyFrom(entity_id(dataset, identifier_pb2.DATASET))
    metadata.catalog_key.artifact_tag.CopyFrom(catalog_pb2.CatalogArtifactTag(artifact_id=tag, name=tag))
    source = related.sources.get(state.cache_key)
    if source is not None:
        metadata.catalog_key.source_task_execution.CopyFrom(
            identifier_pb2.TaskExecutionIdentifier(
                task_id=entity_id(state.task, identifier_pb2.TASK),
                node_execution_id=node_id(source.execution, source.node_id),
                retry_attempt=source.attempt,
            )
        )
    return metadata


def signal(record: SignalRecord) -> signal_pb2.Signal:
    """A signal, with its value once it is given."""
    shown = signal_pb2.Signal(
        id=identifier_pb2.SignalIdentifier(signal_id=record.id, execution_id=execution_id(record.execution))
    )
    shown.type.ParseFromString(record.type)
    if record.value is not None:
        shown.value.ParseFromString(record.value)
    return shown


def _retry_group(state: NodeState) -> str:
    """Which attempt of the parent this node belongs to, as its id says; nothing at the top level."""
    if not state.parent_id:
        return ""
    return state.id.removeprefix(f"{state.parent_id}-").partition("-")[0]


def attempt_id(owner: ExecutionId, node: NodeState, attempt: int) -> identifier_pb2.TaskExecutionIdentifier:
    """The id of a task execution."""
    return identifier_pb2.TaskExecutionIdentifier(
        task_id=entity_id(node.task, identifier_pb2.TASK) if node.task else None,
        node_execution_id=node_id(owner, node.id),
        retry_attempt=attempt,
    )


def attempt_phase(phase: AttemptPhase) -> AttemptPhase:
    """The phase that flytekit's client is shown."""
    return _ATTEMPT_PHASES.get(phase, phase)


def attempt(
    owner: ExecutionId, record: AttemptRecord, address: Callable[[str], str]
) -> task_execution_pb2.TaskExecution:
    """One attempt of a task node, which Flyte calls a task execution. `address` signs a file for reading."""
    state, parent = record
    shown = task_execution_pb2.TaskExecution(
        id=attempt_id(owner, parent, state.attempt),
        input_uri=(parent.inputs.uri or "") if parent.inputs else "",
        closure=task_execution_pb2.TaskExecutionClosure(
            phase=int(attempt_phase(state.phase)),
            created_at=timestamp(state.created_at_us),
            started_at=timestamp(state.started_at_us),
            updated_at=timestamp(state.updated_at_us),
            duration=elapsed(state.started_at_us, state.ended_at_us),
            reason=state.reason,
        ),
    )
    if state.log_uri:
        shown.closure.logs.append(core_execution_pb2.TaskLog(name="Output of the task", uri=address(state.log_uri)))
    if state.error is not None:
        shown.closure.error.ParseFromString(state.error)
    elif (outputs := outputs_of(record)) is not None and outputs.uri is not None:
        shown.closure.output_uri = outputs.uri
    return shown


def flyte_urls(owner: ExecutionId, node: NodeState, attempt: int | None = None) -> common_pb2.FlyteURLs:
    """Short names of what a node, or one attempt of it, has read and written."""
    return common_pb2.FlyteURLs(
        inputs=urls.of_node(owner, node.id, urls.Kind.INPUTS, attempt),
        outputs=urls.of_node(owner, node.id, urls.Kind.OUTPUTS, attempt),
        deck=urls.of_node(owner, node.id, urls.Kind.DECK, attempt) if node.deck_uri else "",
    )
