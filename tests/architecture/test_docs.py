"""What is written out of the code says what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    generator = ROOT / "deploy/dev/generate_docs.py"
    done = subprocess.run([sys.executable, generator, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_setting_says_what_it_means() -> None:
    silent = [line for line in (ROOT / "docs/settings.md").read_text().splitlines() if line.endswith("|  |")]
    assert not silent, "a docstring below the field is missing"


@pytest.mark.parametrize("page", ["requests.md", "metrics.md", "settings.md"])
def test_what_is_generated_is_fresh(fresh: Path, page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == (fresh / page).read_text(), "run `make docs`"
