"""Short ways to write tasks and workflows in tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyteidl.core import (
    compiler_pb2,
    identifier_pb2,
    interface_pb2,
    literals_pb2,
    tasks_pb2,
    types_pb2,
    workflow_pb2,
)

from tests.support.flytetypes import value, variables

Types = Mapping[str, types_pb2.LiteralType]


def identifier(name: str, kind: str = "TASK") -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.ResourceType.Value(kind), project="p", domain="d", name=name, version="v"
    )


def interface(inputs: Types | None = None, outputs: Types | None = None) -> interface_pb2.TypedInterface:
    return interface_pb2.TypedInterface(inputs=variables(**(inputs or {})), outputs=variables(**(outputs or {})))


def task_template(name: str, inputs: Types | None = None, outputs: Types | None = None) -> tasks_pb2.TaskTemplate:
    return tasks_pb2.TaskTemplate(
        id=identifier(name),
        type="python-task",
        interface=interface(inputs, outputs),
        container=tasks_pb2.Container(image="image", args=["pyflyte-execute"]),
        metadata=tasks_pb2.TaskMetadata(retries=literals_pb2.RetryStrategy(retries=0)),
    )


def task(name: str, inputs: Types | None = None, outputs: Types | None = None) -> compiler_pb2.CompiledTask:
    return compiler_pb2.CompiledTask(template=task_template(name, inputs, outputs))


def promise(path: str) -> literals_pb2.BindingData:
    """`n0.o0` is an output of a node, `x` an input of the workflow, `n0.o0[3].name` a field of an element."""
    node, _, rest = path.rpartition(".") if "." not in path.split("[")[0] else path.partition(".")
    steps = rest.replace("[", ".[").split(".")
    attributes = [
        types_pb2.PromiseAttribute(int_value=int(step[1:-1]))
        if step.startswith("[")
        else types_pb2.PromiseAttribute(string_value=step)
        for step in steps[1:]
    ]
    return literals_pb2.BindingData(promise=types_pb2.OutputReference(node_id=node, var=steps[0], attr_path=attributes))


def constant(thing: Any) -> literals_pb2.BindingData:
    return literals_pb2.BindingData(scalar=value(thing).scalar)


def list_of(*items: literals_pb2.BindingData) -> literals_pb2.BindingData:
    return literals_pb2.BindingData(collection=literals_pb2.BindingDataCollection(bindings=items))


def map_of(**items: literals_pb2.BindingData) -> literals_pb2.BindingData:
    return literals_pb2.BindingData(map=literals_pb2.BindingDataMap(bindings=items))


def bindings(bound: Mapping[str, Any]) -> list[literals_pb2.Binding]:
    """A string is a promise, anything else that is no binding a constant."""
    return [
        literals_pb2.Binding(
            var=name,
            binding=one
            if isinstance(one, literals_pb2.BindingData)
            else promise(one)
            if isinstance(one, str)
            else constant(one),
        )
        for name, one in bound.items()
    ]


def node(node_id: str, target: str, after: tuple[str, ...] = (), **bound: Any) -> workflow_pb2.Node:
    """A node that runs the task named `target`."""
    return workflow_pb2.Node(
        id=node_id,
        inputs=bindings(bound),
        upstream_node_ids=after,
        task_node=workflow_pb2.TaskNode(reference_id=identifier(target)),
    )


def sub_node(node_id: str, target: str, **bound: Any) -> workflow_pb2.Node:
    reference = identifier(target, "WORKFLOW")
    return workflow_pb2.Node(
        id=node_id, inputs=bindings(bound), workflow_node=workflow_pb2.WorkflowNode(sub_workflow_ref=reference)
    )


def plan_node(node_id: str, target: str, **bound: Any) -> workflow_pb2.Node:
    reference = identifier(target, "LAUNCH_PLAN")
    return workflow_pb2.Node(
        id=node_id, inputs=bindings(bound), workflow_node=workflow_pb2.WorkflowNode(launchplan_ref=reference)
    )


def workflow(
    *nodes: workflow_pb2.Node,
    name: str = "wf",
    inputs: Types | None = None,
    outputs: Types | None = None,
    returns: Mapping[str, Any] | None = None,
) -> workflow_pb2.WorkflowTemplate:
    return workflow_pb2.WorkflowTemplate(
        id=identifier(name, "WORKFLOW"),
        interface=interface(inputs, outputs),
        nodes=nodes,
        outputs=bindings(returns or {}),
    )
