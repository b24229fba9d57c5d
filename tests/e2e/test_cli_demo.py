"""`airscrew demo`, as `make demo` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

AIRSCREW = str(Path(sys.executable).with_name("airscrew"))


@pytest.mark.timeout(180)
def test_the_demo_shows_the_way_of_a_workflow_and_ends_well(tmp_path: Path) -> None:
    ran = subprocess.run(
        [AIRSCREW, "demo"],
        env=os.environ | {"AIRSCREW_EXECUTOR_TASK_PYTHON": sys.executable, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^trace [0-9a-f]{32}$", ran.stdout, re.MULTILINE)
    assert re.search(r"^n\d +\S*summarise +SUCCEEDED +[\d.]+ s", ran.stdout, re.MULTILINE)
    assert "rows: " in ran.stdout
    assert "flights: int = 200" in ran.stdout
    assert list(tmp_path.glob("airscrew-demo-*")) == [], "nothing is left behind"
