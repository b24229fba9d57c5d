"""What the commands show, decoded: plain values, so that printing knows nothing of the wire. Times are microseconds
since the epoch, None where it did not come to that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flyteidl.core import interface_pb2, literals_pb2, types_pb2
from google.protobuf import json_format

from libs.workflow import intake as intakes
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodePhase
from libs.workflow.types import describe


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What can be launched."""

    id: EntityId
    expected: interface_pb2.ParameterMap
    """The inputs that it asks for."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution."""

    id: ExecutionId
    phase: ExecutionPhase
    entity: str
    """Name of the launch plan, or of the task that runs on its own."""
    version: str
    created_us: int | None
    started_us: int | None
    ended_us: int | None
    """None until it is final."""
    error: str
    """Code and message; for aborted ones who and why. Empty while all is well."""

    def seconds(self, now_us: int) -> float | None:
        """How long it runs or ran."""
        return _seconds(self.started_us, self.ended_us, now_us)

    def as_json(self) -> dict[str, Any]:
        return {
            "project": self.id.project,
            "domain": self.id.domain,
            "name": self.id.name,
            "phase": self.phase.name,
            "entity": self.entity,
            "version": self.version,
            "created_at": iso(self.created_us),
            "started_at": iso(self.started_us),
            "ended_at": iso(self.ended_us),
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Intake:
    """A task list that becomes executions, and how far it is."""

    intake: intakes.Intake
    progress: intakes.Progress
    pending: int
    """Its executions that are not final."""

    @property
    def state(self) -> str:
        if self.intake.paused:
            return "paused"
        return "running" if self.progress.runner else "waiting"

    def as_json(self) -> dict[str, Any]:
        plan, progress = self.intake.launch_plan, self.progress
        return {
            "name": self.intake.id.name,
            "source": self.intake.source,
            "kind": self.intake.kind.value,
            "codec": self.intake.codec.value,
            "launch_plan": plan.name,
            "version": plan.version,
            "limit": self.intake.limit,
            "state": self.state,
            "waiting": progress.waiting,
            "claimed": progress.claimed,
            "done": progress.done,
            "pending": self.pending,
            "dead": progress.dead,
            "rate": progress.rate,
            "note": progress.note or None,
        }


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that explains another."""

    code: str
    sentence: str
    execution: ExecutionId
    node: str
    attempt: int | None
    since_us: int | None
    until_us: int | None
    facts: Mapping[str, str]
    causes: tuple[Cause, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "sentence": self.sentence,
            "execution": str(self.execution),
            "node": self.node or None,
            "attempt": self.attempt,
            "since": iso(self.since_us),
            "until": iso(self.until_us),
            "facts": dict(self.facts),
            "causes": [cause.as_json() for cause in self.causes],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something stands where it stands."""

    phase: str
    causes: tuple[Cause, ...]
    live: bool
    """Whether the leader was asked, too."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in an execution."""

    at_us: int
    kind: str
    node: str
    attempt: int | None
    message: str

    def as_json(self) -> dict[str, Any]:
        return {
            "at": iso(self.at_us),
            "kind": self.kind,
            "node": self.node or None,
            "attempt": self.attempt,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task node."""

    number: int
    phase: AttemptPhase
    executor: str
    reason: str
    error: str
    created_us: int | None
    started_us: int | None
    ended_us: int | None

    def seconds(self, now_us: int) -> float | None:
        return _seconds(self.started_us, self.ended_us, now_us)

    def as_json(self) -> dict[str, Any]:
        return {
            "attempt": self.number,
            "phase": self.phase.name,
            "executor": self.executor or None,
            "reason": self.reason or None,
            "error": self.error or None,
            "created_at": iso(self.created_us),
            "started_at": iso(self.started_us),
            "ended_at": iso(self.ended_us),
        }


@dataclass(frozen=True, slots=True)
class Node:
    """One node execution with its attempts."""

    id: str
    parent_id: str
    kind: str
    """task, subworkflow, branch, launch_plan, gate, array, start or end."""
    task: str
    phase: NodePhase
    created_us: int | None
    started_us: int | None
    ended_us: int | None
    error: str
    attempts: tuple[Attempt, ...] = ()
    cache: str = ""
    """How it met the cache; empty when it is not cached."""
    child: ExecutionId | None = None
    """Of a launch plan node: the execution that it has launched."""
    size: int | None = None
    """Of an array node: how many items it has."""
    is_array: bool = False
    items: Mapping[NodePhase, int] = field(default_factory=dict)
    """Of an array node: how many items are in which phase. Those that have not begun are in none."""

    def seconds(self, now_us: int) -> float | None:
        return _seconds(self.started_us, self.ended_us, now_us)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "parent": self.parent_id or None,
            "kind": self.kind,
            "task": self.task or None,
            "phase": self.phase.name,
            "created_at": iso(self.created_us),
            "started_at": iso(self.started_us),
            "ended_at": iso(self.ended_us),
            "error": self.error or None,
            "cache": self.cache or None,
            "child": str(self.child) if self.child else None,
            "size": self.size,
            "items": {phase.name: count for phase, count in self.items.items()},
            "attempts": [attempt.as_json() for attempt in self.attempts],
        }


@dataclass(frozen=True, slots=True)
class Signal:
    """What a gate waits for, or has been given."""

    id: str
    node_id: str
    type: types_pb2.LiteralType
    value: literals_pb2.Literal | None
    """None until it is given."""

    def as_json(self) -> dict[str, Any]:
        return {
            "signal": self.id,
            "node": self.node_id or None,
            "type": describe(self.type),
            "value": None if self.value is None else json_format.MessageToDict(self.value),
        }


@dataclass(frozen=True, slots=True)
class Tree:
    """An execution with its nodes, parents before children."""

    execution: Execution
    nodes: tuple[Node, ...]
    trace_id: str
    signals: tuple[Signal, ...] = ()
    """What gates wait for."""
    launched: tuple[Execution, ...] = ()
    """By its tasks."""

    def as_json(self) -> dict[str, Any]:
        return self.execution.as_json() | {
            "trace_id": self.trace_id or None,
            "nodes": [node.as_json() for node in self.nodes],
            "signals": [signal.as_json() for signal in self.signals],
            "launched": [execution.as_json() for execution in self.launched],
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch reports: the execution if it changed, and the nodes that did."""

    execution: Execution | None
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of what an attempt wrote."""

    attempt: int
    content: bytes


def iso(time_us: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    if time_us is None:
        return None
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(started_us: int | None, ended_us: int | None, now_us: int) -> float | None:
    if started_us is None:
        return None
    return max(0.0, ((ended_us if ended_us is not None else now_us) - started_us) / 1e6)
