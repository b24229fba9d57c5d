"""What the asynchronous side of the store takes and gives: one frozen value per row.

The leader's state objects (`libs/workflow/state`) are used as they are; a record adds what only `admin` writes.
Messages of Flyte's stay serialized: the store neither reads nor changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from libs.workflow.frozen import frozen
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import CacheEntry, Data, ExecutionState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `token` asks for the next one and is empty after the last."""

    items: Sequence[T]
    token: str = ""


class NamedId(NamedTuple):
    """A name that has at least one version."""

    project: str
    domain: str
    name: str


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project. `labels` is a serialized `flyteidl.admin.Labels`, `state` a number of `Project.ProjectState`."""

    id: str
    name: str
    description: str
    labels: bytes
    state: int
    created_at_us: int


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A registered task. `digest` identifies its structure: two specs that mean the same have the same digest."""

    id: EntityId
    type: str
    digest: bytes
    spec: bytes
    """Serialized `flyteidl.admin.TaskSpec`."""
    closure: bytes
    """Serialized `flyteidl.admin.TaskClosure`."""
    created_at_us: int


@dataclass(frozen=True, slots=True)
class WorkflowRecord:
    """A registered workflow."""

    id: EntityId
    digest: bytes
    spec: bytes
    """Serialized `flyteidl.admin.WorkflowSpec`."""
    closure: bytes
    """Serialized `flyteidl.core.CompiledWorkflowClosure`: what the propeller runs."""
    created_at_us: int


@dataclass(frozen=True, slots=True)
class LaunchPlanRecord:
    """A registered launch plan. `state` is a number of `flyteidl.admin.LaunchPlanState`: INACTIVE 0, ACTIVE 1."""

    id: EntityId
    workflow: EntityId
    digest: bytes
    spec: bytes
    """Serialized `flyteidl.admin.LaunchPlanSpec`."""
    expected_inputs: bytes
    """Serialized `flyteidl.core.ParameterMap`."""
    expected_outputs: bytes
    """Serialized `flyteidl.core.VariableMap`."""
    state: int
    created_at_us: int
    updated_at_us: int


@frozen
class ExecutionRecord:
    """An execution as `admin` sees it: the leader's row and the columns that only `admin` writes."""

    execution: ExecutionState
    resource_type: int
    """What `execution.launch_plan` names, a number of `flyteidl.core.ResourceType`: TASK 1 or LAUNCH_PLAN 3."""
    mode: int
    """A number of `flyteidl.admin.ExecutionMetadata.ExecutionMode`."""
    state: int = 0
    """A number of `flyteidl.admin.ExecutionState`: ACTIVE 0, ARCHIVED 1."""
    names: frozenset[ExecutionId] = frozenset()
    """Of a new one: the executions whose files its inputs name. They are kept as long as it is (`holds`)."""

    @property
    def shown_phase(self) -> ExecutionPhase:
        """The phase for clients: ABORTING while an abort is wanted and not done (promise P12). Filters agree."""
        if self.execution.intent.desired is Desired.ABORT and not self.execution.phase.terminal:
            return ExecutionPhase.ABORTING
        return self.execution.phase


class AbortAnswer(NamedTuple):
    """What `Executions.request_abort` did. `changed` is False where the execution was final or already aborting."""

    key: int
    shard: int
    changed: bool


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """A signal that a gate waits for, or has been given."""

    execution: ExecutionId
    id: str
    node_id: str
    type: bytes
    """Serialized `flyteidl.core.LiteralType`."""
    value: bytes | None
    """Serialized `flyteidl.core.Literal`; None until it is given."""
    principal: str
    """Who gave it."""
    created_at_us: int
    set_at_us: int | None


class SignalAnswer(NamedTuple):
    """The execution whose signal `Signals.set_signal` has given. `changed` is False where it had that value already."""

    key: int
    shard: int
    changed: bool


class CacheRecord(NamedTuple):
    """An entry of the cache and the execution that made it."""

    entry: CacheEntry
    execution_key: int


class Final(NamedTuple):
    """How an execution has ended."""

    phase: ExecutionPhase
    outputs: Data | None
    error: bytes | None
    """Serialized `flyteidl.core.ExecutionError`."""


class CacheRequest(NamedTuple):
    """A node looks for outputs."""

    key: bytes
    execution_key: int
    node_id: str
    reserve: bool
    """Whether, where there are none, it asks for the right to compute them."""


class CacheAnswer(NamedTuple):
    """What the cache has for a node."""

    outputs: Data | None
    reserved: bool
    """False only where the node asked for the right to compute them and another one has it."""


@dataclass(frozen=True, slots=True)
class LeaderRow:
    """Who leads a shard according to the last claim; whether that process still lives, only etcd knows."""

    shard: int
    epoch: int
    etcd_cluster: str
    create_revision: int
    holder: str
    address: str
    claimed_at_us: int
