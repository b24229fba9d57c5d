"""What users do with `FlyteRemote` beside running things."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from flytekit.models.core.execution import NodeExecutionPhase, WorkflowExecutionPhase
from flytekit.models.filters import Equal
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution

from tests.support import example_cases, flyte, markers, smalltasks
from tests.support.example_cases import Example

pytestmark = pytest.mark.timeout(180)


def _example(entity: str) -> Example:
    return next(example for example in example_cases.ALL if example.entity == entity)


def test_the_latest_version_is_fetched_when_none_is_named(remote: FlyteRemote, examples_version: str) -> None:
    assert remote.fetch_task(name="single_task.primes").id.version
    assert remote.fetch_workflow(name="demo.training_data").id.version
    assert remote.fetch_launch_plan(name="demo.training_data").id.version


def test_a_fetched_workflow_knows_its_nodes_and_its_tasks(remote: FlyteRemote, examples_version: str) -> None:
    workflow = remote.fetch_workflow(name="demo.training_data", version=examples_version)
    assert {node.id for node in workflow.flyte_nodes} == {f"n{number}" for number in range(6)}
    assert {task.name for task in workflow.flyte_tasks} == {"demo.draw_scenarios", "demo.simulate", "demo.summarise"}
    assert set(workflow.interface.outputs) == {"rows", "flights", "hit_rate", "airborne"}


def test_tasks_are_listed_by_version(remote: FlyteRemote, examples_version: str) -> None:
    names = {task.id.name for task in remote.list_tasks_by_version(examples_version, limit=100)}
    assert {"demo.simulate", "scalars.shift", "single_task.primes", "failing.check"} <= names
    assert remote.list_tasks_by_version("no-such-version") == []


def test_a_finished_execution_can_be_fetched_and_synchronised_with_its_nodes(
    client: flyte.Client, finished_example: Callable[[Example], FlyteWorkflowExecution]
) -> None:
    finished = finished_example(_example("training_data"))
    fresh = client.remote()
    execution = fresh.sync(fresh.fetch_execution(name=finished.id.name), sync_nodes=True)

    assert execution.closure.phase == WorkflowExecutionPhase.SUCCEEDED
    assert set(execution.node_executions) == {"start-node", "end-node", *(f"n{number}" for number in range(6))}
    assert {node.closure.phase for node in execution.node_executions.values()} == {NodeExecutionPhase.SUCCEEDED}
    assert execution.node_executions["n1"].outputs["o0"] is not None
    assert execution.node_executions["n1"].inputs["flights"] == 5
    (attempt,) = execution.node_executions["n1"].task_executions
    assert attempt.id.task_id.name == "demo.simulate"
    assert execution.closure.duration.total_seconds() > 1


def test_recent_executions_come_newest_first_and_can_be_filtered(
    remote: FlyteRemote, finished_example: Callable[[Example], FlyteWorkflowExecution]
) -> None:
    failed = finished_example(_example("failing")).id.name
    recent = remote.recent_executions(limit=100)
    created = [execution.closure.created_at for execution in recent]
    assert created == sorted(created, reverse=True)
    assert failed in {execution.id.name for execution in recent}
    filtered = remote.recent_executions(limit=100, filters=[Equal("phase", "FAILED")])
    assert {execution.closure.phase for execution in filtered} == {WorkflowExecutionPhase.FAILED}
    assert failed in {execution.id.name for execution in filtered}


def test_a_terminated_execution_is_aborted_with_its_cause_and_its_process_is_gone(
    remote: FlyteRemote, registrar: smalltasks.Registrar, markers: markers.Markers
) -> None:
    registrar.marking_task("endless", markers.path, seconds=300, children=1)
    execution = remote.execute(remote.fetch_task(name="endless", version=smalltasks.VERSION), inputs={})
    markers.wait(lambda: bool(markers.starts(execution.id.name)))

    remote.terminate(execution, "changed my mind")
    execution = flyte.wait(remote, execution, timeout_seconds=30)

    assert execution.closure.phase == WorkflowExecutionPhase.ABORTED
    assert execution.closure.abort_metadata.cause == "changed my mind"
    (start,) = markers.starts(execution.id.name)
    markers.wait(lambda: not _alive(start), timeout_seconds=5)
    assert markers.ends(execution.id.name) == []


def test_terminating_a_finished_execution_changes_nothing(
    remote: FlyteRemote, finished_example: Callable[[Example], FlyteWorkflowExecution]
) -> None:
    finished = finished_example(_example("primes"))
    remote.terminate(finished, "too late")
    again = remote.fetch_execution(name=finished.id.name)
    assert again.closure.phase == WorkflowExecutionPhase.SUCCEEDED
    assert again.closure.abort_metadata is None


def test_a_relaunched_execution_runs_again_with_the_same_inputs_under_a_new_name(
    remote: FlyteRemote, finished_example: Callable[[Example], FlyteWorkflowExecution]
) -> None:
    first = finished_example(_example("outputs_and_defaults"))
    relaunched = remote.client.relaunch_execution(first.id)
    assert relaunched.name != first.id.name
    second = flyte.wait(remote, remote.fetch_execution(name=relaunched.name))
    assert second.outputs["quotient"] == first.outputs["quotient"] == 8
    assert second.spec.metadata.reference_execution == first.id


def test_an_execution_can_be_started_twice_under_one_name_and_runs_once(
    remote: FlyteRemote, registrar: smalltasks.Registrar, markers: markers.Markers
) -> None:
    registrar.marking_task("quick", markers.path, seconds=0)
    task = remote.fetch_task(name="quick", version=smalltasks.VERSION)
    first = remote.execute(task, inputs={}, execution_name="once-only")
    second = remote.execute(task, inputs={}, execution_name="once-only")
    assert first.id == second.id
    flyte.wait(remote, second, timeout_seconds=30)
    assert len(markers.starts("once-only")) == 1


def test_a_deck_can_be_downloaded_by_its_signed_address_and_by_its_flyte_url(
    remote: FlyteRemote, finished_example: Callable[[Example], FlyteWorkflowExecution]
) -> None:
    name = finished_example(_example("report")).id.name
    link = remote.client.get_download_artifact_signed_url("n0", flyte.PROJECT, flyte.DOMAIN, name)
    (address,) = link.pre_signed_urls.signed_url
    assert f"metadata/propeller/{flyte.PROJECT}-{flyte.DOMAIN}-{name}/n0/data/0/deck.html" in address
    with urllib.request.urlopen(address, timeout=10) as page:
        html = page.read()
    assert b"background:teal" in html
    assert remote.get(f"flyte://v1/{flyte.PROJECT}/{flyte.DOMAIN}/{name}/n0/0/d") == html


def test_outputs_and_inputs_can_be_got_by_flyte_url(
    client: flyte.Client, remote: FlyteRemote, finished_example: Callable[[Example], FlyteWorkflowExecution]
) -> None:
    name = finished_example(_example("training_data")).id.name
    outputs = remote.get(f"flyte://v1/{flyte.PROJECT}/{flyte.DOMAIN}/{name}/n5/o")
    assert outputs.get("flights", as_type=int) == 20
    literal = remote.get(f"flyte://v1/{flyte.PROJECT}/{flyte.DOMAIN}/{name}/n1/i/flights")
    assert literal.scalar.primitive.integer == 5
    assert remote.get(f"flyte://v1/{flyte.PROJECT}/{flyte.DOMAIN}/{name}/n99/o") is None


def test_output_files_and_directories_can_be_downloaded(
    remote: FlyteRemote, finished_example: Callable[[Example], FlyteWorkflowExecution], tmp_path: Path
) -> None:
    execution = finished_example(_example("files"))
    remote.download(execution.outputs, str(tmp_path))
    downloaded = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert downloaded["001.txt"] == "Chapter two\nThe wind rose.\n"
    assert "Chapter one\nChapter two\nChapter three\n" in downloaded.values()


def _alive(start: markers.Mark) -> bool:
    return any(markers.alive(pid) for pid in (start.pid, *start.children))
