"""Submission: from a client's request to executions that are checked, and whatever else is asked of executions.

Everything is checked here; `submission` makes durable what has passed. One execution and many go the same way.

An execution that another one's task launches has it as its parent: it is aborted with it, and cannot be launched any
more when the parent has ended or is about to.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flyteidl.admin import execution_pb2
from flyteidl.core import literals_pb2

from libs.blob import BlobStore
from libs.clients.queue import Key, Reason
from libs.runtime.clock import Clock
from libs.store.executions import Executions
from libs.workflow import identity, launch
from libs.workflow.errors import AirscrewError, FailedPrecondition, InvalidArgument, NotFound
from libs.workflow.identity import ExecutionId
from libs.workflow.state import ExecutionState
from services.admin import encode, identifiers, tags
from services.admin.projects import Projects
from services.admin.submission import Common, Limits, Queue, Settings, Submission, Submitter
from services.admin.targets import Target, Targets, remember

_LARGE_BYTES = 1024 * 1024
"""Inputs of this size are checked in a thread: the checks take as long as thousands of other requests."""

_KNOWN_BYTES = 4096
"""Specifications up to this size are remembered, with what follows from them."""

_IN_A_ROW = 64
"""Items of a bulk that are checked before others have their turn: about a millisecond."""

PARENT_LABEL = "eager-exec"
"""Label of executions that a task of flytekit's `@eager` kind launches: the name of the execution that it runs in."""

_Mode = execution_pb2.ExecutionMetadata


class Item(NamedTuple):
    """One of many executions. Without a name it gets one of its batch and place, or by chance."""

    name: str
    inputs: literals_pb2.LiteralMap


class Result(NamedTuple):
    """What became of an item."""

    name: str
    error: AirscrewError | None
    """None when its execution was created; `AlreadyExists` when there was one of its name."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What many executions have in common, checked."""

    project: str
    domain: str
    common: Common
    inputs: literals_pb2.LiteralMap
    """Of items that give none."""


class Checked(NamedTuple):
    """Items that have been looked at: those that may be submitted, and what is known of the others."""

    bulk: Bulk
    names: Sequence[str]
    refused: dict[int, AirscrewError]
    submissions: Sequence[Submission]
    started_us: int


