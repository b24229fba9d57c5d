"""Every example, registered by `pyflyte register` and run twice: by `pyflyte run --remote --wait` and by `FlyteRemote`.

A process of the client and an attempt of a task cost a second or more each, so everything is started at once and each
test waits for its own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution

from tests.support import example_cases, flyte
from tests.support.example_cases import ALL, EXAMPLES_THAT_SUCCEED, FAILING, GATED, Example

CLIENTS_AT_ONCE = 3

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def by_pyflyte(
    client: flyte.Client, examples_version: str, folder: Path
) -> Iterator[Callable[[Example], subprocess.CompletedProcess[str]]]:
    """The finished `pyflyte run --remote --wait` of an example; all are started at the first question."""

    def run(example: Example) -> subprocess.CompletedProcess[str]:
        book = example_cases.book(folder)
        args = [book if argument == "{book}" else argument for argument in example.args]
        wait = ("--remote", "--wait", "--poll-interval", "1")
        return client.pyflyte("run", *wait, str(example.path), example.entity, *args, timeout_seconds=280)

    with ThreadPoolExecutor(CLIENTS_AT_ONCE, thread_name_prefix="pyflyte") as pool:
        running = {example.name: pool.submit(run, example) for example in ALL}
        yield lambda example: running[example.name].result()


@pytest.mark.parametrize("example", EXAMPLES_THAT_SUCCEED, ids=lambda example: example.name)
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
    remote: FlyteRemote,
    tmp_path: Path,
) -> None:
    finished = by_pyflyte(example)
    assert finished.returncode == 0, finished.stdout
    execution = remote.sync(remote.fetch_execution(name=flyte.execution_name(finished.stdout)))
    assert execution.closure.phase == WorkflowExecutionPhase.SUCCEEDED, execution.closure.error
    assert example.outputs_of(execution) == example.run_locally(tmp_path)


def test_a_failing_task_fails_its_execution_with_its_own_message_and_starts_nothing_after_it(
    by_remote: Callable[[Example], FlyteWorkflowExecution],
) -> None:
    execution = by_remote(FAILING)
    assert execution.closure.phase == WorkflowExecutionPhase.FAILED
    assert "amount -5 is below zero" in execution.closure.error.message
    assert execution.closure.error.code.startswith("USER")
    assert "n1" not in execution.node_executions
    assert "amount -5 is below zero" in execution.node_executions["n0"].error.message


def test_pyflyte_shows_the_message_of_a_failed_task(
    by_pyflyte: Callable[[Example], subprocess.CompletedProcess[str]], remote: FlyteRemote
) -> None:
    finished = by_pyflyte(FAILING)
    execution = remote.fetch_execution(name=flyte.execution_name(finished.stdout))
    assert execution.closure.phase == WorkflowExecutionPhase.FAILED
    assert "amount -5 is below zero" in finished.stdout


def test_a_recoverable_failure_is_retried_and_both_attempts_are_shown(
    by_remote: Callable[[Example], FlyteWorkflowExecution],
) -> None:
    retried = next(example for example in EXAMPLES_THAT_SUCCEED if example.entity == "retried")
    first, second = by_remote(retried).node_executions["n0"].task_executions
    assert [first.id.retry_attempt, second.id.retry_attempt] == [0, 1]
    assert "station Zugspitze does not answer" in first.closure.error.message
    assert second.closure.error is None


def test_nodes_of_workflows_in_workflows_are_named_by_their_path(
    by_remote: Callable[[Example], FlyteWorkflowExecution],
) -> None:
    nested = next(example for example in EXAMPLES_THAT_SUCCEED if example.entity == "subworkflows")
    nodes = by_remote(nested).node_executions
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
