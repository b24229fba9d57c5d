"""Workflows of every kind of node for tests that run them whole, and what their tasks do.

A task's behaviour is a word in its command line; `act` gives the files that it leaves. So a played task process can run
anything that is written here.

    add     o = x + 1
    slow    the same, under a name that tests can hold back
    pick    of a list xs, o = its element at the attempt's index
    sum     o = the sum of xs
    grow    o = the list of the first n numbers
    shelve  the same, in a file of its own
    fail    an error of the user
    many    asks for n nodes that add, and one that sums what they return
    echoes  asks for n nodes that need no process, and one that sums what they return
    nest    asks for one node that asks for n nodes
    wrong   asks for nodes that cannot be
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import (
    compiler_pb2,
    dynamic_job_pb2,
    errors_pb2,
    execution_pb2,
    interface_pb2,
    literals_pb2,
    tasks_pb2,
    workflow_pb2,
)

from libs.blob import layout
from libs.store.records import ExecutionRecord, LaunchPlanRecord, WorkflowRecord
from libs.workflow import launch
from libs.workflow.compiler import LaunchPlanInterface, compile_workflow
from libs.workflow.graph import entity_id
from libs.workflow.state import Data, ExecutionState
from tests.support import templates
from tests.support.flytetypes import INTEGER, listed
from tests.support.graphs import Plan, state_of

Files = dict[str, bytes]

PREFIX = "OUTPUT_PREFIX"
"""The variable of `act`'s environment that says where the outputs go."""

_INTERFACES = {
    "add": ({"x": INTEGER}, {"o": INTEGER}),
    "slow": ({"x": INTEGER}, {"o": INTEGER}),
    "pick": ({"xs": listed(INTEGER)}, {"o": listed(INTEGER)}),
    "sum": ({"xs": listed(INTEGER)}, {"o": INTEGER}),
    "grow": ({"n": INTEGER}, {"o": listed(INTEGER)}),
    "shelve": ({"n": INTEGER}, {"o": listed(INTEGER)}),
    "fail": ({"x": INTEGER}, {"o": INTEGER}),
    "many": ({"n": INTEGER}, {"o": INTEGER}),
    "echo": ({"x": INTEGER}, {"o": INTEGER}),
    "echoes": ({"n": INTEGER}, {"o": INTEGER}),
    "nest": ({"n": INTEGER}, {"o": INTEGER}),
    "wrong": ({"n": INTEGER}, {"o": INTEGER}),
}


def task(name: str, image: str = "image") -> tasks_pb2.TaskTemplate:
    """One of the tasks above, by its behaviour."""
    template = templates.task_template(name, *_INTERFACES[name])
    if name == "echo":
        template.type = "echo"
        template.ClearField("container")
        return template
    template.container.image = image
    template.container.args[:] = ["pyflyte-execute", name, "{{.input}}", "{{.outputPrefix}}"]
    return template


def compiled(
    template: workflow_pb2.WorkflowTemplate,
    launched: Mapping[str, LaunchPlanRecord] | None = None,
    change: Callable[[tasks_pb2.TaskTemplate], None] = lambda template: None,
    sub_workflows: Iterable[workflow_pb2.WorkflowTemplate] = (),
) -> compiler_pb2.CompiledWorkflowClosure:
    """A workflow over these tasks, each after `change`, over the launch plans in `launched` and these workflows."""
    tasks = [task(name) for name in _INTERFACES]
    for each in tasks:
        change(each)
    plans = [
        LaunchPlanInterface(
            record.id,
            interface_pb2.ParameterMap.FromString(record.expected_inputs),
            interface_pb2.VariableMap.FromString(record.expected_outputs),
        )
        for record in (launched or {}).values()
    ]
    return compile_workflow(
        template, sub_workflows, tasks=[compiler_pb2.CompiledTask(template=each) for each in tasks], launch_plans=plans
    )


def workflow_record(closure: compiler_pb2.CompiledWorkflowClosure) -> WorkflowRecord:
    return WorkflowRecord(entity_id(closure.primary.template.id), b"digest", b"", closure.SerializeToString(), 1)


def launch_plan(template: workflow_pb2.WorkflowTemplate) -> LaunchPlanRecord:
    """The default launch plan of a workflow: it has the workflow's id."""
    workflow = entity_id(template.id)
    return LaunchPlanRecord(
        id=workflow,
        workflow=workflow,
        digest=b"digest",
        spec=launch_plan_pb2.LaunchPlanSpec(workflow_id=template.id).SerializeToString(),
        expected_inputs=launch.expected_inputs(template.interface.inputs).SerializeToString(),
        expected_outputs=launch.expected_outputs(template.interface).SerializeToString(),
        state=1,
        created_at_us=1,
        updated_at_us=1,
    )


def submission(template: workflow_pb2.WorkflowTemplate, key: int, **inputs: int) -> ExecutionRecord:
    """An execution of a workflow with these integers, as `admin` accepts it."""
    return ExecutionRecord(execution=accepted(template, key, **inputs), resource_type=3, mode=0)


def accepted(template: workflow_pb2.WorkflowTemplate, key: int, **inputs: int) -> ExecutionState:
    return replace(state_of(Plan((), name=template.id.name), key=key), inputs=Data.of(_map(**inputs)))


