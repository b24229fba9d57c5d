"""From checked submissions to executions that are durable, and to keys in the queue: one or many at a time.

The order is the promise (P1): large inputs are written to the blob store; the rows are written, with all that is wanted
of the executions; only then come the answer and the keys. Losing the queue costs nothing but time: the leader's sweep
finds the rows. A name that is taken is `AlreadyExists`, so that a client may repeat what it is not sure of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flyteidl.admin import execution_pb2

from libs.blob import BlobStore, layout
from libs.clients.queue import Key, Reason
from libs.runtime.clock import Clock
from libs.store.executions import Executions
from libs.store.records import ExecutionRecord
from libs.telemetry import logs
from libs.telemetry.traces import TraceContext
from libs.workflow import identity, launch
from libs.workflow.errors import AirscrewError, InvalidArgument, Refused, ResourceExhausted
from libs.workflow.identity import ExecutionId
from libs.workflow.phases import Desired, ExecutionPhase
from libs.workflow.state import Data, ExecutionState, Intent
from services.admin import tags
from services.admin.spans import Spans
from services.admin.targets import Target, Targets

logger = logging.getLogger(__name__)

_MINTINGS = 3
"""How often a key is minted before the database's refusal is taken to mean something else than a key in use."""

_CREATED = Intent(generation=1, desired=Desired.RUN)


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


class Settings:
    """What follows from a specification, for all that are submitted with it.

    Args:
        target: what they launch.
        spec: the settings in effect, whole.
        root: where the blob store's own paths begin.

    Raises InvalidArgument for tags or labels that cannot be stored.
    """

    def __init__(self, target: Target, spec: execution_pb2.ExecutionSpec, root: str) -> None:
        self.target = target
        self.spec = spec.SerializeToString()
        self.searchable = tags.of(spec)
        self.mode = spec.metadata.mode
        self.principal = spec.metadata.principal
        self.priority = launch.priority(spec)
        self.names = frozenset(layout.references(root, self.spec))


class Common(NamedTuple):
    """What executions that are submitted together have in common."""

    settings: Settings
    traceparent: str
    """The caller's trace, or empty."""
    parent_key: int | None = None
    """Of the execution whose task launches them."""
    recovers_key: int | None = None
    """Of the execution whose results they take over."""


class Submission(NamedTuple):
    """An execution to be: its name, and its inputs, checked, complete and serialized."""

    id: ExecutionId
    inputs: bytes


class _New(NamedTuple):
    """A submission that has got its key."""

    submission: Submission
    record: ExecutionRecord
    root: TraceContext


