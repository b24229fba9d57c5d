"""What is written out of the code says what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_on_requests_is_fresh(tmp_path: Path) -> None:
    fresh = tmp_path / "requests.md"
    generator = ROOT / "deploy/dev/generate_docs.py"
    done = subprocess.run([sys.executable, generator, fresh], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (ROOT / "docs/requests.md").read_text() == fresh.read_text(), "run `make docs`"
