"""Bad requests get the right status, a message that names what is wrong, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import common_pb2 as common
from flyteidl.admin import execution_pb2 as execution
from flyteidl.admin import launch_plan_pb2 as launch_plan
from flyteidl.admin import project_pb2 as project
from flyteidl.admin import signal_pb2 as signal
from flyteidl.admin import task_pb2 as task
from flyteidl.core import identifier_pb2 as identifier
from flyteidl.service import dataproxy_pb2 as dataproxy
from google.protobuf import duration_pb2
from sqlalchemy import create_engine, func, select

from libs.store import schema
from protos import airscrew_pb2
from tests.support import flyte, refusal_cases
from tests.support.admin import Door, door
from tests.support.refusal_cases import PLAN, REFUSALS, TAKEN, Refusal, good_inputs
from tests.support.smalltasks import Registrar

Status = grpc.StatusCode

pytestmark = pytest.mark.timeout(60)


def _create(**changed: Any) -> Callable[[Registrar], Any]:
    """A good launch with these parts of its request changed."""

    def send(registrar: Registrar) -> Any:
        good = execution.ExecutionCreateRequest(
            project=registrar.project,
            domain=registrar.domain,
            spec=execution.ExecutionSpec(launch_plan=registrar.id(identifier.LAUNCH_PLAN, PLAN)),
            inputs=good_inputs(),
        )
        good.MergeFrom(execution.ExecutionCreateRequest(**changed))
        return registrar.stubs.admin.CreateExecution(good, timeout=10)

    return send


def _spec(**changed: Any) -> Callable[[Registrar], Any]:
    return _create(spec=execution.ExecutionSpec(**changed))


def _task(**changed: Any) -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        request = task.TaskCreateRequest(id=registrar.id(identifier.TASK, "new"))
        request.spec.template.type = "python-task"
        request.spec.template.container.image = "image"
        request.spec.template.container.args.append("pyflyte-execute")
        request.MergeFrom(task.TaskCreateRequest(**changed))
        return registrar.stubs.admin.CreateTask(request, timeout=10)

    return send


def _plan(**changed: Any) -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        spec = launch_plan.LaunchPlanSpec(workflow_id=registrar.id(identifier.WORKFLOW, PLAN))
        spec.MergeFrom(launch_plan.LaunchPlanSpec(**changed))
        id = registrar.id(identifier.LAUNCH_PLAN, "new")
        return registrar.stubs.admin.CreateLaunchPlan(launch_plan.LaunchPlanCreateRequest(id=id, spec=spec), timeout=10)

    return send


def _generated_workflow(registrar: Registrar) -> Any:
    return registrar.workflow(".flytegen.typed", [])


def _relaunch(name: str, new: str = "") -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        request = execution.ExecutionRelaunchRequest(id=registrar.execution_id(name), name=new)
        return registrar.stubs.admin.RelaunchExecution(request, timeout=10)

    return send


def _recover(name: str) -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        request = execution.ExecutionRecoverRequest(id=registrar.execution_id(name))
        return registrar.stubs.admin.RecoverExecution(request, timeout=10)

    return send


def _upload(**changed: Any) -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        fields = {"project": registrar.project, "domain": registrar.domain, "filename": "f", "content_md5": bytes(16)}
        return registrar.stubs.data.CreateUploadLocation(
            dataproxy.CreateUploadLocationRequest(**{**fields, **changed}), timeout=10
        )

    return send


def _call(service: str, method: str, request: Any) -> Callable[[Registrar], Any]:
    return lambda registrar: getattr(getattr(registrar.stubs, service), method)(request, timeout=10)


_Evict = airscrew_pb2.EvictCacheRequest
_SOMEWHERE = identifier.WorkflowExecutionIdentifier(project="p", domain="d", name="nowhere")

MORE = [
    Refusal(
        "no launch plan",
        _call("admin", "CreateExecution", execution.ExecutionCreateRequest(project="p", domain="development")),
        Status.INVALID_ARGUMENT,
        ("spec.launch_plan",),
    ),
    Refusal("unfit project", _create(project="Upper_Case"), Status.INVALID_ARGUMENT, ("project", "Upper_Case")),
    Refusal("unknown domain", _create(domain="moon"), Status.INVALID_ARGUMENT, ("domain", "moon", "development")),
    Refusal("an organisation", _create(org="acme"), Status.INVALID_ARGUMENT, ("org",)),
    Refusal("negative parallelism", _spec(max_parallelism=-1), Status.INVALID_ARGUMENT, ("max_parallelism",)),
    Refusal(
        "a workflow launched",
        _spec(launch_plan=identifier.Identifier(resource_type=identifier.WORKFLOW)),
        Status.INVALID_ARGUMENT,
        ("spec.launch_plan.resource_type", "WORKFLOW"),
    ),
    Refusal(
        "something unheard of launched",
        _spec(launch_plan=identifier.Identifier(resource_type=99)),
        Status.INVALID_ARGUMENT,
        ("spec.launch_plan.resource_type", "99"),
    ),
    Refusal("NUL in a tag", _spec(tags=["a\0b"]), Status.INVALID_ARGUMENT, ("spec.tags", "NUL")),
    Refusal("a tag that is too long", _spec(tags=["a" * 256]), Status.INVALID_ARGUMENT, ("spec.tags", "255")),
    Refusal(
        "a parent that does not exist",
        _spec(
            metadata=execution.ExecutionMetadata(
                parent_node_execution=identifier.NodeExecutionIdentifier(
                    node_id="n0",
                    execution_id=identifier.WorkflowExecutionIdentifier(project="p", domain="d", name="lost"),
                )
            )
        ),
        Status.INVALID_ARGUMENT,
        ("spec.metadata.parent_node_execution", "lost"),
    ),
    Refusal(
        "execution environments",
        _spec(execution_env_assignments=[{"node_ids": ["n0"]}]),
        Status.UNIMPLEMENTED,
        ("execution_env_assignments",),
    ),
    Refusal("relaunch of an unknown execution", _relaunch("nowhere"), Status.NOT_FOUND, ("nowhere",)),
    Refusal("relaunch under a name in use", _relaunch(TAKEN, TAKEN), Status.ALREADY_EXISTS, (TAKEN,)),
    Refusal("relaunch under an unfit name", _relaunch(TAKEN, "No"), Status.INVALID_ARGUMENT, ("name", "No")),
    Refusal(
        "task without a name",
        _call(
            "admin",
            "CreateTask",
            task.TaskCreateRequest(id=identifier.Identifier(project="p", domain="development", version="1")),
        ),
        Status.INVALID_ARGUMENT,
        ("id.name",),
    ),
    Refusal(
        "task of another id than its template",
        _task(spec={"template": {"id": {"project": "p", "domain": "d", "name": "other", "version": "1"}}}),
        Status.INVALID_ARGUMENT,
        ("spec.template.id",),
    ),
    Refusal("task of a cluster", _task(spec={"template": {"type": "spark"}}), Status.UNIMPLEMENTED, ("spark",)),
    Refusal("a name that is ours", _generated_workflow, Status.INVALID_ARGUMENT, ("id.name", ".flytegen.")),
    Refusal(
        "launch plan of an unknown workflow",
        _plan(workflow_id={"name": "unknown"}),
        Status.NOT_FOUND,
        ("unknown",),
    ),
    Refusal(
        "default of an unknown input",
        _plan(default_inputs={"parameters": {"colour": {"required": True}}}),
        Status.INVALID_ARGUMENT,
        ("default_inputs.colour",),
    ),
    Refusal(
        "fixed input of another type",
        _plan(fixed_inputs={"literals": {"count": refusal_cases.string("three")}}),
        Status.INVALID_ARGUMENT,
        ("fixed_inputs.count",),
    ),
    Refusal("concurrency", _plan(concurrency_policy={"max": 1}), Status.UNIMPLEMENTED, ("concurrency_policy",)),
    Refusal("upload of half an MD5", _upload(content_md5=bytes(8)), Status.INVALID_ARGUMENT, ("content_md5", "8")),
    Refusal(
        "upload for longer than allowed",
        _upload(expires_in=duration_pb2.Duration(seconds=86_400)),
        Status.INVALID_ARGUMENT,
        ("expires_in", "86400"),
    ),
    Refusal(
        "upload to a folder elsewhere", _upload(filename_root="a/../b"), Status.INVALID_ARGUMENT, ("filename_root",)
    ),
    Refusal(
        "download location",
        _call("data", "CreateDownloadLocation", dataproxy.CreateDownloadLocationRequest(native_url="/etc/passwd")),
        Status.UNIMPLEMENTED,
        ("CreateDownloadLocation",),
    ),
    Refusal("recovery of an unknown execution", _recover("nowhere"), Status.NOT_FOUND, ("nowhere",)),
    Refusal("recovery of what has not ended", _recover(TAKEN), Status.FAILED_PRECONDITION, (TAKEN, "QUEUED")),
    Refusal(
        "signal without a value",
        _call("signal", "SetSignal", signal.SignalSetRequest(id={"signal_id": "s", "execution_id": _SOMEWHERE})),
        Status.INVALID_ARGUMENT,
        ("value",),
    ),
    Refusal(
        "signals by a field that they have not",
        _call("signal", "ListSignals", signal.SignalListRequest(workflow_execution_id=_SOMEWHERE, filters="eq(a,b)")),
        Status.INVALID_ARGUMENT,
        ("filters", "'a'"),
    ),
    Refusal(
        "signal of propeller's",
        _call("signal", "GetOrCreateSignal", signal.SignalGetOrCreateRequest()),
        Status.UNIMPLEMENTED,
        ("GetOrCreateSignal",),
    ),
    Refusal(
        "an eviction of nothing in particular",
        _call("airscrew", "EvictCache", _Evict()),
        Status.INVALID_ARGUMENT,
        ("task", "made"),
    ),
    Refusal(
        "an eviction of a task without a name",
        _call("airscrew", "EvictCache", _Evict(task=_Evict.Task(project="p", domain="d"))),
        Status.INVALID_ARGUMENT,
        ("task.name",),
    ),
    Refusal(
        "an eviction of an unknown execution",
        _call("airscrew", "EvictCache", _Evict(made=_Evict.Made(execution_id=_SOMEWHERE))),
        Status.NOT_FOUND,
        ("nowhere",),
    ),
    Refusal(
        "flyte address outside the grammar",
        _call("data", "GetData", dataproxy.GetDataRequest(flyte_url="flyte://v1/p/d/e")),
        Status.INVALID_ARGUMENT,
        ("flyte_url",),
    ),
    Refusal(
        "project with domains of its own",
        _call(
            "admin",
            "RegisterProject",
            project.ProjectRegisterRequest(project=project.Project(id="p2", domains=[project.Domain(id="moon")])),
        ),
        Status.INVALID_ARGUMENT,
        ("project.domains",),
    ),
    Refusal(
        "project with an unfit id",
        _call("admin", "RegisterProject", project.ProjectRegisterRequest(project=project.Project(id="No good"))),
        Status.INVALID_ARGUMENT,
        ("project.id",),
    ),
    Refusal(
        "a limit beyond reason",
        _call(
            "admin",
            "ListTasks",
            common.ResourceListRequest(id=common.NamedEntityIdentifier(project="p", domain="d"), limit=10**6),
        ),
        Status.INVALID_ARGUMENT,
        ("limit",),
    ),
    Refusal(
        "a list of nothing in particular",
        _call("admin", "ListTasks", common.ResourceListRequest(limit=1)),
        Status.INVALID_ARGUMENT,
        ("id.project",),
    ),
]


@pytest.fixture(scope="module")
def refusing_door(migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    directory = tmp_path_factory.mktemp("refusals")
    database = directory / "airscrew.db"
    database.write_bytes(migrated_sqlite_file.read_bytes())
    with door(f"sqlite:///{database}", directory) as opened:
        yield opened


@pytest.fixture(scope="module")
def refusing(refusing_door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registrar]:
    client = flyte.Client(refusing_door.endpoint, tmp_path_factory.mktemp("home"))
    with client.stubs() as stubs:
        registrar = Registrar(stubs, project="refusals")
        refusal_cases.prepare(registrar)
        yield registrar


def _rows(opened: Door) -> dict[str, int]:
    """How many rows each table has that a client can cause."""
    tables = (schema.tasks, schema.workflows, schema.launch_plans, schema.executions, schema.projects)
    engine = create_engine(opened.database_url)
    with engine.connect() as connection:
        rows = {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}
    engine.dispose()
    return rows


@pytest.mark.parametrize("refusal", [*REFUSALS, *MORE], ids=lambda refusal: refusal.name)
def test_a_bad_request_is_refused_by_name_and_stores_nothing(
    refusing: Registrar, refusing_door: Door, refusal: Refusal
) -> None:
    before = _rows(refusing_door)
    with pytest.raises(grpc.RpcError) as refused:
        refusal.send(refusing)
    assert refused.value.code() == refusal.status, refused.value.details()
    for name in refusal.names:
        assert name in refused.value.details()
    allowed = {"launch_plans": 1} if refusal.name == "activation of a schedule" else {}
    assert _rows(refusing_door) == {table: rows + allowed.get(table, 0) for table, rows in before.items()}