class Submitter:
    """Makes submissions durable, and tells the queue."""

    def __init__(
        self,
        executions: Executions,
        targets: Targets,
        blob: BlobStore,
        queue: Queue,
        spans: Spans,
        clock: Clock,
        entropy: Callable[[int], bytes],
        limits: Limits,
    ) -> None:
        self._executions = executions
        self._targets = targets
        self._blob = blob
        self._queue = queue
        self._spans = spans
        self._clock = clock
        self._entropy = entropy
        self._limits = limits

    async def submit(
        self, common: Common, submissions: Sequence[Submission], started_us: int
    ) -> list[AirscrewError | None]:
        """Creates the executions; what was refused, and why, is known for each when this returns, and all others are
        durable.

        Raises what kept the database from answering: then some may have been created.
        """
        settings = common.settings
        await self._targets.register(settings.target)
        verdicts: dict[int, AirscrewError | None] = {}
        left: list[tuple[int, Submission]] = []
        for place, submission in enumerate(submissions):
            if (refusal := self._too_large(submission)) is None:
                left.append((place, submission))
            else:
                verdicts[place] = refusal
        created: list[_New] = []
        for minting in range(1, _MINTINGS + 1):
            if not left:
                break
            new = await self._mint(common, [submission for _, submission in left])
            answers = await self._executions.create_many([(each.record, settings.searchable) for each in new])
            again: list[tuple[int, Submission]] = []
            for (place, submission), each, answer in zip(left, new, answers, strict=True):
                if answer is None:
                    created.append(each)
                else:
                    await self._forget_inputs(each.record)
                    if isinstance(answer, Refused) and minting < _MINTINGS:
                        again.append((place, submission))
                        continue
                verdicts[place] = _verdict(answer)
            left = again
        if created:
            self._enqueue(common, created)
            await asyncio.sleep(0)  # the key has the longer way, so it leaves before the answer and the log
            self._note(common, created, started_us)
        return [verdicts[place] for place in range(len(submissions))]

    def _too_large(self, submission: Submission) -> ResourceExhausted | None:
        size = len(submission.inputs)
        if size <= self._limits.inputs_bytes:
            return None
        return ResourceExhausted(f"inputs: {size} bytes are more than the {self._limits.inputs_bytes} allowed")

    async def _mint(self, common: Common, submissions: Sequence[Submission]) -> list[_New]:
        """Gives each a key and a row, after whatever the row refers to has been written."""
        now_us = self._clock.now_us()
        keys = identity.execution_keys(now_us, len(submissions), self._entropy)
        settings = common.settings
        roots = self._spans.roots(common.traceparent, keys)
        new = []
        for submission, key, root in zip(submissions, keys, roots, strict=True):
            inputs = submission.inputs
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
                workflow=settings.target.workflow,
                launch_plan=settings.target.id,
                spec=settings.spec,
                inputs=Data.of(inputs)
                if len(inputs) <= self._limits.inline_bytes
                else await self._stored(submission, key),
                created_at_us=now_us,
                traceparent=root.traceparent(),
                intent=_CREATED,
                principal=settings.principal,
                parent_key=common.parent_key,
                recovers_key=common.recovers_key,
            )
            found = layout.references(self._blob.root, inputs)
            names = settings.names.union(found - {submission.id}) if found else settings.names
            record = ExecutionRecord(state, settings.target.kind, settings.mode, names=names)
            new.append(_New(submission, record, root))
        return new

    async def _stored(self, submission: Submission, key: int) -> Data:
        """A reference to where the inputs lie now, which are too large for the row.

        Their file carries the key: a submission whose name is taken must not touch what the other one has.
        """
        inputs = submission.inputs
        uri = f"{layout.execution_prefix(self._blob.root, submission.id)}/inputs-{key}.pb"
        await self._blob.write(uri, inputs)
        return Data.at(uri, len(inputs))

    async def _forget_inputs(self, record: ExecutionRecord) -> None:
        if record.execution.inputs.uri is not None:
            await self._blob.delete_prefix(record.execution.inputs.uri)

    def _enqueue(self, common: Common, created: Sequence[_New]) -> None:
        """Tells the queue, which cannot fail."""
        self._queue.enqueue(
            *(
                Key(
                    id=state.key,
                    shard=state.shard,
                    lane=state.id.project,
                    priority=common.settings.priority,
                    reasons=Reason.SUBMITTED,
                    traceparent=state.traceparent,
                )
                for state in (each.record.execution for each in created)
            )
        )

    def _note(self, common: Common, created: Sequence[_New], started_us: int) -> None:
        """Tells the trace and the log, which cannot fail."""
        states = [each.record.execution for each in created]
        for each in created:
            if each.root.sampled:
                self._spans.submitted(each.submission.id, each.root, common.traceparent, started_us)
        if len(created) == 1:
            state, root = states[0], created[0].root
            with logs.bind(execution=str(state.id), trace_id=root.trace_id, span_id=root.span_id):
                logger.info("submitted %s as key %d", common.settings.target.id, state.key)
        else:
            logger.info("submitted %d of %s, from %s", len(created), common.settings.target.id, states[0].id)


def _verdict(answer: Exception | None) -> AirscrewError | None:
    if isinstance(answer, Refused):
        return InvalidArgument(f"spec: {answer.message}")
    assert answer is None or isinstance(answer, AirscrewError)
    return answer
