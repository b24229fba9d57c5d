"""The compiled tree (`make native`) keeps the promises that plain Python keeps.

It is compiled without optimization here: that takes a minute of processor time in place of several, and means the same.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.native import build
from tests.bench import systems, workloads
from tests.bench.client import Client
from tests.bench.workloads import Mode

pytestmark = pytest.mark.skipif(not build.can_compile(), reason="needs cc and Python.h: gcc, python3-dev")
SEEDS = 200


@pytest.fixture(scope="module")
def tree() -> Path:
    """The tree, compiled if something has changed since it was."""
    tree = build.ROOT / "build" / "native-unoptimized"
    subprocess.run(
        [sys.executable, "-m", "deploy.native.build", "--optimize", "0", "--into", str(tree)],
        cwd=build.ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return tree


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=tree, capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_every_module_that_is_to_be_compiled_is(tree: Path) -> None:
    names = [module.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for module in build.modules(tree)]
    code = f"import importlib; [print(importlib.import_module(name).__file__) for name in {names}]"
    found = run(tree, "-c", code)
    assert found.returncode == 0, found.stderr
    files = [Path(line) for line in found.stdout.splitlines()]
    assert len(files) == len(names) > 50
    assert [file for file in files if file.suffix != ".so" or not file.is_relative_to(tree)] == []


@pytest.mark.timeout(600)
def test_no_seed_breaks_a_promise(tree: Path) -> None:
    played = run(tree, "-m", "tests.simulation", "--seeds", str(SEEDS), "--jobs", "2")
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"{SEEDS} seeds from 0 in " in played.stdout


@pytest.mark.timeout(600)
def test_the_whole_system_runs_compiled_and_stops_in_order(tree: Path) -> None:
    with systems.started("sqlite", {"PYTHONPATH": str(tree)}) as bench:
        plan = workloads.register(bench.stubs, workloads.diamond(), Mode.ENGINE)
        client = Client(bench.stubs, "native")
        with client.watching():
            client.run(plan, 20)
        assert bench.system.stop() == 0
        logged = bench.system.logs("propeller")
    assert "propeller runs compiled" in logged and "ended with exit code 0" in logged
    assert "Traceback" not in logged
