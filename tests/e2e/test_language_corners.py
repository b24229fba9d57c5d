"""Corners of the language, where one kind of node stands in another: a module of a user's, through the unmodified SDK.

All executions are started at once, and each test looks at one. What costs nothing (gates, literals that pass through)
is tried often; tasks take seconds each, so there are few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core.identifier_pb2 import WorkflowExecutionIdentifier as ExecutionId
from flytekit.models.core.execution import WorkflowExecutionPhase as Phase
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution

from tests.support import flyte
from tests.support.nodetree import tree

pytestmark = pytest.mark.timeout(300)

Started = Callable[[str], FlyteWorkflowExecution]


@dataclass
class Part:
    """As in the module."""

    count: int
    share: float


CORNERS = """
import os
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Optional

from flytekit import LaunchPlan, conditional, dynamic, map_task, task, wait_for_input, workflow
from flytekit.types.error.error import FlyteError
from flytekit.types.file import FlyteFile

MINUTES = timedelta(minutes=4)


@task(cache=True, cache_version="1")
def token(x: int, salt: str) -> str:
    return os.urandom(8).hex()


@task
def equal(ones: list[str], others: list[str]) -> bool:
    return ones == others


@workflow
def kept(salt: str) -> bool:
    first = map_task(partial(token, salt=salt))(x=[1, 2])
    second = map_task(partial(token, salt=salt))(x=[1, 2])
    first >> second
    return equal(ones=first, others=second)


@task
def double(x: int) -> int:
    return x * 2


@workflow
def doubles(xs: list[int]) -> list[int]:
    return map_task(double)(x=xs)


doubles_plan = LaunchPlan.get_or_create(doubles, "corners_doubles")


@dynamic
def chosen(xs: list[int]) -> list[int]:
    size = double(x=2)
    return (
        conditional("how")
        .if_(size < 4)
        .then(doubles(xs=xs))
        .elif_(size == 4)
        .then(doubles_plan(xs=xs))
        .else_()
        .fail("nothing chosen")
    )


@workflow
def arms(xs: list[int]) -> tuple[list[int], list[list[int]]]:
    return chosen(xs=xs), map_task(doubles_plan)(xs=[xs, []])


@task
def refuse(x: int) -> int:
    if x:
        raise ValueError("refused")
    return x


@task
def note(path: str, err: Optional[FlyteError] = None):
    Path(path).write_text(f"{err.failed_node_id}: {err.message}")


@workflow
def cleaner(path: str, err: Optional[FlyteError] = None):
    note(path=path, err=err)


@workflow(on_failure=cleaner)
def cleaned(path: str) -> int:
    return refuse(x=1)


@dynamic
def refusing(path: str) -> int:
    return cleaned(path=path)


@workflow
def failing(path: str) -> int:
    return refusing(path=path)


@dataclass
class Part:
    count: int = 3
    share: float = 2.0


@dataclass
class Whole:
    part: Part = field(default_factory=Part)
    parts: list[Part] = field(default_factory=lambda: [Part(1), Part(2)])
    named: dict[str, Part] = field(default_factory=lambda: {"k": Part(7)})
    table: list[list[int]] = field(default_factory=lambda: [[1], [2, 3]])
    nothing: Optional[int] = None


@task
def whole() -> tuple[Whole, str, Optional[str], FlyteFile]:
    Path("told.txt").write_text("told")
    return Whole(), "x" * 2_000_000, None, FlyteFile("told.txt")


@task
def told(
    count: int, share: float, part: Part, rows: list[list[int]], cells: dict[str, int], nothing: Optional[int],
    long: str, absent: Optional[str], file: FlyteFile, unbound: Optional[int] = 5, default: str = "d",
) -> str:
    assert type(count) is int and type(share) is float and all(type(cell) is int for cell in cells.values())
    parts = [count, share, part.count, rows, sorted(cells.items()), nothing]
    return f"{parts} {len(long)} {absent} {Path(file).read_text()} {unbound} {default}"


@workflow
def values(x: int, y: Optional[str] = None) -> tuple[str, int, float, int, Optional[str]]:
    all_of_it, long, absent, file = whole()
    text = told(
        count=all_of_it.parts[1].count, share=all_of_it.part.share, part=all_of_it.named["k"],
        rows=[all_of_it.table[1], [x, all_of_it.part.count], []], cells={"a": all_of_it.table[1][0], "b": x},
        nothing=all_of_it.nothing, long=long, absent=absent, file=file,
    )
    return text, all_of_it.named["k"].count, all_of_it.part.share, x, y


@workflow
def asked() -> list[int]:
    return wait_for_input("a-list", timeout=MINUTES, expected_type=list[int])


@workflow
def asked_for_a_part() -> Part:
    return wait_for_input("a-part", timeout=MINUTES, expected_type=Part)


@workflow
def gates() -> tuple[list[int], Part]:
    sure = wait_for_input("sure", timeout=MINUTES, expected_type=bool)
    numbers = conditional("sure?").if_(sure.is_true()).then(asked()).else_().fail("not sure")
    return numbers, asked_for_a_part()
