"""What may not be in the tree: paths of somebody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Home folders and workplaces; places that every Linux has (/usr, /etc, /dev, /proc, /tmp, /var) are fine.
_MACHINE_PATH = re.compile(r"(?<![\w.:/~$}])/(?:home|Users|root|work|mnt|opt/venv)/[\w.-]+")


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    offenders = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in _tracked()
        if path.is_file() and path != Path(__file__)
        for match in _MACHINE_PATH.finditer(path.read_text(errors="ignore"))
    ]
    assert offenders == []
