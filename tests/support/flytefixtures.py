"""Results of Flyte's own compiler, kept beside the checkout: `../shared/fixtures/flyte-compiler`."""

from __future__ import annotations

from pathlib import Path

from flyteidl.core import compiler_pb2, tasks_pb2, workflow_pb2

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT.parent / "shared" / "fixtures" / "flyte-compiler"


def names(folder: str, pattern: str) -> list[str]:
    """Names of the fixtures that match. Without any, one name that fails: nothing found must not look like success."""
    return sorted(path.name for path in (FIXTURES / folder).glob(pattern)) or [f"no {pattern} found"]


def path(folder: str, name: str) -> Path:
    found = FIXTURES / folder / name
    assert found.is_file(), (
        f"{found} is missing: put Flyte's compiler fixtures (shared/fixtures/flyte-compiler) next to the checkout, "
        f"into {FIXTURES}"
    )
    return found


def as_the_golden_files_have_it(template: tasks_pb2.TaskTemplate) -> tasks_pb2.TaskTemplate:
    """A copy with the three config entries that were added before the expected files were made."""
    copy = tasks_pb2.TaskTemplate()
    copy.CopyFrom(template)
    if copy.HasField("container"):
        for number in (1, 2, 3):
            copy.container.config.add(key=f"testKey{number}", value=f"testValue{number}")
    return copy


def normalised(closure: compiler_pb2.CompiledWorkflowClosure) -> compiler_pb2.CompiledWorkflowClosure:
    """A copy with everything sorted that has no order: tasks, connections, upstream ids."""
    copy = compiler_pb2.CompiledWorkflowClosure()
    copy.CopyFrom(closure)
    copy.tasks.sort(key=lambda task: task.template.id.SerializeToString(deterministic=True))
    for workflow in (copy.primary, *copy.sub_workflows):
        for direction in (workflow.connections.upstream, workflow.connections.downstream):
            for ids in direction.values():
                ids.ids.sort()
        for node in workflow.template.nodes:
            _sort_upstream(node)
        if workflow.template.HasField("failure_node"):
            _sort_upstream(workflow.template.failure_node)
    return copy


def _sort_upstream(node: workflow_pb2.Node) -> None:
    node.upstream_node_ids.sort()
    if node.WhichOneof("target") == "branch_node":
        if_else = node.branch_node.if_else
        for block in (if_else.case, *if_else.other):
            _sort_upstream(block.then_node)
        if if_else.WhichOneof("default") == "else_node":
            _sort_upstream(if_else.else_node)