"""


@pytest.fixture(scope="module")
def started(client: flyte.Client, remote: FlyteRemote, tmp_path_factory: pytest.TempPathFactory) -> Started:
    """Executions of the workflows of the module, by name."""
    folder = tmp_path_factory.mktemp("corners")
    module = folder / "corners.py"
    module.write_text(CORNERS)
    registered = client.pyflyte("register", "--version", "corners", str(module))
    assert registered.returncode == 0, registered.stdout
    inputs: dict[str, dict[str, Any]] = {
        "kept": {"salt": str(folder)},
        "arms": {"xs": [1, 2]},
        "failing": {"path": str(folder / "note")},
        "values": {"x": 9},
        "gates": {},
    }
    running = {
        name: remote.execute(remote.fetch_workflow(name=f"corners.{name}", version="corners"), inputs=given)
        for name, given in inputs.items()
    }
    return running.__getitem__


def _outputs(remote: FlyteRemote, execution: FlyteWorkflowExecution) -> dict[str, Any]:
    finished = flyte.wait(remote, execution, timeout_seconds=280)
    assert finished.closure.phase == Phase.SUCCEEDED, finished.closure.error
    return {name: finished.outputs[name] for name in finished.outputs.literals}


def _identity(execution: FlyteWorkflowExecution) -> ExecutionId:
    return ExecutionId(project=execution.id.project, domain=execution.id.domain, name=execution.id.name)


def test_gates_in_arms_and_sub_workflows_take_values_of_every_type(remote: FlyteRemote, started: Started) -> None:
    execution = started("gates")
    for signal, value, type_ in (
        ("sure", True, bool),
        ("a-list", [1, 2], list[int]),
        ("a-part", Part(4, 0.5), Part),
    ):
        _when_awaited(remote, execution, signal)
        remote.set_input(signal, execution.id.name, value, python_type=type_)
    outputs = _outputs(remote, execution)
    assert outputs["o0"] == [1, 2]
    assert (outputs["o1"].count, outputs["o1"].share) == (4, 0.5)


def _when_awaited(remote: FlyteRemote, execution: FlyteWorkflowExecution, signal: str) -> None:
    deadline = time.monotonic() + 100.0
    while signal not in {each.id.signal_id for each in remote.list_signals(execution.id.name, limit=10)}:
        assert time.monotonic() < deadline, f"nobody waits for {signal}"
        time.sleep(0.1)


def test_what_items_of_a_map_have_computed_is_in_the_cache_for_the_map_after_it(
    remote: FlyteRemote, started: Started
) -> None:
    assert _outputs(remote, started("kept"))["o0"] is True


def test_launch_plans_in_arms_of_dynamic_nodes_and_in_maps(
    remote: FlyteRemote, stubs: flyte.Stubs, started: Started
) -> None:
    execution = started("arms")
    assert _outputs(remote, execution) == {"o0": [2, 4], "o1": [[2, 4], []]}
    assert tree(stubs, _identity(execution)) == {
        "n0": "SUCCEEDED parent dynamic",
        "n0-0-dn0": "SUCCEEDED",
        "n0-0-dn1": "SUCCEEDED",
        "n0-0-dn1-0-dn1-dn1": "SUCCEEDED child",
        "n1": "SUCCEEDED array",
        "n1-0-n0": "SUCCEEDED child",
        "n1-0-n1": "SUCCEEDED child",
    }


def test_a_workflow_cleans_up_after_a_sub_workflow_of_a_dynamic_node(
    remote: FlyteRemote, stubs: flyte.Stubs, started: Started
) -> None:
    execution = started("failing")
    finished = flyte.wait(remote, execution, timeout_seconds=280)
    assert finished.closure.phase == Phase.FAILED
    assert "refused" in finished.closure.error.message
    nodes = tree(stubs, _identity(execution))
    assert nodes == {
        "n0": "FAILED parent dynamic",
        "n0-0-dn0": "FAILED parent",
        "n0-0-dn0-0-dn0": "FAILED",
        "n0-0-dn0-0-dfn0": "SUCCEEDED parent",
        "n0-0-dn0-0-dfn0-0-dfn0": "SUCCEEDED",
    }
    written = Path(finished.inputs["path"]).read_text()
    assert written.startswith("n0-0-dn0-0-dn0: ")
    assert "refused" in written


def test_parts_of_values_keep_their_types_and_large_values_their_length(remote: FlyteRemote, started: Started) -> None:
    outputs = _outputs(remote, started("values"))
    assert outputs["o0"] == "[2, 2.0, 7, [[2, 3], [9, 3], []], [('a', 2), ('b', 9)], None] 2000000 None told 5 d"
    assert (outputs["o1"], outputs["o2"], outputs["o3"], outputs["o4"]) == (7, 2.0, 9, None)
    assert type(outputs["o1"]) is int
