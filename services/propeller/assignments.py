"""What an executor is told about an attempt: everything it needs, and every path that it may write to.

Paths are chosen here, from the attempt's identity alone, so that two attempts can never write the same file (promise
P4).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from flyteidl.admin import execution_pb2

from libs.blob import layout
from libs.telemetry.traces import NOT_SAMPLED
from libs.wire.session import NO_INDEX, Assignment, Spec
from libs.workflow.backend import Backend
from libs.workflow.errors import Internal
from libs.workflow.frozen import frozen
from libs.workflow.graph import TaskTarget
from libs.workflow.identity import AttemptId, EntityId, ExecutionId
from libs.workflow.machine import (
    INLINE_LIMIT_BYTES,
    SPECS_KEPT,
    Execution,
    LiveNode,
    inputs_of,
    interruptible,
    item_index,
)
from libs.workflow.state import ExecutionState
from services.propeller.spans import attempt_context, root_context

CHECKPOINTS = "_flytecheckpoints"
"""Folder below an attempt's raw output prefix: Flyte's name for it."""


KNOWN = 1_000
"""Executions whose part of their assignments is remembered: those of a few batches."""


@frozen
class _Asked:
    """What the specification of an execution says about its attempts."""

    raw_root: str
    envs: Mapping[str, str]
    security_context: bytes


@frozen
class _Common:
    """What all assignments of an execution have in common."""

    asked: _Asked
    places: layout.Places
    workflow: str
    launch_plan: str


class Assignments:
    """Builds assignments; `root` is where the blob store's own paths begin, `backend` what tasks become."""

    def __init__(self, root: str, backend: Backend = Backend.PROCESS) -> None:
        self._root = root
        self._as_pod = backend is Backend.POD
        self._known: dict[int, _Common] = {}
        """By key of the execution; what it is made of never changes."""

    def forget(self, key: int) -> None:
        """The execution leaves memory."""
        self._known.pop(key, None)

    def log_uri(self, execution: Execution, node_id: str, attempt: int) -> str:
        return self._common(execution).places.log_uri(node_id, attempt)

    def inputs_uri(self, execution: ExecutionId, node_id: str) -> str:
        return layout.node_inputs(self._root, execution, node_id)

    def outputs_uri(self, execution: ExecutionId, node_id: str) -> str:
        """Where the engine itself stores outputs that are too large for a row: those of end nodes."""
        return f"{layout.attempt_prefix(self._root, execution, node_id, 0)}/{layout.OUTPUTS}"

    def compiled_uri(self, execution: ExecutionId, node_id: str, attempt: int) -> str:
        """Where the engine stores what it has made of the nodes that an attempt asked for."""
        return f"{layout.attempt_prefix(self._root, execution, node_id, attempt)}/{layout.COMPILED}"

    def spec(self, node: LiveNode) -> Spec:
        task = _task(node)
        return Spec(task.digest, task.template)

    def assign(self, execution: Execution, node: LiveNode) -> Assignment:
        """The assignment of the node's current attempt. The attempt must have been placed and committed."""
        state, attempt, task = execution.state, node.attempt, _task(node)
        if attempt is None:
            raise Internal(f"node {node.state.id} has no attempt to assign")
        common = self._common(execution)
        index = item_index(node)
        return Assignment(
            id=AttemptId(state.key, node.state.id, attempt.attempt),
            spec_digest=task.digest,
            inputs=inputs_of(node),
            resources=node.spec.slots,
            time_allowed_us=node.spec.time_allowed_us,
            traceparent=_traceparent(state, node.state.id, attempt.attempt),
            project=state.id.project,
            domain=state.id.domain,
            name=state.id.name,
            workflow=common.workflow,
            launch_plan=common.launch_plan,
            container_image=node.spec.image,
            overrides=node.spec.overrides,
            as_pod=self._as_pod,
            envs=common.asked.envs,
            output_prefix=common.places.attempt_prefix(node.state.id, attempt.attempt),
            raw_output_prefix=common.places.raw_prefix(node.state.id, attempt.attempt),
            previous_checkpoint=_previous_checkpoint(common.places, node, attempt.attempt),
            log_uri=attempt.log_uri or "",
            inline_limit=INLINE_LIMIT_BYTES,
            array_index=NO_INDEX if index is None else index,
            interruptible=interruptible(execution, node),
            security_context=common.asked.security_context,
            shard=state.shard,
        )

    def _common(self, execution: Execution) -> _Common:
        state = execution.state
        common = self._known.get(state.key)
        if common is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            asked = _asked(state.spec)
            common = self._known[state.key] = _Common(
                asked,
                layout.Places(self._root, state.id, asked.raw_root or self._root),
                _shown(state.workflow),
                _shown(state.launch_plan),
            )
        return common


@functools.lru_cache(SPECS_KEPT)
def _asked(spec: bytes) -> _Asked:
    message = execution_pb2.ExecutionSpec.FromString(spec)
    return _Asked(
        message.raw_output_data_config.output_location_prefix,
        {pair.key: pair.value for pair in message.envs.values},
        message.security_context.SerializeToString(),
    )


def _previous_checkpoint(places: layout.Places, node: LiveNode, attempt: int) -> str:
    """That of the attempt before; one that never ran, as it was rejected or lost, is passed over."""
    if attempt == 0:
        return ""
    before = attempt - 1 if node.began is None else node.began
    return f"{places.raw_prefix(node.state.id, before)}/{CHECKPOINTS}"


def _task(node: LiveNode) -> TaskTarget:
    if node.spec.task is None:
        raise Internal(f"node {node.state.id} is no task")
    return node.spec.task


@functools.lru_cache(KNOWN)
def _shown(entity: EntityId) -> str:
    return f"{entity.project}:{entity.domain}:{entity.name}"


def _traceparent(execution: ExecutionState, node_id: str, attempt: int) -> str:
    if execution.traceparent.endswith(NOT_SAMPLED):
        return execution.traceparent  # nobody will look for a span of the attempt's own
    context = root_context(execution)
    return attempt_context(context, node_id, attempt).traceparent() if context else ""
