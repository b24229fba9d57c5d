"""What an executor is told about an attempt: everything it needs, and every path that it may write to.

Paths are chosen here, from the attempt's identity alone, so that two attempts can never write the same file (promise
P4).
"""

from __future__ import annotations

from libs.blob import layout
from libs.wire.session import NO_INDEX, Assignment, Spec
from libs.workflow.errors import Internal
from libs.workflow.graph import TaskTarget
from libs.workflow.identity import AttemptId, EntityId, ExecutionId
from libs.workflow.machine import INLINE_LIMIT_BYTES, Execution, LiveNode, inputs_of, interruptible, item_index
from libs.workflow.state import ExecutionState
from services.propeller.spans import attempt_context, root_context

CHECKPOINTS = "_flytecheckpoints"
"""Folder below an attempt's raw output prefix: Flyte's name for it."""


class Assignments:
    """Builds assignments; `root` is where the blob store's own paths begin."""

    def __init__(self, root: str) -> None:
        self._root = root

    def log_uri(self, execution: ExecutionId, node_id: str, attempt: int) -> str:
        return layout.log_uri(self._root, execution, node_id, attempt)

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
        raw = self._raw_prefix(execution, node.state.id, attempt.attempt)
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
            workflow=_shown(state.workflow),
            launch_plan=_shown(state.launch_plan),
            container_image=node.spec.image,
            envs={pair.key: pair.value for pair in execution.spec.envs.values},
            output_prefix=layout.attempt_prefix(self._root, state.id, node.state.id, attempt.attempt),
            raw_output_prefix=raw,
            previous_checkpoint=self._previous_checkpoint(execution, node, attempt.attempt),
            log_uri=attempt.log_uri or "",
            inline_limit=INLINE_LIMIT_BYTES,
            array_index=NO_INDEX if index is None else index,
            interruptible=interruptible(execution, node),
            security_context=execution.spec.security_context.SerializeToString(),
            shard=state.shard,
        )

    def _raw_prefix(self, execution: Execution, node_id: str, attempt: int) -> str:
        chosen = execution.spec.raw_output_data_config.output_location_prefix
        return layout.raw_prefix(chosen or self._root, execution.state.id, node_id, attempt)

    def _previous_checkpoint(self, execution: Execution, node: LiveNode, attempt: int) -> str:
        """That of the attempt before; one that never ran, as it was rejected or lost, is passed over."""
        if attempt == 0:
            return ""
        before = attempt - 1 if node.began is None else node.began
        return f"{self._raw_prefix(execution, node.state.id, before)}/{CHECKPOINTS}"


def _task(node: LiveNode) -> TaskTarget:
    if node.spec.task is None:
        raise Internal(f"node {node.state.id} is no task")
    return node.spec.task


def _shown(entity: EntityId) -> str:
    return f"{entity.project}:{entity.domain}:{entity.name}"


def _traceparent(execution: ExecutionState, node_id: str, attempt: int) -> str:
    context = root_context(execution)
    return attempt_context(context, node_id, attempt).traceparent() if context else ""
