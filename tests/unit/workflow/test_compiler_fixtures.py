"""Ours and Flyte's compiler return the same."""

from __future__ import annotations

from functools import cache

import pytest
from flyteidl.admin import task_pb2
from flyteidl.core import compiler_pb2, dynamic_job_pb2, identifier_pb2, interface_pb2, types_pb2, workflow_closure_pb2
from google.protobuf import json_format

from libs.workflow import compiler
from tests.support import flytefixtures as fixtures
from tests.support.flytetypes import INTEGER, listed


def snacks_task(name: str) -> compiler_pb2.CompiledTask:
    spec = task_pb2.TaskSpec.FromString(fixtures.path("snacks-core", name).read_bytes())
    return compiler.compile_task(fixtures.as_the_golden_files_have_it(spec.template))


@cache
def snacks_tasks() -> list[compiler_pb2.CompiledTask]:
    return [snacks_task(name) for name in fixtures.names("snacks-core", "*_1.pb")]


def expected(folder: str, name: str) -> compiler_pb2.CompiledWorkflowClosure:
    text = fixtures.path(folder, name).read_text()
    return json_format.Parse(text, compiler_pb2.CompiledWorkflowClosure())


@pytest.mark.parametrize("name", fixtures.names("snacks-core", "*_1.pb"))
def test_a_task_compiles_as_with_flyte(name: str) -> None:
    text = fixtures.path("snacks-core/compiled", name.replace(".pb", "_task.json")).read_text()
    assert snacks_task(name) == json_format.Parse(text, compiler_pb2.CompiledTask())


@pytest.mark.parametrize("name", fixtures.names("snacks-core/compiled", "*_wf.json"))
def test_a_workflow_compiles_as_with_flyte(name: str) -> None:
    wanted = expected("snacks-core/compiled", name)
    serialized = fixtures.path("snacks-core", name.replace("_wf.json", ".pb")).read_bytes()
    template = workflow_closure_pb2.WorkflowClosure.FromString(serialized).workflow
    got = compiler.compile_workflow(template, (), snacks_tasks())
    assert fixtures.normalised(got) == fixtures.normalised(wanted)


@pytest.mark.parametrize("name", fixtures.names("branch", "*.json"))
def test_a_workflow_with_branches_compiles_as_with_flyte(name: str) -> None:
    wanted = expected("branch/compiled", name)
    closure = json_format.Parse(fixtures.path("branch", name).read_text(), workflow_closure_pb2.WorkflowClosure())
    tasks = [fixtures.as_the_golden_files_have_it(task) for task in closure.tasks]
    del closure.tasks[:]
    closure.tasks.extend(tasks)
    got = compiler.compile_closure(closure)
    assert fixtures.normalised(got) == fixtures.normalised(wanted)


@pytest.mark.parametrize("name", fixtures.names("dynamic", "*.json"))
def test_a_dynamic_job_compiles(name: str) -> None:
    spec = json_format.Parse(fixtures.path("dynamic", name).read_text(), dynamic_job_pb2.DynamicJobSpec())
    outputs = interface_pb2.VariableMap(variables={"o0": interface_pb2.Variable(type=listed(INTEGER))})
    closure = compiler.compile_dynamic(
        spec,
        identifier_pb2.Identifier(domain="domain", name="name", version="version"),
        interface_pb2.TypedInterface(outputs=outputs),
    )
    assert len(closure.primary.template.nodes) == len(spec.nodes) + 2
    assert closure.primary.template.interface.outputs.variables["o0"].type == types_pb2.LiteralType(
        collection_type=INTEGER
    )


@pytest.mark.parametrize("name", fixtures.names("snacks-core/compiled", "*_wf.json"))
def test_no_upstream_node_id_is_unknown_to_flytekit(name: str) -> None:
    serialized = fixtures.path("snacks-core", name.replace("_wf.json", ".pb")).read_bytes()
    template = workflow_closure_pb2.WorkflowClosure.FromString(serialized).workflow
    compiled = compiler.compile_workflow(template, (), snacks_tasks()).primary.template
    of_users = {node.id for node in template.nodes}
    for node in compiled.nodes:
        assert set(node.upstream_node_ids) <= of_users


def test_compiling_what_was_compiled_changes_nothing() -> None:
    name = fixtures.names("snacks-core/compiled", "*shell_task*_wf.json")[0]
    wanted = expected("snacks-core/compiled", name)
    again = compiler.compile_workflow(wanted.primary.template, (), wanted.tasks)
    assert fixtures.normalised(again) == fixtures.normalised(wanted)
