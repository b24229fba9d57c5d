"""Submission: from a client's request to an execution that is durable, and to a key in the queue.

The order is the promise (P1): everything is checked; large inputs are written to the blob store; the row is written,
with all that is wanted of the execution; only then come the reply and the key. Losing the queue costs nothing but time:
the leader's sweep finds the row. The same name twice is `AlreadyExists`, so that a client may repeat what it is not
sure of.

An execution that another one's task launches has it as its parent: it is aborted with it, and cannot be launched any
more when the parent has ended or is about to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flyteidl.admin import execution_pb2

from libs.blob import BlobStore, layout
from libs.clients.queue import Key, Reason
from libs.runtime.clock import Clock
from libs.store.executions import Executions
from libs.store.records import ExecutionRecord
from libs.telemetry import logs
from libs.telemetry.traces import TraceContext
from libs.workflow import identity, launch
from libs.workflow.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Refused,
    ResourceExhausted,
)
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import Data, ExecutionState, Intent
from services.admin import encode, identifiers, tags
from services.admin.projects import Projects
from services.admin.spans import Spans
from services.admin.targets import Target, Targets

logger = logging.getLogger(__name__)

_MINTINGS = 3
"""How often a key is minted before the database's refusal is taken to mean something else than a key in use."""

_LARGE_BYTES = 1024 * 1024
"""Inputs of this size are checked in a thread: the checks take as long as thousands of other requests."""

PARENT_LABEL = "eager-exec"
"""Label of executions that a task of flytekit's `@eager` kind launches: the name of the execution that it runs in."""

_Mode = execution_pb2.ExecutionMetadata


class Queue(Protocol):
    """Where keys of executions that want attention go. Never blocks, never fails."""

    def enqueue(self, *keys: Key) -> None:
        """Sends keys some time soon."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a submission is measured against."""

    shards: int
    inline_bytes: int
    inputs_bytes: int


@dataclass(frozen=True, slots=True)
class _Submission:
    """All of an execution that does not depend on its key."""

    id: ExecutionId
    target: Target
    spec: execution_pb2.ExecutionSpec
    inputs: bytes
    traceparent: str
    """Of the caller."""
    started_us: int
    parent_key: int | None = None
    recovers_key: int | None = None


