"""The generated code in protos/ is what its sources generate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _generated(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*_pb2*.py*"))}


def test_generated_protos_are_fresh(tmp_path: Path) -> None:
    # In a process of its own: the generator and the tests may not load the same descriptors twice.
    generator = ROOT / "deploy/dev/generate_protos.py"
    done = subprocess.run([sys.executable, generator, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    committed, fresh = _generated(ROOT / "protos"), _generated(tmp_path / "protos")
    assert committed.keys() == fresh.keys()
    stale = [name for name in fresh if committed[name] != fresh[name]]
    assert stale == [], "run `make protos`"
