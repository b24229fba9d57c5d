"""Every kind of node as the unmodified SDK meets it: what it started, node by node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flyteidl.admin import execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import catalog_pb2, identifier_pb2, workflow_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier as ExecutionId
from flytekit.models.core.execution import WorkflowExecutionPhase as Phase
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution

from tests.support import flyte, smalltasks
from tests.support.example_cases import ALL, GATED, Example
from tests.support.markers import Markers
from tests.support.nodetree import child_of, nodes_of, tree
from tests.support.system import System

pytestmark = pytest.mark.timeout(300)

Finished = Callable[[Example], FlyteWorkflowExecution]


def example(entity: str) -> Example:
    return next(each for each in ALL if each.entity == entity)


def identity(execution: FlyteWorkflowExecution) -> ExecutionId:
    return ExecutionId(project=execution.id.project, domain=execution.id.domain, name=execution.id.name)


def finished_run(remote: FlyteRemote, execution: FlyteWorkflowExecution) -> FlyteWorkflowExecution:
    """Waits as long as a test may: the examples of the other tests run at the same time, and stand in the line."""
    return flyte.wait(remote, execution, timeout_seconds=280)


def eventually(condition: Callable[[], object], what: str, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


# ------------------------------------------------------------------------------------------------------- node trees


def test_a_branch_shows_the_chosen_case_only(finished_example: Finished, stubs: flyte.Stubs) -> None:
    assert tree(stubs, identity(finished_example(example("branches")))) == {
        "n0": "SUCCEEDED",
        "n1": "SUCCEEDED",
        "n1-0-n1-n0": "SUCCEEDED",
        "n1-0-n1-n0-0-n1-n0-n0": "SUCCEEDED",
    }


def test_a_launch_plan_node_has_an_execution_of_its_own(finished_example: Finished, stubs: flyte.Stubs) -> None:
    parent = identity(finished_example(example("plans")))
    assert tree(stubs, parent) == {"n0": "SUCCEEDED child", "n1": "SUCCEEDED child", "n2": "SUCCEEDED"}
    children = [child_of(stubs, parent, node_id) for node_id in ("n0", "n1")]
    for child, node_id, plan in zip(children, ("n0", "n1"), ("summer", "winter"), strict=True):
        assert tree(stubs, child) == {"n0": "SUCCEEDED"}
        shown = stubs.admin.GetExecution(execution_pb2.WorkflowExecutionGetRequest(id=child), timeout=10)
        assert shown.spec.launch_plan.name == plan
        assert shown.spec.metadata.mode == execution_pb2.ExecutionMetadata.CHILD_WORKFLOW
        assert shown.spec.metadata.parent_node_execution.node_id == node_id
        assert shown.spec.metadata.parent_node_execution.execution_id == parent


def test_dynamic_nodes_hold_the_nodes_they_asked_for_at_any_depth(
    finished_example: Finished, stubs: flyte.Stubs
) -> None:
    execution = identity(finished_example(example("generated")))
    assert tree(stubs, execution) == {
        "n0": "SUCCEEDED parent dynamic",
        "n0-0-dn0": "SUCCEEDED parent dynamic",
        "n0-0-dn0-0-dn0": "SUCCEEDED",
        "n0-0-dn0-0-dn1": "SUCCEEDED",
        "n0-0-dn0-0-dn2": "SUCCEEDED",
        "n0-0-dn1": "SUCCEEDED parent dynamic",
        "n0-0-dn1-0-dn0": "SUCCEEDED",
        "n0-0-dn1-0-dn1": "SUCCEEDED",
        "n0-0-dn1-0-dn2": "SUCCEEDED",
        "n0-0-dn1-0-dn3": "SUCCEEDED",
        "n0-0-dn2": "SUCCEEDED",
    }
    node = identifier_pb2.NodeExecutionIdentifier(execution_id=execution, node_id="n0-0-dn1")
    data = stubs.admin.GetNodeExecutionData(node_execution_pb2.NodeExecutionGetDataRequest(id=node), timeout=10)
    compiled = data.dynamic_workflow.compiled_workflow
    assert {node.id for node in compiled.primary.template.nodes} >= {"dn0", "dn1", "dn2", "dn3"}
    assert {task.template.id.name for task in compiled.tasks} == {"generated.square", "generated.add_up"}


def test_a_map_shows_its_items_and_one_task_execution_for_all(finished_example: Finished, stubs: flyte.Stubs) -> None:
    execution = identity(finished_example(example("mapped")))
    nodes = tree(stubs, execution)
    assert {name: nodes[name] for name in nodes if "-" not in name} == {
        "n0": "SUCCEEDED array",
        "n1": "SUCCEEDED array",
        "n2": "SUCCEEDED",
        "n3": "SUCCEEDED array",
    }
    assert [nodes[f"n0-0-n{index}"] for index in range(3)] == ["SUCCEEDED"] * 3
    assert [nodes[f"n1-0-n{index}"] for index in range(3)] == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    assert [nodes[f"n3-0-n{index}"] for index in range(2)] == ["SUCCEEDED child"] * 2
    node = identifier_pb2.NodeExecutionIdentifier(execution_id=execution, node_id="n1")
    request = task_execution_pb2.TaskExecutionListRequest(node_execution_id=node, limit=100)
    (task,) = stubs.admin.ListTaskExecutions(request, timeout=10).task_executions
    items = task.closure.metadata.external_resources
    assert [item.index for item in items] == [0, 1, 2]
    phases = core_execution_pb2.TaskExecution
    assert [item.phase for item in items] == [phases.SUCCEEDED, phases.SUCCEEDED, phases.FAILED]


def test_a_failure_node_runs_after_the_failure_and_changes_nothing_about_it(
    finished_example: Finished, stubs: flyte.Stubs
) -> None:
    execution = finished_example(example("cleanup"))
    assert execution.closure.phase == Phase.FAILED
    assert "lemon does not start" in execution.closure.error.message
    assert tree(stubs, identity(execution)) == {"n0": "SUCCEEDED", "n1": "FAILED", "fn0": "SUCCEEDED"}


def test_echo_tasks_are_nodes_like_others(finished_example: Finished, stubs: flyte.Stubs) -> None:
    assert tree(stubs, identity(finished_example(example("echoes")))) == {"n0": "SUCCEEDED", "n1": "SUCCEEDED"}


def test_overrides_are_those_of_the_node(finished_example: Finished, stubs: flyte.Stubs) -> None:
    execution = identity(finished_example(example("overrides")))
    assert tree(stubs, execution) == {"the-measurement": "SUCCEEDED"}
    node = identifier_pb2.NodeExecutionIdentifier(execution_id=execution, node_id="the-measurement")
    request = task_execution_pb2.TaskExecutionListRequest(node_execution_id=node, limit=10)
    attempts = stubs.admin.ListTaskExecutions(request, timeout=10).task_executions
    assert len(attempts) == 2, "one retry: the task itself has none"


def test_a_cached_node_takes_over_what_another_has_computed(finished_example: Finished, stubs: flyte.Stubs) -> None:
    execution = identity(finished_example(example("cached")))
    status = [node.closure.task_node_metadata.cache_status for node in _tasks(stubs, execution)]
    # Another run of the example may have been first.
    assert status[1] == catalog_pb2.CACHE_HIT
    assert status[0] in (catalog_pb2.CACHE_POPULATED, catalog_pb2.CACHE_HIT)


def _tasks(stubs: flyte.Stubs, execution: ExecutionId) -> list[node_execution_pb2.NodeExecution]:
    return [node for node in nodes_of(stubs, execution) if node.id.node_id.startswith("n")]


# ------------------------------------------------------------------------------------------------------------ gates


def test_gates_open_for_an_approval_a_value_and_after_some_time(
    remote: FlyteRemote, examples_version: str, stubs: flyte.Stubs
) -> None:
    execution = _gated(remote, examples_version)
    _when_awaited(remote, execution, "the-draft")
    remote.approve("the-draft", execution.id.name)
    _when_awaited(remote, execution, "the-verdict")
    remote.set_input("the-verdict", execution.id.name, "delightful")
    finished = finished_run(remote, execution)
    assert finished.closure.phase == Phase.SUCCEEDED, finished.closure.error
    assert finished.outputs["o0"] == "Dear reader, spring is delightful."
    assert set(tree(stubs, identity(finished)).values()) == {"SUCCEEDED"}


def test_a_gate_that_is_rejected_fails_the_execution(remote: FlyteRemote, examples_version: str) -> None:
    execution = _gated(remote, examples_version)
    _when_awaited(remote, execution, "the-draft")
    remote.reject("the-draft", execution.id.name)
    finished = finished_run(remote, execution)
    assert finished.closure.phase == Phase.FAILED
    assert finished.closure.error.code == "ReceivedRejectSignal"


def _gated(remote: FlyteRemote, version: str) -> FlyteWorkflowExecution:
    return remote.execute(remote.fetch_workflow(name=GATED.name, version=version), inputs=dict(GATED.inputs))


def _when_awaited(remote: FlyteRemote, execution: FlyteWorkflowExecution, signal: str) -> None:
    def awaited() -> bool:
        signals = remote.list_signals(execution.id.name, limit=10)
        return signal in {each.id.signal_id for each in signals}

    eventually(awaited, f"nobody waits for {signal}")


# -------------------------------------------------------------------------------------- one after the other: children


@pytest.fixture(scope="module")
def slow_child(registrar: smalltasks.Registrar, markers: Markers) -> identifier_pb2.Identifier:
    """A launch plan whose workflow launches another one, whose task takes a minute."""
    task = registrar.marking_task("language.slow", markers.path, 60.0)
    inner = registrar.lanes("language.slow_inner", task, lanes=1)

    def launching(plan: identifier_pb2.Identifier) -> list[workflow_pb2.Node]:
        return [workflow_pb2.Node(id="n0", workflow_node=workflow_pb2.WorkflowNode(launchplan_ref=plan))]

    middle = registrar.workflow("language.slow_middle", launching(inner))
    return registrar.workflow("language.slow_outer", launching(middle))


def test_an_abort_reaches_children_of_children(
    registrar: smalltasks.Registrar, stubs: flyte.Stubs, slow_child: identifier_pb2.Identifier, markers: Markers
) -> None:
    outer = registrar.launch(slow_child)
    eventually(lambda: child_of(stubs, outer, "n0").name, "the child is launched")
    middle = child_of(stubs, outer, "n0")
    eventually(lambda: child_of(stubs, middle, "n0").name, "the child's child is launched")
    inner = child_of(stubs, middle, "n0")
    eventually(lambda: markers.starts(inner.name), "the task runs")
    registrar.abort(outer, "never mind")
    aborted = core_execution_pb2.WorkflowExecution.ABORTED
    family = (outer, middle, inner)
    eventually(lambda: {registrar.get(each).closure.phase for each in family} == {aborted}, "all are aborted")
    for execution in family:
        assert registrar.get(execution).closure.abort_metadata.cause == "never mind"
    assert not markers.ends(inner.name)


# ------------------------------------------------------------------------------------------------ modules of a user's

RECOVERABLE = """
from functools import partial
from pathlib import Path

