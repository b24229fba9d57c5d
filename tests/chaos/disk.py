"""The disk of the blob store: a small file system of its own where we may make one, so that it can fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from types import TracebackType

SIZE = "96m"


class Disk:
    """A directory, on a `tmpfs` of its own if we may mount one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.why_not = ""
        """Why it cannot be filled; empty when it can."""

    def __enter__(self) -> Disk:
        self.path.mkdir(parents=True)
        if os.geteuid() != 0:
            self.why_not = "only root may mount a file system to fill"
            return self
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "airscrew-chaos", str(self.path)]
        try:
            mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            self.why_not = "there is no `mount` here"
        else:
            self.why_not = mounted.stderr.strip() if mounted.returncode else ""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.why_not:
            # Lazily: a task process that was just killed may have a file open in it for a moment.
            subprocess.run(["umount", "-l", str(self.path)], check=True)

    def fill(self) -> None:
        """Leaves not a byte."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            block = bytes(1 << 20)
            while True:
                file.write(block)

    def empty(self) -> None:
        """Gives back what `fill` took."""
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self.path / ".filler"
