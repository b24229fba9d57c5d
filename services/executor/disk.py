"""Whether the disk has room for more work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from libs.runtime.clock import Clock

# Assignments come by the hundred; the disk does not fill up that fast.
_LOOK_SECONDS: Final = 0.5


class Disk:
    """The file system of `path`, which should keep `floor_bytes` free."""

    def __init__(self, path: Path, floor_bytes: int, clock: Clock) -> None:
        self._path = path
        self._floor_bytes = floor_bytes
        self._clock = clock
        self._looked_at = float("-inf")
        self._free_bytes = 0

    def free_bytes(self) -> int:
        """What is free for this user, at most half a second old."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            try:
                self._free_bytes = shutil.disk_usage(self._path).free
            except OSError:
                self._free_bytes = 0  # a disk that cannot be asked has no room either
        return self._free_bytes

    def trouble(self) -> str:
        """Why nothing new should be started, or nothing."""
        free = self.free_bytes()
        if free >= self._floor_bytes:
            return ""
        return f"the disk of {self._path} is full: {free >> 20} MiB free, the floor is {self._floor_bytes >> 20} MiB"
