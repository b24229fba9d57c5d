"""All tests, by two pytests at once. One mostly waits for processes it has started and leaves a core to the other;
that one computes, at a lower priority, for nothing in it has to do with time; what it says is shown at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

_PYTEST: Final = str(Path(sys.executable).with_name("pytest"))
_COMPUTING: Final = ("tests/architecture", "tests/property", "tests/simulation", "tests/unit")
_NICE: Final = 10


def main() -> int:
    """The exit code of the first pytest that failed; 0 when none did."""
    with tempfile.TemporaryFile() as said:
        computing = subprocess.Popen(
            [_PYTEST, *_COMPUTING], stdout=said, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(_NICE)
        )
        try:
            waiting = subprocess.run([_PYTEST, *(f"--ignore={folder}" for folder in _COMPUTING)], check=False)
            computing.wait()
        finally:
            computing.kill()
            said.seek(0)
            print(f"\n{' '.join(_COMPUTING)}:\n{said.read().decode(errors='replace')}", flush=True)
    return waiting.returncode or computing.returncode


if __name__ == "__main__":
    sys.exit(main())
