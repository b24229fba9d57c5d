"""Registering is idempotent, and a version means one thing for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from flytekit.remote import FlyteRemote

from tests.support import flyte

pytestmark = pytest.mark.timeout(120)

_WORKFLOW = """
from flytekit import task, workflow

@task
def step(number: int) -> {type}:
    return {type}(number)

@workflow
def wide(number: int) -> {type}:
    steps = [step(number=number) for _ in range(8)]
    last = step(number=number)
    for each in steps:
        each >> last
    return last
"""


def _write(folder: Path, type_: str) -> str:
    """The path of the module. `pyflyte` sends everything in its folder along."""
    path = folder / "wide.py"
    path.write_text(_WORKFLOW.format(type=type_))
    return str(path)


def test_registering_again_changes_nothing_even_when_sets_come_in_another_order(
    client: flyte.Client, remote: FlyteRemote, tmp_path: Path
) -> None:
    # flytekit writes a node's upstream ids from a set, so that their order depends on the hash seed.
    source = _write(tmp_path, "int")
    for seed in ("1", "2", "3"):
        finished = client.pyflyte("register", "--version", "hashed", source, PYTHONHASHSEED=seed)
        assert finished.returncode == 0, finished.stdout
    nodes = {node.id: node for node in remote.fetch_workflow(name="wide.wide", version="hashed").flyte_nodes}
    assert sorted(nodes["n8"].upstream_node_ids) == [f"n{number}" for number in range(8)]


def test_another_structure_under_a_known_version_is_refused_with_what_differs(
    client: flyte.Client, remote: FlyteRemote, tmp_path: Path
) -> None:
    first = client.pyflyte("register", "--version", "taken", _write(tmp_path, "int"))
    assert first.returncode == 0, first.stdout

    second = client.pyflyte("register", "--version", "taken", _write(tmp_path, "float"))

    assert second.returncode != 0
    assert "different structure" in second.stdout
    assert "wide." in second.stdout
    kept = remote.fetch_task(name="wide.step", version="taken")
    assert kept.interface.outputs["o0"].type.simple == 1  # still the integer


def test_equal_code_gets_an_equal_version_and_is_registered_once(client: flyte.Client, tmp_path: Path) -> None:
    source = _write(tmp_path, "str")
    first, second = (client.pyflyte("register", source) for _ in range(2))
    assert first.returncode == second.returncode == 0, second.stdout
