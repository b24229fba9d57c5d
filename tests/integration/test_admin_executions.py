"""Executions as the unmodified SDK launches, lists, waits for, aborts and repeats them; their leader is a stand-in."""

from __future__ import annotations

import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from flyteidl.admin import common_pb2, execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import execution_pb2 as core
from flyteidl.core import identifier_pb2, literals_pb2
from flytekit.exceptions.user import FlyteInvalidInputException
from flytekit.models.common import Labels, RawOutputDataConfig
from flytekit.models.core.execution import NodeExecutionPhase, TaskExecutionPhase, WorkflowExecutionPhase
from flytekit.models.core.identifier import WorkflowExecutionIdentifier
from flytekit.models.filters import Equal
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution
from flytekit.tools.translator import Options

from libs.blob import layout
from libs.telemetry.traces import TraceContext
from libs.workflow.identity import EntityId
from libs.workflow.phases import AttemptPhase, ExecutionPhase, NodeKind, NodePhase
from libs.workflow.state import Data
from tests.support import flyte, waiting
from tests.support.admin import Door, Leader, door
from tests.support.sums import add, double, register, sums

pytestmark = pytest.mark.timeout(90)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def remote(user: flyte.Client) -> FlyteRemote:
    """A user who has registered `sums`."""
    remote = user.remote()
    register(remote)
    return remote


def literals(**values: int) -> bytes:
    message = literals_pb2.LiteralMap()
    for name, value in values.items():
        message.literals[name].scalar.primitive.integer = value
    return message.SerializeToString()


def error(message: str) -> bytes:
    return core.ExecutionError(
        code="USER:ValueError", message=message, kind=core.ExecutionError.USER
    ).SerializeToString()


def execute(remote: FlyteRemote, **options: object) -> FlyteWorkflowExecution:
    return remote.execute(remote.fetch_launch_plan(name=sums.name, version="v1"), inputs={"x": 1}, **options)


def task_id(of: object) -> EntityId:
    return EntityId(flyte.PROJECT, flyte.DOMAIN, of.name, "v1")  # type: ignore[attr-defined]


def succeed(leader: Leader, name: str, admin: Door) -> None:
    """What a propeller would have committed when `sums` has succeeded."""
    state = leader.load(name)
    done = NodePhase.SUCCEEDED
    large = f"{layout.attempt_prefix(admin.blob.root, state.id, 'n1', 0)}/{layout.OUTPUTS}"
    deck = f"{layout.attempt_prefix(admin.blob.root, state.id, 'n1', 0)}/{layout.DECK}"
    admin.run(admin.blob.write(large, literals(o0=6)))
    admin.run(admin.blob.write(deck, b"<h1>six</h1>"))
    nodes = [
        leader.node("start-node", done, NodeKind.START, outputs=state.inputs),
        leader.node("n0", done, NodeKind.SUBWORKFLOW, inputs=Data.of(literals(x=1)), outputs=Data.of(literals(o0=2))),
        leader.node("n0-0-start-node", done, NodeKind.START, spec_id="start-node", parent_id="n0"),
        leader.node(
            "n0-0-n0",
            done,
            spec_id="n0",
            parent_id="n0",
            task=task_id(double),
            inputs=Data.of(literals(x=1)),
            outputs=Data.of(literals(o0=2)),
        ),
        leader.node("n0-0-end-node", done, NodeKind.END, spec_id="end-node", parent_id="n0"),
        leader.node(
            "n1",
            done,
            task=task_id(double),
            inputs=Data.of(literals(x=3)),
            outputs=Data.at(large, len(literals(o0=6))),
            deck_uri=deck,
        ),
        leader.node(
            "n2",
            done,
            task=task_id(add),
            attempt=1,
            inputs=Data.of(literals(x=2, y=6)),
            outputs=Data.of(literals(o0=8)),
        ),
        leader.node("end-node", done, NodeKind.END, inputs=Data.of(literals(o0=8))),
    ]
    attempts = [
        leader.attempt("n0-0-n0", 0, AttemptPhase.SUCCEEDED),
        leader.attempt("n1", 0, AttemptPhase.SUCCEEDED),
        leader.attempt("n2", 0, AttemptPhase.RETRYABLE_FAILED, error=error("try again"), reason="it asked for it"),
        leader.attempt("n2", 1, AttemptPhase.SUCCEEDED),
    ]
    leader.commit(state, ExecutionPhase.RUNNING)
    leader.commit(state, ExecutionPhase.SUCCEEDED, nodes, attempts, outputs=Data.of(literals(o0=8)))


