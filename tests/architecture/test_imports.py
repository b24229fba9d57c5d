"""The direction of imports is a contract, and the import roots are ours alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_imports_point_the_way_that_the_contracts_say() -> None:
    linter = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linter.returncode == 0, linter.stdout + linter.stderr


@pytest.mark.parametrize("root", ["services", "libs", "protos"])
def test_no_other_distribution_owns_an_import_root_of_ours(root: str) -> None:
    assert set(metadata.packages_distributions().get(root, [])) <= {"airscrew"}


BOOTSTRAP = "services/executor/bootstrap"


def test_users_code_and_ours_share_no_interpreter() -> None:
    """flytekit is what users' tasks are written with: tests, examples and what runs in task processes import it."""
    importing = re.compile(r"^\s*(?:import|from)\s+flytekit\b", re.MULTILINE)
    offenders = [
        str(path.relative_to(ROOT))
        for folder in ("services", "libs")
        for path in (ROOT / folder).rglob("*.py")
        if importing.search(path.read_text()) and not path.is_relative_to(ROOT / BOOTSTRAP)
    ]
    assert offenders == []


def test_what_runs_in_task_processes_needs_nothing_but_python_and_flytekit() -> None:
    """Users have folders called `libs` and `services`: there, ours must not be asked for. (For types alone it may.)"""
    known = sys.stdlib_module_names | {"flytekit"}
    for path in (ROOT / BOOTSTRAP).glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                node.body = []
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= known, path


def test_every_package_says_what_belongs_into_it() -> None:
    undocumented = [
        str(path.relative_to(ROOT))
        for folder in ("services", "libs", "protos")
        for path in (ROOT / folder).rglob("__init__.py")
        if not path.read_text().lstrip().startswith('"""')
    ]
    assert undocumented == []