class Launcher:
    """Creates executions, and asks for their abortion."""

    def __init__(
        self,
        executions: Executions,
        targets: Targets,
        projects: Projects,
        blob: BlobStore,
        queue: Queue,
        submitter: Submitter,
        clock: Clock,
        entropy: Callable[[int], bytes],
        limits: Limits,
    ) -> None:
        self._executions = executions
        self._targets = targets
        self._projects = projects
        self._blob = blob
        self._queue = queue
        self._submitter = submitter
        self._clock = clock
        self._entropy = entropy
        self._limits = limits
        self._known: OrderedDict[bytes, Settings] = OrderedDict()
        """By specification, as it was sent."""

    async def create(self, request: execution_pb2.ExecutionCreateRequest, traceparent: str) -> ExecutionId:
        """Submits an execution of a launch plan or of a task; durable when this returns.

        Raises `AlreadyExists` when the name is taken, `NotFound` for an unknown launch plan or task,
        `FailedPrecondition` when the execution that launches it is ending, `InvalidArgument` for everything else that
        is wrong with the request, naming each field.
        """
        started_us = self._clock.now_us()
        id = self._id(request.project, request.domain, request.name)
        settings = await self._settings(request.spec)
        inputs = await _complete(settings.target, launch.given_inputs(request.spec, request.inputs))
        common = await self._common(id.project, id.domain, request.spec, settings, traceparent)
        await self._projects.use(id.project, id.domain)
        await self._submit(common, Submission(id, inputs), started_us)
        return id

    async def prepare(self, request: execution_pb2.ExecutionCreateRequest, traceparent: str, field: str) -> Bulk:
        """Checks what many executions have in common; `field` is where it stands in the request. Raises as `create`."""
        if request.name:
            raise InvalidArgument(f"{field}.name: many executions cannot have one name: give each item its own")
        try:
            settings = await self._settings(request.spec)
            common = await self._common(request.project, request.domain, request.spec, settings, traceparent)
        except (InvalidArgument, NotFound, FailedPrecondition) as error:
            raise type(error)(f"{field}.{error.message}") from None
        await self._projects.use(request.project, request.domain, field)
        return Bulk(request.project, request.domain, common, launch.given_inputs(request.spec, request.inputs))

    async def check(self, bulk: Bulk, batch: str, first: int, items: Iterable[Item]) -> Checked:
        """Checks items, each by itself: `first` is the place in the batch of the first one."""
        started_us = self._clock.now_us()
        names: list[str] = []
        refused: dict[int, AirscrewError] = {}
        submissions: list[Submission] = []
        for place, item in enumerate(items):
            name = item.name or self._name_in(batch, first + place)
            names.append(name)
            try:
                id = (
                    self._id(bulk.project, bulk.domain, name)
                    if item.name
                    else ExecutionId(bulk.project, bulk.domain, name)
                )
                given = item.inputs if item.inputs.literals else bulk.inputs
                asked = bulk.common.settings.target.asked
                large = given.ByteSize() > _LARGE_BYTES
                inputs = await asyncio.to_thread(asked.complete, given) if large else asked.complete(given)
                submissions.append(Submission(id, inputs))
            except InvalidArgument as error:
                refused[place] = error
            if place % _IN_A_ROW == _IN_A_ROW - 1:
                await asyncio.sleep(0)
        return Checked(bulk, names, refused, submissions, started_us)

    async def submit(self, checked: Checked) -> list[Result]:
        """Creates the executions of items; what could be created is durable when this returns.

        Items are stored and enqueued in their order, and those of several calls in the order of the calls, but for
        items with inputs that are too large for a row. Raises `Unavailable` when the outcome is unknown.
        """
        verdicts = iter(
            await self._submitter.submit(checked.bulk.common, checked.submissions, checked.started_us)
            if checked.submissions
            else ()
        )
        return [
            Result(name, checked.refused[place] if place in checked.refused else next(verdicts))
            for place, name in enumerate(checked.names)
        ]

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

    def _name_in(self, batch: str, place: int) -> str:
        """The same batch and place have the same name, for ever."""
        if not batch:
            return identity.execution_name(self._entropy(16))
        return identity.execution_name(hashlib.blake2b(f"{place}/{batch}".encode(), digest_size=16).digest())

    async def _settings(self, spec: execution_pb2.ExecutionSpec) -> Settings:
        """What follows from a request's specification. Clients send the same one again and again."""
        sent = spec.SerializeToString()  # what is the same may look different: then it is looked at once more
        settings = self._known.get(sent)
        if settings is None:
            target = await self._target(spec)
            settings = Settings(target, launch.resolve_spec(spec, target.plan), self._blob.root)
            if len(sent) <= _KNOWN_BYTES:
                remember(self._known, sent, settings)
        else:
            self._known.move_to_end(sent)
        return settings

    async def _target(self, spec: execution_pb2.ExecutionSpec) -> Target:
        if not spec.HasField("launch_plan"):
            raise InvalidArgument("spec.launch_plan: missing")
        if spec.max_parallelism < 0:
            raise InvalidArgument(f"spec.max_parallelism: {spec.max_parallelism} is negative")
        return await self._targets.find(spec.launch_plan)

    async def _common(
        self, project: str, domain: str, spec: execution_pb2.ExecutionSpec, settings: Settings, traceparent: str
    ) -> Common:
        return Common(settings, traceparent, await self._parent_key(project, domain, spec))

    async def _submit(self, common: Common, submission: Submission, started_us: int) -> None:
        (refusal,) = await self._submitter.submit(common, [submission], started_us)
        if refusal is not None:
            raise refusal

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
        common = Common(Settings(target, spec, self._blob.root), traceparent, recovers_key=recovers_key)
        await self._submit(common, Submission(id, inputs), started_us)
        return id

    async def _parent_key(self, project: str, domain: str, spec: execution_pb2.ExecutionSpec) -> int | None:
        """The key of the execution whose task launches this one, if it says so."""
        if spec.metadata.HasField("parent_node_execution"):
            field = "spec.metadata.parent_node_execution"
            parent, _ = identifiers.node(spec.metadata.parent_node_execution, field)
        elif PARENT_LABEL in spec.labels.values:
            field = f"spec.labels[{PARENT_LABEL}]"
            parent = ExecutionId(project, domain, spec.labels.values[PARENT_LABEL])
        else:
            return None
        try:
            return (await self._executions.get(parent)).execution.key
        except NotFound as error:
            if not spec.metadata.HasField("parent_node_execution"):
                return None  # anybody may call a label so
            raise InvalidArgument(f"{field}: {error.message}") from None


async def _complete(target: Target, given: literals_pb2.LiteralMap) -> bytes:
    if given.ByteSize() > _LARGE_BYTES:
        return await asyncio.to_thread(target.asked.complete, given)
    return target.asked.complete(given)