def test_a_launch_is_queued_with_its_inputs_completed(remote: FlyteRemote, leading: Leader) -> None:
    execution = execute(remote, execution_name="first")
    assert execution.id.name == "first"
    fetched = remote.fetch_execution(name="first")
    assert fetched.closure.phase == WorkflowExecutionPhase.QUEUED
    synced = remote.sync_execution(fetched)
    assert synced.inputs == {"x": 1, "y": 3}
    state = leading.load("first")
    assert state.workflow.name == sums.name
    assert state.intent.generation == 1


def test_what_was_asked_for_is_echoed(remote: FlyteRemote) -> None:
    execute(
        remote,
        execution_name="echo",
        envs={"A": "1"},
        tags=["nightly"],
        cluster_pool="pool",
        interruptible=True,
        overwrite_cache=True,
        options=Options(max_parallelism=7, raw_output_data_config=RawOutputDataConfig("/somewhere")),
    )
    spec = remote.fetch_execution(name="echo").spec
    assert spec.envs.envs == {"A": "1"}
    assert spec.tags == ["nightly"]
    assert spec.cluster_assignment.cluster_pool == "pool"
    assert spec.interruptible is True
    assert spec.overwrite_cache is True
    assert spec.max_parallelism == 7
    assert spec.raw_output_data_config.output_location_prefix == "/somewhere"


def test_generated_names_are_letters_and_digits(user: flyte.Client, remote: FlyteRemote) -> None:
    with user.stubs() as stubs:
        request = execution_pb2.ExecutionCreateRequest(project=flyte.PROJECT, domain=flyte.DOMAIN)
        request.spec.launch_plan.CopyFrom(remote.fetch_launch_plan(name=sums.name).id.to_flyte_idl())
        request.inputs.ParseFromString(literals(x=1))
        names = {stubs.admin.CreateExecution(request).id.name for _ in range(5)}
    assert len(names) == 5
    assert all(name.isalnum() and len(name) == 20 and name[0] == "a" for name in names)


def test_launching_twice_under_one_name_gives_the_one_that_exists(remote: FlyteRemote, admin: Door) -> None:
    first, second = execute(remote, execution_name="once"), execute(remote, execution_name="once")
    assert first.id == second.id
    assert len(remote.recent_executions()) == 1


def test_a_task_runs_on_its_own(user: flyte.Client, remote: FlyteRemote, leading: Leader) -> None:
    task = remote.fetch_task(name=double.name, version="v1")
    for name in ("alone", "alone-again"):
        execution = remote.execute(task, inputs={"x": 4}, execution_name=name)
        assert execution.spec.launch_plan.resource_type == identifier_pb2.TASK
        assert leading.load(name).workflow == EntityId(flyte.PROJECT, flyte.DOMAIN, f".flytegen.{double.name}", "v1")
    with pytest.raises(FlyteInvalidInputException, match=r"inputs\.x"):
        remote.execute(task, inputs={}, execution_name="empty")


def test_a_finished_execution_is_synced_with_all_its_nodes(admin: Door, remote: FlyteRemote, leading: Leader) -> None:
    execute(remote, execution_name="done")
    succeed(leading, "done", admin)
    execution = remote.sync_execution(remote.fetch_execution(name="done"), sync_nodes=True)

    assert execution.closure.phase == WorkflowExecutionPhase.SUCCEEDED
    assert execution.outputs == {"o0": 8}
    nodes = execution.node_executions
    assert set(nodes) == {"start-node", "n0", "n1", "n2", "end-node"}
    assert all(node.closure.phase == NodeExecutionPhase.SUCCEEDED for node in nodes.values())
    assert set(nodes["n0"].subworkflow_node_executions) == {"n0-0-start-node", "n0-0-n0", "n0-0-end-node"}
    assert nodes["n0"].metadata.is_parent_node
    assert nodes["n1"].outputs == {"o0": 6}
    assert nodes["n2"].inputs == {"x": 2, "y": 6}
    first, last = nodes["n2"].task_executions
    assert (first.closure.phase, last.closure.phase) == (TaskExecutionPhase.FAILED, TaskExecutionPhase.SUCCEEDED)
    assert first.closure.error.message == "try again"
    assert last.id.task_id.name == add.name
    assert last.id.retry_attempt == 1


