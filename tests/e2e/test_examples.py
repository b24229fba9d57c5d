"""Every example, run by `pyflyte run --remote --wait`; those of which the inputs are of interest also by `FlyteRemote`,
registered by `pyflyte register`.

A process of the client and an attempt of a task cost a second or more each, so everything is started at once and each
test waits for its own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.remote import FlyteWorkflowExecution

from tests.support import flyte
from tests.support.example_cases import ALL, CONVERTED, EXAMPLES_THAT_SUCCEED, FAILING, GATED, Example

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    "example", [each for each in EXAMPLES_THAT_SUCCEED if each.file in CONVERTED], ids=lambda example: example.name
)
def test_an_example_run_by_flyte_remote_gives_what_a_local_run_gives(
    example: Example, by_remote: Callable[[Example], FlyteWorkflowExecution], tmp_path: Path
) -> None:
    execution = by_remote(example)
    assert execution.closure.phase == WorkflowExecutionPhase.SUCCEEDED, execution.closure.error
    assert example.outputs_of(execution) == example.run_locally(tmp_path)


@pytest.mark.parametrize("example", EXAMPLES_THAT_SUCCEED, ids=lambda example: example.name)
def test_an_example_run_by_pyflyte_gives_what_a_local_run_gives(
    example: Example,
    by_pyflyte: Callable[[Example], subprocess.CompletedProcess[str]],
    finished_example: Callable[[Example], FlyteWorkflowExecution],
    tmp_path: Path,
) -> None:
    ended = by_pyflyte(example)
    assert ended.returncode == 0, ended.stdout
    execution = finished_example(example)
    assert execution.closure.phase == WorkflowExecutionPhase.SUCCEEDED, execution.closure.error
    assert example.outputs_of(execution) == example.run_locally(tmp_path)


def test_a_failing_task_fails_its_execution_with_its_own_message_and_starts_nothing_after_it(
    finished_example: Callable[[Example], FlyteWorkflowExecution],
) -> None:
    execution = finished_example(FAILING)
    assert execution.closure.phase == WorkflowExecutionPhase.FAILED
    assert "amount -5 is below zero" in execution.closure.error.message
    assert execution.closure.error.code.startswith("USER")
    assert "n1" not in execution.node_executions
    assert "amount -5 is below zero" in execution.node_executions["n0"].error.message


def test_pyflyte_shows_the_message_of_a_failed_task(
    by_pyflyte: Callable[[Example], subprocess.CompletedProcess[str]],
) -> None:
    assert "amount -5 is below zero" in by_pyflyte(FAILING).stdout


def test_a_recoverable_failure_is_retried_and_both_attempts_are_shown(
    finished_example: Callable[[Example], FlyteWorkflowExecution],
) -> None:
    retried = next(example for example in EXAMPLES_THAT_SUCCEED if example.entity == "retried")
    first, second = finished_example(retried).node_executions["n0"].task_executions
    assert [first.id.retry_attempt, second.id.retry_attempt] == [0, 1]
    assert "station Zugspitze does not answer" in first.closure.error.message
    assert second.closure.error is None


def test_nodes_of_workflows_in_workflows_are_named_by_their_path(
    finished_example: Callable[[Example], FlyteWorkflowExecution],
) -> None:
    nested = next(example for example in EXAMPLES_THAT_SUCCEED if example.entity == "subworkflows")
    nodes = finished_example(nested).node_executions
    assert nodes["start-node"].closure.phase == nodes["end-node"].closure.phase
    twice = nodes["n0"].subworkflow_node_executions
    assert set(twice) >= {"n0-0-n0", "n0-0-n1"}
    assert set(twice["n0-0-n1"].subworkflow_node_executions) >= {"n0-0-n1-0-n0", "n0-0-n1-0-n1"}


def test_every_example_is_covered_here() -> None:
    covered = {(example.file, example.entity) for example in (*ALL, GATED)}
    listed = set()
    file = ""
    for line in (flyte.EXAMPLES / "README.md").read_text().splitlines():
        if row := re.match(r"\| (?:`(\w+)\.py`)? *\| `(\w+)` \|", line):
            file = row.group(1) or file
            listed.add((file, row.group(2)))
    assert listed == covered
    examples = {
        path.stem for path in flyte.EXAMPLES.glob("*.py") if re.search("^@(task|workflow)", path.read_text(), re.M)
    }
    assert {file for file, _ in listed} == examples
