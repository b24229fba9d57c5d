"""Which processes are whose, as /proc tells it, and ending those that nobody answers for any more.

A process is named by its id and its start time: ids are used again, the pair is not (until the machine restarts). And
every process of an attempt carries the attempt's private directory in its environment (TMPDIR), unless it has emptied
its environment on purpose: that finds the ones which left their parents.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_ROUND_SECONDS: Final = 0.02
_ROUNDS: Final = 250  # five seconds: only a process in uninterruptible sleep takes longer to die


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for ever: `started` is in clock ticks since the machine started, `boot` names that start."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this id now, or None."""
        try:
            return cls(pid, _start_ticks(pid), boot_id())
        except (OSError, ValueError, IndexError):
            return None

    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    @classmethod
    def parse(cls, text: str) -> ProcessId:
        pid, started, boot = text.split(" ")
        return cls(int(pid), int(started), boot)

    def __str__(self) -> str:
        return f"{self.pid} {self.started} {self.boot}"


def boot_id() -> str:
    """Which start of the machine this is."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int:
    """Raises ProcessLookupError for a zombie too: it has ended, only nobody has asked for its status yet."""
    state, *numbers = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    if state == b"Z":
        raise ProcessLookupError(pid)
    return int(numbers[18])


def inside(directory: Path) -> list[int]:
    """Processes, other than this one, whose environment names `directory` or something in it. Zombies have none."""
    needle = f"={directory}/".encode()
    found = []
    for entry in os.listdir(_PROC):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environment = (_PROC / entry / "environ").read_bytes()
            except OSError:
                continue
            if needle in environment:
                found.append(int(entry))
    return found


async def end_all(directory: Path, known: tuple[ProcessId, ...] = ()) -> bool:
    """Kills `known` and everything that belongs to `directory`, repeatedly. Whether nothing is left."""
    for _ in range(_ROUNDS):
        left = {process.pid for process in known if process.alive()}
        left |= set(await asyncio.to_thread(inside, directory))
        if not left:
            return True
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone meanwhile, or not ours after all
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(_ROUND_SECONDS)
    return False
