"""Requests that must be refused: what is wrong with each, the status it deserves, and what its message must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import common_pb2 as common
from flyteidl.admin import execution_pb2 as execution
from flyteidl.admin import launch_plan_pb2 as launch_plan
from flyteidl.admin import schedule_pb2 as schedule
from flyteidl.admin import signal_pb2 as signal
from flyteidl.admin import task_pb2 as task
from flyteidl.core import identifier_pb2 as identifier
from flyteidl.core import interface_pb2 as interface
from flyteidl.core import literals_pb2 as literals
from flyteidl.core import tasks_pb2 as tasks
from flyteidl.core import types_pb2 as types
from flyteidl.core import workflow_pb2 as workflow
from flyteidl.service import dataproxy_pb2 as dataproxy
from grpc import StatusCode as Status

from tests.support.smalltasks import Registrar

PLAN = "typed"
PLAN_WITH_FIXED = "typed-with-fixed"
TASK = "typed"
TAKEN = "taken"

INTEGER = types.LiteralType(simple=types.INTEGER)
ROWS = types.LiteralType(
    collection_type=types.LiteralType(map_value_type=types.LiteralType(simple=types.FLOAT)),
)
TYPED_INPUTS = interface.VariableMap(
    variables={
        "count": interface.Variable(type=INTEGER, description="how many"),
        "rows": interface.Variable(type=ROWS, description="a list of maps to floats"),
    }
)


@dataclass(frozen=True)
class Refusal:
    """One bad request."""

    name: str
    send: Callable[[Registrar], Any]
    status: Status
    names: tuple[str, ...]
    """Every one of these must be in the message."""


def prepare(registrar: Registrar) -> None:
    """Registers the typed task, its workflow, two launch plans, and starts an execution that takes a name."""
    registrar.register_project()
    task_id = registrar.task(TASK, ["pyflyte-execute"], inputs=TYPED_INPUTS)
    node = workflow.Node(
        id="n0",
        metadata=workflow.NodeMetadata(name="n0"),
        inputs=[_from_input("count"), _from_input("rows")],
        task_node=workflow.TaskNode(reference_id=task_id),
    )
    registrar.workflow(PLAN, [node], inputs=TYPED_INPUTS)
    workflow_id = registrar.id(identifier.WORKFLOW, PLAN)
    registrar.launch_plan(PLAN_WITH_FIXED, workflow_id, fixed=literals.LiteralMap(literals={"count": integer(3)}))
    registrar.launch(registrar.id(identifier.LAUNCH_PLAN, PLAN), TAKEN, inputs=good_inputs())


def integer(value: int) -> literals.Literal:
    return literals.Literal(scalar=literals.Scalar(primitive=literals.Primitive(integer=value)))


def string(value: str) -> literals.Literal:
    return literals.Literal(scalar=literals.Scalar(primitive=literals.Primitive(string_value=value)))


def number(value: float) -> literals.Literal:
    return literals.Literal(scalar=literals.Scalar(primitive=literals.Primitive(float_value=value)))


def rows(*values: literals.Literal) -> literals.Literal:
    """A list of maps with one entry `x`."""
    maps = [literals.Literal(map=literals.LiteralMap(literals={"x": value})) for value in values]
    return literals.Literal(collection=literals.LiteralCollection(literals=maps))


def good_inputs(**changed: literals.Literal) -> literals.LiteralMap:
    return literals.LiteralMap(literals={"count": integer(1), "rows": rows(number(1.5)), **changed})


def _from_input(name: str) -> literals.Binding:
    promise = types.OutputReference(node_id="", var=name)
    return literals.Binding(var=name, binding=literals.BindingData(promise=promise))


def _launch(
    name: str = "", plan: str = PLAN, version: str = "small", **inputs: literals.Literal
) -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        entity = registrar.id(identifier.LAUNCH_PLAN, plan, version)
        return registrar.launch(entity, name, inputs=literals.LiteralMap(literals=inputs))

    return send


def _launch_good(name: str = "", **changed: literals.Literal) -> Callable[[Registrar], Any]:
    return _launch(name, **dict(good_inputs(**changed).literals))


def _list_executions(**fields: Any) -> Callable[[Registrar], Any]:
    def send(registrar: Registrar) -> Any:
        id_ = common.NamedEntityIdentifier(project=registrar.project, domain=registrar.domain)
        request = common.ResourceListRequest(**{"id": id_, "limit": 10, **fields})
        return registrar.stubs.admin.ListExecutions(request, timeout=10)

    return send


def _branch(registrar: Registrar) -> Any:
    """A branch that may choose nothing."""
    task_id = registrar.id(identifier.TASK, TASK)
    then = workflow.Node(id="n1", task_node=workflow.TaskNode(reference_id=task_id))
    branch = workflow.BranchNode(if_else=workflow.IfElseBlock(case=workflow.IfBlock(then_node=then)))
    return registrar.workflow("branching", [workflow.Node(id="n0", branch_node=branch)])


def _array_of_pods(registrar: Registrar) -> Any:
    overrides = workflow.TaskNodeOverrides(pod_template=tasks.K8sPod(primary_container_name="main"))
    target = workflow.TaskNode(reference_id=registrar.id(identifier.TASK, TASK), overrides=overrides)
    array = workflow.ArrayNode(node=workflow.Node(id="n1", task_node=target))
    return registrar.workflow("podded", [workflow.Node(id="n0", array_node=array)])


def _workflow_of_missing_plan(registrar: Registrar) -> Any:
    missing = registrar.id(identifier.LAUNCH_PLAN, "no-such-plan")
    node = workflow.Node(id="n0", workflow_node=workflow.WorkflowNode(launchplan_ref=missing))
    return registrar.workflow("planless", [node])


def _workflow_of_missing_task(registrar: Registrar) -> Any:
    missing = registrar.id(identifier.TASK, "no-such-task")
    return registrar.workflow("dangling", [workflow.Node(id="n0", task_node=workflow.TaskNode(reference_id=missing))])


def _changed_task(registrar: Registrar) -> Any:
    return registrar.task(TASK, ["pyflyte-execute", "--other"], inputs=TYPED_INPUTS)


def _unbound_input(registrar: Registrar) -> Any:
    task_id = registrar.id(identifier.TASK, TASK)
    node = workflow.Node(id="n0", inputs=[_from_input("count")], task_node=workflow.TaskNode(reference_id=task_id))
    return registrar.workflow("unbound", [node], inputs=TYPED_INPUTS)


def _task_without_type(registrar: Registrar) -> Any:
    id_ = registrar.id(identifier.TASK, "typeless")
    return registrar.stubs.admin.CreateTask(task.TaskCreateRequest(id=id_), timeout=10)


def _activate_schedule(registrar: Registrar) -> Any:
    id_ = registrar.id(identifier.LAUNCH_PLAN, PLAN, "scheduled")
    spec = launch_plan.LaunchPlanSpec(
        workflow_id=registrar.id(identifier.WORKFLOW, PLAN),
        entity_metadata=launch_plan.LaunchPlanMetadata(
            schedule=schedule.Schedule(cron_schedule=schedule.CronSchedule(schedule="* * * * *"))
        ),
        fixed_inputs=good_inputs(),
    )
    registrar.stubs.admin.CreateLaunchPlan(launch_plan.LaunchPlanCreateRequest(id=id_, spec=spec), timeout=10)
    return registrar.stubs.admin.UpdateLaunchPlan(
        launch_plan.LaunchPlanUpdateRequest(id=id_, state=launch_plan.ACTIVE), timeout=10
    )


def _set_signal(registrar: Registrar) -> Any:
    id_ = identifier.SignalIdentifier(signal_id="go", execution_id=registrar.execution_id(TAKEN))
    return registrar.stubs.signal.SetSignal(signal.SignalSetRequest(id=id_, value=integer(1)), timeout=10)


def _unbuilt_rpc(registrar: Registrar) -> Any:
    return registrar.stubs.admin.GetNamedEntity(common.NamedEntityGetRequest(resource_type=identifier.TASK), timeout=10)


def _upload_of_nothing(registrar: Registrar) -> Any:
    request = dataproxy.CreateUploadLocationRequest(
        project=registrar.project, domain=registrar.domain, filename="code.tar.gz"
    )
    return registrar.stubs.data.CreateUploadLocation(request, timeout=10)


def _upload_outside(registrar: Registrar) -> Any:
    request = dataproxy.CreateUploadLocationRequest(
        project=registrar.project, domain=registrar.domain, filename="../../../code", content_md5=bytes(16)
    )
    return registrar.stubs.data.CreateUploadLocation(request, timeout=10)


def _get_unknown(registrar: Registrar) -> Any:
    return registrar.get(registrar.execution_id("nowhere"))


def _abort_unknown(registrar: Registrar) -> Any:
    request = execution.ExecutionTerminateRequest(id=registrar.execution_id("nowhere"), cause="none")
    return registrar.stubs.admin.TerminateExecution(request, timeout=10)


REFUSALS = [
    Refusal("unknown version", _launch(version="none"), Status.NOT_FOUND, (PLAN, "none")),
    Refusal("missing input", _launch(count=integer(1)), Status.INVALID_ARGUMENT, ("rows",)),
    Refusal("unknown input", _launch_good(colour=integer(1)), Status.INVALID_ARGUMENT, ("colour",)),
    Refusal("wrong type", _launch_good(count=string("one")), Status.INVALID_ARGUMENT, ("count",)),
    Refusal(
        "wrong type deep inside",
        _launch_good(rows=rows(number(1), string("two"))),
        Status.INVALID_ARGUMENT,
        ("rows[1]", "x"),
    ),
    Refusal(
        "fixed input overridden",
        _launch(plan=PLAN_WITH_FIXED, count=integer(4), rows=rows()),
        Status.INVALID_ARGUMENT,
        ("count",),
    ),
    Refusal("name that breaks the pattern", _launch_good("Big_Name"), Status.INVALID_ARGUMENT, ("name", "Big_Name")),
    Refusal("name that is too long", _launch_good("a" * 64), Status.INVALID_ARGUMENT, ("name",)),
    Refusal("name in use", _launch_good(TAKEN), Status.ALREADY_EXISTS, (TAKEN,)),
    Refusal(
        "oversized message",
        _launch_good(count=string("x" * (65 << 20))),
        Status.RESOURCE_EXHAUSTED,
        ("larger",),
    ),
    Refusal("unknown filter field", _list_executions(filters="eq(colour,red)"), Status.INVALID_ARGUMENT, ("colour",)),
    Refusal("unknown filter function", _list_executions(filters="like(phase,F)"), Status.INVALID_ARGUMENT, ("like",)),
    Refusal("filter that does not parse", _list_executions(filters="eq(phase"), Status.INVALID_ARGUMENT, ("filters",)),
    Refusal("unknown phase", _list_executions(filters="eq(phase,GONE)"), Status.INVALID_ARGUMENT, ("phase", "GONE")),
    Refusal("bad token", _list_executions(token="next"), Status.INVALID_ARGUMENT, ("token",)),
    Refusal(
        "unknown sort key",
        _list_executions(sort_by=common.Sort(key="colour")),
        Status.INVALID_ARGUMENT,
        ("colour",),
    ),
    Refusal("branch that may choose nothing", _branch, Status.INVALID_ARGUMENT, ("n0", "BranchNodeHasNoDefault")),
    Refusal("array of pods", _array_of_pods, Status.UNIMPLEMENTED, ("n0", "array_node", "pod_template")),
    Refusal("workflow of a missing launch plan", _workflow_of_missing_plan, Status.INVALID_ARGUMENT, ("no-such-plan",)),
    Refusal("workflow of a missing task", _workflow_of_missing_task, Status.INVALID_ARGUMENT, ("no-such-task",)),
    Refusal("workflow with an unbound input", _unbound_input, Status.INVALID_ARGUMENT, ("n0", "rows")),
    Refusal("other structure, known version", _changed_task, Status.INVALID_ARGUMENT, ("different structure",)),
    Refusal("task without a template", _task_without_type, Status.INVALID_ARGUMENT, ("template",)),
    Refusal("activation of a schedule", _activate_schedule, Status.UNIMPLEMENTED, ("schedule",)),
    Refusal("signal that nobody waits for", _set_signal, Status.NOT_FOUND, ("go",)),
    Refusal("RPC that is not built", _unbuilt_rpc, Status.UNIMPLEMENTED, ("GetNamedEntity",)),
    Refusal(
        "upload without MD5 or root", _upload_of_nothing, Status.INVALID_ARGUMENT, ("content_md5", "filename_root")
    ),
    Refusal("upload that leaves its folder", _upload_outside, Status.INVALID_ARGUMENT, ("filename",)),
    Refusal("unknown execution", _get_unknown, Status.NOT_FOUND, ("nowhere",)),
    Refusal("abort of an unknown execution", _abort_unknown, Status.NOT_FOUND, ("nowhere",)),
]