from flytekit import map_task, task, workflow


def note(path: str, what: str) -> None:
    with Path(path).open("a") as notes:
        notes.write(what + "\\n")


@task
def first(path: str) -> list[int]:
    note(path, "first")
    return [0, 1, 2]


@task
def item(x: int, path: str) -> int:
    note(path, f"item {x}")
    if x == 1 and not Path(path + ".mended").exists():
        raise ValueError("broken")
    return x * 2


@task
def last(values: list[int], path: str) -> int:
    note(path, "last")
    return sum(values)


@workflow
def recoverable(path: str) -> int:
    in_order = map_task(partial(item, path=path), concurrency=1)
    return last(values=in_order(x=first(path=path)), path=path)
"""

REFERENCES = """
from flytekit import reference_launch_plan, reference_task, workflow

PLACE = dict(project="flytesnacks", domain="development", version="examples")


@reference_task(name="subworkflows.add", **PLACE)
def add(a: int, b: int) -> int: ...


@reference_launch_plan(name="summer", **PLACE)
def summer(plants: int) -> int: ...


@workflow
def references(plants: int) -> int:
    return summer(plants=add(a=plants, b=1))
"""

EAGER = """
import time

from flytekit import eager, task


@task
async def slow(x: int) -> int:
    time.sleep(120)
    return x