class Launcher:
    """Creates executions, and asks for their abortion."""

    def __init__(
        self,
        executions: Executions,
        targets: Targets,
        projects: Projects,
        blob: BlobStore,
        queue: Queue,
        spans: Spans,
        clock: Clock,
        entropy: Callable[[int], bytes],
        limits: Limits,
    ) -> None:
        self._executions = executions
        self._targets = targets
        self._projects = projects
        self._blob = blob
        self._queue = queue
        self._spans = spans
        self._clock = clock
        self._entropy = entropy
        self._limits = limits

    async def create(self, request: execution_pb2.ExecutionCreateRequest, traceparent: str) -> ExecutionId:
        """Submits an execution of a launch plan or of a task; durable when this returns.

        Raises `AlreadyExists` when the name is taken, `NotFound` for an unknown launch plan or task,
        `FailedPrecondition` when the execution that launches it is ending, `InvalidArgument` for everything else that
        is wrong with the request, naming each field.
        """
        started_us = self._clock.now_us()
        id = self._id(request.project, request.domain, request.name)
        if not request.spec.HasField("launch_plan"):
            raise InvalidArgument("spec.launch_plan: missing")
        if request.spec.max_parallelism < 0:
            raise InvalidArgument(f"spec.max_parallelism: {request.spec.max_parallelism} is negative")
        target = await self._targets.find(request.spec.launch_plan)
        resolved = await self._resolve(request, target)
        parent_key = await self._parent_key(id, request.spec)
        await self._projects.use(id.project, id.domain)
        await self._submit(
            _Submission(
                id,
                target,
                resolved.spec,
                resolved.inputs.SerializeToString(),
                traceparent,
                started_us,
                parent_key=parent_key,
            )
        )
        return id

    async def relaunch(self, request: execution_pb2.ExecutionRelaunchRequest, traceparent: str) -> ExecutionId:
        """Submits an execution with what another one was started with, inputs included, under a new name."""
        original = (await self._executions.get(identifiers.execution(request.id))).execution
        spec = execution_pb2.ExecutionSpec.FromString(original.spec)
        spec.overwrite_cache = request.overwrite_cache
        return await self._again(original, spec, request.name, _Mode.RELAUNCH, traceparent)

    async def recover(self, request: execution_pb2.ExecutionRecoverRequest, traceparent: str) -> ExecutionId:
        """Submits an execution as `relaunch` does, which takes over what the other one has finished.

        Raises `FailedPrecondition` while the other one is not final: what it finishes would be done twice.
        """
        original = (await self._executions.get(identifiers.execution(request.id))).execution
        if not original.phase.terminal:
            raise FailedPrecondition(
                f"id: execution {original.id} is {original.phase.name}: only one that has ended can be recovered, so "
                "wait for its end or abort it"
            )
        spec = execution_pb2.ExecutionSpec.FromString(original.spec)
        if request.HasField("metadata"):
            spec.metadata.CopyFrom(request.metadata)
        return await self._again(original, spec, request.name, _Mode.RECOVERED, traceparent, original.key)

    async def terminate(self, id: ExecutionId, cause: str) -> None:
        """Asks for the execution to be aborted. A final execution stays as it is. Raises `NotFound`."""
        tags.fit_text(cause, "cause")
        answer = await self._executions.request_abort(id, cause, principal="")
        if answer.changed:
            self._queue.enqueue(Key(answer.key, answer.shard, lane=id.project, reasons=Reason.INTENT))

    def _id(self, project: str, domain: str, name: str) -> ExecutionId:
        if name:
            identifiers.fit_execution_name(name)
        return ExecutionId(project, domain, name or identity.execution_name(self._entropy(16)))

    async def _resolve(self, request: execution_pb2.ExecutionCreateRequest, target: Target) -> launch.Launch:
        asked = (request.spec, request.inputs, target.expected, target.plan)
        if request.ByteSize() > _LARGE_BYTES:
            return await asyncio.to_thread(launch.resolve_launch, *asked)
        return launch.resolve_launch(*asked)

    async def _again(
        self,
        original: ExecutionState,
        spec: execution_pb2.ExecutionSpec,
        name: str,
        mode: execution_pb2.ExecutionMetadata.ExecutionMode.ValueType,
        traceparent: str,
        recovers_key: int | None = None,
    ) -> ExecutionId:
        """An execution of its own, whoever launched the original: it is nobody's child."""
        started_us = self._clock.now_us()
        spec.metadata.mode = mode
        spec.metadata.reference_execution.CopyFrom(encode.execution_id(original.id))
        spec.metadata.nesting = 0
        spec.metadata.ClearField("parent_node_execution")
        target = await self._targets.find(spec.launch_plan)
        id = self._id(original.id.project, original.id.domain, name)
        inputs = original.inputs.inline
        if inputs is None:
            inputs = await self._blob.read(str(original.inputs.uri), self._limits.inputs_bytes)
        await self._submit(_Submission(id, target, spec, inputs, traceparent, started_us, recovers_key=recovers_key))
        return id

    async def _parent_key(self, id: ExecutionId, spec: execution_pb2.ExecutionSpec) -> int | None:
        """The key of the execution whose task launches this one, if it says so."""
        if spec.metadata.HasField("parent_node_execution"):
            field = "spec.metadata.parent_node_execution"
            parent, _ = identifiers.node(spec.metadata.parent_node_execution, field)
        elif PARENT_LABEL in spec.labels.values:
            field = f"spec.labels[{PARENT_LABEL}]"
            parent = id._replace(name=spec.labels.values[PARENT_LABEL])
        else:
            return None
        try:
            return (await self._executions.get(parent)).execution.key
        except NotFound as error:
            if not spec.metadata.HasField("parent_node_execution"):
                return None  # anybody may call a label so
            raise InvalidArgument(f"{field}: {error.message}") from None

    async def _submit(self, submission: _Submission) -> None:
        size = len(submission.inputs)
        if size > self._limits.inputs_bytes:
            raise ResourceExhausted(f"inputs: {size} bytes are more than the {self._limits.inputs_bytes} allowed")
        searchable = tags.of(submission.spec)
        await self._targets.register(submission.target)
        for minting in range(1, _MINTINGS + 1):
            now_us = self._clock.now_us()
            key = identity.execution_key(now_us, self._entropy(4))
            root = self._spans.root(submission.traceparent, key)
            record = await self._record(submission, key, root, now_us)
            try:
                await self._executions.create(record, searchable)
            except (AlreadyExists, FailedPrecondition):
                await self._forget_inputs(record)
                raise
            except Refused as error:
                await self._forget_inputs(record)
                if minting == _MINTINGS:
                    raise InvalidArgument(f"spec: {error.message}") from error
            else:
                self._announce(submission, record, root)
                return

    async def _record(self, submission: _Submission, key: int, root: TraceContext, now_us: int) -> ExecutionRecord:
        """The row, after whatever it refers to has been written."""
        metadata = submission.spec.metadata
        state = ExecutionState(
            key=key,
            phase=ExecutionPhase.QUEUED,
            observed_generation=0,
            next_wake_at_us=None,
            started_at_us=None,
            ended_at_us=None,
            updated_at_us=now_us,
            outputs=None,
            error=None,
            id=submission.id,
            shard=identity.shard_of(key, self._limits.shards),
            root_key=key,
            workflow=submission.target.workflow,
            launch_plan=submission.target.id,
            spec=submission.spec.SerializeToString(),
            inputs=await self._keep(submission.id, key, submission.inputs),
            created_at_us=now_us,
            traceparent=root.traceparent(),
            intent=Intent(generation=1, desired=Desired.RUN),
            principal=metadata.principal,
            parent_key=submission.parent_key,
            recovers_key=submission.recovers_key,
        )
        return ExecutionRecord(state, resource_type=submission.target.kind, mode=metadata.mode)

    async def _keep(self, id: ExecutionId, key: int, inputs: bytes) -> Data:
        """The inputs in the row, or a reference to where they lie now.

        Their file carries the key: a submission whose name is taken must not touch what the other one has.
        """
        if len(inputs) <= self._limits.inline_bytes:
            return Data.of(inputs)
        uri = f"{layout.execution_prefix(self._blob.root, id)}/inputs-{key}.pb"
        await self._blob.write(uri, inputs)
        return Data.at(uri, len(inputs))

    async def _forget_inputs(self, record: ExecutionRecord) -> None:
        if record.execution.inputs.uri is not None:
            await self._blob.delete_prefix(record.execution.inputs.uri)

    def _announce(self, submission: _Submission, record: ExecutionRecord, root: TraceContext) -> None:
        """Tells the queue, the trace and the log. None of them can fail."""
        state = record.execution
        self._queue.enqueue(
            Key(
                id=state.key,
                shard=state.shard,
                lane=state.id.project,
                priority=launch.priority(submission.spec),
                reasons=Reason.SUBMITTED,
                traceparent=state.traceparent,
            )
        )
        self._spans.submitted(state.id, root, submission.traceparent, submission.started_us)
        with logs.bind(execution=str(state.id), trace_id=root.trace_id, span_id=root.span_id):
            logger.info("submitted %s as key %d", submission.target.id, state.key)
