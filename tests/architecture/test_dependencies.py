"""What we import is what we declare: flytekit's environment beside ours must not hide a missing dependency."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = frozenset({"services", "libs", "protos"})


def imported() -> set[str]:
    """Top-level names of others that product code imports."""
    found: set[str] = set()
    for folder in OURS:
        for path in (ROOT / folder).rglob("*.py"):
            if path.is_relative_to(ROOT / "services/executor/bootstrap"):
                continue  # runs in task environments, which have flytekit
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found.update(alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found - OURS - sys.stdlib_module_names


def declared() -> set[str]:
    """Names of the distributions that the product and its extras ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return {_normal(re.split(r"[\[<>=!~ ;]", requirement)[0]) for each in lists for requirement in each}


def test_every_import_of_the_product_is_a_declared_dependency() -> None:
    providers = packages_distributions()
    asked = declared()
    missing = {name for name in imported() if not asked.intersection(map(_normal, providers.get(name, ())))}
    assert not missing, f"imported and not declared in pyproject.toml: {sorted(missing)}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
