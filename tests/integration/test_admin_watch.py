"""Our own API: clients are told what has changed, see whole trees, and follow logs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.core import execution_pb2 as core
from flyteidl.core import identifier_pb2

from libs.blob import layout
from libs.workflow.errors import NotFound
from libs.workflow.identity import EntityId, ExecutionId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodeKind, NodePhase
from protos import airscrew_pb2, airscrew_pb2_grpc
from services.admin import hints
from services.admin.logtail import LogTail
from tests.support import flyte
from tests.support.admin import Door, Leader, door
from tests.support.sums import double, register, sums

pytestmark = pytest.mark.timeout(90)

ERROR = core.ExecutionError(code="USER:ValueError", message="no luck", kind=core.ExecutionError.USER)


@pytest.fixture
def ours(admin: Door, user: flyte.Client) -> Iterator[airscrew_pb2_grpc.AirscrewStub]:
    """Our service, where `sums` is registered."""
    register(user.remote())
    with grpc.insecure_channel(admin.endpoint) as channel:
        yield airscrew_pb2_grpc.AirscrewStub(channel)


def launch(user: flyte.Client, name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
    remote = user.remote()
    remote.execute(remote.fetch_launch_plan(name=sums.name), inputs={"x": 1}, execution_name=name)
    return identifier_pb2.WorkflowExecutionIdentifier(project=flyte.PROJECT, domain=flyte.DOMAIN, name=name)


def test_a_watcher_gets_the_present_state_then_changes_and_then_the_end(
    ours: airscrew_pb2_grpc.AirscrewStub, user: flyte.Client, leading: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "SAFETY_SECONDS", 3600.0)  # only a hint can tell it in time
    id = launch(user, "watched")
    stream = ours.WatchExecution(airscrew_pb2.WatchExecutionRequest(id=id, nodes=True), timeout=30)
    assert next(stream).execution.closure.phase == ExecutionPhase.QUEUED

    state = leading.load("watched")
    start = leading.node("start-node", NodePhase.SUCCEEDED, NodeKind.START)
    running = leading.node("n1", NodePhase.RUNNING)
    leading.commit(state, ExecutionPhase.RUNNING, [start, running])
    change = next(stream)
    assert change.execution.closure.phase == ExecutionPhase.RUNNING
    assert {node.id.node_id for node in change.nodes} == {"start-node", "n1"}

    running.phase = NodePhase.FAILED
    leading.commit(state, ExecutionPhase.FAILED, [running], error=ERROR.SerializeToString())
    change = next(stream)
    assert [node.id.node_id for node in change.nodes] == ["n1"]
    assert change.execution.closure.error.message == "no luck"
    assert list(stream) == []


def test_a_watch_of_what_is_final_tells_it_and_ends(
    ours: airscrew_pb2_grpc.AirscrewStub, user: flyte.Client, leading: Leader
) -> None:
    id = launch(user, "over")
    leading.commit(leading.load("over"), ExecutionPhase.SUCCEEDED)
    (only,) = ours.WatchExecution(airscrew_pb2.WatchExecutionRequest(id=id), timeout=30)
    assert only.execution.closure.phase == ExecutionPhase.SUCCEEDED
    assert not only.nodes


def test_a_watch_goes_on_without_the_queue(
    ours: airscrew_pb2_grpc.AirscrewStub, admin: Door, user: flyte.Client, leading: Leader
) -> None:
    id = launch(user, "deaf")
    stream = ours.WatchExecution(airscrew_pb2.WatchExecutionRequest(id=id), timeout=30)
    next(stream)
    admin.run(admin.queue.stop())
    leading.commit(leading.load("deaf"), ExecutionPhase.SUCCEEDED)
    assert next(stream).execution.closure.phase == ExecutionPhase.SUCCEEDED


def test_an_unknown_execution_cannot_be_watched(ours: airscrew_pb2_grpc.AirscrewStub) -> None:
    id = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="nowhere")
    with pytest.raises(grpc.RpcError) as refused:
        next(ours.WatchExecution(airscrew_pb2.WatchExecutionRequest(id=id), timeout=10))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_project_is_watched_for_what_changes_in_it_from_now_on(
    ours: airscrew_pb2_grpc.AirscrewStub, user: flyte.Client, leading: Leader
) -> None:
    launch(user, "old")
    launch(user, "mine")
    request = airscrew_pb2.WatchExecutionsRequest(
        project=flyte.PROJECT, domain=flyte.DOMAIN, filters="eq(phase,RUNNING)"
    )
    stream = ours.WatchExecutions(request, timeout=30)
    stream.initial_metadata()  # from now on nothing is missed
    leading.commit(leading.load("mine"), ExecutionPhase.RUNNING)
    assert [execution.id.name for execution in next(stream).executions] == ["mine"]
    stream.cancel()


def test_a_bad_filter_ends_the_watch_with_its_reason(ours: airscrew_pb2_grpc.AirscrewStub) -> None:
    request = airscrew_pb2.WatchExecutionsRequest(project="p", domain="d", filters="eq(colour,red)")
    with pytest.raises(grpc.RpcError) as refused:
        next(ours.WatchExecutions(request, timeout=10))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "colour" in refused.value.details()


def test_a_tree_has_all_nodes_with_their_attempts_and_exact_phases(
    ours: airscrew_pb2_grpc.AirscrewStub, user: flyte.Client, leading: Leader
) -> None:
    id = launch(user, "tree")
    state = leading.load("tree")
    task = EntityId(flyte.PROJECT, flyte.DOMAIN, double.name, "v1")
    nodes = [
        leading.node("start-node", NodePhase.SUCCEEDED, NodeKind.START),
        leading.node("n0", NodePhase.RUNNING, NodeKind.SUBWORKFLOW),
        leading.node("n0-0-n0", NodePhase.RUNNING, spec_id="n0", parent_id="n0", task=task, attempt=1),
        leading.node("n1", NodePhase.QUEUED, task=task),
    ]
    attempts = [
        leading.attempt("n0-0-n0", 0, AttemptPhase.LOST, error=ERROR.SerializeToString(), reason="executor is gone"),
        leading.attempt("n0-0-n0", 1, AttemptPhase.RUNNING),
    ]
    leading.commit(state, ExecutionPhase.RUNNING, nodes, attempts)
    tree = ours.GetTree(airscrew_pb2.GetTreeRequest(id=id), timeout=10)
    assert [node.node.id.node_id for node in tree.nodes] == ["start-node", "n0", "n0-0-n0", "n1"]
    assert [node.kind for node in tree.nodes] == ["start", "subworkflow", "task", "task"]
    below = tree.nodes[2]
    assert (below.parent_id, below.task) == ("n0", double.name)
    assert [attempt.phase for attempt in below.attempts] == ["LOST", "RUNNING"]
    assert below.attempts[0].error == "no luck"
    assert below.attempts[0].reason == "executor is gone"
    assert below.attempts[1].ended_us == 0
    assert tree.trace_id == state.traceparent.split("-")[1]


def test_a_log_is_read_from_any_byte_and_of_any_attempt(
    ours: airscrew_pb2_grpc.AirscrewStub, admin: Door, user: flyte.Client, leading: Leader
) -> None:
    id = launch(user, "logged")
    state = leading.load("logged")
    attempts = [
        leading.attempt("n1", 0, AttemptPhase.RETRYABLE_FAILED),
        leading.attempt("n1", 1, AttemptPhase.SUCCEEDED),
    ]
    leading.commit(state, ExecutionPhase.SUCCEEDED, [leading.node("n1", NodePhase.SUCCEEDED, attempt=1)], attempts)
    _write(admin, "logged", 0, b"first try\n")
    _write(admin, "logged", 1, b"second try\n")
    request = airscrew_pb2.StreamLogsRequest(id=id, node_id="n1")
    assert _read(ours, request) == (1, b"second try\n")
    assert _read(ours, airscrew_pb2.StreamLogsRequest(id=id, node_id="n1", offset=7)) == (1, b"try\n")
    assert _read(ours, airscrew_pb2.StreamLogsRequest(id=id, node_id="n1", attempt=0)) == (0, b"first try\n")
    for missing in (
        airscrew_pb2.StreamLogsRequest(id=id, node_id="n9"),
        airscrew_pb2.StreamLogsRequest(id=id, node_id="n1", attempt=7, follow=True),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            _read(ours, missing)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_log_is_followed_from_before_its_attempt_begins_until_it_ends(
    ours: airscrew_pb2_grpc.AirscrewStub,
    admin: Door,
    user: flyte.Client,
    leading: Leader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    id = launch(user, "followed")
    looked, read = threading.Event(), threading.Event()
    number = LogTail._number

    async def found(*where: Any) -> int:
        try:
            return await number(*where)
        except NotFound:
            looked.set()
            raise

    monkeypatch.setattr(LogTail, "_number", found)

    def run() -> None:
        assert looked.wait(20)
        state = leading.load("followed")
        node = leading.node("n1", NodePhase.RUNNING)
        leading.commit(state, ExecutionPhase.RUNNING, [node], [leading.attempt("n1", 0, AttemptPhase.RUNNING)])
        _write(admin, "followed", 0, b"one\n")
        assert read.wait(20)
        _write(admin, "followed", 0, b"one\ntwo\n")
        node.phase = NodePhase.SUCCEEDED
        leading.commit(state, nodes=[node], attempts=[leading.attempt("n1", 0, AttemptPhase.SUCCEEDED)])

    thread = threading.Thread(target=run)
    thread.start()
    content = b""
    for reply in ours.StreamLogs(airscrew_pb2.StreamLogsRequest(id=id, node_id="n1", follow=True), timeout=30):
        content += reply.content
        read.set()
    thread.join()
    assert content == b"one\ntwo\n"


def test_watchers_are_told_to_ask_another_replica_when_this_one_stops(sqlite_url: str, tmp_path: Path) -> None:
    with door(sqlite_url, tmp_path) as opened:
        client = flyte.Client(opened.endpoint, tmp_path / "home")
        register(client.remote())
        id = launch(client, "outlives")
        channel = grpc.insecure_channel(opened.endpoint)
        stream = airscrew_pb2_grpc.AirscrewStub(channel).WatchExecution(
            airscrew_pb2.WatchExecutionRequest(id=id), timeout=30
        )
        next(stream)
    with pytest.raises(grpc.RpcError) as ended:
        next(stream)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "stopping" in ended.value.details()
    channel.close()


def _write(admin: Door, name: str, attempt: int, content: bytes) -> None:
    uri = layout.log_uri(admin.blob.root, ExecutionId(flyte.PROJECT, flyte.DOMAIN, name), "n1", attempt)
    admin.run(admin.blob.write(uri, content))


def _read(ours: airscrew_pb2_grpc.AirscrewStub, request: airscrew_pb2.StreamLogsRequest) -> tuple[int, bytes]:
    replies = list(ours.StreamLogs(request, timeout=10))
    return replies[0].attempt, b"".join(reply.content for reply in replies)
