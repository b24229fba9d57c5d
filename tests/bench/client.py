"""The client that is timed: it submits, and learns from the watch stream what has become of it.

Its stream of all executions of the project is open before the clock starts, as that of any program which submits more
than once. Everything happens in one thread: gRPC's blocking calls cost less than its asynchronous ones when nothing
else is to be done meanwhile.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import grpc
from flyteidl.admin import execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2, literals_pb2

from protos import airscrew_pb2
from tests.support.flyte import DOMAIN, PROJECT, Stubs
from tests.support.flytetypes import value

PATIENCE_SECONDS = 300.0
"""How long is waited for what was submitted together. The stream has no deadline of its own: a case keeps it open for
all its runs.
"""
PAGE = 1_000
_FINAL = frozenset(
    core_execution_pb2.WorkflowExecution.Phase.Value(name) for name in ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")
)
INPUT = value(7)


class Client:
    """One project's executions, as they begin and end."""

    def __init__(self, stubs: Stubs, prefix: str) -> None:
        """Names of executions begin with `prefix`, so that a system may be measured more than once."""
        self._stubs = stubs
        self._prefix = prefix
        self._numbers = itertools.count()
        self._call: grpc.Call | None = None
        self._watch: Iterator[airscrew_pb2.WatchExecutionsReply] | None = None
        """What `_call` tells."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The stream is open, and has told what there was before."""
        asked = airscrew_pb2.WatchExecutionsRequest(project=PROJECT, domain=DOMAIN)
        call = self._stubs.airscrew.WatchExecutions(asked)
        self._call, self._watch = call, iter(call)
        try:
            with self.patience():
                call.initial_metadata()  # it is being served
            yield
        finally:
            call.cancel()
            self._call = self._watch = None

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Ends the stream should the block take longer than `PATIENCE_SECONDS`. Entered before the clock starts, for it
        starts a thread.
        """
        assert self._call is not None
        timer = threading.Timer(PATIENCE_SECONDS, self._call.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def run(
        self, plan: identifier_pb2.Identifier, count: int = 1, given: literals_pb2.Literal = INPUT
    ) -> tuple[float, list[str]]:
        """Submits so many executions at once and waits for the outputs of all: seconds, and their names."""
        requests = [self._request(plan, given) for _ in range(count)]
        with self.patience():
            began = time.perf_counter()
            if count == 1:
                self._stubs.admin.CreateExecution(requests[0], timeout=60)
            else:
                calls = [self._stubs.admin.CreateExecution.future(request, timeout=60) for request in requests]
                for call in calls:
                    call.result()
            self.outputs(request.name for request in requests)
            seconds = time.perf_counter() - began
        return seconds, [request.name for request in requests]

    def run_in_bulk(self, plan: identifier_pb2.Identifier, count: int) -> tuple[float, list[str]]:
        """The same, submitted by the RPC for many."""
        first, *_ = requests = [self._request(plan, INPUT) for _ in range(count)]
        common = execution_pb2.ExecutionCreateRequest()
        common.CopyFrom(first)
        common.ClearField("name")
        items = [airscrew_pb2.SubmitExecutionsRequest.Item(name=request.name) for request in requests]
        with self.patience():
            began = time.perf_counter()
            sent = iter([airscrew_pb2.SubmitExecutionsRequest(common=common, items=items)])
            for reply in self._stubs.airscrew.SubmitExecutions(sent, timeout=60):
                outcomes = {result.outcome for result in reply.results}
                assert outcomes == {airscrew_pb2.SubmitExecutionsReply.OUTCOME_CREATED}
            self.outputs(item.name for item in items)
            seconds = time.perf_counter() - began
        return seconds, [item.name for item in items]

    def outputs(self, names: Sequence[str] | Iterator[str]) -> dict[str, literals_pb2.LiteralMap]:
        """What these executions returned, as soon as the last of them has.

        Raises TimeoutError, which names one that has not ended, when `patience` ends the stream.
        """
        waiting = set(names)
        outputs: dict[str, literals_pb2.LiteralMap] = {}
        while waiting:
            for execution in self._told(waiting):
                name, closure = execution.id.name, execution.closure
                if name not in waiting or closure.phase not in _FINAL:
                    continue
                assert closure.phase == core_execution_pb2.WorkflowExecution.SUCCEEDED, f"{name}: {closure.error}"
                waiting.discard(name)
                outputs[name] = self._given(execution)
        assert all("o0" in each.literals for each in outputs.values())
        return outputs

    def _told(self, waiting: Collection[str]) -> Sequence[execution_pb2.Execution]:
        """What has changed, while these are waited for."""
        assert self._watch is not None
        try:
            return next(self._watch).executions
        except grpc.RpcError as error:
            # The error of a call is a grpc.Call too, which its type does not say.
            if cast(Any, error).code() is not grpc.StatusCode.CANCELLED:
                raise
            raise TimeoutError(
                f"{min(waiting)} and {len(waiting) - 1} others have not ended in {PATIENCE_SECONDS:g} seconds"
            ) from None

    def id(self, name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
        return identifier_pb2.WorkflowExecutionIdentifier(project=PROJECT, domain=DOMAIN, name=name)

    def hops(self, name: str, began_us: int, ended_us: int) -> dict[str, float]:
        """Where the time of an execution went, in milliseconds that add up to the whole, by the times that it has kept.

        Everything has one clock here. `submit` ends when admin has accepted it, `begin` when its leader's first turn
        begins, `dispatch` when its first task is being answered; between tasks `report` ends and the next `dispatch`
        begins with the leader's next turn; `tell` ends when the client has the outputs.
        """
        id = self.id(name)
        shown = self._stubs.admin.GetExecution(execution_pb2.WorkflowExecutionGetRequest(id=id), timeout=60).closure
        nodes = (node for node in self._nodes(id) if not node.id.node_id.endswith("-node"))
        attempts = sorted(self._attempt(node).closure.started_at.ToMicroseconds() for node in nodes)
        turns = sorted(node.closure.created_at.ToMicroseconds() for node in self._nodes(id))
        begun = shown.started_at.ToMicroseconds()
        over = begun + shown.duration.ToMicroseconds()
        dispatch = report = 0
        at = begun
        for number, answered in enumerate(attempts):
            dispatch += answered - at
            at = over if number == len(attempts) - 1 else next(turn for turn in turns if turn > answered)
            report += at - answered
        created = shown.created_at.ToMicroseconds()
        spans = {"submit": created - began_us, "begin": begun - created, "dispatch": dispatch, "report": report}
        return {hop: us / 1000 for hop, us in (spans | {"tell": ended_us - over}).items()}

    def _attempt(self, node: node_execution_pb2.NodeExecution) -> task_execution_pb2.TaskExecution:
        request = task_execution_pb2.TaskExecutionListRequest(node_execution_id=node.id, limit=10)
        (only,) = self._stubs.admin.ListTaskExecutions(request, timeout=60).task_executions
        return only

    def check(self, name: str, tasks: int) -> None:
        """Every task is a node with one attempt, as Flyte's own lists tell."""
        id = self.id(name)
        nodes = list(self._nodes(id))
        ran = [node for node in nodes if node.metadata.spec_node_id not in ("start-node", "end-node")]
        assert len(ran) == tasks, f"{name}: {len(ran)} nodes of {tasks} are listed"
        for node in ran:
            phase = self._attempt(node).closure.phase
            assert phase == core_execution_pb2.TaskExecution.SUCCEEDED, f"{name}/{node.id.node_id}: {phase}"

    def _given(self, execution: execution_pb2.Execution) -> literals_pb2.LiteralMap:
        """The outputs, from the stream if they are small enough for it."""
        given = execution.closure.outputs.values
        if given.literals:
            return given
        request = execution_pb2.WorkflowExecutionGetDataRequest(id=execution.id)
        return self._stubs.admin.GetExecutionData(request, timeout=60).full_outputs

    def _nodes(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Iterator[node_execution_pb2.NodeExecution]:
        token = ""
        while True:
            request = node_execution_pb2.NodeExecutionListRequest(workflow_execution_id=id, limit=PAGE, token=token)
            reply = self._stubs.admin.ListNodeExecutions(request, timeout=60)
            yield from reply.node_executions
            token = reply.token
            if not token:
                return

    def _request(
        self, plan: identifier_pb2.Identifier, given: literals_pb2.Literal
    ) -> execution_pb2.ExecutionCreateRequest:
        return execution_pb2.ExecutionCreateRequest(
            project=PROJECT,
            domain=DOMAIN,
            name=f"{self._prefix}{next(self._numbers)}",
            spec=execution_pb2.ExecutionSpec(
                launch_plan=plan, metadata=execution_pb2.ExecutionMetadata(mode=execution_pb2.ExecutionMetadata.MANUAL)
            ),
            inputs=literals_pb2.LiteralMap(literals={"x": given}),
        )