def test_the_nodes_below_a_node_are_listed_by_their_parent(
    admin: Door, user: flyte.Client, remote: FlyteRemote, leading: Leader
) -> None:
    execute(remote, execution_name="nested")
    succeed(leading, "nested", admin)
    with user.stubs() as stubs:
        id = identifier_pb2.WorkflowExecutionIdentifier(project=flyte.PROJECT, domain=flyte.DOMAIN, name="nested")
        request = node_execution_pb2.NodeExecutionListRequest(workflow_execution_id=id, limit=2)
        seen: list[str] = []
        while True:
            page = stubs.admin.ListNodeExecutions(request)
            seen += [node.id.node_id for node in page.node_executions]
            if not page.token:
                break
            request.token = page.token
        assert sorted(seen) == ["end-node", "n0", "n1", "n2", "start-node"]
        request = node_execution_pb2.NodeExecutionListRequest(
            workflow_execution_id=id, limit=9, unique_parent_id="n0", filters="eq(phase,SUCCEEDED)"
        )
        below = stubs.admin.ListNodeExecutions(request).node_executions
    assert {node.metadata.spec_node_id for node in below} == {"start-node", "n0", "end-node"}
    assert {node.metadata.retry_group for node in below} == {"0"}


def test_an_attempt_is_found_under_its_own_task_only(
    admin: Door, user: flyte.Client, remote: FlyteRemote, leading: Leader
) -> None:
    execute(remote, execution_name="tasks")
    succeed(leading, "tasks", admin)
    with user.stubs() as stubs:
        node = identifier_pb2.NodeExecutionIdentifier(
            node_id="n1",
            execution_id=identifier_pb2.WorkflowExecutionIdentifier(
                project=flyte.PROJECT, domain=flyte.DOMAIN, name="tasks"
            ),
        )
        (found,) = stubs.admin.ListTaskExecutions(
            task_execution_pb2.TaskExecutionListRequest(node_execution_id=node, limit=9)
        ).task_executions
        assert stubs.admin.GetTaskExecution(task_execution_pb2.TaskExecutionGetRequest(id=found.id)) == found
        found.id.task_id.version = "other"
        for call, request in (
            (stubs.admin.GetTaskExecution, task_execution_pb2.TaskExecutionGetRequest(id=found.id)),
            (stubs.admin.GetTaskExecutionData, task_execution_pb2.TaskExecutionGetDataRequest(id=found.id)),
        ):
            with pytest.raises(grpc.RpcError, match=r"id\.task_id: node 'n1' .* runs another task") as caught:
                call(request, timeout=10)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_outputs_files_and_decks_are_found_by_their_short_names(
    admin: Door, remote: FlyteRemote, leading: Leader
) -> None:
    execute(remote, execution_name="short")
    succeed(leading, "short", admin)
    base = f"flyte://v1/{flyte.PROJECT}/{flyte.DOMAIN}/short"
    assert remote.get(f"{base}/n1/o").get("o0", as_type=int) == 6
    assert remote.get(f"{base}/n2/i/y").scalar.primitive.integer == 6
    assert remote.get(f"{base}/n2/1/o/o0").scalar.primitive.integer == 8
    assert remote.get(f"{base}/n2/0/o/o0") is None
    assert remote.get(f"{base}/n9/o") is None
    assert remote.get(f"{base}/n1/d") == remote.get(f"{base}/n1/0/d") == b"<h1>six</h1>"
    assert remote.get(f"{base}/n2/d") is None
    link = remote.client.get_download_artifact_signed_url("n1", flyte.PROJECT, flyte.DOMAIN, "short")
    (address,) = link.pre_signed_urls.signed_url
    assert f"metadata/propeller/{flyte.PROJECT}-{flyte.DOMAIN}-short/n1/data/0/deck.html" in address
    with urllib.request.urlopen(address, timeout=10) as page:
        assert page.read() == b"<h1>six</h1>"


