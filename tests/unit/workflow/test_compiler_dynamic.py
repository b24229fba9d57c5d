from __future__ import annotations

import pytest
from flyteidl.core import dynamic_job_pb2

from libs.workflow import compiler
from libs.workflow.compiler import Code
from tests.support.compiling import TASKS, plan
from tests.support.flytetypes import INTEGER, STRING, listed
from tests.support.templates import (
    bindings,
    identifier,
    interface,
    list_of,
    node,
    plan_node,
    promise,
    sub_node,
    task_template,
    workflow,
)


def dynamic_spec() -> dynamic_job_pb2.DynamicJobSpec:
    return dynamic_job_pb2.DynamicJobSpec(
        nodes=[
            node("dn0", "mine", x=1),
            node("dn1", "double", x="dn0.o0"),
            sub_node("dn2", "inner"),
            plan_node("dn3", "plan", x="dn1.o0"),
        ],
        outputs=bindings({"o0": "dn3.o0", "o1": list_of(promise("dn0.o0"))}),
        tasks=[task_template("mine", {"x": INTEGER}, {"o0": INTEGER})],
    )


def test_what_a_dynamic_job_refers_to_is_known_before_it_is_compiled() -> None:
    needed = compiler.dynamic_requirements(dynamic_spec())
    assert [one.name for one in needed.tasks] == ["double"]
    assert [one.name for one in needed.launch_plans] == ["plan"]
    assert [one.name for one in needed.sub_workflows] == ["inner"]


def test_a_dynamic_job_uses_what_is_at_hand_beside_what_it_brings() -> None:
    inner = workflow(node("n0", "text"), name="inner")
    closure = compiler.compile_dynamic(
        dynamic_spec(),
        identifier("parent", "WORKFLOW"),
        interface({"n": INTEGER}, {"o0": INTEGER, "o1": listed(INTEGER)}),
        TASKS,
        [plan("plan", required=("x",))],
        [inner],
    )
    assert [one.template.id.name for one in closure.tasks] == ["mine", "double", "text"]
    assert [one.template.id.name for one in closure.sub_workflows] == ["inner"]
    assert not closure.primary.template.interface.inputs.variables
    without_interface = compiler.compile_dynamic(
        dynamic_spec(), identifier("parent", "WORKFLOW"), None, TASKS, [plan("plan", required=("x",))], [inner]
    )
    for name, variable in closure.primary.template.interface.outputs.variables.items():
        assert without_interface.primary.template.interface.outputs.variables[name].type == variable.type


def test_a_dynamic_job_must_return_what_its_task_declares() -> None:
    with pytest.raises(compiler.CompileErrors) as caught:
        compiler.compile_dynamic(
            dynamic_spec(),
            identifier("parent", "WORKFLOW"),
            interface({}, {"o0": STRING, "o1": listed(INTEGER), "o2": INTEGER}),
            TASKS,
            [plan("plan", required=("x",))],
            [workflow(node("n0", "text"), name="inner")],
        )
    assert [(error.code, error.node) for error in caught.value.errors] == [
        (Code.MISMATCHING_TYPES, "end-node"),
        (Code.PARAMETER_NOT_BOUND, "end-node"),
    ]
