"""What is measured: four shapes of workflows, of tasks that do nothing.

    W1  one task
    W2  a chain of 100 tasks
    W3  1,000 and 5,000 tasks at once, then one that gets all they returned
    W4  500 workflows at once, of five tasks each: one, three that follow from it, one that gets what those returned

Every task is a node of its own. In mode `engine` they are echo tasks, which the executor answers itself: what is
measured is the orchestration and nothing else. The other modes run flytekit's own command in `.venv-tasks`: `fork` a
process for each task, `reuse` one process for many, where the task's config says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import grpc
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2

from tests.support import kinds, templates
from tests.support.flyte import DOMAIN, PROJECT, Stubs
from tests.support.flytetypes import INTEGER, listed, variables

MODULE = "airscrew_noop"
"""In `tests/bench/code`, which task processes find by PYTHONPATH."""
IMAGE = "localhost/bench:1"
COMMAND = (
    "pyflyte-execute",
    *("--inputs", "{{.input}}", "--output-prefix", "{{.outputPrefix}}"),
    *("--raw-output-data-prefix", "{{.rawOutputDataPrefix}}"),
    *("--checkpoint-path", "{{.checkpointOutputPrefix}}", "--prev-checkpoint", "{{.prevCheckpointPrefix}}"),
    *("--resolver", "flytekit.core.python_auto_container.default_task_resolver", "--"),
)
"""What flytekit writes into its tasks."""
REUSE = "airscrew/reuse"
SIGNAL = "go"

CHAIN = 100
WIDTHS = (1_000, 5_000)
WORKFLOWS = 500
DIAMOND = 5


class Mode(StrEnum):
    """Who runs the tasks."""

    ENGINE = "engine"
    REUSE = "reuse"
    FORK = "fork"


@dataclass(frozen=True, slots=True)
class Shape:
    """A workflow: its nodes, and which of their outputs it returns."""

    name: str
    nodes: tuple[core_workflow_pb2.Node, ...]
    returns: literals_pb2.BindingData
    returned: str
    """The task whose output that is."""
    of_list: bool = False
    """Whether its input `x` is a list."""

    @property
    def tasks(self) -> int:
        return len(self.nodes)

    @property
    def takes(self) -> types_pb2.LiteralType:
        return listed(INTEGER) if self.of_list else INTEGER


def chain(length: int) -> Shape:
    nodes = [templates.node(f"n{n}", "noop", x=f"n{n - 1}.o0" if n else "x") for n in range(length)]
    return Shape(f"chain-{length}", tuple(nodes), templates.promise(f"n{length - 1}.o0"), "noop")


def fan(width: int) -> Shape:
    nodes = [templates.node(f"n{n}", "noop", x="x") for n in range(width)]
    return Shape(f"fan-{width}", (*nodes, _reducer(width, nodes)), templates.promise(f"n{width}.o0"), "total")


def diamond() -> Shape:
    first = templates.node("n0", "noop", x="x")
    middle = [templates.node(f"n{n}", "noop", x="n0.o0") for n in range(1, DIAMOND - 1)]
    last = DIAMOND - 1
    return Shape("diamond", (first, *middle, _reducer(last, middle)), templates.promise(f"n{last}.o0"), "total")


def mapped() -> Shape:
    """A task for each element of a list, and the list of what they return."""
    node = kinds.array("n0", templates.node("item", "noop", x="x"), sliced=True, x="x")
    return Shape("mapped", (node,), templates.promise("n0.o0"), "total", of_list=True)


def gated() -> Shape:
    """A gate that waits for `SIGNAL`, an integer which the workflow returns."""
    signal = core_workflow_pb2.SignalCondition(signal_id=SIGNAL, type=INTEGER, output_variable_name="o0")
    gate = core_workflow_pb2.Node(id="n0", gate_node=core_workflow_pb2.GateNode(signal=signal))
    return Shape("gated", (gate,), templates.promise("n0.o0"), "noop")


def _reducer(number: int, over: Sequence[core_workflow_pb2.Node]) -> core_workflow_pb2.Node:
    return templates.node(
        f"n{number}", "total", xs=templates.list_of(*(templates.promise(f"{node.id}.o0") for node in over))
    )


def register(stubs: Stubs, shape: Shape, mode: Mode) -> identifier_pb2.Identifier:
    """The workflow with its tasks and its launch plan, whose id is returned. What is there already stays."""
    for name in ("noop", "total"):
        template = _task(name, mode)
        request = task_pb2.TaskCreateRequest(id=template.id, spec=task_pb2.TaskSpec(template=template))
        with _once():
            stubs.admin.CreateTask(request, timeout=30)
    workflow = _workflow(shape, mode)
    with _once():
        stubs.admin.CreateWorkflow(
            workflow_pb2.WorkflowCreateRequest(id=workflow.id, spec=workflow_pb2.WorkflowSpec(template=workflow)),
            timeout=60,
        )
    plan = _id(identifier_pb2.LAUNCH_PLAN, shape.name, mode)
    inputs = interface_pb2.ParameterMap(
        parameters={"x": interface_pb2.Parameter(var=interface_pb2.Variable(type=shape.takes), required=True)}
    )
    spec = launch_plan_pb2.LaunchPlanSpec(workflow_id=workflow.id, default_inputs=inputs)
    with _once():
        stubs.admin.CreateLaunchPlan(launch_plan_pb2.LaunchPlanCreateRequest(id=plan, spec=spec), timeout=30)
    return plan


@contextmanager
def _once() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise


def _workflow(shape: Shape, mode: Mode) -> core_workflow_pb2.WorkflowTemplate:
    template = core_workflow_pb2.WorkflowTemplate(
        id=_id(identifier_pb2.WORKFLOW, shape.name, mode),
        interface=interface_pb2.TypedInterface(
            inputs=variables(x=shape.takes), outputs=_task(shape.returned, mode).interface.outputs
        ),
        nodes=shape.nodes,
        outputs=[literals_pb2.Binding(var="o0", binding=shape.returns)],
    )
    for node in template.nodes:
        _refer(node, mode)
    return template


def _refer(node: core_workflow_pb2.Node, mode: Mode) -> None:
    """The task that a node runs is the one of this mode."""
    match node.WhichOneof("target"):
        case "task_node":
            node.task_node.reference_id.CopyFrom(_id(identifier_pb2.TASK, node.task_node.reference_id.name, mode))
        case "array_node":
            _refer(node.array_node.node, mode)


def _task(name: str, mode: Mode) -> tasks_pb2.TaskTemplate:
    taken = {"noop": {"x": INTEGER}, "total": {"xs": listed(INTEGER)}}[name]
    given = listed(INTEGER) if name == "total" and mode is Mode.ENGINE else INTEGER  # an echo returns what it gets
    template = tasks_pb2.TaskTemplate(
        id=_id(identifier_pb2.TASK, name, mode),
        type="echo" if mode is Mode.ENGINE else "python-task",
        interface=interface_pb2.TypedInterface(inputs=variables(**taken), outputs=variables(o0=given)),
        metadata=tasks_pb2.TaskMetadata(
            runtime=tasks_pb2.RuntimeMetadata(type=tasks_pb2.RuntimeMetadata.FLYTE_SDK, version="1", flavor="python")
        ),
    )
    if mode is not Mode.ENGINE:
        template.container.image = IMAGE
        template.container.args.extend((*COMMAND, "task-module", MODULE, "task-name", name))
    if mode is Mode.REUSE:
        template.config[REUSE] = "true"
    return template


def _id(kind: int, name: str, mode: Mode) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=kind, project=PROJECT, domain=DOMAIN, name=f"bench.{name}", version=str(mode)
    )