def array(node_id: str, inner: workflow_pb2.Node, *, sliced: bool, **bound: Any) -> workflow_pb2.Node:
    """A node that runs `inner` for each element; if not `sliced`, each item gets the lists and its index."""
    array_node = workflow_pb2.ArrayNode(node=inner)
    array_node.is_original_sub_node_interface.value = sliced
    return workflow_pb2.Node(id=node_id, inputs=templates.bindings(bound), array_node=array_node)


def signalled(node_id: str, signal_id: str) -> workflow_pb2.Node:
    """A gate that waits for an integer, its output `o`."""
    signal = workflow_pb2.SignalCondition(signal_id=signal_id, type=INTEGER, output_variable_name="o")
    return workflow_pb2.Node(id=node_id, gate_node=workflow_pb2.GateNode(signal=signal))


def act(behaviour: str, inputs: literals_pb2.LiteralMap, environment: Mapping[str, str]) -> Files:
    """What a task leaves at its output prefix, by name."""
    if behaviour == "fail":
        error = errors_pb2.ContainerError(
            code="Oops",
            message="as the test wants it",
            kind=errors_pb2.ContainerError.NON_RECOVERABLE,
            origin=execution_pb2.ExecutionError.USER,
        )
        return {layout.ERROR: errors_pb2.ErrorDocument(error=error).SerializeToString()}
    if behaviour in _ASKING:
        return {layout.FUTURES: _ASKING[behaviour](_integer(inputs, "n")).SerializeToString()}
    if behaviour == "grow":
        literals = literals_pb2.LiteralMap(literals={"o": numbers(_integer(inputs, "n"))})
        return {layout.OUTPUTS: literals.SerializeToString()}
    if behaviour == "shelve":
        return _shelved(numbers(_integer(inputs, "n")), environment[PREFIX])
    if behaviour == "sum":
        return {layout.OUTPUTS: _map(o=sum(map(_value, inputs.literals["xs"].collection.literals)))}
    if behaviour == "pick":
        index = int(environment[environment["BATCH_JOB_ARRAY_INDEX_VAR_NAME"]])
        return {layout.OUTPUTS: _map(o=_value(inputs.literals["xs"].collection.literals[index]))}
    return {layout.OUTPUTS: _map(o=_integer(inputs, "x") + 1)}


def numbers(count: int) -> literals_pb2.Literal:
    """The list of the first `count` numbers from 1."""
    found = literals_pb2.Literal()
    for number in range(1, count + 1):
        found.collection.literals.add().scalar.primitive.integer = number
    return found


def _shelved(value: literals_pb2.Literal, prefix: str) -> Files:
    """An output as the SDK offloads it: only its place and its hash travel."""
    content = value.SerializeToString()
    shelf = literals_pb2.LiteralOffloadedMetadata(
        uri=f"{prefix}/o_offloaded.pb", size_bytes=len(content), inferred_type=listed(INTEGER)
    )
    literal = literals_pb2.Literal(offloaded_metadata=shelf, hash="its-hash")
    outputs = literals_pb2.LiteralMap(literals={"o": literal})
    return {"o_offloaded.pb": content, layout.OUTPUTS: outputs.SerializeToString()}


def many(count: int) -> dynamic_job_pb2.DynamicJobSpec:
    """What `many` asks for."""
    return _summed("add", count)


def echoes(count: int) -> dynamic_job_pb2.DynamicJobSpec:
    """What `echoes` asks for."""
    return _summed("echo", count)


def _summed(name: str, count: int) -> dynamic_job_pb2.DynamicJobSpec:
    nodes = [templates.node(f"dn{number}", name, x=number) for number in range(count)]
    results = templates.list_of(*(templates.promise(f"{node.id}.o") for node in nodes))
    return dynamic_job_pb2.DynamicJobSpec(
        nodes=[*nodes, templates.node("dsum", "sum", xs=results)],
        outputs=templates.bindings({"o": "dsum.o"}),
        tasks=[task(name, image=""), task("sum", image="")],
    )


def nest(count: int) -> dynamic_job_pb2.DynamicJobSpec:
    """What `nest` asks for."""
    return dynamic_job_pb2.DynamicJobSpec(
        nodes=[templates.node("dn0", "many", n=count)],
        outputs=templates.bindings({"o": "dn0.o"}),
        tasks=[task("many")],
    )


def wrong(count: int) -> dynamic_job_pb2.DynamicJobSpec:
    """What `wrong` asks for: each node is wrong, and so are the outputs."""
    return dynamic_job_pb2.DynamicJobSpec(
        nodes=[templates.node(f"dn{number}", "unheard-of", x=number) for number in range(count)],
        outputs=templates.bindings({"o": "nowhere.o"}),
    )


def total(count: int) -> int:
    """What `many` computes."""
    return count * (count + 1) // 2


_ASKING = {"many": many, "echoes": echoes, "nest": nest, "wrong": wrong}


def _map(**values: int) -> bytes:
    literals = literals_pb2.LiteralMap()
    for name, number in values.items():
        literals.literals[name].scalar.primitive.integer = number
    return bytes(literals.SerializeToString())


def _integer(inputs: literals_pb2.LiteralMap, name: str) -> int:
    return _value(inputs.literals[name])


def _value(literal: literals_pb2.Literal) -> int:
    return int(literal.scalar.primitive.integer)
