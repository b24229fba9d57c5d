"""`airscrew compile` as a user runs it."""

from __future__ import annotations

import io
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, dynamic_job_pb2, workflow_closure_pb2
from google.protobuf import json_format

from services.cli.__main__ import main
from tests.support import flytefixtures as fixtures
from tests.support.flytetypes import INTEGER, value
from tests.support.templates import bindings, identifier, node, plan_node, sub_node, task_template, workflow

DOUBLE = task_pb2.TaskSpec(template=task_template("double", {"x": INTEGER}, {"o0": INTEGER}))
WORKFLOW = workflow_pb2.WorkflowSpec(template=workflow(node("n0", "double", x="a"), inputs={"a": INTEGER}))
PLAN = launch_plan_pb2.LaunchPlan(
    id=identifier("plan", "LAUNCH_PLAN"),
    spec=launch_plan_pb2.LaunchPlanSpec(workflow_id=WORKFLOW.template.id, fixed_inputs={"literals": {"a": value(1)}}),
)
LAUNCHER = workflow_pb2.WorkflowSpec(template=workflow(plan_node("n0", "plan"), name="launcher"))
CONTAINER = workflow_pb2.WorkflowSpec(template=workflow(sub_node("n0", "wf", a=1), name="container"))
CLOSURE = workflow_closure_pb2.WorkflowClosure(workflow=WORKFLOW.template, tasks=[DOUBLE.template])
DYNAMIC = dynamic_job_pb2.DynamicJobSpec(
    nodes=[node("dn0", "double", x=1)], outputs=bindings({"o0": "dn0.o0"}), tasks=[DOUBLE.template]
)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Compile:
    """Runs `airscrew compile …` in this process, on files of its own directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(directory)

    def write(self, **messages: Any) -> None:
        """Serialized messages in files of these names."""
        for name, message in messages.items():
            (self.directory / f"{name}.pb").write_bytes(message.SerializeToString())

    def __call__(self, *arguments: str) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["airscrew", "compile", *arguments])
        code = main()
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)


@pytest.fixture
def compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compile:
    return Compile(tmp_path, monkeypatch, capsys)


def closure(ran: Ran) -> compiler_pb2.CompiledWorkflowClosure:
    assert (ran.code, ran.err) == (0, ""), ran.err
    return json_format.Parse(ran.out, compiler_pb2.CompiledWorkflowClosure())


def test_a_compiled_task_is_printed_as_json(compile: Compile) -> None:
    compile.write(double=DOUBLE)
    ran = compile("double.pb")
    assert json_format.Parse(ran.out, compiler_pb2.CompiledTask()).template == DOUBLE.template


@pytest.mark.parametrize("message", [CLOSURE, DYNAMIC], ids=["closure", "dynamic"])
def test_what_brings_its_tasks_compiles_alone(compile: Compile, message: Any) -> None:
    compile.write(it=message)
    compiled = closure(compile("it.pb"))
    assert [one.id for one in compiled.primary.template.nodes][:2] == ["start-node", "end-node"]
    assert [one.template.id.name for one in compiled.tasks] == ["double"]


def test_a_dynamic_job_is_called_like_its_file_and_returns_what_is_bound(compile: Compile) -> None:
    compile.write(futures=DYNAMIC)
    template = closure(compile("futures.pb")).primary.template
    assert template.id.name == "futures"
    assert template.interface.outputs.variables["o0"].type == INTEGER


@pytest.mark.parametrize("message", [WORKFLOW, CLOSURE, DYNAMIC, DOUBLE], ids=lambda one: type(one).__name__)
def test_json_does_as_well_as_bytes_whatever_the_file_is_called(compile: Compile, message: Any) -> None:
    compile.write(double=DOUBLE, it=message)
    for name in ("it.json", "it.txt"):
        (compile.directory / name).write_text(json_format.MessageToJson(message))
        assert compile("double.pb", name) == compile("double.pb", "it.pb")


def test_tasks_workflows_and_plans_among_the_files_resolve_references(compile: Compile) -> None:
    compile.write(a=CONTAINER, b=LAUNCHER, c=PLAN, d=WORKFLOW, e=DOUBLE)
    ran = compile("a.pb", "b.pb", "c.pb", "d.pb", "e.pb", "--output", "out")
    assert (ran.code, ran.err) == (0, "")
    names = ["a_wf.json", "b_wf.json", "d_wf.json", "e_task.json"]
    assert ran.out.split() == [f"out/{name}" for name in names]
    assert sorted(one.name for one in (compile.directory / "out").iterdir()) == names
    contained = json_format.Parse((compile.directory / "out/a_wf.json").read_text(), workflow_closure())
    assert [one.template.id.name for one in contained.sub_workflows] == ["wf"]
    assert [one.template.id.name for one in contained.tasks] == ["double"]


def workflow_closure() -> compiler_pb2.CompiledWorkflowClosure:
    return compiler_pb2.CompiledWorkflowClosure()


def test_every_error_of_every_file_is_printed_and_what_is_sound_compiles(compile: Compile) -> None:
    bad = workflow_pb2.WorkflowSpec(template=workflow(node("n0", "absent"), node("n1", "double"), name="bad"))
    compile.write(bad=bad, double=DOUBLE, launcher=LAUNCHER, container=CONTAINER)
    ran = compile("bad.pb", "container.pb", "double.pb", "launcher.pb", "--output", "out")
    assert ran.code == 1
    assert ran.out.split() == ["out/double_task.json"]
    assert [line.split(": ")[:3] for line in ran.err.splitlines()] == [
        ["bad.pb", "TaskReferenceNotFound", "node n0"],
        ["bad.pb", "ParameterNotBound", "node n1"],
        ["container.pb", "WorkflowReferenceNotFound", "node n0"],
        ["launcher.pb", "WorkflowReferenceNotFound", "node n0"],
    ]


def test_a_mistake_in_a_task_is_not_told_again_by_those_that_use_it(compile: Compile) -> None:
    broken = task_pb2.TaskSpec()
    broken.CopyFrom(DOUBLE)
    broken.template.container.image = ""
    compile.write(double=broken, wf=WORKFLOW)
    ran = compile("double.pb", "wf.pb")
    assert ran.code == 1
    assert ran.err.startswith("double.pb: ValueRequired: container.image is empty")
    assert len(ran.err.splitlines()) == 1


def test_a_plan_that_does_not_fit_its_workflow_or_lacks_it_is_told(compile: Compile) -> None:
    unfit = launch_plan_pb2.LaunchPlan()
    unfit.CopyFrom(PLAN)
    unfit.spec.fixed_inputs.literals["a"].CopyFrom(value("one"))
    compile.write(unfit=unfit, plan=PLAN, wf=WORKFLOW, double=DOUBLE)
    ran = compile("unfit.pb", "wf.pb", "double.pb")
    assert ran.code == 1
    assert "unfit.pb: MismatchingInterfaces: the plan does not fit its workflow: fixed_inputs.a: expected" in ran.err
    ran = compile("plan.pb")
    assert ran.code == 1
    assert "plan.pb: WorkflowReferenceNotFound: the plan launches workflow p:d:wf:v, which is not at hand" in ran.err


def test_what_two_files_define_differently_is_an_error_of_whoever_refers_to_it(compile: Compile) -> None:
    other = task_pb2.TaskSpec(template=task_template("double", {"x": INTEGER}))
    compile.write(a=DOUBLE, b=other, again=DOUBLE, wf=WORKFLOW)
    assert compile("a.pb", "b.pb").code == 0
    assert compile("a.pb", "again.pb", "wf.pb").code == 0
    ran = compile("a.pb", "b.pb", "wf.pb")
    assert ran.code == 1
    assert ran.err == "wf.pb: ValueCollision: files define p:d:double:v in different ways: leave all but one out\n"


def test_a_directory_and_an_archive_are_read_as_what_is_in_them(compile: Compile) -> None:
    package = {"0_double_1.pb": DOUBLE, "1_wf_2.pb": WORKFLOW, "2_plan_3.pb": PLAN}
    (compile.directory / "package").mkdir()
    with tarfile.open(compile.directory / "package.tgz", "w:gz") as archive:
        for name, message in package.items():
            content = message.SerializeToString()
            (compile.directory / "package" / name).write_bytes(content)
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (compile.directory / "package" / "notes.txt").write_text("not a specification")
    from_directory, from_archive = compile("package"), compile("package.tgz")
    assert (from_directory.code, from_directory.err) == (0, "")
    assert from_directory == from_archive
    assert from_archive.out.count('"primary"') == 1


def test_a_file_that_holds_nothing_known_is_told_beside_the_others(compile: Compile) -> None:
    compile.write(double=DOUBLE)
    (compile.directory / "junk.pb").write_bytes(b"\x00\x01junk")
    (compile.directory / "junk.json").write_text("{")
    (compile.directory / "empty").mkdir()
    (compile.directory / "broken.tgz").write_bytes(b"no archive")
    ran = compile("junk.pb", "junk.json", "empty", "broken.tgz", "double.pb")
    assert ran.code == 1
    assert '"template"' in ran.out
    told = dict(line.split(": ", 1) for line in ran.err.splitlines())
    assert told.keys() == {"junk.pb", "junk.json", "empty", "broken.tgz"}
    assert told["junk.pb"].startswith("holds none of TaskSpec")
    assert told["junk.json"].startswith("is no JSON")
    assert told["empty"].startswith("contains no file")
    assert told["broken.tgz"].startswith("cannot be read")


def test_a_type_can_be_demanded_and_then_it_is_told_why_a_file_is_not_of_it(compile: Compile) -> None:
    compile.write(double=DOUBLE, closure=CLOSURE)
    assert compile("closure.pb", "--type", "closure").code == 0
    ran = compile("double.pb", "--type", "workflow")
    assert ran.code == 1
    assert ran.err.startswith("double.pb: is no WorkflowSpec: ")
    ran = compile("closure.pb", "--type", "task")
    assert ran.code == 1
    assert ran.err.startswith("closure.pb: is no TaskSpec: ")


def test_a_file_that_could_be_two_things_must_be_told_apart_by_the_user(compile: Compile) -> None:
    (compile.directory / "it.json").write_text('{"template": {"id": {"name": "it"}}}')
    ran = compile("it.json")
    assert ran.code == 1
    assert ran.err == "it.json: may hold one of task, workflow: say which with --type\n"
    assert "NoNodesFound" in compile("it.json", "--type", "workflow").err
    assert compile("it.json", "--type", "task").code == 0


def test_two_results_never_overwrite_each_other(compile: Compile) -> None:
    for folder in ("a", "b"):
        (compile.directory / folder).mkdir()
        (compile.directory / folder / "double.pb").write_bytes(DOUBLE.SerializeToString())
    ran = compile("a", "b", "--output", "out")
    assert ran.code == 2
    assert "double_task.json would be written more than once" in ran.err
    assert not (compile.directory / "out").exists()


def test_a_file_that_does_not_exist_is_a_mistake_in_the_command(compile: Compile) -> None:
    assert compile("absent.pb").code == 2


def test_what_flyte_compiles_from_a_package_is_what_is_written(compile: Compile) -> None:
    package = fixtures.path("snacks-core", fixtures.names("snacks-core", "*_2.pb")[0]).parent
    ran = compile(str(package), "--output", "out")
    assert (ran.code, ran.err) == (0, "")
    tasks = fixtures.names("snacks-core/compiled", "*_task.json")
    workflows = fixtures.names("snacks-core/compiled", "*_wf.json")
    assert {*tasks, *workflows} <= {one.name for one in (compile.directory / "out").iterdir()}
    for name in tasks:
        wanted = json_format.Parse(fixtures.path("snacks-core/compiled", name).read_text(), compiler_pb2.CompiledTask())
        _drop_test_config(wanted)
        written = (compile.directory / "out" / name).read_text()
        assert json_format.Parse(written, compiler_pb2.CompiledTask()) == wanted
    for name in workflows:
        wanted = json_format.Parse(fixtures.path("snacks-core/compiled", name).read_text(), workflow_closure())
        for task in wanted.tasks:
            _drop_test_config(task)
        written = json_format.Parse((compile.directory / "out" / name).read_text(), workflow_closure())
        assert fixtures.normalised(written) == fixtures.normalised(wanted)


def _drop_test_config(task: compiler_pb2.CompiledTask) -> None:
    """The golden files were made with three settings that no serialized task has."""
    config = [one for one in task.template.container.config if not one.key.startswith("testKey")]
    if task.template.HasField("container"):
        del task.template.container.config[:]
        task.template.container.config.extend(config)
