"""Every kind of node that flytekit can write compiles: its own serialization is the input."""

from __future__ import annotations

import datetime
import enum
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from flyteidl.core import workflow_pb2 as core_workflow_pb2
from flytekit import (
    LaunchPlan,
    WorkflowFailurePolicy,
    approve,
    conditional,
    dynamic,
    map_task,
    reference_task,
    sleep,
    task,
    wait_for_input,
    workflow,
)
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.array_node import array_node
from flytekit.core.context_manager import FlyteContextManager
from flytekit.tools.translator import get_serializable
from flytekit.types.error import FlyteError

from libs.workflow import compiler, fields, launch, supported
from libs.workflow.backend import Backend
from libs.workflow.compiler.requirements import entity_id

SETTINGS = SerializationSettings(
    image_config=ImageConfig(Image("default", "image", "tag")), project="p", domain="d", version="v"
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Person:
    name: str
    ages: list[int]


@task
def double(x: int) -> int:
    return 2 * x


@task
def person() -> Person:
    return Person("Ada", [36])


@task
def greet(name: str, age: int) -> str:
    return f"{name} {age}"


@task
def paint(colour: Colour = Colour.RED) -> Colour:
    return colour


@task
def plus(x: int, y: int) -> int:
    return x + y


@task
def maybe(x: int | None = None) -> int | None:
    return x


@task
def table() -> dict[str, list[int]]:
    return {"a": [1]}


@task
def clean_up(name: str, err: FlyteError | None = None) -> None:
    del name, err


@dynamic
def many(n: int) -> list[int]:
    return [double(x=one) for one in range(n)]


@reference_task(project="p", domain="d", name=f"{__name__}.double", version="v")
def double_elsewhere(x: int) -> int: ...


@workflow
def child(x: int, y: int = 3) -> int:
    return plus(x=x, y=y)


child_plan = LaunchPlan.get_or_create(child, "child_plan", default_inputs={"y": 4})
fixed_plan = LaunchPlan.get_or_create(child, "fixed_plan", fixed_inputs={"y": 4})


@workflow
def attributes() -> tuple[str, int]:
    one = person()
    return greet(name=one.name, age=one.ages[0]), double(x=table()["a"][0])


@workflow
def branches(x: int) -> int:
    y = double(x=x)
    return (
        conditional("outer")
        .if_((y > 1) & (x < 5))
        .then(conditional("inner").if_(x == 2).then(double(x=y)).else_().then(plus(x=x, y=y)))
        .elif_(y == 0)
        .then(double(x=x))
        .else_()
        .fail("no")
    )


@workflow
def enums_and_options(x: int) -> Colour:
    maybe(x=maybe())
    maybe(x=double(x=x))
    return paint(colour=paint())


@workflow
def plans(x: int) -> int:
    return plus(x=child_plan(x=x), y=fixed_plan(x=x))


@workflow
def sub_workflows(x: int) -> int:
    return child(x=child(x=x, y=1))


@workflow
def gates(x: int) -> int:
    asked = wait_for_input("ask", timeout=datetime.timedelta(hours=1), expected_type=int)
    nap = sleep(datetime.timedelta(seconds=1))
    approved = approve(double(x=x), "agree", timeout=datetime.timedelta(hours=1))
    nap >> approved
    return plus(x=asked, y=approved)


@workflow
def maps(xs: list[int], k: int = 1) -> list[int]:
    return map_task(partial(plus, y=k))(x=xs)


@workflow
def tolerant_map(xs: list[int]) -> list[int | None]:
    return map_task(double, min_success_ratio=0.5)(x=xs)


@workflow
def array_of_plans(xs: list[int], ys: list[int]) -> list[int]:
    return array_node(child_plan)(x=xs, y=ys)


@workflow
def dynamics(n: int) -> list[int]:
    return many(n=n)


@workflow
def references(x: int) -> int:
    return double_elsewhere(x=x)


@workflow(on_failure=clean_up, failure_policy=WorkflowFailurePolicy.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE)
def with_failure_node(name: str) -> str:
    return greet(name=name, age=1)


@workflow
def ordered() -> None:
    one = person()
    paint() >> one


WORKFLOWS = [
    attributes,
    enums_and_options,
    sub_workflows,
    dynamics,
    references,
    ordered,
    child,
    branches,
    plans,
    gates,
    maps,
    tolerant_map,
    array_of_plans,
    with_failure_node,
]


def serialized(*entities: Any) -> list[Any]:
    """What flytekit would send to register the entities, in its order, as messages."""
    mapping: OrderedDict[Any, Any] = OrderedDict()
    for entity in entities:
        get_serializable(mapping, SETTINGS, entity)
    return [one.to_flyte_idl() for one in mapping.values() if hasattr(one, "to_flyte_idl")]


def plan_interfaces() -> list[compiler.LaunchPlanInterface]:
    interface = compiled_interface(child)
    found = []
    for plan in serialized(child_plan, fixed_plan):
        if plan.DESCRIPTOR.name == "LaunchPlan":
            inputs = launch.expected_inputs(interface.inputs, plan.spec)
            found.append(compiler.LaunchPlanInterface(entity_id(plan.id), inputs, launch.expected_outputs(interface)))
    return found


def compiled_interface(entity: Any) -> Any:
    return next(one for one in serialized(entity) if one.DESCRIPTOR.name == "WorkflowSpec").template.interface


def specification(entity: Any) -> tuple[Any, list[Any]]:
    """A workflow's specification, and all tasks that a server would know by then."""
    own = serialized(double, entity)
    name = f"{__name__}.{entity.name.rpartition('.')[2]}"
    spec = next(one for one in own if one.DESCRIPTOR.name == "WorkflowSpec" and one.template.id.name == name)
    tasks = [compiler.compile_task(one.template) for one in own if one.DESCRIPTOR.name == "TaskSpec"]
    return spec, tasks


@pytest.mark.parametrize("entity", WORKFLOWS, ids=lambda entity: entity.name)
def test_what_flytekit_serializes_compiles(entity: Any) -> None:
    spec, tasks = specification(entity)
    needed = compiler.requirements(spec.template, spec.sub_workflows)
    closure = compiler.compile_workflow(spec.template, spec.sub_workflows, tasks, plan_interfaces())
    assert {entity_id(one.template.id) for one in closure.tasks} == set(needed.tasks)
    known = {one.id for one in spec.template.nodes}
    for one in closure.primary.template.nodes:
        assert set(one.upstream_node_ids) <= known


@pytest.mark.parametrize("entity", WORKFLOWS, ids=lambda entity: entity.name)
def test_what_flytekit_serializes_is_accepted(entity: Any) -> None:
    spec, tasks = specification(entity)
    fields.refuse(spec)
    for one in tasks:
        fields.refuse(one.template)
        supported.refuse_unbuilt_task(one.template, Backend.PROCESS)


def test_a_nested_branch_waits_for_the_outer_node_and_its_children_are_renamed() -> None:
    spec, tasks = specification(branches)
    closure = compiler.compile_workflow(spec.template, (), tasks)
    upstream = closure.primary.connections.upstream
    assert list(upstream["n1"].ids) == ["n0", "start-node"]
    assert "n1-n0-n0" in upstream
    outer: core_workflow_pb2.Node = closure.primary.template.nodes[3]
    assert outer.branch_node.if_else.case.then_node.id == "n1-n0"


def test_launch_plans_of_flytekit_are_launched_with_their_defaults_and_fixed_values() -> None:
    context = FlyteContextManager.current_context()
    default = LaunchPlan.get_default_launch_plan(context, child)
    inputs = compiled_interface(child).inputs
    kinds = {}
    for plan in serialized(default, child_plan, fixed_plan):
        if plan.DESCRIPTOR.name == "LaunchPlan":
            fields.refuse(plan.spec)
            expected = launch.expected_inputs(inputs, plan.spec).parameters
            kinds[plan.id.name] = {name: one.WhichOneof("behavior") for name, one in sorted(expected.items())}
    assert kinds == {
        f"{__name__}.child": {"x": "required", "y": "default"},
        "child_plan": {"x": "required", "y": "default"},
        "fixed_plan": {"x": "required"},
    }