def test_a_failed_execution_tells_its_error(remote: FlyteRemote, leading: Leader) -> None:
    execute(remote, execution_name="failed")
    state = leading.load("failed")
    node = leading.node("n1", NodePhase.FAILED, task=task_id(double), error=error("no luck"))
    attempt = leading.attempt("n1", 0, AttemptPhase.LOST, error=error("the executor is gone"))
    leading.commit(state, ExecutionPhase.FAILED, [node], [attempt], error=error("no luck"))

    execution = remote.sync_execution(remote.fetch_execution(name="failed"), sync_nodes=True)
    assert execution.closure.phase == WorkflowExecutionPhase.FAILED
    assert execution.error.message == "no luck"
    assert execution.node_executions["n1"].closure.error.message == "no luck"
    (lost,) = execution.node_executions["n1"].task_executions
    assert lost.closure.phase == TaskExecutionPhase.FAILED


def test_an_abort_shows_as_aborting_until_it_is_done(remote: FlyteRemote, leading: Leader) -> None:
    execution = execute(remote, execution_name="stop")
    leading.commit(leading.load("stop"), ExecutionPhase.RUNNING)
    remote.terminate(execution, "changed my mind")
    aborting = remote.fetch_execution(name="stop")
    assert aborting.closure.phase == WorkflowExecutionPhase.ABORTING
    assert [one.id.name for one in remote.recent_executions(filters=[Equal("phase", "ABORTING")])] == ["stop"]

    state = leading.load("stop")
    assert state.intent.generation == 2
    leading.commit(state, ExecutionPhase.ABORTED)
    aborted = remote.sync_execution(remote.fetch_execution(name="stop"), sync_nodes=True)
    assert aborted.closure.phase == WorkflowExecutionPhase.ABORTED
    assert aborted.closure.abort_metadata.cause == "changed my mind"


def test_a_late_abort_changes_nothing(remote: FlyteRemote, leading: Leader) -> None:
    execution = execute(remote, execution_name="late")
    leading.commit(leading.load("late"), ExecutionPhase.SUCCEEDED)
    remote.terminate(execution, "too late")
    assert remote.fetch_execution(name="late").closure.phase == WorkflowExecutionPhase.SUCCEEDED
    assert leading.load("late").intent.generation == 1


def test_a_relaunch_has_the_same_inputs_and_names_its_original(remote: FlyteRemote) -> None:
    first = execute(remote, execution_name="original", tags=["kept"])
    relaunched = remote.fetch_execution(name=remote.client.relaunch_execution(first.id).name)
    assert relaunched.spec.metadata.reference_execution == first.id
    assert relaunched.spec.metadata.mode == execution_pb2.ExecutionMetadata.RELAUNCH
    assert relaunched.spec.tags == ["kept"]
    assert remote.sync_execution(relaunched).inputs == {"x": 1, "y": 3}


def test_executions_are_found_by_their_labels_and_tags(user: flyte.Client, remote: FlyteRemote) -> None:
    execute(remote, execution_name="labelled", options=Options(labels=Labels({"team": "red"})))
    execute(remote, execution_name="tagged", tags=["red"])
    with user.stubs() as stubs:
        request = common_pb2.ResourceListRequest(
            id=common_pb2.NamedEntityIdentifier(project=flyte.PROJECT, domain=flyte.DOMAIN),
            limit=10,
            filters="value_in(execution_tag.key,team)+value_in(execution_tag.value,red)"
            "+value_in(phase,UNDEFINED;QUEUED;RUNNING)",
        )
        found = stubs.admin.ListExecutions(request).executions
        request.filters = "eq(execution_tag.key,red)"
        tagged = stubs.admin.ListExecutions(request).executions
    assert [execution.id.name for execution in found] == ["labelled"]
    assert [execution.id.name for execution in tagged] == ["tagged"]


def test_the_newest_come_first_page_by_page(remote: FlyteRemote) -> None:
    for number in range(5):
        execute(remote, execution_name=f"e{number}")
    assert [one.id.name for one in remote.recent_executions(limit=3)] == ["e4", "e3", "e2"]
    first, token = remote.client.list_executions_paginated(flyte.PROJECT, flyte.DOMAIN, limit=3)
    rest, last = remote.client.list_executions_paginated(flyte.PROJECT, flyte.DOMAIN, limit=3, token=token)
    assert len(first) == 3 and len(rest) == 2 and not last