@eager
async def waiting(x: int) -> int:
    return await slow(x=x)
"""


def _module(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def _started(finished_output: str, remote: FlyteRemote) -> FlyteWorkflowExecution:
    return remote.fetch_execution(name=flyte.execution_name(finished_output))


def test_a_recovered_execution_runs_only_what_had_not_succeeded(
    client: flyte.Client, remote: FlyteRemote, stubs: flyte.Stubs, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    module = _module(tmp_path, "recoverable", RECOVERABLE)
    run = client.pyflyte("run", "--remote", str(module), "recoverable", "--path", str(notes))
    failed = finished_run(remote, _started(run.stdout, remote))
    assert failed.closure.phase == Phase.FAILED, run.stdout
    assert "broken" in failed.closure.error.message
    (tmp_path / "notes.mended").touch()
    assert notes.read_text().splitlines() == ["first", "item 0", "item 1"]
    notes.unlink()
    reply = stubs.admin.RecoverExecution(execution_pb2.ExecutionRecoverRequest(id=identity(failed)), timeout=10)
    recovered = finished_run(remote, remote.fetch_execution(name=reply.id.name))
    assert recovered.closure.phase == Phase.SUCCEEDED, recovered.closure.error
    assert recovered.outputs["o0"] == 6
    assert notes.read_text().splitlines() == ["item 1", "item 2", "last"]


def test_tasks_and_launch_plans_can_be_referred_to_by_name(
    client: flyte.Client, remote: FlyteRemote, examples_version: str, tmp_path: Path
) -> None:
    assert examples_version == "examples"
    module = _module(tmp_path, "references", REFERENCES)
    run = client.pyflyte("run", "--remote", str(module), "references", "--plants", "2")
    assert run.returncode == 0, run.stdout
    finished = finished_run(remote, _started(run.stdout, remote))
    assert finished.closure.phase == Phase.SUCCEEDED, finished.closure.error
    assert finished.outputs["o0"] == 30


def test_what_an_eager_task_has_launched_is_aborted_with_it(
    client: flyte.Client, remote: FlyteRemote, stubs: flyte.Stubs, tmp_path: Path
) -> None:
    module = _module(tmp_path, "eagerly_waiting", EAGER)
    run = client.pyflyte("run", "--remote", str(module), "waiting", "--x", "1")
    assert run.returncode == 0, run.stdout
    parent = _started(run.stdout, remote)

    def children() -> list[FlyteWorkflowExecution]:
        listed = remote.recent_executions(limit=100)
        return [each for each in listed if (each.spec.labels.values or {}).get("eager-exec") == parent.id.name]

    eventually(lambda: [each for each in children() if each.closure.phase == Phase.RUNNING], "the child runs")
    remote.terminate(parent, "enough of it")
    eventually(lambda: {each.closure.phase for each in children()} == {Phase.ABORTED}, "the child is aborted")
    assert finished_run(remote, parent).closure.phase == Phase.ABORTED


# --------------------------------------------------------------------------------------------------------- one slot


@pytest.fixture(scope="module")
def one_slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("one-slot")
    with System.start(folder, environment={"AIRSCREW_EXECUTOR_CPU_MILLIS": "1000"}) as system:
        yield system


def test_eager_tasks_in_eager_tasks_need_one_slot_only(
    one_slot: System, tmp_path_factory: pytest.TempPathFactory
) -> None:
    client = flyte.Client(one_slot.endpoint, tmp_path_factory.mktemp("home"))
    eagerly = example("eagerly")
    run = client.pyflyte(
        *("run", "--remote", "--wait", "--poll-interval", "1", str(eagerly.path), eagerly.entity, *eagerly.args),
        timeout_seconds=200,
    )
    assert run.returncode == 0, run.stdout
    remote = client.remote()
    finished = remote.sync(_started(run.stdout, remote))
    assert finished.closure.phase == Phase.SUCCEEDED, finished.closure.error
    assert finished.outputs["o0"] == 40
