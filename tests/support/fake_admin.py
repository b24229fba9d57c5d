"""An `admin` that knows what a test tells it: Flyte's service and ours over real gRPC, in threads of this process.

For tests of clients. It answers from plain lists, fails on demand, and remembers what it was asked to abort.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from flyteidl.admin import execution_pb2, node_execution_pb2, signal_pb2, version_pb2
from flyteidl.core import execution_pb2 as core
from flyteidl.core import identifier_pb2
from flyteidl.service import admin_pb2_grpc, signal_pb2_grpc

from libs.workflow.phases import ExecutionPhase, NodePhase
from protos import airscrew_pb2, airscrew_pb2_grpc
from tests.support.fake_bulk import Bulk, BulkCalls, PlanCalls
from tests.support.fake_chaos import Chaos, ChaosCalls
from tests.support.fake_executors import ExecutorCalls, Executors
from tests.support.fake_garbage import Garbage, GarbageCalls
from tests.support.fake_intakes import IntakeCalls, Intakes
from tests.support.fake_queue import Queue, QueueCalls

SECOND_US = 1_000_000
BORN_US = 1_700_000_000 * SECOND_US


def execution(
    name: str, phase: ExecutionPhase, seconds: float = 0.0, error: str = "", code: str = "USER:RuntimeError"
) -> execution_pb2.Execution:
    """An execution of `examples.wf`, as admin answers it. `seconds` is how long it ran."""
    message = execution_pb2.Execution(
        id=identifier_pb2.WorkflowExecutionIdentifier(project="flytesnacks", domain="development", name=name),
        closure=execution_pb2.ExecutionClosure(phase=int(phase)),
    )
    message.spec.launch_plan.name = "examples.wf"
    message.spec.launch_plan.version = "v1"
    message.closure.created_at.FromMicroseconds(BORN_US)
    message.closure.started_at.FromMicroseconds(BORN_US)
    if phase.terminal:
        message.closure.duration.FromMicroseconds(int(seconds * SECOND_US))
    if error:
        message.closure.error.CopyFrom(core.ExecutionError(code=code, message=error))
    return message


def node(id: str, phase: NodePhase, seconds: float = 0.0, error: str = "") -> node_execution_pb2.NodeExecution:
    message = node_execution_pb2.NodeExecution(
        id=identifier_pb2.NodeExecutionIdentifier(node_id=id),
        closure=node_execution_pb2.NodeExecutionClosure(phase=int(phase)),
    )
    message.closure.created_at.FromMicroseconds(BORN_US)
    if phase is not NodePhase.QUEUED:
        message.closure.started_at.FromMicroseconds(BORN_US)
    if phase.terminal:
        message.closure.duration.FromMicroseconds(int(seconds * SECOND_US))
    if error:
        message.closure.error.CopyFrom(core.ExecutionError(code="USER:RuntimeError", message=error))
    return message


class FakeAdmin:
    """A server on a free port, for the length of a `with` block."""

    def __init__(self) -> None:
        self.executions: list[execution_pb2.Execution] = []
        """The newest first."""
        self.trees: dict[str, airscrew_pb2.GetTreeReply] = {}
        self.watches: dict[str, list[list[airscrew_pb2.WatchExecutionReply]]] = {}
        """By execution, what each coming watch tells; all but the last break off as if the server had gone."""
        self.logs: dict[tuple[str, str, int], bytes] = {}
        self.latest_attempt = 0
        self.list_requests: list[Any] = []
        self.aborted: list[tuple[str, str]] = []
        self.signals: dict[str, list[signal_pb2.Signal]] = {}
        """By execution."""
        self.given: list[signal_pb2.SignalSetRequest] = []
        self.again: list[execution_pb2.ExecutionRelaunchRequest | execution_pb2.ExecutionRecoverRequest] = []
        self.evictions: list[airscrew_pb2.EvictCacheRequest] = []
        self.explanations: dict[tuple[str, str], airscrew_pb2.ExplainReply] = {}
        """By execution and node."""
        self.events: list[airscrew_pb2.ListEventsReply.Event] = []
        """Listed two at a time."""
        self.log_breaks: list[int] = []
        """After how many pieces each coming stream of logs breaks off; when there are no more, none does."""
        self.bulk = Bulk()
        self.intakes = Intakes()
        self.queue = Queue()
        self.executors = Executors()
        self.chaos = Chaos()
        self.garbage = Garbage()
        self.endpoint = ""

    def __enter__(self) -> FakeAdmin:
        self._server = grpc.server(ThreadPoolExecutor(8))
        admin_pb2_grpc.add_AdminServiceServicer_to_server(_Flyte(self), self._server)
        signal_pb2_grpc.add_SignalServiceServicer_to_server(_Signals(self), self._server)
        airscrew_pb2_grpc.add_AirscrewServicer_to_server(_Airscrew(self), self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()

    def known(self, name: str, context: grpc.ServicerContext) -> None:
        """Answers NOT_FOUND unless there is such an execution."""
        if name not in self.trees and name not in self.watches and name not in {e.id.name for e in self.executions}:
            context.abort(grpc.StatusCode.NOT_FOUND, f"execution flytesnacks:development:{name} does not exist")


class _Flyte(PlanCalls, admin_pb2_grpc.AdminServiceServicer):
    def __init__(self, fake: FakeAdmin) -> None:
        self._fake = fake
        self.bulk = fake.bulk

    def ListExecutions(self, request: Any, context: grpc.ServicerContext) -> execution_pb2.ExecutionList:
        self._fake.list_requests.append(request)
        return execution_pb2.ExecutionList(executions=self._fake.executions[: request.limit])

    def TerminateExecution(
        self, request: execution_pb2.ExecutionTerminateRequest, context: grpc.ServicerContext
    ) -> execution_pb2.ExecutionTerminateResponse:
        self._fake.known(request.id.name, context)
        self._fake.aborted.append((request.id.name, request.cause))
        return execution_pb2.ExecutionTerminateResponse()

    def RelaunchExecution(
        self, request: execution_pb2.ExecutionRelaunchRequest, context: grpc.ServicerContext
    ) -> execution_pb2.ExecutionCreateResponse:
        return self._again(request, context)

    def RecoverExecution(
        self, request: execution_pb2.ExecutionRecoverRequest, context: grpc.ServicerContext
    ) -> execution_pb2.ExecutionCreateResponse:
        return self._again(request, context)

    def _again(self, request: Any, context: grpc.ServicerContext) -> execution_pb2.ExecutionCreateResponse:
        self._fake.known(request.id.name, context)
        self._fake.again.append(request)
        created = identifier_pb2.WorkflowExecutionIdentifier(
            project=request.id.project, domain=request.id.domain, name=request.name or "made-up"
        )
        return execution_pb2.ExecutionCreateResponse(id=created)

    def GetVersion(self, request: Any, context: grpc.ServicerContext) -> version_pb2.GetVersionResponse:
        return version_pb2.GetVersionResponse(control_plane_version=version_pb2.Version(Version="v0.1.0"))


class _Signals(signal_pb2_grpc.SignalServiceServicer):
    def __init__(self, fake: FakeAdmin) -> None:
        self._fake = fake

    def ListSignals(
        self, request: signal_pb2.SignalListRequest, context: grpc.ServicerContext
    ) -> signal_pb2.SignalList:
        return signal_pb2.SignalList(signals=self._fake.signals.get(request.workflow_execution_id.name, ()))

    def SetSignal(
        self, request: signal_pb2.SignalSetRequest, context: grpc.ServicerContext
    ) -> signal_pb2.SignalSetResponse:
        self._fake.given.append(request)
        return signal_pb2.SignalSetResponse()


class _Airscrew(BulkCalls, IntakeCalls, QueueCalls, ExecutorCalls, GarbageCalls, ChaosCalls):
    def __init__(self, fake: FakeAdmin) -> None:
        self._fake = fake
        self.bulk = fake.bulk
        self.intakes = fake.intakes
        self.queue = fake.queue
        self.executors = fake.executors
        self.chaos = fake.chaos
        self.garbage = fake.garbage

    def GetTree(self, request: airscrew_pb2.GetTreeRequest, context: grpc.ServicerContext) -> airscrew_pb2.GetTreeReply:
        self._fake.known(request.id.name, context)
        return self._fake.trees[request.id.name]

    def WatchExecution(
        self, request: airscrew_pb2.WatchExecutionRequest, context: grpc.ServicerContext
    ) -> Iterator[airscrew_pb2.WatchExecutionReply]:
        self._fake.known(request.id.name, context)
        streams = self._fake.watches[request.id.name]
        if len(streams) > 1:
            yield from streams.pop(0)
            _go_away(context)
        yield from streams[0]

    def WatchExecutions(
        self, request: airscrew_pb2.WatchExecutionsRequest, context: grpc.ServicerContext
    ) -> Iterator[airscrew_pb2.WatchExecutionsReply]:
        yield airscrew_pb2.WatchExecutionsReply(executions=self._fake.executions)

    def Explain(self, request: airscrew_pb2.ExplainRequest, context: grpc.ServicerContext) -> airscrew_pb2.ExplainReply:
        found = self._fake.explanations.get((request.id.name, request.node_id))
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"execution {request.id.name} has no node {request.node_id!r}")
            raise AssertionError("an abort returns")
        return found

    def ListEvents(
        self, request: airscrew_pb2.ListEventsRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.ListEventsReply:
        page = int(request.token or 0)
        events = [event for event in self._fake.events if request.node_id in ("", event.node_id)]
        token = str(page + 2) if len(events) > page + 2 else ""
        return airscrew_pb2.ListEventsReply(events=events[page : page + 2], token=token)

    def EvictCache(
        self, request: airscrew_pb2.EvictCacheRequest, context: grpc.ServicerContext
    ) -> airscrew_pb2.EvictCacheReply:
        self._fake.evictions.append(request)
        return airscrew_pb2.EvictCacheReply(evicted=2)

    def StreamLogs(
        self, request: airscrew_pb2.StreamLogsRequest, context: grpc.ServicerContext
    ) -> Iterator[airscrew_pb2.StreamLogsReply]:
        attempt = request.attempt if request.HasField("attempt") else self._fake.latest_attempt
        content = self._fake.logs.get((request.id.name, request.node_id, attempt))
        if content is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"node {request.node_id} has no attempt {attempt}")
        pieces = [content[at : at + 4] for at in range(request.offset, len(content), 4)]
        breaks_at = self._fake.log_breaks.pop(0) if self._fake.log_breaks else None
        for piece in pieces[:breaks_at]:
            yield airscrew_pb2.StreamLogsReply(content=piece, attempt=attempt)
        if breaks_at is not None:
            _go_away(context)


def _go_away(context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the server goes away")