def test_a_submission_and_an_abort_reach_the_queue(admin: Door, remote: FlyteRemote) -> None:
    execution = execute(remote, execution_name="queued")
    waiting.wait_until(lambda: admin.queued == 1)
    remote.terminate(execution, "no longer")
    waiting.wait_until(lambda: admin.queued == 2)


def test_the_trace_is_the_callers_or_a_new_one(admin: Door, user: flyte.Client, remote: FlyteRemote) -> None:
    request = execution_pb2.ExecutionCreateRequest(project=flyte.PROJECT, domain=flyte.DOMAIN, name="traced")
    request.spec.launch_plan.CopyFrom(remote.fetch_launch_plan(name=sums.name).id.to_flyte_idl())
    request.inputs.ParseFromString(literals(x=1))
    caller = TraceContext.parse(TRACEPARENT)
    assert caller is not None
    with user.stubs() as stubs:
        stubs.admin.CreateExecution(request, metadata=[("traceparent", TRACEPARENT)])
        request.name = "untraced"
        stubs.admin.CreateExecution(request, metadata=[("traceparent", "nonsense")])
    traced, untraced = [span for span in admin.spans.spans if span.name == "submit"][-2:]
    assert traced.context.trace_id == caller.trace_id
    assert [link.span_id for link in traced.links] == [caller.span_id]
    assert traced.parent_span_id not in (None, caller.span_id)
    assert untraced.context.trace_id != caller.trace_id
    assert untraced.links == ()
    assert untraced.attributes["flyte.execution.id"] == f"{flyte.PROJECT}:{flyte.DOMAIN}:untraced"


def test_large_inputs_lie_in_the_blob_store_and_are_given_out_by_address(sqlite_url: str, tmp_path: Path) -> None:
    with door(sqlite_url, tmp_path, inline_bytes=8, shown_bytes=16) as admin:
        client = flyte.Client(admin.endpoint, tmp_path / "home")
        remote = client.remote()
        register(remote)
        execute(remote, execution_name="large")
        data = remote.client.get_execution_data(_id("large"))
        assert not data.full_inputs.literals
        assert data.inputs.bytes == len(literals(x=1, y=3))
        with urllib.request.urlopen(data.inputs.url, timeout=10) as reply:
            found = literals_pb2.LiteralMap.FromString(reply.read())
        assert found.literals["y"].scalar.primitive.integer == 3
        assert remote.sync_execution(remote.fetch_execution(name="large")).inputs == {"x": 1, "y": 3}
        execute(remote, execution_name="large")
        kept = admin.run(admin.blob.list(admin.blob.join("metadata")))
        assert len(kept) == 1
        relaunched = remote.client.relaunch_execution(_id("large"))
        assert len(admin.run(admin.blob.list(admin.blob.join("metadata")))) == 2
        assert relaunched.name != "large"


def test_a_database_that_is_gone_makes_the_door_unavailable_at_once(sqlite_url: str, tmp_path: Path) -> None:
    with door(sqlite_url, tmp_path) as admin:
        client = flyte.Client(admin.endpoint, tmp_path / "home")
        register(client.remote())
        request = execution_pb2.ExecutionCreateRequest(project=flyte.PROJECT, domain=flyte.DOMAIN, name="later")
        request.spec.launch_plan.CopyFrom(client.remote().fetch_launch_plan(name=sums.name).id.to_flyte_idl())
        request.inputs.ParseFromString(literals(x=1))
        with client.stubs() as stubs:
            with _locked(Path(sqlite_url.removeprefix("sqlite:///"))), pytest.raises(grpc.RpcError) as refused:
                stubs.admin.CreateExecution(request, timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            assert stubs.admin.CreateExecution(request, timeout=10).id.name == "later"


def _id(name: str) -> WorkflowExecutionIdentifier:
    return WorkflowExecutionIdentifier(project=flyte.PROJECT, domain=flyte.DOMAIN, name=name)


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Somebody holds SQLite's only write lock."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.execute("ROLLBACK")
    connection.close()
