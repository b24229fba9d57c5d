"""`airscrew compile` of what `pyflyte package` makes of every example."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flyteidl.core import compiler_pb2
from google.protobuf import json_format

from tests.support.flyte import EXAMPLES, Client


def test_every_example_that_pyflyte_packages_compiles_without_a_server(tmp_path: Path) -> None:
    modules = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    packages = [argument for module in modules for argument in ("--pkgs", module)]
    packed = Client("nowhere:1", tmp_path).pyflyte(
        *packages,
        *("package", "--image", "image:tag", "--source", str(EXAMPLES), "--output", "package.tgz", "--force"),
        PYTHONPATH=str(EXAMPLES),
    )
    assert packed.returncode == 0, packed.stdout
    compiled = subprocess.run(
        [sys.executable, "-P", "-m", "services.cli", "compile", "package.tgz", "--output", "out"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (compiled.returncode, compiled.stderr) == (0, "")
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == len(compiled.stdout.splitlines()) > len(modules)
    for path in written:
        if path.name.endswith("_wf.json"):
            closure = json_format.Parse(path.read_text(), compiler_pb2.CompiledWorkflowClosure())
            assert closure.primary.template.nodes[0].id == "start-node"
